//! The CPU's kernels, behind safe functions. The instruction set is detected once per process.

pub(crate) mod gemm;
mod lanes;
pub(crate) mod matrix;
mod ops;
pub(crate) mod pool;
pub(crate) mod strips;

use std::sync::OnceLock;

use lanes::Portable;
pub(crate) use ops::{Hidden, Unary};

/// A pointer that tasks of one region write through, at disjoint places.
#[derive(Clone, Copy)]
struct SyncPtr(*mut f32);
// SAFETY: every use states why its writers are disjoint.
unsafe impl Sync for SyncPtr {}
// SAFETY: as above.
unsafe impl Send for SyncPtr {}

impl SyncPtr {
    /// # Safety
    /// `at .. at + len` lies within the buffer and no other task touches it meanwhile.
    unsafe fn slice<'a>(self, at: usize, len: usize) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(at), len) }
    }
}

/// The instruction set kernels run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// For matrix products; the rest runs as with `Avx2`.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// Returns the best that this machine has.
    pub(crate) fn detect() -> Self {
        static ISA: OnceLock<Isa> = OnceLock::new();
        *ISA.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                let wide = is_x86_feature_detected!("avx512f");
                return if wide { Self::Avx512 } else { Self::Avx2 };
            }
            Self::Portable
        })
    }

    /// Returns the best for products with rows of `stride` weights, which must be whole vectors.
    pub(crate) fn for_rows_of(stride: usize) -> Self {
        match Self::detect() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if !stride.is_multiple_of(16) => Self::Avx2,
            isa => isa,
        }
    }

    /// # Safety
    /// As for [`gemm::run`]; `self` was detected.
    unsafe fn gemm(self, call: &gemm::Call<'_>, area: gemm::Area) {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => gemm_avx512(call, area),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => avx2::gemm(call, area),
                Self::Portable => gemm::run::<Portable>(call, area),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
unsafe fn gemm_avx512(call: &gemm::Call<'_>, area: gemm::Area) {
    // SAFETY: the features are enabled here; the rest is the caller's promise.
    unsafe { gemm::run::<lanes::Avx512>(call, area) }
}

macro_rules! kernels {
    ($( $(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),*); )*) => {
        #[cfg(target_arch = "x86_64")]
        mod avx2 {
            use super::gemm::{Area, Call};
            use super::lanes::Avx2;
            use super::{gemm as g, ops, Hidden, Unary};

            #[target_feature(enable = "avx2,fma,f16c")]
            pub(super) unsafe fn gemm(call: &Call<'_>, area: Area) {
                // SAFETY: the features are enabled here; the rest is the caller's promise.
                unsafe { g::run::<Avx2>(call, area) }
            }
            $(
                #[target_feature(enable = "avx2,fma,f16c")]
                pub(super) unsafe fn $name($($arg: $ty),*) {
                    // SAFETY: the features are enabled here.
                    unsafe { ops::$name::<Avx2>($($arg),*) }
                }
            )*
        }
        $(
            $(#[$doc])*
            pub(crate) fn $name($($arg: $ty),*) {
                match Isa::detect() {
                    // SAFETY: detected.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 | Isa::Avx2 => unsafe { avx2::$name($($arg),*) },
                    // SAFETY: plain Rust.
                    Isa::Portable => unsafe { ops::$name::<Portable>($($arg),*) },
                }
            }
        )*
    };
}

kernels! {
    /// Computes `y = f(x)`; equal lengths.
    fn unary(f: Unary, x: &[f32], y: &mut [f32]);
    /// Computes RMSNorm (arXiv:1910.07467), `out = x · alpha / √(mean(x²) + eps)`; equal lengths, a multiple of eight.
    fn rms_norm(x: &[f32], alpha: &[f32], eps: f32, out: &mut [f32]);
    /// Computes LayerNorm (arXiv:1607.06450), `out = (x - mean) / √(variance + eps) · weight + bias`; equal lengths, a
    /// multiple of eight.
    fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]);
    /// Computes `gate = silu(gate) · up`; equal lengths, a multiple of eight.
    fn swiglu(gate: &mut [f32], up: &[f32]);
    /// Computes softmax attention of one query over `live × d` keys and values.
    fn attend(q: &[f32], keys: &[f32], values: &[f32], hidden: Hidden, scores: &mut [f32], out: &mut [f32]);
    /// Computes the same over keys and values as the bits of bf16.
    fn attend_bf16(q: &[f32], keys: &[u16], values: &[u16], hidden: Hidden, scores: &mut [f32], out: &mut [f32]);
}

/// Computes `x = f(x)`.
pub(crate) fn unary_in_place(f: Unary, x: &mut [f32]) {
    let mut block = [0.0; 64];
    for chunk in x.chunks_mut(64) {
        block[..chunk.len()].copy_from_slice(chunk);
        unary(f, &block[..chunk.len()], chunk);
    }
}
