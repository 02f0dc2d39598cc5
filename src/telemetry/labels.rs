//! The closed sets of values metric labels may take.
//!
//! A label value is always a variant of an enum, so the number of series is fixed when the process starts. Session ids,
//! users and addresses belong in log fields, never here.

use std::borrow::Cow;

use crate::auth::{Method, Reason};
use crate::protocol::close;
use crate::stream::end::EndReason;
use crate::stream::stage::{EDGES, Stage};

/// One `key="value"` pair.
pub type Pair = (&'static str, Cow<'static, str>);

/// A closed set of label values, or a product of several sets.
pub trait Labels: Copy + 'static {
    /// How many values there are.
    const COUNT: usize;
    /// Position of this value in [`Labels::all`].
    fn index(self) -> usize;
    /// The pairs of every value there is.
    fn all() -> Vec<Vec<Pair>>;
}

impl<A: Labels, B: Labels> Labels for (A, B) {
    const COUNT: usize = A::COUNT * B::COUNT;

    fn index(self) -> usize {
        self.0.index() * B::COUNT + self.1.index()
    }

    fn all() -> Vec<Vec<Pair>> {
        let second = B::all();
        A::all()
            .into_iter()
            .flat_map(|a| second.iter().map(move |b| [a.clone(), b.clone()].concat()))
            .collect()
    }
}

/// An enum whose variants are the values of one label.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $key:literal, { $($(#[$vdoc:meta])* $variant:ident = $value:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order of the enum.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value of the label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $value),+ }
            }
        }

        impl Labels for $name {
            const COUNT: usize = Self::ALL.len();

            fn index(self) -> usize {
                self as usize
            }

            fn all() -> Vec<Vec<Pair>> {
                Self::ALL.iter().map(|v| vec![($key, Cow::Borrowed(v.label()))]).collect()
            }
        }
    };
}

impl Labels for Method {
    const COUNT: usize = METHODS.len();

    fn index(self) -> usize {
        self as usize
    }

    fn all() -> Vec<Vec<Pair>> {
        METHODS
            .iter()
            .map(|method| vec![("method", method.label().into())])
            .collect()
    }
}

/// Every method, in the order of the enum.
pub const METHODS: [Method; 7] = [
    Method::Anonymous,
    Method::ApiKey,
    Method::JwtSecret,
    Method::JwtKeySet,
    Method::Cookie,
    Method::Ticket,
    Method::ClientSecret,
];

/// Outcome of one check of a credential; gives the labels `outcome` and `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Denied(Reason),
}

impl Labels for Verdict {
    const COUNT: usize = 1 + Reason::ALL.len();

    fn index(self) -> usize {
        match self {
            Self::Allowed => 0,
            Self::Denied(reason) => 1 + reason as usize,
        }
    }

    fn all() -> Vec<Vec<Pair>> {
        let pair = |outcome: &'static str, reason: &'static str| {
            vec![("outcome", outcome.into()), ("reason", reason.into())]
        };
        let denied = Reason::ALL.iter().map(|reason| pair("denied", reason.label()));
        std::iter::once(pair("allowed", "ok")).chain(denied).collect()
    }
}

label! {
    /// Whether something that can fail did.
    Outcome, "outcome", { Ok = "ok", Error = "error" }
}

label! {
    /// Why a newcomer got no row.
    Refused, "reason", {
        /// All rows and the queue are taken.
        Full = "full",
        /// A row did not come free in time.
        QueueTimeout = "queue_timeout",
        /// The user has as many sessions, or has used as many minutes, as the credential allows.
        UserLimit = "user_limit",
        /// As many open connections, or handshakes, as there may be.
        Connections = "connections",
        /// The server is stopping.
        Draining = "draining",
    }
}

label! {
    /// Why a connection was refused, or cut off before it was served.
    Unserved, "reason", {
        /// As many connections as there may be.
        Full = "full",
        /// Its address has as many as it may.
        Address = "address",
        /// It had sent no request head, and gave way to a newer connection.
        Handshakes = "handshakes",
        /// Its request head was too long.
        Head = "head",
        /// Its peer did not read the answer.
        NotRead = "not_read",
    }
}

label! {
    /// How the decoding of a posted file ended.
    FileEnd, "end", {
        Done = "done",
        /// It is not audio, or not of a kind that can be decoded, or damaged.
        BadFile = "bad_file",
        /// It made the decoder panic or crash.
        Panicked = "panicked",
        /// It needed more memory than a file may take.
        Memory = "memory",
        /// It took more processor time than a file may take.
        Time = "time",
        /// The decoder could not work.
        Failed = "failed",
        /// The client left, or its session ended.
        Killed = "killed",
    }
}

