//! Where a file comes from, and a look at what comes next.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _};

/// Bytes of a file, from any blocking reader.
pub trait Input: Read + Send + Sync {
    /// All of the input, what was read before included, as a file at its start; none where it is not in a file.
    ///
    /// # Errors
    /// The file cannot be read.
    fn whole(&mut self) -> io::Result<Option<File>> {
        Ok(None)
    }
}

impl Input for io::Stdin {}

impl<T: AsRef<[u8]> + Send + Sync> Input for Cursor<T> {}

impl Input for File {
    fn whole(&mut self) -> io::Result<Option<File>> {
        // A named pipe is a file too, but not one to read twice.
        if !self.metadata()?.is_file() {
            return Ok(None);
        }
        let mut file = self.try_clone()?;
        file.rewind()?;
        Ok(Some(file))
    }
}

/// An input whose next bytes can be looked at before they are taken.
pub(super) struct Ahead {
    input: Box<dyn Input>,
    /// Bytes that were looked at; those before `at` were taken.
    held: Vec<u8>,
    at: usize,
    /// Bytes were taken by [`Ahead::skip`], so the rest is not the whole input.
    skipped: bool,
}

impl Ahead {
    pub(super) fn new(input: Box<dyn Input>) -> Self {
        Self {
            input,
            held: Vec::new(),
            at: 0,
            skipped: false,
        }
    }

    /// The next `count` bytes; fewer at the end.
    pub(super) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let held = self.held.len() - self.at;
        if held < count {
            self.held.drain(..self.at);
            self.at = 0;
            let missing = (count - held) as u64;
            (&mut self.input).take(missing).read_to_end(&mut self.held)?;
        }
        let end = self.held.len().min(self.at + count);
        Ok(&self.held[self.at..end])
    }

    /// Takes `count` bytes and drops them; fewer at the end.
    pub(super) fn skip(&mut self, count: u64) -> io::Result<()> {
        self.skipped |= count > 0;
        io::copy(&mut self.by_ref().take(count), &mut io::sink())?;
        Ok(())
    }

    /// All that is left as a file, which is copied unless it is one.
    pub(super) fn into_file(mut self) -> io::Result<File> {
        if !self.skipped
            && let Some(file) = self.input.whole()?
        {
            return Ok(file);
        }
        let mut file = tempfile::tempfile()?;
        io::copy(&mut self, &mut file)?;
        file.rewind()?;
        Ok(file)
    }
}

impl Read for Ahead {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.at == self.held.len() {
            return self.input.read(to);
        }
        let count = (&self.held[self.at..]).read(to)?;
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_at_is_still_to_come() {
        let mut ahead = Ahead::new(Box::new(Cursor::new(b"0123456789".to_vec())));
        assert_eq!(ahead.peek(4).unwrap(), b"0123");
        let mut two = [0; 2];
        ahead.read_exact(&mut two).unwrap();
        assert_eq!(ahead.peek(4).unwrap(), b"2345");
        ahead.skip(3).unwrap();
        assert_eq!(ahead.peek(99).unwrap(), b"56789");
        let mut rest = String::new();
        ahead.into_file().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "56789");
    }
}
