//! Rows of a speaking model against each other, and what it refuses.

use std::sync::Arc;

use super::speaker::{Speaker, config, model, speak};
use crate::model::layout::dtype::KvFormat;
use crate::model::{Part, Readiness, StepIo, StepOutput};
use crate::stream::ids::RowId;
use crate::stream::voice::Voice;

#[test]
fn a_row_is_bit_equal_alone_in_company_and_recycled() {
    let config = config();
    let speaker = Speaker::drawing("first", 7);
    let mut single = model(&config, 1);
    speaker.begin(&mut *single, RowId(0));
    let alone = speak(&mut *single, &[RowId(0)]).remove(0);
    assert!(!alone.audio.is_empty());

    let mut batch = model(&config, 6);
    let rows = [4, 1, 5, 0, 2].map(RowId);
    for round in 0..2 {
        // The rings of the model hold 16 steps: all have wrapped before a stream ends.
        for (i, row) in rows.iter().enumerate() {
            let mut other = Speaker::drawing(if i % 2 == 0 { "second" } else { "first" }, 100 + i as u64);
            other.sampling.codebooks = Some(1 + i as u32 * 2);
            other.begin(&mut *batch, *row);
        }
        let at = [3, 0][round];
        speaker.begin(&mut *batch, rows[at]);
        let spoken = speak(&mut *batch, &rows).remove(at);
        assert!(spoken == alone, "round {round}");
    }
}

#[test]
fn what_is_drawn_depends_on_the_rows_seed() {
    let config = config();
    let mut model = model(&config, 1);
    let mut draw = |seed| {
        Speaker::drawing("first", seed).begin(&mut *model, RowId(0));
        speak(&mut *model, &[RowId(0)]).remove(0)
    };
    let first = draw(1);
    assert!(draw(1) == first);
    assert!(draw(2) != first);
}

#[test]
fn a_voice_of_another_shape_is_refused_in_words() {
    let mut model = model(&config(), 1);
    let short = Voice {
        name: None,
        embedding: vec![0.0; 5 * 16].into(),
        steps: 5,
        width: 16,
    };
    let message = model
        .set_voice(RowId(0), &Arc::new(short))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("5 vectors of 16") && message.contains("6 of 16"),
        "{message}"
    );
}

#[test]
fn voices_beyond_those_kept_are_computed_anew_to_the_same() {
    let mut config = config();
    config.kept_voices = 1;
    let mut model = model(&config, 2);
    let mut say = |name| {
        Speaker::named(name, 2.0).begin(&mut *model, RowId(1));
        speak(&mut *model, &[RowId(1)]).remove(0)
    };
    let (first, second) = (say("first"), say("second"));
    assert!(first != second);
    assert!(say("first") == first);
}

#[test]
fn a_step_without_text_is_refused_and_light_steps_run_the_language_model_alone() {
    let mut model = model(&config(), 1);
    let mut out = StepOutput::default();
    let (rows, audio) = (&[RowId(0)][..], &[]);
    assert!(
        model
            .step(&mut StepIo {
                rows,
                audio,
                out: &mut out
            })
            .is_err()
    );
    Speaker::named("first", 2.0).begin(&mut *model, RowId(0));
    assert_eq!(model.readiness(RowId(0)), Readiness::Light);
    model
        .step(&mut StepIo {
            rows,
            audio,
            out: &mut out,
        })
        .unwrap();
    assert_eq!(out.sounds, [false]);
    assert!(out.parts.of(Part::Lm) > out.parts.of(Part::Depformer));
}

#[test]
fn keys_and_values_in_bf16_take_less_memory() {
    let mut config = config();
    let whole = model(&config, 1).spec().bytes_per_row;
    config.kv_cache = Some(KvFormat::Bf16);
    assert!(model(&config, 1).spec().bytes_per_row < whole);
}
