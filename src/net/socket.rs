//! One WebSocket connection: its two tasks around one session.

use std::io::Cursor;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::stall::StallTimeout;
use super::{reader, writer};
use crate::protocol::Form;
use crate::session::state::{Queued, Session};
use crate::session::task::{self, Context};
use crate::session::wire::{self, Farewell};

/// Time for a client to answer our close frame before the connection is cut.
const LINGER: Duration = Duration::from_secs(2);

/// Serves `session` over the upgraded connection, to the end of both.
pub(super) async fn serve(upgraded: Upgraded, form: Form, session: Session<Queued>, context: Context) {
    let limits = Arc::clone(&context.limits);
    // Only the listener makes connections, and it makes them from such streams.
    let Ok(parts) = upgraded.downcast::<TokioIo<StallTimeout>>() else {
        return;
    };
    let socket = parts.io.into_inner().into_inner();
    // Without it, the end of a client that waits is seen later.
    let watched = socket.as_fd().try_clone_to_owned().ok();
    let (read, write) = socket.into_split();
    let early = Cursor::new(parts.read_buf);
    let (mut wire, outbox, reading, writing) = wire::wire(form, &limits, Arc::default());
    wire.socket = watched;
    let most = limits.max_message_bytes;
    let reader = tokio::spawn(reader::read(early.chain(read), form, most, reading));
    let writer = tokio::spawn(writer::write(write, form, limits, writing));
    task::run(session, wire, outbox, context).await;
    finish(reader, writer, LINGER).await;
}

/// Says farewell to a client that gets no session. The connection ends with the close frame: whoever was turned away keeps
/// no socket by not answering it.
pub(super) async fn turn_away(
    upgraded: Upgraded,
    form: Form,
    first: Option<crate::protocol::server::ServerMsg>,
    farewell: Farewell,
    context: Context,
) {
    let limits = Arc::clone(&context.limits);
    let Ok(parts) = upgraded.downcast::<TokioIo<StallTimeout>>() else {
        return;
    };
    let (read, write) = parts.io.into_inner().into_inner().into_split();
    let (wire, outbox, reading, writing) = wire::wire(form, &limits, Arc::default());
    let early = Cursor::new(parts.read_buf);
    let reader = tokio::spawn(reader::read(
        early.chain(read),
        form,
        limits.max_message_bytes,
        reading,
    ));
    let writer = tokio::spawn(writer::write(write, form, limits, writing));
    if let Some(message) = first {
        // The outbox is empty.
        let _ = outbox.send(message);
    }
    outbox.finish(farewell.reason);
    let wire::Wire { over, close, .. } = wire;
    // Whether it was heard or not, it is all there is to say.
    let _ = over.await;
    let _ = close.send(farewell);
    finish(reader, writer, Duration::ZERO).await;
}

// The writer's half is closed by then; the reader waits for the client to close the other.
async fn finish(
    mut reader: tokio::task::JoinHandle<()>,
    writer: tokio::task::JoinHandle<()>,
    linger: Duration,
) {
    let _ = writer.await;
    if timeout(linger, &mut reader).await.is_err() {
        reader.abort();
    }
}
