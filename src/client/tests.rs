//! The client against a server that does what each test says.

use std::time::Duration;

use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::captions::Format;
use crate::protocol::kyutai::Form;
use crate::protocol::kyutai::client::{ClientMsg, Sound};
use crate::protocol::kyutai::server::ServerMsg;
use crate::stream::input::PcmRate;

const EXTRAS: Form = Form {
    extras: true,
    json: false,
    pcm16: None,
};

struct Peer {
    socket: FragmentCollector<TokioIo<Upgraded>>,
    form: Form,
}

impl Peer {
    async fn say(&mut self, message: &ServerMsg) {
        let mut bytes = Vec::new();
        message.encode(self.form, &mut bytes);
        let payload = Payload::Owned(bytes);
        let frame = if self.form.json {
            Frame::text(payload)
        } else {
            Frame::binary(payload)
        };
        self.socket.write_frame(frame).await.unwrap();
    }

    async fn close(&mut self, code: u16) {
        self.socket
            .write_frame(Frame::close(code, b"because"))
            .await
            .unwrap();
    }

    /// Reads until the client closes: a socket dropped with unread data would be reset.
    async fn until_closed(&mut self) {
        while let Ok(frame) = self.socket.read_frame().await {
            if frame.opcode == OpCode::Close {
                return;
            }
        }
    }

    async fn hear(&mut self) -> ClientMsg {
        loop {
            let frame = self.socket.read_frame().await.unwrap();
            match frame.opcode {
                OpCode::Binary => {
                    return ClientMsg::from_binary(Bytes::copy_from_slice(&frame.payload), self.form)
                        .unwrap();
                }
                OpCode::Text => return ClientMsg::from_text(&frame.payload, self.form).unwrap().unwrap(),
                other => assert_eq!(other, OpCode::Pong),
            }
        }
    }
}

/// Serves one connection with `act`. Returns where, and what `act` returns.
async fn serve<T, F>(form: Form, act: impl FnOnce(Peer) -> F + Send + 'static) -> (Endpoint, JoinHandle<T>)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let (upgraded, mut upgrades) = mpsc::channel(1);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let upgraded = upgraded.clone();
            async move {
                let (response, socket) = fastwebsockets::upgrade::upgrade(&mut request).unwrap();
                tokio::spawn(async move { upgraded.send(socket.await.unwrap()).await });
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let http = hyper::server::conn::http1::Builder::new();
        let _ = http
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
    });
    let done = tokio::spawn(async move {
        let socket = FragmentCollector::new(upgrades.recv().await.unwrap());
        act(Peer { socket, form }).await
    });
    (
        Endpoint {
            url,
            credential: Credential::None,
            form,
        },
        done,
    )
}

/// Streams a second of audio to `endpoint`.
async fn stream_a_second(endpoint: &Endpoint) -> Result<Report, ClientError> {
    let (pieces, audio) = mpsc::channel(4);
    tokio::spawn(async move {
        for _ in 0..24 {
            let _ = pieces.send(vec![0.25; 1000]).await;
        }
    });
    stream(endpoint, audio, None, |_| ()).await
}

fn word(text: &str, start_time: f64) -> ServerMsg {
    ServerMsg::Word {
        text: text.to_owned(),
        start_time,
    }
}

#[tokio::test]
async fn with_extras_the_end_of_the_stream_is_said_and_heard() {
    for form in [EXTRAS, Form { json: true, ..EXTRAS }] {
        let (endpoint, server) = serve(form, async |mut peer: Peer| {
            peer.say(&ServerMsg::Queued { position: 1 }).await;
            peer.say(&ServerMsg::Ready).await;
            let mut samples = 0;
            loop {
                match peer.hear().await {
                    ClientMsg::Audio(Sound::F32(bytes)) => samples += bytes.len() / 4,
                    ClientMsg::EndOfStream => break,
                    other => panic!("{other:?}"),
                }
            }
            peer.say(&word("hello", 0.5)).await;
            peer.say(&ServerMsg::EndWord { stop_time: 0.9 }).await;
            peer.say(&ServerMsg::EndOfStream).await;
            peer.close(1000).await;
            samples
        })
        .await;
        let report = stream_a_second(&endpoint).await.unwrap();
        assert_eq!(report.transcript.render(Format::Txt), "hello\n");
        assert_eq!(report.transcript.words()[0].stop_time, Some(0.9));
        assert_eq!(report.audio, Duration::from_secs(1));
        assert_eq!(server.await.unwrap(), 24_000);
    }
}

#[tokio::test]
async fn without_extras_silence_follows_until_the_marker_is_answered() {
    let (endpoint, server) = serve(Form::default(), async |mut peer: Peer| {
        peer.say(&ServerMsg::Ready).await;
        let (mut before, mut after, mut marker) = (0, 0, None);
        // As Kyutai's server, which goes on only while audio comes.
        while after < 5 * 1920 {
            match (peer.hear().await, marker) {
                (ClientMsg::Audio(Sound::F32(bytes)), None) => before += bytes.len() / 4,
                (ClientMsg::Audio(Sound::F32(bytes)), Some(_)) => {
                    assert!(bytes.iter().all(|byte| *byte == 0));
                    after += bytes.len() / 4;
                }
                (ClientMsg::Marker { id }, None) => marker = Some(id),
                (other, _) => panic!("{other:?}"),
            }
        }
        peer.say(&word("late", 0.9)).await;
        peer.say(&ServerMsg::Marker { id: marker.unwrap() }).await;
        peer.until_closed().await;
        before
    })
    .await;
    let report = stream_a_second(&endpoint).await.unwrap();
    assert_eq!(report.transcript.render(Format::Txt), "late\n");
    assert_eq!(
        report.audio,
        Duration::from_secs(1),
        "silence of ours is no audio"
    );
    assert_eq!(server.await.unwrap(), 24_000);
}

