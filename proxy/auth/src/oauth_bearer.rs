//! OAUTHBEARER in the server role (RFC 7628), as PostgreSQL 18 speaks it (`src/backend/libpq/auth-oauth.c`).
//!
//! ```text
//! client-first ──▶ Bearer ──▶ AuthenticationOk, if the token is good
//!              └─▶ Discovery or a refused token ──▶ challenge with where to get one ──▶ 0x01 ──▶ the end
//! ```
//!
//! What a token is worth is decided elsewhere ([`crate::jwt`]); here it is only found. No error repeats a part of it.

use std::fmt;

use zeroize::Zeroizing;

/// The name of the mechanism.
pub const MECHANISM: &str = "OAUTHBEARER";

/// What stands between keys and values, and is all that a client says to a challenge.
const SEPARATOR: char = '\x01';

/// The scheme in front of a token, whatever its case.
const SCHEME: &str = "bearer ";

/// What a client begins with.
#[derive(PartialEq, Eq)]
pub enum ClientFirst {
    /// A token.
    Bearer(Zeroizing<String>),
    /// No token: it wants to know where to get one.
    Discovery,
    /// Something in place of a token that is none, and why; to be answered like a token that is no good.
    NoToken(&'static str),
}

/// What is wrong with a message, in blame of the client; the texts fit an error DETAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OAuthBearerError {
    /// It does not follow the grammar of RFC 7628 section 3.1.
    #[error("{0}")]
    Malformed(&'static str),
    /// The client wants to act as somebody else (`a=`), which PostgreSQL does not support either.
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
}

impl ClientFirst {
    /// Reads a client's first message: `n,,`, a separator, pairs of `key=value` that each end with one, and a last one.
    ///
    /// # Errors
    /// [`OAuthBearerError`], as PostgreSQL refuses it.
    pub fn parse(data: &[u8]) -> Result<ClientFirst, OAuthBearerError> {
        if data.is_empty() {
            return Err(malformed("The message is empty."));
        }
        if data.contains(&0) {
            return Err(malformed("The message contains a zero byte."));
        }
        // What is allowed in it is ASCII.
        let text =
            std::str::from_utf8(data).map_err(|_| malformed("The message contains an invalid value."))?;
        let pairs = behind_header(text)?;
        let credentials = credentials(pairs)?;
        Ok(match credentials {
            "" => ClientFirst::Discovery,
            credentials => token(credentials).map_or_else(ClientFirst::NoToken, |token| {
                ClientFirst::Bearer(Zeroizing::new(token.to_owned()))
            }),
        })
    }
}

impl fmt::Debug for ClientFirst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientFirst::Bearer(_) => "Bearer(..)",
            ClientFirst::Discovery => "Discovery",
            ClientFirst::NoToken(_) => "NoToken(..)",
        })
    }
}

/// Reads what a client answers to a challenge: nothing but a separator, so that the exchange comes to its end.
///
/// # Errors
/// [`OAuthBearerError`] when it is something else.
pub fn read_acknowledgement(data: &[u8]) -> Result<(), OAuthBearerError> {
    match data {
        [1] => Ok(()),
        _ => Err(malformed("The client did not send a key-value separator alone.")),
    }
}

/// The challenge that tells a client where to get a token: the issuer's discovery document, and the scope to ask for
/// (RFC 7628 section 3.2.2). libpq takes what is in front of `/.well-known/` for the issuer, and compares it to the last byte.
#[must_use]
pub fn challenge(issuer: &str, scope: &str) -> Vec<u8> {
    const WELL_KNOWN: &str = "/.well-known/";
    let document = match issuer.contains(WELL_KNOWN) {
        true => issuer.to_owned(),
        false => format!("{issuer}{WELL_KNOWN}openid-configuration"),
    };
    let answer = serde_json::json!({
        "status": "invalid_token",
        "openid-configuration": document,
        "scope": scope,
    });
    answer.to_string().into_bytes()
}

fn malformed(detail: &'static str) -> OAuthBearerError {
    OAuthBearerError::Malformed(detail)
}

