use super::*;
use crate::model::layout::dtype::WeightFormat;

fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed;
    let mut next = || {
        s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (s >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn product(threads: usize, w: &Matrix, rows: usize, x: &[f32]) -> Vec<f32> {
    let mut pool = Pool::new(threads).unwrap();
    let mut y = vec![0.0; rows * w.rows];
    let input = Input {
        data: x,
        layout: Layout::dense(w.padded_cols()),
    };
    let output = Output {
        data: &mut y,
        layout: Layout::dense(w.rows),
        write: Write::Set,
    };
    gemm(&mut pool, w, rows, input, None, output);
    y
}

#[test]
fn agrees_with_the_definition_for_every_shape_of_tile() {
    for (outs, cols) in [(1, 8), (5, 24), (8, 40), (13, 64), (49, 96)] {
        for rows in [1, 2, 3, 4, 5, 7, 9] {
            let w = Matrix::new(outs, cols, &values(outs * cols, 1), WeightFormat::F32);
            let x = values(rows * cols, 2);
            let y = product(2, &w, rows, &x);
            for (i, got) in y.iter().enumerate() {
                let mut want = 0.0f64;
                let mut row = vec![0.0; cols];
                w.add_row_to(i % outs, &mut row);
                for (a, b) in row.iter().zip(&x[i / outs * cols..]) {
                    want += f64::from(a * b);
                }
                assert!(
                    (f64::from(*got) - want).abs() < 1e-4,
                    "{outs}x{cols}, {rows} rows: {got} for {want}"
                );
            }
        }
    }
}

#[test]
fn a_row_is_bit_equal_alone_and_among_others_on_any_number_of_threads() {
    for format in [
        WeightFormat::F32,
        WeightFormat::Bf16,
        WeightFormat::F16,
        WeightFormat::Q8,
    ] {
        let w = Matrix::new(301, 288, &values(301 * 288, 3), format);
        let x = values(11 * 288, 4);
        let together = product(2, &w, 11, &x);
        for row in 0..11 {
            let alone = product(1, &w, 1, &x[row * 288..][..288]);
            assert_eq!(alone, together[row * 301..][..301], "{format:?}, row {row}");
        }
    }
}

#[test]
fn overlapping_windows_are_a_convolution() {
    let (channels, kernel, stride, steps) = (8, 4, 2, 3);
    let w = Matrix::new(
        5,
        kernel * channels,
        &values(5 * kernel * channels, 5),
        WeightFormat::F32,
    );
    let x = values(((steps - 1) * stride + kernel) * channels, 6);
    let mut y = vec![1.0; steps * 5];
    let layout = Layout {
        base: 0,
        group_len: steps,
        group_stride: 0,
        row_stride: stride * channels,
    };
    let output = Output {
        data: &mut y,
        layout: Layout::dense(5),
        write: Write::Add,
    };
    gemm(
        &mut Pool::new(1).unwrap(),
        &w,
        steps,
        Input { data: &x, layout },
        Some(&[0.5; 5]),
        output,
    );
    for t in 0..steps {
        let alone = product(1, &w, 1, &x[t * stride * channels..][..kernel * channels]);
        for o in 0..5 {
            assert_eq!(y[t * 5 + o], 1.0 + (alone[o] + 0.5));
        }
    }
}
