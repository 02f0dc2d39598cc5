//! Messages of a client that has something said, as they are on the wire.

use std::sync::Arc;

use crate::protocol::kyutai::msgpack::{self, Fields};
use crate::stream::end::{End, EndReason};
use crate::stream::input::{Control, Input};
use crate::stream::voice::Voice;

/// Most numbers of a voice: 40 s of vectors of 512.
const MOST: usize = 512 * 500;

fn malformed(message: impl Into<String>) -> End {
    End::because(EndReason::BadMessage, message)
}

/// Reads a text frame: it is what is to be said.
///
/// # Errors
/// It is not UTF-8.
pub(super) fn from_text(frame: &[u8]) -> Result<Input, End> {
    let text = std::str::from_utf8(frame).map_err(|_| malformed("text must be UTF-8"))?;
    Ok(Input::Text(text.to_owned()))
}

/// Reads a binary frame: a byte 0, which ends the text, or a message.
///
/// # Errors
/// The bytes are neither.
pub(super) fn from_binary(frame: &[u8]) -> Result<Input, End> {
    if frame == [0] {
        return Ok(Input::Control(Control::End));
    }
    let fields = Fields::parse(frame).map_err(malformed)?;
    Ok(match fields.kind {
        "Text" => Input::Text(
            fields
                .get("text", 0)
                .and_then(msgpack::string)
                .map_err(malformed)?,
        ),
        "Eos" => Input::Control(Control::End),
        "Voice" => Input::Voice(Arc::new(voice(&fields)?)),
        "Flush" => Input::Control(Control::Flush),
        "Cancel" => Input::Control(Control::Cancel),
        "Renew" => Input::Renew(
            fields
                .get("token", 0)
                .and_then(msgpack::string)
                .map_err(malformed)?
                .into(),
        ),
        other => {
            let kind: String = other.chars().take(32).collect();
            let message = format!("unknown message type `{kind}`: use Text, Voice, Flush, Cancel or Eos");
            return Err(End::because(EndReason::Unsupported, message));
        }
    })
}

// A voice of the shape [1, width, steps] or [width, steps], or of one vector [width].
fn voice(fields: &Fields<'_>) -> Result<Voice, End> {
    let numbers = fields.get("embeddings", 0).map_err(malformed)?;
    let numbers = msgpack::floats(numbers)
        .map_err(|_| malformed("`embeddings` must be a list of numbers, or bytes of 32-bit floats"))?;
    let shape = fields
        .get("shape", 1)
        .and_then(msgpack::lengths)
        .map_err(malformed)?;
    let (width, steps) = match shape[..] {
        [1, width, steps] | [width, steps] => (width, steps),
        [width] => (width, 1),
        _ => return Err(malformed("the `shape` of a voice must be [1, width, steps]")),
    };
    let numbers = numbers.as_chunks::<4>().0;
    let count = width
        .checked_mul(steps)
        .filter(|count| (1..=MOST).contains(count));
    if count != Some(numbers.len()) {
        return Err(malformed(format!(
            "a voice of the shape {shape:?} cannot have {} numbers",
            numbers.len()
        )));
    }
    let number = |i: usize| f32::from_le_bytes(numbers[i]);
    if !(0..numbers.len()).all(|i| number(i).is_finite()) {
        return Err(malformed("a voice must have finite numbers only"));
    }
    let embedding = (0..steps).flat_map(|step| (0..width).map(move |at| number(at * steps + step)));
    Ok(Voice {
        name: None,
        embedding: embedding.collect(),
        steps,
        width,
    })
}
