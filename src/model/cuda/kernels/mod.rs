//! The kernels: what they are called, where they are, and how many threads a block of them has.

mod args;

pub(crate) use args::*;

use crate::model::layout::dtype::{Cache, Real};

/// Threads of a block, for all kernels but attention's.
pub(crate) const BLOCK: usize = 256;
/// Codebooks that the embedding kernel has room for (`MAX_BOOKS` in `tokens.cu`).
pub(crate) const MAX_BOOKS: usize = 64;

macro_rules! kernels {
    ($($kernel:ident $name:literal $file:literal $threads:literal $args:ty;)*) => {
        /// A kernel of the `.cu` files.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kernel { $($kernel),* }

        impl Kernel {
            pub(crate) const ALL: &[Self] = &[$(Self::$kernel),*];

            /// Returns its name in the source.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$kernel => $name),* }
            }

            /// Returns the source file it is in, without its ending.
            #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "only the driver loads modules"))]
            pub(crate) fn file(self) -> &'static str {
                match self { $(Self::$kernel => $file),* }
            }

            /// Returns the threads of a block.
            pub(crate) fn threads(self) -> usize {
                match self { $(Self::$kernel => $threads),* }
            }

            /// Returns the bytes of its argument.
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
    /// Returns the form of a kernel for `real`.
    pub(crate) fn of(real: Real, f32: Self, bf16: Self) -> Self {
        match real {
            Real::F32 => f32,
            Real::Bf16 => bf16,
        }
    }

    /// Returns the kernel that writes rings of `cache`.
    pub(crate) fn append(cache: Cache) -> Self {
        match cache {
            Cache::Plain(Real::F32) => Self::AppendF32,
            Cache::Plain(Real::Bf16) => Self::AppendBf16,
            Cache::Fp8 => Self::AppendFp8,
        }
    }

    /// Returns the attention kernel over rings of `cache` with heads of `head_dim`, where there is one.
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
