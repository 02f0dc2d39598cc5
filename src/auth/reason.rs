//! Why a credential was refused: one closed list, for logs, metrics and the operator, never for the client.

/// The check that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    NoCredentials,
    /// Not a JWT, a broken cookie, an unreadable key.
    Malformed,
    TooLarge,
    AlgNotAllowed,
    BadSignature,
    UnknownKey,
    Expired,
    NotYetValid,
    IssuedInFuture,
    SessionExpired,
    WrongAudience,
    WrongIssuer,
    WrongVersion,
    MissingClaims,
    MalformedClaims,
    UserBanned,
    EmailNotVerified,
    SessionTokenMismatch,
    OriginNotAllowed,
    SecretUnusable,
    WrongKey,
    KeysUnavailable,
    QuotaUsed,
    Throttled,
    MissingScope,
}

impl Reason {
    /// All reasons, in the order of their metric labels.
    pub const ALL: [Self; 25] = [
        Self::NoCredentials,
        Self::Malformed,
        Self::TooLarge,
        Self::AlgNotAllowed,
        Self::BadSignature,
        Self::UnknownKey,
        Self::Expired,
        Self::NotYetValid,
        Self::IssuedInFuture,
        Self::SessionExpired,
        Self::WrongAudience,
        Self::WrongIssuer,
        Self::WrongVersion,
        Self::MissingClaims,
        Self::MalformedClaims,
        Self::UserBanned,
        Self::EmailNotVerified,
        Self::SessionTokenMismatch,
        Self::OriginNotAllowed,
        Self::SecretUnusable,
        Self::WrongKey,
        Self::KeysUnavailable,
        Self::QuotaUsed,
        Self::Throttled,
        Self::MissingScope,
    ];

    /// Returns the name in metrics and in `token inspect`.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::AlgNotAllowed => "alg_not_allowed",
            Self::BadSignature => "bad_signature",
            Self::UnknownKey => "unknown_key",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::SessionExpired => "session_expired",
            Self::WrongAudience => "wrong_audience",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongVersion => "wrong_version",
            Self::MissingClaims => "missing_claims",
            Self::MalformedClaims => "malformed_claims",
            Self::UserBanned => "user_banned",
            Self::EmailNotVerified => "email_not_verified",
            Self::SessionTokenMismatch => "session_token_mismatch",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::SecretUnusable => "secret_unusable",
            Self::WrongKey => "wrong_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::QuotaUsed => "quota_used",
            Self::Throttled => "throttled",
            Self::MissingScope => "missing_scope",
        }
    }

    /// Returns what the operator can do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoCredentials => {
                "nothing to check was found. With only a session_token cookie the session cache is off or past its \
                 max-age: enable session.cookieCache with strategy \"jwt\" and call getSession with disableCookieCache \
                 before connecting"
            }
            Self::Malformed => {
                "this is not a signed JWT. session.token (32 characters, no dots) is opaque and cannot be checked \
                 here; a session_data cookie without dots is the `compact` strategy and one with five parts is `jwe`: \
                 set session.cookieCache.strategy to \"jwt\""
            }
            Self::TooLarge => {
                "the token or the number of cookie chunks is over the limit: keep large fields out of the session cache"
            }
            Self::AlgNotAllowed => {
                "the algorithm is not one this server is set up for: HS256 needs BETTER_AUTH_SECRET, EdDSA, ES256 and \
                 RS256 need a key set (jwks)"
            }
            Self::BadSignature => {
                "signed with another secret: BETTER_AUTH_SECRET must be byte for byte the auth server's (it is not \
                 trimmed), and BETTER_AUTH_SECRETS there overrides it"
            }
            Self::UnknownKey => {
                "no key of this id and algorithm in the key set: refresh the file, or check the jwks URL"
            }
            Self::Expired => {
                "expired: the session cache lives 300 s and is not renewed while valid; refresh it right before \
                 connecting, and check both clocks"
            }
            Self::NotYetValid => "its nbf lies ahead: check both clocks",
            Self::IssuedInFuture => "issued in the future: this machine's clock is behind the auth server's",
            Self::SessionExpired => "the session itself is over: sign in again",
            Self::WrongAudience => {
                "made for another service: set auth.better_auth.audience to the token's aud"
            }
            Self::WrongIssuer => "made by another auth server: set auth.better_auth.issuer to its base URL",
            Self::WrongVersion => {
                "cookieCache.version there and cookie_cache_version here differ: all older caches are void"
            }
            Self::MissingClaims => {
                "a session id, a user id and an expiry are required; an e-mail verification token has no session id \
                 and must never pass"
            }
            Self::MalformedClaims => {
                "a required claim has the wrong type, or the expiry lies more than 400 days ahead"
            }
            Self::UserBanned => "the user is banned at the auth server",
            Self::EmailNotVerified => "this server requires a verified e-mail address",
            Self::SessionTokenMismatch => {
                "the session_token cookie is missing, forged, or of another session"
            }
            Self::OriginNotAllowed => {
                "a cookie counts only from an allowed web origin: add it to server.allowed_origins"
            }
            Self::SecretUnusable => {
                "the configured secret is under 32 bytes, blank, or Better Auth's public default: set a random one on \
                 both sides"
            }
            Self::WrongKey => "no such API key: list them with `moshi-server keys list`",
            Self::KeysUnavailable => {
                "the keys to check with are not there: the key set could not be fetched yet (check the jwks URL), or the key file has been \
                 unusable for too long (see the log)"
            }
            Self::QuotaUsed => "this key's minutes for the day are used",
            Self::Throttled => "too many failed attempts from this address",
            Self::MissingScope => "the key lacks the scope for this route",
        }
    }
}
