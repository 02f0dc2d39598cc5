//! The catalogue: every metric this server exports, by area, and the handles the code records with.
//!
//! To add one: a line here, a call where it happens, a panel in `dashboards/` (or `hidden "why not"`). The tests beside this
//! file and in `tests/` fail until help, unit, buckets, use and panel are there; `docs/metrics.md` is made from this file.

use metrics::{Counter, Gauge, Histogram};

use super::buckets::{CHECK, LAG, ROWS, SESSION, SPEED, STEP, WAIT, WORD};
use super::instrument::{Family, Instrument, Metric, SecondsCounter, Store, Unit, area};
use super::labels::{
    Codec, Dropped, Edge, EngineFault, FileEnd, FlushKind, LinkName, Outcome, Pair, Refused, SharedLink,
    SpeechStep, StepStage, Unserved, Verdict,
};
use crate::auth::Method;
use crate::stream::end::EndReason;
use crate::stream::stage::Stage;

area! {
    /// Who comes in, and who does not.
    Auth {
        attempts: Family<Counter, (Method, Verdict)> = "moshi_auth_attempts_total", Unit::Of("attempts"),
            "Credentials checked, by what was offered and what came of it.";
        check: Family<Histogram, Method> = "moshi_auth_check_seconds", Unit::Seconds, in CHECK,
            "Time one check of a credential took.";
        keyset_fetches: Family<Counter, Outcome> = "moshi_auth_keyset_fetches_total", Unit::Of("fetches"),
            "Attempts to fetch the key set.";
        keyset_fetched: Gauge = "moshi_auth_keyset_fetched_timestamp_seconds", Unit::Timestamp,
            "When the key set in use was fetched; 0 when there is none.";
        keyset_keys: Gauge = "moshi_auth_keyset_keys", Unit::Of("keys"),
            "Public keys in the key set in use.";
        key_file_failed: Gauge = "moshi_auth_key_file_failed_timestamp_seconds", Unit::Timestamp,
            "Since when the file of API keys cannot be used; 0 while it can, or when there is none.";
    }
}

area! {
    /// Connections, before there is a session.
    Connections {
        unserved: Family<Counter, Unserved> = "moshi_connection_unserved_total", Unit::Of("connections"),
            "Connections refused, or cut off before they were served, by reason.";
    }
}

area! {
    /// The life of sessions.
    Sessions {
        open: Family<Gauge, Stage> = "moshi_session_open_sessions", Unit::Of("sessions"),
            "Sessions in each stage now.";
        started: Counter = "moshi_session_started_total", Unit::Of("sessions"),
            "Sessions that were given a row.";
        transitions: Family<Counter, Edge> = "moshi_session_transitions_total", Unit::Of("transitions"),
            "Moves of sessions from stage to stage.";
        ended: Family<Counter, EndReason> = "moshi_session_ended_total", Unit::Of("sessions"),
            "Sessions that ended, by reason and close code.";
        illegal: Counter = "moshi_session_illegal_events_total", Unit::Of("events"),
            "Events a row could not take in its phase; each retired its row. Anything but 0 is a defect of the server.";
        duration: Histogram = "moshi_session_duration_seconds", Unit::Seconds, in SESSION,
            "Time from the request to the end, of sessions that had a row.";
        heard: Histogram = "moshi_session_audio_seconds", Unit::Seconds, in SESSION,
            "Audio heard from one session, in seconds of sound.";
        speed: Histogram = "moshi_session_realtime_ratio", Unit::Ratio, in SPEED,
            "Seconds of audio heard for each second from the first to the last. Live audio gives 1; a file gives more.";
    }
}

area! {
    /// Who waits for a row, and who is turned away.
    Admission {
        waiting: Gauge = "moshi_admission_queue_sessions", Unit::Of("sessions"),
            "Sessions waiting for a row now.";
        wait: Histogram = "moshi_admission_wait_seconds", Unit::Seconds, in WAIT,
            "Time sessions waited for the row they got.";
        refused: Family<Counter, Refused> = "moshi_admission_refusals_total", Unit::Of("refusals"),
            "Sessions turned away after their credential was accepted, and connections above the limit.";
    }
}

