//! MessagePack as Kyutai's clients write it, read without building a tree.
//!
//! A message is a map with its keys in any order, or an array that starts with the type. Unknown keys and bytes behind
//! the value are ignored. Lists of numbers become little-endian bytes at once.

use bytes::{BufMut, Bytes, BytesMut};
use rmp::Marker;
use rmp::decode::{RmpRead, read_array_len, read_int, read_map_len, read_marker, read_str_from_slice};

/// A message, split into its values; each is still encoded.
pub(super) struct Fields<'a> {
    pub(super) kind: &'a str,
    values: Values<'a>,
}

enum Values<'a> {
    /// The rest of the message behind the map's header.
    Named(&'a [u8], u32),
    /// Values in declared order.
    Listed(&'a [u8], u32),
}

/// The bytes are not the message they should be.
pub(super) type Malformed = &'static str;

impl<'a> Fields<'a> {
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut rest = message;
        if let Ok(len) = read_map_len(&mut rest) {
            let values = Values::Named(rest, len);
            let kind = values.find("type", 0)?.ok_or("the message has no `type`")?;
            return Ok(Self {
                kind: text(kind)?.0,
                values,
            });
        }
        let mut rest = message;
        let len = read_array_len(&mut rest).map_err(|_| "a message is a MessagePack map")?;
        let (kind, rest) = text(rest)?;
        Ok(Self {
            kind,
            values: Values::Listed(rest, len.saturating_sub(1)),
        })
    }

    /// The value called `name`, which is number `position` in the array form.
    pub(super) fn get(&self, name: &str, position: u32) -> Result<&'a [u8], Malformed> {
        self.values
            .find(name, position)?
            .ok_or("the message lacks a field of its type")
    }
}

impl<'a> Values<'a> {
    fn find(&self, name: &str, position: u32) -> Result<Option<&'a [u8]>, Malformed> {
        match *self {
            Values::Named(mut rest, len) => {
                for _ in 0..len {
                    let (key, value) = text(rest)?;
                    if key == name {
                        return Ok(Some(value));
                    }
                    rest = skip(value)?;
                }
                Ok(None)
            }
            Values::Listed(mut rest, len) => {
                if position >= len {
                    return Ok(None);
                }
                for _ in 0..position {
                    rest = skip(rest)?;
                }
                Ok(Some(rest))
            }
        }
    }
}

fn text(bytes: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    read_str_from_slice(bytes).map_err(|_| "expected a string")
}

/// What follows the value at the start of `bytes`. (`rmp`'s own `MessageLen` panics on extension types.)
fn skip(bytes: &[u8]) -> Result<&[u8], Malformed> {
    const CUT: Malformed = "a value is cut short";
    let mut rest = bytes;
    // Each value takes a byte at least, so a claimed count cannot keep this going.
    let mut values: u64 = 1;
    while values > 0 {
        values -= 1;
        let marker = read_marker(&mut rest).map_err(|_| CUT)?;
        let mut length = |size: usize| -> Result<u64, Malformed> {
            let (bytes, tail) = rest.split_at_checked(size).ok_or(CUT)?;
            rest = tail;
            Ok(bytes
                .iter()
                .fold(0, |length, byte| length << 8 | u64::from(*byte)))
        };
        let (bytes, inner) = match marker {
            Marker::Null | Marker::Reserved | Marker::True | Marker::False => (0, 0),
            Marker::FixPos(_) | Marker::FixNeg(_) => (0, 0),
            Marker::U8 | Marker::I8 => (1, 0),
            Marker::U16 | Marker::I16 => (2, 0),
            Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
            Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
            Marker::FixStr(len) => (u64::from(len), 0),
            Marker::Str8 | Marker::Bin8 => (length(1)?, 0),
            Marker::Str16 | Marker::Bin16 => (length(2)?, 0),
            Marker::Str32 | Marker::Bin32 => (length(4)?, 0),
            Marker::FixExt1 => (2, 0),
            Marker::FixExt2 => (3, 0),
            Marker::FixExt4 => (5, 0),
            Marker::FixExt8 => (9, 0),
            Marker::FixExt16 => (17, 0),
            Marker::Ext8 => (length(1)? + 1, 0),
            Marker::Ext16 => (length(2)? + 1, 0),
            Marker::Ext32 => (length(4)? + 1, 0),
            Marker::FixArray(len) => (0, u64::from(len)),
            Marker::Array16 => (0, length(2)?),
            Marker::Array32 => (0, length(4)?),
            Marker::FixMap(len) => (0, 2 * u64::from(len)),
            Marker::Map16 => (0, 2 * length(2)?),
            Marker::Map32 => (0, 2 * length(4)?),
        };
        let bytes = usize::try_from(bytes).map_err(|_| CUT)?;
        rest = rest.get(bytes..).ok_or(CUT)?;
        values += inner;
    }
    Ok(rest)
}

