//! The upload as a file that grows. A thread takes all that comes and writes it down, so that the client is never held back by
//! the model: its leaving is seen at once, and how fast it sends is its own doing.

use std::fs::File;
use std::io::{self, Read, Seek as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::thread;

use parking_lot::{Condvar, Mutex};

use crate::audio::file::Input;

/// Bytes taken at once.
const PIECE: usize = 64 << 10;

/// The spool itself failed, not the file that is in it.
#[derive(Debug, thiserror::Error)]
#[error("no temporary file for the upload: {0}")]
pub(super) struct SpoolError(io::Error);

/// How far the upload is.
#[derive(Default)]
struct Progress {
    written: u64,
    /// Nothing more comes; the error that ended it, if one did.
    ended: Option<Option<io::ErrorKind>>,
}

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    grown: Condvar,
}

/// Reads the upload from its start and waits where it has not come yet.
pub(super) struct Spool {
    file: File,
    shared: Arc<Shared>,
    at: u64,
}

impl Spool {
    /// Starts to take what `from` gives.
    ///
    /// # Errors
    /// There is no temporary file, or no thread.
    pub(super) fn start(from: impl Read + Send + 'static) -> io::Result<Self> {
        let file = tempfile::tempfile().map_err(failed)?;
        let spool = Self {
            at: 0,
            shared: Arc::default(),
            file,
        };
        let (to, shared) = (spool.file.try_clone()?, Arc::clone(&spool.shared));
        thread::Builder::new().name("spool".to_owned()).spawn(move || {
            let ended = fill(from, &to, &shared).err().map(|error| error.kind());
            shared.progress.lock().ended = Some(ended);
            shared.grown.notify_one();
        })?;
        Ok(spool)
    }

    /// Waits for bytes behind `at`, or with none for the end. Returns how many bytes there are in all.
    fn wait(&self, at: Option<u64>) -> io::Result<u64> {
        let mut progress = self.shared.progress.lock();
        loop {
            match progress.ended {
                Some(Some(kind)) => return Err(failed(kind.into())),
                Some(None) => return Ok(progress.written),
                None if at.is_some_and(|at| progress.written > at) => return Ok(progress.written),
                None => self.shared.grown.wait(&mut progress),
            }
        }
    }
}

fn failed(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), SpoolError(error))
}

fn fill(mut from: impl Read, mut to: &File, shared: &Shared) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&piece[..count])?;
        shared.progress.lock().written += count as u64;
        shared.grown.notify_one();
    }
}

impl Read for Spool {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let there = self.wait(Some(self.at))? - self.at;
        let most = to.len().min(usize::try_from(there).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut to[..most], self.at).map_err(failed)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Input for Spool {
    fn whole(&mut self) -> io::Result<Option<File>> {
        self.wait(None)?;
        // The place in the file is shared with the thread that wrote it, which is done.
        let mut file = self.file.try_clone().map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(Some(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_can_be_read_before_the_rest_comes() {
        let (read, mut write) = io::pipe().unwrap();
        let mut spool = Spool::start(read).unwrap();
        write.write_all(b"one").unwrap();
        let mut to = [0; 3];
        spool.read_exact(&mut to).unwrap();
        assert_eq!(&to, b"one");
        write.write_all(b"two").unwrap();
        drop(write);
        let mut rest = Vec::new();
        spool.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"two");
        let mut file = spool.whole().unwrap().expect("a file");
        let mut whole = String::new();
        file.read_to_string(&mut whole).unwrap();
        assert_eq!(whole, "onetwo");
    }

    #[test]
    fn a_failed_read_is_told_as_the_spools_own() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let error = Spool::start(Broken).unwrap().read(&mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(error.get_ref().is_some_and(|e| e.is::<SpoolError>()));
    }
}
