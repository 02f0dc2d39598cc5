//! What a model asks of a device. The driver of a GPU (`driver/`) and the tests' emulator both implement it, so that the
//! order of launches, the addresses and the sizes on a GPU are those that the tests have run.

use std::time::Duration;

use super::kernels::{Args, Kernel};
use super::schedule::Task;
use crate::model::Part;
use crate::model::layout::dtype::Real;

/// An error of the device, after which the model cannot be used any more.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct GpuError(pub(crate) String);

/// An address in device memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Ptr(pub(crate) u64);

impl Ptr {
    pub(crate) const NULL: Self = Self(0);

    /// Returns the address that lies `bytes` further.
    pub(crate) fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
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

/// A span of a profile: what the launches after a mark belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum ProfileSpan {
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
    /// Returns the bytes. The device uses them between [`Backend::send`] or [`Backend::fetch`] and the
    /// [`Backend::finish`] that follows: not to be called in between.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated with `len` bytes, zeroed, never freed while this lives; `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

/// A GPU, or the tests' emulator of one.
///
/// Calls queue work that is done in order, but for the tasks of [`Backend::run`]. The first error of queued work is
/// kept and returned by [`Backend::finish`].
pub(crate) trait Backend: Send + Sized {
    /// Allocates zeroed memory, aligned to 256 bytes, for as long as the backend lives.
    ///
    /// # Errors
    /// The device is full.
    fn alloc(&mut self, bytes: usize) -> Result<Ptr, GpuError>;

    /// Returns the bytes that [`Backend::alloc`] can still give. None where nothing limits them.
    fn free_bytes(&self) -> Option<u64>;

    /// Allocates zeroed host memory for copies.
    ///
    /// # Errors
    /// There is no memory.
    fn pinned(&mut self, bytes: usize) -> Result<Pinned, GpuError>;

    /// Copies to the device at once.
    ///
    /// # Errors
    /// The copy or work queued before it failed.
    fn write(&mut self, to: Ptr, bytes: &[u8]) -> Result<(), GpuError>;

    /// Copies from the device once all that is queued is done.
    ///
    /// # Errors
    /// The copy or work queued before it failed.
    fn read(&mut self, from: Ptr, bytes: &mut [u8]) -> Result<(), GpuError>;

    /// Queues a copy of `len` bytes from place `at` of `from`.
    fn send(&mut self, to: Ptr, from: &Pinned, at: usize, len: usize);

    /// Queues a copy into the whole of `to`.
    fn fetch(&mut self, to: &mut Pinned, from: Ptr);

    /// Queues a kernel.
    fn launch<A: Args>(&mut self, kernel: Kernel, grid: [usize; 3], args: A);

    /// Queues a matrix product.
    fn product(&mut self, product: Product);

    /// Begins a span of the profile, where one is taken.
    fn mark(&mut self, span: ProfileSpan);

    /// Makes [`Backend::run`] of these tasks with `bucket` slots cheap: a GPU captures one graph per task. Runs the
    /// tasks, too.
    ///
    /// # Errors
    /// The work failed. That a task cannot be captured is no error.
    fn prepare(&mut self, bucket: usize, schedule: &[Task<'_, Self>]) -> Result<(), GpuError>;

    /// Queues the tasks of a step with `bucket` slots: each after those that it follows, otherwise side by side. What is
    /// queued afterwards follows all of them.
    fn run(&mut self, bucket: usize, schedule: &[Task<'_, Self>]);

    /// Waits until all that was queued is done.
    ///
    /// # Errors
    /// The first error since the last call.
    fn finish(&mut self) -> Result<(), GpuError>;

    /// Returns the device time from the beginning of the last finished [`Backend::run`] to the end of `part`, where it
    /// is known.
    fn took(&self, part: Part) -> Option<Duration>;
}
