//! The configurations inside the executable, and the checkpoint that comes with the repository.

use std::path::{Path, PathBuf};

use super::report::ConfigErrors;

/// Name of the variable that points at the folder of bundled checkpoints; found by itself in a checkout.
pub const MODELS_DIR: &str = "MOSHI_MODELS_DIR";

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
/// Kyutai's configuration of `stt-1b-en_fr`.
pub const EN_FR: &str = include_str!("../../configs/config-stt-en_fr-hf.toml");

/// Folder of the bundled checkpoint inside the folder of models.
const CHECKPOINT: &str = "stt-demo";

/// Returns name and text of the configuration of the bundled checkpoint.
///
/// # Errors
/// The checkpoint's folder cannot be found.
pub fn demo() -> Result<(&'static str, &'static str), ConfigErrors> {
    let name = "config-stt-demo.toml";
    if checkpoint_dir().is_some() {
        return Ok((name, DEMO));
    }
    let message = format!(
        "the bundled checkpoint was not found: no folder models/{CHECKPOINT} in the working folder, \
         beside the executable or above either. Set {MODELS_DIR}, or name a configuration with --config"
    );
    Err(ConfigErrors::single(name, message))
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

/// The `models` folder with the bundled checkpoint that is nearest to the file `config`, or else as [`models_dir`] finds it.
#[must_use]
pub fn models_dir_of(config: &Path) -> Option<PathBuf> {
    let place = config.canonicalize().ok();
    place.and_then(|place| nearest(&place)).or_else(models_dir)
}

fn nearest(place: &Path) -> Option<PathBuf> {
    place
        .ancestors()
        .map(|dir| dir.join("models"))
        .find(|dir| dir.join(CHECKPOINT).is_dir())
}
