//! Text on its way to speech: however much of it, in whatever pieces, and without an end.

use std::time::Duration;

use moshi_server::protocol::kyutai::tts::SpeechMsg;

use crate::common::speech::{Heard, Tell, audio, letters, said};
use crate::common::{Client, Server};

const QUERY: &str = "format=PcmMessagePack&extras=1";

fn is_sound(message: &SpeechMsg) -> bool {
    matches!(message, SpeechMsg::Audio { .. })
}

async fn finish(client: &mut Client) -> Vec<SpeechMsg> {
    client.eos().await;
    let (messages, end) = client.speech().await;
    assert_eq!(end, Heard::Closed(1000, "end of stream".to_owned()));
    messages
}

#[tokio::test]
async fn a_frame_is_the_end_of_a_word_and_forms_of_text_may_be_mixed() {
    let server = Server::speaking("", "").await;
    let mut client = server.connect(QUERY).await;
    client.text("mo").await;
    client.text("no lo").await;
    client.tell(&Tell::Text { text: "k" }).await;
    client.tell(&Tell::Eos).await;
    let (messages, _) = client.speech().await;
    assert_eq!(letters(&audio(&messages)), "mo.no.lo.k.");
    assert_eq!(messages.last(), Some(&SpeechMsg::EndOfStream));
}

#[tokio::test]
async fn three_words_begin_to_sound_before_the_end_and_two_do_not() {
    let server = Server::speaking("", "").await;
    let mut client = server.connect(QUERY).await;
    client.text("mm nn").await;
    assert_eq!(client.heard(true).await, Heard::Message(SpeechMsg::Ready));
    let more = tokio::time::timeout(Duration::from_millis(200), client.heard(true)).await;
    assert!(more.is_err(), "{more:?}");
    client.text("oo pp mm nn").await;
    let begun = client.until(is_sound).await;
    let rest = finish(&mut client).await;
    let all = [begun, rest].concat();
    assert_eq!(letters(&audio(&all)), "mm.nn.oo.pp.mm.nn.");
}

#[tokio::test]
async fn a_break_is_a_pause_of_its_length_and_is_told() {
    let server = Server::speaking("", "").await;
    let mut client = server.connect(QUERY).await;
    client.text("m<break time=\"0.4s\"/>n").await;
    let messages = finish(&mut client).await;
    assert_eq!(letters(&audio(&messages)), "m......n.");
    assert_eq!(said(&messages)[1], ("<break time=\"0.40s\">".to_owned(), 2, 7));
}

#[tokio::test]
async fn text_of_no_words_and_an_end_before_text_are_silent_ends() {
    let server = Server::speaking("batch_size = 8", "").await;
    for text in [None, Some(" \n"), Some("!? ... \u{2013} 12"), Some("")] {
        let mut client = server.connect(QUERY).await;
        if let Some(text) = text {
            client.text(text).await;
        }
        let messages = finish(&mut client).await;
        assert_eq!(messages, [SpeechMsg::Ready, SpeechMsg::EndOfStream], "{text:?}");
    }
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn a_hundred_kilobytes_in_one_message_are_all_said() {
    let server = Server::speaking("", "").await;
    let mut client = server.connect("format=PcmMessagePack").await;
    // Words of 4 frames: 20,000 words would be 80,000 frames, so most of the text is what has no tokens.
    let noise = "....................................................................................... ";
    let text = format!("mno {noise}").repeat(1100);
    assert!(text.len() > 100_000);
    client.text(&text).await;
    let messages = finish(&mut client).await;
    let said = said(&messages);
    assert_eq!(said.len(), 1100);
    assert_eq!(letters(&audio(&messages)), "mno.".repeat(1100));
    assert_eq!(said[1099].2, 4400);
}

#[tokio::test]
async fn a_flush_says_what_is_there_and_the_stream_goes_on() {
    let server = Server::speaking("", "").await;
    let mut client = server.connect(QUERY).await;
    client.text("m n").await;
    client.tell(&Tell::Flush).await;
    client.text("oo").await;
    let first = client.until(|message| *message == SpeechMsg::Flushed).await;
    assert_eq!(letters(&audio(&first)), "m.n.");
    let rest = finish(&mut client).await;
    assert_eq!(letters(&audio(&rest)), "oo.");
    // Times go on.
    assert_eq!(said(&rest), [("oo".to_owned(), 4, 7)]);
}

#[tokio::test]
async fn a_cancel_stops_at_once_and_keeps_the_session() {
    let server = Server::speaking("step_s = 0.005", "").await;
    let mut client = server.connect(QUERY).await;
    client.text(&"mmmm ".repeat(5000)).await;
    client.until(is_sound).await;
    client.tell(&Tell::Cancel).await;
    client.text("pp").await;
    let before = client
        .until(|message| matches!(message, SpeechMsg::Cancelled { .. }))
        .await;
    let Some(SpeechMsg::Cancelled { at_s }) = before.last() else {
        unreachable!()
    };
    let at = (at_s * 12.5).round() as u64;
    let rest = finish(&mut client).await;
    assert_eq!(letters(&audio(&rest)), "pp.");
    assert_eq!(said(&rest), [("pp".to_owned(), at, at + 3)]);
    assert!(at < 5000, "it was cancelled early");
}

#[tokio::test]
async fn streams_do_not_hear_each_other() {
    let server = Server::speaking("batch_size = 4", "").await;
    let texts = ["mm nn", "o", "pppp ll kk", "n <break time=\"0.2s\"/> n n n"];
    let expected = ["mm.nn.", "o.", "pppp.ll.kk.", "n...n.n.n."];
    let mut clients = Vec::new();
    for text in texts {
        let mut client = server.connect(QUERY).await;
        client.text(text).await;
        clients.push(client);
    }
    for (mut client, expected) in clients.into_iter().zip(expected) {
        let messages = finish(&mut client).await;
        assert_eq!(letters(&audio(&messages)), expected);
    }
}
