//! How clients prove who they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::auth_query::{self, AuthQuery};
use crate::mistake::Fault;
use crate::oauth::{self, OAuth};
use crate::reader::Reader;
use crate::rule_reader::{self, Placed};
use crate::rules::{Attempt, Rule};
use crate::secret::SecretText;
use crate::upstream::Upstream;
use crate::word::words;

const REFRESH: Duration = Duration::from_secs(300);
const LEEWAY: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(86_400);

/// Every algorithm that may sign a token.
const ALGORITHMS: &[&str] = &[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
    "EdDSA",
];

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// It need not.
    Trust,
    /// By its password, in clear text.
    Password,
    /// By an MD5 hash of its password and a salt; by SCRAM where a SCRAM verifier is what is stored.
    Md5,
    /// By SCRAM-SHA-256, bound to the TLS connection where there is one and the client wants it.
    ScramSha256,
    /// By SCRAM-SHA-256-PLUS: bound to the TLS connection, without which nobody gets in.
    ScramSha256Plus,
    /// By its TLS certificate.
    Cert,
    /// By a JSON Web Token in place of the password.
    Jwt,
    /// By a JSON Web Token in the SASL exchange of PostgreSQL 18 (RFC 7628).
    OAuthBearer,
    /// By the name of its operating system user, at the other end of a unix socket.
    Peer,
    /// As the server asks it: pgwarden passes the login on, and stores no password. In session pooling only.
    Passthrough,
    /// It cannot: it is not let in.
    Reject,
}

words!(Method {
    Trust = "trust",
    Password = "password",
    Md5 = "md5",
    ScramSha256 = "scram-sha-256",
    ScramSha256Plus = "scram-sha-256-plus",
    Cert = "cert",
    Jwt = "jwt",
    OAuthBearer = "oauthbearer",
    Peer = "peer",
    Passthrough = "passthrough",
    Reject = "reject",
});

/// Whether `trust` may be offered to other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrustRemote {
    /// No: only on loopback and unix sockets.
    Refuse,
    /// Yes: something else keeps strangers out.
    Allow,
}

words!(TrustRemote { Refuse = "false", Allow = "true" });

/// Where the keys come from that tokens are verified with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file: PEM, a JWKS document, or a shared secret. Read again at every refresh.
    File(PathBuf),
    /// The contents of an environment variable, in the same forms.
    Literal(SecretText),
    /// A JWKS document at an `http` or `https` address.
    Url(String),
}

/// How tokens are verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwt {
    /// Where the keys come from.
    pub key: KeySource,
    /// How often a file or address is read again.
    pub refresh: Duration,
    /// The `iss` that is required, if one is.
    pub issuer: Option<String>,
    /// The `aud` values of which one is required; empty: not checked.
    pub audience: Vec<String>,
    /// The algorithms that are accepted; empty: all that fit the type of the key.
    pub algorithms: Vec<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// How clients prove who they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// The one method, where there are no rules.
    pub method: Method,
    /// The rules, of which the first that matches decides.
    pub rules: Vec<Rule>,
    /// The file with names and secrets; this or the query is present for `password`, `md5` and SCRAM.
    pub users_file: Option<PathBuf>,
    /// How the secrets of users are found whom the file does not name.
    pub query: Option<AuthQuery>,
    /// Whether `trust` may be offered to other machines.
    pub trust_remote: TrustRemote,
    /// How tokens are verified; present for `jwt` and `oauthbearer`.
    pub jwt: Option<Jwt>,
    /// Where clients get tokens; present for `oauthbearer`.
    pub oauth: Option<OAuth>,
}

impl Method {
    /// Whether it checks a secret: from the users file, or looked up.
    #[must_use]
    pub fn needs_secrets(self) -> bool {
        matches!(self, Self::Password | Self::Md5) || self.is_scram()
    }

    /// Whether a token says who the client is.
    #[must_use]
    pub fn takes_token(self) -> bool {
        matches!(self, Self::Jwt | Self::OAuthBearer)
    }

