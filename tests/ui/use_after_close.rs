use moshi_server::pipeline::rows::RowLease;
use moshi_server::session::state::{Closed, Session};

fn row_after_the_end(session: &Session<Closed>) -> &RowLease {
    session.lease()
}

fn main() {}
