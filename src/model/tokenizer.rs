//! SentencePiece `.model` files: token ids to text and back.

use std::path::Path;

use kitoken::Kitoken;
use sentencepiece_model::{SentencePieceModel, Type};

use super::error::LoadError;
use crate::stream::text::{Detokenize, Tokenize};

/// SentencePiece's mark for a space.
const SPACE: char = '\u{2581}';

enum Piece {
    Text(String),
    Byte(u8),
    Unknown,
    /// Control and unused pieces have no text.
    Silent,
}

/// The pieces of a SentencePiece model.
pub struct Tokenizer {
    pieces: Vec<Piece>,
    /// What SentencePiece writes for the unknown piece (`" ⁇ "` unless the model says otherwise).
    unknown: String,
    /// Whether encoding put a space in front of the text, which decoding takes away again.
    dummy_prefix: bool,
    encoder: Kitoken,
}

impl Tokenizer {
    /// Reads the model in the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, is no SentencePiece model, or has no pieces.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let bytes = std::fs::read(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        let wrong = |reason: String| LoadError::Tokenizer {
            path: path.to_owned(),
            reason,
        };
        let model = SentencePieceModel::from_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        if model.pieces().is_empty() {
            return Err(wrong("it has no pieces".to_owned()));
        }
        let pieces = model.pieces().iter().map(|piece| {
            let text = piece.piece();
            match piece.r#type() {
                Type::Normal | Type::UserDefined => Piece::Text(text.replace(SPACE, " ")),
                Type::Byte => byte_of(text).map_or(Piece::Silent, Piece::Byte),
                Type::Unknown => Piece::Unknown,
                Type::Control | Type::Unused => Piece::Silent,
            }
        });
        let encoder = Kitoken::from_sentencepiece_slice(&bytes).map_err(|e| wrong(e.to_string()))?;
        Ok(Self {
            encoder,
            pieces: pieces.collect(),
            unknown: model
                .trainer()
                .map_or_else(|| " \u{2047} ".to_owned(), |t| t.unk_surface().to_owned()),
            dummy_prefix: model.normalizer().is_none_or(|n| n.add_dummy_prefix()),
        })
    }

    /// Returns the number of pieces in the vocabulary.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there are no pieces, which is never so for an opened model.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

// Byte pieces are spelt `<0xE2>`.
fn byte_of(piece: &str) -> Option<u8> {
    u8::from_str_radix(piece.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

impl Detokenize for Tokenizer {
    fn decode(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        let mut bytes = Vec::new();
        for id in ids {
            let Some(piece) = self.pieces.get(*id as usize) else {
                continue;
            };
            if let Piece::Byte(b) = piece {
                bytes.push(*b);
                continue;
            }
            flush_bytes(&mut bytes, &mut text);
            match piece {
                Piece::Text(t) if self.dummy_prefix && text.is_empty() => {
                    text.push_str(t.strip_prefix(' ').unwrap_or(t))
                }
                Piece::Text(t) => text.push_str(t),
                Piece::Unknown => text.push_str(&self.unknown),
                Piece::Byte(_) | Piece::Silent => {}
            }
        }
        flush_bytes(&mut bytes, &mut text);
        text
    }
}

impl Tokenize for Tokenizer {
    fn encode(&self, word: &str) -> Vec<u32> {
        // Words that spell a control piece are text all the same.
        self.encoder.encode(word, false).unwrap_or_default()
    }
}

// Byte pieces spell UTF-8; each byte that does not becomes U+FFFD, as in SentencePiece.
fn flush_bytes(bytes: &mut Vec<u8>, text: &mut String) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk
            .invalid()
            .iter()
            .for_each(|_| text.push(char::REPLACEMENT_CHARACTER));
    }
    bytes.clear();
}
