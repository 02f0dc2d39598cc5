//! Which GPUs this machine has.
//!
//! Neither the driver's library nor cuBLAS is linked: they are looked for when a GPU is asked for, so that one program also
//! starts where there are none.

use cudarc::cublas::sys as blas_sys;
use cudarc::driver::{result as cu, sys};

/// Checks that this machine can compute on GPU `ordinal`.
///
/// # Errors
/// The reason why it cannot.
pub(in crate::model) fn presence(ordinal: usize) -> Result<(), String> {
    // SAFETY: these open libraries that are CUDA's, or none.
    let (driver, cublas) = unsafe { (sys::is_culib_present(), blas_sys::is_culib_present()) };
    if !driver {
        return Err("no NVIDIA driver on this machine (libcuda.so.1)".to_owned());
    }
    if !cublas {
        return Err(
            "no cuBLAS on this machine (libcublas.so.13); is its folder in LD_LIBRARY_PATH?".to_owned(),
        );
    }
    cu::init().map_err(|e| format!("the NVIDIA driver does not start: {e:?}"))?;
    match count() {
        count if ordinal >= count => Err(format!("there is no GPU {ordinal}; this machine has {count}")),
        _ => Ok(()),
    }
}

/// Returns the number of GPUs of this machine, once [`presence`] has said yes to the first.
pub(in crate::model) fn count() -> usize {
    cu::device::get_count().map_or(0, |count| usize::try_from(count).unwrap_or(0))
}
