//! The kernels and their arguments: each struct is the twin of the one of the same name in `kernels/*.cu`.
//!
//! Pointers come first, then words of four bytes, so that both compilers lay them out alike; the tests compare sizes.

use super::backend::{Cache, Ptr, Real};

/// An argument that a kernel takes by value.
///
/// # Safety
/// The type is `repr(C)`, without padding, and has the layout of the kernel's struct.
pub(crate) unsafe trait Args: Copy {}

macro_rules! args {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $ty:ty),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $ty),* }
        // SAFETY: fields of eight bytes come first, and there is an even number of words after them.
        unsafe impl Args for $name {}
    )* };
}

args! {
    /// What a slot of a step is: which row, and where in its stream. Uploaded every step.
    Slot { position: u64, seed: u64, row: u32, unused: u32 }
    NormArgs { x: Ptr, weight: Ptr, bias: Ptr, out: Ptr, d: u32, eps: f32 }
    ActivateArgs { x: Ptr, out: Ptr, width: u32, unused: u32 }
    UnfoldArgs {
        slots: Ptr, x: Ptr, history: Ptr, out: Ptr,
        channels: u32, kernel: u32, stride: u32, steps: u32, past: u32, width: u32, elu: u32, replicate: u32, bias: u32,
        unused: u32,
    }
    RememberArgs { slots: Ptr, x: Ptr, history: Ptr, channels: u32, steps: u32, past: u32, elu: u32 }
    NearestArgs {
        products: Ptr, half_norms: Ptr, entries: Ptr, residual: Ptr, codes: Ptr,
        bins: u32, width: u32, books: u32, book: u32,
    }
    EmbedArgs {
        slots: Ptr, text: Ptr, audio: Ptr, condition: Ptr, tokens: Ptr, previous: Ptr, x: Ptr,
        d: u32, books: u32, audio_vocabulary: u32, initial_token: u32, initial_code: u32, unused: u32,
    }
    HearArgs { slots: Ptr, codes: Ptr, previous: Ptr, books: u32, unused: u32 }
    ChooseArgs {
        slots: Ptr, logits: Ptr, tokens: Ptr, chosen: Ptr, pauses: Ptr, temperature: f64,
        vocabulary: u32, stride: u32, heads: u32, classes: u32,
    }
    TurnArgs { slots: Ptr, frequencies: Ptr, turns: Ptr, tokens: u32, pairs: u32 }
    AppendArgs {
        slots: Ptr, turns: Ptr, qkv: Ptr, keys: Ptr, values: Ptr, key_factors: Ptr, value_factors: Ptr,
        tokens: u32, heads: u32, head_dim: u32, context: u32,
    }
    AttendArgs {
        slots: Ptr, qkv: Ptr, keys: Ptr, values: Ptr, key_factors: Ptr, value_factors: Ptr, out: Ptr, partial: Ptr,
        tokens: u32, heads: u32, context: u32, splits: u32, scale: f32, unused: u32,
    }
    CombineArgs {
        slots: Ptr, partial: Ptr, out: Ptr,
        tokens: u32, heads: u32, head_dim: u32, context: u32, splits: u32, unused: u32,
    }
}

/// [`Slot::row`] of the slots that fill up a bucket.
pub(crate) const VACANT: u32 = u32::MAX;
/// Threads of a block, for all kernels but attention's.
pub(crate) const BLOCK: usize = 256;
/// Ring places that one block of the attention kernel reads (`SPLIT` in `attention.cu`).
pub(crate) const SPLIT: usize = 256;
/// Codebooks that the embedding kernel has room for (`MAX_BOOKS` in `tokens.cu`).
pub(crate) const MAX_BOOKS: usize = 64;

macro_rules! kernels {
    ($($kernel:ident $name:literal $file:literal $threads:literal $args:ty;)*) => {
        /// A kernel of `kernels/*.cu`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kernel { $($kernel),* }

        impl Kernel {
            pub(crate) const ALL: &[Self] = &[$(Self::$kernel),*];

            /// Its name in the source.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$kernel => $name),* }
            }

            /// The source file it is in, without its ending.
            #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "only the driver loads modules"))]
            pub(crate) fn file(self) -> &'static str {
                match self { $(Self::$kernel => $file),* }
            }

            /// Threads of a block.
            pub(crate) fn threads(self) -> usize {
                match self { $(Self::$kernel => $threads),* }
            }

            /// Bytes of its argument.
            #[cfg(test)]
            pub(crate) fn args_size(self) -> usize {
                match self { $(Self::$kernel => size_of::<$args>()),* }
            }
        }
    };
}

