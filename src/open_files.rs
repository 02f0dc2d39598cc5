//! The limit of open files: sockets, uploads and the key file all need descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors besides those of connections: listeners, logs, models, the key file, the runtime's own.
const BESIDES: u64 = 64;

/// Raises the limit of open files to the most that the system allows this process, and warns when that is too few for
/// `max_connections`. Many systems begin at 1024 for the sake of old programs and allow far more.
pub fn raise(max_connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open files");
            limit.current
        }
    };
    // A session watches its socket through a second descriptor.
    let needed = (max_connections as u64).saturating_mul(2).saturating_add(BESIDES);
    if let Some(limit) = limit.filter(|limit| *limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "the limit of open files is too low for limits.max_connections: raise it (LimitNOFILE= in systemd, ulimit -n), \
             or lower max_connections"
        );
    }
}
