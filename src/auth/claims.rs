//! The rules a signed token's claims must meet. Read by hand from JSON: with derived optional fields an e-mail
//! verification token, signed with the same secret, would pass for a session.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::reason::Reason;

/// Longest time from now to `exp`, 400 days: the longest cookie Better Auth writes. Refuses milliseconds too.
const MAX_AHEAD_S: f64 = 34_560_000.0;
/// Least clock skew allowed for `iat`, in seconds: no expiry depends on it.
const IAT_LEEWAY_S: i64 = 60;
/// Times from here on are milliseconds, smaller ones seconds.
const MILLISECONDS_FROM: f64 = 1e11;
const CACHE_AUDIENCE: &str = "better-auth:session-cache";

/// The operator's requirements of a token.
#[derive(Clone, Debug)]
pub(super) struct ClaimRules {
    /// Skew allowed for `exp`, `nbf` and `iat`, in seconds.
    pub leeway_s: i64,
    /// This server's name in tokens. A token that names an audience must name it.
    pub audience: Option<String>,
    /// The auth server's base URL. A key set's tokens must name it; others only if they name one.
    pub issuer: Option<String>,
    /// The auth server's `cookieCache.version`; another one voids the token.
    pub cache_version: Option<String>,
    pub require_verified_email: bool,
}

impl Default for ClaimRules {
    fn default() -> Self {
        Self {
            leeway_s: 15,
            audience: None,
            issuer: None,
            cache_version: None,
            require_verified_email: false,
        }
    }
}

/// Kind of a token, by its signature and header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Under the shared secret: the session cache or the documented flat claims.
    Secret,
    /// The session cache under the key set.
    SignedCache,
    /// A token of Better Auth's `jwt()` plugin.
    Plugin,
}

/// The user and session that the claims name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identity {
    pub user_id: String,
    /// Absent in tokens of the `jwt()` plugin.
    pub session_id: Option<String>,
    /// The opaque token of the session, which a bound `session_token` cookie must repeat.
    pub session_token: Option<String>,
    /// Expiry of the token, Unix seconds.
    pub exp: i64,
    /// End of the session, Unix seconds.
    pub session_ends: Option<i64>,
}

/// Applies every rule to `claims` at `now` (Unix seconds).
///
/// # Errors
/// The first rule that the claims break.
pub(super) fn check(claims: &Value, kind: Kind, rules: &ClaimRules, now: i64) -> Result<Identity, Reason> {
    let claims = claims.as_object().ok_or(Reason::Malformed)?;
    let exp = times(claims, rules.leeway_s, now)?;
    audience(claims, kind, rules)?;
    issuer(claims, kind, rules)?;
    let identity = if claims.contains_key("session") || claims.contains_key("user") {
        nested(claims, kind, rules, exp)?
    } else if kind == Kind::SignedCache {
        return Err(Reason::MissingClaims);
    } else {
        flat(claims, kind, rules, exp)?
    };
    if identity.session_ends.is_some_and(|end| end <= now) {
        return Err(Reason::SessionExpired);
    }
    Ok(identity)
}

fn times(claims: &Map<String, Value>, leeway_s: i64, now: i64) -> Result<i64, Reason> {
    let number = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Reason::MalformedClaims),
    };
    let at = now as f64;
    let exp = number("exp")?.ok_or(Reason::MissingClaims)?;
    if exp + leeway_s as f64 <= at {
        return Err(Reason::Expired);
    }
    if exp - at > MAX_AHEAD_S {
        return Err(Reason::MalformedClaims);
    }
    if number("nbf")?.is_some_and(|nbf| nbf > at + leeway_s as f64) {
        return Err(Reason::NotYetValid);
    }
    if number("iat")?.is_some_and(|iat| iat > at + leeway_s.max(IAT_LEEWAY_S) as f64) {
        return Err(Reason::IssuedInFuture);
    }
    Ok(exp as i64)
}

fn audience(claims: &Map<String, Value>, kind: Kind, rules: &ClaimRules) -> Result<(), Reason> {
    let ours = match kind {
        Kind::SignedCache => Some(CACHE_AUDIENCE),
        Kind::Secret => rules.audience.as_deref(),
        // The plugin writes the base URL as both issuer and audience unless told otherwise.
        Kind::Plugin => rules.audience.as_deref().or(rules.issuer.as_deref()),
    };
    let named = match claims.get("aud") {
        // Better Auth's HS256 cookies name no audience; a key set serves several, so its tokens must.
        None if kind == Kind::Secret => return Ok(()),
        None => return Err(Reason::WrongAudience),
        Some(Value::String(one)) => ours == Some(one.as_str()),
        Some(Value::Array(many)) => {
            if !many.iter().all(Value::is_string) {
                return Err(Reason::MalformedClaims);
            }
            ours.is_some_and(|ours| many.iter().any(|a| a.as_str() == Some(ours)))
        }
        Some(_) => return Err(Reason::MalformedClaims),
    };
    if named { Ok(()) } else { Err(Reason::WrongAudience) }
}

