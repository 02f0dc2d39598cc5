use std::collections::VecDeque;

use proptest::prelude::*;

use super::{Machine, MachineRules, TextInput};
use crate::model::step::Readiness;
use crate::stream::text::TextEntry;

const RULES: MachineRules = MachineRules {
    ahead: 2,
    max_padding: 8,
    initial_padding: 2,
    final_padding: 4,
    padding_between: 1,
    bos: None,
    audio_delay: 16,
    acoustic_delay: 2,
};

/// One entry of the reference: tokens, none for a break, and the padding it forces.
type Entry = (Vec<u32>, i64);

/// The state machine of Kyutai's Python library (`moshi.models.tts.StateMachine`), line by line.
struct Reference {
    ahead: usize,
    max_padding: i64,
    entries: VecDeque<Entry>,
    queued: VecDeque<u32>,
    lookahead: VecDeque<u32>,
    remaining: i64,
    forced: i64,
    end_step: Option<u64>,
}

impl Reference {
    fn new(rules: &MachineRules, script: &[TextEntry]) -> Self {
        let entry = |entry: &TextEntry| match entry {
            TextEntry::Word(tokens) if rules.padding_between > 0 => {
                let padding = i64::from(rules.padding_between) + tokens.len() as i64 - 1;
                (tokens.to_vec(), padding.max(0))
            }
            TextEntry::Word(tokens) => (tokens.to_vec(), 0),
            TextEntry::Pause { steps } => (Vec::new(), i64::from(*steps)),
        };
        Self {
            ahead: rules.ahead,
            max_padding: i64::from(rules.max_padding),
            entries: script.iter().map(entry).collect(),
            queued: VecDeque::new(),
            lookahead: VecDeque::new(),
            remaining: i64::from(rules.initial_padding),
            forced: i64::from(rules.initial_padding),
            end_step: None,
        }
    }

    fn tokens_ahead(&self) -> Vec<u32> {
        let mut lookahead = self.ahead;
        for (tokens, _) in &self.entries {
            if !tokens.is_empty() {
                lookahead -= 1;
                if lookahead == 0 {
                    return tokens.clone();
                }
            }
        }
        Vec::new()
    }

    fn process(&mut self, step: u64, token: u32) -> (TextInput, bool) {
        let (new_word, pad) = (0, 3);
        let mut consumed = false;
        let mut token = if token == new_word { new_word } else { pad };
        if !self.queued.is_empty() || self.forced > 0 {
            token = pad;
        } else if self.remaining <= 0 {
            token = new_word;
        }
        if token == new_word {
            if let Some((tokens, padding)) = self.entries.pop_front() {
                consumed = true;
                if tokens.is_empty() {
                    token = pad;
                } else {
                    self.queued.extend(&tokens);
                    if self.ahead > 0 {
                        let ahead = self.tokens_ahead();
                        self.lookahead.extend(ahead);
                    }
                    self.remaining = self.max_padding;
                }
                self.forced = padding;
            } else {
                token = pad;
                if self.ahead > 0 && self.end_step.is_none() {
                    token = new_word;
                }
                if self.end_step.is_none() {
                    self.end_step = Some(step);
                }
            }
        }
        let mut output = new_word;
        if token == pad {
            self.remaining -= i64::from(self.remaining > 0);
            self.forced -= i64::from(self.forced > 0);
            output = self.queued.pop_front().unwrap_or(pad);
        }
        let mut second = None;
        if self.ahead > 0 {
            // The library compares the output with the token of new words, which no word's token equals.
            if token == new_word {
                second = Some(new_word);
                output = self.queued.pop_front().unwrap_or(pad);
            } else {
                second = self.lookahead.pop_front();
            }
        }
        (TextInput { main: output, second }, consumed)
    }
}

fn entry() -> impl Strategy<Value = TextEntry> {
    prop_oneof![
        5 => prop::collection::vec(4u32..8000, 1..6).prop_map(|tokens| TextEntry::Word(tokens.into())),
        1 => (1u32..20).prop_map(|steps| TextEntry::Pause { steps }),
    ]
}

