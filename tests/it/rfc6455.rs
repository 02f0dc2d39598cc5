//! The WebSocket protocol, frame by frame: the cases of the Autobahn fuzzing suite that concern a server without extensions,
//! each with the reaction that RFC 6455 demands. How connections close is in `rfc6455_close`.

use crate::common::Server;
use crate::common::frames::{
    BINARY, CLOSE, CONTINUATION, Event, FIN, PING, PONG, TEXT, close, events, frame, header, open, unmasked,
};
use tokio::io::AsyncWriteExt as _;

/// Text frames of this form are read and not looked at.
const CLASSIC: &str = "";
/// Every binary message of this form is audio.
const PCM16: &str = "input=pcm16";

/// The server answers with these pongs and is still open.
fn open_after(pongs: &[&[u8]]) -> Vec<Event> {
    let pongs = pongs.iter().map(|payload| Event::Pong(payload.to_vec()));
    pongs
        .chain([
            Event::Pong(b"still there?".to_vec()),
            Event::Close(1000),
            Event::End,
        ])
        .collect()
}

/// The server answers with these pongs and closes with this code.
fn closed_after(pongs: &[&[u8]], code: u16) -> Vec<Event> {
    let pongs = pongs.iter().map(|payload| Event::Pong(payload.to_vec()));
    pongs.chain([Event::Close(code), Event::End]).collect()
}

struct Case {
    name: String,
    query: &'static str,
    bytes: Vec<u8>,
    /// Bytes written at once.
    piece: usize,
    wanted: Vec<Event>,
}

fn case(name: impl Into<String>, frames: &[Vec<u8>], wanted: Vec<Event>) -> Case {
    Case {
        name: name.into(),
        query: CLASSIC,
        bytes: frames.concat(),
        piece: usize::MAX,
        wanted,
    }
}

