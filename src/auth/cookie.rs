//! Finds Better Auth's cookies in `Cookie` header fields. Works on bytes: another cookie that is not UTF-8 must not hide them.

use super::reason::Reason;

/// Most chunks of one cookie; Better Auth has the same limit.
const MAX_CHUNKS: usize = 100;
/// Most values of one cookie that are tried: each costs a check of a signature.
const MAX_CANDIDATES: usize = 4;
const SECURE: &str = "__Secure-";

/// Names of the auth server's cookies.
#[derive(Clone, Debug)]
pub struct CookieNames {
    /// Name of the session cache without `__Secure-`.
    pub session_data: String,
    /// Name of the signed session token without `__Secure-`.
    pub session_token: String,
    /// Ignore cookies without `__Secure-`, which any plain-http sibling host can plant.
    pub require_secure: bool,
}

impl CookieNames {
    /// Returns the names for `prefix` (`better-auth` by default), or with the session cache renamed.
    pub fn new(prefix: &str, session_data: Option<&str>, require_secure: bool) -> Self {
        Self {
            session_data: session_data.map_or_else(|| format!("{prefix}.session_data"), str::to_owned),
            session_token: format!("{prefix}.session_token"),
            require_secure,
        }
    }
}

/// The two cookies that matter, percent-decoded, in the order in which they are tried. A browser sends several of one name when the
/// auth server's domain or scheme has changed, and only one of them is of the present session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SessionCookies {
    /// Session caches, or why one cannot be read.
    pub data: Vec<Result<String, Reason>>,
    pub tokens: Vec<String>,
}

/// Reads the session's cookies from all `Cookie` fields of a request. `limit` bounds each value in bytes.
pub fn session_cookies<'a>(
    fields: impl Iterator<Item = &'a [u8]>,
    names: &CookieNames,
    limit: usize,
) -> SessionCookies {
    let jar: Vec<(&[u8], &[u8])> = fields
        .flat_map(|field| field.split(|b| *b == b';'))
        .filter_map(pair)
        .collect();
    let find = |base: &str| -> Vec<Result<String, Reason>> {
        let prefixes: &[&str] = if names.require_secure {
            &[SECURE]
        } else {
            &[SECURE, ""]
        };
        let mut found = Vec::new();
        for prefix in prefixes {
            let name = format!("{prefix}{base}");
            found.extend(whole(&jar, name.as_bytes()).map(|value| text(value, limit)));
            found.extend(chunked(&jar, &name, limit).transpose());
        }
        found.truncate(MAX_CANDIDATES);
        found
    };
    SessionCookies {
        data: find(&names.session_data),
        tokens: find(&names.session_token)
            .into_iter()
            .filter_map(Result::ok)
            .collect(),
    }
}

fn pair(cookie: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = cookie.iter().position(|b| *b == b'=')?;
    let (name, value) = (cookie[..at].trim_ascii(), cookie[at + 1..].trim_ascii());
    let value = value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
        .unwrap_or(value);
    Some((name, value))
}

// An empty value is a cleared cookie.
fn whole<'a>(jar: &'a [(&[u8], &'a [u8])], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    jar.iter()
        .filter(move |(n, value)| *n == name && !value.is_empty())
        .map(|(_, value)| *value)
}

fn chunked(jar: &[(&[u8], &[u8])], name: &str, limit: usize) -> Result<Option<String>, Reason> {
    let mut chunks: Vec<(usize, &[u8])> = Vec::new();
    for (n, value) in jar {
        let Some(index) = n
            .strip_prefix(name.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"."))
            .and_then(index)
        else {
            continue;
        };
        if value.is_empty() || chunks.iter().any(|(i, _)| *i == index) {
            continue;
        }
        if index >= MAX_CHUNKS {
            return Err(Reason::TooLarge);
        }
        chunks.push((index, value));
    }
    if chunks.is_empty() {
        return Ok(None);
    }
    chunks.sort_unstable_by_key(|(i, _)| *i);
    if chunks.iter().enumerate().any(|(i, (index, _))| i != *index) {
        return Err(Reason::Malformed);
    }
    if chunks.iter().map(|(_, value)| value.len()).sum::<usize>() > limit {
        return Err(Reason::TooLarge);
    }
    let mut value = String::new();
    for (_, chunk) in chunks {
        value.push_str(&text(chunk, limit)?);
    }
    Ok(Some(value))
}

// Canonical decimal: `0` or digits without a leading zero.
fn index(digits: &[u8]) -> Option<usize> {
    let canonical = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && digits.iter().all(u8::is_ascii_digit);
    if canonical {
        std::str::from_utf8(digits)
            .ok()?
            .parse()
            .ok()
            .or(Some(usize::MAX))
    } else {
        None
    }
}

fn text(value: &[u8], limit: usize) -> Result<String, Reason> {
    if value.len() > limit {
        return Err(Reason::TooLarge);
    }
    String::from_utf8(percent_decoded(value)).map_err(|_| Reason::Malformed)
}

