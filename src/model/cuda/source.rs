//! Sources of weights, and their upload to the device.

use std::cell::Cell;

use half::bf16;

use super::backend::{Backend, GpuError, Matrix, Ptr};
use crate::model::error::LoadError;
use crate::model::layout::dtype::Real;
use crate::model::layout::transformer::MatrixLayout;
use crate::model::weights::Weights;

impl From<GpuError> for LoadError {
    fn from(e: GpuError) -> Self {
        Self::Gpu(e.0)
    }
}

/// A checkpoint, or random numbers of the same shapes: what a step costs does not depend on what was learned.
pub(super) enum WeightSource<'a> {
    File(&'a Weights),
    /// State of the generator.
    #[cfg_attr(
        not(feature = "cuda"),
        expect(dead_code, reason = "for measurements on a device")
    )]
    Random(Cell<u64>),
}

impl WeightSource<'_> {
    /// Returns the values of a tensor, which must have `shape`.
    ///
    /// # Errors
    /// The tensor is missing or wrong.
    pub(super) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        match self {
            Self::File(weights) => weights.values(name, shape),
            Self::Random(state) => Ok(random(state, name, shape)),
        }
    }

    /// Returns a convolution's weights, however the file spells them: `[output, input, kernel]`.
    ///
    /// # Errors
    /// A tensor is missing or wrong.
    pub(super) fn conv(&self, name: &str, shape: [usize; 3]) -> Result<Vec<f32>, LoadError> {
        match self {
            Self::File(weights) => weights.conv(name, shape),
            Self::Random(state) => Ok(random(state, name, &shape)),
        }
    }
}

// Uniform, scaled by fan-in so that signals stay of order one; gains and counts are one. As in published checkpoints
// bf16 holds them all exactly.
fn random(state: &Cell<u64>, name: &str, shape: &[usize]) -> Vec<f32> {
    let is = |part: &str| name.contains(part);
    let n = shape.iter().product();
    if is("norm") || is("cluster_usage") {
        return vec![if name.ends_with("bias") { 0.0 } else { 1.0 }; n];
    }
    let fan_in: usize = shape[1..].iter().product();
    let scale = match name {
        _ if name.ends_with("bias") || is("layer_scale") => 0.05,
        _ => (3.0 / fan_in.max(1) as f32).sqrt(),
    };
    let mut s = state.get();
    let values = (0..n).map(|_| {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        bf16::from_f32(((s >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale).to_f32()
    });
    let values = values.collect();
    state.set(s);
    values
}

/// Uploads tensors in the form in which the kernels read them. Methods fail where the device is full, and where a tensor
/// of the source is missing or wrong.
pub(super) struct Loader<'a, B> {
    pub(super) backend: &'a mut B,
    pub(super) source: &'a WeightSource<'a>,
}

impl<B: Backend> Loader<'_, B> {
    /// Uploads f32 values.
    pub(super) fn floats(&mut self, values: &[f32]) -> Result<Ptr, LoadError> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.place(&bytes)
    }

    /// Uploads f64 values.
    pub(super) fn doubles(&mut self, values: &[f64]) -> Result<Ptr, LoadError> {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.place(&bytes)
    }

    /// Uploads a tensor of the source as f32.
    pub(super) fn vector(&mut self, name: &str, shape: &[usize]) -> Result<Ptr, LoadError> {
        let values = self.source.values(name, shape)?;
        self.floats(&values)
    }

    /// Uploads a tensor of the source as a matrix, each line times its value of `scale` where there is one.
    pub(super) fn matrix(
        &mut self,
        layout: &MatrixLayout,
        real: Real,
        scale: Option<&[f32]>,
    ) -> Result<Matrix, LoadError> {
        let k = layout.cols;
        let mut values = self.source.values(&layout.name, &[layout.rows, k])?;
        for (line, scale) in values.chunks_exact_mut(k).zip(scale.unwrap_or_default()) {
            line.iter_mut().for_each(|w| *w *= scale);
        }
        self.lines(values.chunks_exact(k), k, real)
    }

    /// Uploads a matrix of `k`-wide lines. Both sides are filled up with zeros to a multiple of eight, which keeps every line
    /// and every line of the product aligned for 16-byte accesses.
    pub(super) fn lines<'l>(
        &mut self,
        lines: impl ExactSizeIterator<Item = &'l [f32]>,
        k: usize,
        real: Real,
    ) -> Result<Matrix, LoadError> {
        let (n, wide) = (lines.len().next_multiple_of(8), k.next_multiple_of(8));
        let mut bytes = Vec::with_capacity(n * wide * real.bytes());
        for line in lines {
            encode(line, real, &mut bytes);
            bytes.resize(bytes.len() + (wide - k) * real.bytes(), 0);
        }
        bytes.resize(n * wide * real.bytes(), 0);
        let at = self.place(&bytes)?;
        Ok(Matrix { at, n, k: wide, real })
    }

    /// Uploads tensors of the source, `[entries, width]` each, one after the other.
    pub(super) fn tables(
        &mut self,
        names: &[String],
        (entries, width): (usize, usize),
        real: Real,
    ) -> Result<Ptr, LoadError> {
        let one = entries * width * real.bytes();
        let at = self.backend.alloc(one * names.len())?;
        for (i, name) in names.iter().enumerate() {
            let values = self.source.values(name, &[entries, width])?;
            let mut bytes = Vec::with_capacity(one);
            encode(&values, real, &mut bytes);
            self.backend.write(at.plus(i * one), &bytes)?;
        }
        Ok(at)
    }

    /// Allocates zeroed memory.
    pub(super) fn space(&mut self, bytes: usize) -> Result<Ptr, LoadError> {
        Ok(self.backend.alloc(bytes)?)
    }

    fn place(&mut self, bytes: &[u8]) -> Result<Ptr, LoadError> {
        let at = self.backend.alloc(bytes.len())?;
        self.backend.write(at, bytes)?;
        Ok(at)
    }
}

fn encode(values: &[f32], real: Real, into: &mut Vec<u8>) {
    match real {
        Real::F32 => into.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        Real::Bf16 => into.extend(values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes())),
    }
}