fn rules() -> impl Strategy<Value = MachineRules> {
    (0usize..4, 1u32..9, 0u32..4, 0u32..3).prop_map(
        |(ahead, max_padding, initial_padding, padding_between)| MachineRules {
            ahead,
            max_padding,
            initial_padding,
            padding_between,
            ..RULES
        },
    )
}

proptest! {
    #[test]
    fn steps_are_the_references_however_late_text_comes(
        rules in rules(),
        script in prop::collection::vec(entry(), 1..20),
        asks in prop::collection::vec(any::<bool>(), 1..40),
        given_first in 0usize..20,
    ) {
        let mut reference = Reference::new(&rules, &script);
        let mut machine = Machine::new(rules);
        let mut waiting = script.iter().cloned();
        (&mut waiting).take(given_first).for_each(|entry| machine.push(entry));
        let mut begun = 0;
        for step in 0..5000u64 {
            while machine.readiness() == Readiness::Waits {
                match waiting.next() {
                    Some(entry) => machine.push(entry),
                    None => machine.end(),
                }
            }
            if machine.readiness() == Readiness::Finished {
                break;
            }
            let light = machine.readiness() == Readiness::Light;
            prop_assert_eq!(light, step < rules.audio_delay);
            let asks = asks[step as usize % asks.len()];
            let (text, consumed) = reference.process(step, if asks { 0 } else { 7 });
            let decision = machine.step(asks);
            prop_assert_eq!(decision.text, text, "step {}", step);
            prop_assert_eq!(decision.begun, consumed.then_some(begun));
            begun += u32::from(consumed);
        }
        prop_assert_eq!(begun as usize, script.len());
        let last = reference.end_step.unwrap() + rules.audio_delay + rules.acoustic_delay;
        prop_assert_eq!(machine.steps(), last + u64::from(rules.final_padding));
    }
}

fn word(token: u32) -> TextEntry {
    TextEntry::Word([token].into())
}

#[test]
fn the_first_words_wait_for_those_the_second_stream_tells_of() {
    let mut machine = Machine::new(RULES);
    assert_eq!(machine.readiness(), Readiness::Waits);
    machine.push(word(10));
    // The padding before the first word is the same whatever follows.
    for _ in 0..2 {
        assert_eq!(machine.readiness(), Readiness::Light);
        assert_eq!(machine.step(true).begun, None);
    }
    machine.push(word(11));
    assert_eq!(machine.readiness(), Readiness::Waits);
    machine.push(word(12));
    assert_eq!(machine.readiness(), Readiness::Light);
    let decision = machine.step(true);
    let second = Some(super::NEW_WORD);
    assert_eq!(
        (decision.begun, decision.text),
        (Some(0), TextInput { main: 10, second })
    );
    assert_eq!(machine.step(true).text.second, Some(12));
    assert_eq!(machine.readiness(), Readiness::Waits);
    machine.end();
    assert_eq!(machine.readiness(), Readiness::Light);
}

#[test]
fn a_pause_at_the_front_needs_no_words() {
    let mut machine = Machine::new(RULES);
    machine.push(TextEntry::Pause { steps: 5 });
    for step in 0..7 {
        assert_eq!(machine.readiness(), Readiness::Light, "step {step}");
        assert_eq!(machine.step(true).begun, (step == 2).then_some(0));
    }
    assert_eq!(machine.readiness(), Readiness::Waits);
}

#[test]
fn a_stream_without_text_is_finished_at_its_end() {
    let mut machine = Machine::new(RULES);
    machine.end();
    assert_eq!(machine.readiness(), Readiness::Finished);
    machine.reset();
    assert_eq!(machine.readiness(), Readiness::Waits);
}

#[test]
fn only_the_first_word_of_a_stream_follows_the_turn_of_its_speaker() {
    let mut machine = Machine::new(MachineRules {
        bos: Some(1),
        ..RULES
    });
    machine.push(TextEntry::Pause { steps: 1 });
    machine.push(word(10));
    machine.push(word(11));
    machine.end();
    let mut fed: Vec<u32> = (0..12).map(|_| machine.step(true).text.main).collect();
    fed.retain(|token| *token != super::PAD);
    assert_eq!(fed, [1, 10, 11]);
}