label! {
    /// Part of a step.
    StepStage, "stage", {
        /// Audio to codes.
        Mimi = "mimi",
        /// Codes to text tokens.
        Lm = "lm",
        /// Everything around the model.
        Host = "host",
        Total = "total",
    }
}

label! {
    /// What a step of a model that speaks gave.
    SpeechStep, "kind", {
        /// No audio: the first steps of utterances, which cost little.
        Light = "light",
        /// A frame of at least one row.
        Full = "full",
    }
}

label! {
    /// Why an engine stopped.
    EngineFault, "reason", {
        /// A stage returned an error or panicked.
        Stage = "stage",
        /// A step did not come back.
        Hung = "hung",
    }
}

label! {
    /// Form in which audio was sent.
    Codec, "codec", { F32 = "f32", Pcm16 = "pcm16", Opus = "opus" }
}

label! {
    /// Why audio never reached the model.
    Dropped, "reason", {
        /// The session ended with audio under way.
        SessionEnded = "session_ended",
    }
}

label! {
    /// What a flush answers.
    FlushKind, "kind", { Flush = "flush", Marker = "marker", End = "end" }
}

label! {
    /// The queues that all sessions share.
    SharedLink, "link", {
        Connections = "connections",
        Admission = "admission",
        Ingress = "ingress",
        Frames = "frames",
        Ring = "ring",
        Steps = "steps",
    }
}

label! {
    /// The queues between a socket and its words, in the order audio passes them.
    LinkName, "link", {
        Connections = "connections",
        Admission = "admission",
        Inbox = "inbox",
        Credits = "credits",
        Ingress = "ingress",
        Frames = "frames",
        Ring = "ring",
        Steps = "steps",
        Outbox = "outbox",
    }
}

impl Labels for Stage {
    const COUNT: usize = Self::ALL.len();

    fn index(self) -> usize {
        self as usize
    }

    fn all() -> Vec<Vec<Pair>> {
        Self::ALL
            .iter()
            .map(|stage| vec![("stage", stage.label().into())])
            .collect()
    }
}

/// One of [`EDGES`]; gives the labels `from` and `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge(usize);

impl Edge {
    /// The edge between two stages, if there is one.
    #[must_use]
    pub fn between(from: Stage, to: Stage) -> Option<Self> {
        EDGES.iter().position(|edge| *edge == (from, to)).map(Self)
    }
}

impl Labels for Edge {
    const COUNT: usize = EDGES.len();

    fn index(self) -> usize {
        self.0
    }

    fn all() -> Vec<Vec<Pair>> {
        let pairs =
            |(from, to): &(Stage, Stage)| vec![("from", from.label().into()), ("to", to.label().into())];
        EDGES.iter().map(pairs).collect()
    }
}

/// Gives the labels `reason` and `code`, the close code on Kyutai's wire.
impl Labels for EndReason {
    const COUNT: usize = Self::ALL.len();

    fn index(self) -> usize {
        self as usize
    }

    fn all() -> Vec<Vec<Pair>> {
        let pairs = |reason: Self| {
            vec![
                ("reason", reason.label().into()),
                ("code", close::code(reason).to_string().into()),
            ]
        };
        Self::ALL.into_iter().map(pairs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::links::LINKS;

    #[test]
    fn every_link_of_the_pipeline_has_its_label() {
        let labels: Vec<&str> = LinkName::ALL.iter().map(|link| link.label()).collect();
        let links: Vec<&str> = LINKS.iter().map(|link| link.name).collect();
        assert_eq!(labels, links);
    }

    #[test]
    fn the_index_of_a_product_finds_its_own_pairs() {
        let all = <(Method, Verdict)>::all();
        let denied = (Method::Cookie, Verdict::Denied(Reason::Expired));
        let expected: Vec<Pair> = vec![
            ("method", "cookie".into()),
            ("outcome", "denied".into()),
            ("reason", "expired".into()),
        ];
        assert_eq!(all[denied.index()], expected);
        assert_eq!(all.len(), <(Method, Verdict)>::COUNT);
    }

    #[test]
    fn the_order_of_foreign_enums_is_the_order_of_their_series() {
        for (i, method) in METHODS.iter().enumerate() {
            assert_eq!(method.index(), i);
        }
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Verdict::Denied(*reason).index(), i + 1);
        }
    }

    #[test]
    fn label_values_of_one_set_differ() {
        for reason in Reason::ALL {
            assert_eq!(
                Reason::ALL
                    .iter()
                    .filter(|other| other.label() == reason.label())
                    .count(),
                1
            );
        }
    }
}