/// Each case on a connection of its own. A ping and a close follow, to see whether the server is still there.
async fn check(cases: Vec<Case>) {
    let server = Server::start("batch_size = 4", "[limits]\nmax_message_bytes = 66000").await;
    for Case {
        name,
        query,
        bytes,
        piece,
        wanted,
    } in cases
    {
        let mut stream = open(server.address, query).await;
        let epilogue = [frame(FIN | PING, b"still there?"), close(1000, b"")].concat();
        for piece in bytes.chunks(piece).chain([&*epilogue]) {
            // The server may have closed already.
            if stream.write_all(piece).await.is_err() {
                break;
            }
            if piece.len() == 1 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(events(&mut stream).await, wanted, "{name}");
    }
}

#[tokio::test]
async fn messages_of_every_length_are_taken_whole_and_in_pieces() {
    let mut cases = Vec::new();
    for length in [0, 125, 126, 127, 128, 65_535, 65_536] {
        for (query, opcode) in [(CLASSIC, TEXT), (PCM16, BINARY)] {
            for piece in [usize::MAX, 997] {
                let whole = frame(FIN | opcode, &vec![b'*'; length]);
                let case = case(
                    format!("opcode {opcode}, {length} bytes"),
                    &[whole],
                    open_after(&[]),
                );
                cases.push(Case { query, piece, ..case });
            }
        }
    }
    let message = frame(FIN | TEXT, &[b'*'; 125]);
    cases.push(Case {
        piece: 1,
        ..case("byte by byte", &[message], open_after(&[]))
    });
    let fragments: Vec<Vec<u8>> = (0..50)
        .map(|i| {
            let first = if i == 0 { TEXT } else { CONTINUATION };
            frame(first | if i == 49 { FIN } else { 0 }, &[b'*'; 1300])
        })
        .collect();
    cases.push(case(
        "65000 bytes in fragments of 1300",
        &fragments,
        open_after(&[]),
    ));
    check(cases).await;
}

#[tokio::test]
async fn messages_over_the_limit_close_with_1009() {
    let endless: Vec<Vec<u8>> = std::iter::once(frame(TEXT, &[b'*'; 30_000]))
        .chain((0..3).map(|_| frame(CONTINUATION, &[b'*'; 30_000])))
        .collect();
    let mut huge = header(FIN | BINARY, 0);
    huge[1] = 0x80 | 127;
    huge.extend(u64::MAX.to_be_bytes());
    check(vec![
        case(
            "one frame",
            &[frame(FIN | TEXT, &[b'*'; 66_001])],
            closed_after(&[], 1009),
        ),
        case(
            "the limit itself",
            &[frame(FIN | TEXT, &[b'*'; 66_000])],
            open_after(&[]),
        ),
        case("fragments", &endless, closed_after(&[], 1009)),
        case("a length that cannot be", &[huge], closed_after(&[], 1009)),
    ])
    .await;
}

#[tokio::test]
async fn pings_are_answered_with_their_payload_and_pongs_are_not() {
    let ping = |payload: &[u8]| frame(FIN | PING, payload);
    let ten: Vec<Vec<u8>> = (0..10).map(|i| ping(&[i])).collect();
    let answers: Vec<[u8; 1]> = (0..10).map(|i| [i]).collect();
    let answers: Vec<&[u8]> = answers.iter().map(|a| &a[..]).collect();
    let many: Vec<Vec<u8>> = (0..1000).map(|_| ping(b"again")).collect();
    let long = [0xfe; 125];
    let mut cases = vec![
        case("no payload", &[ping(b"")], open_after(&[b""])),
        case("text", &[ping(b"Hello, world!")], open_after(&[b"Hello, world!"])),
        case(
            "binary",
            &[ping(b"\x00\xff\xfe\xfd\x00")],
            open_after(&[b"\x00\xff\xfe\xfd\x00"]),
        ),
        case("125 bytes", &[ping(&long)], open_after(&[&long])),
        case("126 bytes", &[ping(&[0xfe; 126])], closed_after(&[], 1002)),
        case("ten", &ten, open_after(&answers)),
        case("a thousand", &many, open_after(&vec![&b"again"[..]; 1000])),
        case("unsolicited pong", &[frame(FIN | PONG, b"")], open_after(&[])),
        case(
            "pong with payload",
            &[frame(FIN | PONG, b"what")],
            open_after(&[]),
        ),
        case(
            "pong of 126 bytes",
            &[frame(FIN | PONG, &[0; 126])],
            closed_after(&[], 1002),
        ),
        case(
            "pong, then ping",
            &[frame(FIN | PONG, b"no"), ping(b"yes")],
            open_after(&[b"yes"]),
        ),
        case(
            "ping before an error",
            &[ping(b"a"), frame(FIN | 3, b"")],
            closed_after(&[b"a"], 1002),
        ),
    ];
    cases.push(Case {
        piece: 1,
        ..case("ten, byte by byte", &ten, open_after(&answers))
    });
    cases.push(Case {
        piece: 1,
        ..case("125 bytes, byte by byte", &[ping(&long)], open_after(&[&long]))
    });
    check(cases).await;
}

#[tokio::test]
async fn frames_without_a_mask_close_with_1002() {
    let mut cases = Vec::new();
    for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
        // As text it is valid too: the mask alone is at fault.
        for payload in [&b""[..], b"\x04\x0a"] {
            let bare = unmasked(FIN | opcode, payload);
            cases.push(case(
                format!("opcode {opcode}, {payload:?}"),
                &[bare],
                closed_after(&[], 1002),
            ));
        }
    }
    let masked = frame(TEXT, b"masked, ");
    let bare = unmasked(FIN | CONTINUATION, b"not masked");
    cases.push(case(
        "the second fragment",
        &[masked, bare],
        closed_after(&[], 1002),
    ));
    check(cases).await;
}

