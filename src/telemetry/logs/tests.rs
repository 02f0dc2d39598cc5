use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn logged(format: LogFormat, filter: &str, f: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::registry()
        .with(layer(format, false, move || writer.clone()))
        .with(EnvFilter::new(filter));
    tracing::subscriber::with_default(subscriber, f);
    let bytes = lines.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_json_line_is_one_object_with_the_session_in_it() {
    let text = logged(LogFormat::Json, "info", || {
        let _in_session = session_span("s17v3", "asr", "api_key").entered();
        tracing::info!(rows = 3, "row given");
    });
    let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(line["message"], "row given");
    assert_eq!(line["rows"], 3);
    assert_eq!(line["span"]["id"], "s17v3");
    let fields: Vec<&String> = line["span"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["id", "method", "module", "name"]);
}

#[test]
fn levels_are_set_by_module() {
    let text = logged(LogFormat::Text, "warn,moshi_server::telemetry=debug", || {
        tracing::debug!("ours");
        tracing::info!(target: "elsewhere", "theirs");
    });
    assert!(text.contains("ours") && !text.contains("theirs"), "{text}");
}

#[test]
fn a_wrong_filter_says_what_to_write() {
    let options = LogOptions {
        filter: "moshi_server=loud",
        format: LogFormat::Text,
        silent: true,
        files: None,
    };
    let message = init(&options).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(
        message.contains("--log") && message.contains("such as info"),
        "{message}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_says_what_to_do() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = LogOptions {
        filter: "info",
        format: LogFormat::Text,
        silent: true,
        files: Some((file.path(), "x")),
    };
    let message = init(&options).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(message.contains("log_files = false"), "{message}");
}
