//! The session as a value whose type is its stage.
//!
//! Each stage holds only what is true in it. A [`Principal`] is made only by `auth`, a [`RowLease`] only by the pipeline, and
//! both are moved in, so "audio before authentication" is no check that could be forgotten: there is nothing to send it
//! with. Transitions take the session by value; one that `EDGES` does not list does not compile.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::admission::QueuePlace;
use super::id::SessionId;
use super::registry::{Entry, TooMany};
use crate::auth::{self, Principal};
use crate::pipeline::rows::RowLease;
use crate::stream::end::EndReason;
use crate::stream::stage::{Stage, is_edge};

mod sealed {
    pub trait Sealed {}
}

/// A stage, as a type.
pub trait State: sealed::Sealed {
    const STAGE: Stage;
}

/// A stage that can still be closed.
pub trait Open: State {}

macro_rules! states {
    ($($state:ident: $($open:ident)?),*) => {$(
        impl sealed::Sealed for $state {}
        impl State for $state {
            const STAGE: Stage = Stage::$state;
        }
        $(impl $open for $state {})?
    )*};
}

states!(Connecting: Open, Authenticated: Open, Queued: Open, Active: Open, Draining: Open, Closed:);

/// A request arrived; who sent it is not known yet.
pub struct Connecting(());

/// The client's credentials were accepted.
pub struct Authenticated {
    principal: Principal,
    minutes: auth::UsageLease,
}

/// The session waits for a row, be it for a moment.
pub struct Queued {
    principal: Principal,
    minutes: auth::UsageLease,
    place: QueuePlace,
}

/// The session has a row.
pub struct Active {
    principal: Principal,
    /// Books the session's time on its user; dropped with the session.
    minutes: auth::UsageLease,
    lease: RowLease,
}

/// No more input is taken; what was taken is being processed.
pub struct Draining {
    _minutes: auth::UsageLease,
    lease: RowLease,
    why: DrainWhy,
    until: Instant,
}

/// The session is over.
pub struct Closed {
    reason: EndReason,
    row_was_leased: bool,
}

/// Why a session drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainWhy {
    /// The client said that no more audio follows.
    EndOfStream,
    /// The server stops.
    Shutdown,
}

/// One session.
pub struct Session<S: State> {
    entry: Entry,
    opened: Instant,
    state: S,
}

/// Summary of a session that is over.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub reason: EndReason,
    /// Whether it had a row.
    pub served: bool,
    pub lasted: Duration,
}

struct Edge<From, To>(PhantomData<(From, To)>);

impl<From: State, To: State> Edge<From, To> {
    const EXISTS: () = assert!(
        is_edge(From::STAGE, To::STAGE),
        "EDGES does not list this transition"
    );
}

impl<S: State> Session<S> {
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.entry.id()
    }

    /// Returns the client's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.entry.peer()
    }

    fn go<To: State>(self, state: impl FnOnce(S) -> To) -> Session<To> {
        let () = Edge::<S, To>::EXISTS;
        self.entry.set_stage(To::STAGE);
        Session {
            entry: self.entry,
            opened: self.opened,
            state: state(self.state),
        }
    }
}

impl Session<Connecting> {
    /// Begins a session.
    #[must_use]
    pub fn open(entry: Entry) -> Self {
        Self {
            entry,
            opened: Instant::now(),
            state: Connecting(()),
        }
    }

    /// Notes that the client is `principal`, who may have `most` sessions.
    ///
    /// # Errors
    /// The client has as many already: this session is closed.
    pub fn authenticated(
        mut self,
        principal: Principal,
        minutes: auth::UsageLease,
        most: Option<u32>,
    ) -> Result<Session<Authenticated>, (Session<Closed>, TooMany)> {
        match self.entry.claim(&principal.subject, most) {
            Ok(()) => Ok(self.go(|_| Authenticated { principal, minutes })),
            Err(too_many) => Err((self.close(EndReason::Full), too_many)),
        }
    }
}

impl Session<Authenticated> {
    /// Gives the session a place in the queue for rows.
    #[must_use]
    pub fn enqueue(self, place: QueuePlace) -> Session<Queued> {
        self.go(|Authenticated { principal, minutes }| Queued {
            principal,
            minutes,
            place,
        })
    }

    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.state.principal
    }
}

impl Session<Queued> {
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.state.principal
    }

    /// Returns its place in the queue.
    pub fn place(&mut self) -> &mut QueuePlace {
        &mut self.state.place
    }

    /// Gives the session its row.
    #[must_use]
    pub fn activate(self, lease: RowLease) -> Session<Active> {
        self.entry.meters().started.increment(1);
        self.go(
            |Queued {
                 principal,
                 minutes,
                 place: _,
             }| Active {
                principal,
                minutes,
                lease,
            },
        )
    }
}

impl Session<Active> {
    #[must_use]
    pub fn lease(&self) -> &RowLease {
        &self.state.lease
    }

    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.state.principal
    }

    /// Returns the minutes that its user has left, shared with the user's other sessions.
    #[must_use]
    pub fn allowance(&self) -> auth::Allowance {
        self.state.minutes.allowance()
    }

    /// Stops taking input; what was taken has to be processed by `until`.
    #[must_use]
    pub fn drain(self, why: DrainWhy, until: Instant) -> Session<Draining> {
        self.go(
            |Active {
                 principal: _,
                 minutes,
                 lease,
             }| Draining {
                _minutes: minutes,
                lease,
                why,
                until,
            },
        )
    }
}

impl Session<Draining> {
    #[must_use]
    pub fn lease(&self) -> &RowLease {
        &self.state.lease
    }

    #[must_use]
    pub fn why(&self) -> DrainWhy {
        self.state.why
    }

    #[must_use]
    pub fn until(&self) -> Instant {
        self.state.until
    }
}

impl<S: Open> Session<S> {
    /// Ends the session, whatever it was doing. Dropping its lease frees its row.
    pub fn close(self, reason: EndReason) -> Session<Closed>
    where
        S: State,
    {
        let row_was_leased = matches!(S::STAGE, Stage::Active | Stage::Draining);
        let meters = self.entry.meters();
        meters.ended.of(reason).increment(1);
        if row_was_leased {
            meters.duration.record(self.opened.elapsed().as_secs_f64());
        }
        self.go(|_| Closed {
            reason,
            row_was_leased,
        })
    }
}

impl Session<Closed> {
    /// Returns the summary for the log.
    #[must_use]
    pub fn report(self) -> Summary {
        Summary {
            reason: self.state.reason,
            served: self.state.row_was_leased,
            lasted: self.opened.elapsed(),
        }
    }
}