#[tokio::test]
async fn raw_pcm_and_controls_arrive_as_what_they_are() {
    let form = Form {
        pcm16: Some(PcmRate::default()),
        ..EXTRAS
    };
    let (endpoint, server) = serve(form, async |mut peer: Peer| {
        let mut heard = Vec::new();
        for _ in 0..5 {
            heard.push(peer.hear().await);
        }
        heard
    })
    .await;
    let (sender, _receiver) = endpoint.connect().await.unwrap();
    sender.audio(&[0.5, -1.0]).await.unwrap();
    sender.init().await.unwrap();
    sender.marker(-7).await.unwrap();
    sender.flush().await.unwrap();
    sender.end_of_stream().await.unwrap();
    let pcm = Bytes::from_static(&[0x00, 0x40, 0x00, 0x80]);
    let expected = [
        ClientMsg::Audio(Sound::Pcm16(pcm)),
        ClientMsg::Init,
        ClientMsg::Marker { id: -7 },
        ClientMsg::Flush,
        ClientMsg::EndOfStream,
    ];
    assert_eq!(server.await.unwrap(), expected);
}

#[tokio::test]
async fn opus_bytes_arrive_in_both_forms() {
    for form in [Form::default(), EXTRAS] {
        let (endpoint, server) = serve(form, async |mut peer: Peer| peer.hear().await).await;
        let (sender, _receiver) = endpoint.connect().await.unwrap();
        sender.ogg(b"OggS\x00\xff").await.unwrap();
        let expected = ClientMsg::Audio(Sound::Ogg(Bytes::from_static(b"OggS\x00\xff")));
        assert_eq!(server.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_ping_is_answered_while_messages_are_awaited() {
    let (endpoint, server) = serve(EXTRAS, async |mut peer: Peer| {
        peer.socket
            .write_frame(Frame::new(true, OpCode::Ping, None, Payload::Borrowed(b"you?")))
            .await
            .unwrap();
        let frame = peer.socket.read_frame().await.unwrap();
        assert_eq!((frame.opcode, &*frame.payload), (OpCode::Pong, &b"you?"[..]));
        peer.say(&ServerMsg::Ready).await;
    })
    .await;
    let (_sender, mut receiver) = endpoint.connect().await.unwrap();
    assert_eq!(
        receiver.next::<ServerMsg>().await.unwrap(),
        Some(ServerMsg::Ready)
    );
    server.await.unwrap();
}

#[tokio::test]
async fn each_way_to_be_turned_away_has_its_error() {
    type Check = fn(&ClientError) -> bool;
    let closes: [(u16, Check); 4] = [
        (1013, |e| matches!(e, ClientError::Full)),
        (4401, |e| matches!(e, ClientError::Unauthorized(4401))),
        (
            1011,
            |e| matches!(e, ClientError::Closed { code: 1011, reason } if reason == "because"),
        ),
        (1000, |e| matches!(e, ClientError::Lost)),
    ];
    for (code, is_right) in closes {
        let (endpoint, _server) = serve(EXTRAS, async move |mut peer: Peer| peer.close(code).await).await;
        let error = stream_a_second(&endpoint).await.unwrap_err();
        assert!(is_right(&error), "{code}: {error}");
    }
    let (endpoint, _server) = serve(EXTRAS, async |mut peer: Peer| {
        peer.say(&ServerMsg::Error {
            message: "no free channels".to_owned(),
        })
        .await;
    })
    .await;
    let error = stream_a_second(&endpoint).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Server(message) if message == "no free channels"),
        "{error}"
    );
    let (endpoint, _server) = serve(EXTRAS, async |mut peer: Peer| peer.say(&ServerMsg::Ready).await).await;
    let error = stream_a_second(&endpoint).await.unwrap_err();
    assert!(matches!(error, ClientError::Lost), "{error}");
}

#[tokio::test]
async fn a_status_instead_of_an_upgrade_is_explained() {
    type Check = fn(&ClientError) -> bool;
    let statuses: [(StatusCode, Check); 3] = [
        (StatusCode::UNAUTHORIZED, |e| {
            matches!(e, ClientError::Unauthorized(401))
        }),
        (StatusCode::SERVICE_UNAVAILABLE, |e| {
            matches!(e, ClientError::Full)
        }),
        (StatusCode::NOT_FOUND, |e| {
            matches!(e, ClientError::Status { status: 404, .. })
        }),
    ];
    for (status, is_right) in statuses {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let (seen, credentials) = tokio::sync::oneshot::channel();
        let seen = std::sync::Arc::new(parking_lot::Mutex::new(Some(seen)));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| {
                let key = request.headers()["kyutai-api-key"].to_str().unwrap().to_owned();
                let _ = seen.lock().take().unwrap().send(key);
                let response = Response::builder().status(status).body(Empty::<Bytes>::new());
                async { response }
            });
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
        let endpoint = Endpoint {
            url,
            credential: Credential::ApiKey("k1".to_owned()),
            form: EXTRAS,
        };
        let error = endpoint.connect().await.err().expect("a refusal");
        assert!(is_right(&error), "{status}: {error}");
        assert_eq!(credentials.await.unwrap(), "k1");
    }
}
