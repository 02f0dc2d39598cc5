//! Identifiers in the form of RFC 9562.

use sha2::{Digest as _, Sha256};

/// Returns a new identifier (version 4: random).
pub(super) fn random() -> String {
    form(rand::random(), 4)
}

/// Returns the identifier of `name`, the same each time (version 8: made of a hash).
pub(super) fn named(name: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(name).into();
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
    form(id, 8)
}

fn form(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex(&bytes);
    [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    ]
    .join("-")
}

/// Returns `bytes` in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_the_form_of_their_version() {
        for (id, version) in [(random(), "4"), (named("asr"), "8")] {
            let lengths: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(&id[14..15], version);
            assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "{id}");
        }
        assert_ne!(random(), random());
        assert_eq!(named("asr"), named("asr"));
        assert_ne!(named("asr"), named("other"));
    }
}
