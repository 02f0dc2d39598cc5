//! Where the files are that a configuration names: in the working folder, as with Kyutai's server, or else beside the configuration, so
//! that it means the same wherever the server is started.

use std::path::{Path, PathBuf};

use super::{Config, ModuleConfig};

/// Makes the paths of `config` that only exist beside it, in `folder`, paths of that folder.
pub(super) fn find_beside(config: &mut Config, folder: &Path) {
    let better_auth = &mut config.auth.better_auth;
    let files = [
        &mut config.static_dir,
        &mut config.auth.key_file,
        &mut better_auth.jwks_file,
    ];
    for file in files.into_iter().flatten() {
        if let Some(found) = beside(folder, file) {
            *file = found;
        }
    }
    for module in config.modules.values_mut() {
        if let ModuleConfig::BatchedAsr(asr) | ModuleConfig::Asr(asr) = module {
            for file in [
                &mut asr.lm_model_file,
                &mut asr.text_tokenizer_file,
                &mut asr.audio_tokenizer_file,
            ] {
                // `hf://` names are no paths; no such folder will be there.
                if let Some(found) = beside(folder, Path::new(file.as_str())) {
                    *file = found.to_string_lossy().into_owned();
                }
            }
        }
    }
}

fn beside(folder: &Path, file: &Path) -> Option<PathBuf> {
    if file.is_absolute() || file.exists() {
        return None;
    }
    Some(folder.join(file)).filter(|there| there.exists())
}
