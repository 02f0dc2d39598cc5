use proptest::prelude::*;

use super::*;

fn rules() -> Rules {
    Rules {
        endpoint: Some(Duration::from_millis(300)),
        utterance_end: Some(Duration::from_secs(1)),
        most_words: 12,
        longest: Duration::from_secs(5),
    }
}

/// A stream and what the segmenter makes of it.
struct Heard {
    segmenter: Segmenter,
    now: Instant,
    frame: u64,
    heads: usize,
    events: Vec<Event>,
}

impl Heard {
    fn new(rules: Rules, heads: usize) -> Self {
        Self {
            segmenter: Segmenter::new(rules),
            now: Instant::now(),
            frame: 0,
            heads,
            events: Vec::new(),
        }
    }

    fn hear(&mut self, output: &Output) {
        self.segmenter.hear(output, self.now, &mut self.events);
    }

    /// Steps whose every head says `pause`.
    fn steps(&mut self, steps: u64, pause: f32) {
        for _ in 0..steps {
            self.now += FRAME_DURATION;
            let step = Output::Step {
                frame: self.frame,
                pauses: std::iter::repeat_n(pause, self.heads).collect(),
                queued: 0,
            };
            self.frame += 1;
            self.hear(&step);
        }
    }

    fn word(&mut self, text: &str, start: f64, stop: f64) {
        let text = text.to_owned();
        self.hear(&Output::Word { text, start });
        self.hear(&Output::WordEnd { stop });
    }

    /// What happened since it was last asked, in short.
    fn told(&mut self) -> Vec<String> {
        let told = self.events.drain(..).map(|event| match event {
            Event::SpeechStarted { at } => format!("speech {at:.2}"),
            Event::Word => "word".to_owned(),
            Event::Final {
                words,
                start,
                end,
                cause,
            } => {
                let words: Vec<_> = words.into_iter().map(|word| word.text).collect();
                format!("{cause:?} [{}] {start:.2}-{end:.2}", words.join(" "))
            }
            Event::UtteranceEnd { last_word_end } => format!("utterance end {last_word_end:.2}"),
        });
        told.collect()
    }
}

#[test]
fn a_pause_asks_for_a_flush_and_its_answer_ends_the_utterance() {
    let mut heard = Heard::new(rules(), 4);
    heard.steps(20, 0.9);
    assert_eq!(heard.told(), [""; 0], "nobody spoke");
    heard.steps(5, 0.1);
    heard.word("hello", 1.7, 1.9);
    assert_eq!(heard.told(), ["speech 1.60", "word"]);
    heard.steps(2, 0.55);
    assert!(!heard.segmenter.take_flush(), "the heads are not sure");
    heard.steps(1, 0.7);
    assert!(heard.segmenter.take_flush());
    heard.steps(1, 0.9);
    assert!(!heard.segmenter.take_flush(), "one is under way");
    heard.word("world", 2.0, 2.2);
    heard.hear(&Output::Flushed);
    assert_eq!(heard.told(), ["word", "Endpoint [hello world] 0.00-2.32"]);
    heard.steps(14, 0.9);
    assert_eq!(
        heard.told(),
        ["utterance end 2.20"],
        "once, after a second of silence"
    );
    heard.steps(14, 0.9);
    assert_eq!(heard.told(), [""; 0]);
    assert!(!heard.segmenter.take_flush());
}

#[test]
fn the_head_is_the_one_that_stands_for_the_silence_asked_for() {
    for (asked, head) in [(10, 0), (500, 0), (501, 1), (1000, 1), (2000, 2), (5000, 3)] {
        let endpoint = Some(Duration::from_millis(asked));
        for likely in 0..4 {
            let mut heard = Heard::new(Rules { endpoint, ..rules() }, 4);
            heard.word("so", 0.1, 0.2);
            let pauses = (0..4).map(|at| if at == likely { 0.9 } else { 0.5 }).collect();
            heard.hear(&Output::Step {
                frame: 40,
                pauses,
                queued: 0,
            });
            assert_eq!(
                heard.segmenter.take_flush(),
                head == likely,
                "{asked} ms, head {likely}"
            );
        }
    }
}

