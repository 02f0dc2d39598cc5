//! The task of one session, from the queue to its end: wait for a row, serve, drain, close.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Inbound};
use super::context::Context;
use super::drain::drained;
use super::limits::{Deadlines, Due, reached};
use super::outgoing::Outgoing;
use super::renewal::{Renewal, valid_for};
use super::state::{Active, Closed, DrainWhy, Queued, Session, Summary};
use super::waiting;
use crate::auth::{Allowance, Principal, Refusal};
use crate::pipeline::outbox::{OutboxRoom, OutboxTx};
use crate::pipeline::rows::RowLease;
use crate::shutdown::Lifecycle;
use crate::stream::end::{End, EndReason};
use crate::stream::input::{Control, Input};
use crate::stream::output::Output;
use crate::telemetry::labels::LinkName;

/// Part of the grace period reserved for flushing audio already sent.
const FLUSH_TIME: Duration = Duration::from_secs(2);

type Ending = (Session<Closed>, End);

/// Runs a session to its end, tells its client, and writes one line to the log.
pub async fn run(
    session: Session<Queued>,
    mut connection: Connection,
    outbox: OutboxTx,
    mut context: Context,
) {
    let (session, end) = match waiting::wait_for_row(session, &mut connection, &mut context).await {
        Ok((session, lease)) => {
            let active = session.activate(lease);
            Serving::new(&active, &mut connection, &mut context, outbox.room())
                .run(active, outbox)
                .await
        }
        Err((session, end)) => (session.close(end.reason), end),
    };
    // The connection may be gone already.
    let _ = connection.close.send(end);
    let Summary {
        reason,
        served,
        lasted,
    } = session.report();
    tracing::info!(
        reason = reason.label(),
        served,
        seconds = lasted.as_secs_f64(),
        "session ended"
    );
}

/// What happened to a session that has a row.
enum Event {
    Lifecycle(Lifecycle),
    Due(Due),
    /// The charge of the message that waits was taken.
    Credits,
    Inbound(Option<Inbound>),
    /// The user's minutes of the day are used up.
    MinutesUsed,
    /// The outbox is over.
    Over(End),
    /// The pipeline behind the row has failed.
    Lost,
    /// A renewed credential was checked.
    Renewed(Result<Principal, Refusal>),
}

/// What to do after an event.
enum Next {
    Go,
    End(End),
    Drain(DrainWhy),
}

impl From<EndReason> for Next {
    fn from(reason: EndReason) -> Self {
        Self::End(reason.into())
    }
}

struct Serving<'a> {
    connection: &'a mut Connection,
    context: &'a mut Context,
    outgoing: Outgoing,
    /// Room for the stream's output: a client that does not read it is not read either.
    room: OutboxRoom,
    deadlines: Deadlines,
    allowance: Allowance,
    renewal: Renewal,
    /// Frames of speech that the client had taken when the deadline was looked at.
    taken: Taken,
}

/// Frames of speech that the client had taken when a deadline passed. If it has taken more since, the stream goes on.
#[derive(Default)]
struct Taken {
    idle: u64,
    stall: u64,
}

impl<'a> Serving<'a> {
    fn new(
        session: &Session<Active>,
        connection: &'a mut Connection,
        context: &'a mut Context,
        room: OutboxRoom,
    ) -> Self {
        let (now, limits) = (Instant::now(), &context.limits);
        let mut deadlines = Deadlines::default();
        deadlines.set(Due::Idle, now, limits.idle);
        deadlines.set(Due::Peer, now, limits.peer_timeout);
        if let Some(longest) = limits.max_session {
            deadlines.set(Due::Age, now, longest);
        }
        if let Some(valid) = valid_for(session.principal()) {
            deadlines.set(Due::Expiry, now, valid);
        }
        let speaks = connection.speaker.is_some();
        let outgoing = Outgoing::new(session.lease().largest_charge(), limits.max_message_bytes, speaks);
        Self {
            connection,
            context,
            outgoing,
            room,
            deadlines,
            allowance: session.allowance(),
            renewal: Renewal::default(),
            taken: Taken::default(),
        }
    }

