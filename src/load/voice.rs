//! The voice of one session: a clip, repeated, cut into messages.

use std::sync::Arc;

use super::sound::{Clip, Opus, PACKET};
use crate::audio::ogg_writer::{OggOpusWriter, OpusHead};
use crate::client::{ClientError, Sender};

/// What one session says, and in what pieces.
pub(super) struct Voice {
    clip: Clip,
    /// Samples to say; the clip is repeated to get there.
    pub samples: u64,
    /// Samples of a message.
    pub chunk: usize,
    said: u64,
    form: Form,
}

enum Form {
    Samples(Vec<f32>),
    Opus {
        opus: Arc<Opus>,
        writer: OggOpusWriter,
        begun: bool,
    },
}

impl Voice {
    /// `samples` of `clip` in messages of `chunk` samples. As Ogg/Opus, with that serial number, messages are whole packets,
    /// if the clip has been encoded.
    #[must_use]
    pub(super) fn new(clip: Clip, samples: u64, chunk: usize, opus: Option<u32>) -> Self {
        let (chunk, form) = match opus.zip(clip.opus.clone()) {
            Some((serial, opus)) => (
                (chunk / PACKET).max(1) * PACKET,
                Form::Opus {
                    opus,
                    writer: OggOpusWriter::new(serial),
                    begun: false,
                },
            ),
            None => (chunk, Form::Samples(Vec::with_capacity(chunk))),
        };
        Self {
            clip,
            samples,
            chunk,
            said: 0,
            form,
        }
    }

    /// Samples said so far.
    #[must_use]
    pub(super) fn said(&self) -> u64 {
        self.said
    }

    /// Sends the next message; gives the samples in it.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn speak(&mut self, sender: &Sender) -> Result<u64, ClientError> {
        let chunk = self.chunk.min((self.samples - self.said) as usize);
        match &mut self.form {
            Form::Samples(piece) => {
                let from = (self.said % self.clip.samples.len() as u64) as usize;
                piece.clear();
                piece.extend(self.clip.samples.iter().cycle().skip(from).take(chunk));
                sender.audio(piece).await?;
            }
            Form::Opus { opus, writer, begun } => {
                if !std::mem::replace(begun, true) {
                    sender.ogg(&writer.headers(&OpusHead::CLIENT)).await?;
                }
                let from = (self.said / PACKET as u64 % opus.packets.len() as u64) as usize;
                let packets = opus
                    .packets
                    .iter()
                    .cycle()
                    .skip(from)
                    .take(chunk.div_ceil(PACKET));
                let page = writer.packets(packets.map(Vec::as_slice));
                sender.ogg(&page).await?;
            }
        }
        self.said += chunk as u64;
        Ok(chunk as u64)
    }

    /// Sends about `samples` of silence.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn silence(&mut self, samples: usize, sender: &Sender) -> Result<(), ClientError> {
        match &mut self.form {
            Form::Samples(_) => sender.audio(&vec![0.0; samples]).await,
            Form::Opus { opus, writer, .. } => {
                let packets = std::iter::repeat_n(opus.silence.as_slice(), samples.div_ceil(PACKET));
                let page = writer.packets(packets);
                sender.ogg(&page).await
            }
        }
    }
}
