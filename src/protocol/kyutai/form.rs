//! What a session speaks of Kyutai's protocol, as its query asked.

use crate::protocol::query::{self, BadQuery};
use crate::stream::input::PcmRate;

/// The options of a session. The default is the classic form: Kyutai's, byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Form {
    /// The client knows messages beyond Kyutai's.
    pub extras: bool,
    /// Server messages are JSON in text frames instead of MessagePack in binary ones.
    pub json: bool,
    /// Binary frames of the client are raw 16-bit PCM at this rate instead of MessagePack.
    pub pcm16: Option<PcmRate>,
}

impl Form {
    /// Reads the query string of a request. Keys of others (credentials) are ignored.
    ///
    /// # Errors
    /// A known key has a value that means nothing.
    pub fn from_query(query: &str) -> Result<Self, BadQuery> {
        let value = |name| query::value(query, name);
        let json = match value("format").as_deref() {
            None | Some("msgpack") => false,
            Some("json") => true,
            Some(other) => return Err(BadQuery(format!("format={other}: use msgpack or json"))),
        };
        let rate = value("rate").map(|rate| {
            let known = rate.parse().ok().and_then(PcmRate::new);
            known.ok_or_else(|| BadQuery(format!("rate={rate}: use {}", rates())))
        });
        let rate = rate.transpose()?;
        let pcm16 = match value("input").as_deref() {
            None | Some("msgpack") if rate.is_some() => {
                return Err(BadQuery(
                    "rate is the rate of raw PCM: use input=pcm16 beside it, or leave it out".to_owned(),
                ));
            }
            None | Some("msgpack") => None,
            Some("pcm16") => Some(rate.unwrap_or_default()),
            Some(other) => return Err(BadQuery(format!("input={other}: use msgpack or pcm16"))),
        };
        let extras = match value("extras").as_deref() {
            None => json,
            Some("0" | "false") => false,
            Some("1" | "true") => true,
            Some(other) => return Err(BadQuery(format!("extras={other}: use 1 or 0"))),
        };
        Ok(Self { extras, json, pcm16 })
    }
}

/// The rates there are, for people.
fn rates() -> String {
    let [rates @ .., last] = PcmRate::ALL.map(|rate| rate.hz().to_string());
    format!("{} or {last}", rates.join(", "))
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
        assert_eq!(
            Form::from_query("input=pcm16").unwrap().pcm16,
            PcmRate::new(24_000)
        );
        assert_eq!(
            Form::from_query("input=pcm16&rate=8000").unwrap().pcm16,
            PcmRate::new(8_000)
        );
    }

    #[test]
    fn unknown_values_are_refused_with_the_known_ones() {
        for query in [
            "format=xml",
            "input=mp3",
            "input=pcm16&rate=44056",
            "rate=16000",
            "rate=x",
            "extras=maybe",
        ] {
            let message = Form::from_query(query).unwrap_err().to_string();
            assert!(message.contains("use "), "{query}: {message}");
        }
    }
}
