//! Words with times to text, SRT and WebVTT subtitles, and JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::protocol::kyutai::server::ServerMsg;

/// Longest line of a subtitle, in characters, and lines of one cue.
const LINE: usize = 42;
const LINES: usize = 2;

/// A cue ends where the speaker pauses this long, after a sentence at half of it, or when it lasts this long. Seconds.
const PAUSE_S: f64 = 1.2;
const LONGEST_S: f64 = 6.0;

/// A cue stays at least this long where the next one leaves room. Seconds.
const SHORTEST_S: f64 = 0.8;

/// A segment lasts no longer. Seconds; what Whisper hears at once.
const LONGEST_SEGMENT_S: f64 = 30.0;

/// What a word without a known end is taken to last, and the most any word is. Seconds.
const WORD_S: f64 = 0.4;
const LONGEST_WORD_S: f64 = 1.5;

/// A word as it was heard. Times are seconds of the audio.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Word {
    pub text: String,
    pub start_time: f64,
    /// None while the word has not ended.
    pub stop_time: Option<f64>,
}

impl Word {
    /// Returns where the word ends, or is taken to end. What was heard may be the start of the next one, after a long silence.
    #[must_use]
    pub fn end(&self) -> f64 {
        let longest = self.start_time + LONGEST_WORD_S;
        self.stop_time
            .unwrap_or(self.start_time + WORD_S)
            .clamp(self.start_time, longest)
    }

    fn ends_sentence(&self) -> bool {
        self.text.ends_with(['.', '?', '!', '…'])
    }
}

/// Form of a transcript.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Words in lines, one a sentence or pause.
    #[default]
    Txt,
    /// One object with the text and each word's times.
    Json,
    /// SubRip subtitles.
    Srt,
    /// WebVTT subtitles.
    Vtt,
}

/// Collects the words of one stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    words: Vec<Word>,
}

impl Transcript {
    /// Takes a message of the server. Returns true when it began a word.
    pub fn hear(&mut self, message: &ServerMsg) -> bool {
        match message {
            ServerMsg::Word { text, start_time } => {
                self.words.push(Word {
                    text: text.clone(),
                    start_time: *start_time,
                    stop_time: None,
                });
                true
            }
            ServerMsg::EndWord { stop_time } => {
                if let Some(word) = self.words.last_mut() {
                    word.stop_time.get_or_insert(*stop_time);
                }
                false
            }
            _ => false,
        }
    }

    #[must_use]
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// Returns the words in segments: a sentence each, or what was said between two pauses, and never more than 30 s.
    #[must_use]
    pub fn segments(&self) -> Vec<&[Word]> {
        let mut segments = Vec::new();
        let mut first = 0;
        for (index, pair) in self.words.windows(2).enumerate() {
            let (word, next) = (&pair[0], &pair[1]);
            let long = next.end() - self.words[first].start_time > LONGEST_SEGMENT_S;
            if long || word.ends_sentence() || breaks(word, next) {
                segments.push(&self.words[first..=index]);
                first = index + 1;
            }
        }
        segments.extend(Some(&self.words[first..]).filter(|rest| !rest.is_empty()));
        segments
    }

    /// The transcript in `format`, with a line break at its end.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Txt => self.text(),
            Format::Json => self.json(),
            Format::Srt => self.srt(),
            Format::Vtt => self.vtt(),
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (index, word) in self.words.iter().enumerate() {
            let next = self.words.get(index + 1);
            out.push_str(&word.text);
            out.push(if next.is_some_and(|next| !breaks(word, next)) {
                ' '
            } else {
                '\n'
            });
        }
        out
    }

    fn json(&self) -> String {
        let text: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        let document = serde_json::json!({ "text": text.join(" "), "words": self.words });
        format!("{document:#}\n")
    }

    fn srt(&self) -> String {
        let mut out = String::new();
        for (index, cue) in self.cues().iter().enumerate() {
            let (start, stop) = (clock(cue.start, ','), clock(cue.stop, ','));
            let _ = writeln!(
                out,
                "{}\n{start} --> {stop}\n{}\n",
                index + 1,
                cue.lines.join("\n")
            );
        }
        out
    }

    fn vtt(&self) -> String {
        let mut out = "WEBVTT\n\n".to_owned();
        for cue in self.cues() {
            let (start, stop) = (clock(cue.start, '.'), clock(cue.stop, '.'));
            let _ = writeln!(out, "{start} --> {stop}\n{}\n", escape(&cue.lines.join("\n")));
        }
        out
    }

    fn cues(&self) -> Vec<Cue> {
        let mut cues: Vec<Cue> = Vec::new();
        let mut last: Option<&Word> = None;
        for word in &self.words {
            let fits = match (last, cues.last_mut()) {
                (Some(last), Some(cue)) if !breaks(last, word) && word.end() - cue.start <= LONGEST_S => {
                    cue.add(word)
                }
                _ => false,
            };
            if !fits {
                cues.push(Cue {
                    start: word.start_time,
                    stop: word.end(),
                    lines: vec![word.text.clone()],
                });
            }
            last = Some(word);
        }
        for index in 0..cues.len() {
            let limit = cues.get(index + 1).map_or(f64::INFINITY, |next| next.start);
            let cue = &mut cues[index];
            cue.stop = cue.stop.max(cue.start + SHORTEST_S).min(limit).max(cue.start);
        }
        cues
    }
}

struct Cue {
    start: f64,
    stop: f64,
    lines: Vec<String>,
}

