//! The claims of the fuzz targets, on random input.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn client_frames(data in vec(any::<u8>(), 0..300)) {
        bodies::client_msg(&data);
    }

    #[test]
    fn client_frames_that_nearly_are_messages(kind in 0usize..5, data in vec(any::<u8>(), 0..300)) {
        let kind = ["Audio", "OggOpus", "Marker", "Init", "Flush"][kind];
        let mut frame = vec![0x82, 0xa4];
        frame.extend(b"type");
        frame.push(0xa0 | kind.len() as u8);
        frame.extend(kind.as_bytes());
        frame.extend(b"\xa3pcm");
        frame.extend(data);
        bodies::client_msg(&frame);
    }

    #[test]
    fn frames_of_any_bytes_to_a_server_that_speaks(data in vec(any::<u8>(), 0..300)) {
        bodies::speech_msg(&data);
    }

    #[test]
    fn texts_that_nearly_are_pauses(text in "(<break|time=|\"| |[0-9.]{1,4}|ms|s|/>|>|:|[a-z\u{e9}\u{2013}]{1,3}){0,20}") {
        bodies::speech_msg(text.as_bytes());
    }

    #[test]
    fn voices_of_any_shape(numbers in vec(any::<u8>(), 0..20), shape in vec(any::<u8>(), 0..6)) {
        let mut frame = b"\x83\xa4type\xa5Voice\xaaembeddings".to_vec();
        frame.push(0x90 | (numbers.len() as u8).min(15));
        frame.extend(numbers.iter().take(15).map(|n| n & 0x7f));
        frame.extend(b"\xa5shape");
        frame.push(0x90 | shape.len() as u8);
        frame.extend(shape.iter().map(|n| n & 0x7f));
        bodies::speech_msg(&frame);
    }

    #[test]
    fn credentials_of_any_bytes(data in vec(any::<u8>(), 0..300)) {
        bodies::credentials(&data);
    }

    #[test]
    fn credentials_that_nearly_are_tokens(parts in vec("[A-Za-z0-9_-]{0,40}|eyJhbGciOiJIUzI1NiJ9", 1..6)) {
        bodies::credentials(parts.join(".").as_bytes());
    }

    #[test]
    fn ogg_streams(data in vec(any::<u8>(), 2..2_000)) {
        bodies::ogg_pages(&data);
    }

    #[test]
    fn configurations(text in "([a-z_]{1,8}( = |\\.)|\\[[a-z.]{1,12}\\]\n|\"[$a-z:/]{0,9}\"\n|-?[0-9]{1,3}\n|true\n|[{}\\[\\],]){0,40}") {
        bodies::config(text.as_bytes());
    }
}
