//! Voices of a folder: found at the start, read when first asked for, and kept up to a bound.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::model::voice_file;
use crate::stream::voice::{UnknownVoice, Voice, Voices};

/// Bytes of voices that are kept: some hundred of the published ones.
const KEPT_BYTES: usize = 64 << 20;
/// Deepest folder that is looked into.
const DEPTH: usize = 8;
/// Most files that are taken.
const MOST_FILES: usize = 100_000;
/// Voices that are named to whoever asked for one that is not there.
const NAMED: usize = 5;

/// A folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum VoicesError {
    #[error("cannot read the voices in {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Default(#[from] UnknownVoice),
}

/// The voices of a folder. The name of a voice is the path of its file in the folder, without the ending of the model.
#[derive(Default)]
pub struct VoiceFolder {
    files: BTreeMap<String, PathBuf>,
    /// The voice of those who name none. Without one it is the model's own.
    default: Option<String>,
    kept: Mutex<Kept>,
}

/// Voices that were read, those used last at the back.
#[derive(Default)]
struct Kept {
    voices: VecDeque<Arc<Voice>>,
    bytes: usize,
}

impl VoiceFolder {
    /// Finds the files below `folder` whose names end in `ending`.
    ///
    /// # Errors
    /// The folder cannot be read, or has no voice called `default`.
    pub fn open(folder: &Path, ending: &str, default: Option<&str>) -> Result<Self, VoicesError> {
        let mut files = BTreeMap::new();
        find(folder, folder, ending, DEPTH, &mut files).map_err(|source| VoicesError::Read {
            path: folder.to_owned(),
            source,
        })?;
        let voices = Self {
            files,
            default: default.map(str::to_owned),
            kept: Mutex::default(),
        };
        voices.find(None)?;
        Ok(voices)
    }

    /// Returns the number of voices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// True when there is no voice.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn unknown(&self, name: &str) -> UnknownVoice {
        let shown: String = name.chars().take(80).collect();
        if self.files.is_empty() {
            return UnknownVoice(format!(
                "there is no voice `{shown}`: this module has none; leave `voice` out"
            ));
        }
        let mut near: Vec<_> = self
            .files
            .keys()
            .map(|known| (strsim::jaro_winkler(known, &shown), known))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near: Vec<_> = near
            .iter()
            .take(NAMED)
            .map(|(_, name)| format!("`{name}`"))
            .collect();
        UnknownVoice(format!(
            "there is no voice `{shown}`; the nearest of {} are {}",
            self.files.len(),
            near.join(", ")
        ))
    }
}

impl Voices for VoiceFolder {
    fn find(&self, name: Option<&str>) -> Result<Option<Arc<Voice>>, UnknownVoice> {
        let Some(name) = name.or(self.default.as_deref()) else {
            return Ok(None);
        };
        // A name is looked up and never made a path, so that it cannot lead out of the folder.
        let path = self.files.get(name).ok_or_else(|| self.unknown(name))?;
        // Voices are small, so whoever wants one may wait for another to be read.
        let mut kept = self.kept.lock();
        if let Some(voice) = kept.take(name) {
            kept.put(Arc::clone(&voice));
            return Ok(Some(voice));
        }
        let voice = voice_file::read(name, path).map_err(|error| {
            tracing::error!(%error, "a voice cannot be used");
            UnknownVoice(format!(
                "the voice `{name}` cannot be used; the server's log says why"
            ))
        })?;
        let voice = Arc::new(voice);
        kept.put(Arc::clone(&voice));
        Ok(Some(voice))
    }
}

impl Kept {
    fn take(&mut self, name: &str) -> Option<Arc<Voice>> {
        let at = self
            .voices
            .iter()
            .position(|voice| voice.name.as_deref() == Some(name))?;
        let voice = self.voices.remove(at)?;
        self.bytes -= size_of_val(&*voice.embedding);
        Some(voice)
    }

    fn put(&mut self, voice: Arc<Voice>) {
        self.bytes += size_of_val(&*voice.embedding);
        self.voices.push_back(voice);
        while self.bytes > KEPT_BYTES && self.voices.len() > 1 {
            if let Some(oldest) = self.voices.pop_front() {
                self.bytes -= size_of_val(&*oldest.embedding);
            }
        }
    }
}

fn find(
    root: &Path,
    folder: &Path,
    ending: &str,
    depth: usize,
    files: &mut BTreeMap<String, PathBuf>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        // Follows links: those of a model hub's cache are.
        let Ok(found) = fs::metadata(&path) else { continue };
        if found.is_dir() && depth > 0 {
            find(root, &path, ending, depth - 1, files)?;
        }
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        if let Some(name) = name.and_then(|name| name.strip_suffix(ending))
            && found.is_file()
            && files.len() < MOST_FILES
        {
            files.insert(name.to_owned(), path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::voice_file::testing::write;

    /// A folder with two voices, one of them in a folder of its own, and a file that is none.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("happy")).unwrap();
        for (name, pitch) in [("anna.wav", 300.0f32), ("happy/ben.wav", 150.0)] {
            let path = dir.path().join(format!("{name}.safetensors"));
            write(&path, &[1, 2, 1], &[pitch, 0.0]);
        }
        fs::write(dir.path().join("broken.safetensors"), "no").unwrap();
        fs::write(dir.path().join("README.md"), "no").unwrap();
        dir
    }

    #[test]
    fn voices_are_read_when_asked_for_and_kept() {
        let dir = folder();
        let voices = VoiceFolder::open(dir.path(), ".safetensors", None).unwrap();
        assert_eq!((voices.len(), voices.find(None)), (3, Ok(None)));
        let first = voices.find(Some("happy/ben.wav")).unwrap().unwrap();
        assert_eq!(first.embedding[0], 150.0);
        let again = voices.find(Some("happy/ben.wav")).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &again));
    }

    #[test]
    fn the_default_is_read_at_once() {
        let dir = folder();
        let open = |default| VoiceFolder::open(dir.path(), ".safetensors", Some(default));
        let voices = open("anna.wav").unwrap();
        assert_eq!(voices.find(None).unwrap().unwrap().embedding[0], 300.0);
        for wrong in ["nobody", "broken"] {
            assert!(matches!(open(wrong), Err(VoicesError::Default(_))), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_voice_is_answered_with_the_nearest() {
        let dir = folder();
        let voices = VoiceFolder::open(dir.path(), ".safetensors", None).unwrap();
        let told = voices.find(Some("hapy/ben.wav")).unwrap_err().to_string();
        assert!(told.contains("nearest of 3 are `happy/ben.wav`"), "{told}");
        let told = VoiceFolder::default().find(Some("x")).unwrap_err().to_string();
        assert!(told.contains("this module has none"), "{told}");
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let dir = folder();
        let inner = VoiceFolder::open(&dir.path().join("happy"), ".safetensors", None).unwrap();
        for name in ["../anna.wav", "/etc/passwd", "./ben.wav"] {
            assert!(inner.find(Some(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let voice = |i: usize| Voice {
            name: Some(i.to_string().into()),
            embedding: vec![0.0; KEPT_BYTES / 4 / 4].into(),
            steps: 1,
            width: 1,
        };
        let mut kept = Kept::default();
        (0..10).for_each(|i| kept.put(Arc::new(voice(i))));
        assert_eq!((kept.voices.len(), kept.bytes), (4, KEPT_BYTES));
        assert!(kept.take("5").is_none() && kept.take("9").is_some());
        assert_eq!(kept.bytes, 3 * KEPT_BYTES / 4);
    }
}
