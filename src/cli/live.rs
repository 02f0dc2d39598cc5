//! Captions that grow while they are heard, on standard error.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::client::Report;
use crate::protocol::kyutai::server::ServerMsg;

/// Characters of one line of captions.
const LINE: usize = 76;

/// Shows a stream's words as they come: in a terminal the line grows in place under a progress bar, elsewhere whole
/// lines are written.
pub(super) struct Live {
    bar: ProgressBar,
    terminal: bool,
    line: String,
}

impl Live {
    /// `length` of the audio is for the bar, when it is known.
    pub(super) fn new(length: Option<Duration>) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = match length {
            Some(length) => ProgressBar::new(length.as_millis() as u64),
            None => ProgressBar::no_length(),
        };
        let template = match length {
            Some(_) => "{wide_bar:.dim} {percent:>3} %\n{msg}",
            None => "{spinner} {elapsed}\n{msg}",
        };
        // invariant: both templates are valid; the default style is no worse than none.
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self {
            bar,
            terminal,
            line: String::new(),
        }
    }

    /// Takes a message of the server.
    pub(super) fn hear(&mut self, message: &ServerMsg) {
        match message {
            ServerMsg::Word { text, start_time } => {
                self.bar.set_position((start_time.max(0.0) * 1000.0) as u64);
                if self.line.chars().count() + 1 + text.chars().count() > LINE {
                    self.end_line();
                }
                if !self.line.is_empty() {
                    self.line.push(' ');
                }
                self.line.push_str(text);
                self.bar.set_message(self.line.clone());
            }
            ServerMsg::Queued { position } => {
                self.bar
                    .set_message(format!("waiting for a place, number {position}"));
            }
            ServerMsg::Draining { deadline_s } => {
                self.note(&format!("the server stops in {deadline_s:.0} s"));
            }
            _ => self.bar.tick(),
        }
    }

    /// Writes a line above the captions.
    pub(super) fn note(&self, text: &str) {
        if self.terminal {
            self.bar.println(text);
        } else {
            super::say(text);
        }
    }

    /// Shows what is left and takes the bar away.
    pub(super) fn finish(&mut self) {
        self.end_line();
        self.bar.finish_and_clear();
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.note(&line);
        }
    }
}

/// What a stream took, for people.
pub(super) fn summary(report: &Report) -> String {
    let words = report.transcript.words().len();
    let audio = report.audio.as_secs_f64();
    let speed = audio / report.took.as_secs_f64().max(1e-9);
    let mut text = format!(
        "{words} words in {audio:.1} s of audio, in {:.1} s ({speed:.1}x real time); ready after {} ms",
        report.took.as_secs_f64(),
        report.ready.as_millis()
    );
    if report.words.quantile(0.5).is_some() {
        text.push_str(&format!(
            "\nfrom the start of a spoken word to its text: {}",
            report.words
        ));
    }
    text
}
