//! Reading checkpoints: memory-mapped safetensors, every tensor checked for presence, shape and type.

use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};

use super::cpu::matrix::{Matrix, WeightFormat};
use super::error::LoadError;

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

    /// A string from the file's `__metadata__`.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    /// Number format of `name`, where the file has it.
    #[cfg(feature = "cuda")]
    pub(crate) fn dtype(&self, name: &str) -> Option<Dtype> {
        self.header.info(name).map(|info| info.dtype)
    }

    /// Values in the whole file.
    pub(crate) fn elements(&self) -> usize {
        self.header
            .tensors()
            .values()
            .map(|info| info.shape.iter().product::<usize>())
            .sum()
    }

    /// Bytes of all tensors as the file holds them.
    pub(crate) fn bytes_held(&self) -> usize {
        self.header.data_len()
    }

    /// Values of `name`, which must have `shape`, as f32.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let (dtype, bytes) = self.bytes(name, shape)?;
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

    /// `name` as a `rows × cols` matrix, held in `format` or, without one, as the file holds it.
    pub(crate) fn matrix(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
        format: Option<WeightFormat>,
    ) -> Result<Matrix, LoadError> {
        let values = self.values(name, &[rows, cols])?;
        let held = match self.header.info(name).map(|info| info.dtype) {
            Some(Dtype::BF16) => WeightFormat::Bf16,
            Some(Dtype::F16) => WeightFormat::F16,
            _ => WeightFormat::F32,
        };
        Ok(Matrix::new(rows, cols, &values, format.unwrap_or(held)))
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
