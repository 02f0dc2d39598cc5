//! What a speaking session asks for in its query.

use std::str::FromStr;

use crate::protocol::query::{self, BadQuery};
use crate::stream::input::PcmRate;
use crate::stream::voice::{Sampling, SpeakerRequest};

/// How audio is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Little-endian 32-bit floats at 24 kHz.
    Pcm,
    /// The same, in messages.
    PcmMessagePack,
    /// Pages of an Ogg/Opus stream.
    #[default]
    OggOpus,
    /// The same, in messages.
    OggOpusMessagePack,
    /// Extra: little-endian 16-bit samples.
    Pcm16(PcmRate),
}

impl Format {
    /// Whether the client is told of words and errors between the audio.
    #[must_use]
    pub fn has_messages(self) -> bool {
        matches!(self, Self::PcmMessagePack | Self::OggOpusMessagePack)
    }

    /// Whether audio is encoded with Opus.
    #[must_use]
    pub fn is_opus(self) -> bool {
        matches!(self, Self::OggOpus | Self::OggOpusMessagePack)
    }
}

/// The options of a session. The default is Kyutai's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpeechForm {
    pub format: Format,
    /// The client knows messages beyond Kyutai's.
    pub extras: bool,
    pub speaker: SpeakerRequest,
}

impl SpeechForm {
    /// Reads the query string of a request. Keys of others (credentials) are ignored, as are those that have no effect in
    /// Kyutai's server and no meaning here.
    ///
    /// # Errors
    /// A known key has a value that means nothing.
    pub fn from_query(query: &str) -> Result<Self, BadQuery> {
        let value = |name| query::value(query, name);
        let rate = value("rate").map(|rate| {
            let known = rate.parse().ok().and_then(PcmRate::new);
            known.ok_or_else(|| {
                let [rates @ .., last] = PcmRate::ALL.map(|rate| rate.hz().to_string());
                BadQuery(format!("rate={rate}: use {} or {last}", rates.join(", ")))
            })
        });
        let rate = rate.transpose()?;
        let format = match value("format").as_deref() {
            None | Some("OggOpus") => Format::OggOpus,
            Some("OggOpusMessagePack") => Format::OggOpusMessagePack,
            Some("Pcm") => Format::Pcm,
            Some("PcmMessagePack") => Format::PcmMessagePack,
            Some("pcm16") => Format::Pcm16(rate.unwrap_or_default()),
            Some(other) => {
                return Err(BadQuery(format!(
                    "format={other}: use OggOpus, OggOpusMessagePack, Pcm, PcmMessagePack or pcm16"
                )));
            }
        };
        if rate.is_some() && !matches!(format, Format::Pcm16(_)) {
            let message = "rate is the rate of raw PCM: use format=pcm16 beside it, or leave it out";
            return Err(BadQuery(message.to_owned()));
        }
        let extras = match value("extras").as_deref() {
            None | Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => return Err(BadQuery(format!("extras={other}: use 1 or 0"))),
        };
        let voice = value("voice").map(|voice| voice.into_owned());
        Ok(Self {
            format,
            extras,
            speaker: SpeakerRequest {
                voice: voice.filter(|voice| !voice.is_empty()),
                sampling: Sampling {
                    temperature: number(query, "temperature", 0.0, 4.0)?,
                    top_k: number(query, "top_k", 1, 4096)?,
                    cfg: number(query, "cfg", 0.0, 10.0)?,
                    codebooks: number(query, "n_q", 1, 32)?,
                    seed: number(query, "seed", 0, u64::MAX)?,
                    ..Sampling::default()
                },
            },
        })
    }
}

// The number that `query` gives for `name`, from `least` to `most`.
fn number<N: FromStr + PartialOrd + std::fmt::Display>(
    query: &str,
    name: &str,
    least: N,
    most: N,
) -> Result<Option<N>, BadQuery> {
    let Some(value) = query::value(query, name) else {
        return Ok(None);
    };
    match value.parse() {
        Ok(number) if number >= least && number <= most => Ok(Some(number)),
        _ => Err(BadQuery(format!(
            "{name}={value}: use a number from {least} to {most}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kyutais_form_is_the_default_and_what_has_no_effect_there_has_none_here() {
        assert_eq!(
            SpeechForm::from_query("auth_id=x&cfg_alpha=1.5"),
            Ok(SpeechForm::default())
        );
    }

    #[test]
    fn a_voice_and_its_sampling_can_be_chosen() {
        let query = "voice=a%2Fb.wav&cfg=1.5&temperature=0.4&seed=7&n_q=16&top_k=50";
        let speaker = SpeechForm::from_query(query).unwrap().speaker;
        assert_eq!(speaker.voice.as_deref(), Some("a/b.wav"));
        let expected = Sampling {
            temperature: Some(0.4),
            top_k: Some(50),
            cfg: Some(1.5),
            codebooks: Some(16),
            seed: Some(7),
            ..Sampling::default()
        };
        assert_eq!(speaker.sampling, expected);
    }

    #[test]
    fn unknown_values_are_refused_with_the_known_ones() {
        for query in [
            "format=mp3",
            "format=pcm16&rate=44056",
            "rate=16000",
            "extras=maybe",
            "cfg=x",
            "cfg=NaN",
            "temperature=-1",
            "n_q=0",
            "seed=1.5",
        ] {
            let message = SpeechForm::from_query(query).unwrap_err().to_string();
            assert!(message.contains("use "), "{query}: {message}");
        }
    }
}