/// The GS2 header says that nothing is bound, and names nobody else.
fn behind_header(text: &str) -> Result<&str, OAuthBearerError> {
    if text.starts_with('p') {
        return Err(malformed(
            "There is no channel binding for OAUTHBEARER, but the message includes channel binding data.",
        ));
    }
    let rest = text.strip_prefix(['n', 'y']).ok_or(malformed("The channel binding flag is unknown."))?;
    let rest =
        rest.strip_prefix(',').ok_or(malformed("A comma is expected behind the channel binding flag."))?;
    if rest.starts_with('a') {
        return Err(OAuthBearerError::AuthorizationIdentity);
    }
    let rest = rest.strip_prefix(',').ok_or(malformed("The header contains an unexpected attribute."))?;
    rest.strip_prefix(SEPARATOR).ok_or(malformed("A key-value separator is expected behind the header."))
}

/// The value of `auth`; pairs with other keys say nothing.
fn credentials(pairs: &str) -> Result<&str, OAuthBearerError> {
    let (mut rest, mut found) = (pairs, None);
    loop {
        let (pair, behind) = rest.split_once(SEPARATOR).ok_or(malformed(match rest {
            "" => "The message does not end with a separator.",
            _ => "The message contains an unterminated pair.",
        }))?;
        if pair.is_empty() {
            return match (behind, found) {
                ("", Some(found)) => Ok(found),
                ("", None) => Err(malformed("The message does not contain an auth value.")),
                _ => Err(malformed("The message goes on behind its end.")),
            };
        }
        let (key, value) =
            pair.split_once('=').ok_or(malformed("The message contains a key without a value."))?;
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(malformed("The message contains an invalid key name."));
        }
        if !value.bytes().all(|byte| matches!(byte, 0x21..=0x7e | b' ' | b'\t' | b'\r' | b'\n')) {
            return Err(malformed("The message contains an invalid value."));
        }
        if key == "auth" && found.replace(value).is_some() {
            return Err(malformed("The message contains more than one auth value."));
        }
        rest = behind;
    }
}

