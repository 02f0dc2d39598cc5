use super::*;

fn vars() -> Expander {
    Expander::new(|name| match name {
        "HOME" => Some("/home/me".to_owned()),
        "MOSHI_MODELS_DIR" => Some("/m".to_owned()),
        _ => None,
    })
}

fn parse(text: &str) -> Result<(Config, Vec<Warning>), ConfigErrors> {
    Config::parse("test.toml", text, &vars(), &["/livez"])
}

/// `line key` of each mistake.
fn mistakes(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("the text holds mistakes");
    errors
        .mistakes
        .iter()
        .map(|m| format!("{} {}", m.line.unwrap_or(0), m.key))
        .collect()
}

const SCRIPTED: &str = "[modules.asr]\ntype = \"Scripted\"\npath = \"/api/asr-streaming\"\n";

#[test]
fn published_files_load_with_one_warning_about_the_published_key() {
    for name in ["config-stt-en_fr-hf.toml", "config-stt-en-hf.toml"] {
        let (_, text) = bundled::CONFIGS.iter().find(|(file, _)| *file == name).unwrap();
        let (config, warnings) = parse(text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.log_dir, Some(PathBuf::from("/home/me/tmp/tts-logs")));
        assert_eq!(config.instance_name, "tts");
        assert_eq!(config.authorized_ids, ["public_token"]);
        let keys: Vec<&str> = warnings.iter().map(|w| w.key.as_str()).collect();
        assert_eq!(keys, ["authorized_ids"], "{warnings:?}");
    }
}

#[test]
fn the_demo_file_finds_its_models_folder() {
    let (_, text) = bundled::CONFIGS
        .iter()
        .find(|(file, _)| *file == "config-stt-demo.toml")
        .unwrap();
    let (config, warnings) = parse(text).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.is_empty(), "{warnings:?}");
    let asr = config.modules["asr"].asr().unwrap();
    assert!(
        asr.lm_model_file.starts_with("/m/stt-demo/"),
        "{}",
        asr.lm_model_file
    );
}

#[test]
fn the_demo_file_has_the_shape_the_checkpoint_was_trained_with() {
    let Some(checkpoint) = bundled::checkpoint_dir() else {
        panic!("models/stt-demo is part of the repository");
    };
    let shape = |text: &str| {
        let table: toml::Table = toml::from_str(text).unwrap();
        let asr = &table["modules"]["asr"];
        let model = asr["model"].as_table().unwrap();
        let known = [
            "transformer",
            "extra_heads",
            "audio_codebooks",
            "audio_vocab_size",
            "text_in_vocab_size",
        ];
        let mut parts: Vec<String> = known.iter().map(|key| format!("{:?}", model.get(*key))).collect();
        parts.push(asr["asr_delay_in_tokens"].to_string());
        parts
    };
    let (_, ours) = bundled::CONFIGS[0];
    let trained = std::fs::read_to_string(checkpoint.join("config.toml")).unwrap();
    assert_eq!(shape(ours), shape(&trained));
}

