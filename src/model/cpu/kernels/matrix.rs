//! Weight matrices in the formats a checkpoint or the configuration asks for.

use half::{bf16, f16};

use crate::model::layout::dtype::{Q8_BLOCK, WeightFormat};

/// Weights as they lie in memory. bf16 and f16 as their bits.
pub(crate) enum Data {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    F16(Vec<u16>),
    Q8 { q: Vec<i8>, scale: Vec<f32> },
}

/// A matrix of `rows × cols` weights, row-major. Rows are padded with zeros to a multiple of eight (32 for `Q8`), so
/// that kernels need no tail; inputs must be readable, and finite, up to [`Matrix::padded_cols`].
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) stride: usize,
    pub(crate) data: Data,
}

impl Matrix {
    /// Builds a matrix from f32 values, `rows × cols`, rounding them to `format`.
    pub(crate) fn new(rows: usize, cols: usize, values: &[f32], format: WeightFormat) -> Self {
        assert_eq!(values.len(), rows * cols, "a matrix has rows × cols values");
        let unit = if format == WeightFormat::Q8 { Q8_BLOCK } else { 8 };
        let stride = cols.next_multiple_of(unit);
        let padded = |row: usize| {
            let row = &values[row * cols..][..cols];
            row.iter().copied().chain(std::iter::repeat_n(0.0, stride - cols))
        };
        let all = (0..rows).flat_map(padded);
        let data = match format {
            WeightFormat::F32 => Data::F32(all.collect()),
            WeightFormat::Bf16 => Data::Bf16(all.map(|x| bf16::from_f32(x).to_bits()).collect()),
            WeightFormat::F16 => Data::F16(all.map(|x| f16::from_f32(x).to_bits()).collect()),
            WeightFormat::Q8 => quantise(all, rows * stride),
        };
        Self {
            rows,
            cols,
            stride,
            data,
        }
    }

    /// Returns the columns with padding: how far an input row must be readable.
    pub(crate) fn padded_cols(&self) -> usize {
        self.stride
    }

    /// Returns row `row` of a matrix held as f32; an empty slice for other formats.
    pub(crate) fn f32_row(&self, row: usize) -> &[f32] {
        match &self.data {
            Data::F32(w) => &w[row * self.stride..][..self.cols],
            _ => &[],
        }
    }

    /// Adds row `row` to `acc` (`cols` long).
    pub(crate) fn add_row_to(&self, row: usize, acc: &mut [f32]) {
        let at = row * self.stride;
        match &self.data {
            Data::F32(w) => acc.iter_mut().zip(&w[at..]).for_each(|(a, w)| *a += w),
            Data::Bf16(w) => {
                acc.iter_mut()
                    .zip(&w[at..])
                    .for_each(|(a, w)| *a += f32::from_bits(u32::from(*w) << 16));
            }
            Data::F16(w) => acc
                .iter_mut()
                .zip(&w[at..])
                .for_each(|(a, w)| *a += f16::from_bits(*w).to_f32()),
            Data::Q8 { q, scale } => {
                let scales = scale[at / Q8_BLOCK..]
                    .iter()
                    .flat_map(|s| std::iter::repeat_n(*s, Q8_BLOCK));
                for ((a, q), s) in acc.iter_mut().zip(&q[at..]).zip(scales) {
                    *a += f32::from(*q) * s;
                }
            }
        }
    }
}

fn quantise(values: impl Iterator<Item = f32>, n: usize) -> Data {
    let (mut q, mut scale) = (Vec::with_capacity(n), Vec::with_capacity(n / Q8_BLOCK));
    let mut values = values.peekable();
    while values.peek().is_some() {
        let mut block = [0.0f32; Q8_BLOCK];
        block.iter_mut().zip(&mut values).for_each(|(b, v)| *b = v);
        let max = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        // The scale is rounded to f16 first, as in ggml's q8_0, so that quantised files and quantising here agree.
        let s = f16::from_f32(max / 127.0).to_f32();
        let inverse = if s > 0.0 { 1.0 / s } else { 0.0 };
        q.extend(block.map(|x| (x * inverse).round().clamp(-127.0, 127.0) as i8));
        scale.push(s);
    }
    Data::Q8 { q, scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(m: &Matrix, row: usize) -> Vec<f32> {
        let mut acc = vec![0.0; m.cols];
        m.add_row_to(row, &mut acc);
        acc
    }

    #[test]
    fn formats_keep_values_within_their_precision() {
        let values: Vec<f32> = (0..3 * 40)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 17.0)
            .collect();
        for (format, tolerance) in [
            (WeightFormat::F32, 0.0),
            (WeightFormat::Bf16, 0.01),
            (WeightFormat::F16, 0.001),
            (WeightFormat::Q8, 0.013),
        ] {
            let m = Matrix::new(3, 40, &values, format);
            for row in 0..3 {
                for (got, want) in read_back(&m, row).iter().zip(&values[row * 40..]) {
                    assert!(
                        (got - want).abs() <= tolerance * want.abs().max(1.0),
                        "{format:?}: {got} for {want}"
                    );
                }
            }
        }
    }
}
