//! Every bound of the server in one place. The `[limits]` table sets them; times are seconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Every bound, with its default. `Option` fields are off unless set.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Open connections, of any kind (4096). Further ones are refused with 503.
    pub max_connections: usize,
    /// Open connections of one address (a quarter of `max_connections`, but 16 at least); a /64 of IPv6 counts as one.
    /// Further ones are refused with 429. Those of `trusted_proxies` are not limited.
    pub max_connections_per_address: Option<usize>,
    /// Connections whose first request head has not come (256). When there are more, the oldest of the address that has most
    /// of them is cut off.
    pub max_handshakes: usize,
    /// Longest request head in bytes, cookies included (64 KiB). Further ones are refused with 431.
    pub max_head_bytes: usize,
    /// Time for the request head and the upgrade (5 s).
    #[serde(rename = "handshake_timeout_s", deserialize_with = "seconds")]
    pub handshake_timeout: Duration,
    /// Sessions waiting for a row (64). Further ones are refused with 503 or 1013.
    pub queue_len: usize,
    /// Longest wait for a row (30 s).
    #[serde(rename = "queue_wait_s", deserialize_with = "seconds")]
    pub queue_wait: Duration,
    /// Sessions one user may have, waiting ones included (none). Credentials can carry a lower number.
    pub max_sessions_per_user: Option<u32>,
    /// Longest WebSocket message in bytes, over all its fragments (256 KiB: two seconds of classic `Audio`).
    pub max_message_bytes: usize,
    /// Messages read from a socket that its session has not taken (8).
    pub inbox_messages: usize,
    /// Audio of one session that may be between its socket and the model (1.2 s). Reading stops there.
    #[serde(rename = "audio_ahead_s", deserialize_with = "seconds")]
    pub audio_ahead: Duration,
    /// Speech of one session that was made and that its socket has not taken (4 s). The row waits there.
    #[serde(rename = "speech_ahead_s", deserialize_with = "seconds")]
    pub speech_ahead: Duration,
    /// Longest time one message may wait for room before the session ends with 1008 (10 s).
    #[serde(rename = "stall_s", deserialize_with = "seconds")]
    pub stall: Duration,
    /// Events of steps for one client that its socket has not taken (256): twenty seconds of live ones. A client that reads
    /// slower slows its own stream down, and is closed with 1008 once nothing moved for `stall_s`.
    pub outbox_messages: usize,
    /// Longest time one write to a socket may take, or an answer to a request may wait for its reader (5 s).
    #[serde(rename = "write_timeout_s", deserialize_with = "seconds")]
    pub write_timeout: Duration,
    /// A ping is sent when nothing else was for this long (10 s).
    #[serde(rename = "ping_s", deserialize_with = "seconds")]
    pub ping: Duration,
    /// A peer that sends nothing at all, pongs included, is gone (20 s).
    #[serde(rename = "peer_timeout_s", deserialize_with = "seconds")]
    pub peer_timeout: Duration,
    /// A session without audio for this long ends with 1008 (120 s); so does one whose end takes longer. One that speaks is idle
    /// when it is given no text and says nothing.
    #[serde(rename = "idle_s", deserialize_with = "seconds")]
    pub idle: Duration,
    /// Longest session (none).
    #[serde(rename = "max_session_s", deserialize_with = "optional_seconds")]
    pub max_session: Option<Duration>,
    /// Largest posted file in bytes (256 MiB).
    pub max_file_bytes: u64,
    /// Longest posted file in seconds of audio (4 hours).
    #[serde(rename = "max_file_s", deserialize_with = "seconds")]
    pub max_file: Duration,
    /// Posted files in work at one time (4). One user may have half of them, rounded up.
    pub max_files: usize,
    /// Memory that the decoder of one posted file may take, in bytes (512 MiB).
    pub max_file_memory_bytes: u64,
    /// Processor time that the decoder of one posted file may take without giving audio (10 s). Audio adds a quarter of its
    /// length.
    #[serde(rename = "max_file_cpu_s", deserialize_with = "seconds")]
    pub max_file_cpu: Duration,
    /// Longest time until a posted file gives its first audio (600 s).
    #[serde(rename = "file_open_s", deserialize_with = "seconds")]
    pub file_open: Duration,
    /// Least rate of an upload in bytes per second, averaged over `peer_timeout` (8,000).
    pub min_upload_rate: u32,
    /// A step starts when the oldest ready frame has waited this long for others (5 ms).
    #[serde(rename = "coalesce_s", deserialize_with = "seconds")]
    pub coalesce: Duration,
    /// A model step that takes longer counts as hung and ends its device's sessions (20 s).
    #[serde(rename = "step_timeout_s", deserialize_with = "seconds")]
    pub step_timeout: Duration,
    /// After a signal to stop: time in which sessions may finish (30 s).
    #[serde(rename = "drain_s", deserialize_with = "seconds")]
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_address: None,
            max_handshakes: 256,
            max_head_bytes: 64 << 10,
            handshake_timeout: Duration::from_secs(5),
            queue_len: 64,
            queue_wait: Duration::from_secs(30),
            max_sessions_per_user: None,
            max_message_bytes: 256 << 10,
            inbox_messages: 8,
            audio_ahead: Duration::from_millis(1200),
            speech_ahead: Duration::from_secs(4),
            stall: Duration::from_secs(10),
            outbox_messages: 256,
            write_timeout: Duration::from_secs(5),
            ping: Duration::from_secs(10),
            peer_timeout: Duration::from_secs(20),
            idle: Duration::from_secs(120),
            max_session: None,
            max_file_bytes: 256 << 20,
            max_file: Duration::from_secs(4 * 3600),
            max_files: 4,
            max_file_memory_bytes: 512 << 20,
            max_file_cpu: Duration::from_secs(10),
            file_open: Duration::from_secs(600),
            min_upload_rate: 8_000,
            coalesce: Duration::from_millis(5),
            step_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Whole frames of audio one session may have between its socket and the model; at least two.
    #[must_use]
    pub fn frames_ahead(&self, frame: Duration) -> usize {
        let frames = self.audio_ahead.as_nanos() / frame.as_nanos().max(1);
        usize::try_from(frames).unwrap_or(usize::MAX).max(2)
    }

    /// Whole frames of speech that one session may have between the model and its socket; at least two.
    #[must_use]
    pub fn speech_frames_ahead(&self, frame: Duration) -> usize {
        let frames = self.speech_ahead.as_nanos() / frame.as_nanos().max(1);
        usize::try_from(frames).unwrap_or(usize::MAX).max(2)
    }

    /// Open connections of one address.
    #[must_use]
    pub fn connections_per_address(&self) -> usize {
        self.max_connections_per_address
            .unwrap_or((self.max_connections / 4).max(16))
    }

    /// Bounds that make no sense: the key and what is wrong with it.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let counts = [
            ("max_connections", self.max_connections),
            ("max_connections_per_address", self.connections_per_address()),
            ("max_handshakes", self.max_handshakes),
            ("inbox_messages", self.inbox_messages),
            ("outbox_messages", self.outbox_messages),
            ("max_files", self.max_files),
            (
                "max_file_bytes",
                usize::try_from(self.max_file_bytes).unwrap_or(usize::MAX),
            ),
        ];
        for (key, count) in counts {
            if count == 0 {
                found.push((key, "must be at least 1".to_owned()));
            }
        }
        let times = [
            ("handshake_timeout_s", self.handshake_timeout),
            ("stall_s", self.stall),
            ("write_timeout_s", self.write_timeout),
            ("ping_s", self.ping),
            ("idle_s", self.idle),
            ("step_timeout_s", self.step_timeout),
            ("file_open_s", self.file_open),
            ("max_file_cpu_s", self.max_file_cpu),
        ];
        for (key, time) in times {
            if time.is_zero() {
                found.push((key, "must be more than 0".to_owned()));
            }
        }
        if self.coalesce > Duration::from_secs(1) {
            found.push((
                "coalesce_s",
                "must be at most 1: every step would wait that long".to_owned(),
            ));
        }
        if self.max_session.is_some_and(|time| time.is_zero()) {
            found.push((
                "max_session_s",
                "must be more than 0; leave it out for no limit".to_owned(),
            ));
        }
        if !(8 << 10..=1 << 20).contains(&self.max_head_bytes) {
            found.push(("max_head_bytes", "must be from 8192 to 1048576".to_owned()));
        }
        if self.max_file_memory_bytes < 64 << 20 {
            found.push((
                "max_file_memory_bytes",
                "must be at least 67108864 (64 MiB): the decoder itself takes some of it".to_owned(),
            ));
        }
        if self.max_message_bytes < 4096 {
            found.push((
                "max_message_bytes",
                "must be at least 4096: one Ogg page can be that long".to_owned(),
            ));
        }
        if self.audio_ahead < Duration::from_millis(160) || self.audio_ahead > Duration::from_secs(60) {
            found.push(("audio_ahead_s", "must be from 0.16 (two frames) to 60".to_owned()));
        }
        if self.speech_ahead < Duration::from_millis(160) || self.speech_ahead > Duration::from_secs(60) {
            found.push((
                "speech_ahead_s",
                "must be from 0.16 (two frames) to 60".to_owned(),
            ));
        }
        if self.peer_timeout <= self.ping {
            found.push((
                "peer_timeout_s",
                "must be more than ping_s, or every quiet peer is cut off".to_owned(),
            ));
        }
        found
    }
}

/// The longest time the file can name; far above any sensible bound and far below what overflows.
const LONGEST_S: f64 = 1e9;

fn seconds<'de, D: Deserializer<'de>>(source: D) -> Result<Duration, D::Error> {
    let value = f64::deserialize(source)?;
    if !(0.0..=LONGEST_S).contains(&value) {
        return Err(serde::de::Error::custom(
            "expected a number of seconds from 0 to 1e9",
        ));
    }
    Ok(Duration::from_secs_f64(value))
}

fn optional_seconds<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    seconds(source).map(Some)
}