pub(super) fn integer(mut value: &[u8]) -> Result<i64, Malformed> {
    read_int(&mut value).map_err(|_| "`id` must be an integer")
}

pub(super) fn string(value: &[u8]) -> Result<String, Malformed> {
    Ok(text(value)?.0.to_owned())
}

/// Samples as little-endian 32-bit floats: from a list of any numbers, or from `bin` that is them already.
pub(super) fn floats(mut value: &[u8]) -> Result<Bytes, Malformed> {
    const WRONG: Malformed = "`pcm` must be a list of numbers, or bytes of 32-bit floats";
    if let Some(bytes) = binary(value)? {
        return if bytes.len() % 4 == 0 {
            Ok(Bytes::copy_from_slice(bytes))
        } else {
            Err(WRONG)
        };
    }
    let len = read_array_len(&mut value).map_err(|_| WRONG)? as usize;
    // A header may claim any length; each number takes at least a byte.
    let mut out = BytesMut::with_capacity(4 * len.min(value.len()));
    for _ in 0..len {
        // Nearly every client sends 32-bit floats.
        if let [0xca, a, b, c, d, rest @ ..] = value {
            out.put_f32_le(f32::from_be_bytes([*a, *b, *c, *d]));
            value = rest;
            continue;
        }
        let mut ahead = value;
        let sample = match read_marker(&mut ahead).map_err(|_| WRONG)? {
            Marker::F64 => {
                value = ahead;
                value.read_data_f64().map_err(|_| WRONG)? as f32
            }
            _ => read_int::<i64, _>(&mut value).map_err(|_| WRONG)? as f32,
        };
        out.put_f32_le(sample);
    }
    Ok(out.freeze())
}

/// Lengths of at most a few dimensions.
pub(super) fn lengths(mut value: &[u8]) -> Result<Vec<usize>, Malformed> {
    const WRONG: Malformed = "`shape` must be a list of at most 4 lengths";
    let len = read_array_len(&mut value).map_err(|_| WRONG)?;
    if len > 4 {
        return Err(WRONG);
    }
    (0..len)
        .map(|_| read_int(&mut value).map_err(|_| WRONG))
        .collect()
}

/// Bytes: from a list of integers, or from `bin`.
pub(super) fn octets(mut value: &[u8]) -> Result<Bytes, Malformed> {
    const WRONG: Malformed = "`data` must be bytes, or a list of integers from 0 to 255";
    if let Some(bytes) = binary(value)? {
        return Ok(Bytes::copy_from_slice(bytes));
    }
    let len = read_array_len(&mut value).map_err(|_| WRONG)? as usize;
    let mut out = BytesMut::with_capacity(len.min(value.len()));
    for _ in 0..len {
        out.put_u8(read_int(&mut value).map_err(|_| WRONG)?);
    }
    Ok(out.freeze())
}

fn binary(mut value: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    const SHORT: Malformed = "a `bin` value is cut short";
    let len = match read_marker(&mut value).map_err(|_| "a value is missing")? {
        Marker::Bin8 => usize::from(value.read_data_u8().map_err(|_| SHORT)?),
        Marker::Bin16 => usize::from(value.read_data_u16().map_err(|_| SHORT)?),
        Marker::Bin32 => value.read_data_u32().map_err(|_| SHORT)? as usize,
        _ => return Ok(None),
    };
    value.get(..len).map(Some).ok_or(SHORT)
}
