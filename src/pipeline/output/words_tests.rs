use proptest::prelude::*;

use super::*;

struct Letters;

impl Detokenize for Letters {
    fn decode(&self, ids: &[u32]) -> String {
        ids.iter().filter_map(|id| char::from_u32(id + 90)).collect()
    }
}

fn run(machine: &mut WordMachine, steps: &[(u32, &[f32])]) -> Vec<(usize, WordEvent)> {
    let mut heard = Vec::new();
    for (i, (token, pauses)) in steps.iter().enumerate() {
        machine.step(*token, pauses, &Letters, &mut |h| heard.push((i, h)));
    }
    heard
}

fn word(text: &str, start: f64) -> WordEvent {
    WordEvent::Word {
        text: text.to_owned(),
        start,
    }
}

/// Kyutai's rules as `kyutai-labs/moshi` states them, written down a second time without our additions.
fn reference(delay: u64, tokens: &[u32]) -> Vec<(usize, WordEvent)> {
    let (mut buffer, mut last_stop, mut open, mut heard) = (Vec::new(), 0.0, false, Vec::new());
    for (i, token) in tokens.iter().enumerate() {
        let n = i as u64 + 1;
        if n < delay {
            continue;
        }
        let tau = (n - delay) as f64 / 12.5;
        if (*token == 3 || *token == 0) && !buffer.is_empty() {
            heard.push((
                i,
                WordEvent::Word {
                    text: Letters.decode(&buffer),
                    start: last_stop,
                },
            ));
            buffer.clear();
            open = true;
        } else if *token != 0 && *token != 3 {
            buffer.push(*token);
        }
        if *token == 0 {
            if open {
                heard.push((i, WordEvent::End { stop: tau }));
                open = false;
            }
            last_stop = tau;
        }
    }
    heard
}

#[test]
fn a_word_ends_where_the_next_one_starts() {
    let mut machine = WordMachine::new(2, 12.5);
    let steps: Vec<(u32, &[f32])> = [3, 3, 0, 7, 8, 3, 0, 9, 3].map(|t| (t, &[] as &[f32])).to_vec();
    assert_eq!(
        run(&mut machine, &steps),
        [
            (5, word("ab", 0.08)),
            (6, WordEvent::End { stop: 0.4 }),
            (8, word("c", 0.4)),
        ]
    );
}

#[test]
fn tokens_before_the_delay_are_not_text() {
    let mut machine = WordMachine::new(3, 12.5);
    let steps: Vec<(u32, &[f32])> = vec![(7, &[]), (7, &[]), (8, &[]), (3, &[])];
    assert_eq!(run(&mut machine, &steps), [(3, word("b", 0.0))]);
}

#[test]
fn a_predicted_pause_ends_the_word_at_once() {
    let mut machine = WordMachine::new(0, 12.5);
    let mut steps: Vec<(u32, &[f32])> = vec![(3, &[0.0, 0.0, 0.9, 0.0]); 12];
    steps.extend([
        (7, [0.0f32, 0.0, 0.1, 0.0].as_slice()),
        (3, &[0.9f32, 0.9, 0.6, 0.9]),
        (3, &[0.0, 0.0, 0.7, 0.0]),
    ]);
    assert_eq!(
        run(&mut machine, &steps),
        [(13, word("a", 0.0)), (14, WordEvent::End { stop: 1.2 })]
    );
}

#[test]
fn predictions_of_the_first_frames_are_not_trusted() {
    let mut machine = WordMachine::new(0, 12.5);
    let steps: Vec<(u32, &[f32])> = vec![(7, &[]), (3, &[0.0, 0.0, 1.0]), (3, &[0.0, 0.0, 1.0])];
    assert_eq!(run(&mut machine, &steps), [(1, word("a", 0.0))]);
}

#[test]
fn without_predictions_quiet_frames_end_the_word() {
    let mut machine = WordMachine::new(0, 12.5);
    let mut steps: Vec<(u32, &[f32])> = vec![(7, &[])];
    steps.extend([(3, &[] as &[f32]); 20]);
    assert_eq!(
        run(&mut machine, &steps),
        [(1, word("a", 0.0)), (8, WordEvent::End { stop: 0.72 })]
    );
}

#[test]
fn the_end_of_the_stream_announces_what_is_left() {
    let mut machine = WordMachine::new(1, 12.5);
    run(&mut machine, &[(3, &[]), (0, &[]), (7, &[])]);
    let mut heard = Vec::new();
    machine.finish(&Letters, &mut |h| heard.push(h));
    machine.finish(&Letters, &mut |h| heard.push(h));
    assert_eq!(heard, [word("a", 0.08), WordEvent::End { stop: 0.16 }]);
}

#[test]
fn a_reset_in_mid_stream_drops_pieces_and_keeps_the_clock() {
    let mut machine = WordMachine::new(1, 12.5);
    run(&mut machine, &[(3, &[]), (7, &[])]);
    machine.reset(machine.frames());
    assert_eq!(machine.frames(), 2);
    let steps: Vec<(u32, &[f32])> = vec![(3, &[]), (0, &[]), (8, &[]), (0, &[])];
    assert_eq!(
        run(&mut machine, &steps),
        [(3, word("b", 0.24)), (3, WordEvent::End { stop: 0.4 })]
    );
}

proptest! {
    #[test]
    fn agrees_with_the_published_rules(delay in 0u64..10, tokens in prop::collection::vec(0u32..12, 0..200)) {
        let steps: Vec<(u32, &[f32])> = tokens.iter().map(|t| (*t, [0.0f32, 0.0, 0.9].as_slice())).collect();
        let mut plain = WordMachine::new(delay as u32, 12.5).with_rule(None);
        prop_assert_eq!(run(&mut plain, &steps), reference(delay, &tokens));
    }

    #[test]
    fn early_ends_change_no_word_and_never_come_later(delay in 0u64..10, tokens in prop::collection::vec(0u32..12, 0..200)) {
        let steps: Vec<(u32, &[f32])> = tokens.iter().map(|t| (*t, [0.0f32; 0].as_slice())).collect();
        let ours = run(&mut WordMachine::new(delay as u32, 12.5), &steps);
        let theirs = reference(delay, &tokens);
        let words = |heard: &[(usize, WordEvent)]| -> Vec<_> {
            heard.iter().filter(|(_, h)| matches!(h, WordEvent::Word { .. })).cloned().collect()
        };
        let ends = |heard: &[(usize, WordEvent)]| -> Vec<usize> {
            heard.iter().filter(|(_, h)| matches!(h, WordEvent::End { .. })).map(|(i, _)| *i).collect()
        };
        prop_assert_eq!(words(&ours), words(&theirs));
        for (early, late) in ends(&ours).iter().zip(ends(&theirs)) {
            prop_assert!(*early <= late);
        }
    }
}
