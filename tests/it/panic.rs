//! A panic of a thread of the pipeline is the end of the process, told to everyone it concerns. That every thread's is
//! noticed is a unit test of `src/pipeline/mod.rs`; here it is the engine's.

use std::net::SocketAddr;
use std::process::{Child, Command};
use std::time::Duration;

use crate::common::{Client, PATH, eventually};
use moshi_server::protocol::kyutai::server::ServerMsg;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The program, with a scripted model that panics. Ends with its owner.
struct Worker {
    process: Child,
    address: SocketAddr,
}

impl Worker {
    async fn start() -> Self {
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let text = format!(
            "[server]\naddr = \"127.0.0.1\"\nadmin_addr = \"\"\n[modules.asr]\ntype = \"Scripted\"\npath = \"{PATH}\"\n\
             batch_size = 3\npanic_after_steps = 1\n"
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
            .args(["worker", "--silent", "--port", &port.to_string(), "--config"])
            .arg(&config)
            .spawn()
            .unwrap();
        let worker = Self {
            process,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        eventually(async || worker.ready().await == Some(200)).await;
        worker
    }

    /// Status of `/readyz`; none when nobody answers.
    async fn ready(&self) -> Option<u16> {
        let mut stream = TcpStream::connect(self.address).await.ok()?;
        let request = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        answer.split(' ').nth(1)?.parse().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_panic_ends_all_sessions_with_1011_and_the_process_with_70() {
    let mut worker = Worker::start().await;
    let address = worker.address;
    let open = async || Client::open(address, "", "").await.unwrap();
    let (mut speaker, mut idle, mut other) = (open().await, open().await, open().await);
    for client in [&mut speaker, &mut idle, &mut other] {
        assert_eq!(client.hear().await, ServerMsg::Ready);
    }
    speaker.silence(3).await;
    assert_eq!(other.close_code().await, 1011);
    // The process ends a moment later: from here on it is not ready, or nobody answers.
    let ready = worker.ready().await;
    assert!(matches!(ready, None | Some(503)), "/readyz says {ready:?}");
    assert_eq!(idle.close_code().await, 1011);
    assert_eq!(speaker.close_code().await, 1011);
    let mut code = None;
    while code.is_none() {
        code = worker.process.try_wait().unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(code.and_then(|status| status.code()), Some(70));
}
