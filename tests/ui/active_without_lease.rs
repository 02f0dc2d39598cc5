use moshi_server::pipeline::rows::RowLease;
use moshi_server::session::state::{Queued, Session};

fn row_before_its_turn(session: &Session<Queued>) -> &RowLease {
    session.lease()
}

fn main() {}
