//! Clients a server has to survive.

use std::str::FromStr;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::guess;
use super::session::{TestRun, open};
use crate::client::{ClientError, Endpoint, Receiver, Sender};
use crate::protocol::kyutai::server::ServerMsg;
use crate::stream::frame::{FRAME_DURATION, FRAME_SAMPLES};

/// A way to be rude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rudeness {
    /// Goes away in the middle of its audio, without a close frame.
    Drop,
    /// Sends audio and never reads.
    Mute,
    /// Sends bytes that are no audio.
    Garbage,
    /// Connects and says nothing.
    Silent,
    /// Sends audio as fast as it can.
    Flood,
    /// Tries bad credentials, a hundred a second.
    Guess,
}

impl Rudeness {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Drop, "drop"),
        (Self::Mute, "mute"),
        (Self::Garbage, "garbage"),
        (Self::Silent, "silent"),
        (Self::Flood, "flood"),
        (Self::Guess, "guess"),
    ];

    fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// How many clients of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rude {
    pub how: Rudeness,
    pub clients: usize,
}

impl FromStr for Rude {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, count) = text.split_once('=').unwrap_or((text, "1"));
        let how = Rudeness::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(how, _)| *how);
        let how = how.ok_or_else(|| {
            format!("`{name}` is not a way to be rude: drop, mute, garbage, silent, flood, guess")
        })?;
        let clients = count
            .parse()
            .map_err(|_| format!("`{count}` is not a number of clients, as in {name}=2"))?;
        Ok(Self { how, clients })
    }
}

/// Is rude again and again until the test is over.
pub(super) async fn run(endpoint: Endpoint, how: Rudeness, test: TestRun) {
    while Instant::now() < test.until {
        let left = test.until.saturating_duration_since(Instant::now());
        let end = match timeout(left, once(&endpoint, how, &test)).await {
            Ok(Ok(())) => "left".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "still connected at the end".to_owned(),
        };
        *test
            .tally
            .lock()
            .rude
            .entry(format!("{}: {end}", how.name()))
            .or_default() += 1;
        // Whoever is turned away at once would otherwise come back thousands of times a second.
        sleep(Duration::from_millis(200)).await;
    }
}

async fn once(endpoint: &Endpoint, how: Rudeness, test: &TestRun) -> Result<(), ClientError> {
    let messages = match how {
        Rudeness::Guess => return guess::run(&endpoint.url, test).await,
        Rudeness::Drop => Some(20),
        Rudeness::Mute => Some(u32::MAX),
        Rudeness::Garbage | Rudeness::Silent | Rudeness::Flood => None,
    };
    let (sender, receiver) = open(endpoint).await?;
    if let Some(messages) = messages {
        return paced(&sender, messages).await;
    }
    let reading = tokio::spawn(read_out(receiver));
    while !reading.is_finished() && how != Rudeness::Silent {
        if how == Rudeness::Garbage {
            sender.ogg(&[0xa5; 4000]).await?;
            sleep(FRAME_DURATION).await;
        } else {
            sender.audio(&[0.01; FRAME_SAMPLES]).await?;
        }
    }
    reading.await.unwrap_or(Ok(()))
}

async fn paced(sender: &Sender, chunks: u32) -> Result<(), ClientError> {
    for _ in 0..chunks {
        sender.audio(&[0.01; FRAME_SAMPLES]).await?;
        sleep(FRAME_DURATION).await;
    }
    Ok(())
}

async fn read_out(mut receiver: Receiver) -> Result<(), ClientError> {
    while receiver.next::<ServerMsg>().await?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_counts_are_read_and_mistakes_explained() {
        for (how, name) in Rudeness::ALL {
            assert_eq!(name.parse(), Ok(Rude { how, clients: 1 }));
            assert_eq!(how.name(), name);
        }
        assert_eq!(
            "mute=3".parse(),
            Ok(Rude {
                how: Rudeness::Mute,
                clients: 3
            })
        );
        assert!("nice".parse::<Rude>().unwrap_err().contains("drop, mute"));
        assert!("drop=x".parse::<Rude>().unwrap_err().contains("drop=2"));
    }
}