fn issuer(claims: &Map<String, Value>, kind: Kind, rules: &ClaimRules) -> Result<(), Reason> {
    let Some(expected) = &rules.issuer else {
        return Ok(());
    };
    match claims.get("iss") {
        None if kind == Kind::Secret => Ok(()),
        Some(Value::String(named)) if named == expected => Ok(()),
        _ => Err(Reason::WrongIssuer),
    }
}

/// Reads `{session: {id, userId, token, expiresAt, …}, user: {id, …}, version, …}`, as Better Auth issues it.
fn nested(claims: &Map<String, Value>, kind: Kind, rules: &ClaimRules, exp: i64) -> Result<Identity, Reason> {
    let part = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Err(Reason::MissingClaims),
        Some(value) => value.as_object().ok_or(Reason::MalformedClaims),
    };
    let (session, user) = (part("session")?, part("user")?);
    let session_id = id(session, "id")?;
    let user_id = id(session, "userId")?;
    if id(user, "id")? != user_id {
        return Err(Reason::MalformedClaims);
    }
    standing(user, rules)?;
    if rules
        .cache_version
        .as_deref()
        .is_some_and(|pin| claims.get("version").and_then(Value::as_str) != Some(pin))
    {
        return Err(Reason::WrongVersion);
    }
    let session_token = session.get("token").and_then(Value::as_str);
    if kind == Kind::SignedCache {
        let agrees = |name: &str, with: Option<&str>| {
            let claimed = claims.contains_key(name).then(|| id(claims, name));
            claimed.is_none_or(|claimed| claimed.is_ok_and(|claimed| Some(&*claimed) == with))
        };
        if !agrees("sub", Some(&user_id)) || !agrees("sid", session_token) {
            return Err(Reason::MalformedClaims);
        }
    }
    Ok(Identity {
        user_id,
        session_id: Some(session_id),
        session_token: session_token.map(str::to_owned),
        exp,
        session_ends: end(session)?,
    })
}

/// Reads `{id, userId, expiresAt, …}` as documented for a custom endpoint, or the plugin's `{sub, …}`.
fn flat(claims: &Map<String, Value>, kind: Kind, rules: &ClaimRules, exp: i64) -> Result<Identity, Reason> {
    standing(claims, rules)?;
    let (session_id, user_id) = match kind {
        Kind::Plugin => (None, id(claims, "sub")?),
        Kind::Secret | Kind::SignedCache => (Some(id(claims, "id")?), id(claims, "userId")?),
    };
    Ok(Identity {
        user_id,
        session_id,
        session_token: None,
        exp,
        session_ends: end(claims)?,
    })
}

// Any value but an explicit "no" is a ban: SQLite's booleans are numbers.
fn standing(user: &Map<String, Value>, rules: &ClaimRules) -> Result<(), Reason> {
    let banned = match user.get("banned") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(value) => value.as_f64() != Some(0.0),
    };
    if banned {
        return Err(Reason::UserBanned);
    }
    if rules.require_verified_email && user.get("emailVerified") != Some(&Value::Bool(true)) {
        return Err(Reason::EmailNotVerified);
    }
    Ok(())
}

fn id(object: &Map<String, Value>, name: &str) -> Result<String, Reason> {
    match object.get(name) {
        None | Some(Value::Null) => Err(Reason::MissingClaims),
        Some(Value::String(id)) if id.trim().is_empty() => Err(Reason::MissingClaims),
        Some(Value::String(id)) => Ok(id.clone()),
        // From a database that numbers its rows. Better Auth makes text of it too.
        Some(Value::Number(id)) if id.is_u64() || id.is_i64() => Ok(id.to_string()),
        Some(_) => Err(Reason::MalformedClaims),
    }
}

// Returns the session's end, rounded down to seconds: a number of seconds or milliseconds, or RFC 3339.
fn end(object: &Map<String, Value>) -> Result<Option<i64>, Reason> {
    match object.get("expiresAt") {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let number = number.as_f64().ok_or(Reason::MalformedClaims)?;
            let seconds = if number >= MILLISECONDS_FROM {
                number / 1000.0
            } else {
                number
            };
            Ok(Some(seconds.floor() as i64))
        }
        Some(Value::String(text)) => {
            let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| Reason::MalformedClaims)?;
            Ok(Some(moment.unix_timestamp()))
        }
        Some(_) => Err(Reason::MalformedClaims),
    }
}
