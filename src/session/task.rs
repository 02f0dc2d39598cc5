//! The task of one session, from the queue to its end: wait for a row, serve, drain, close.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep_until;

use super::limits::{Deadlines, Due};
use super::outgoing::Outgoing;
use super::renewal::{Renewal, valid_for};
use super::state::{Active, Closed, DrainWhy, Draining, Queued, Session, Summary};
use super::waiting;
use super::wire::{Farewell, Inbound, Wire};
use crate::auth::{Allowance, Guard, Principal, Refusal};
use crate::config::Limits;
use crate::pipeline::credits::MIN_CHARGE;
use crate::pipeline::links::Control;
use crate::pipeline::rows::RowLease;
use crate::pipeline::words::outbox::{OutboxRoom, OutboxTx};
use crate::protocol::client::{BadMessage, ClientMsg};
use crate::protocol::server::ServerMsg;
use crate::shutdown::Lifecycle;
use crate::stream::end::EndReason;
use crate::stream::frame::SAMPLE_RATE;
use crate::telemetry::Meters;
use crate::telemetry::labels::LinkName;

/// What is kept of the grace period to hear what was sent before it ends.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// What a session needs of the server.
#[derive(Clone)]
pub struct Context {
    pub limits: Arc<Limits>,
    pub guard: Arc<Guard>,
    pub lifecycle: watch::Receiver<Lifecycle>,
    pub meters: Meters,
}

type Ending = (Session<Closed>, Farewell);