#[test]
fn the_first_frames_of_a_stream_prove_nothing() {
    let mut heard = Heard::new(rules(), 4);
    heard.steps(UNSETTLED, 0.0);
    assert_eq!(heard.told(), [""; 0]);
    heard.steps(1, 0.0);
    assert_eq!(heard.told(), ["speech 0.96"]);
}

#[test]
fn a_client_gets_one_final_per_flush_even_while_the_segmenter_waits_for_its_own() {
    let mut heard = Heard::new(rules(), 4);
    heard.steps(20, 0.1);
    heard.word("one", 1.0, 1.2);
    heard.told();
    heard.steps(1, 0.9);
    assert!(heard.segmenter.take_flush());
    heard.hear(&Output::Flushed);
    heard.hear(&Output::Flushed);
    heard.hear(&Output::Flushed);
    assert_eq!(
        heard.told(),
        [
            "Endpoint [one] 0.00-1.68",
            "Flush [] 1.68-1.68",
            "Flush [] 1.68-1.68"
        ]
    );
}

#[test]
fn a_long_utterance_is_cut_at_the_end_of_a_word() {
    let most = Rules {
        most_words: 2,
        ..rules()
    };
    let mut heard = Heard::new(most, 4);
    heard.word("a", 0.0, 0.3);
    heard.word("b", 0.4, 0.6);
    heard.word("c", 0.7, 6.0);
    assert_eq!(
        heard.told(),
        [
            "speech 0.00",
            "word",
            "word",
            "Long [a b] 0.00-0.60",
            "word",
            "Long [c] 0.60-6.00"
        ]
    );
    heard.hear(&Output::End);
    assert_eq!(heard.told(), [""; 0], "no words are left");
}

#[test]
fn without_heads_frames_without_text_end_the_utterance() {
    let mut heard = Heard::new(rules(), 0);
    heard.steps(20, 0.0);
    heard.hear(&Output::Word {
        text: "hi".to_owned(),
        start: 0.5,
    });
    heard.steps(QUIET - 1, 0.0);
    assert!(!heard.segmenter.take_flush());
    heard.hear(&Output::WordEnd { stop: 0.7 });
    heard.steps(1, 0.0);
    assert!(heard.segmenter.take_flush());
    heard.hear(&Output::Flushed);
    heard.steps(5, 0.0);
    assert_eq!(
        heard.told(),
        [
            "speech 0.50",
            "word",
            "Endpoint [hi] 0.00-2.24",
            "utterance end 0.70"
        ]
    );
}

#[test]
fn audio_that_stops_coming_ends_the_utterance_by_the_wall_clock() {
    let mut heard = Heard::new(rules(), 4);
    assert_eq!(heard.segmenter.deadline(), None);
    heard.steps(20, 0.1);
    heard.word("wait", 1.0, 1.2);
    let deadline = heard.segmenter.deadline().unwrap();
    assert_eq!(deadline, heard.now + STOPPED);
    heard.segmenter.tick(deadline - Duration::from_millis(1));
    assert!(!heard.segmenter.take_flush());
    heard.segmenter.tick(deadline);
    assert!(heard.segmenter.take_flush());
    assert_eq!(heard.segmenter.deadline(), None, "its answer is waited for");
    heard.hear(&Output::Flushed);
    assert_eq!(heard.segmenter.deadline(), None, "nobody speaks");
}

#[test]
fn words_that_were_in_the_model_when_the_audio_stopped_come_out() {
    let mut heard = Heard::new(rules(), 4);
    heard.steps(6, 0.1);
    assert_eq!(
        heard.told(),
        [""; 0],
        "the first frames prove nothing, and the text lags"
    );
    let deadline = heard.segmenter.deadline().unwrap();
    heard.segmenter.tick(deadline);
    assert!(heard.segmenter.take_flush());
    heard.word("hi", 0.1, 0.3);
    heard.hear(&Output::Flushed);
    assert_eq!(heard.told(), ["speech 0.10", "word", "Endpoint [hi] 0.00-0.48"]);
    heard.steps(1, 0.9);
    heard.segmenter.tick(heard.segmenter.deadline().unwrap());
    assert!(heard.segmenter.take_flush());
    heard.hear(&Output::Flushed);
    assert_eq!(heard.told(), [""; 0], "silence that stops is no utterance");
    assert_eq!(heard.segmenter.deadline(), None, "it is flushed once");
}

