//! Text messages hold UTF-8 (RFC 6455, section 8.1), whether anybody looks at them or not.

use crate::common::cases::{Case, PCM16, case, check, closed_after, open_after};
use crate::common::frames::{BINARY, CONTINUATION, FIN, TEXT, frame};

/// Byte sequences that are text, and such that are none: RFC 3629, and Markus Kuhn's stress test.
const GOOD: [&[u8]; 14] = [
    b"",
    b"Hello",
    "\u{ba}\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}".as_bytes(),
    b"\x00",
    b"\x7f",
    b"\xc2\x80",
    b"\xdf\xbf",
    b"\xe0\xa0\x80",
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xef\xbf\xbf",
    b"\xf0\x90\x80\x80",
    b"\xf4\x8f\xbf\xbf",
    b"\xef\xbf\xbd",
];
const BAD: [&[u8]; 30] = [
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80",
    b"\xc3\x28",
    b"\xc2",
    b"\xe0\xa0",
    b"\xf0\x90\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xed\xad\xbf",
    b"\xed\xbf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xf5\x80\x80\x80",
    b"\xe2\x28\xa1",
    b"\xe2\x82\x28",
    b"\xf0\x28\x8c\xbc",
    b"Hello\xed\xa0\x80edited",
];

/// `payload` as fragments of one byte.
fn fragments(payload: &[u8]) -> Vec<Vec<u8>> {
    let last = payload.len().saturating_sub(1);
    let parts = payload.iter().enumerate().map(|(i, byte)| {
        let first = if i == 0 { TEXT } else { CONTINUATION };
        frame(first | if i == last { FIN } else { 0 }, &[*byte])
    });
    parts.collect()
}

#[tokio::test]
async fn text_that_is_no_utf8_closes_with_1007_though_nobody_looks_at_it() {
    let mut cases = Vec::new();
    for good in GOOD {
        cases.push(case(
            format!("{good:x?}"),
            &[frame(FIN | TEXT, good)],
            open_after(&[]),
        ));
        cases.push(case(
            format!("{good:x?} in fragments"),
            &fragments(good),
            open_after(&[]),
        ));
    }
    for bad in BAD {
        cases.push(case(
            format!("{bad:x?}"),
            &[frame(FIN | TEXT, bad)],
            closed_after(&[], 1007),
        ));
        cases.push(case(
            format!("{bad:x?} in fragments"),
            &fragments(bad),
            closed_after(&[], 1007),
        ));
    }
    // At once, and not only when the message is whole.
    let early = [frame(TEXT, b"Hello\xf4"), frame(CONTINUATION, b"\x90")];
    cases.push(case("before the end", &early, closed_after(&[], 1007)));
    // A binary message may hold anything.
    let binary = case("binary", &[frame(FIN | BINARY, b"\xff\xff")], open_after(&[]));
    cases.push(Case {
        query: PCM16,
        ..binary
    });
    check(cases).await;
}
