use proptest::prelude::*;

use super::*;

const EXTRAS: Form = Form {
    extras: true,
    json: false,
    pcm16: None,
};

fn classic(bytes: &[u8]) -> Result<ClientMsg, BadMessage> {
    ClientMsg::from_binary(Bytes::copy_from_slice(bytes), Form::default())
}

fn audio(samples: &[f32]) -> ClientMsg {
    ClientMsg::Audio(Sound::F32(samples.iter().flat_map(|s| s.to_le_bytes()).collect()))
}

fn map(entries: &[(&str, Value)]) -> Vec<u8> {
    rmp_value::map(entries)
}

/// Just enough of a MessagePack writer to write what clients write.
mod rmp_value {
    use rmp::encode;

    pub(super) enum Value {
        Str(&'static str),
        Int(i64),
        F32s(Vec<f32>),
        F64s(Vec<f64>),
        Ints(Vec<i64>),
        Bin(Vec<u8>),
        Nested,
    }

    pub(super) fn map(entries: &[(&str, Value)]) -> Vec<u8> {
        let mut out = Vec::new();
        encode::write_map_len(&mut out, entries.len() as u32).unwrap();
        for (key, value) in entries {
            encode::write_str(&mut out, key).unwrap();
            put(&mut out, value);
        }
        out
    }

    pub(super) fn put(out: &mut Vec<u8>, value: &Value) {
        match value {
            Value::Str(s) => encode::write_str(out, s).unwrap(),
            Value::Int(i) => {
                encode::write_sint(out, *i).unwrap();
            }
            Value::F32s(list) => {
                encode::write_array_len(out, list.len() as u32).unwrap();
                list.iter().for_each(|x| encode::write_f32(out, *x).unwrap());
            }
            Value::F64s(list) => {
                encode::write_array_len(out, list.len() as u32).unwrap();
                list.iter().for_each(|x| encode::write_f64(out, *x).unwrap());
            }
            Value::Ints(list) => {
                encode::write_array_len(out, list.len() as u32).unwrap();
                list.iter().for_each(|x| {
                    encode::write_sint(out, *x).unwrap();
                });
            }
            Value::Bin(bytes) => encode::write_bin(out, bytes).unwrap(),
            Value::Nested => {
                encode::write_array_len(out, 2).unwrap();
                encode::write_map_len(out, 1).unwrap();
                encode::write_str(out, "type").unwrap();
                encode::write_str(out, "Init").unwrap();
                encode::write_nil(out).unwrap();
            }
        }
    }
}

use rmp_value::Value;

#[test]
fn numbers_of_any_kind_are_samples() {
    let expected = Ok(audio(&[1.0, -0.5, 0.0]));
    let kind = || ("type", Value::Str("Audio"));
    assert_eq!(
        classic(&map(&[kind(), ("pcm", Value::F32s(vec![1.0, -0.5, 0.0]))])),
        expected
    );
    assert_eq!(
        classic(&map(&[kind(), ("pcm", Value::F64s(vec![1.0, -0.5, 0.0]))])),
        expected
    );
    assert_eq!(
        classic(&map(&[kind(), ("pcm", Value::Ints(vec![1, -1, 0]))])),
        Ok(audio(&[1.0, -1.0, 0.0]))
    );
    let bin = [1.0f32, -0.5, 0.0].iter().flat_map(|s| s.to_le_bytes()).collect();
    assert_eq!(classic(&map(&[kind(), ("pcm", Value::Bin(bin))])), expected);
}

#[test]
fn keys_come_in_any_order_among_unknown_ones() {
    let bytes = map(&[
        ("extra", Value::Nested),
        ("data", Value::Ints(vec![1, 200])),
        ("type", Value::Str("OggOpus")),
    ]);
    let expected = Ok(ClientMsg::Audio(Sound::Ogg(Bytes::from_static(&[1, 200]))));
    assert_eq!(classic(&bytes), expected);
    let bytes = map(&[
        ("type", Value::Str("OggOpus")),
        ("data", Value::Bin(vec![1, 200])),
    ]);
    assert_eq!(classic(&bytes), expected);
}

#[test]
fn the_array_form_and_bytes_behind_the_value_are_accepted() {
    let mut bytes = vec![0x92];
    rmp_value::put(&mut bytes, &Value::Str("Marker"));
    rmp_value::put(&mut bytes, &Value::Int(-5));
    bytes.extend(b"behind");
    assert_eq!(classic(&bytes), Ok(ClientMsg::Marker { id: -5 }));
    assert_eq!(classic(b"\x91\xa4Init"), Ok(ClientMsg::Init));
}

#[test]
fn what_is_no_message_closes_with_bad_message() {
    let cases: [Vec<u8>; 7] = [
        vec![],
        b"GET / HTTP/1.1".to_vec(),
        map(&[("pcm", Value::F32s(vec![]))]),
        map(&[("type", Value::Str("Audio"))]),
        map(&[("type", Value::Str("Audio")), ("pcm", Value::Bin(vec![0; 5]))]),
        map(&[("type", Value::Str("OggOpus")), ("data", Value::Ints(vec![300]))]),
        map(&[("type", Value::Str("Marker")), ("id", Value::F64s(vec![1.0]))]),
    ];
    for bytes in cases {
        assert_eq!(
            classic(&bytes).unwrap_err().reason,
            EndReason::BadMessage,
            "{bytes:?}"
        );
    }
    let claims_much = [
        b"\x82\xa4type\xa5Audio\xa3pcm\xdd\xff\xff\xff\xff".as_slice(),
        &[0xca],
    ]
    .concat();
    assert_eq!(classic(&claims_much).unwrap_err().reason, EndReason::BadMessage);
}

#[test]
fn extras_are_unknown_to_a_classic_session() {
    let flush = map(&[("type", Value::Str("Flush"))]);
    assert_eq!(classic(&flush).unwrap_err().reason, EndReason::Unsupported);
    assert_eq!(ClientMsg::from_binary(flush.into(), EXTRAS), Ok(ClientMsg::Flush));
    assert_eq!(
        ClientMsg::from_text(b"{\"type\":\"Flush\"}", Form::default()),
        Ok(None)
    );
}

#[test]
fn control_messages_come_as_json_beside_raw_pcm() {
    let form = Form {
        extras: false,
        json: false,
        pcm16: crate::stream::input::PcmRate::new(16_000),
    };
    let text = |text: &str| ClientMsg::from_text(text.as_bytes(), form);
    assert_eq!(
        text("{\"type\":\"EndOfStream\"}"),
        Ok(Some(ClientMsg::EndOfStream))
    );
    assert_eq!(
        text("{\"id\":3,\"type\":\"Marker\"}"),
        Ok(Some(ClientMsg::Marker { id: 3 }))
    );
    assert_eq!(text("flush").unwrap_err().reason, EndReason::BadMessage);
    let raw = Bytes::from_static(&[1, 2, 3]);
    assert_eq!(
        ClientMsg::from_binary(raw.clone(), form),
        Ok(ClientMsg::Audio(Sound::Pcm16(raw)))
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_or_allocate_beyond_their_length(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(ClientMsg::Audio(Sound::F32(data))) = classic(&bytes) {
            prop_assert!(data.len() <= 4 * bytes.len());
        }
    }

    #[test]
    fn damaged_messages_do_not_panic(at in 0usize..40, to: u8) {
        let mut bytes = map(&[("type", Value::Str("Audio")), ("pcm", Value::F32s(vec![0.5; 4])), ("x", Value::Nested)]);
        let at = at % bytes.len();
        bytes[at] = to;
        let _ = classic(&bytes);
    }
}
