//! Checkpoint files: memory-mapped safetensors, of which every tensor is checked for presence, shape and type.

use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};

use super::error::LoadError;
use super::layout::conv::WEIGHT_NORM;
use super::layout::dtype::WeightFormat;
use super::layout::transformer::Stack;

/// Bytes of the length field before a safetensors header.
const LENGTH_FIELD: usize = 8;

/// One open checkpoint file.
pub(crate) struct Weights {
    path: PathBuf,
    map: Mmap,
    header: Metadata,
    data_at: usize,
}

impl Weights {
    /// Maps `path` and checks that the file is whole.
    ///
    /// # Errors
    /// The file cannot be read, or is not a whole safetensors file.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadError> {
        let read = |source| LoadError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        // SAFETY: the map is read while loading only; a file changed meanwhile gives wrong weights, not unsoundness
        // in practice, as with every program that maps model files.
        let map = unsafe { Mmap::map(&file) }.map_err(read)?;
        let (header_len, header) = SafeTensors::read_metadata(&map).map_err(|e| LoadError::Broken {
            path: path.to_owned(),
            reason: e.to_string(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            map,
            header,
            data_at: LENGTH_FIELD + header_len,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a string of the file's `__metadata__`.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Whether the file has the tensor `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// Returns the format of `name` in the file, f32 where the file does not have it.
    pub(crate) fn format(&self, name: &str) -> WeightFormat {
        match self.header.info(name).map(|info| info.dtype) {
            Some(Dtype::BF16) => WeightFormat::Bf16,
            Some(Dtype::F16) => WeightFormat::F16,
            _ => WeightFormat::F32,
        }
    }

    /// Returns how many values the whole file has.
    #[cfg(test)]
    pub(crate) fn elements(&self) -> u64 {
        let tensors = self.header.tensors();
        tensors
            .values()
            .map(|info| info.shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// Returns the bytes of all tensors as the file holds them.
    pub(crate) fn bytes_held(&self) -> u64 {
        self.header.data_len() as u64
    }

    /// Returns the values of `name`, which must have `shape`, as f32.
    ///
    /// # Errors
    /// The file does not have the tensor, or with another shape, or in another type than f32, f16 and bf16.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let (dtype, bytes) = self.bytes(name, shape)?;
        self.decode(name, dtype, bytes)
    }

    /// Returns the values of one of the matrices of shape `shape` that the tensor `name` holds one below the other.
    ///
    /// # Errors
    /// As for [`Self::values`].
    pub(crate) fn stacked(&self, name: &str, shape: [usize; 2], stack: Stack) -> Result<Vec<f32>, LoadError> {
        let [rows, cols] = shape;
        let (dtype, bytes) = self.bytes(name, &[rows * stack.of, cols])?;
        let len = bytes.len() / stack.of;
        self.decode(name, dtype, &bytes[stack.index * len..][..len])
    }

    fn decode(&self, name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, LoadError> {
        let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        match dtype {
            Dtype::F32 => Ok(bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()),
            Dtype::BF16 => Ok(pairs().map(|b| bf16::from_bits(b).to_f32()).collect()),
            Dtype::F16 => Ok(pairs().map(|b| f16::from_bits(b).to_f32()).collect()),
            other => Err(self.wrong_type(name, other)),
        }
    }

    /// Returns the weights of the convolution `name`, `[output, input, kernel]`, however the file spells them.
    ///
    /// # Errors
    /// As for [`Self::values`].
    pub(crate) fn conv(&self, name: &str, shape: [usize; 3]) -> Result<Vec<f32>, LoadError> {
        let spelt = WEIGHT_NORM.map(|(g, v)| (format!("{name}.{g}"), format!("{name}.{v}")));
        let Some((lengths, directions)) = spelt.into_iter().find(|(lengths, _)| self.has(lengths)) else {
            return self.values(&format!("{name}.weight"), &shape);
        };
        let lengths = self.values(&lengths, &[shape[0], 1, 1])?;
        let mut filters = self.values(&directions, &shape)?;
        for (filter, length) in filters.chunks_exact_mut(shape[1] * shape[2]).zip(lengths) {
            let norm = filter.iter().map(|x| x * x).sum::<f32>().sqrt();
            filter.iter_mut().for_each(|x| *x *= length / norm);
        }
        Ok(filters)
    }

    fn bytes(&self, name: &str, shape: &[usize]) -> Result<(Dtype, &[u8]), LoadError> {
        let Some(info) = self.header.info(name) else {
            let (path, name, shape) = (self.path.clone(), name.to_owned(), shape.to_vec());
            return Err(LoadError::Missing { path, name, shape });
        };
        if info.shape != shape {
            return Err(LoadError::Shape {
                path: self.path.clone(),
                name: name.to_owned(),
                found: info.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        // `read_metadata` has checked that offsets lie within the file and agree with the shape.
        let (from, to) = info.data_offsets;
        Ok((info.dtype, &self.map[self.data_at + from..self.data_at + to]))
    }

    fn wrong_type(&self, name: &str, found: Dtype) -> LoadError {
        LoadError::Dtype {
            path: self.path.clone(),
            name: name.to_owned(),
            found: format!("{found:?}"),
        }
    }
}
