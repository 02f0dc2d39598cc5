//! The queue, as a waiting session sees it.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{interval, sleep_until};

use super::admission::Turn;
use super::connection::Connection;
use super::context::Context;
use super::limits::{Due, reached};
use super::renewal::valid_for;
use super::state::{Queued, Session};
use crate::pipeline::rows::RowLease;
use crate::shutdown::Lifecycle;
use crate::stream::end::{End, EndReason};
use crate::stream::output::Output;
use crate::telemetry::labels::Refused;

/// How often a waiting session checks whether its client has hung up. Its socket is not read meanwhile, so the end of the
/// stream would not be seen behind what the client sent before.
const LOOK: Duration = Duration::from_millis(500);

/// Waits for a row.
///
/// # Errors
/// The session gets none: it is returned, with its end.
pub(super) async fn wait_for_row(
    mut session: Session<Queued>,
    connection: &mut Connection,
    context: &mut Context,
) -> Result<(Session<Queued>, RowLease), (Session<Queued>, End)> {
    let asked = Instant::now();
    let deadline = sleep_until((asked + context.limits.queue_wait).into());
    tokio::pin!(deadline);
    let expiry = valid_for(session.principal()).and_then(|valid| asked.checked_add(valid));
    let expired = reached(expiry.map(|expiry| (Due::Expiry, expiry)));
    tokio::pin!(expired);
    let mut look = interval(LOOK);
    let reason = loop {
        tokio::select! {
            biased;
            reason = stopped(&mut context.lifecycle) => break reason,
            turn = session.place().turn() => match turn {
                Turn::Lease(lease) => {
                    connection.hung_up = None;
                    context.meters.admission.wait.record(asked.elapsed().as_secs_f64());
                    return Ok((session, lease));
                }
                Turn::Position(position) => connection.say(Output::Queued { position }),
                Turn::Over => break EndReason::GoingAway,
            },
            _ = &mut connection.gone => return Err((session, connection.last_word())),
            over = &mut connection.over => break over.map_or(EndReason::PeerGone, |end| end.reason),
            due = &mut expired => break due.reason(),
            _ = look.tick() => if connection.hung_up.as_ref().is_some_and(|hung_up| hung_up()) {
                break EndReason::PeerGone;
            },
            () = &mut deadline => {
                context.meters.admission.refused.of(Refused::QueueTimeout).increment(1);
                break EndReason::Full;
            }
        }
    };
    Err((session, reason.into()))
}

async fn stopped(lifecycle: &mut watch::Receiver<Lifecycle>) -> EndReason {
    let stops = |l: &Lifecycle| {
        matches!(
            l,
            Lifecycle::Failed | Lifecycle::Draining { .. } | Lifecycle::Stopped
        )
    };
    match lifecycle.wait_for(stops).await.as_deref() {
        Ok(Lifecycle::Failed) => EndReason::EngineFailed,
        _ => EndReason::GoingAway,
    }
}