    async fn run(mut self, session: Session<Active>, outbox: OutboxTx) -> Ending {
        let speaker = self.connection.speaker.take().unwrap_or_default();
        if session.lease().attach(outbox, speaker).is_err() {
            return (
                session.close(EndReason::EngineFailed),
                EndReason::EngineFailed.into(),
            );
        }
        let lifecycle = *self.context.lifecycle.borrow_and_update();
        let mut next = self.on_lifecycle(lifecycle);
        loop {
            match next {
                Next::Go => {}
                Next::End(end) => return (session.close(end.reason), end),
                Next::Drain(why) => return self.drain(session, why).await,
            }
            let event = self.event(session.lease()).await;
            next = self.on_event(event, &session);
        }
    }

    // Every branch is safe to cancel.
    async fn event(&mut self, lease: &RowLease) -> Event {
        let due = self.deadlines.next();
        let (charge, reserve) = (self.outgoing.waiting(), self.outgoing.reserve());
        let reads = self.outgoing.takes_more();
        tokio::select! {
            biased;
            over = &mut self.connection.over => Event::Over(over.unwrap_or_else(|_| EndReason::PeerGone.into())),
            () = lease.lost() => Event::Lost,
            Ok(()) = self.context.lifecycle.changed() => {
                Event::Lifecycle(*self.context.lifecycle.borrow_and_update())
            }
            due = reached(due) => Event::Due(due),
            () = self.allowance.used_up() => Event::MinutesUsed,
            // First: a cancel overtakes the text that waits.
            inbound = self.connection.inbox.recv(), if reads => Event::Inbound(inbound),
            () = credits(&self.room, lease, charge.unwrap_or(0), reserve), if charge.is_some() => Event::Credits,
            judged = self.renewal.verdict() => Event::Renewed(judged),
        }
    }

    fn on_event(&mut self, event: Event, session: &Session<Active>) -> Next {
        match event {
            Event::Over(end) => Next::End(end),
            Event::Lost => EndReason::EngineFailed.into(),
            Event::Lifecycle(lifecycle) => self.on_lifecycle(lifecycle),
            Event::Due(due) => self.on_due(due),
            Event::MinutesUsed => Next::End(End::because(
                EndReason::TooLong,
                "the minutes of the day are used up",
            )),
            Event::Credits => {
                self.deadlines.clear(Due::Stall);
                if self.outgoing.send(session.lease()).is_err() {
                    return EndReason::EngineFailed.into();
                }
                let cut = self.outgoing.cut();
                self.on_cut(cut, session.lease())
            }
            Event::Inbound(None) => EndReason::PeerGone.into(),
            Event::Inbound(Some(Inbound::Ended(end))) => Next::End(end),
            Event::Inbound(Some(Inbound::Input(input))) => {
                if self.connection.inbox.len() + 1 >= self.connection.inbox.max_capacity() {
                    self.context.meters.links.full.of(LinkName::Inbox).increment(1);
                }
                self.on_input(input, session)
            }
            Event::Renewed(judged) => self.on_renewed(judged),
        }
    }

    fn on_input(&mut self, input: Input, session: &Session<Active>) -> Next {
        match input {
            Input::Audio(audio) => {
                self.deadlines
                    .set(Due::Idle, Instant::now(), self.context.limits.idle);
                let cut = self.outgoing.audio(audio);
                self.on_cut(cut, session.lease())
            }
            Input::Text(text) => {
                self.deadlines
                    .set(Due::Idle, Instant::now(), self.context.limits.idle);
                self.outgoing.text(text);
                self.on_cut(Ok(()), session.lease())
            }
            Input::Voice(voice) => {
                self.outgoing.voice(voice);
                self.on_cut(Ok(()), session.lease())
            }
            Input::Control(Control::End) if !self.outgoing.speaks() => Next::Drain(DrainWhy::EndOfStream),
            Input::Control(control) => {
                if control == Control::Cancel {
                    self.room.cancel();
                }
                self.outgoing.control(control);
                self.on_cut(Ok(()), session.lease())
            }
            Input::KeepAlive => {
                self.deadlines
                    .set(Due::Idle, Instant::now(), self.context.limits.idle);
                Next::Go
            }
            Input::Renew(token) => {
                let (guard, meters) = (Arc::clone(&self.context.guard), self.context.meters.clone());
                let running = session.principal().clone();
                self.renewal.begin(guard, meters, running, token, session.peer());
                Next::Go
            }
        }
    }

