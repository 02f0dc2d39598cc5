//! Text as models see it.

use std::sync::Arc;

/// Turns token ids into text.
pub trait Detokenize: Send + Sync {
    /// Returns the text of `ids`, without a leading space. Ids outside the vocabulary are skipped.
    fn decode(&self, ids: &[u32]) -> String;
}

/// Turns text into token ids.
pub trait Tokenize: Send + Sync {
    /// Returns the ids of one word, which has no white space. Empty where the vocabulary has nothing for it.
    fn encode(&self, word: &str) -> Vec<u32>;
}

/// The vocabulary of a model, as its pipeline uses it.
#[derive(Clone)]
pub enum Vocabulary {
    /// Tokens become words.
    Reads(Arc<dyn Detokenize>),
    /// Words become tokens.
    Speaks(Arc<dyn Tokenize>),
}

/// One thing that a speaking stream says, in the order it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextEntry {
    /// Token ids of one word; at least one.
    Word(Box<[u32]>),
    /// Silence, in steps of 80 ms; at least one.
    Pause { steps: u32 },
}
