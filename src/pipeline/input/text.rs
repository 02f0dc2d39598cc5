//! Text to the words and pauses that are said, as Kyutai's server prepares it.
//!
//! Text is split at white space. `’` becomes `'`, a colon separates words, en dashes and parentheses are left out. A tag
//! `<break time="1.5s"/>` is a pause.

use crate::stream::frame::FRAME_RATE;

/// Longest pause of one tag, in seconds.
const LONGEST_PAUSE: f64 = 10.0;
/// Most characters that are said as one word; more of them in a row are several.
const LONGEST_WORD: usize = 200;
/// Most bytes of a tag.
const LONGEST_TAG: usize = 64;

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Word(Box<str>),
    /// Silence of so many frames.
    Pause {
        steps: u32,
        /// How a client is told of it.
        text: Box<str>,
    },
}

/// Cuts a text into pieces, one at a time.
pub struct Cutter {
    text: String,
    at: usize,
}

impl Cutter {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the number of bytes that were not cut yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.text.len() - self.at
    }
}

impl Iterator for Cutter {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let (mut word, mut length) = (String::new(), 0);
        while let Some(c) = self.text[self.at..].chars().next() {
            let rest = &self.text[self.at..];
            if let Some((pause, size)) = tag(rest) {
                // A word in front of it comes first.
                if word.is_empty() {
                    self.at += size;
                    return Some(pause);
                }
                break;
            }
            if length == LONGEST_WORD {
                break;
            }
            self.at += c.len_utf8();
            match c {
                ':' if word.is_empty() => {}
                ':' => break,
                c if c.is_whitespace() && word.is_empty() => {}
                c if c.is_whitespace() => break,
                '\u{2013}' | '(' | ')' => {}
                c => {
                    word.push(if c == '\u{2019}' { '\'' } else { c });
                    length += 1;
                }
            }
        }
        (!word.is_empty()).then(|| Piece::Word(word.into()))
    }
}

// Reads a tag at the start of `text`: the pause, and the bytes of the tag.
fn tag(text: &str) -> Option<(Piece, usize)> {
    if !text.starts_with("<break") {
        return None;
    }
    let most = text.floor_char_boundary(LONGEST_TAG);
    let end = text[..most].find('>')?;
    let inner = text["<break".len()..end].trim();
    let value = inner.strip_suffix('/').unwrap_or(inner).trim();
    let value = value.strip_prefix("time")?.trim_start().strip_prefix('=')?;
    let value = value.trim().trim_matches(['"', '\'']);
    let (number, unit) = match value.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (value.strip_suffix('s')?, 1.0),
    };
    let seconds: f64 = number.trim().parse().ok()?;
    if !seconds.is_finite() || seconds < 0.0 {
        return None;
    }
    let seconds = seconds * unit;
    let pause = Piece::Pause {
        steps: ((seconds.min(LONGEST_PAUSE) * FRAME_RATE) as u32).max(1),
        text: format!("<break time=\"{seconds:.2}s\">").into(),
    };
    Some((pause, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<Piece> {
        Cutter::new(text.to_owned()).collect()
    }

    fn words(text: &str) -> Vec<String> {
        let word = |piece| match piece {
            Piece::Word(word) => word.into(),
            Piece::Pause { steps, .. } => format!("[{steps}]"),
        };
        cut(text).into_iter().map(word).collect()
    }

    #[test]
    fn text_is_prepared_as_kyutais_server_does() {
        assert_eq!(
            words("  It\u{2019}s five\u{2013}six (or so): yes\n"),
            ["It's", "fivesix", "or", "so", "yes"]
        );
        assert_eq!(words(" \u{2013} () : \t"), [""; 0]);
    }

    #[test]
    fn breaks_are_pauses_wherever_they_stand() {
        assert_eq!(
            words("a<break time=\"1.5s\"/>b <break time='240ms' /> c"),
            ["a", "[18]", "b", "[3]", "c"]
        );
        assert_eq!(
            cut("<break time=\"0.5s\"/>"),
            [Piece::Pause {
                steps: 6,
                text: "<break time=\"0.50s\">".into()
            }]
        );
        // At least a frame and at most ten seconds.
        assert_eq!(
            words("<break time=\"0s\"/><break time=\"99s\"/>"),
            ["[1]", "[125]"]
        );
    }

    #[test]
    fn what_only_looks_like_a_break_is_said() {
        for text in [
            "<break>",
            "<breakfast",
            "<break time=\"x\"/>",
            "<break time=\"-1s\"/>",
        ] {
            assert!(!words(text).concat().contains('['), "{text}");
        }
        assert_eq!(words("<break time"), ["<break", "time"]);
    }

    #[test]
    fn a_word_without_an_end_becomes_several() {
        let found = words(&"\u{5b57}".repeat(450));
        let lengths: Vec<_> = found.iter().map(|word| word.chars().count()).collect();
        assert_eq!(lengths, [200, 200, 50]);
    }
}
