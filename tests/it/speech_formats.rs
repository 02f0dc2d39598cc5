//! The same sentence in every form that audio is sent in.

use moshi_server::audio::ogg_opus::OggOpus;
use moshi_server::protocol::kyutai::tts::SpeechMsg;

use crate::common::speech::{Heard, audio, letters, letters_at, said};
use crate::common::{Client, FRAME, Server};

const TEXT: &str = "mop Non, lo kn";
/// A frame per letter and a silent one after each word.
const SAID: &str = "mop.non.lo.kn.";
/// Samples by which Opus is late.
const DELAY: usize = 156;

/// All bytes that come to a client that speaks `format`, and how the connection ended.
async fn bytes(server: &Server, format: &str) -> (Vec<Vec<u8>>, Heard) {
    let mut client = server.connect(&format!("format={format}")).await;
    client.text(TEXT).await;
    client.eos().await;
    let mut all = Vec::new();
    loop {
        match client.heard(false).await {
            Heard::Bytes(bytes) => all.push(bytes),
            end => return (all, end),
        }
    }
}

fn done() -> Heard {
    Heard::Closed(1000, "end of stream".to_owned())
}

fn pcm16(bytes: &[u8]) -> Vec<f32> {
    let samples = bytes.as_chunks::<2>().0.iter();
    samples
        .map(|s| f32::from(i16::from_le_bytes(*s)) / 32_768.0)
        .collect()
}

#[tokio::test]
async fn messages_hold_frames_and_words_at_their_times() {
    let server = Server::speaking("", "").await;
    let mut client = server.connect("format=PcmMessagePack").await;
    client.text(TEXT).await;
    client.eos().await;
    let (messages, end) = client.speech().await;
    assert_eq!((&messages[0], end), (&SpeechMsg::Ready, done()));
    assert_eq!(letters(&audio(&messages)), SAID);
    let word = |text: &str, start, stop| (text.to_owned(), start, stop);
    assert_eq!(
        said(&messages),
        [
            word("mop", 0, 4),
            word("Non,", 4, 8),
            word("lo", 8, 11),
            word("kn", 11, 14)
        ]
    );
    let page = server.meters.render();
    for line in [
        "moshi_speech_words_total{module=\"asr\"} 4",
        "moshi_speech_audio_seconds_total{module=\"asr\"} 1.12",
        "moshi_speech_first_seconds_count{module=\"asr\"} 1",
        "moshi_speech_steps_total{module=\"asr\",kind=\"light\"} 4",
    ] {
        assert!(page.contains(line), "no {line} in {page}");
    }
    assert!(
        !page.contains("moshi_word_words_total{module"),
        "it transcribes nothing"
    );
    // A word comes before its audio.
    let first = messages.iter().position(|m| matches!(m, SpeechMsg::Text { .. }));
    let sound = messages.iter().position(|m| matches!(m, SpeechMsg::Audio { .. }));
    assert!(first <= sound);
}

#[tokio::test]
async fn raw_pcm_is_a_frame_per_message_and_nothing_else() {
    let server = Server::speaking("", "").await;
    let (frames, end) = bytes(&server, "Pcm").await;
    assert_eq!(end, done());
    assert!(frames.iter().all(|frame| frame.len() == 4 * FRAME));
    let samples = frames.concat();
    let samples: Vec<f32> = samples
        .as_chunks::<4>()
        .0
        .iter()
        .map(|s| f32::from_le_bytes(*s))
        .collect();
    assert_eq!(letters(&samples), SAID);
}

#[tokio::test]
async fn opus_comes_with_its_headers_first() {
    let server = Server::speaking("", "").await;
    let (raw, end) = bytes(&server, "OggOpus").await;
    assert_eq!(end, done());
    let (wrapped, _) = bytes(&server, "OggOpusMessagePack").await;
    let mut unwrapped = Vec::new();
    for message in &wrapped {
        if let Ok(SpeechMsg::OggOpus { data }) = rmp_serde::from_slice(message) {
            unwrapped.push(data);
        }
    }
    for messages in [raw, unwrapped] {
        let pages = |bytes: &[u8]| bytes.windows(5).filter(|w| *w == b"OggS\0").count();
        assert!(messages.iter().all(|message| pages(message) == 2));
        assert_eq!(messages.len(), 1 + SAID.len());
        let mut samples = Vec::new();
        OggOpus::default()
            .push(&messages.concat(), &mut |more| samples.extend_from_slice(more))
            .unwrap();
        // The header has a player drop the first 80 ms; the codec's own delay is 6.5 ms of it.
        assert_eq!(samples.len(), (SAID.len() - 1) * FRAME);
        // In the middle of each frame, where the codec's edges do not reach.
        let loud = samples[DELAY..].chunks_exact(FRAME).map(|frame| {
            let middle = &frame[FRAME / 4..FRAME / 4 * 3];
            middle.iter().map(|x| x * x).sum::<f32>() / middle.len() as f32 > 0.003
        });
        let expected = SAID[1..].chars().map(|c| c != '.');
        let loud: Vec<bool> = loud.collect();
        let expected: Vec<bool> = expected.take(loud.len()).collect();
        assert_eq!(loud, expected);
    }
}

#[tokio::test]
async fn pcm_of_16_bits_has_the_rate_that_was_asked_for() {
    let server = Server::speaking("", "").await;
    for (query, rate) in [
        ("pcm16", 24_000),
        ("pcm16&rate=8000", 8_000),
        ("pcm16&rate=48000", 48_000),
    ] {
        let (messages, end) = bytes(&server, query).await;
        assert_eq!(end, done());
        let samples = pcm16(&messages.concat());
        assert_eq!(letters_at(&samples, rate * 2 / 25), SAID, "{query}");
    }
    let refused = Client::open(server.address, "format=pcm16&rate=7", "").await;
    assert!(refused.err().unwrap().contains("400"));
}

/// The body of an answer with chunks.
fn body(answer: &[u8]) -> Vec<u8> {
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut body) = (&answer[at..], Vec::new());
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&rest[end + 2..][..size]);
        rest = &rest[end + 2 + size + 2..];
    }
}

#[tokio::test]
async fn a_posted_text_is_a_wav_file() {
    let server = Server::speaking("", "").await;
    let text = serde_json::json!({ "text": TEXT, "voice": "" }).to_string();
    let answer = server.answer("POST", crate::common::PATH, text.as_bytes()).await;
    let head = String::from_utf8_lossy(&answer[..200]).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: audio/wav"));
    let body = body(&answer);
    assert!(body.starts_with(b"RIFF\xff\xff\xff\xffWAVEfmt "));
    assert_eq!(letters(&pcm16(&body[44..])), SAID);
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn a_posted_text_that_cannot_be_said_has_a_status() {
    let server = Server::speaking("", "").await;
    for (body, status, words) in [
        ("hello", 400, "must be JSON"),
        ("{\"text\": \" ... \"}", 422, "nothing to say"),
        (
            "{\"text\": \"a\", \"voice\": \"nobody\"}",
            400,
            "no voice `nobody`",
        ),
    ] {
        let (found, answer) = server.request("POST", crate::common::PATH, body.as_bytes()).await;
        assert_eq!(found, status, "{answer}");
        assert!(answer.contains(words), "{answer}");
    }
    let long = serde_json::json!({ "text": "a ".repeat(200_000) }).to_string();
    let (status, _) = server.request("POST", crate::common::PATH, long.as_bytes()).await;
    assert_eq!(status, 413);
    server.wait_for_used(0).await;
}
