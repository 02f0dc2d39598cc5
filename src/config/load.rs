//! Reads a whole configuration.

use std::path::{Path, PathBuf};

use super::Config;
use super::check;
use super::expand::Expander;
use super::kind::{self, Kinds, ModuleTable};
use super::report::{ConfigErrors, Warning};
use super::section::Document;

/// Reads and checks the file `path`, whose modules are of `kinds` and may have none of the `reserved` paths, which are the server's own. A relative path in it that does not exist in the working
/// folder is looked for beside it.
///
/// # Errors
/// Every mistake of the file at once, each with its line; or that the file cannot be read.
pub fn load<M: ModuleTable>(
    path: &Path,
    kinds: &Kinds<M>,
    reserved: &[&str],
) -> Result<(Config<M>, Vec<Warning>), ConfigErrors> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| ConfigErrors::unreadable(&name, &e))?;
    parse(&name, &text, &Expander::beside(path), kinds, reserved)
}

/// Reads and checks `text`; `name` is only for messages.
///
/// # Errors
/// Every mistake at once, each with its line.
pub fn parse<M: ModuleTable>(
    name: &str,
    text: &str,
    vars: &Expander,
    kinds: &Kinds<M>,
    reserved: &[&str],
) -> Result<(Config<M>, Vec<Warning>), ConfigErrors> {
    let mut document = Document::parse(name, text)?;
    let mut config = Config {
        static_dir: document.expanded("static_dir", vars).map(PathBuf::from),
        log_dir: document.expanded("log_dir", vars).map(PathBuf::from),
        instance_name: document
            .expanded("instance_name", vars)
            .unwrap_or_else(|| "moshi".to_owned()),
        authorized_ids: document.section("authorized_ids"),
        modules: kind::read(&mut document, vars, kinds),
        server: document.section("server"),
        limits: document.section("limits"),
        auth: document.section("auth"),
        telemetry: document.section("telemetry"),
    };
    let files = [
        &mut config.static_dir,
        &mut config.auth.key_file,
        &mut config.auth.better_auth.jwks_file,
    ];
    for file in files.into_iter().flatten() {
        if let Some(there) = vars.place(file) {
            *file = there;
        }
    }
    let users = &mut config.auth.users;
    users.fall_back_to(config.limits.max_sessions_per_user);
    document.warn_of_rest();
    check::check(&config, reserved, &mut document);
    document.finish(config)
}
