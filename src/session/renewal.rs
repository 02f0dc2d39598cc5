//! A newer token for a session that is under way: judged beside it, without holding up its audio.

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::{Credential, Guard, Principal, Refusal};
use crate::clock::unix_now;
use crate::stream::secret::Secret;
use crate::telemetry::Meters;

type Judging = Pin<Box<dyn Future<Output = Result<Principal, Refusal>> + Send>>;

/// The token being judged, if there is one; a newer one takes its place.
#[derive(Default)]
pub(super) struct Renewal(Option<Judging>);

impl Renewal {
    /// Has `token` judged for the user of `running`, who is at `peer`.
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
            let token = Credential::from(token.reveal());
            let judged = guard.renew(&running, token, peer, unix_now()).await;
            meters.auth.judged(&judged, began.elapsed());
            judged
        }));
    }

    /// The verdict; never, while there is nothing to judge. May be dropped and called again.
    pub(super) async fn verdict(&mut self) -> Result<Principal, Refusal> {
        let verdict = match &mut self.0 {
            Some(judging) => judging.await,
            None => pending().await,
        };
        self.0 = None;
        verdict
    }
}

/// How long a principal's credentials are good for, by the clock on the wall; none when they have no end.
pub(super) fn valid_for(principal: &Principal) -> Option<Duration> {
    let left = principal.expires_at?.saturating_sub(unix_now());
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
}
