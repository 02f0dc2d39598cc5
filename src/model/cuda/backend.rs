//! What the engine asks of a device. The driver (`driver.rs`) and the tests' emulator both answer it, so that the order
//! of launches, the addresses and the sizes that run on a GPU are the ones that the tests have run.

use std::time::Duration;

use super::args::{Args, Kernel};

/// What went wrong on the device. Fatal for the engine.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct GpuError(pub(crate) String);

/// An address in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Ptr(pub(crate) u64);

impl Ptr {
    pub(crate) const NULL: Self = Self(0);

    /// The address `bytes` on.
    pub(crate) fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// Number format of weights and of what is multiplied with them. Sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Real {
    F32,
    Bf16,
}

impl Real {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// Number format of keys and values in the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    /// That of the weights.
    Plain(Real),
    /// Eight bits, with an f32 factor for each head's key and value. Beside weights in bf16 only.
    Fp8,
}

impl Cache {
    /// Bytes of one key or value of a head.
    pub(crate) fn bytes(self, head_dim: usize) -> usize {
        match self {
            Self::Plain(real) => head_dim * real.bytes(),
            Self::Fp8 => head_dim + size_of::<f32>(),
        }
    }
}

/// A weight matrix on the device: `n × k`, row-major, `k` a multiple of eight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix {
    pub(crate) at: Ptr,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) real: Real,
}

/// `y = x · wᵀ` (or `y += …`): `x` is `m × w.k` in the weights' format, `y` is `m × w.n` in f32, both dense.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    pub(crate) w: Matrix,
    pub(crate) m: usize,
    pub(crate) x: Ptr,
    pub(crate) y: Ptr,
    pub(crate) add: bool,
    /// f32 products in full f32 rather than with ten bits of mantissa (TF32).
    pub(crate) exact: bool,
}

/// The halves of a step; each is one graph for each bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Codec,
    Lm,
}

/// What the launches after a mark belong to, for profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Stage {
    Convolutions,
    CodecTransformer,
    Quantizer,
    Embedding,
    LmProducts,
    LmAttention,
    Head,
}

/// Host memory that the device copies from and to while the processor goes on.
pub(crate) struct Pinned {
    pub(crate) at: *mut u8,
    pub(crate) len: usize,
}

// SAFETY: plain memory with one owner; the backend that made it outlives its use.
unsafe impl Send for Pinned {}

impl Pinned {
    /// The bytes. Only between `finish` and the next `send` or `fetch` of them is nobody else at work on them.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated with `len` bytes, zeroed, never freed while this lives; `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

/// A device, or what stands for one. Work is queued and done in order, but for [`Backend::run`]; errors are kept and told by [`Backend::finish`].
pub(crate) trait Backend: Send + Sized {
    /// Zeroed memory, aligned to 256 bytes, for as long as the backend lives.
    fn alloc(&mut self, bytes: usize) -> Result<Ptr, GpuError>;
    /// Bytes that [`Backend::alloc`] can still give; unknown where nothing limits them.
    fn free_bytes(&self) -> Option<u64>;
    fn pinned(&mut self, bytes: usize) -> Result<Pinned, GpuError>;
    /// Copies to the device at once.
    fn write(&mut self, to: Ptr, bytes: &[u8]) -> Result<(), GpuError>;
    /// Copies from the device once all that is queued is done.
    fn read(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), GpuError>;

    /// Queues a copy of `len` bytes from `at` on.
    fn send(&mut self, to: Ptr, from: &Pinned, at: usize, len: usize);
    /// Queues a copy of the whole of `to`.
    fn fetch(&mut self, to: &mut Pinned, from: Ptr);
    fn launch<A: Args>(&mut self, kernel: Kernel, grid: [usize; 3], args: A);
    fn product(&mut self, product: Product);
    fn mark(&mut self, stage: Stage);

    /// Makes [`Backend::run`] of this part and bucket cheap. `issue` queues the part; it is run, too.
    fn prepare(&mut self, part: Part, bucket: usize, issue: &dyn Fn(&mut Self)) -> Result<(), GpuError>;
    /// Queues both parts, as one graph each where there is one, else launch by launch. Neither may need what the other
    /// writes: they run side by side, or in either order. What is queued afterwards follows both.
    fn run(&mut self, bucket: usize, codec: &dyn Fn(&mut Self), lm: &dyn Fn(&mut Self));
    /// Waits until all that was queued is done.
    fn finish(&mut self) -> Result<(), GpuError>;
    /// Device time from the beginning of the last finished [`Backend::run`] to the end of a part, where it is known.
    fn took(&self, part: Part) -> Option<Duration>;
}
