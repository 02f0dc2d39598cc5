use std::time::Duration;

use super::*;
use crate::auth::Reason;
use crate::telemetry::MetricKind;
use crate::telemetry::labels::Labels;
use crate::telemetry::metrics::Meters;
use crate::telemetry::record::StepTimes;

fn all() -> impl Iterator<Item = &'static Metric> {
    CATALOGUE.iter().flat_map(|area| area.metrics).chain(INFOS)
}

/// Every series of a process with one module and one card.
fn everything() -> Meters {
    let meters = Meters::default();
    let _ = (meters.engine("asr"), meters.transcription("asr"), meters.gpu(0));
    let _ = meters.speech("tts");
    meters.build_info(&[("version", "1".into())]);
    meters.model_info(&[("module", "asr".into())]);
    meters
}

#[test]
fn names_say_area_noun_and_unit() {
    for metric in all() {
        let name = metric.name;
        let shared = name.starts_with("process_");
        assert!(shared || name.starts_with("moshi_"), "{name}: no prefix");
        let stem = name.strip_suffix("_total").unwrap_or(name);
        assert_eq!(
            metric.kind == MetricKind::Counter,
            stem != name,
            "{name}: only counters end in _total"
        );
        let wanted = match metric.unit {
            Unit::Seconds => "_seconds".to_owned(),
            Unit::Timestamp if shared => "_time_seconds".to_owned(),
            Unit::Timestamp => "_timestamp_seconds".to_owned(),
            Unit::Bytes => "_bytes".to_owned(),
            Unit::Ratio => "_ratio".to_owned(),
            Unit::Watts => "_watts".to_owned(),
            Unit::Celsius => "_celsius".to_owned(),
            Unit::State => "_state".to_owned(),
            Unit::Info => "_info".to_owned(),
            // A counter's noun may be an event ("ended"), which already says what is counted.
            Unit::Of(_) if metric.kind == MetricKind::Counter => String::new(),
            Unit::Of(noun) => format!("_{noun}"),
        };
        assert!(stem.ends_with(&wanted), "{name}: should end in {wanted}");
        assert_eq!(
            all().filter(|m| m.name == name).count(),
            1,
            "{name}: listed twice"
        );
    }
}

#[test]
fn every_entry_has_help_and_only_histograms_have_buckets() {
    for metric in all() {
        assert!(
            metric.help.len() > 10 && metric.help.ends_with('.'),
            "{}: help",
            metric.name
        );
        assert_eq!(
            metric.kind == MetricKind::Histogram,
            !metric.buckets.is_empty(),
            "{}: buckets",
            metric.name
        );
        assert!(
            metric.buckets.is_sorted_by(|a, b| a < b),
            "{}: buckets ascend",
            metric.name
        );
        assert!(
            metric.hidden.is_none_or(|why| why.len() > 10),
            "{}: hidden without a reason",
            metric.name
        );
    }
}

#[test]
fn label_sets_are_small_and_hold_no_identity() {
    for metric in all() {
        let series = (metric.labels)();
        assert!(series.len() <= 200, "{}: {} series", metric.name, series.len());
        for (key, value) in series.concat() {
            assert!(
                !["user", "session", "ip", "peer", "id", "key"].contains(&key),
                "{}: label {key}",
                metric.name
            );
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(value.chars().all(plain), "{}: {key}={value}", metric.name);
        }
    }
}

#[test]
fn every_series_is_there_at_zero_from_the_start() {
    let text = everything().render();
    for area in CATALOGUE {
        for metric in area.metrics {
            let suffix = if metric.kind == MetricKind::Histogram {
                "_count"
            } else {
                ""
            };
            let start = format!("{}{suffix}", metric.name);
            let lines: Vec<&str> = text
                .lines()
                .filter(|line| line.split(['{', ' ']).next() == Some(start.as_str()))
                .collect();
            assert_eq!(lines.len(), (metric.labels)().len(), "{}", metric.name);
            if metric.kind != MetricKind::Gauge {
                assert!(lines.iter().all(|line| line.ends_with(" 0")), "{lines:?}");
            }
            assert!(
                text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)),
                "{}",
                metric.name
            );
        }
    }
}

#[test]
fn buckets_are_cumulative_and_a_bound_belongs_to_its_bucket() {
    let meters = Meters::default();
    for wait in [0.0, 0.001, 0.0011, 5.0, 1000.0] {
        meters.admission.wait.record(wait);
    }
    let text = meters.render();
    let has = |line: &str| {
        assert!(
            text.contains(&format!("moshi_admission_wait_seconds{line}\n")),
            "{line}\n{text}"
        )
    };
    has("_bucket{le=\"0.001\"} 2");
    has("_bucket{le=\"0.01\"} 3");
    has("_bucket{le=\"5\"} 4");
    has("_bucket{le=\"60\"} 4");
    has("_bucket{le=\"+Inf\"} 5");
    has("_count 5");
    assert!(text.contains("moshi_admission_wait_seconds_sum 1005.002"));
}

