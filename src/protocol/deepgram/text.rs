//! Words without what makes them a sentence.

/// Returns `word` in lower case, without the punctuation around it. What is nothing but punctuation stays.
pub(super) fn bare(word: &str) -> String {
    let inner = word.trim_matches(|c: char| !c.is_alphanumeric());
    if inner.is_empty() { word } else { inner }.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_word_keeps_what_is_inside() {
        for (word, expected) in [
            ("Hello,", "hello"),
            ("don't", "don't"),
            ("\u{ab}L'\u{c9}cole?\u{bb}", "l'\u{e9}cole"),
            ("3.5", "3.5"),
            ("-", "-"),
        ] {
            assert_eq!(bare(word), expected);
        }
    }
}