impl Cue {
    /// Adds a word where there is room for it.
    fn add(&mut self, word: &Word) -> bool {
        let text = &word.text;
        let full = self.lines.len() == LINES;
        match self.lines.last_mut() {
            Some(line) if line.chars().count() + 1 + text.chars().count() <= LINE => {
                line.push(' ');
                line.push_str(text);
            }
            _ if full => return false,
            _ => self.lines.push(text.clone()),
        }
        self.stop = word.end();
        true
    }
}

/// True when a new line or cue starts between two words.
fn breaks(word: &Word, next: &Word) -> bool {
    let pause = next.start_time - word.end().min(next.start_time);
    // The end of a word is only known when the next one starts, so its start tells of pauses too.
    let silent = next.start_time - word.start_time - WORD_S;
    let pause = pause.max(silent);
    pause
        >= if word.ends_sentence() {
            PAUSE_S / 2.0
        } else {
            PAUSE_S
        }
}

/// WebVTT takes these for markup.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// `01:02:03,450`.
fn clock(seconds: f64, point: char) -> String {
    let ms = (seconds.max(0.0) * 1000.0).round() as u64;
    let (h, m, s, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    format!("{h:02}:{m:02}:{s:02}{point}{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(words: &[(&str, f64, Option<f64>)]) -> Transcript {
        let mut transcript = Transcript::default();
        for (text, start, stop) in words {
            assert!(transcript.hear(&ServerMsg::Word {
                text: (*text).to_owned(),
                start_time: *start
            }));
            if let Some(stop_time) = *stop {
                assert!(!transcript.hear(&ServerMsg::EndWord { stop_time }));
            }
        }
        transcript
    }

    #[test]
    fn a_pause_breaks_lines_and_cues() {
        let heard = transcript(&[
            ("hello", 0.5, Some(0.9)),
            ("there", 0.9, Some(1.2)),
            ("you", 3.0, None),
        ]);
        assert_eq!(heard.render(Format::Txt), "hello there\nyou\n");
        assert_eq!(
            heard.render(Format::Srt),
            "1\n00:00:00,500 --> 00:00:01,300\nhello there\n\n2\n00:00:03,000 --> 00:00:03,800\nyou\n\n"
        );
        assert_eq!(
            heard.render(Format::Vtt),
            "WEBVTT\n\n00:00:00.500 --> 00:00:01.300\nhello there\n\n00:00:03.000 --> 00:00:03.800\nyou\n\n"
        );
    }

    #[test]
    fn the_end_of_a_word_that_came_with_the_next_start_hides_no_pause() {
        let heard = transcript(&[("one", 0.0, Some(5.0)), ("two", 5.0, None)]);
        assert_eq!(heard.render(Format::Txt), "one\ntwo\n");
    }

    #[test]
    fn long_speech_is_cut_into_readable_cues() {
        let words: Vec<(String, f64)> = (0..200)
            .map(|i| (format!("word{i}"), f64::from(i) * 0.3))
            .collect();
        let words: Vec<_> = words
            .iter()
            .map(|(text, at)| (text.as_str(), *at, Some(at + 0.3)))
            .collect();
        let cues = transcript(&words).cues();
        let mut last = 0.0;
        for cue in &cues {
            assert!(cue.lines.len() <= LINES && cue.lines.iter().all(|line| line.len() <= LINE));
            assert!(cue.start >= last && cue.stop > cue.start && cue.stop - cue.start <= LONGEST_S + 1e-9);
            last = cue.stop;
        }
        let count: usize = cues
            .iter()
            .flat_map(|cue| &cue.lines)
            .map(|line| line.split(' ').count())
            .sum();
        assert_eq!(count, 200, "no word is lost");
    }

    #[test]
    fn segments_end_with_a_sentence_a_pause_or_after_thirty_seconds() {
        let said = transcript(&[
            ("One.", 0.0, Some(0.3)),
            ("two", 0.3, Some(0.6)),
            ("three", 2.5, Some(2.9)),
        ]);
        let lengths = |said: &Transcript| {
            said.segments()
                .iter()
                .map(|words| words.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths(&said), [1, 1, 1]);
        let words: Vec<_> = (0..200)
            .map(|i| ("on", f64::from(i) * 0.5, Some(f64::from(i) * 0.5 + 0.5)))
            .collect();
        assert_eq!(lengths(&transcript(&words)), [60, 60, 60, 20]);
        assert!(Transcript::default().segments().is_empty());
    }

    #[test]
    fn json_keeps_every_time() {
        let heard = transcript(&[("a<b", 0.08, Some(0.5)), ("c", 0.5, None)]);
        let json: serde_json::Value = serde_json::from_str(&heard.render(Format::Json)).unwrap();
        assert_eq!(json["text"], "a<b c");
        assert_eq!(json["words"][0]["stop_time"], 0.5);
        assert!(json["words"][1]["stop_time"].is_null());
        assert!(heard.render(Format::Vtt).contains("a&lt;b"));
    }

    #[test]
    fn nothing_heard_is_valid_output() {
        let silent = Transcript::default();
        assert_eq!(silent.render(Format::Txt), "");
        assert_eq!(silent.render(Format::Srt), "");
        assert_eq!(silent.render(Format::Vtt), "WEBVTT\n\n");
    }

    #[test]
    fn hours_have_their_place() {
        assert_eq!(clock(3723.4504, ','), "01:02:03,450");
        assert_eq!(clock(-1.0, '.'), "00:00:00.000");
    }
}
