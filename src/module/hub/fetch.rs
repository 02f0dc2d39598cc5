//! Fetches one file into the cache, in the layout that all hub tools share: the content is a blob named by its ETag, and a link to it
//! stands under the commit and the file's own name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use hf_hub::{Cache, Repo};
use indicatif::{ProgressBar, ProgressStyle};
use ureq::http::header::{CONTENT_RANGE, ETAG};
use ureq::http::{HeaderMap, StatusCode};

use super::error::HubError;
use super::request::{Answer, Client};
use super::source::Source;

/// Retries of a transfer that broke off; each resumes where the last one stopped.
const RETRIES: u32 = 4;
/// Wait before the first retry; each later one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// Tries, a second apart, for the lock of a file that another process is fetching.
const LOCK_TRIES: u32 = 5;

/// What the hub says of a file.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    commit: String,
    etag: String,
    /// In bytes, where it is said.
    size: Option<u64>,
}

impl Facts {
    /// Reads the facts in the head of an answer. Commit and ETag become file names, so only plain ones are taken.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let plain = |text: &str| {
            let text = text.trim_start_matches("W/").trim_matches('"');
            let is_plain = (1..=128).contains(&text.len())
                && !text.starts_with('.')
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            is_plain.then(|| text.to_owned())
        };
        Some(Self {
            commit: plain(text("x-repo-commit")?)?,
            etag: plain(text("x-linked-etag").or_else(|| text(ETAG.as_str()))?)?,
            size: text("x-linked-size")
                .and_then(|size| size.parse().ok())
                .or_else(|| total(headers)),
        })
    }
}

/// Reads the size of the whole file from `Content-Range` (RFC 9110, section 14.4).
fn total(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    range.rsplit_once('/')?.1.parse().ok()
}

/// One file to be fetched.
pub(super) struct Fetch<'a> {
    pub source: &'a Source,
    /// The `hf://` name, for messages.
    pub name: &'a str,
    pub repo: String,
    pub file: String,
}

