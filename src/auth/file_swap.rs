//! Changing a file that another process reads: one writer at a time, and readers see the old file or the new one.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// Mode of a new file: only its owner may read or write it.
const NEW_MODE: u32 = 0o600;

/// Why a file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(
        "it belongs to user {user} and group {group}, and this user may not give a new file to them ({source}), so that whoever reads \
         it now could not read it any more. Run the command as that user or as root"
    )]
    Owner {
        user: u32,
        group: u32,
        source: io::Error,
    },
}

/// The exclusive right to change a file; ends by drop.
pub(super) struct Locked {
    /// The file itself, where `path` is a link to it.
    path: PathBuf,
    file: File,
}

impl Locked {
    /// Waits for the right to change the file at `path`. A file that is not there is made, empty, if `create` is set.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub(super) fn wait(path: &Path, create: bool) -> io::Result<Self> {
        loop {
            let file = open(path, create)?;
            // flock(2), which the kernel drops with the process.
            file.lock()?;
            let path = path.canonicalize()?;
            // Whoever had the lock before has put another file in the place of the one that was opened.
            if std::fs::metadata(&path).is_ok_and(|current| same_file(&current, &file)) {
                return Ok(Self { path, file });
            }
        }
    }

    /// Puts a file with `text` in place of the present one, with the same owner, group and mode.
    ///
    /// # Errors
    /// The file cannot be written, or not be given to the owner of the present one. That one is then as it was.
    pub(super) fn replace(&self, text: &str) -> Result<(), SwapError> {
        let former = self.file.metadata()?;
        let mut beside = self.path.as_os_str().to_owned();
        beside.push(format!(".{:08x}", rand::random::<u32>()));
        let beside = PathBuf::from(beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(NEW_MODE)
            .open(&beside)?;
        let written = keep_owner(&file, &former).and_then(|()| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            Ok(std::fs::rename(&beside, &self.path)?)
        });
        if written.is_err() {
            // The error to report is the first one; the leftover is only untidy.
            let _ = std::fs::remove_file(&beside);
        }
        written
    }
}

// Writing is not needed for a lock, except on file systems such as NFS.
fn open(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).mode(NEW_MODE);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    }
}

fn same_file(current: &Metadata, opened: &File) -> bool {
    opened
        .metadata()
        .is_ok_and(|opened| (opened.dev(), opened.ino()) == (current.dev(), current.ino()))
}

fn keep_owner(file: &File, former: &Metadata) -> Result<(), SwapError> {
    let (user, group) = (former.uid(), former.gid());
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (user, group) {
        fchown(file, Some(user), Some(group)).map_err(|source| SwapError::Owner { user, group, source })?;
    }
    // After the change of owner, which may clear bits of the mode.
    file.set_permissions(Permissions::from_mode(former.mode() & 0o7777))?;
    Ok(())
}