#[test]
fn without_endpoints_only_the_client_ends_an_utterance() {
    let never = Rules {
        endpoint: None,
        utterance_end: None,
        ..rules()
    };
    let mut heard = Heard::new(never, 4);
    heard.word("yes", 0.1, 0.3);
    heard.steps(60, 1.0);
    assert!(!heard.segmenter.take_flush());
    assert_eq!(heard.segmenter.deadline(), None);
    heard.hear(&Output::Flushed);
    assert_eq!(heard.told(), ["speech 0.10", "word", "Flush [yes] 0.00-4.80"]);
}

#[test]
fn an_end_that_is_not_known_is_estimated_within_what_was_heard() {
    let mut heard = Heard::new(rules(), 4);
    heard.steps(10, 0.9);
    for (start, end) in [(0.1, 0.5), (0.6, 0.8)] {
        heard.hear(&Output::Word {
            text: "x".to_owned(),
            start,
        });
        let word = heard.segmenter.open().last().unwrap();
        assert!((word.end - end).abs() < 1e-9, "{word:?}");
    }
}

#[derive(Clone, Debug)]
enum Said {
    Step(f32),
    Word(u8),
    WordEnd,
    ClientFlush,
    Silence(u16),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        6 => (0.0f32..1.0).prop_map(Said::Step),
        3 => (1u8..9).prop_map(Said::Word),
        2 => Just(Said::WordEnd),
        1 => Just(Said::ClientFlush),
        1 => (0u16..2000).prop_map(Said::Silence),
    ]
}

proptest! {
    #[test]
    fn every_word_is_in_exactly_one_final_in_order(
        stream in prop::collection::vec(said(), 0..300),
        heads in 0usize..5,
        endpoint in prop::option::of(0u64..3000),
        most_words in 1usize..6,
    ) {
        let endpoint = endpoint.map(Duration::from_millis);
        let mut heard = Heard::new(Rules { endpoint, most_words, ..rules() }, heads);
        let (mut at, mut words, mut flushes) = (0.0, Vec::new(), 0);
        for said in stream {
            match said {
                Said::Step(pause) => heard.steps(1, pause),
                Said::Word(gap) => {
                    at += f64::from(gap) * 0.08;
                    let text = words.len().to_string();
                    words.push(text.clone());
                    heard.hear(&Output::Word { text, start: at });
                }
                Said::WordEnd => heard.hear(&Output::WordEnd { stop: at + 0.05 }),
                Said::ClientFlush => {
                    flushes += 1;
                    heard.hear(&Output::Flushed);
                }
                Said::Silence(ms) => {
                    heard.now += Duration::from_millis(ms.into());
                    heard.segmenter.tick(heard.now);
                }
            }
            if heard.segmenter.take_flush() {
                heard.hear(&Output::Flushed);
            }
        }
        heard.hear(&Output::End);
        let (mut finals, mut cut, mut answers, mut interims) = (Vec::new(), 0.0, 0, 0);
        for event in heard.events {
            match event {
                Event::Final { words, start, end, cause } => {
                    prop_assert!(start == cut && end >= start, "{start}-{end} after {cut}");
                    prop_assert!(words.iter().all(|word| word.end >= word.start));
                    cut = end;
                    answers += usize::from(cause == Cause::Flush);
                    finals.extend(words.into_iter().map(|word| word.text));
                }
                Event::Word => interims += 1,
                Event::SpeechStarted { .. } | Event::UtteranceEnd { .. } => {}
            }
        }
        prop_assert_eq!(&finals, &words);
        prop_assert_eq!(interims, words.len());
        prop_assert_eq!(answers, flushes);
    }
}
