//! What the server shows, and to whom: files of the page, names of models, and listeners that ask for no credentials.

use std::os::unix::fs::symlink;

use crate::common::{PATH, Server};

async fn serving(dir: &std::path::Path) -> Server {
    let head = format!("static_dir = \"{}\"", dir.display());
    Server::configured(&head, "batch_size = 1", "").await
}

#[tokio::test]
async fn hidden_files_and_links_out_of_the_folder_are_nobodys() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("index.html", "the page");
    write("assets/app.js", "the script");
    write(".env", "SECRET=1");
    write(".git/config", "SECRET=2");
    write("assets/.hidden/app.js", "SECRET=3");
    let secret = outside.path().join("secret.txt");
    std::fs::write(&secret, "SECRET=4").unwrap();
    std::fs::write(outside.path().join("index.html"), "SECRET=5").unwrap();
    symlink(&secret, dir.path().join("link.txt")).unwrap();
    symlink(outside.path(), dir.path().join("folder")).unwrap();
    symlink(dir.path().join("assets/app.js"), dir.path().join("inside.js")).unwrap();
    let server = serving(dir.path()).await;
    for (path, text) in [
        ("/", "the page"),
        ("/some/view", "the page"),
        ("/assets/app.js", "the script"),
        ("/inside.js", "the script"),
    ] {
        let (status, answer) = server.request("GET", path, b"").await;
        assert!(status == 200 && answer.ends_with(text), "{path}: {answer}");
    }
    for path in [
        "/.env",
        "/%2eenv",
        "/%2Egit/config",
        "/.git/config",
        "/.git",
        "/.nothing",
        "/assets/.hidden/app.js",
        "/assets%2f.hidden%2fapp.js",
        "/assets/../.env",
        "/link.txt",
        "/folder/secret.txt",
        "/folder/",
        "/folder",
    ] {
        let (status, answer) = server.request("GET", path, b"").await;
        assert!(status == 404 && !answer.contains("SECRET"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_page_that_is_a_link_out_of_the_folder_is_none() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = outside.path().join("secret.html");
    std::fs::write(&secret, "SECRET").unwrap();
    symlink(&secret, dir.path().join("index.html")).unwrap();
    let server = serving(dir.path()).await;
    for path in ["/", "/index.html", "/some/view"] {
        let (status, answer) = server.request("GET", path, b"").await;
        assert!(status == 404 && !answer.contains("SECRET"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_page_comes_with_what_it_may_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("index.html"), "the page").unwrap();
    let server = serving(dir.path()).await;
    for path in ["/", "/index.html", "/some/view"] {
        let (_, answer) = server.request("GET", path, b"").await;
        for header in [
            "content-security-policy: default-src 'self';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "permissions-policy: microphone=(self)",
        ] {
            assert!(answer.contains(header), "{path}: no {header} in {answer}");
        }
    }
}

#[tokio::test]
async fn clients_see_the_names_of_models_and_not_where_they_lie() {
    let server = Server::start("batch_size = 1", "").await;
    let (_, answer) = server.request("GET", "/api/modules_info", b"").await;
    assert!(answer.contains("\"lm\":\"lm.safetensors\""), "{answer}");
    assert!(!answer.contains("/models"), "{answer}");
}

#[tokio::test]
async fn a_page_whose_name_was_pointed_here_is_not_served() {
    let listed = "allowed_origins = [\"https://captions.example\"]\n---";
    let server = Server::start("batch_size = 1", listed).await;
    for (host, allowed) in [
        ("localhost", true),
        ("captions.example", true),
        ("evil.test", false),
        ("evil.test:8080", false),
    ] {
        for path in ["/api/modules_info", "/livez", PATH] {
            let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let answer = server.raw(&head).await;
            let foreign = answer.starts_with("HTTP/1.1 421");
            assert_eq!(foreign, !allowed, "{host}{path}: {answer}");
        }
    }
}