#[tokio::test]
async fn reserved_bits_and_opcodes_close_with_1002() {
    let (text, ping) = (frame(FIN | TEXT, b"fine"), frame(FIN | PING, b"p"));
    let mut cases = Vec::new();
    for bits in 1..=7u8 {
        for opcode in [TEXT, BINARY, PING, PONG, CLOSE] {
            let odd = frame(FIN | bits << 4 | opcode, b"\x03\xe8");
            let name = format!("bits {bits}, opcode {opcode}");
            cases.push(case(&name, &[odd.clone()], closed_after(&[], 1002)));
            cases.push(case(
                name,
                &[text.clone(), ping.clone(), odd],
                closed_after(&[b"p"], 1002),
            ));
        }
    }
    for opcode in (3..=7).chain(11..=15) {
        for payload in [&b""[..], b"payload"] {
            let odd = frame(FIN | opcode, payload);
            let name = format!("opcode {opcode}");
            cases.push(case(&name, &[odd.clone()], closed_after(&[], 1002)));
            cases.push(case(
                name,
                &[text.clone(), ping.clone(), odd],
                closed_after(&[b"p"], 1002),
            ));
        }
    }
    check(cases).await;
}

#[tokio::test]
async fn fragments_follow_their_beginning_and_control_frames_come_whole() {
    let (begin, go_on) = (frame(TEXT, b"frag"), frame(CONTINUATION, b"ment"));
    let end = frame(FIN | CONTINUATION, b"s");
    let whole = frame(FIN | TEXT, b"whole");
    let ping = frame(FIN | PING, b"p");
    let (one, two): (&[&[u8]], &[&[u8]]) = (&[b"p"], &[b"p", b"p"]);
    let all = |frames: &[&Vec<u8>]| frames.iter().map(|f| (*f).clone()).collect::<Vec<_>>();
    let cases: Vec<(&str, Vec<Vec<u8>>, Vec<Event>)> = vec![
        (
            "fragmented ping",
            vec![frame(PING, b"a"), frame(FIN | CONTINUATION, b"b")],
            closed_after(&[], 1002),
        ),
        (
            "fragmented pong",
            vec![frame(PONG, b"a"), frame(FIN | CONTINUATION, b"b")],
            closed_after(&[], 1002),
        ),
        (
            "fragmented close",
            vec![frame(CLOSE, b"\x03\xe8")],
            closed_after(&[], 1002),
        ),
        ("two fragments", all(&[&begin, &end]), open_after(&[])),
        (
            "many",
            all(&[&begin, &go_on, &go_on, &end, &begin, &end]),
            open_after(&[]),
        ),
        ("ping between", all(&[&begin, &ping, &end]), open_after(one)),
        (
            "pings between",
            all(&[&begin, &ping, &go_on, &ping, &end]),
            open_after(two),
        ),
        (
            "nothing to continue, the end",
            all(&[&end, &whole]),
            closed_after(&[], 1002),
        ),
        (
            "nothing to continue, no end",
            all(&[&go_on, &whole]),
            closed_after(&[], 1002),
        ),
        (
            "continued after the end",
            all(&[&begin, &end, &end]),
            closed_after(&[], 1002),
        ),
        (
            "continued after a whole one",
            all(&[&whole, &ping, &go_on]),
            closed_after(one, 1002),
        ),
        (
            "a whole one within",
            all(&[&begin, &whole]),
            closed_after(&[], 1002),
        ),
        (
            "another begins within",
            all(&[&begin, &ping, &begin]),
            closed_after(one, 1002),
        ),
        (
            "of another kind",
            all(&[&begin, &frame(FIN | BINARY, b"b")]),
            closed_after(&[], 1002),
        ),
        (
            "empty fragments",
            vec![
                frame(TEXT, b""),
                frame(CONTINUATION, b""),
                frame(FIN | CONTINUATION, b""),
            ],
            open_after(&[]),
        ),
    ];
    let mut list = Vec::new();
    for (name, frames, wanted) in cases {
        list.push(Case {
            piece: 1,
            ..case(name, &frames, wanted.clone())
        });
        list.push(case(name, &frames, wanted));
    }
    check(list).await;
}

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