/// The token of `Bearer <token>` (RFC 6750 section 2.1).
fn token(credentials: &str) -> Result<&str, &'static str> {
    let (scheme, token) = credentials.split_at_checked(SCHEME.len()).ok_or("it is no bearer token")?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err("it is no bearer token");
    }
    let token = token.trim_start_matches(' ');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    match token.trim_end_matches('=') {
        "" => Err("it is empty"),
        plain if !plain.bytes().all(is_plain) => Err("it contains characters that no bearer token has"),
        _ => Ok(token),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn first(message: &str) -> Result<ClientFirst, OAuthBearerError> {
        ClientFirst::parse(message.as_bytes())
    }

    fn detail(message: &[u8]) -> String {
        ClientFirst::parse(message).unwrap_err().to_string()
    }

    fn bearer(token: &str) -> Result<ClientFirst, OAuthBearerError> {
        Ok(ClientFirst::Bearer(Zeroizing::new(token.to_owned())))
    }

    #[test]
    fn a_token_is_found_behind_its_scheme() {
        assert_eq!(first("n,,\x01auth=Bearer abc.DEF-1_2~3+4/5==\x01\x01"), bearer("abc.DEF-1_2~3+4/5=="));
        assert_eq!(first("y,,\x01auth=bEARER   abc\x01\x01"), bearer("abc"));
        let others = "n,,\x01host=db\x01port=5432\x01auth=Bearer abc\x01more=\t \r\n\x01\x01";
        assert_eq!(first(others), bearer("abc"));
    }

    #[test]
    fn an_empty_value_asks_where_to_get_a_token() {
        assert_eq!(first("n,,\x01auth=\x01\x01"), Ok(ClientFirst::Discovery));
    }

    #[test]
    fn what_is_no_bearer_token_is_no_token() {
        for credentials in
            ["Basic abc", "Bearer", "Bearer ", "Bearer   ", "Bearer ==", "Bearer a b", "Bearer a=b", "B"]
        {
            let found = first(&format!("n,,\x01auth={credentials}\x01\x01")).unwrap();
            assert!(matches!(found, ClientFirst::NoToken(_)), "{credentials}");
        }
    }

    #[test]
    fn malformed_messages_are_refused_and_no_part_of_a_token_is_repeated() {
        for (message, what) in [
            (&b""[..], "empty"),
            (b"n,,\x01auth=Bearer hunter2\x01\x01\0", "zero byte"),
            (b"n,,\x01auth=Bearer hunter2\xff\x01\x01", "invalid value"),
            ("n,,\x01auth=Bearer hunter2é\x01\x01".as_bytes(), "invalid value"),
            (b"n,,\x01auth=Bearer hunter2\x7f\x01\x01", "invalid value"),
            (b"p=tls-server-end-point,,\x01auth=Bearer hunter2\x01\x01", "no channel binding"),
            (b"x,,\x01auth=Bearer hunter2\x01\x01", "flag is unknown"),
            (b"n", "comma"),
            (b"n;", "comma"),
            (b"n,b=hunter2,\x01", "unexpected attribute"),
            (b"n,a=hunter2,\x01", "authorization identity"),
            (b"n,,", "separator is expected"),
            (b"n,,auth=Bearer hunter2\x01\x01", "separator is expected"),
            (b"n,,\x01", "does not end"),
            (b"n,,\x01auth=Bearer hunter2", "unterminated"),
            (b"n,,\x01auth=Bearer hunter2\x01", "does not end"),
            (b"n,,\x01\x01", "does not contain an auth value"),
            (b"n,,\x01host=hunter2\x01\x01", "does not contain an auth value"),
            (b"n,,\x01Auth=Bearer hunter2\x01\x01", "does not contain an auth value"),
            (b"n,,\x01auth\x01\x01", "without a value"),
            (b"n,,\x01=hunter2\x01\x01", "invalid key"),
            (b"n,,\x01au th=hunter2\x01\x01", "invalid key"),
            (b"n,,\x01auth=Bearer hunter2\x01auth=\x01\x01", "more than one"),
            (b"n,,\x01auth=Bearer hunter2\x01\x01\x01", "goes on"),
            (b"n,,\x01auth=Bearer hunter2\x01\x01hunter2", "goes on"),
        ] {
            let detail = detail(message);
            assert!(detail.contains(what) && !detail.contains("hunter2"), "{message:?}: {detail}");
        }
        assert_eq!(format!("{:?}", first("n,,\x01auth=Bearer hunter2\x01\x01")), "Ok(Bearer(..))");
    }

    #[test]
    fn a_challenge_is_acknowledged_by_a_separator_alone() {
        assert_eq!(read_acknowledgement(b"\x01"), Ok(()));
        for other in [&b""[..], b"\x01\x01", b"\0", b"n,,\x01auth=Bearer hunter2\x01\x01"] {
            assert!(read_acknowledgement(other).is_err());
        }
    }

    #[test]
    fn the_challenge_names_the_discovery_document_and_the_scope() {
        let told = |issuer: &str| {
            let json: serde_json::Value =
                serde_json::from_slice(&challenge(issuer, "openid \"db\"")).unwrap();
            assert_eq!((&json["status"], &json["scope"]), (&"invalid_token".into(), &"openid \"db\"".into()));
            json["openid-configuration"].as_str().unwrap().to_owned()
        };
        assert_eq!(told("https://issuer.example"), "https://issuer.example/.well-known/openid-configuration");
        assert_eq!(
            told("https://issuer.example/x/"),
            "https://issuer.example/x//.well-known/openid-configuration"
        );
        let other = "https://issuer.example/.well-known/oauth-authorization-server/x";
        assert_eq!(told(other), other);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(data in any::<Vec<u8>>(), text in "[nyp,a=\\x01\\x00BbearReth .]{0,40}") {
            let _ = ClientFirst::parse(&data);
            let _ = ClientFirst::parse(text.as_bytes());
            let _ = read_acknowledgement(&data);
        }
    }
}
