use std::time::Duration;

use super::*;
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::input::Control;
use crate::stream::sound::Sound;

fn frame() -> Output {
    let mut samples = Box::new([0.0; FRAME_SAMPLES]);
    samples[0] = 1.0;
    samples[1] = -0.5;
    Output::Sound(Sound::new(samples, None))
}

fn word() -> Output {
    Output::Spoken {
        text: "hé".into(),
        start: 1.5,
        stop: 2.0,
    }
}

/// All messages of `output`, each with its kind.
fn messages(dialect: &mut Dialect, output: Output) -> Vec<Vec<u8>> {
    let (mut message, mut all) = (vec![1, 2, 3], Vec::new());
    if dialect.encoder.encode(output, &mut message).is_some() {
        all.push(message.clone());
    }
    while let Some(kind) = dialect.encoder.more(&mut message) {
        assert_eq!(kind, FrameKind::Binary);
        all.push(message.clone());
    }
    all
}

fn decode(message: &'static [u8]) -> Result<Option<Input>, End> {
    let mut dialect = open("").unwrap();
    dialect
        .decoder
        .decode(FrameKind::Binary, Bytes::from_static(message))
}

#[test]
fn pcm_is_raw_floats_and_nothing_else() {
    let mut dialect = open("format=Pcm&extras=1").unwrap();
    for output in [Output::Ready, word(), Output::Flushed, Output::End] {
        assert_eq!(messages(&mut dialect, output), [[0u8; 0]; 0]);
    }
    let sent = messages(&mut dialect, frame());
    assert_eq!((sent.len(), sent[0].len()), (1, 7680));
    assert!(sent[0].starts_with(b"\0\0\x80\x3f\0\0\0\xbf\0\0\0\0"));
    assert_eq!(dialect.encoder.refuse("no free channels", &mut Vec::new()), None);
}

#[test]
fn messages_are_the_bytes_that_published_clients_read() {
    let mut dialect = open("format=PcmMessagePack").unwrap();
    assert_eq!(
        messages(&mut dialect, Output::Ready),
        [b"\x81\xa4type\xa5Ready".to_vec()]
    );
    let sent = messages(&mut dialect, frame());
    let head = b"\x82\xa4type\xa5Audio\xa3pcm\xdc\x07\x80\xca\x3f\x80\0\0\xca\xbf\0\0\0\xca\0";
    assert!(sent[0].starts_with(head), "{:x?}", &sent[0][..40]);
    assert_eq!(sent[0].len(), 19 + 5 * FRAME_SAMPLES);
    assert_eq!(
        messages(&mut dialect, word()),
        [b"\x84\xa4type\xa4Text\xa4text\xa3h\xc3\xa9\xa7start_s\xcb\x3f\xf8\0\0\0\0\0\0\xa6stop_s\xcb\x40\0\0\0\0\0\0\0".to_vec()]
    );
    let mut refusal = Vec::new();
    dialect.encoder.refuse("no free channels", &mut refusal);
    assert_eq!(refusal, b"\x82\xa4type\xa5Error\xa7message\xb0no free channels");
}

#[test]
fn ogg_comes_as_its_headers_and_then_two_pages_per_frame() {
    let pages = |bytes: &[u8]| bytes.windows(5).filter(|w| *w == b"OggS\0").count();
    let mut raw = open("").unwrap();
    let headers = messages(&mut raw, Output::Ready);
    assert_eq!((headers.len(), pages(&headers[0])), (1, 2));
    let first = messages(&mut raw, frame());
    assert_eq!((first.len(), pages(&first[0])), (1, 2));
    let mut wrapped = open("format=OggOpusMessagePack").unwrap();
    let sent = messages(&mut wrapped, Output::Ready);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], b"\x81\xa4type\xa5Ready");
    // Numbers of 128 and more take two bytes: bytes are a list here.
    assert!(sent[1].starts_with(b"\x82\xa4type\xa7OggOpus\xa4data\xdc"));
    let Ok(SpeechMsg::OggOpus { data }) = rmp_serde::from_slice(&sent[1]) else {
        panic!("{:x?}", sent[1]);
    };
    assert!(data.starts_with(b"OggS") && pages(&data) == 2);
    let sent = messages(&mut wrapped, frame());
    let Ok(SpeechMsg::OggOpus { data }) = rmp_serde::from_slice(&sent[0]) else {
        panic!("{:x?}", sent[0]);
    };
    assert_eq!((sent.len(), pages(&data)), (1, 2));
}

