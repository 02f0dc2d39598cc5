//! One WebSocket connection: its two tasks around one session.

use std::io::Cursor;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::stall::StallTimeout;
use super::{reader, writer};
use crate::protocol::dialect::Dialect;
use crate::session::connection::{self, Connection, HungUp};
use crate::session::context::Context;
use crate::session::state::{Queued, Session};
use crate::session::task;
use crate::stream::end::End;
use crate::stream::voice::Speaker;

/// Time for a client to answer our close frame before the connection is cut.
const LINGER: Duration = Duration::from_secs(2);

/// Serves `session` over the upgraded connection, to the end of both.
pub(super) async fn serve(
    upgraded: Upgraded,
    dialect: Dialect,
    speaker: Option<Speaker>,
    session: Session<Queued>,
    context: Context,
) {
    let limits = Arc::clone(&context.limits);
    // Only the listener makes connections, and it makes them from such streams.
    let Ok(parts) = upgraded.downcast::<TokioIo<StallTimeout>>() else {
        return;
    };
    let socket = parts.io.into_inner().into_inner();
    // Without it, the end of a client that waits is seen later.
    let watched = socket.as_fd().try_clone_to_owned().ok().map(hang_up_watch);
    let (read, write) = socket.into_split();
    let early = Cursor::new(parts.read_buf);
    let (mut connection, outbox, reading, writing) = connection::connect(&limits, Arc::default(), speaker);
    connection.hung_up = watched;
    let most = limits.max_message_bytes.max(dialect.decoder.longest_message());
    let asks = reading.inbox.downgrade();
    let reader = tokio::spawn(reader::read(early.chain(read), dialect.decoder, most, reading));
    let writer = tokio::spawn(writer::write(write, dialect.encoder, limits, writing, asks, None));
    task::run(session, connection, outbox, context).await;
    finish(reader, writer, LINGER).await;
}

/// Tells a client that gets no session why, in a last message where `refusal` has one, and in the close frame. The connection
/// ends with the close frame: a client that was turned away keeps no socket by not answering it.
pub(super) async fn turn_away(
    upgraded: Upgraded,
    dialect: Dialect,
    refusal: Option<String>,
    end: End,
    context: Context,
) {
    let limits = Arc::clone(&context.limits);
    let Ok(parts) = upgraded.downcast::<TokioIo<StallTimeout>>() else {
        return;
    };
    let (read, write) = parts.io.into_inner().into_inner().into_split();
    let (connection, outbox, reading, writing) = connection::connect(&limits, Arc::default(), None);
    let early = Cursor::new(parts.read_buf);
    let asks = reading.inbox.downgrade();
    let reader = tokio::spawn(reader::read(
        early.chain(read),
        dialect.decoder,
        limits.max_message_bytes,
        reading,
    ));
    let writer = tokio::spawn(writer::write(
        write,
        dialect.encoder,
        limits,
        writing,
        asks,
        refusal,
    ));
    outbox.finish(end.reason);
    let Connection { over, close, .. } = connection;
    // Nothing else to send, whether or not the client received it.
    let _ = over.await;
    let _ = close.send(end);
    finish(reader, writer, Duration::ZERO).await;
}

/// Watches for the peer closing its end of `socket`, even behind bytes that were not read yet.
fn hang_up_watch(socket: OwnedFd) -> HungUp {
    Box::new(move || {
        let mut poll = [PollFd::new(&socket, PollFlags::RDHUP)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|ready| ready > 0)
    })
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