#[test]
fn seconds_are_counted_to_the_microsecond() {
    let meters = Meters::default();
    for _ in 0..3 {
        meters.audio.received.of(Codec::Pcm16).add_samples(1920, 24_000);
    }
    meters
        .audio
        .received
        .of(Codec::Pcm16)
        .add(Duration::from_micros(1));
    let text = meters.render();
    assert!(
        text.contains("moshi_audio_received_seconds_total{codec=\"pcm16\"} 0.240001\n"),
        "{text}"
    );
}

#[test]
fn a_label_value_reaches_its_own_series_only() {
    let meters = Meters::default();
    meters
        .auth
        .attempts
        .of((Method::Cookie, Verdict::Denied(Reason::Expired)))
        .increment(2);
    let text = meters.render();
    let counted: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("moshi_auth_attempts_total{") && !line.ends_with(" 0"))
        .collect();
    assert_eq!(
        counted,
        ["moshi_auth_attempts_total{method=\"cookie\",outcome=\"denied\",reason=\"expired\"} 2"]
    );
    assert_eq!(<(Method, Verdict)>::COUNT, (meters.auth_series(&text)));
}

impl Meters {
    fn auth_series(&self, text: &str) -> usize {
        text.lines()
            .filter(|line| line.starts_with("moshi_auth_attempts_total{"))
            .count()
    }
}

#[test]
fn a_session_is_counted_in_one_stage_at_a_time() {
    let meters = Meters::default();
    let walk = [
        Stage::Connecting,
        Stage::Authenticated,
        Stage::Queued,
        Stage::Active,
    ];
    meters.sessions.entered(walk[0]);
    for pair in walk.windows(2) {
        meters.sessions.moved(pair[0], pair[1]);
    }
    let text = meters.render();
    let open = |stage: &str| format!("moshi_session_open_sessions{{stage=\"{stage}\"}} ");
    assert!(text.contains(&(open("active") + "1\n")), "{text}");
    assert!(text.contains(&(open("queued") + "0\n")));
    assert!(text.contains("moshi_session_transitions_total{from=\"queued\",to=\"active\"} 1\n"));
    meters.sessions.moved(Stage::Active, Stage::Closed);
    let text = meters.render();
    assert!(text.contains(&(open("active") + "0\n")) && text.contains(&(open("closed") + "0\n")));
}

#[test]
fn a_step_above_the_frame_is_an_overrun_and_the_host_gets_the_rest() {
    let engine_meters = Meters::default();
    let engine = engine_meters.engine("asr");
    let ms = Duration::from_millis;
    engine.stepped(
        3,
        StepTimes {
            mimi: ms(10),
            lm: ms(60),
            total: ms(80),
        },
    );
    engine.stepped(
        4,
        StepTimes {
            mimi: ms(10),
            lm: ms(60),
            total: ms(81),
        },
    );
    let text = engine_meters.render();
    assert!(
        text.contains("moshi_engine_overruns_total{module=\"asr\"} 1\n"),
        "{text}"
    );
    assert!(text.contains("moshi_engine_frames_total{module=\"asr\"} 7\n"));
    let host = "moshi_engine_step_seconds_sum{module=\"asr\",stage=\"host\"} ";
    let host: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix(host))
        .unwrap()
        .parse()
        .unwrap();
    assert!((host - 0.021).abs() < 1e-9, "{host}");
}

#[test]
fn kyutais_names_appear_only_when_asked_for_and_agree_with_ours() {
    assert!(!everything().render().contains("asr_"));
    let meters = Meters::new(true);
    let engine = meters.engine("asr");
    engine.used.set(2);
    engine.stepped(
        1,
        StepTimes {
            total: Duration::from_millis(25),
            ..StepTimes::default()
        },
    );
    meters.sessions.started.increment(3);
    meters.sessions.heard.record(10.0);
    let text = meters.render();
    for line in [
        "asr_connect{handler=\"all\"} 3",
        "asr_open_channels{handler=\"all\"} 2",
        "asr_model_step_duration_bucket{le=\"0.02\"} 0",
        "asr_model_step_duration_bucket{le=\"0.03\"} 1",
        "asr_connection_num_steps_bucket{le=\"125\"} 1",
        "asr_connection_num_steps_sum 125",
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line}\n{text}");
    }
}
