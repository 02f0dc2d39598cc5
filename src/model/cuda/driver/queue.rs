//! A queue of work on the device: a stream, and the cuBLAS that adds matrix products to it.

use std::ffi::{c_int, c_void};

use cudarc::cublas::{result as blas, sys as blas_sys};
use cudarc::driver::{result as cu, sys};

use super::failed;
use crate::model::cuda::backend::{GpuError, Product, Ptr};
use crate::model::layout::dtype::Real;

fn blas_failed(what: &str) -> impl Fn(blas::CublasError) -> GpuError {
    move |e| GpuError(format!("{what}: {e:?}"))
}

/// Makes an event that keeps its time.
pub(super) fn event() -> Result<sys::CUevent, GpuError> {
    cu::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).map_err(failed("an event"))
}

/// A handle; the driver that made it closes it, once.
#[derive(Clone, Copy)]
pub(super) struct Queue {
    pub(super) stream: sys::CUstream,
    blas: blas_sys::cublasHandle_t,
}

impl Queue {
    /// Opens a queue in the current context.
    pub(super) fn new() -> Result<Self, GpuError> {
        let stream = cu::stream::create(cu::stream::StreamKind::NonBlocking).map_err(failed("a stream"))?;
        let blas = blas::create_handle().map_err(blas_failed("cuBLAS"))?;
        // SAFETY: both were just made.
        unsafe { blas::set_stream(blas, stream.cast()) }.map_err(blas_failed("cuBLAS's stream"))?;
        Ok(Self { stream, blas })
    }

    /// Lends `bytes` at `space` to cuBLAS, which must not allocate while a graph is captured.
    pub(super) fn lend(&self, space: Ptr, bytes: usize) -> Result<(), GpuError> {
        // SAFETY: memory that lives as long as the driver. The stream was set before, which would take it back.
        unsafe { blas_sys::cublasSetWorkspace_v2(self.blas, space.0 as *mut c_void, bytes) }
            .result()
            .map_err(blas_failed("cuBLAS's workspace"))
    }

    pub(super) fn record(&self, event: sys::CUevent) -> Result<(), GpuError> {
        // SAFETY: event and stream live.
        unsafe { cu::event::record(event, self.stream) }.map_err(failed("an event"))
    }

    /// Makes what is queued from now on wait for `event`.
    pub(super) fn follow(&self, event: sys::CUevent) -> Result<(), GpuError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: event and stream live.
        unsafe { cu::stream::wait_event(self.stream, event, flags) }.map_err(failed("an event"))
    }

    /// Waits until all that was queued is done.
    pub(super) fn wait(&self) -> Result<(), GpuError> {
        // SAFETY: the stream lives.
        unsafe { cu::stream::synchronize(self.stream) }.map_err(failed("the device"))
    }

    pub(super) fn product(&self, p: Product) -> Result<(), GpuError> {
        let real = |real| match real {
            Real::F32 => blas_sys::cudaDataType::CUDA_R_32F,
            Real::Bf16 => blas_sys::cudaDataType::CUDA_R_16BF,
        };
        let compute = if p.w.real == Real::F32 && !p.exact {
            blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32
        } else {
            blas_sys::cublasComputeType_t::CUBLAS_COMPUTE_32F
        };
        let (m, n, k) = (p.m as c_int, p.w.n as c_int, p.w.k as c_int);
        let (one, beta) = (1.0f32, if p.add { 1.0f32 } else { 0.0 });
        // cuBLAS counts columns first: in its eyes this is yᵀ (n × m) = w (k × n, transposed) · xᵀ (k × m).
        // SAFETY: addresses and sizes are the engine's, which the tests run; alpha and beta are read by the call.
        let result = unsafe {
            blas::gemm_ex(
                self.blas,
                blas_sys::cublasOperation_t::CUBLAS_OP_T,
                blas_sys::cublasOperation_t::CUBLAS_OP_N,
                n,
                m,
                k,
                (&raw const one).cast(),
                p.w.at.0 as *const c_void,
                real(p.w.real),
                k,
                p.x.0 as *const c_void,
                real(p.w.real),
                k,
                (&raw const beta).cast(),
                p.y.0 as *mut c_void,
                blas_sys::cudaDataType::CUDA_R_32F,
                n,
                compute,
                blas_sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        result.map_err(blas_failed("a product"))
    }

    /// Ends it, once nothing is queued any more. Errors cannot be helped here.
    pub(super) fn close(&self) {
        // SAFETY: made by `new`; the driver closes each queue once, when nobody uses it any more.
        unsafe {
            let _ = cu::stream::synchronize(self.stream);
            let _ = blas::destroy_handle(self.blas);
            let _ = cu::stream::destroy(self.stream);
        }
    }
}
