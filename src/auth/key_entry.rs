//! One API key as it is looked up.

use super::identity::{Method, Principal, PrincipalLimits};
use super::key_file::KeyRecord;

/// A SHA-256 digest as words: comparing bytes one by one costs ten times as much.
pub(super) type Digest256 = [u64; 4];

/// One key as it is looked up.
pub(super) struct Entry {
    pub(super) digest: Digest256,
    pub(super) guessable: bool,
    pub(super) expires_at: Option<i64>,
    pub(super) principal: Principal,
}

/// Returns the entry of a key in the file.
pub(super) fn filed(record: KeyRecord) -> Entry {
    let mut principal = Principal::new(
        format!("key:{}", record.name).into(),
        Method::ApiKey,
        record.scopes.into(),
    );
    principal.limits = PrincipalLimits {
        max_sessions: record.max_sessions,
        minutes_per_day: record.minutes_per_day,
    };
    Entry {
        digest: words(&record.sha256.0),
        guessable: false,
        expires_at: record.expires_at,
        principal,
    }
}

pub(super) fn words(bytes: &[u8; 32]) -> Digest256 {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_be_bytes(words[i]))
}
