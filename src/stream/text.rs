//! Text as models see it.

/// Turns token ids into text.
pub trait Detokenize: Send + Sync {
    /// Returns the text of `ids`, without a leading space. Ids outside the vocabulary are skipped.
    fn decode(&self, ids: &[u32]) -> String;
}
