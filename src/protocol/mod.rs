//! The wire: what clients and this server say to each other, as bytes. Knows no sockets, sessions or rows.
//!
//! `docs/protocol.md` is the reference. The classic form is Kyutai's, byte for byte; everything else is asked for in the
//! query of the request.

pub mod client;
pub mod close;
mod msgpack;
pub mod server;

use serde::Deserialize;

/// What a session speaks, as its query asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The client knows messages beyond Kyutai's.
    pub extras: bool,
    /// Server messages are JSON in text frames instead of MessagePack in binary ones.
    pub json: bool,
    /// Binary frames of the client are raw 16-bit PCM at this rate, in Hz, instead of MessagePack.
    pub pcm16: Option<u32>,
}

/// Rates that raw PCM input may have.
pub const PCM16_RATES: [u32; 4] = [8_000, 16_000, 24_000, 48_000];

/// A query that asks for something unknown. The message tells what to ask for instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadQuery(String);

#[derive(Deserialize)]
struct Query {
    format: Option<String>,
    input: Option<String>,
    rate: Option<String>,
    extras: Option<String>,
}

impl Form {
    /// Reads the query string of a request. Keys of others (credentials) are ignored.
    ///
    /// # Errors
    /// A known key has a value that means nothing.
    pub fn from_query(query: &str) -> Result<Self, BadQuery> {
        let uri = format!("/?{query}");
        let uri: axum::http::Uri = uri
            .parse()
            .map_err(|_| BadQuery("the query string is not valid".to_owned()))?;
        let axum::extract::Query(query) = axum::extract::Query::<Query>::try_from_uri(&uri)
            .map_err(|e| BadQuery(format!("the query string is not valid: {e}")))?;
        let json = match query.format.as_deref() {
            None | Some("msgpack") => false,
            Some("json") => true,
            Some(other) => return Err(BadQuery(format!("format={other}: use msgpack or json"))),
        };
        let rate = match query.rate.as_deref() {
            None => None,
            Some(rate) => Some(
                rate.parse()
                    .ok()
                    .filter(|rate| PCM16_RATES.contains(rate))
                    .ok_or_else(|| BadQuery(format!("rate={rate}: use 8000, 16000, 24000 or 48000")))?,
            ),
        };
        let pcm16 = match query.input.as_deref() {
            None | Some("msgpack") => None,
            Some("pcm16") => Some(rate.unwrap_or(24_000)),
            Some(other) => return Err(BadQuery(format!("input={other}: use msgpack or pcm16"))),
        };
        let extras = match query.extras.as_deref() {
            None => json,
            Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => return Err(BadQuery(format!("extras={other}: use 1 or 0"))),
        };
        Ok(Self { extras, json, pcm16 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_form_is_the_default_and_credentials_are_not_ours() {
        assert_eq!(Form::from_query(""), Ok(Form::default()));
        assert_eq!(Form::from_query("auth_id=a%20b&worker=1"), Ok(Form::default()));
    }

    #[test]
    fn json_implies_extras_unless_refused() {
        let form = Form::from_query("format=json").unwrap();
        assert!(form.json && form.extras);
        assert!(!Form::from_query("format=json&extras=0").unwrap().extras);
    }

    #[test]
    fn raw_pcm_has_a_rate() {
        assert_eq!(Form::from_query("input=pcm16").unwrap().pcm16, Some(24_000));
        assert_eq!(
            Form::from_query("input=pcm16&rate=8000").unwrap().pcm16,
            Some(8_000)
        );
    }

    #[test]
    fn unknown_values_are_refused_with_the_known_ones() {
        for query in [
            "format=xml",
            "input=mp3",
            "input=pcm16&rate=44100",
            "rate=x",
            "extras=maybe",
        ] {
            let message = Form::from_query(query).unwrap_err().to_string();
            assert!(message.contains("use "), "{query}: {message}");
        }
    }
}
