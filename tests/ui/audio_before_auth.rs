use moshi_server::protocol::client::Sound;
use moshi_server::session::state::{Connecting, Session};

fn send(session: Session<Connecting>, sound: Sound) {
    let _ = session.lease().sound(sound, 1920);
}

fn main() {}