/// Decodes `%XX`; a `%` that starts no escape stands for itself.
pub(super) fn percent_decoded(value: &[u8]) -> Vec<u8> {
    // Tokens are long and hold no escape.
    if !value.contains(&b'%') {
        return value.to_vec();
    }
    let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [a, b, after @ ..]) if hex(*a).is_some() && hex(*b).is_some() => {
                out.push(hex(*a).unwrap_or(0) << 4 | hex(*b).unwrap_or(0));
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(fields: &[&[u8]]) -> SessionCookies {
        session_cookies(
            fields.iter().copied(),
            &CookieNames::new("better-auth", None, false),
            65_536,
        )
    }

    fn data(fields: &[&[u8]]) -> Option<String> {
        let first = read(fields).data.into_iter().next();
        first.map(Result::unwrap)
    }

    #[test]
    fn trap_separators_spaces_and_quotes() {
        assert_eq!(
            data(&[b"a=1;better-auth.session_data=\"x.y.z\" ;b=2"]).as_deref(),
            Some("x.y.z")
        );
        assert_eq!(
            data(&[b"Better-Auth.session_data=x"]),
            None,
            "names are case-sensitive"
        );
    }

    #[test]
    fn trap_a_non_utf8_neighbour_does_not_lose_ours() {
        assert_eq!(
            data(&[b"bad=\xff\xfe; better-auth.session_data=ok"]).as_deref(),
            Some("ok")
        );
    }

    #[test]
    fn trap_chunk_indexes_are_canonical_and_numeric() {
        let chunks: Vec<u8> = (0..12)
            .rev()
            .flat_map(|i| format!("better-auth.session_data.{i}={i}_; ").into_bytes())
            .collect();
        assert_eq!(data(&[&chunks]).as_deref(), Some("0_1_2_3_4_5_6_7_8_9_10_11_"));
        assert_eq!(
            data(&[b"better-auth.session_data.00=x; better-auth.session_data.+1=y"]),
            None
        );
    }

    #[test]
    fn trap_chunks_must_be_contiguous_and_at_most_a_hundred() {
        assert_eq!(
            read(&[b"better-auth.session_data.0=a; better-auth.session_data.2=b"]).data,
            [Err(Reason::Malformed)]
        );
        let chunks = |count: usize| -> Vec<u8> {
            (0..count)
                .flat_map(|i| format!("better-auth.session_data.{i}=x; ").into_bytes())
                .collect()
        };
        assert_eq!(read(&[&chunks(100)]).data, [Ok("x".repeat(100))]);
        assert_eq!(read(&[&chunks(101)]).data, [Err(Reason::TooLarge)]);
        assert_eq!(
            read(&[b"better-auth.session_data.99999999999999999999999=a"]).data,
            [Err(Reason::TooLarge)]
        );
    }

    #[test]
    fn trap_the_secure_name_wins_even_in_chunks() {
        let both = b"better-auth.session_data=plain; __Secure-better-auth.session_data.0=sec; __Secure-better-auth.session_data.1=ure";
        assert_eq!(data(&[both]).as_deref(), Some("secure"));
        let strict = CookieNames::new("better-auth", None, true);
        let fields: [&[u8]; 1] = [b"better-auth.session_data=plain"];
        assert_eq!(
            session_cookies(fields.into_iter(), &strict, 100),
            SessionCookies::default()
        );
    }

    #[test]
    fn cookies_of_one_name_are_all_read_up_to_a_bound() {
        let fields = b"__Secure-better-auth.session_data=a; better-auth.session_data=b; __Secure-better-auth.session_data=c";
        let read_all = |fields: &[u8]| {
            read(&[fields])
                .data
                .into_iter()
                .map(Result::unwrap)
                .collect::<Vec<_>>()
        };
        assert_eq!(read_all(fields), ["a", "c", "b"]);
        let beside =
            b"better-auth.session_data=stale; better-auth.session_data.0=ne; better-auth.session_data.1=w";
        assert_eq!(read_all(beside), ["stale", "new"]);
        let many: Vec<u8> = b"better-auth.session_data=x; ".repeat(50);
        assert_eq!(read_all(&many).len(), MAX_CANDIDATES);
    }

    #[test]
    fn trap_size_before_work() {
        let big = [b"better-auth.session_data=".as_slice(), &vec![b'a'; 70_000]].concat();
        assert_eq!(read(&[&big]).data, [Err(Reason::TooLarge)]);
    }

    #[test]
    fn trap_bad_escapes_stand_for_themselves() {
        assert_eq!(percent_decoded(b"a%2Eb%zz%4z%z4%4"), b"a.b%zz%4z%z4%4");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(fields in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4)) {
            let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
            let _ = read(&fields);
        }

        #[test]
        fn a_value_is_found_whatever_stands_around_it(before in "[a-z=]{0,20}", after in "[a-z=; ]{0,20}") {
            let field = format!("{before}; better-auth.session_data=found; {after}");
            prop_assert_eq!(data(&[field.as_bytes()]), Some("found".to_owned()));
        }
    }
}