#[test]
fn extras_are_for_those_who_asked() {
    let extras = [
        Output::Flushed,
        Output::Cancelled { at: 1.0 },
        Output::End,
        Output::Queued { position: 1 },
        Output::Draining {
            left: Duration::from_secs(1),
        },
    ];
    let (mut classic, mut new) = (
        open("format=PcmMessagePack").unwrap(),
        open("format=PcmMessagePack&extras=1").unwrap(),
    );
    assert!(!classic.can_queue && new.can_queue);
    for output in extras {
        assert!(messages(&mut classic, output.clone()).is_empty());
        assert_eq!(messages(&mut new, output).len(), 1);
    }
}

#[test]
fn pcm_of_16_bits_is_whole_at_its_end() {
    let mut dialect = open("format=pcm16&rate=8000").unwrap();
    let sizes: usize = [frame(), frame(), Output::End]
        .into_iter()
        .flat_map(|output| messages(&mut dialect, output))
        .map(|message| message.len())
        .sum();
    assert_eq!(sizes, 2 * 2 * FRAME_SAMPLES / 3);
}

#[test]
fn text_and_its_end_come_in_every_form_that_clients_use() {
    let text = open("")
        .unwrap()
        .decoder
        .decode(FrameKind::Text, Bytes::from_static(b"hello you"));
    assert_eq!(text, Ok(Some(Input::Text("hello you".to_owned()))));
    let cases: [(&[u8], Input); 6] = [
        (b"\0", Input::Control(Control::End)),
        (b"\x81\xa4type\xa3Eos", Input::Control(Control::End)),
        (b"\x91\xa3Eos", Input::Control(Control::End)),
        (
            b"\x82\xa4type\xa4Text\xa4text\xa2hi",
            Input::Text("hi".to_owned()),
        ),
        (b"\x81\xa4type\xa6Cancel", Input::Control(Control::Cancel)),
        (b"\x81\xa4type\xa5Flush", Input::Control(Control::Flush)),
    ];
    for (bytes, input) in cases {
        assert_eq!(decode(bytes), Ok(Some(input)), "{bytes:x?}");
    }
}

#[test]
fn a_voice_is_turned_to_vectors_one_after_the_other() {
    // [1, 2, 3]: two rows of three steps.
    let bytes = b"\x83\xa4type\xa5Voice\xaaembeddings\x96\x01\x02\x03\x04\x05\x06\xa5shape\x93\x01\x02\x03";
    let Ok(Some(Input::Voice(voice))) = decode(bytes) else {
        panic!("no voice")
    };
    assert_eq!((voice.width, voice.steps), (2, 3));
    assert_eq!(*voice.embedding, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
}

#[test]
fn what_cannot_be_read_ends_the_stream_with_words() {
    let cases: [(&[u8], EndReason, &str); 6] = [
        (b"", EndReason::BadMessage, "MessagePack"),
        (b"\x01", EndReason::BadMessage, "MessagePack"),
        (b"\x81\xa4type\xa5Audio", EndReason::Unsupported, "`Audio`"),
        (
            b"\x83\xa4type\xa5Voice\xaaembeddings\x92\x01\x02\xa5shape\x93\x01\x02\x03",
            EndReason::BadMessage,
            "[1, 2, 3] cannot have 2",
        ),
        (
            b"\x83\xa4type\xa5Voice\xaaembeddings\x92\x01\x02\xa5shape\x94\x01\x01\x01\x02",
            EndReason::BadMessage,
            "shape",
        ),
        (
            b"\x83\xa4type\xa5Voice\xaaembeddings\x91\xca\x7f\xc0\0\0\xa5shape\x91\x01",
            EndReason::BadMessage,
            "finite",
        ),
    ];
    for (bytes, reason, words) in cases {
        let end = decode(bytes).unwrap_err();
        assert_eq!(end.reason, reason, "{bytes:x?}");
        let message = end.message.unwrap_or_default();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn a_voice_behind_the_first_text_is_refused() {
    let mut dialect = open("").unwrap();
    let voice = Bytes::from_static(b"\x83\xa4type\xa5Voice\xaaembeddings\x91\x01\xa5shape\x91\x01");
    let mut decode = |kind, message| dialect.decoder.decode(kind, message);
    assert!(decode(FrameKind::Binary, voice.clone()).is_ok());
    assert!(decode(FrameKind::Text, Bytes::from_static(b"hi")).is_ok());
    let end = decode(FrameKind::Binary, voice).unwrap_err();
    assert_eq!(
        dialect.encoder.close(&end),
        (1007, "a voice must come before the first text")
    );
}