#[test]
fn every_mistake_is_reported_with_its_line() {
    let text = bundled::EN_FR
        .replace("asr_delay_in_tokens = 6\n", "asr_delay_in_tokens = -1\n")
        .replace("d_model = 2048", "d_model = \"big\"")
        .replace("text_in_vocab_size = 8001\n", "\n")
        .replace("norm = \"RmsNorm\"", "norm = \"LayerNorm\"")
        .replace("num_heads = 4\n", "num_heads = true\n")
        + "[limits]\nqueue_len = \"x\"\nstall_s = -3\nping_s = 30\n";
    let line = |needle: &str| text.lines().position(|l| l.starts_with(needle)).unwrap() + 1;
    let expected = [
        (line("asr_delay_in_tokens"), "modules.asr.asr_delay_in_tokens"),
        (
            line("[modules.asr.model]"),
            "modules.asr.model.text_in_vocab_size",
        ),
        (line("d_model"), "modules.asr.model.transformer.d_model"),
        (line("norm = "), "modules.asr.model.transformer.norm"),
        (
            line("num_heads = true"),
            "modules.asr.model.extra_heads.num_heads",
        ),
        (line("queue_len"), "limits.queue_len"),
        (line("stall_s"), "limits.stall_s"),
        (line("[limits]"), "limits.peer_timeout_s"),
    ];
    let mut expected: Vec<String> = expected
        .iter()
        .map(|(line, key)| format!("{line} {key}"))
        .collect();
    let mut found = mistakes(&text);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn syntax_errors_come_together_with_their_lines() {
    let found = mistakes("a = \nb = 1\nc = ]\n");
    assert_eq!(found, ["1 ", "3 "]);
}

#[test]
fn unknown_keys_are_warnings_with_their_lines() {
    let text = format!("nonsense = 1\n{SCRIPTED}batchsize = 3\n[limits]\nqueue = 3\n[server]\nprot = 1\n");
    let (_, warnings) = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let found: Vec<String> = warnings
        .iter()
        .map(|w| format!("{} {}", w.line.unwrap_or(0), w.key))
        .collect();
    assert_eq!(
        found,
        [
            "1 nonsense",
            "5 modules.asr.batchsize",
            "7 limits.queue",
            "9 server.prot"
        ]
    );
}

#[test]
fn a_kind_from_elsewhere_says_so() {
    let errors = parse("[modules.tts_py]\ntype = \"Py\"\npath = \"/api/tts_streaming\"\n").unwrap_err();
    assert_eq!(errors.mistakes.len(), 1);
    assert_eq!(errors.mistakes[0].line, Some(2));
    assert!(
        errors.to_string().contains("`Py` are not supported yet"),
        "{errors}"
    );
}

#[test]
fn two_modules_cannot_share_a_path() {
    let text = format!("{SCRIPTED}[modules.two]\ntype = \"Scripted\"\npath = \"/api/asr-streaming\"\n");
    assert_eq!(mistakes(&text), ["6 modules.two.path"]);
}

#[test]
fn formats_are_known_by_name() {
    let with = |line: &str| {
        bundled::EN_FR.replacen("asr_delay_in_tokens", &format!("{line}\nasr_delay_in_tokens"), 1)
    };
    assert!(parse(&with("kv_cache_dtype = \"fp8\"\ndtype_override = \"bf16\"")).is_ok());
    let wrong = mistakes(&with("kv_cache_dtype = \"int4\"\ndtype_override = \"int4\""));
    let keys: Vec<&str> = wrong.iter().filter_map(|m| m.split(' ').nth(1)).collect();
    assert_eq!(keys, ["modules.asr.kv_cache_dtype", "modules.asr.dtype_override"]);
}

#[test]
fn a_file_without_modules_is_refused() {
    assert_eq!(mistakes("instance_name = \"x\"\n"), ["0 "]);
}

#[test]
fn an_unset_variable_is_a_warning_and_counts_as_empty() {
    let (config, warnings) = parse(&format!("log_dir = \"$NOPE/logs/$\"\n{SCRIPTED}")).unwrap();
    assert_eq!(config.log_dir, Some(PathBuf::from("/logs/$")));
    assert_eq!((warnings[0].line, warnings[0].key.as_str()), (Some(1), "log_dir"));
}

#[test]
fn limits_come_in_seconds() {
    let text = format!("{SCRIPTED}[limits]\naudio_ahead_s = 2\nidle_s = 0.5\nmax_session_s = 60\n");
    let (config, _) = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(config.limits.audio_ahead.as_millis(), 2000);
    assert_eq!(config.limits.idle.as_millis(), 500);
    assert_eq!(config.limits.max_session.map(|d| d.as_secs()), Some(60));
    assert_eq!(
        config.limits.frames_ahead(std::time::Duration::from_millis(80)),
        25
    );
    assert_eq!(config.limits.queue_len, Limits::default().queue_len);
}

#[test]
fn proxies_are_networks() {
    let text =
        format!("{SCRIPTED}[server]\ntrusted_proxies = [\"10.0.0.0/8\", \"::1\"]\nadmin_addr = \"\"\n");
    let (config, _) = parse(&text).unwrap_or_else(|e| panic!("{e}"));
    let trusts = |ip: &str| config.server.trusts(ip.parse().unwrap());
    assert!(trusts("10.1.2.3") && trusts("::ffff:10.1.2.3") && trusts("::1"));
    assert!(!trusts("11.0.0.1") && !trusts("::2") && !trusts("a00::"));
    assert_eq!(config.server.admin_addr, None);
    let bad = format!("{SCRIPTED}[server]\ntrusted_proxies = [\"10.0.0.0/33\"]\nadmin_addr = \"9464\"\n");
    assert_eq!(mistakes(&bad).len(), 2);
}

#[test]
fn an_empty_key_is_refused() {
    assert_eq!(
        mistakes(&format!("authorized_ids = [\"\"]\n{SCRIPTED}")),
        ["1 authorized_ids"]
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_loading_panic(text in "[a-z=\\[\\]\\. \n\"0-9$]{0,200}") {
        let _ = parse(&text);
        let _ = parse(&format!("{}\n{text}", bundled::EN_FR));
    }
}