    // The session may last as long as the newest accepted token; a refused one changes nothing.
    fn on_renewed(&mut self, judged: Result<Principal, Refusal>) -> Next {
        let answer = match judged {
            Ok(renewed) => {
                let valid = valid_for(&renewed).unwrap_or(Duration::MAX);
                self.deadlines.set(Due::Expiry, Instant::now(), valid);
                Output::Renewed { valid }
            }
            Err(_) => Output::NotRenewed,
        };
        self.connection.say(answer);
        Next::Go
    }

    fn on_cut(&mut self, cut: Result<(), End>, lease: &RowLease) -> Next {
        if let Err(end) = cut {
            return Next::End(end);
        }
        if self.outgoing.has_ended() {
            return Next::Drain(DrainWhy::EndOfStream);
        }
        if let Some(charge) = self.outgoing.waiting() {
            let full = &self.context.meters.links.full;
            if !lease.credits().has(charge) {
                full.of(LinkName::Credits).increment(1);
            }
            if !self.room.is_free() {
                full.of(LinkName::Outbox).increment(1);
            }
            self.deadlines
                .set(Due::Stall, Instant::now(), self.context.limits.stall);
        }
        Next::Go
    }

    fn on_due(&mut self, due: Due) -> Next {
        let timeout = self.context.limits.peer_timeout;
        match due {
            // While a message waits for room nothing is read, pongs included: then only the stall limit counts.
            Due::Peer if self.outgoing.waiting().is_some() => {
                self.deadlines.set(Due::Peer, Instant::now(), timeout);
                Next::Go
            }
            Due::Peer if self.connection.seen.at() + timeout > Instant::now() => {
                self.deadlines.set(Due::Peer, self.connection.seen.at(), timeout);
                Next::Go
            }
            // A client that hears what it has sent before is not idle, and text that waits for it is not stalled.
            Due::Idle if self.outgoing.waiting().is_some() || self.hears(due) => {
                self.deadlines.set(due, Instant::now(), self.context.limits.idle);
                Next::Go
            }
            Due::Stall if self.hears(due) => {
                self.deadlines.set(due, Instant::now(), self.context.limits.stall);
                Next::Go
            }
            Due::Drain => Next::Drain(DrainWhy::Shutdown),
            Due::Stall if !self.room.is_free() || !self.room.has_credits() => EndReason::SlowReader.into(),
            over => over.reason().into(),
        }
    }

    // Whether the client has taken speech since the deadline `due` passed before.
    fn hears(&mut self, due: Due) -> bool {
        let before = match due {
            Due::Stall => &mut self.taken.stall,
            _ => &mut self.taken.idle,
        };
        let now = self.room.sounds();
        std::mem::replace(before, now) != now
    }

    fn on_lifecycle(&mut self, lifecycle: Lifecycle) -> Next {
        match lifecycle {
            Lifecycle::Failed => EndReason::EngineFailed.into(),
            Lifecycle::Stopped => EndReason::Restart.into(),
            Lifecycle::Draining { until } => {
                let left = until.into_std().saturating_duration_since(Instant::now());
                self.connection.say(Output::Draining { left });
                self.deadlines.set(
                    Due::Drain,
                    Instant::now(),
                    left.saturating_sub(FLUSH_TIME.min(left / 2)),
                );
                Next::Go
            }
            Lifecycle::Starting | Lifecycle::Ready | Lifecycle::NotReady => Next::Go,
        }
    }

    async fn drain(self, session: Session<Active>, why: DrainWhy) -> Ending {
        let until = match (why, *self.context.lifecycle.borrow()) {
            (DrainWhy::Shutdown, Lifecycle::Draining { until }) => until.into_std(),
            // However slow the model is, its output may take this long; a model that hangs has a limit of its own.
            _ => Instant::now() + self.context.limits.idle,
        };
        let session = session.drain(why, until);
        let end = drained(&session, self.connection, self.context, &self.room).await;
        let end = match (end.reason, why) {
            (EndReason::Done, DrainWhy::Shutdown) => EndReason::Restart.into(),
            _ => end,
        };
        (session.close(end.reason), end)
    }
}

// Takes `charge`, and leaves `reserve`, once the client has read enough of its output. Safe to cancel.
async fn credits(room: &OutboxRoom, lease: &RowLease, charge: u32, reserve: u32) {
    room.free().await;
    lease.credits().take_and_leave(charge, reserve).await;
}
