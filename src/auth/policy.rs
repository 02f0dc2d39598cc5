//! What it takes to use a route.

/// The stated policy of a route; every route has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anyone.
    Public,
    /// A client that `Guard::check` lets in.
    Authenticated,
    /// The operator: only on the separate listener, or a principal with the `admin` scope.
    Admin,
}

impl Access {
    /// The policy of a path of the main listener. A path that is nobody's gets `None`: state one here first.
    ///
    /// `modules` are the paths of the configured modules; the web client's files are public and are not routes.
    pub fn of(path: &str, modules: &[&str]) -> Option<Self> {
        match path {
            "/livez" | "/readyz" | "/api/build_info" => Some(Self::Public),
            // Its whole job is to answer 200 or 401.
            "/api/auth-check" | "/api/ws-ticket" | "/api/modules_info" => Some(Self::Authenticated),
            // There only where `public_metrics` asks for it; the admin listener has its own.
            "/metrics" => Some(Self::Public),
            path if modules.contains(&path) => Some(Self::Authenticated),
            _ => None,
        }
    }

    /// The policy of a path of the operator's listener, which is bound to loopback unless told otherwise. What is
    /// [`Access::Admin`] there must not be reachable on the main listener, `/metrics` excepted where `public_metrics` asks.
    pub fn of_operator(path: &str) -> Option<Self> {
        match path {
            "/livez" | "/readyz" => Some(Self::Public),
            "/sessions" | "/metrics" => Some(Self::Admin),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_need_a_client_and_unknown_paths_have_no_policy() {
        let modules = ["/api/asr-streaming"];
        assert_eq!(
            Access::of("/api/asr-streaming", &modules),
            Some(Access::Authenticated)
        );
        assert_eq!(Access::of("/api/tts_streaming", &modules), None);
        assert_eq!(Access::of("/livez", &modules), Some(Access::Public));
    }
}
