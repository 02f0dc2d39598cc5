//! The commands, whatever folder they are started in and whoever reads their output.

use std::process::{Command, Stdio};

#[test]
fn a_configuration_means_the_same_from_every_folder() {
    let checkout = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (configs, models) = (
        checkout.path().join("configs"),
        checkout.path().join("models/stt-demo"),
    );
    std::fs::create_dir_all(configs.join("page")).unwrap();
    std::fs::create_dir_all(configs.join("files")).unwrap();
    std::fs::create_dir_all(&models).unwrap();
    std::fs::write(configs.join("page/index.html"), "the page").unwrap();
    for name in ["model.safetensors", "mimi.safetensors"] {
        std::fs::write(models.join(name), "x").unwrap();
    }
    std::fs::write(configs.join("files/tokenizer.model"), "x").unwrap();
    let published = std::fs::read_to_string("configs/config-stt-demo.toml").unwrap();
    let config = published.replace(
        "$MOSHI_MODELS_DIR/stt-demo/tokenizer.model",
        "files/tokenizer.model",
    );
    assert_ne!(config, published);
    let file = configs.join("config.toml");
    std::fs::write(&file, format!("static_dir = \"page\"\n{config}")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
        .arg("validate")
        .arg(&file)
        .current_dir(elsewhere.path())
        .env_remove("MOSHI_MODELS_DIR")
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}");
    for found in [
        models.join("model.safetensors"),
        models.join("mimi.safetensors"),
        configs.join("files/tokenizer.model"),
    ] {
        assert!(
            report.contains(&*found.to_string_lossy()),
            "{found:?} in {report}"
        );
    }
    assert!(
        report.contains("configs/page") && !report.contains("no page"),
        "{report}"
    );
}

#[test]
fn nobody_who_reads_the_output_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys.toml");
    let keys = keys.to_str().unwrap();
    let inspect = ["token", "inspect", "--token", "nonsense"];
    for (args, code) in [
        (&["configs"][..], 0),
        (&["validate", "configs/config-stt-demo.toml"], 0),
        (&["keys", "--file", keys, "create", "alice"], 0),
        (&["keys", "--file", keys, "list"], 0),
        (&["keys", "--file", keys, "revoke", "alice"], 0),
        (&["keys", "--file", keys, "revoke", "alice"], 1),
        (&["token", "mint"], 0),
        (&inspect, 1),
        (&[&inspect[..], &["--json"]].concat(), 1),
    ] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
            .args(args)
            .env(
                "BETTER_AUTH_SECRET",
                "a-secret-of-the-tests-with-more-than-32-bytes",
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop((program.stdout.take(), program.stderr.take()));
        assert_eq!(program.wait().unwrap().code(), Some(code), "{args:?}");
    }
}
