//! Word error rate: words substituted, left out and made up, over the words that were said.

/// Errors and words said, to be added over many transcripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct WordErrors {
    pub errors: usize,
    pub words: usize,
}

impl WordErrors {
    /// Compares `heard` with `said`. Case and punctuation do not count.
    #[must_use]
    pub fn between(said: &str, heard: &str) -> Self {
        let (said, heard) = (words(said), words(heard));
        Self {
            errors: distance(&said, &heard),
            words: said.len(),
        }
    }

    /// Errors a word; none when nothing was said.
    #[must_use]
    pub fn rate(self) -> Option<f64> {
        (self.words > 0).then(|| self.errors as f64 / self.words as f64)
    }
}

impl std::ops::AddAssign for WordErrors {
    fn add_assign(&mut self, other: Self) {
        self.errors += other.errors;
        self.words += other.words;
    }
}

fn words(text: &str) -> Vec<String> {
    let bare = |word: &str| {
        word.chars()
            .filter(|c| c.is_alphanumeric() || *c == '\'')
            .flat_map(char::to_lowercase)
            .collect()
    };
    text.split_whitespace()
        .map(bare)
        .filter(|word: &String| !word.is_empty())
        .collect()
}

/// Fewest insertions, deletions and substitutions that turn one into the other.
fn distance(a: &[String], b: &[String]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let here = (diagonal + usize::from(x != y))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_counts_once() {
        let errors = |said, heard| WordErrors::between(said, heard).errors;
        assert_eq!(errors("the cat sat", "The cat, sat."), 0);
        assert_eq!(errors("the cat sat", "the hat sat"), 1);
        assert_eq!(errors("the cat sat", "the sat"), 1);
        assert_eq!(errors("the cat sat", "the big cat sat"), 1);
        assert_eq!(errors("the cat sat", ""), 3);
        assert_eq!(errors("", "made up"), 2);
    }

    #[test]
    fn rates_add_up_over_transcripts() {
        let mut sum = WordErrors::default();
        assert_eq!(sum.rate(), None);
        sum += WordErrors::between("one two three four", "one two three for");
        sum += WordErrors::between("five six", "five six");
        assert_eq!(sum, WordErrors { errors: 1, words: 6 });
    }
}
