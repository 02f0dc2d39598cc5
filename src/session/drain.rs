//! The last part of a session that had a row: the rest of its output is brought out and written.

use std::time::Instant;

use tokio::time::sleep_until;

use super::connection::{Connection, Inbound};
use super::context::Context;
use super::state::{DrainWhy, Draining, Session};
use crate::pipeline::credits::MIN_CHARGE;
use crate::pipeline::outbox::OutboxRoom;
use crate::shutdown::Lifecycle;
use crate::stream::end::{End, EndReason};
use crate::stream::input::Control;

/// Asks the row for the rest of its output and waits until all of it is written.
pub(super) async fn drained(
    session: &Session<Draining>,
    connection: &mut Connection,
    context: &mut Context,
    room: &OutboxRoom,
) -> End {
    let lease = session.lease();
    let late = sleep_until(session.until().into());
    tokio::pin!(late);
    let (mut asked, mut taken) = (false, 0);
    loop {
        tokio::select! {
            biased;
            over = &mut connection.over => return over.unwrap_or_else(|_| EndReason::PeerGone.into()),
            () = lease.lost() => return EndReason::EngineFailed.into(),
            () = lease.credits().take(MIN_CHARGE), if !asked => {
                asked = true;
                if lease.control(Control::End).is_err() {
                    return EndReason::EngineFailed.into();
                }
            }
            Some(inbound) = connection.inbox.recv() => if let Inbound::Ended(end) = inbound {
                return end;
            },
            Ok(()) = context.lifecycle.changed() => {
                if *context.lifecycle.borrow() == Lifecycle::Failed {
                    return EndReason::EngineFailed.into();
                }
            }
            () = &mut late => match session.why() {
                // A long text is heard to its end.
                DrainWhy::EndOfStream if std::mem::replace(&mut taken, room.sounds()) != room.sounds() => {
                    late.as_mut().reset((Instant::now() + context.limits.idle).into());
                }
                DrainWhy::EndOfStream => return EndReason::Stalled.into(),
                DrainWhy::Shutdown => return EndReason::Restart.into(),
            },
        }
    }
}
