//! The word machine: text tokens of one stream become words with start and stop times.

/// Turns text token ids into text.
pub trait Detokenize: Send + Sync {
    /// Text of `ids`, without a leading space. Ids outside the vocabulary are skipped.
    fn decode(&self, ids: &[u32]) -> String;
}

/// What the machine heard in one step. Times are seconds of this stream's audio.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Word { text: String, start: f64 },
    EndWord { stop: f64 },
}
