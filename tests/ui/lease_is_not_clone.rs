use moshi_server::pipeline::rows::RowLease;

fn both(lease: RowLease) -> (RowLease, RowLease) {
    (lease.clone(), lease)
}

fn main() {}
