//! The WebSocket protocol, frame by frame: the cases of the Autobahn fuzzing suite that concern a server without extensions,
//! each with the reaction that RFC 6455 demands. Text is in `rfc6455_text`, opening and closing in `rfc6455_close`.

use crate::common::cases::{CLASSIC, Case, PCM16, case, check, closed_after, open_after};
use crate::common::frames::{
    BINARY, CLOSE, CONTINUATION, Event, FIN, PING, PONG, TEXT, frame, header, unmasked,
};

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
            cases.push(case(&name, std::slice::from_ref(&odd), closed_after(&[], 1002)));
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
            cases.push(case(&name, std::slice::from_ref(&odd), closed_after(&[], 1002)));
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
    type Fragments = (&'static str, Vec<Vec<u8>>, Vec<Event>);
    let cases: Vec<Fragments> = vec![
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
