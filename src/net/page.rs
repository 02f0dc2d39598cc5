//! The files in `static_dir`: the web client's page. Its views have paths of their own, so a path without a file is the page
//! as well, unless it looks like a file or a route of the server.

use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::percent_decode_str;
use tower::ServiceExt as _;
use tower_http::services::{ServeDir, ServeFile};

use super::refusal::Refusal;

/// What the page may do. Scripts, styles and pictures are its own (React sets style attributes); it may be told in `config.json`
/// to speak with servers elsewhere, so connections are free; nobody may frame it.
const POLICY: &str = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; \
                      connect-src 'self' http: https: ws: wss:; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; \
                      form-action 'self'";

const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "microphone=(self), camera=(), geolocation=()",
    ),
];

/// The files of one folder.
#[derive(Clone)]
pub(super) struct Files {
    dir: PathBuf,
    files: ServeDir,
    page: ServeFile,
}

impl Files {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            files: ServeDir::new(dir),
            page: ServeFile::new(dir.join("index.html")),
        }
    }

    /// The file that `request` names, or the page.
    pub(super) async fn get(self, request: Request) -> Response {
        let path = request.uri().path();
        let served = match self.find(path).await {
            Found::File => self.files.oneshot(request).await,
            Found::Nothing if may_be_a_view(path) && self.find("/index.html").await == Found::File => {
                self.page.oneshot(request).await
            }
            Found::Nothing | Found::Hidden => return nothing_here(),
        };
        // Neither service fails: what cannot be read is a status.
        let mut response = served.unwrap_or_else(|never| match never {}).map(Body::new);
        for (name, value) in HEADERS {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// What is at `path`.
    async fn find(&self, path: &str) -> Found {
        let Ok(path) = percent_decode_str(path).decode_utf8() else {
            return Found::Hidden;
        };
        let mut file = self.dir.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if part.starts_with('.') || part.contains(['\\', '\0']) {
                return Found::Hidden;
            }
            file.push(part);
        }
        if tokio::fs::metadata(&file).await.is_ok_and(|meta| meta.is_dir()) {
            file.push("index.html");
        }
        let (file, dir) = (tokio::fs::canonicalize(&file), tokio::fs::canonicalize(&self.dir));
        match tokio::join!(file, dir) {
            (Ok(file), Ok(dir)) if file.starts_with(&dir) => Found::File,
            (Ok(_), _) => Found::Hidden,
            (Err(_), _) => Found::Nothing,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    File,
    Nothing,
    /// Nobody's to see: names that begin with a dot, and whatever a link leads to outside the folder.
    Hidden,
}

/// A view of the page has neither a suffix nor a path of the server.
fn may_be_a_view(path: &str) -> bool {
    let is_file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
    !is_file && !path.starts_with("/api/") && path != "/metrics"
}

fn nothing_here() -> Response {
    let message = "there is nothing here; /api/modules_info lists what is served";
    Refusal::new(StatusCode::NOT_FOUND, message).into_response()
}
