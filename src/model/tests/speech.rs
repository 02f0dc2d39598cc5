//! A speaking model against what the reference implementation computed (see `tools/reference/speech.py`).

use std::sync::Arc;

use super::fixture::{Expected, folder, relative_error};
use super::speaker::{NAME, Speaker, about, config, config_of, model, speak, voice};
use crate::model::LoadOptions;
use crate::model::cpu::{Depformer, Formats, Frame, Input, MimiDecoder, Pool, SpeechModel};
use crate::model::device::Device;
use crate::model::layout::dtype::Real;
use crate::model::layout::mimi::MimiConfig;
use crate::model::layout::quantizer::ABSENT;
use crate::model::tts::codes::RowCodes;
use crate::model::tts::machine::TextInput;
use crate::model::tts::{TtsConfig, load};
use crate::model::weights::Weights;
use crate::stream::ids::RowId;
use crate::stream::text::Tokenize as _;
use crate::stream::voice::Voice;

const TOLERANCE: f32 = 1e-4;

// Audio of the reference's codes by the codec's decoder, which has fixtures of its own.
fn decoded(codes: &[u32], codebooks: usize, config: &TtsConfig) -> Vec<f32> {
    let w = Weights::open(&config.codec_file).unwrap();
    let (mimi, books) = (MimiConfig::of(&w).unwrap(), config.lm.dep_q);
    let mut decoder = MimiDecoder::load(&w, &mimi, books, 1).unwrap();
    let mut pool = Pool::new(1).unwrap();
    let frames = codes.chunks_exact(codebooks).flat_map(|codes| {
        let mut codes = codes.to_vec();
        codes.resize(books, ABSENT);
        let mut audio = vec![0.0; mimi.frame_samples()];
        decoder
            .decode(&mut pool, &[RowId(0)], &codes, &mut audio)
            .unwrap();
        audio.iter().map(|x| x.clamp(-0.99, 0.99)).collect::<Vec<f32>>()
    });
    frames.collect()
}

fn cases() -> [(&'static str, Speaker); 4] {
    let mut own = Speaker::named("second", 1.4);
    let unnamed = Voice {
        name: None,
        ..voice("second")
    };
    own.voice = Some(Arc::new(unnamed));
    let mut cut = Speaker::named("first", 2.0);
    cut.sampling.codebooks = Some(3);
    [
        ("first", Speaker::named("first", 2.0)),
        ("own", own),
        ("nobody", Speaker::default()),
        ("cut", cut),
    ]
}

#[test]
fn words_and_audio_are_those_of_the_references_tokens() {
    let expected = Expected::open(&folder(NAME));
    for (name, speaker) in cases() {
        let config = config_of(name);
        let mut model = model(&config, 1);
        speaker.begin(&mut *model, RowId(0));
        let speech = speak(&mut *model, &[RowId(0)]).remove(0);
        let ints = |key: &str| expected.ints(&format!("{name}.{key}"));
        let began: Vec<u32> = speech.began.iter().map(|frame| *frame as u32).collect();
        assert_eq!(began, ints("began"), "{name}");
        assert_eq!(speech.steps, u64::from(ints("end")[0]) + 10, "{name}");
        let codebooks = speaker.sampling.codebooks.map_or(config.lm.dep_q, |n| n as usize);
        let audio = decoded(&ints("frames"), codebooks, &config);
        assert_eq!(speech.audio.len(), audio.len(), "{name}");
        let error = relative_error(&speech.audio, &audio);
        assert!(error < 1e-6, "{name}: audio differs by {error:e}");
    }
}

// Codes that each step chose, read back from the reference's frames: of those that it did not show, any.
fn chosen(frames: &[u32], config: &TtsConfig, steps: usize) -> Vec<Vec<u32>> {
    let (books, first) = (config.lm.dep_q, config.audio_delay as usize);
    let code = |step: usize, book: usize| {
        let frame = step.checked_sub(first + config.lm.audio_delays()[book] as usize);
        let frame = frame.and_then(|frame| frames.chunks_exact(books).nth(frame));
        frame.map_or(0, |frame| frame[book])
    };
    let step = |step| (0..books).map(|book| code(step, book)).collect();
    (0..steps).map(step).collect()
}

#[test]
fn logits_of_text_and_codes_are_the_references() {
    let expected = Expected::open(&folder(NAME));
    let formats = Formats {
        weights: None,
        cache: Real::F32,
    };
    for (name, speaker) in cases().into_iter().take(3) {
        let config = config_of(name);
        let (w, mut pool) = (Weights::open(&config.lm_file).unwrap(), Pool::new(2).unwrap());
        let (row, books, delays) = (RowId(0), config.lm.dep_q, config.delays());
        let mut lm = SpeechModel::load(&w, &config, 1, formats, &mut pool).unwrap();
        let mut depformer = Depformer::load(&w, &config.lm.depformer(), 1, formats).unwrap();
        lm.set_guidance(row, config.row_sampling(&speaker.sampling).guidance);
        if let Some(voice) = &speaker.voice {
            lm.set_voice(&mut pool, row, voice).unwrap();
        }
        let fed = expected.ints(&format!("{name}.fed"));
        let stream = |token: &u32| TextInput {
            main: token % (config.lm.text_card as u32 + 1),
            second: (token / (config.lm.text_card as u32 + 1)).checked_sub(1),
        };
        let mut text = stream(&(config.lm.text_card as u32));
        let mut codes = RowCodes::new(&delays);
        let chosen = chosen(&expected.ints(&format!("{name}.frames")), &config, fed.len());
        let (mut text_logits, mut code_logits) = (Vec::new(), Vec::new());
        for (step, (token, chosen)) in fed.iter().zip(&chosen).enumerate() {
            let input = Input {
                row,
                step: step as u64,
                text,
                codes: &codes,
            };
            lm.step(&mut pool, &[row], [input].into_iter());
            if step % 9 == 0 {
                text_logits.extend_from_slice(lm.logits().next().unwrap());
            }
            text = stream(token);
            // The reference does not show the first code of the last two steps.
            if step >= 6 && step % 9 == 6 && step + 2 < fed.len() {
                let frame = Frame {
                    row,
                    text,
                    codebooks: books,
                };
                let mut hidden = lm.hidden(0).to_vec();
                hidden.resize(hidden.len() + 32, 0.0);
                let mut choose = |_: usize, book: usize, logits: &[f32]| {
                    code_logits.extend_from_slice(logits);
                    chosen[book]
                };
                depformer.choose(&mut pool, &[frame], &hidden, &mut choose);
            }
            codes.push(&delays, step as u64, chosen, books);
        }
        for (what, logits) in [("text_logits", text_logits), ("depformer_logits", code_logits)] {
            let want = expected.floats(&format!("{name}.{what}"));
            let error = relative_error(&logits, &want[..logits.len()]);
            assert!(logits.len() * 2 > want.len());
            assert!(error < TOLERANCE, "{name}: {what} differ by {error:e}");
        }
    }
}

#[test]
fn words_become_the_references_tokens() {
    let options = LoadOptions {
        rows: 1,
        threads: 1,
        device: Device::Cpu,
    };
    let text = load(&config(), options).unwrap().text;
    for case in about()["encoded"].as_array().unwrap() {
        let ids: Vec<u32> = case["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_u64().unwrap() as u32)
            .collect();
        let word = case["word"].as_str().unwrap();
        assert_eq!(text.encode(word), ids, "{word}");
    }
}
