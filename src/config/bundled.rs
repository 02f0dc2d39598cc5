//! The configurations inside the executable, and the checkpoint that comes with the repository.

use std::path::{Path, PathBuf};

use crate::config::expand::{Expander, MODELS_DIR};
use crate::config::{Config, ConfigErrors, Warning};

/// Configurations compiled in, by file name.
pub const CONFIGS: [(&str, &str); 3] = [
    ("config-stt-demo.toml", DEMO),
    ("config-stt-en_fr-hf.toml", EN_FR),
    (
        "config-stt-en-hf.toml",
        include_str!("../../configs/config-stt-en-hf.toml"),
    ),
];

const DEMO: &str = include_str!("../../configs/config-stt-demo.toml");
pub(super) const EN_FR: &str = include_str!("../../configs/config-stt-en_fr-hf.toml");

/// Folder of the bundled checkpoint inside the folder of models.
const CHECKPOINT: &str = "stt-demo";

impl Config {
    /// The configuration of the bundled checkpoint: what `worker` runs when it is given none. `reserved` as in [`Config::load`].
    ///
    /// # Errors
    /// The checkpoint's folder cannot be found.
    pub fn bundled(reserved: &[&str]) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let name = "config-stt-demo.toml";
        if checkpoint_dir().is_none() {
            let message = format!(
                "the bundled checkpoint was not found: no folder models/{CHECKPOINT} in the working folder, \
                 beside the executable or above either. Set {MODELS_DIR}, or name a configuration with --config"
            );
            return Err(ConfigErrors::single(name, message));
        }
        Self::parse(name, DEMO, &Expander::from_env(), reserved)
    }
}

/// Folder of the bundled checkpoint, when there is one.
#[must_use]
pub fn checkpoint_dir() -> Option<PathBuf> {
    let models = std::env::var_os(MODELS_DIR)
        .map(PathBuf::from)
        .or_else(models_dir)?;
    Some(models.join(CHECKPOINT)).filter(|dir| dir.is_dir())
}

/// The `models` folder with the bundled checkpoint that is nearest to the working folder, or else to the executable.
#[must_use]
pub fn models_dir() -> Option<PathBuf> {
    let places = [std::env::current_dir().ok(), std::env::current_exe().ok()];
    places.iter().flatten().find_map(|place| nearest(place))
}

fn nearest(place: &Path) -> Option<PathBuf> {
    place
        .ancestors()
        .map(|dir| dir.join("models"))
        .find(|dir| dir.join(CHECKPOINT).is_dir())
}