    /// Whether it is SCRAM.
    #[must_use]
    pub fn is_scram(self) -> bool {
        matches!(self, Self::ScramSha256 | Self::ScramSha256Plus)
    }
}

impl Auth {
    /// How this client proves who it is; nothing if no rule is for it.
    #[must_use]
    pub fn method_for(&self, attempt: &Attempt<'_>) -> Option<Method> {
        if self.rules.is_empty() {
            return Some(self.method);
        }
        self.rules.iter().find(|rule| rule.matches(attempt)).map(|rule| rule.method)
    }

    /// Every method that some client uses.
    pub fn methods(&self) -> impl Iterator<Item = Method> + '_ {
        let only = self.rules.is_empty().then_some(self.method);
        self.rules.iter().map(|rule| rule.method).chain(only)
    }
}

/// Reads `[auth]`, and where its rules stand.
pub(crate) fn resolve(reader: &mut Reader<'_>, upstream: Option<&Upstream>) -> (Auth, Vec<Placed>) {
    let placed = rule_reader::resolve(reader);
    let auth = Auth {
        method: reader.word("auth.method").unwrap_or(Method::ScramSha256),
        rules: placed.iter().map(|placed| placed.rule.clone()).collect(),
        users_file: reader.path("auth.users_file"),
        query: auth_query::resolve(reader, upstream),
        trust_remote: reader.word("auth.trust_remote").unwrap_or(TrustRemote::Refuse),
        oauth: oauth::resolve(reader),
        jwt: jwt(reader),
    };
    (auth, placed)
}

fn jwt(reader: &mut Reader<'_>) -> Option<Jwt> {
    let key = key(reader);
    let second = Duration::from_secs(1);
    let refresh = reader.duration("auth.jwt.refresh", second, DAY).unwrap_or(REFRESH);
    let leeway = reader.duration("auth.jwt.leeway", Duration::ZERO, DAY).unwrap_or(LEEWAY);
    let issuer = reader.text("auth.jwt.issuer");
    let audience = list(reader, "auth.jwt.audience", |_| true, "names with commas between");
    let known = |name: &str| ALGORITHMS.contains(&name);
    let algorithms = list(reader, "auth.jwt.algorithms", known, &format!("one of {}", ALGORITHMS.join(", ")));
    Some(Jwt { key: key?, refresh, issuer, audience, algorithms, leeway })
}

fn list(reader: &mut Reader<'_>, key: &str, known: impl Fn(&str) -> bool, expected: &str) -> Vec<String> {
    let mut names = Vec::new();
    for item in reader.items(key).unwrap_or_default() {
        if !item.text.is_empty() && known(&item.text) {
            names.push(item.text);
        } else {
            let fault = Fault::new(format!("{:?} is not known", item.text), expected);
            reader.wrong_at(item.origin, key, fault);
        }
    }
    names
}

fn key(reader: &mut Reader<'_>) -> Option<KeySource> {
    const KEY: &str = "auth.jwt.key";
    let text = reader.text(KEY)?;
    let origin = reader.origin(KEY);
    let read = key_source(reader, &text);
    reader.keep(read, &origin, KEY)
}

/// Says nothing of the text in a message: somebody may have written the key itself.
fn key_source(reader: &mut Reader<'_>, text: &str) -> Result<KeySource, Fault> {
    const EXPECTED: &str = "file:PATH, env:NAME or the URL of a JWKS document";
    if let Some(name) = text.strip_prefix("env:") {
        return reader.env(name).map(KeySource::Literal);
    }
    if let Some(path) = text.strip_prefix("file:") {
        reader.readable(Path::new(path))?;
        return Ok(KeySource::File(PathBuf::from(path)));
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    match authority {
        Some("") | None => Err(Fault::new("is neither a file, a variable nor an address", EXPECTED)),
        Some(authority) if authority.contains('@') => {
            Err(Fault::new("an address with a password in it", "an address without user and password"))
        }
        Some(_) if text.contains(char::is_whitespace) => Err(Fault::new("an address with spaces", EXPECTED)),
        Some(_) => Ok(KeySource::Url(text.to_owned())),
    }
}
