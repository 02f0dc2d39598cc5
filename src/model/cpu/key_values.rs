//! Keys and values of one layer, in the format that the configuration asks for, and attention over them.

use std::ops::Range;

use half::bf16;

use super::kernels::{self, Hidden};
use crate::model::layout::dtype::Real;

#[derive(Clone)]
pub(super) struct Pair<T> {
    keys: Vec<T>,
    values: Vec<T>,
}

/// What is computed with them is f32; bf16 takes half the memory, and half of what attention reads. It is held as its bits,
/// so that zeroed memory need not be touched.
#[derive(Clone)]
pub(super) enum KeyValues {
    F32(Pair<f32>),
    Bf16(Pair<u16>),
}

impl KeyValues {
    /// Makes room for `size` numbers of keys and as many of values, all zero.
    pub(super) fn new(format: Real, size: usize) -> Self {
        match format {
            Real::F32 => Self::F32(Pair {
                keys: vec![0.0; size],
                values: vec![0.0; size],
            }),
            Real::Bf16 => Self::Bf16(Pair {
                keys: vec![0; size],
                values: vec![0; size],
            }),
        }
    }

    /// Stores one key and one value of a head.
    pub(super) fn put(&mut self, at: usize, key: &[f32], value: &[f32]) {
        match self {
            Self::F32(pair) => {
                pair.keys[at..][..key.len()].copy_from_slice(key);
                pair.values[at..][..value.len()].copy_from_slice(value);
            }
            Self::Bf16(pair) => {
                for (ring, vector) in [(&mut pair.keys, key), (&mut pair.values, value)] {
                    let places = ring[at..].iter_mut().zip(vector);
                    places.for_each(|(to, x)| *to = bf16::from_f32(*x).to_bits());
                }
            }
        }
    }

    /// Computes attention of the query `q` over the keys and values in `seen`, of which `hidden` get no weight.
    pub(super) fn attend(
        &self,
        q: &[f32],
        seen: Range<usize>,
        hidden: Hidden,
        scores: &mut [f32],
        out: &mut [f32],
    ) {
        match self {
            Self::F32(pair) => {
                kernels::attend(
                    q,
                    &pair.keys[seen.clone()],
                    &pair.values[seen],
                    hidden,
                    scores,
                    out,
                );
            }
            Self::Bf16(pair) => {
                kernels::attend_bf16(
                    q,
                    &pair.keys[seen.clone()],
                    &pair.values[seen],
                    hidden,
                    scores,
                    out,
                );
            }
        }
    }
}
