//! Codes of a row between steps: late codebooks of a frame are chosen some steps after its first one.

use crate::model::layout::quantizer::ABSENT;

/// When the codebooks of a checkpoint are chosen.
#[derive(Clone, Debug)]
pub(crate) struct Delays {
    /// Steps before the first code of the first codebook.
    pub(crate) audio: u64,
    /// Steps by which each codebook is later.
    pub(crate) books: Vec<u32>,
    /// Code that stands before a codebook's first.
    pub(crate) initial: u32,
}

/// Codes that a row chose in its last steps.
#[derive(Clone, Debug)]
pub(crate) struct RowCodes {
    /// A ring of steps, `[step][codebook]`.
    chosen: Vec<u32>,
    books: usize,
}

impl Delays {
    /// Returns the steps by which the latest codebook is later than the first.
    pub(crate) fn latest(&self) -> u64 {
        u64::from(self.books.iter().copied().max().unwrap_or(0))
    }

    /// Returns how many of the first `codebooks` codebooks must be chosen at `step`: the codes of those behind them are not
    /// part of any frame yet.
    pub(crate) fn needed(&self, step: u64, codebooks: usize) -> usize {
        let begun = |book: &usize| step >= self.begins(*book);
        (0..codebooks.min(self.books.len()))
            .rfind(begun)
            .map_or(0, |last| last + 1)
    }

    fn begins(&self, book: usize) -> u64 {
        self.audio + u64::from(self.books[book])
    }
}

impl RowCodes {
    /// Makes the codes of a fresh stream.
    pub(crate) fn new(delays: &Delays) -> Self {
        let books = delays.books.len();
        Self {
            chosen: vec![ABSENT; (delays.latest() as usize + 1) * books],
            books,
        }
    }

    /// Returns the code of `book` that is put in at `step`, before the step's own are known.
    pub(crate) fn input(&self, delays: &Delays, step: u64, book: usize) -> Option<u32> {
        if step <= u64::from(delays.books[book]) {
            return Some(delays.initial);
        }
        let code = self.at(step - 1)[book];
        (code != ABSENT).then_some(code)
    }

    /// Takes the codes that were chosen at `step`, of which the first `codebooks` mean something.
    pub(crate) fn push(&mut self, delays: &Delays, step: u64, codes: &[u32], codebooks: usize) {
        let at = self.place(step);
        let kept = &mut self.chosen[at..][..self.books];
        kept.fill(ABSENT);
        for (book, kept) in kept.iter_mut().enumerate().take(codebooks) {
            if step >= delays.begins(book) {
                *kept = codes[book];
            }
        }
    }

    /// Writes the frame of audio that `step` completed, one code per codebook, [`ABSENT`] for those that were left out. False
    /// where there is no frame yet.
    pub(crate) fn frame(&self, delays: &Delays, step: u64, frame: &mut [u32]) -> bool {
        let latest = delays.latest();
        if step < delays.audio + latest {
            return false;
        }
        for (book, code) in frame.iter_mut().enumerate() {
            *code = self.at(step - latest + u64::from(delays.books[book]))[book];
        }
        true
    }

    fn at(&self, step: u64) -> &[u32] {
        &self.chosen[self.place(step)..][..self.books]
    }

    fn place(&self, step: u64) -> usize {
        (step % (self.chosen.len() / self.books) as u64) as usize * self.books
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays() -> Delays {
        Delays {
            audio: 3,
            books: vec![0, 2, 2],
            initial: 99,
        }
    }

    type Inputs = Vec<[Option<u32>; 3]>;
    type Frames = Vec<(u64, [u32; 3])>;

    // What goes in, and the frames that come out, where step `t` chooses `10 t + book`.
    fn run(codebooks: usize) -> (Inputs, Frames) {
        let delays = delays();
        let mut codes = RowCodes::new(&delays);
        let (mut inputs, mut frames) = (Vec::new(), Vec::new());
        for step in 0..8u64 {
            inputs.push([0, 1, 2].map(|book| codes.input(&delays, step, book)));
            let needed = delays.needed(step, codebooks);
            let chosen = [0, 1, 2].map(|book| step as u32 * 10 + book);
            codes.push(&delays, step, &chosen, needed);
            let mut frame = [7; 3];
            if codes.frame(&delays, step, &mut frame) {
                frames.push((step, frame));
            }
        }
        (inputs, frames)
    }

    #[test]
    fn a_frame_has_its_first_code_from_the_step_before_the_others() {
        let (_, frames) = run(3);
        assert_eq!(frames, [(5, [30, 51, 52]), (6, [40, 61, 62]), (7, [50, 71, 72])]);
    }

    #[test]
    fn codes_go_in_a_step_later_and_nothing_before_they_begin() {
        let (inputs, _) = run(3);
        assert_eq!(inputs[0], [Some(99); 3]);
        assert_eq!(inputs[1], [None, Some(99), Some(99)]);
        assert_eq!(inputs[3], [None; 3]);
        assert_eq!(inputs[4], [Some(30), None, None]);
        assert_eq!(inputs[6], [Some(50), Some(51), Some(52)]);
    }

    #[test]
    fn only_codebooks_that_are_part_of_a_frame_are_needed() {
        let needed: Vec<usize> = (0..7).map(|step| delays().needed(step, 3)).collect();
        assert_eq!(needed, [0, 0, 0, 1, 1, 3, 3]);
        assert_eq!(delays().needed(9, 2), 2);
    }

    #[test]
    fn codebooks_that_are_cut_are_absent() {
        let (inputs, frames) = run(2);
        assert_eq!(frames[0], (5, [30, 51, ABSENT]));
        assert_eq!(inputs[7], [Some(60), Some(61), None]);
    }
}
