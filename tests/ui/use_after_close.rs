use moshi_server::protocol::close::CloseReason;
use moshi_server::session::state::{Active, Session};

fn after(session: Session<Active>) {
    let _closed = session.close(CloseReason::Done);
    let _ = session.lease();
}

fn main() {}
