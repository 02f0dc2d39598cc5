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
