//! One module on several devices: sessions spread over them, and a failed device takes its own sessions down and no other.
//!
//! Sessions are given to the device with the smallest share of its rows in use, the first of equals: of two devices the
//! first session is on the first, the second on the second.

use crate::common::{Client, FRAME, Out, Server, eventually, words};
use moshi_server::app::Outcome;
use moshi_server::protocol::kyutai::server::ServerMsg;

const SOUND: &str = "batch_size = 2";
const FAILS: &str = "batch_size = 2\nfail_after_steps = 3";
const HANGS: &str = "batch_size = 2\nhang_after_steps = 3";

/// A client that has its row.
async fn seated(server: &Server) -> Client {
    let mut client = server.connect("extras=1").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    client
}

async fn speaks(client: &mut Client, word: &str) -> Vec<String> {
    client.say(word, FRAME).await;
    client.send(&Out::EndOfStream).await;
    let (messages, _) = client.rest().await;
    words(&messages).into_iter().map(|(text, _)| text).collect()
}

/// Slots as `/api/modules_info` counts them.
async fn total_slots(server: &Server) -> String {
    let (_, answer) = server.request("GET", "/api/modules_info", b"").await;
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let list: serde_json::Value = serde_json::from_str(body).unwrap();
    list[0]["total_slots"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn rows_of_all_devices_are_one_pool_and_their_streams_do_not_mix() {
    let mut server = Server::on_devices(&[SOUND, SOUND], "[limits]\nqueue_len = 0").await;
    assert_eq!(total_slots(&server).await, "4");
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(seated(&server).await);
    }
    let head = Client::open(server.address, "", "").await.err().unwrap();
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    for (client, word) in clients.iter_mut().zip(["ab", "cd", "ef", "gh"]) {
        assert_eq!(speaks(client, word).await, [word]);
    }
    server.wait_for_used(0).await;
    server.stop();
    assert_eq!(server.outcome().await, Outcome::Stopped);
}

async fn loses_its_first(first: &str, limits: &str) {
    let mut server = Server::on_devices(&[first, SOUND], limits).await;
    let mut lost = seated(&server).await;
    let mut kept = seated(&server).await;
    let mut idle = seated(&server).await;
    lost.silence(10).await;
    assert_eq!(lost.close_code().await, 1011);
    // It shares the device, and had sent nothing.
    assert_eq!(idle.close_code().await, 1011);
    eventually(async || total_slots(&server).await == "2").await;
    assert_eq!(server.request("GET", "/readyz", b"").await.0, 200);
    assert_eq!(server.request("GET", "/livez", b"").await.0, 200);
    let mut newcomer = seated(&server).await;
    assert_eq!(speaks(&mut newcomer, "ab").await, ["ab"]);
    assert_eq!(speaks(&mut kept, "cd").await, ["cd"]);
    server.wait_for_used(0).await;
    server.stop();
    assert_eq!(server.outcome().await, Outcome::Stopped);
}

#[tokio::test]
async fn a_failed_device_takes_down_its_own_sessions_alone() {
    loses_its_first(FAILS, "").await;
}

#[tokio::test]
async fn so_does_one_that_hangs_and_stopping_does_not_wait_for_it() {
    loses_its_first(HANGS, "[limits]\nstep_timeout_s = 0.3").await;
}

#[tokio::test]
async fn who_waits_when_a_device_fails_gets_a_row_of_another() {
    let one = "batch_size = 1";
    let server = Server::on_devices(&["batch_size = 1\nfail_after_steps = 3", one], "").await;
    let mut lost = seated(&server).await;
    let kept = seated(&server).await;
    let mut waiting = server.connect("extras=1").await;
    assert_eq!(waiting.hear().await, ServerMsg::Queued { position: 1 });
    lost.silence(10).await;
    assert_eq!(lost.close_code().await, 1011);
    drop(kept);
    assert_eq!(waiting.hear().await, ServerMsg::Ready);
    assert_eq!(speaks(&mut waiting, "ab").await, ["ab"]);
}

#[tokio::test]
async fn the_last_device_takes_the_process_with_it() {
    let server = Server::on_devices(&[FAILS, FAILS], "").await;
    let mut first = seated(&server).await;
    let mut second = seated(&server).await;
    first.silence(10).await;
    assert_eq!(first.close_code().await, 1011);
    eventually(async || total_slots(&server).await == "2").await;
    assert_eq!(server.request("GET", "/readyz", b"").await.0, 200);
    second.silence(10).await;
    assert_eq!(second.close_code().await, 1011);
    assert_eq!(server.outcome().await, Outcome::Failed);
}
