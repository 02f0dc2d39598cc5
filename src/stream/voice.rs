//! Whose voice speaks, and how.

use std::sync::Arc;

/// A voice as a speaking model is conditioned on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Voice {
    /// For people and for caches: the name of a file of the voices' folder. A client's own voice has none.
    pub name: Option<Box<str>>,
    /// `steps` vectors of `width` numbers, vector after vector.
    pub embedding: Box<[f32]>,
    pub steps: usize,
    pub width: usize,
}

/// What a client may ask of the sampling of its own row. What it leaves out is as the module is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampling {
    /// Temperature of audio tokens; 0 takes the likeliest.
    pub temperature: Option<f32>,
    /// Temperature of text tokens.
    pub text_temperature: Option<f32>,
    /// Number of likeliest audio tokens that are sampled from.
    pub top_k: Option<u32>,
    /// Number of likeliest text tokens that are sampled from.
    pub text_top_k: Option<u32>,
    /// Added to the logit of the padding token.
    pub padding_bonus: Option<f32>,
    /// Strength of classifier-free guidance.
    pub cfg: Option<f32>,
    /// Codebooks that are computed: fewer are faster and sound worse.
    pub codebooks: Option<u32>,
    /// Makes the row's sampling repeatable.
    pub seed: Option<u64>,
}

/// How a stream begins to speak.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Speaker {
    /// None is the model's own voice.
    pub voice: Option<Arc<Voice>>,
    pub sampling: Sampling,
}

/// What a request asks of the speaker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpeakerRequest {
    /// Name of a voice. None is the one that the module is configured with.
    pub voice: Option<String>,
    pub sampling: Sampling,
}

/// The voices of a module.
pub trait Voices: Send + Sync {
    /// Returns the voice called `name`, or the module's own where there is no name. May read a file.
    ///
    /// # Errors
    /// There is no such voice, or its file cannot be used: words for the client.
    fn find(&self, name: Option<&str>) -> Result<Option<Arc<Voice>>, UnknownVoice>;
}

/// A voice that cannot be had. The message says which there are.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownVoice(pub String);
