use std::time::Instant;

use moshi_server::session::state::{Active, DrainWhy, Draining, Session};

fn twice(session: Session<Active>) -> Session<Draining> {
    let draining = session.drain(DrainWhy::Shutdown, Instant::now());
    draining.drain(DrainWhy::EndOfStream, Instant::now())
}

fn main() {}
