use moshi_server::session::state::{Active, Queued, Session};

fn skip_the_queue(session: Session<Queued>) -> Session<Active> {
    session.activate()
}

fn main() {}
