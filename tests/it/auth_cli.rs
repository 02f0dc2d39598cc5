//! `moshi-server token` and `keys`, as an operator uses them.

use std::process::{Command, Output};

use serde_json::Value;

fn program(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moshi-server"));
    for name in ["BETTER_AUTH_SECRET", "BETTER_AUTH_SECRETS", "AUTH_SECRET"] {
        command.env_remove(name);
    }
    command.args(args).envs(env.iter().copied()).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn inspect_gives_every_vector_its_verdict() {
    let file: Value = serde_json::from_str(include_str!("../better-auth/vectors.json")).unwrap();
    for vector in file["vectors"].as_array().unwrap() {
        let secrets: Vec<&str> = vector["secrets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| file["secrets"][name.as_str().unwrap()].as_str().unwrap())
            .collect();
        let list: Vec<String> = secrets
            .iter()
            .enumerate()
            .map(|(i, s)| format!("{}:{s}", secrets.len() - i))
            .collect();
        let list = list.join(",");
        let env = match secrets.as_slice() {
            [one] => ("BETTER_AUTH_SECRET", *one),
            _ => ("BETTER_AUTH_SECRETS", list.as_str()),
        };
        let mut args: Vec<String> = ["token", "inspect", "--json", "--at"].map(str::to_owned).to_vec();
        args.push(vector["now"].to_string());
        args.extend(["--leeway".to_owned(), vector["leeway_s"].to_string()]);
        for (key, value) in vector["config"].as_object().unwrap() {
            args.push(format!("--{}", key.replace('_', "-")));
            match value {
                Value::Bool(true) => {}
                Value::String(text) => args.push(text.clone()),
                other => args.push(other.to_string()),
            }
        }
        let shown: Vec<(&str, &Value)> = match &vector["cookie_headers"] {
            Value::Array(fields) => fields.iter().map(|field| ("--cookie", field)).collect(),
            _ => vec![("--token", &vector["token"])],
        };
        for (option, value) in shown {
            args.extend([option.to_owned(), value.as_str().unwrap().to_owned()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = program(&args, &[env]);
        let (got, expect) = (json(&output), &vector["expect"]);
        for key in ["verdict", "reason", "user_id", "session_id"] {
            assert_eq!(got[key], expect[key], "{} of {}", key, vector["id"]);
        }
        assert_eq!(output.status.success(), expect["verdict"] == "accept");
        assert_eq!(got["advice"].is_string(), expect["verdict"] == "reject");
    }
}

#[test]
fn a_minted_token_passes_and_its_cookie_needs_a_listed_origin() {
    let env = [(
        "BETTER_AUTH_SECRET",
        "a-secret-of-the-tests-with-more-than-32-bytes",
    )];
    let minted = program(
        &["token", "mint", "--user", "me", "--audience", "moshi-server"],
        &env,
    );
    let token = String::from_utf8(minted.stdout).unwrap().trim().to_owned();
    let seen = json(&program(
        &[
            "token",
            "inspect",
            "--token",
            &token,
            "--audience",
            "moshi-server",
            "--json",
        ],
        &env,
    ));
    assert_eq!(
        (&seen["verdict"], &seen["user_id"]),
        (&Value::from("accept"), &Value::from("me"))
    );
    let cookie = format!("better-auth.session_data={token}");
    let base = [
        "token",
        "inspect",
        "--json",
        "--audience",
        "moshi-server",
        "--cookie",
        &cookie,
        "--allow-origin",
        "https://a.test",
    ];
    for (origin, reason) in [
        (Some("https://a.test"), None),
        (Some("https://b.test"), Some("origin_not_allowed")),
        (Some(""), Some("origin_not_allowed")),
        (None, Some("origin_not_allowed")),
    ] {
        let mut args = base.to_vec();
        args.extend(origin.iter().flat_map(|origin| ["--origin", *origin]));
        assert_eq!(
            json(&program(&args, &env))["reason"].as_str(),
            reason,
            "{origin:?}"
        );
    }
    let renamed = format!("shop.session_data={token}");
    let seen = json(&program(
        &["token", "inspect", "--json", "--cookie", &renamed],
        &env,
    ));
    assert!(
        seen["advice"].as_str().unwrap().contains("cookie_prefix"),
        "{seen}"
    );
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let file = path.to_str().unwrap();
    let made = program(
        &["keys", "create", "alice", "--file", file, "--expires-in", "30d"],
        &[],
    );
    let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert!(key.starts_with("msk_"));
    let listed = String::from_utf8(program(&["keys", "list", "--file", file], &[]).stdout).unwrap();
    assert!(listed.contains("alice") && !listed.contains(&key));
    assert!(
        !program(&["keys", "create", "alice", "--file", file], &[])
            .status
            .success()
    );
    assert!(
        program(&["keys", "revoke", "alice", "--file", file], &[])
            .status
            .success()
    );
    assert!(program(&["keys", "list", "--file", file], &[]).stdout.is_empty());
}

/// The user and group of nobody, whom the tests of ownership act for. They need root.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_key_file_changed_by_root_stays_the_servers() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let file = path.to_str().unwrap();
    assert!(
        program(&["keys", "create", "carol", "--file", file], &[])
            .status
            .success()
    );
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    assert!(
        program(&["keys", "revoke", "carol", "--file", file], &[])
            .status
            .success()
    );
    let meta = std::fs::metadata(&path).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o777),
        (NOBODY, NOBODY, 0o600)
    );
}

#[test]
fn a_key_file_of_another_user_is_not_taken_from_them() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    use std::os::unix::process::CommandExt as _;
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let file = path.to_str().unwrap();
    assert!(
        program(&["keys", "create", "carol", "--file", file], &[])
            .status
            .success()
    );
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let before = std::fs::read(&path).unwrap();
    // Nobody may put files into the folder, so that only the owner of the file is in the way.
    chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
        .args(["keys", "revoke", "carol", "--file", file])
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{message}");
    assert!(message.contains("belongs to user 0 and group 0"), "{message}");
    assert!(message.contains("as that user or as root"), "{message}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::metadata(&path).unwrap().uid(), 0);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left over"
    );
}
