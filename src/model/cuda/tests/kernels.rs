//! Kernels by themselves, where a whole step would not reach the case.

use crate::model::cpu::sampling;
use crate::model::cuda::backend::{Backend, Ptr};
use crate::model::cuda::emulator::Emulator;
use crate::model::cuda::kernels::{ChooseArgs, Kernel, NearestArgs, Slot};

fn floats(e: &mut Emulator, values: &[f32]) -> Ptr {
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let at = e.alloc(bytes.len()).unwrap();
    e.write(at, &bytes).unwrap();
    at
}

fn words(e: &mut Emulator, at: Ptr, n: usize) -> Vec<u32> {
    let mut bytes = vec![0; n * 4];
    e.finish().unwrap();
    e.read(at, &mut bytes).unwrap();
    bytes
        .chunks_exact(4)
        .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

#[test]
fn arguments_are_as_large_in_rust_as_in_the_kernels() {
    for kernel in Kernel::ALL {
        assert_eq!(
            Emulator::stated(*kernel),
            (kernel.args_size(), kernel.threads()),
            "{kernel:?}"
        );
    }
}

// Two entries equally near, a thread apart and a block apart; and products that are no numbers.
#[test]
fn of_equally_near_codes_the_lowest_is_taken() {
    for (bins, best) in [(2048, [700, 1500]), (2048, [256, 257]), (32, [3, 31])] {
        let mut e = Emulator::new();
        let mut products = vec![0.5f32; 2 * bins];
        best.iter().for_each(|i| products[*i] = 2.0);
        products[bins..].fill(f32::NAN);
        let entries: Vec<f32> = (0..bins * 8).map(|i| i as f32).collect();
        let args = NearestArgs {
            products: floats(&mut e, &products),
            half_norms: floats(&mut e, &vec![1.0; bins]),
            entries: floats(&mut e, &entries),
            residual: floats(&mut e, &[0.0; 16]),
            codes: floats(&mut e, &[9.0; 6]),
            bins: bins as u32,
            width: 8,
            books: 3,
            book: 1,
        };
        e.launch(Kernel::Nearest, [2, 1, 1], args);
        let codes = words(&mut e, args.codes, 6);
        assert_eq!((codes[1], codes[4]), (best[0] as u32, 0), "{bins} bins");
        assert!(
            codes[0] == codes[2] && codes[0] == 9.0f32.to_bits(),
            "only its own book"
        );
        let residual = words(&mut e, args.residual, 8);
        let want: Vec<u32> = (0..8).map(|c| (-((best[0] * 8 + c) as f32)).to_bits()).collect();
        assert_eq!(residual, want);
    }
}

#[test]
fn draws_are_those_of_the_cpus_sampler() {
    const VOCABULARY: usize = 1000;
    const STRIDE: usize = 1024;
    let mut e = Emulator::new();
    let seeds = [(0u64, 0u64), (7, 1), (u64::MAX, 99_999), (1 << 33, 3)];
    let mut logits = vec![0.0f32; seeds.len() * STRIDE];
    for (i, x) in logits.iter_mut().enumerate() {
        *x = ((i * 7919 % 613) as f32 - 300.0) / 150.0;
    }
    let slots: Vec<u8> = seeds
        .iter()
        .enumerate()
        .flat_map(|(row, (seed, step))| {
            let mut bytes = [0u8; size_of::<Slot>()];
            bytes[..8].copy_from_slice(&step.to_le_bytes());
            bytes[8..16].copy_from_slice(&seed.to_le_bytes());
            bytes[16..20].copy_from_slice(&(row as u32).to_le_bytes());
            bytes
        })
        .collect();
    let at = e.alloc(slots.len()).unwrap();
    e.write(at, &slots).unwrap();
    for temperature in [0.0, 0.6, 1.3] {
        let args = ChooseArgs {
            slots: at,
            logits: floats(&mut e, &logits),
            tokens: floats(&mut e, &[0.0; 4]),
            chosen: floats(&mut e, &[0.0; 4]),
            pauses: floats(&mut e, &[0.0; 8]),
            temperature,
            vocabulary: VOCABULARY as u32,
            stride: STRIDE as u32,
            heads: 2,
            classes: 6,
        };
        e.launch(Kernel::Choose, [4, 1, 1], args);
        let want: Vec<u32> = seeds
            .iter()
            .zip(logits.chunks_exact(STRIDE))
            .map(|((seed, step), line)| match temperature {
                t if t > 0.0 => sampling::gumbel(&line[..VOCABULARY], t, *seed, *step),
                _ => sampling::argmax(&line[..VOCABULARY]),
            })
            .collect();
        assert_eq!(words(&mut e, args.chosen, 4), want, "temperature {temperature}");
        assert_eq!(words(&mut e, args.tokens, 4), want);
        let pauses: Vec<f32> = words(&mut e, args.pauses, 8)
            .into_iter()
            .map(f32::from_bits)
            .collect();
        for (n, line) in logits.chunks_exact(STRIDE).enumerate() {
            for head in 0..2 {
                let classes = &line[VOCABULARY + head * 6..][..6];
                let total: f32 = classes.iter().map(|x| x.exp()).sum();
                assert!((pauses[n * 2 + head] - classes[0].exp() / total).abs() < 1e-6);
            }
        }
    }
}
