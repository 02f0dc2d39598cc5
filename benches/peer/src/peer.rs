//! The moshi crate, driven as Kyutai's server drives it: every row in the batch, a mask of the active ones.

use std::path::Path;
use std::time::Instant;

use candle::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use moshi::nn::MaybeQuantizedVarBuilder;
use moshi::{StreamMask, asr, lm, mimi};

use crate::Cost;
use crate::support::LmSize;
use moshi_server::model::device::Device as Place;

pub struct Peer {
    mimi: mimi::Mimi,
    state: asr::State,
    mask: StreamMask,
    rows: usize,
    device: Device,
}

/// Candle's name for the device.
fn device(place: Place) -> Device {
    match place {
        Place::Cpu => Device::Cpu,
        #[cfg(feature = "cuda")]
        Place::Cuda(ordinal) => Device::new_cuda(ordinal).expect("the moshi crate's GPU"),
    }
}

impl Peer {
    pub fn load(
        dir: &Path,
        size: &LmSize,
        dtype: &str,
        (active, rows): (usize, usize),
        place: Place,
    ) -> Self {
        let device = device(place);
        let dtype = if dtype == "bf16" { DType::BF16 } else { DType::F32 };
        let open = |name: &str, dtype| {
            // SAFETY: the file is ours and nothing writes it while it is mapped.
            unsafe { VarBuilder::from_mmaped_safetensors(&[dir.join(name)], dtype, &device) }
                .expect("a checkpoint")
        };
        let weights = MaybeQuantizedVarBuilder::Real(open("model.safetensors", dtype));
        let lm = lm::LmModel::batched(rows, &config(size), weights).expect("the moshi crate loads the model");
        let codec = mimi::Config::v0_1(Some(size.codebooks));
        let mimi =
            mimi::Mimi::batched(rows, codec, open("mimi.safetensors", DType::F32)).expect("and the codec");
        let state = asr::State::new(rows, size.delay as usize, 0.0, mimi.clone(), lm).expect("a state");
        let mask = StreamMask::new((0..rows).map(|i| i < active).collect(), &device).expect("a mask");
        Self {
            mimi,
            state,
            mask,
            rows,
            device,
        }
    }

    /// Every row is given `frame`; the mask says which are active.
    pub fn step(&mut self, frame: &[f32]) -> Cost {
        let pcm =
            Tensor::from_vec(frame.repeat(self.rows), (self.rows, 1, 1920), &self.device).expect("a tensor");
        self.wait();
        let begun = Instant::now();
        let codes = self
            .mimi
            .encode_step(&pcm.into(), &self.mask)
            .expect("the moshi crate encodes");
        self.wait();
        let codec = begun.elapsed();
        let codes = codes.as_option().expect("a frame in is a frame out");
        self.state
            .step_tokens(codes, None, &self.mask, |_, _, _| ())
            .expect("the moshi crate steps");
        self.wait();
        Cost {
            codec,
            lm: begun.elapsed() - codec,
        }
    }
}

impl Peer {
    /// What is queued on a GPU is done when this returns.
    fn wait(&self) {
        self.device.synchronize().expect("the device");
    }
}

fn config(size: &LmSize) -> lm::Config {
    let mut config = lm::Config::asr_v0_1_1b();
    config.text_in_vocab_size = size.text + 1;
    config.text_out_vocab_size = size.text;
    config.audio_codebooks = size.codebooks;
    config.extra_heads = (size.pause_heads > 0).then_some(lm::ExtraHeadsConfig {
        num_heads: size.pause_heads,
        dim: 6,
    });
    let transformer = &mut config.transformer;
    transformer.d_model = size.dim;
    transformer.num_heads = size.heads;
    transformer.num_layers = size.layers;
    transformer.dim_feedforward = size.dim * 4;
    transformer.context = size.context;
    transformer.max_period = 100_000;
    config
}
