//! The decode stage: one thread owns the decoders of the rows of its shard and cuts their audio into frames.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{Chunk, Decoder, Pcm16Rate};
use crate::pipeline::credits::{Credits, MIN_CHARGE};
use crate::pipeline::frame::{FrameBuf, FramePool};
use crate::pipeline::links::{Attach, Control, Ingress, IngressRx, LinkError, Pcm, PcmTx};
use crate::protocol::client::Sound;
use crate::stream::end::EndReason;
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};
use crate::stream::ids::{RowId, RowKey};
use crate::telemetry::labels::Codec;
use crate::telemetry::metrics::Audio;

/// What the stage keeps of a row.
struct Stream {
    epoch: u32,
    decoder: Decoder,
    credits: Arc<Credits>,
    /// Samples that do not fill a frame yet.
    tail: Option<FrameBuf>,
    /// Credits taken for audio that has not been sent on.
    held: u32,
    failed: bool,
}

/// A decoder thread's work.
pub struct Decode {
    /// Row `r` is at `r / shards`.
    streams: Box<[Option<Stream>]>,
    shards: usize,
    pool: FramePool,
    output: PcmTx,
    meters: Audio,
}

impl Decode {
    /// The shard `i` of `shards` has the rows `r` with `r % shards == i`.
    #[must_use]
    pub fn new(rows: usize, shards: usize, pool: FramePool, output: PcmTx, meters: Audio) -> Self {
        let streams = std::iter::repeat_with(|| None)
            .take(rows.div_ceil(shards))
            .collect();
        Self {
            streams,
            shards,
            pool,
            output,
            meters,
        }
    }

    /// Runs until the sessions end, or the engine does.
    pub fn run(mut self, input: &IngressRx) -> Result<(), LinkError> {
        while let Some(message) = input.recv() {
            self.apply(message)?;
        }
        Ok(())
    }

    /// Handles one message.
    pub fn apply(&mut self, message: Ingress) -> Result<(), LinkError> {
        match message {
            Ingress::Attach { key, attach } => self.open(key, attach),
            Ingress::Sound { key, charge, sound } => self.sound(key, charge, &sound),
            Ingress::Control { key, control } => self.control(key, control),
            Ingress::Detach { key } => {
                self.slot(key.row).take_if(|s| s.epoch == key.epoch.get());
                self.output.send(Pcm::Detach { key })
            }
        }
    }

    fn slot(&mut self, row: RowId) -> &mut Option<Stream> {
        &mut self.streams[row.index() / self.shards]
    }

    fn open(&mut self, key: RowKey, attach: Box<Attach>) -> Result<(), LinkError> {
        let rate = Pcm16Rate::new(attach.pcm16_rate).unwrap_or_default();
        *self.slot(key.row) = Some(Stream {
            epoch: key.epoch.get(),
            decoder: Decoder::new(rate),
            credits: Arc::clone(&attach.credits),
            tail: None,
            held: 0,
            failed: false,
        });
        self.output.send(Pcm::Attach { key, attach })
    }

    fn sound(&mut self, key: RowKey, charge: u32, sound: &Sound) -> Result<(), LinkError> {
        let slot = &mut self.streams[key.row.index() / self.shards];
        let Some(stream) = slot.as_mut().filter(|s| s.epoch == key.epoch.get()) else {
            return Ok(());
        };
        if stream.failed {
            stream.credits.give(charge);
            return Ok(());
        }
        stream.held += charge;
        let (chunk, codec) = match sound {
            Sound::F32(bytes) => (Chunk::F32Bytes(bytes), Codec::F32),
            Sound::Pcm16(bytes) => (Chunk::Pcm16(bytes), Codec::Pcm16),
            Sound::Ogg(bytes) => (Chunk::Ogg(bytes), Codec::Opus),
        };
        let received = self.meters.received.of(codec);
        let (pool, output) = (&self.pool, &self.output);
        let Stream {
            decoder, tail, held, ..
        } = stream;
        let mut sent = Ok(());
        // A decoder that panics has been fed something nobody thought of: the end of that stream, not of the others.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            decoder.push(chunk, &mut |samples| {
                received.add_samples(samples.len(), SAMPLE_RATE);
                sent = sent.and_then(|()| cut(samples, key, tail, held, pool, output));
            })
        }));
        sent?;
        if !matches!(decoded, Ok(Ok(()))) {
            stream.failed = true;
            stream.refund();
            return self.output.send(Pcm::Fail {
                key,
                reason: EndReason::BadAudio,
            });
        }
        stream.refund();
        Ok(())
    }

    fn control(&mut self, key: RowKey, control: Control) -> Result<(), LinkError> {
        let slot = &mut self.streams[key.row.index() / self.shards];
        let Some(stream) = slot.as_mut().filter(|s| s.epoch == key.epoch.get()) else {
            return Ok(());
        };
        if stream.failed {
            stream.credits.give(MIN_CHARGE);
            return Ok(());
        }
        let (pool, output) = (&self.pool, &self.output);
        let Stream {
            decoder, tail, held, ..
        } = stream;
        if matches!(control, Control::Flush | Control::End) {
            let mut sent = Ok(());
            decoder.finish(&mut |samples| {
                sent = sent.and_then(|()| cut(samples, key, tail, held, pool, output));
            });
            sent?;
        }
        if let Some(buf) = tail.take() {
            send(buf, key, held, output)?;
        }
        stream.refund();
        self.output.send(Pcm::Control { key, control })
    }
}

