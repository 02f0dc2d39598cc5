//! All queues of a process together, from outside. What the server took off its sockets and has not used up lies in some queue,
//! whatever its name: the sum over all sessions is no more than the bounds of each allow.

use std::fs;
use std::io;
use std::time::Duration;

use moshi_server::protocol::kyutai::server::ServerMsg;
use moshi_server::stream::frame::FRAME_SAMPLES;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::common::{Client, Server, eventually};

const ROWS: usize = 3;
const WAITING: usize = 4;
/// Times are out of the way: who is full stays full.
const LIMITS: &str = "[limits]\ninbox_messages = 3\nqueue_len = 4\noutbox_messages = 9\nstall_s = 3600\nidle_s = 3600\n\
    queue_wait_s = 3600\nstep_timeout_s = 3600\nwrite_timeout_s = 3600\nping_s = 3600\npeer_timeout_s = 7200";
const INBOX: usize = 3;
const OUTBOX: usize = 9;
/// Frames of `audio_ahead_s`, and the one that pays for what fills no frame yet.
const CREDITS: usize = 15 + 1;
/// Messages of a session and its reader besides its output, as `links::side` has them.
const SIDE: usize = 8;
/// Most events or pongs that a writer takes before it waits for its socket, as `BURST` of the writer has it.
const BURST: usize = 32;
/// A reader's buffer of bytes that are no whole frame yet.
const READ_BUFFER: usize = 16 << 10;
/// What a client tries to send; far above all bounds and all buffers of the system.
const FLOOD: usize = 48 << 20;
/// A client that could send nothing for so long is taken for stopped. Waiting too short could only hide a fault.
const STOPPED: Duration = Duration::from_secs(1);

/// A frame of audio as `input=pcm16` has it, and a ping: masked by zeros.
fn audio() -> Vec<u8> {
    let length = (2 * FRAME_SAMPLES) as u16;
    let [high, low] = length.to_be_bytes();
    let mut frame = vec![0x82, 0x80 | 126, high, low, 0, 0, 0, 0];
    frame.resize(frame.len() + usize::from(length), 0);
    frame
}

fn ping() -> Vec<u8> {
    let mut frame = vec![0x89, 0x80 | 125, 0, 0, 0, 0];
    frame.resize(frame.len() + 125, 0);
    frame
}

/// Sends `frame` again and again until the server takes no more: the connection, and the bytes that the system took.
async fn pour(client: Client, frame: Vec<u8>) -> (TcpStream, usize) {
    let mut stream = client.socket.into_inner();
    let frames = frame.repeat(64);
    let mut taken = 0;
    while let Ok(wrote) = timeout(STOPPED, stream.write(&frames[taken % frames.len()..])).await {
        taken += wrote.expect("the session has ended");
        assert!(taken < FLOOD, "a queue takes all there is");
    }
    (stream, taken)
}

/// Has all of `clients` pour: their connections, and the bytes taken of all of them together.
async fn pour_all(clients: Vec<Client>, frame: impl Fn() -> Vec<u8>) -> (Vec<TcpStream>, usize) {
    let pouring: JoinSet<_> = clients.into_iter().map(|client| pour(client, frame())).collect();
    let (streams, taken): (Vec<_>, Vec<_>) = pouring.join_all().await.into_iter().unzip();
    (streams, taken.into_iter().sum())
}

/// Bytes in the system's buffers between the server on `port` and its clients.
struct Buffered {
    to_server: usize,
    to_clients: usize,
}

fn buffered(port: u16) -> io::Result<Buffered> {
    let hex = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let port_of = |address: &str| hex(address.split(':').nth(1).unwrap());
    let mut found = Buffered {
        to_server: 0,
        to_clients: 0,
    };
    for line in fs::read_to_string("/proc/net/tcp")?.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (sent, received) = fields[4].split_once(':').unwrap();
        let (sent, received) = (hex(sent), hex(received));
        // A listener's own numbers are those of its backlog.
        if fields[3] == "0A" {
            continue;
        }
        if port_of(fields[2]) == usize::from(port) {
            found.to_server += sent;
            found.to_clients += received;
        }
        if port_of(fields[1]) == usize::from(port) {
            found.to_server += received;
            found.to_clients += sent;
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_frozen_engine_and_those_that_wait_hold_what_their_bounds_allow_and_no_more() {
    let server = Server::start(&format!("batch_size = {ROWS}\nhang_after_steps = 0"), LIMITS).await;
    let mut clients = Vec::new();
    for number in 0..ROWS + WAITING {
        let mut client = server.connect("input=pcm16&extras=1").await;
        let expected = match number.checked_sub(ROWS) {
            None => ServerMsg::Ready,
            Some(before) => ServerMsg::Queued {
                position: before as u32 + 1,
            },
        };
        assert_eq!(client.hear().await, expected);
        clients.push(client);
    }
    let (_streams, taken) = pour_all(clients, audio).await;
    let held = taken - buffered(server.address.port()).unwrap().to_server;
    // A message that waits for room in the inbox, and one that its session took and has no credits for; the frame that the engine
    // is stuck with.
    let active = CREDITS + INBOX + 1 + 1 + 1;
    let waiting = INBOX + 1;
    let messages = ROWS * active + WAITING * waiting;
    let most = messages * audio().len() + (ROWS + WAITING) * READ_BUFFER;
    assert!(held <= most, "{held} bytes are held, and {most} are allowed");
    assert!(
        held >= ROWS * CREDITS * audio().len(),
        "{held} bytes are held: it was not full"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_are_heard_as_far_as_their_answers_have_room_and_no_further() {
    let server = Server::start(&format!("batch_size = {ROWS}"), LIMITS).await;
    let mut clients = Vec::new();
    for _ in 0..ROWS {
        clients.push(Client::with_small_window(server.address, "input=pcm16").await);
    }
    server.wait_for_used(ROWS).await;
    let (_streams, taken) = pour_all(clients, audio).await;
    let system = buffered(server.address.port()).unwrap();
    let held = taken - system.to_server;
    // Of a frame comes a Step of at least so many bytes; what became of used frames waits in the outbox, with the writer, or in the
    // system's buffers.
    let step = 40;
    let answers = ROWS * (OUTBOX + BURST) + system.to_clients / step;
    let active = CREDITS + INBOX + 1 + 1 + 1;
    let most = (ROWS * active + answers) * audio().len() + ROWS * READ_BUFFER;
    assert!(held <= most, "{held} bytes were taken, and {most} are allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_of_clients_that_read_nothing_are_held_as_far_as_their_answers_have_room_and_no_further() {
    let server = Server::start(&format!("batch_size = {ROWS}"), LIMITS).await;
    let mut clients = Vec::new();
    for _ in 0..ROWS {
        clients.push(Client::with_small_window(server.address, "").await);
    }
    server.wait_for_used(ROWS).await;
    let (_streams, taken) = pour_all(clients, ping).await;
    let system = buffered(server.address.port()).unwrap();
    let held = taken - system.to_server;
    // A pong has the payload of its ping and a header of two bytes.
    let answers = ROWS * (SIDE + 1 + BURST) + system.to_clients / (2 + 125) + ROWS;
    let most = answers * ping().len() + ROWS * READ_BUFFER;
    assert!(held <= most, "{held} bytes were taken, and {most} are allowed");
    eventually(async || server.used().await == ROWS).await;
}