impl Fetch<'_> {
    /// Fetches the file and returns its path in the cache.
    ///
    /// # Errors
    /// The hub does not give the file, or it cannot be stored.
    pub(super) fn run(&self) -> Result<PathBuf, HubError> {
        let client = Client::new(self.source)?;
        let facts = self.ask(&client)?;
        let repo = Repo::model(self.repo.clone());
        let folder = self.source.cache.join(repo.folder_name());
        let blob = folder.join("blobs").join(&facts.etag);
        self.store(&client, &facts, &blob).map_err(|error| match error {
            StoreError::Hub(error) => error,
            StoreError::Disk(error) => self.failed(error.to_string()),
        })?;
        let link = folder.join("snapshots").join(&facts.commit).join(&self.file);
        place(&link, &self.file, &facts.etag)
            .and_then(|()| {
                Cache::new(self.source.cache.clone())
                    .repo(repo)
                    .create_ref(&facts.commit)
            })
            .map_err(|error| self.failed(error.to_string()))?;
        Ok(link)
    }

    /// Asks the hub for the facts of the file. They are in its redirect to the content; the host of the content does not repeat them.
    fn ask(&self, client: &Client<'_>) -> Result<Facts, HubError> {
        let url = client.url(&self.repo, &self.file);
        let answer = client.get(self.name, url, "bytes=0-0", |head| Facts::of(head).is_some())?;
        if !answer.response.status().is_redirection() {
            self.accept(&answer)?;
        }
        let heads = std::iter::once(answer.response.headers()).chain(answer.redirects.iter().rev());
        heads.filter_map(Facts::of).next().ok_or_else(|| HubError::NoHub {
            name: self.name.to_owned(),
            endpoint: self.source.endpoint.clone(),
            by: answer
                .elsewhere
                .map_or_else(String::new, |host| format!(" (it sends requests on to {host})")),
        })
    }

    fn accept(&self, answer: &Answer) -> Result<(), HubError> {
        let name = self.name.to_owned();
        let status = answer.response.status();
        match (&answer.elsewhere, status.as_u16()) {
            _ if status.is_success() => Ok(()),
            (Some(host), status) => Err(HubError::Elsewhere {
                name,
                endpoint: self.source.endpoint.clone(),
                host: host.clone(),
                status,
            }),
            (None, status @ (401 | 403)) => Err(HubError::Refused { name, status }),
            (None, 404) => Err(HubError::Unknown(name)),
            (None, status) => Err(self.failed(format!("the hub answered with status {status}"))),
        }
    }

    fn store(&self, client: &Client<'_>, facts: &Facts, blob: &Path) -> Result<(), StoreError> {
        if let Some(folder) = blob.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let _lock = self.lock(&blob.with_file_name(format!("{}.lock", facts.etag)))?;
        // Another process may have fetched it while this one waited.
        if blob.exists() {
            return Ok(());
        }
        let part = blob.with_file_name(format!("{}.part", facts.etag));
        let mut file = OpenOptions::new().append(true).create(true).open(&part)?;
        let bar = self.bar(facts.size);
        let mut wait = FIRST_WAIT;
        for tries_left in (0..=RETRIES).rev() {
            match self.continued(client, facts, &mut file, &bar) {
                Ok(()) => break,
                Err(StoreError::Hub(HubError::Unreachable { .. })) if tries_left > 0 => {
                    sleep(wait);
                    wait *= 2;
                }
                Err(error) => return Err(error),
            }
        }
        bar.finish_and_clear();
        file.sync_all()?;
        std::fs::rename(&part, blob)?;
        Ok(())
    }

    /// Appends the missing rest to `file`.
    fn continued(
        &self,
        client: &Client<'_>,
        facts: &Facts,
        file: &mut File,
        bar: &ProgressBar,
    ) -> Result<(), StoreError> {
        let mut had = file.metadata()?.len();
        if facts.size == Some(had) {
            return Ok(());
        }
        let url = client.url(&self.repo, &self.file);
        let answer = client.get(self.name, url, &format!("bytes={had}-"), |_| false)?;
        let broken_off = |reason: String| HubError::Unreachable {
            name: self.name.to_owned(),
            endpoint: answer
                .elsewhere
                .clone()
                .unwrap_or_else(|| self.source.endpoint.clone()),
            reason,
        };
        if answer.response.status().is_server_error() {
            return Err(broken_off(format!("status {}", answer.response.status())).into());
        }
        self.accept(&answer)?;
        let headers = answer.response.headers();
        let size = facts.size.or_else(|| total(headers));
        // The server ignores ranges and sends the whole file.
        if answer.response.status() != StatusCode::PARTIAL_CONTENT {
            file.set_len(0)?;
            had = 0;
        }
        bar.set_position(had);
        let (_, body) = answer.response.into_parts();
        let mut body = bar.wrap_read(body.into_reader());
        let got = copy(&mut body, file)?;
        match (got.end, size) {
            (Some(error), _) => Err(broken_off(error.to_string()).into()),
            (None, Some(size)) if had + got.bytes < size => {
                let reason = format!("it sent {} of {size} bytes", had + got.bytes);
                Err(broken_off(reason).into())
            }
            (None, _) => Ok(()),
        }
    }

    fn lock(&self, path: &Path) -> Result<File, StoreError> {
        let lock = File::create(path)?;
        for _ in 0..LOCK_TRIES {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) => sleep(Duration::from_secs(1)),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        Err(StoreError::Hub(HubError::Locked {
            name: self.name.to_owned(),
            lock: path.to_owned(),
        }))
    }

    fn bar(&self, size: Option<u64>) -> ProgressBar {
        if !self.source.progress {
            return ProgressBar::hidden();
        }
        let bar = size.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let form = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        bar.with_message(self.file.clone())
    }

    fn failed(&self, reason: String) -> HubError {
        HubError::Failed {
            name: self.name.to_owned(),
            reason,
        }
    }
}

/// Why a file was not stored: an answer of the hub, or the disk.
enum StoreError {
    Hub(HubError),
    Disk(io::Error),
}

impl From<HubError> for StoreError {
    fn from(error: HubError) -> Self {
        Self::Hub(error)
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// Result of copying a body.
struct Copied {
    bytes: u64,
    /// Why reading broke off; `None` at the end of the body.
    end: Option<io::Error>,
}

/// Copies `from` into `to`. Errors of reading are part of the result, errors of writing are returned.
fn copy(from: &mut impl Read, to: &mut File) -> io::Result<Copied> {
    let mut block = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(Copied { bytes, end: None }),
            Ok(count) => {
                io::Write::write_all(to, &block[..count])?;
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Ok(Copied {
                    bytes,
                    end: Some(error),
                });
            }
        }
    }
}

/// Makes `link` point to the blob `etag`; `file` is its path below the folder of the commit.
fn place(link: &Path, file: &str, etag: &str) -> io::Result<()> {
    if let Some(folder) = link.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Up from the file's own folders, the commit and `snapshots`.
    let up = "../".repeat(file.split('/').count() + 1);
    let target = format!("{up}blobs/{etag}");
    match std::os::unix::fs::symlink(&target, link) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(link)?;
            std::os::unix::fs::symlink(&target, link)
        }
        made => made,
    }
}