impl Stream {
    /// Gives back what was charged and is not audio that waits here: small messages are charged more than they hold.
    fn refund(&mut self) {
        let waiting = if self.failed {
            0
        } else {
            self.tail.as_ref().map_or(0, FrameBuf::len) as u32
        };
        let excess = self.held.saturating_sub(waiting);
        self.held -= excess;
        self.credits.give(excess);
    }
}

fn cut(
    samples: &[f32],
    key: RowKey,
    tail: &mut Option<FrameBuf>,
    held: &mut u32,
    pool: &FramePool,
    output: &PcmTx,
) -> Result<(), LinkError> {
    let mut rest = samples;
    while !rest.is_empty() {
        let buf = tail.get_or_insert_with(|| pool.take());
        rest = buf.fill(rest);
        if buf.len() == FRAME_SAMPLES
            && let Some(buf) = tail.take()
        {
            send(buf, key, held, output)?;
        }
    }
    Ok(())
}

fn send(buf: FrameBuf, key: RowKey, held: &mut u32, output: &PcmTx) -> Result<(), LinkError> {
    let credit = (*held).min(buf.len() as u32);
    *held -= credit;
    output.send(Pcm::Frame { key, buf, credit })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::pipeline::links::{self, Arrival, Bounds, PcmRx};
    use crate::pipeline::words::outbox::OutboxTx;
    use crate::telemetry::Meters;

    fn stage() -> (Decode, PcmRx, Arc<Credits>, RowKey, OutboxTx) {
        let bounds = Bounds::new(1, 4);
        let (tx, rx) = links::pcm(bounds);
        let key = RowKey {
            row: RowId(0),
            epoch: std::num::NonZeroU32::MIN,
        };
        let (outbox, _) = links::outbox(1);
        let credits = Arc::new(Credits::new(bounds.credits));
        (
            Decode::new(1, 1, links::frame_pool(4), tx, Meters::default().audio.clone()),
            rx,
            credits,
            key,
            outbox,
        )
    }

    fn frames(rx: &PcmRx) -> Vec<(usize, u32)> {
        let mut out = Vec::new();
        while let Arrival::Message(message) = rx.try_recv() {
            match message {
                Pcm::Frame { buf, credit, .. } => out.push((buf.len(), credit)),
                Pcm::Control { .. } => out.push((0, 0)),
                Pcm::Fail { .. } => out.push((usize::MAX, 0)),
                Pcm::Attach { .. } | Pcm::Detach { .. } => {}
            }
        }
        out
    }

    #[test]
    fn odd_chunks_are_cut_into_frames_and_every_credit_is_accounted_for() {
        let (mut stage, rx, credits, key, outbox) = stage();
        let attach = Box::new(Attach {
            pcm16_rate: 24_000,
            credits: Arc::clone(&credits),
            outbox,
        });
        stage.apply(Ingress::Attach { key, attach }).unwrap();
        // Messages of 100 samples are charged as if they were 480.
        for _ in 0..20 {
            assert!(credits.try_take(MIN_CHARGE));
            let sound = Sound::F32(Bytes::from(vec![0; 400]));
            stage
                .apply(Ingress::Sound {
                    key,
                    charge: MIN_CHARGE,
                    sound,
                })
                .unwrap();
        }
        assert!(credits.try_take(MIN_CHARGE));
        stage
            .apply(Ingress::Control {
                key,
                control: Control::Mark(1),
            })
            .unwrap();
        assert_eq!(frames(&rx), [(1920, 1920), (80, 80), (0, 0)]);
        assert_eq!(credits.in_flight(), 2000 + MIN_CHARGE);
    }

    #[test]
    fn audio_that_cannot_be_decoded_ends_its_stream_and_holds_nothing() {
        let (mut stage, rx, credits, key, outbox) = stage();
        let attach = Box::new(Attach {
            pcm16_rate: 24_000,
            credits: Arc::clone(&credits),
            outbox,
        });
        stage.apply(Ingress::Attach { key, attach }).unwrap();
        for bytes in [vec![0u8; 400], vec![0; 3], vec![0; 400]] {
            assert!(credits.try_take(MIN_CHARGE));
            let sound = Sound::F32(bytes.into());
            stage
                .apply(Ingress::Sound {
                    key,
                    charge: MIN_CHARGE,
                    sound,
                })
                .unwrap();
        }
        assert_eq!(frames(&rx), [(usize::MAX, 0)]);
        assert_eq!(credits.in_flight(), 0);
    }
}