area! {
    /// One model and its rows. Each series has the label `module`, the name of its table in the configuration.
    EngineMeters {
        devices: Gauge = "moshi_engine_devices", Unit::Of("devices"),
            "Processors that compute the model now. One GPU less is a GPU that failed, with its sessions.";
        rows: Gauge = "moshi_engine_configured_rows", Unit::Of("rows"),
            "Streams the model has state for: `batch_size` on each device that works.";
        used: Gauge = "moshi_engine_used_rows", Unit::Of("rows"),
            "Streams that have a row now.";
        capacity: Gauge = "moshi_engine_capacity_rows", Unit::Of("rows"),
            "Streams this machine can hold in real time, estimated from its own step times; 0 until there are enough.";
        budget: Gauge = "moshi_engine_step_budget_seconds", Unit::Seconds,
            "Length of a frame: a step that takes longer falls behind.";
        step: Family<Histogram, StepStage> = "moshi_engine_step_seconds", Unit::Seconds, in STEP,
            "Time one step of the model took, by part.";
        overruns: Counter = "moshi_engine_overruns_total", Unit::Of("steps"),
            "Steps that took longer than a frame lasts.";
        batch: Histogram = "moshi_engine_batch_rows", Unit::Of("rows"), in ROWS,
            "Rows advanced in one step.";
        frames: Counter = "moshi_engine_frames_total", Unit::Of("frames"),
            "Frames of 80 ms that the model heard or said, silence fed to flush included.";
        faults: Family<Counter, EngineFault> = "moshi_engine_faults_total", Unit::Of("faults"),
            "Failures that ended an engine, and the sessions on its device.";
        lag: Histogram = "moshi_engine_lag_seconds", Unit::Seconds, in LAG,
            "Time from the arrival of a frame's last sample to the end of the step that heard it.";
    }
}

area! {
    /// What a module that writes down speech tells. Each series has the label `module`.
    Transcription {
        first_word: Histogram = "moshi_word_first_seconds", Unit::Seconds, in WORD,
            "Time from the first audio of a session to its first word, silence at the start included.";
        word: Histogram = "moshi_word_latency_seconds", Unit::Seconds, in WORD,
            "Time from the arrival of the audio where a word begins to the word. The model's delay is part of it.";
        flush: Family<Histogram, FlushKind> = "moshi_word_flush_seconds", Unit::Seconds, in WORD,
            "Time from a request for everything heard so far to its answer.";
        words: Counter = "moshi_word_words_total", Unit::Of("words"),
            "Words sent.";
    }
}

area! {
    /// What a module that speaks tells. Each series has the label `module`.
    Speech {
        first: Histogram = "moshi_speech_first_seconds", Unit::Seconds, in WORD,
            "Time from the first word of an utterance to the first frame of its audio.";
        speed: Histogram = "moshi_speech_realtime_ratio", Unit::Ratio, in SPEED,
            "Seconds of audio made for each second from the first frame of a session to its end. Clients that play what comes see gaps below 1.";
        underruns: Counter = "moshi_speech_underruns_total", Unit::Of("gaps"),
            "Frames that came after a client that plays at once had run out, though its row had text and room.";
        steps: Family<Counter, SpeechStep> = "moshi_speech_steps_total", Unit::Of("steps"),
            "Steps, by whether they gave audio.";
        words: Counter = "moshi_speech_words_total", Unit::Of("words"),
            "Words and pauses that were said.";
        audio: SecondsCounter = "moshi_speech_audio_seconds_total", Unit::Seconds,
            "Audio made, in seconds of sound.";
    }
}

area! {
    /// Audio on its way in.
    Audio {
        received: Family<SecondsCounter, Codec> = "moshi_audio_received_seconds_total", Unit::Seconds,
            "Audio decoded, in seconds of sound.";
        dropped: Family<SecondsCounter, Dropped> = "moshi_audio_dropped_seconds_total", Unit::Seconds,
            "Audio that never reached the model, in seconds of sound.";
    }
}

area! {
    /// Posted files.
    Files {
        decoding: Gauge = "moshi_file_decoders", Unit::Of("decoders"),
            "Posted files whose decoder runs now, of `max_files`.";
        ended: Family<Counter, FileEnd> = "moshi_file_decodings_total", Unit::Of("files"),
            "Posted files whose decoder has ended, by how. `failed` is the server's own fault; the rest are the file's or the client's.";
    }
}

area! {
    /// The queues. `docs/operations.md` tells what each one filling up means.
    Links {
        depth: Family<Gauge, SharedLink> = "moshi_link_depth_items", Unit::Of("items"),
            "What is in each queue that all sessions share.";
        full: Family<Counter, LinkName> = "moshi_link_full_total", Unit::Of("times"),
            "Times a queue was found full.";
    }
}

