//! The query string of a live request.

use std::str::FromStr;
use std::time::Duration;

use crate::audio::g711::Law;
use crate::audio::live::{Format, Samples};
use crate::protocol::query::{self, BadQuery};
use crate::protocol::segmenter::Rules;
use crate::stream::input::PcmRate;

/// A segment is final after as many words or as long, although the speaker goes on.
const MOST_WORDS: usize = 12;
const LONGEST: Duration = Duration::from_secs(5);
/// Deepgram's default of `endpointing`.
const ENDPOINT: Duration = Duration::from_millis(10);
/// Rate of telephone audio that does not say it.
const TELEPHONE: u32 = 8_000;

/// What a client asked for. What has no meaning for this server's models (`model`, `language`, `keyterm`, `diarize`, ...) is
/// accepted and ignored, because clients send it unasked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub format: Format,
    /// Transcripts grow; without it only final ones are said.
    pub interim: bool,
    pub vad_events: bool,
    /// Words as the model writes them, instead of lower case without punctuation.
    pub punctuated: bool,
    pub rules: Rules,
}

impl Options {
    pub(super) fn from_query(query: &str) -> Result<Self, BadQuery> {
        no_callback(query)?;
        let rules = Rules {
            endpoint: endpoint(query)?,
            utterance_end: number::<u64>(query, "utterance_end_ms")?.map(Duration::from_millis),
            most_words: MOST_WORDS,
            longest: LONGEST,
        };
        Ok(Self {
            format: format(query)?,
            interim: flag(query, "interim_results")?,
            vad_events: flag(query, "vad_events")?,
            punctuated: punctuated(query)?,
            rules,
        })
    }
}

/// Refuses to call a server of the client's choice.
pub(super) fn no_callback(query: &str) -> Result<(), BadQuery> {
    match query::value(query, "callback") {
        None => Ok(()),
        Some(_) => Err(BadQuery(
            "callback is not supported: transcripts come over the connection".to_owned(),
        )),
    }
}

/// Whether words are said as the model writes them.
pub(super) fn punctuated(query: &str) -> Result<bool, BadQuery> {
    Ok(flag(query, "punctuate")? | flag(query, "smart_format")?)
}

pub(super) fn format(query: &str) -> Result<Format, BadQuery> {
    let channels = number::<u16>(query, "channels")?.unwrap_or(1);
    if channels > 1 && flag(query, "multichannel")? {
        return Err(BadQuery(
            "multichannel: one channel per connection is transcribed; open one for each".to_owned(),
        ));
    }
    if !(1..=32).contains(&channels) {
        return Err(BadQuery(format!("channels={channels}: use 1 to 32")));
    }
    let hz = number::<u32>(query, "sample_rate")?;
    let raw = |samples, hz: u32| {
        let rate = PcmRate::new(hz).ok_or_else(|| {
            let rates = PcmRate::ALL.map(|rate| rate.hz().to_string()).join(", ");
            BadQuery(format!("sample_rate={hz}: use one of {rates}"))
        })?;
        Ok(Format::Raw {
            samples,
            rate,
            channels,
        })
    };
    match query::value(query, "encoding").as_deref() {
        None | Some("") => Ok(Format::Container),
        Some("linear16") => match hz {
            Some(hz) => raw(Samples::Linear16, hz),
            None => Err(BadQuery("encoding=linear16: sample_rate is missing".to_owned())),
        },
        Some("mulaw") => raw(Samples::G711(Law::Mu), hz.unwrap_or(TELEPHONE)),
        Some("alaw") => raw(Samples::G711(Law::A), hz.unwrap_or(TELEPHONE)),
        Some("opus" | "ogg-opus") => Ok(Format::OggOpus),
        Some(other) => Err(BadQuery(format!(
            "encoding={other}: use linear16, mulaw, alaw, opus (in Ogg), or none for WAV and Ogg"
        ))),
    }
}

fn endpoint(query: &str) -> Result<Option<Duration>, BadQuery> {
    match query::value(query, "endpointing").as_deref() {
        None | Some("true") => Ok(Some(ENDPOINT)),
        Some("false") => Ok(None),
        Some(_) => Ok(number::<u64>(query, "endpointing")?.map(Duration::from_millis)),
    }
}

pub(super) fn flag(query: &str, name: &str) -> Result<bool, BadQuery> {
    match query::value(query, name).as_deref() {
        None | Some("" | "0") => Ok(false),
        Some("1") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
        Some(value) => Err(BadQuery(format!("{name}={value}: use true or false"))),
    }
}

pub(super) fn number<N: FromStr>(query: &str, name: &str) -> Result<Option<N>, BadQuery> {
    let value = query::value(query, name).filter(|value| !value.is_empty());
    let parsed = value.map(|value| {
        let wrong = || BadQuery(format!("{name}={value}: use a number"));
        value.parse().map_err(|_| wrong())
    });
    parsed.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(query: &str) -> Options {
        Options::from_query(query).unwrap()
    }

    #[test]
    fn defaults_are_deepgrams() {
        let options = options("");
        assert_eq!(options.format, Format::Container);
        assert!(!options.interim && !options.vad_events && !options.punctuated);
        assert_eq!(options.rules.endpoint, Some(ENDPOINT));
        assert_eq!(options.rules.utterance_end, None);
    }

    #[test]
    fn what_livekit_asks_for_is_understood() {
        let options = options(
            "model=nova-3&punctuate=true&smart_format=false&no_delay=true&interim_results=true&encoding=linear16&vad_events=true\
             &sample_rate=16000&channels=1&endpointing=25&filler_words=true&profanity_filter=false&numerals=false\
             &mip_opt_out=false&language=en-US&keyterm=a&keyterm=b",
        );
        assert!(options.interim && options.vad_events && options.punctuated);
        assert_eq!(options.rules.endpoint, Some(Duration::from_millis(25)));
        let Format::Raw {
            samples,
            rate,
            channels,
            ..
        } = options.format
        else {
            panic!("{:?}", options.format)
        };
        assert_eq!((samples, rate.hz(), channels), (Samples::Linear16, 16_000, 1));
    }

    #[test]
    fn telephones_and_containers_are_understood() {
        let telephone = |samples| Format::Raw {
            samples,
            rate: PcmRate::new(8_000).unwrap(),
            channels: 1,
        };
        for (query, format) in [
            (
                "encoding=mulaw&sample_rate=8000",
                telephone(Samples::G711(Law::Mu)),
            ),
            ("encoding=alaw", telephone(Samples::G711(Law::A))),
            ("encoding=opus&sample_rate=48000", Format::OggOpus),
            ("encoding=ogg-opus", Format::OggOpus),
            ("sample_rate=48000", Format::Container),
        ] {
            assert_eq!(options(query).format, format, "{query}");
        }
        for (query, endpoint) in [
            ("endpointing=false", None),
            ("endpointing=true", Some(ENDPOINT)),
            ("endpointing=300", Some(Duration::from_millis(300))),
        ] {
            assert_eq!(options(query).rules.endpoint, endpoint, "{query}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_what_can() {
        for query in [
            "encoding=linear16",
            "encoding=linear16&sample_rate=44056",
            "encoding=flac",
            "multichannel=true&channels=2",
            "channels=0",
            "callback=https://example.org",
            "interim_results=maybe",
            "utterance_end_ms=soon",
            "endpointing=never",
        ] {
            let message = Options::from_query(query).unwrap_err().to_string();
            assert!(
                message.contains(query.split(['=', '&']).next().unwrap_or_default())
                    || message.contains("sample_rate"),
                "{query}: {message}"
            );
        }
    }
}