kernels! {
    NormF32 "norm_f32" "dense" 256 NormArgs;
    NormBf16 "norm_bf16" "dense" 256 NormArgs;
    SwigluF32 "swiglu_f32" "dense" 256 ActivateArgs;
    SwigluBf16 "swiglu_bf16" "dense" 256 ActivateArgs;
    GeluF32 "gelu_f32" "dense" 256 ActivateArgs;
    GeluBf16 "gelu_bf16" "dense" 256 ActivateArgs;
    Unfold "unfold" "conv" 256 UnfoldArgs;
    Remember "remember" "conv" 256 RememberArgs;
    Nearest "nearest" "tokens" 256 NearestArgs;
    EmbedF32 "embed_f32" "tokens" 256 EmbedArgs;
    EmbedBf16 "embed_bf16" "tokens" 256 EmbedArgs;
    Hear "hear" "tokens" 256 HearArgs;
    Choose "choose" "tokens" 256 ChooseArgs;
    Turn "turn" "attention" 256 TurnArgs;
    AppendF32 "append_f32" "attention" 256 AppendArgs;
    AppendBf16 "append_bf16" "attention" 256 AppendArgs;
    AppendFp8 "append_fp8" "attention" 256 AppendArgs;
    Attend8F32 "attend8_f32" "attention" 128 AttendArgs;
    Attend16F32 "attend16_f32" "attention" 128 AttendArgs;
    Attend32F32 "attend32_f32" "attention" 128 AttendArgs;
    Attend64F32 "attend64_f32" "attention" 128 AttendArgs;
    Attend128F32 "attend128_f32" "attention" 128 AttendArgs;
    Attend8Bf16 "attend8_bf16" "attention" 128 AttendArgs;
    Attend16Bf16 "attend16_bf16" "attention" 128 AttendArgs;
    Attend32Bf16 "attend32_bf16" "attention" 128 AttendArgs;
    Attend64Bf16 "attend64_bf16" "attention" 128 AttendArgs;
    Attend128Bf16 "attend128_bf16" "attention" 128 AttendArgs;
    Attend8Fp8 "attend8_fp8" "attention" 128 AttendArgs;
    Attend16Fp8 "attend16_fp8" "attention" 128 AttendArgs;
    Attend32Fp8 "attend32_fp8" "attention" 128 AttendArgs;
    Attend64Fp8 "attend64_fp8" "attention" 128 AttendArgs;
    Attend128Fp8 "attend128_fp8" "attention" 128 AttendArgs;
    CombineF32 "combine_f32" "attention" 128 CombineArgs;
    CombineBf16 "combine_bf16" "attention" 128 CombineArgs;
}

impl Kernel {
    /// The form of a kernel for `real`.
    pub(crate) fn of(real: Real, f32: Self, bf16: Self) -> Self {
        match real {
            Real::F32 => f32,
            Real::Bf16 => bf16,
        }
    }

    /// What writes rings of `cache`.
    pub(crate) fn append(cache: Cache) -> Self {
        match cache {
            Cache::Plain(Real::F32) => Self::AppendF32,
            Cache::Plain(Real::Bf16) => Self::AppendBf16,
            Cache::Fp8 => Self::AppendFp8,
        }
    }

    /// Attention over rings of `cache` with heads of `head_dim`, where there is a kernel for it.
    pub(crate) fn attend(cache: Cache, head_dim: usize) -> Option<Self> {
        Some(match (head_dim, cache) {
            (8, Cache::Plain(Real::F32)) => Self::Attend8F32,
            (16, Cache::Plain(Real::F32)) => Self::Attend16F32,
            (32, Cache::Plain(Real::F32)) => Self::Attend32F32,
            (64, Cache::Plain(Real::F32)) => Self::Attend64F32,
            (128, Cache::Plain(Real::F32)) => Self::Attend128F32,
            (8, Cache::Plain(Real::Bf16)) => Self::Attend8Bf16,
            (16, Cache::Plain(Real::Bf16)) => Self::Attend16Bf16,
            (32, Cache::Plain(Real::Bf16)) => Self::Attend32Bf16,
            (64, Cache::Plain(Real::Bf16)) => Self::Attend64Bf16,
            (128, Cache::Plain(Real::Bf16)) => Self::Attend128Bf16,
            (8, Cache::Fp8) => Self::Attend8Fp8,
            (16, Cache::Fp8) => Self::Attend16Fp8,
            (32, Cache::Fp8) => Self::Attend32Fp8,
            (64, Cache::Fp8) => Self::Attend64Fp8,
            (128, Cache::Fp8) => Self::Attend128Fp8,
            _ => return None,
        })
    }
}
