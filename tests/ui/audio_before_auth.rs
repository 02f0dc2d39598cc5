use moshi_server::pipeline::rows::RowLease;
use moshi_server::session::state::{Connecting, Session};

fn row_of_nobody(session: &Session<Connecting>) -> &RowLease {
    session.lease()
}

fn main() {}
