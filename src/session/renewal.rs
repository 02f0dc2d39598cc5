//! Renewal of a running session's credentials: the new token is checked while its audio goes on.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::{Guard, Principal, Refusal};
use crate::clock::unix_now;
use crate::stream::secret::Secret;
use crate::telemetry::Meters;

type Judging = Pin<Box<dyn Future<Output = Result<Principal, Refusal>> + Send>>;

/// The check of a token that is running, if any; a newer token replaces it.
#[derive(Default)]
pub(super) struct Renewal(Option<Judging>);

impl Renewal {
    /// Starts the check of `token` for the user of `running`, who is at `peer`.
    pub(super) fn begin(
        &mut self,
        guard: Arc<Guard>,
        meters: Meters,
        running: Principal,
        token: Secret,
        peer: SocketAddr,
    ) {
        self.0 = Some(Box::pin(async move {
            let began = Instant::now();
            let judged = guard.renew(&running, token, peer, unix_now()).await;
            meters.auth.judged(&judged, began.elapsed());
            judged
        }));
    }

    /// Waits for the verdict, forever while no check is running. Safe to cancel.
    ///
    /// # Errors
    /// The token was refused.
    pub(super) async fn verdict(&mut self) -> Result<Principal, Refusal> {
        let verdict = match &mut self.0 {
            Some(judging) => judging.await,
            None => pending().await,
        };
        self.0 = None;
        verdict
    }
}

/// Returns how long a principal's credentials stay valid by the wall clock; none when they do not expire.
pub(super) fn valid_for(principal: &Principal) -> Option<Duration> {
    let left = principal.expires_at?.saturating_sub(unix_now());
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}