area! {
    /// Whether the server serves.
    HealthState {
        state: Family<Gauge, super::health::Phase> = "moshi_health_state", Unit::State,
            "1 for the state the server is in, 0 for the others.";
    }
}

area! {
    /// The process, under the names every dashboard knows.
    Process {
        cpu: SecondsCounter = "process_cpu_seconds_total", Unit::Seconds,
            "Processor time used, user and system.";
        resident: Gauge = "process_resident_memory_bytes", Unit::Bytes,
            "Memory that is in RAM.";
        open_fds: Gauge = "process_open_fds", Unit::Of("fds"),
            "Open file descriptors, sockets included.";
        max_fds: Gauge = "process_max_fds", Unit::Of("fds"),
            "File descriptors the process may open.";
        threads: Gauge = "process_threads", Unit::Of("threads"),
            "Threads of the process.";
        started_at: Gauge = "process_start_time_seconds", Unit::Timestamp,
            "When the process started.";
        panics: Counter = "moshi_process_panics_total", Unit::Of("panics"),
            "Panics of any thread. Anything but 0 is a defect of the server.";
    }
}

area! {
    /// The async runtime, which owns sockets and timers.
    Runtime {
        workers: Gauge = "moshi_runtime_workers", Unit::Of("workers"),
            "Worker threads.", hidden "constant; the scheduling delay is what tells";
        tasks: Gauge = "moshi_runtime_alive_tasks", Unit::Of("tasks"),
            "Tasks alive now.";
        queued: Gauge = "moshi_runtime_queued_tasks", Unit::Of("tasks"),
            "Tasks ready to run that wait in the shared queue.";
        delay: Histogram = "moshi_runtime_delay_seconds", Unit::Seconds, in STEP,
            "How late a timer of the runtime fires: the delay every socket sees.";
    }
}

area! {
    /// One graphics card, as its driver tells. Each series has the label `gpu`, its index.
    Gpu {
        memory_used: Gauge = "moshi_gpu_memory_used_bytes", Unit::Bytes, "Memory in use, all processes together.";
        memory_total: Gauge = "moshi_gpu_memory_size_bytes", Unit::Bytes, "Memory of the card.";
        busy: Gauge = "moshi_gpu_busy_ratio", Unit::Ratio, "Share of the last second with a kernel running.";
        power: Gauge = "moshi_gpu_power_watts", Unit::Watts, "Power drawn.";
        temperature: Gauge = "moshi_gpu_temperature_celsius", Unit::Celsius, "Temperature of the chip.";
    }
}

/// What was built. The labels are the message.
pub const BUILD_INFO: Metric = info("moshi_build_info", "Version, commit and features of this build.");
/// What was loaded. The labels are the message.
pub const MODEL_INFO: Metric = info(
    "moshi_model_info",
    "Model of each module: its kind, the delay of its text, its pause predictors, the memory of a row.",
);

const fn info(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: super::instrument::MetricKind::Gauge,
        unit: Unit::Info,
        help,
        buckets: &[],
        labels: <Gauge as Instrument>::labels,
        hidden: None,
    }
}

/// One area of the catalogue.
pub struct Area {
    pub title: &'static str,
    pub metrics: &'static [Metric],
    /// Names of the fields that hold the handles.
    pub fields: &'static [&'static str],
    /// Label that each of its series has besides those of the metric.
    pub base: Option<&'static str>,
}

macro_rules! areas {
    ($($title:literal, $area:ident $(, $base:literal)?;)+) => {
        &[$(Area {
            title: $title,
            metrics: $area::CATALOGUE,
            fields: $area::FIELDS,
            base: area!(@or None $(, Some($base))?),
        }),+]
    };
}

/// Every metric, by area. Kyutai's old names are in `telemetry::legacy`.
pub const CATALOGUE: &[Area] = areas! {
    "Sign-in", Auth;
    "Connections", Connections;
    "Sessions", Sessions;
    "Admission", Admission;
    "Engine", EngineMeters, "module";
    "Words", Transcription, "module";
    "Speech", Speech, "module";
    "Audio", Audio;
    "Posted files", Files;
    "Queues", Links;
    "Health", HealthState;
    "Process", Process;
    "Runtime", Runtime;
    "Graphics cards", Gpu, "gpu";
};

/// The entries without handles.
pub const INFOS: &[Metric] = &[BUILD_INFO, MODEL_INFO];

#[cfg(test)]
mod tests;
