//! A speaking fixture: its configuration, its script, and streams that speak it.

use std::sync::Arc;

use super::fixture::folder;
use crate::model::device::Device;
use crate::model::tts::{SpeechCheckpoint, TtsConfig, load};
use crate::model::voice_file;
use crate::model::{LoadOptions, Readiness, StepIo, StepOutput, StreamModel};
use crate::stream::ids::RowId;
use crate::stream::text::TextEntry;
use crate::stream::voice::{Sampling, Voice};

pub(super) const NAME: &str = "tiny-tts";

fn checkpoint() -> SpeechCheckpoint {
    SpeechCheckpoint::read(&folder(NAME).join("config.json")).unwrap()
}

pub(super) fn about() -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(folder(NAME).join("expected.json")).unwrap()).unwrap()
}

pub(in crate::model) fn config() -> TtsConfig {
    let mut config = TtsConfig::new(checkpoint());
    for file in [
        &mut config.lm_file,
        &mut config.codec_file,
        &mut config.tokenizer_file,
    ] {
        *file = folder(NAME).join(&*file);
    }
    // The script begins with the token of its own accord; voices are short; tokens are the likeliest.
    config.bos_token = None;
    config.voice_steps = 6;
    config.sampling.temperature = Some(0.0);
    config.sampling.text_temperature = Some(0.0);
    config
}

// One of the reference's runs has neither voice nor guidance.
pub(super) fn config_of(name: &str) -> TtsConfig {
    let mut config = config();
    if name == "nobody" {
        config.sampling.cfg = None;
    }
    config
}

fn script() -> Vec<TextEntry> {
    let entry = |entry: &serde_json::Value| match entry.as_array() {
        Some(tokens) => TextEntry::Word(tokens.iter().map(|t| t.as_u64().unwrap() as u32).collect()),
        None => TextEntry::Pause {
            steps: entry.as_u64().unwrap() as u32,
        },
    };
    about()["script"].as_array().unwrap().iter().map(entry).collect()
}

pub(super) fn voice(name: &str) -> Voice {
    let file = format!("{name}.wav{}", checkpoint().voice_suffix());
    voice_file::read(name, &folder(NAME).join(file)).unwrap()
}

pub(super) fn model(config: &TtsConfig, rows: usize) -> Box<dyn StreamModel> {
    let options = LoadOptions {
        rows,
        threads: 2,
        device: Device::Cpu,
    };
    load(config, options).unwrap().model
}

/// How one stream speaks.
#[derive(Clone, Default)]
pub(super) struct Speaker {
    pub(super) voice: Option<Arc<Voice>>,
    pub(super) sampling: Sampling,
}

impl Speaker {
    pub(super) fn named(name: &str, cfg: f32) -> Self {
        let sampling = Sampling {
            cfg: Some(cfg),
            ..Sampling::default()
        };
        Self {
            voice: Some(Arc::new(voice(name))),
            sampling,
        }
    }

    pub(super) fn drawing(name: &str, seed: u64) -> Self {
        let mut speaker = Self::named(name, 2.0);
        speaker.sampling.seed = Some(seed);
        speaker.sampling.temperature = Some(0.9);
        speaker.sampling.text_temperature = Some(0.9);
        speaker
    }

    pub(super) fn begin(&self, model: &mut dyn StreamModel, row: RowId) {
        model.reset_row(row, 1);
        model.set_sampling(row, &self.sampling);
        if let Some(voice) = &self.voice {
            model.set_voice(row, voice).unwrap();
        }
        script().into_iter().for_each(|entry| model.push_text(row, entry));
        model.end_text(row);
    }
}

/// What came of one stream.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Speech {
    pub(super) audio: Vec<f32>,
    pub(super) began: Vec<u64>,
    pub(super) steps: u64,
}

// Steps all of `rows` until they have finished; the first waits every third step.
pub(super) fn speak(model: &mut dyn StreamModel, rows: &[RowId]) -> Vec<Speech> {
    let mut speeches: Vec<Speech> = rows.iter().map(|_| Speech::default()).collect();
    let mut out = StepOutput::default();
    for tick in 0.. {
        let ready = |row: &RowId| {
            let state = model.readiness(*row);
            assert_ne!(state, Readiness::Waits);
            state != Readiness::Finished
        };
        let mut step: Vec<RowId> = rows.iter().copied().filter(ready).collect();
        if step.is_empty() {
            return speeches;
        }
        if tick % 3 == 2 && step.len() > 1 {
            step.remove(0);
        }
        let light: Vec<bool> = step
            .iter()
            .map(|row| model.readiness(*row) == Readiness::Light)
            .collect();
        let (rows_of_step, audio) = (&step[..], &[]);
        let io = &mut StepIo {
            rows: rows_of_step,
            audio,
            out: &mut out,
        };
        model.step(io).unwrap();
        let samples = model.spec().frame_samples;
        assert_eq!(
            (out.sounds.len(), out.audio.len()),
            (step.len(), step.len() * samples)
        );
        for (at, row) in step.iter().enumerate() {
            let speech = &mut speeches[rows.iter().position(|r| r == row).unwrap()];
            speech.steps += 1;
            assert!(!(light[at] && out.sounds[at]), "a light step gives no audio");
            if out.sounds[at] {
                speech
                    .audio
                    .extend_from_slice(&out.audio[at * samples..][..samples]);
            }
            let began = out.spoken.iter().filter(|spoken| spoken.at == at);
            for spoken in began {
                assert_eq!(spoken.entry as usize, speech.began.len());
                speech.began.push(spoken.frame);
            }
        }
    }
    unreachable!("a stream ends");
}
