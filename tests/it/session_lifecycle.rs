//! Sessions over real sockets: every message, and what comes of it.

use crate::common::{Client, FRAME, Out, Seen, Server, speech, words};
use moshi_server::protocol::kyutai::server::ServerMsg;

const ONE: &str = "batch_size = 1";
const FOUR: &str = "batch_size = 4";

fn word(text: &str, start_time: f64) -> ServerMsg {
    ServerMsg::Word {
        text: text.to_owned(),
        start_time,
    }
}

async fn near_word(client: &mut Client, text: &str, start: f64) {
    match client.hear().await {
        ServerMsg::Word { text: t, start_time } => {
            assert_eq!(t, text);
            assert!((start_time - start).abs() < 1e-6, "{start_time} is not {start}");
        }
        other => panic!("{other:?} is no word"),
    }
}

#[tokio::test]
async fn a_classic_client_gets_ready_steps_words_and_its_marker() {
    let server = Server::start(FOUR, "").await;
    let mut client = server.connect("auth_id=any").await;
    assert_eq!(client.see().await, Seen::Message(ServerMsg::Ready));
    client.send(&Out::Init).await;
    assert_eq!(client.see().await, Seen::Message(ServerMsg::Ready));
    client.say("abc", FRAME).await;
    client.silence(6).await;
    client.send(&Out::Marker { id: -7 }).await;
    client.silence(20).await;
    let mut steps = Vec::new();
    let (mut heard, mut marked) = (Vec::new(), false);
    while !marked {
        match client.see().await {
            Seen::Message(ServerMsg::Step { step_idx, prs, .. }) => {
                assert_eq!(prs.len(), 4);
                steps.push(step_idx);
            }
            Seen::Message(ServerMsg::Marker { id }) => marked = id == -7,
            Seen::Message(message) => heard.push(message),
            other => panic!("{other:?}"),
        }
    }
    // Frame 1 starts the word, whose letters are in frames 2 to 4.
    assert!(
        matches!(heard.as_slice(), [ServerMsg::Word { text, .. }, ServerMsg::EndWord { .. }] if text == "abc"),
        "{heard:?}"
    );
    assert_eq!(words(&heard), [("abc".to_owned(), 0.16)]);
    // The marker stands behind frame 12, and its text comes 6 frames later: not earlier, not later.
    assert_eq!(steps, (0..18).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_marker_is_answered_when_the_client_goes_silent_and_the_clock_does_not_move() {
    let server = Server::start(FOUR, "").await;
    let mut client = server.connect("").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    client.say("ab", FRAME).await;
    client
        .send(&Out::Audio {
            pcm: &[0.0; FRAME / 2],
        })
        .await;
    client.send(&Out::Marker { id: 1 }).await;
    near_word(&mut client, "ab", 0.16).await;
    assert!(matches!(client.hear().await, ServerMsg::EndWord { .. }));
    assert_eq!(client.hear().await, ServerMsg::Marker { id: 1 });
    // 5.5 frames were sent; the silence that answered the marker takes no time.
    client.say("cd", FRAME).await;
    client.send(&Out::Marker { id: 2 }).await;
    near_word(&mut client, "cd", 5.5 * 0.08 + 0.16).await;
    assert!(matches!(client.hear().await, ServerMsg::EndWord { .. }));
    assert_eq!(client.hear().await, ServerMsg::Marker { id: 2 });
    // All of it is transcribed: another marker needs no silence.
    client.send(&Out::Marker { id: 3 }).await;
    assert_eq!(client.see().await, Seen::Message(ServerMsg::Marker { id: 3 }));
}

#[tokio::test]
async fn init_in_mid_stream_resets_the_row_and_keeps_the_clock() {
    let server = Server::start(FOUR, "").await;
    let mut client = server.connect("").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    // The word is cut off by the reset: its text would have come 6 frames later.
    client.say("ab", FRAME).await;
    client.send(&Out::Init).await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    client.say("cd", FRAME).await;
    client.send(&Out::Marker { id: 1 }).await;
    near_word(&mut client, "cd", 5.0 * 0.08 + 0.16).await;
}

#[tokio::test]
async fn flush_answers_at_once_and_the_stream_goes_on() {
    let server = Server::start(FOUR, "").await;
    let mut client = server.connect("extras=1").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    for (i, text) in ["ab", "ef"].into_iter().enumerate() {
        client.say(text, 480).await;
        client.send(&Out::Flush).await;
        near_word(&mut client, text, i as f64 * 5.0 * 0.08 + 0.16).await;
        assert!(matches!(client.hear().await, ServerMsg::EndWord { .. }));
        assert_eq!(client.hear().await, ServerMsg::Flushed);
    }
    assert_eq!(server.used().await, 1);
}

#[tokio::test]
async fn end_of_stream_returns_the_tail_and_closes_cleanly() {
    let server = Server::start(ONE, "").await;
    let mut client = server.connect("extras=1").await;
    let mut samples = speech("abc");
    samples.truncate(samples.len() - FRAME - 700);
    client.send(&Out::Audio { pcm: &samples }).await;
    client.send(&Out::EndOfStream).await;
    let (messages, end) = client.rest().await;
    assert_eq!(end, Seen::Closed(1000, "end of stream".to_owned()));
    // The last letter did not fill its frame, and is heard all the same (1.9 dB below).
    assert_eq!(words(&messages).len(), 1);
    assert!(words(&messages)[0].0.starts_with("ab"), "{messages:?}");
    assert_eq!(messages.last(), Some(&ServerMsg::EndOfStream));
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn json_and_raw_pcm_say_the_same_as_the_classic_form() {
    let server = Server::start(FOUR, "").await;
    let mut client = server.connect("format=json&input=pcm16&rate=24000").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    let bytes: Vec<u8> = speech("abc")
        .iter()
        .flat_map(|s| ((s * 32768.0) as i16).to_le_bytes())
        .collect();
    for chunk in bytes.chunks(999) {
        client.binary(chunk).await;
    }
    client.text("{\"type\":\"EndOfStream\"}").await;
    let (messages, end) = client.rest().await;
    assert_eq!(words(&messages), [("abc".to_owned(), 0.16)]);
    assert_eq!(messages.last(), Some(&ServerMsg::EndOfStream));
    assert!(matches!(end, Seen::Closed(1000, _)));
}

#[tokio::test]
async fn rates_are_converted() {
    let server = Server::start(FOUR, "").await;
    for rate in [8_000, 16_000, 48_000] {
        let mut client = server.connect(&format!("extras=1&input=pcm16&rate={rate}")).await;
        let per_frame = rate * 80 / 1000;
        let mut bytes = Vec::new();
        for frame in speech("aehl").chunks(FRAME) {
            for _ in 0..per_frame {
                bytes.extend(((frame[0] * 32768.0) as i16).to_le_bytes());
            }
        }
        for chunk in bytes.chunks(3 * per_frame) {
            client.binary(chunk).await;
        }
        client.text("{\"type\":\"EndOfStream\"}").await;
        let (messages, _) = client.rest().await;
        // At the edges of letters a filter rings, which can cost the word's first frame a letter.
        assert!(
            words(&messages).iter().any(|(text, _)| text.contains("eh")),
            "{rate}: {messages:?}"
        );
    }
}

#[tokio::test]
async fn chunks_of_any_size_are_heard_the_same() {
    let server = Server::start("batch_size = 8", "").await;
    let mut clients = Vec::new();
    for chunk in [480, 960, 1920, 1000, 7, 19_200, 4801] {
        let address = server.address;
        clients.push(tokio::spawn(async move {
            let mut client = Client::open(address, "extras=1", "").await.unwrap();
            client
                .say("hello".replace('h', "b").replace('o', "c").as_str(), chunk)
                .await;
            client.send(&Out::EndOfStream).await;
            words(&client.rest().await.0)
        }));
    }
    for client in clients {
        assert_eq!(client.await.unwrap(), [("bellc".to_owned(), 0.16)]);
    }
}

#[tokio::test]
async fn many_clients_with_small_chunks_all_get_their_own_words() {
    let server = Server::start("batch_size = 32", "").await;
    let mut clients = Vec::new();
    for i in 0..32usize {
        let address = server.address;
        clients.push(tokio::spawn(async move {
            let text: String = [i % 16, i / 16 + 3, 5]
                .iter()
                .map(|l| char::from(b'a' + *l as u8))
                .collect();
            let mut client = Client::open(address, "", "").await.unwrap();
            for _ in 0..5 {
                client.say(&text, 480).await;
            }
            client.send(&Out::Marker { id: 9 }).await;
            let mut heard = Vec::new();
            loop {
                match client.hear().await {
                    ServerMsg::Marker { id: 9 } => break,
                    message => heard.push(message),
                }
            }
            (text, words(&heard))
        }));
    }
    for client in clients {
        let (text, heard) = client.await.unwrap();
        let expected: Vec<_> = (0..5)
            .map(|n| (text.clone(), ((n * 6) as f64 * 80.0 + 160.0) / 1000.0))
            .collect();
        assert_eq!(heard, expected);
    }
}

#[tokio::test]
async fn a_recycled_row_never_tells_what_its_last_user_said() {
    let server = Server::start(ONE, "").await;
    for round in 0..20 {
        let mut client = server.connect("extras=1").await;
        if round % 2 == 0 {
            // Leaves in the middle of a word whose text is still to come.
            client.say("pppp", 480).await;
            drop(client);
        } else {
            client.say("ab", FRAME).await;
            client.send(&Out::EndOfStream).await;
            let (messages, _) = client.rest().await;
            assert_eq!(words(&messages), [("ab".to_owned(), 0.16)], "round {round}");
        }
    }
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn client_close_is_answered_and_frees_the_row_at_once() {
    let server = Server::start(ONE, "").await;
    let mut client = server.connect("").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    client
        .socket
        .write_frame(fastwebsockets::Frame::close(1000, b"bye"))
        .await
        .unwrap();
    assert_eq!(client.close_code().await, 1000);
    server.wait_for_used(0).await;
}

#[test]
fn the_helpers_speak_the_same_language() {
    assert_eq!(words(&[word("x", 0.123_456)]), [("x".to_owned(), 0.123)]);
}
