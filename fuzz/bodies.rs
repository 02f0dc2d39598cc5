//! What must hold for any bytes a client or an operator can give. Shared by the fuzz targets and `tests/fuzz.rs`.

use bytes::Bytes;
use moshi_server::audio::decode::{Decoder, Meter};
use moshi_server::auth::inspect::{Inspector, Subject};
use moshi_server::auth::{BetterAuthConfig, Secrets};
use moshi_server::config::expand::Expander;
use moshi_server::module::Config;
use moshi_server::pipeline::input::text::{Cutter, Piece};
use moshi_server::protocol::dialect::FrameKind;
use moshi_server::protocol::kyutai::client::{ClientMsg, Sound};
use moshi_server::protocol::kyutai::{Form, tts};
use moshi_server::stream::input::{Encoding, Input, PcmRate};
use ogg::writing::{PacketWriteEndInfo, PacketWriter};

/// A frame of a client is a message or an error, in every form of session; floats come whole.
pub fn client_msg(data: &[u8]) {
    for form in [
        Form::default(),
        Form {
            extras: true,
            ..Form::default()
        },
        Form {
            extras: true,
            json: true,
            pcm16: PcmRate::new(16_000),
        },
    ] {
        if let Ok(ClientMsg::Audio(Sound::F32(bytes))) =
            ClientMsg::from_binary(Bytes::copy_from_slice(data), form)
        {
            assert_eq!(bytes.len() % 4, 0);
            decode(Encoding::F32, &[&bytes]);
        }
        let _ = ClientMsg::from_text(data, form);
    }
}

/// A frame of a client that has something said is an input or an error, a voice has as many numbers as it says, and a text is
/// cut to its end into words without white space.
pub fn speech_msg(data: &[u8]) {
    let Ok(mut dialect) = tts::open("") else { return };
    for kind in [FrameKind::Binary, FrameKind::Text] {
        match dialect.decoder.decode(kind, Bytes::copy_from_slice(data)) {
            Ok(Some(Input::Voice(voice))) => assert_eq!(voice.embedding.len(), voice.width * voice.steps),
            Ok(Some(Input::Text(text))) => {
                let mut cutter = Cutter::new(text);
                for piece in cutter.by_ref() {
                    match piece {
                        Piece::Word(word) => assert!(!word.is_empty() && !word.contains(char::is_whitespace)),
                        Piece::Pause { steps, .. } => assert!((1..=125).contains(&steps)),
                    }
                }
                assert_eq!(cutter.left(), 0);
            }
            _ => {}
        }
    }
}

/// A configuration is read or refused, and a refusal has a reason.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Err(errors) = Config::parse("fuzz.toml", &text, &Expander::new(|_| None)) {
        assert!(!errors.mistakes.is_empty());
    }
}

/// Bytes that nobody signed are refused, as a token and as cookies; an `auth_id` is read or absent.
pub fn credentials(data: &[u8]) {
    let judge = |subject| {
        let secrets = Secrets::from_env(|name| {
            (name == "BETTER_AUTH_SECRET").then(|| "a-secret-nobody-fuzzing-can-guess".to_owned())
        });
        let inspector = Inspector {
            settings: BetterAuthConfig::default(),
            secrets,
            keys: None,
            origin: None,
        };
        inspector.inspect(subject, 1_800_000_000).verdict
    };
    let text = String::from_utf8_lossy(data);
    assert_eq!(judge(Subject::Token(text.to_string())), "reject");
    let named = [b"better-auth.session_data=".as_slice(), data].concat();
    assert_eq!(judge(Subject::Cookies(vec![data.to_vec(), named])), "reject");
    if let Ok(uri) = format!("/x?auth_id={text}").parse() {
        let _ = moshi_server::auth::auth_id(&uri);
    }
}

/// An Ogg stream decodes to the same samples however it is cut, and never to more than the meter says.
///
/// The first byte chooses the header, the second the cut, the rest become packets: raw bytes alone would hardly ever pass
/// a page's checksum.
pub fn ogg_pages(data: &[u8]) {
    let [channels, cut, rest @ ..] = data else { return };
    decode(Encoding::OggOpus, &[data]);
    let stream = ogg_stream(*channels, rest);
    let cut = 1 + usize::from(*cut);
    let whole = decode(Encoding::OggOpus, &[&stream]);
    let parts: Vec<&[u8]> = stream.chunks(cut).collect();
    let parts = decode(Encoding::OggOpus, &parts);
    assert_eq!(whole, parts);
    if let Ok(cost) = Meter::default().cost(Encoding::OggOpus, &stream) {
        let decoded = whole.0.len() as f64 / 24_000.0;
        assert!(decoded <= cost.as_secs_f64() + 1e-6);
    }
}

/// The samples' bits (a decoder may give NaN for garbage), and whether all chunks could be decoded.
fn decode(encoding: Encoding, chunks: &[&[u8]]) -> (Vec<u32>, bool) {
    let mut decoder = Decoder::default();
    let mut samples = Vec::new();
    let good = chunks.iter().all(|chunk| {
        decoder
            .push(encoding, chunk, &mut |pcm| {
                samples.extend(pcm.iter().map(|s| s.to_bits()))
            })
            .is_ok()
    });
    (samples, good)
}

/// A well-formed stream whose packets are cut from `data`: each begins with its length.
fn ogg_stream(channels: u8, data: &[u8]) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.extend([channels % 4, 0x38, 0x01, 0x80, 0xbb, 0, 0, 0, 0, 0]);
    let mut bytes = Vec::new();
    let mut writer = PacketWriter::new(&mut bytes);
    let write = |writer: &mut PacketWriter<'_, _>, packet: Vec<u8>, end| {
        // Writing into memory cannot fail.
        let _ = writer.write_packet(packet, 1, end, 0);
    };
    write(&mut writer, head, PacketWriteEndInfo::EndPage);
    write(&mut writer, b"OpusTags".to_vec(), PacketWriteEndInfo::EndPage);
    let mut rest = data;
    while let [length, tail @ ..] = rest {
        let (packet, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        let end = if length % 3 == 0 {
            PacketWriteEndInfo::EndPage
        } else {
            PacketWriteEndInfo::NormalPacket
        };
        write(&mut writer, packet.to_vec(), end);
        rest = tail;
    }
    write(&mut writer, vec![0xf8, 0xff, 0xfe], PacketWriteEndInfo::EndStream);
    drop(writer);
    bytes
}