/// Runs a session to its end, says farewell to its client, and leaves a line in the log.
pub async fn run(session: Session<Queued>, mut wire: Wire, outbox: OutboxTx, mut context: Context) {
    let (session, farewell) = match waiting::wait_for_row(session, &mut wire, &mut context).await {
        Ok((session, lease)) => {
            let active = session.activate(lease);
            Serving::new(&active, &mut wire, &mut context, outbox.room())
                .run(active, outbox)
                .await
        }
        Err((session, farewell)) => (session.close(farewell.reason), farewell),
    };
    // The connection may be gone already.
    let _ = wire.close.send(farewell);
    let Summary {
        id: _,
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

pub(super) async fn at(due: Option<(Due, Instant)>) -> Due {
    match due {
        Some((due, at)) => {
            sleep_until(at.into()).await;
            due
        }
        None => pending().await,
    }
}

/// What happened to a session that has a row.
enum Event {
    Lifecycle(Lifecycle),
    Due(Due),
    /// The charge of what waits was taken.
    Credits,
    Inbound(Option<Inbound>),
    /// The user's minutes of the day are used up.
    MinutesUsed,
    /// The outbox is over.
    Over(EndReason),
    /// The pipeline behind the row has failed.
    Lost,
    /// The token of a `Renew` was judged.
    Renewed(Result<Principal, Refusal>),
}

/// What comes after an event.
enum Next {
    Go,
    End(Farewell),
    Drain(DrainWhy),
}

impl From<EndReason> for Next {
    fn from(reason: EndReason) -> Self {
        Self::End(reason.into())
    }
}

impl From<BadMessage> for Next {
    fn from(bad: BadMessage) -> Self {
        Self::End(Farewell {
            reason: bad.reason,
            text: Some(bad.message),
        })
    }
}

struct Serving<'a> {
    wire: &'a mut Wire,
    context: &'a mut Context,
    outgoing: Outgoing,
    /// Of the words: a client that does not read them is not read either.
    room: OutboxRoom,
    deadlines: Deadlines,
    allowance: Allowance,
    renewal: Renewal,
}

impl<'a> Serving<'a> {
    fn new(
        session: &Session<Active>,
        wire: &'a mut Wire,
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
        let outgoing = Outgoing::new(wire.form, session.lease().largest_charge());
        Self {
            wire,
            context,
            outgoing,
            room,
            deadlines,
            allowance: session.allowance(),
            renewal: Renewal::default(),
        }
    }

    async fn run(mut self, session: Session<Active>, outbox: OutboxTx) -> Ending {
        let rate = self.wire.form.pcm16.unwrap_or(SAMPLE_RATE);
        if session.lease().attach(rate, outbox).is_err() {
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
                Next::End(farewell) => return (session.close(farewell.reason), farewell),
                Next::Drain(why) => return self.drain(session, why).await,
            }
            let event = self.event(session.lease()).await;
            next = self.on_event(event, &session);
        }
    }

    // Every branch is safe to cancel.
    async fn event(&mut self, lease: &RowLease) -> Event {
        let due = self.deadlines.next();
        let charge = self.outgoing.waiting();
        tokio::select! {
            biased;
            over = &mut self.wire.over => Event::Over(over.unwrap_or(EndReason::PeerGone)),
            () = lease.lost() => Event::Lost,
            Ok(()) = self.context.lifecycle.changed() => {
                Event::Lifecycle(*self.context.lifecycle.borrow_and_update())
            }
            due = at(due) => Event::Due(due),
            () = self.allowance.used_up() => Event::MinutesUsed,
            () = credits(&self.room, lease, charge.unwrap_or(0)), if charge.is_some() => Event::Credits,
            inbound = self.wire.inbox.recv(), if charge.is_none() => Event::Inbound(inbound),
            judged = self.renewal.verdict() => Event::Renewed(judged),
        }
    }

    fn on_event(&mut self, event: Event, session: &Session<Active>) -> Next {
        match event {
            Event::Over(reason) => reason.into(),
            Event::Lost => EndReason::EngineFailed.into(),
            Event::Lifecycle(lifecycle) => self.on_lifecycle(lifecycle),
            Event::Due(due) => self.on_due(due),
            Event::MinutesUsed => Next::End(Farewell {
                reason: EndReason::TooLong,
                text: Some("the minutes of the day are used up".to_owned()),
            }),
            Event::Credits => {
                self.deadlines.clear(Due::Stall);
                if self.outgoing.send(session.lease()).is_err() {
                    return EndReason::EngineFailed.into();
                }
                let cut = self.outgoing.cut();
                self.on_cut(cut, session.lease())
            }
            Event::Inbound(None) => EndReason::PeerGone.into(),
            Event::Inbound(Some(Inbound::Ended(farewell))) => Next::End(farewell),
            Event::Inbound(Some(Inbound::Message(message))) => {
                if self.wire.inbox.len() + 1 >= self.wire.inbox.max_capacity() {
                    self.context.meters.links.full.of(LinkName::Inbox).increment(1);
                }
                self.on_message(message, session)
            }
            Event::Renewed(judged) => self.on_renewed(judged),
        }
    }

    fn on_message(&mut self, message: ClientMsg, session: &Session<Active>) -> Next {
        let control = match message {
            ClientMsg::Audio(sound) => {
                self.deadlines
                    .set(Due::Idle, Instant::now(), self.context.limits.idle);
                let cut = self.outgoing.sound(sound);
                return self.on_cut(cut, session.lease());
            }
            ClientMsg::EndOfStream => return Next::Drain(DrainWhy::EndOfStream),
            ClientMsg::Renew { token } => {
                let (guard, meters) = (Arc::clone(&self.context.guard), self.context.meters.clone());
                let running = session.principal().clone();
                self.renewal.begin(guard, meters, running, token, session.peer());
                return Next::Go;
            }
            ClientMsg::Init => Control::Restart,
            ClientMsg::Marker { id } => Control::Mark(id),
            ClientMsg::Flush => Control::Flush,
        };
        self.outgoing.control(control);
        self.on_cut(Ok(()), session.lease())
    }

    // The session lives as long as the newest token that was accepted; a refused one changes nothing.
    fn on_renewed(&mut self, judged: Result<Principal, Refusal>) -> Next {
        let answer = match judged {
            Ok(renewed) => {
                let valid = valid_for(&renewed).unwrap_or(Duration::MAX);
                self.deadlines.set(Due::Expiry, Instant::now(), valid);
                ServerMsg::Renewed {
                    valid_s: valid.as_secs_f64(),
                }
            }
            Err(_) => ServerMsg::NotRenewed,
        };
        self.wire.say(answer);
        Next::Go
    }

    fn on_cut(&mut self, cut: Result<(), BadMessage>, lease: &RowLease) -> Next {
        if let Err(bad) = cut {
            return bad.into();
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
            // While a message waits for room nothing is read, pongs neither: then the stall limit counts alone.
            Due::Peer if self.outgoing.waiting().is_some() => {
                self.deadlines.set(Due::Peer, Instant::now(), timeout);
                Next::Go
            }
            Due::Peer if self.wire.seen.at() + timeout > Instant::now() => {
                self.deadlines.set(Due::Peer, self.wire.seen.at(), timeout);
                Next::Go
            }
            Due::Drain => Next::Drain(DrainWhy::Shutdown),
            Due::Stall if !self.room.is_free() => EndReason::SlowReader.into(),
            over => over.reason().into(),
        }
    }

    fn on_lifecycle(&mut self, lifecycle: Lifecycle) -> Next {
        match lifecycle {
            Lifecycle::Failed => EndReason::EngineFailed.into(),
            Lifecycle::Stopped => EndReason::Restart.into(),
            Lifecycle::Draining { until } => {
                let left = until.into_std().saturating_duration_since(Instant::now());
                self.wire.say(ServerMsg::Draining {
                    deadline_s: left.as_secs_f64(),
                });
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
            // As long as the model goes on so does this, however slow it is; a model that stands still has its own limit.
            _ => Instant::now() + self.context.limits.idle,
        };
        let session = session.drain(why, until);
        let reason = drained(&session, self.wire, self.context).await;
        let farewell = match (reason, why) {
            (EndReason::Done, DrainWhy::Shutdown) => EndReason::Restart,
            (reason, _) => reason,
        };
        (session.close(farewell), farewell.into())
    }
}

// Takes `charge` once the client has read enough of its words. Safe to cancel.
async fn credits(room: &OutboxRoom, lease: &RowLease, charge: u32) {
    room.free().await;
    lease.credits().take(charge).await;
}

// Asks the row for what is left and waits until all of it is out.
async fn drained(session: &Session<Draining>, wire: &mut Wire, context: &mut Context) -> EndReason {
    let lease = session.lease();
    let late = sleep_until(session.until().into());
    tokio::pin!(late);
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            over = &mut wire.over => return over.unwrap_or(EndReason::PeerGone),
            () = lease.lost() => return EndReason::EngineFailed,
            () = lease.credits().take(MIN_CHARGE), if !asked => {
                asked = true;
                if lease.control(Control::End).is_err() {
                    return EndReason::EngineFailed;
                }
            }
            Some(inbound) = wire.inbox.recv() => if let Inbound::Ended(farewell) = inbound {
                return farewell.reason;
            },
            Ok(()) = context.lifecycle.changed() => {
                if *context.lifecycle.borrow() == Lifecycle::Failed {
                    return EndReason::EngineFailed;
                }
            }
            () = &mut late => return match session.why() {
                DrainWhy::EndOfStream => EndReason::Stalled,
                DrainWhy::Shutdown => EndReason::Restart,
            },
        }
    }
}
