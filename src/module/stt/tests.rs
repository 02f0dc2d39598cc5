use super::*;
use crate::config::expand::Expander;
use crate::config::kind::{Kind, Kinds};
use crate::config::load;

/// The kind alone, so that its tables come as they are.
const KINDS: Kinds<SttModule> = Kinds {
    kinds: &[Kind { types: TYPES, read }],
    unsupported: &[],
};

fn module(text: &str, vars: &Expander) -> SttModule {
    let (config, _) = load::parse("test", text, vars, &KINDS, &[]).unwrap_or_else(|e| panic!("{e}"));
    config.modules["asr"].clone()
}

/// The module of Kyutai's `stt-1b-en_fr`.
pub(super) fn published() -> SttModule {
    module(bundled::EN_FR, &Expander::new(|_| Some(String::new())))
}

#[test]
fn the_demo_file_finds_its_models_folder() {
    let (_, text) = bundled::CONFIGS[0];
    let vars = Expander::new(|name| (name == bundled::MODELS_DIR).then(|| "/m".to_owned()));
    let file = module(text, &vars).lm_model_file;
    assert!(file.starts_with("/m/stt-demo/"), "{file}");
}

#[test]
fn a_published_table_becomes_the_model_it_describes() {
    let config = published().config().unwrap();
    assert_eq!((config.text_delay, config.temperature), (6, 0.0));
    assert_eq!(config.lm.transformer.d_model, 2048);
    let mut unknown = published();
    unknown.dtype_override = Some("int4".to_owned());
    assert!(unknown.config().is_err());
}
