//! What pgwarden asks the database about who a client is.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::mistake::Fault;
use crate::reader::Reader;
use crate::secret::SecretText;
use crate::upstream::Upstream;
use crate::word::{Word, words};

const SESSION_TOKEN: &str = "context.session_token.query";
const RESOLVER: &str = "context.resolver.query";
const MEMBERSHIP: &str = "context.membership.query";
const TENANTS: &str = "context.tenants.query";
/// What pgwarden can ask.
pub(crate) const QUERIES: [&str; 4] = [SESSION_TOKEN, RESOLVER, MEMBERSHIP, TENANTS];
const CLAIM: &str = "context.claim.users";
const CARRIERS: &str = "context.token.carriers";
const USER: &str = "context.lookup.user";

/// What can say who the tenant is.
pub(crate) const NAME_TENANTS: [&str; 3] = [SESSION_TOKEN, RESOLVER, CLAIM];
/// What can say who the user is.
pub(crate) const NAME_USERS: [&str; 2] = [SESSION_TOKEN, CLAIM];

const CHANNEL: &str = "pgwarden";
const MAX_TOKEN_BYTES: usize = 8_192;
const CONNECTIONS: usize = 4;
const ENTRIES: usize = 100_000;
const TIMEOUT: Duration = Duration::from_secs(2);
const TTL: Duration = Duration::from_secs(30);
const DENIED_TTL: Duration = Duration::from_secs(5);
const UNNOTIFIED_TTL: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// How an opaque token is stored, and so what the query for it gets as `$1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenHash {
    /// SHA-256 as 64 lower-case hexadecimal digits.
    Sha256Hex,
    /// SHA-256 as `bytea`.
    Sha256,
    /// As it was sent.
    None,
}

words!(TokenHash { Sha256Hex = "sha256-hex", Sha256 = "sha256", None = "none" });

/// How a token gets from an application to pgwarden within a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenCarrier {
    /// `SET [LOCAL] pgwarden.token = '…'`.
    Set,
    /// `SELECT set_config('pgwarden.token', …, …)`.
    SetConfig,
    /// A comment in the statement: `/*pgwarden_token='…'*/`.
    Comment,
}

words!(TokenCarrier { Set = "set", SetConfig = "set_config", Comment = "comment" });

/// The query that finds the session of an opaque token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionToken {
    /// `$1` is the token as `hash` says; the row names user, tenant and more by its columns.
    pub query: String,
    /// How the token is stored.
    pub hash: TokenHash,
}

/// Who looks up, how long that may take, and for how long it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The login of pgwarden's own queries.
    pub user: String,
    /// Its password.
    pub password: Option<SecretText>,
    /// The database.
    pub database: String,
    /// How long each query may take, opening a connection included.
    pub timeout: Duration,
    /// The most connections for look-ups; one more hears of changes.
    pub connections: usize,
    /// For how long what was found holds, unless a change is told.
    pub ttl: Duration,
    /// For how long it holds that nothing was found.
    pub denied_ttl: Duration,
    /// For how long anything holds while no change would be heard of.
    pub unnotified_ttl: Duration,
    /// The most contexts that are remembered at once.
    pub entries: usize,
    /// The channel on which changes are told.
    pub channel: String,
}

/// What the database is asked about identities, and what an application may say of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookups {
    /// Who looks up; present exactly when there is a query.
    pub lookup: Option<Lookup>,
    /// Whose session an opaque token is.
    pub session_token: Option<SessionToken>,
    /// `$1` is a user; the row names the tenant in which the user works now.
    pub resolver: Option<String>,
    /// `$1` is a user and `$2` a tenant; there is a row if the user belongs to it.
    pub membership: Option<String>,
    /// `$1` is a user; each row names a tenant whose rows the user may see, besides the one that is acted for.
    pub tenants: Option<String>,
    /// Database users whose sessions may say themselves whom they act for.
    pub claimants: BTreeSet<String>,
    /// How tokens come within a session; none: only at login.
    pub carriers: BTreeSet<TokenCarrier>,
    /// The longest token that comes within a session, in bytes.
    pub max_token_bytes: usize,
}

/// Reads `[context.lookup]` and the queries.
pub(crate) fn resolve(reader: &mut Reader<'_>, upstream: Option<&Upstream>) -> Lookups {
    let hash = reader.word("context.session_token.hash").unwrap_or(TokenHash::Sha256Hex);
    let mut query = |key: &str, parameters: &[&str]| reader.parse(key, |text| checked(text, parameters));
    let session_token = query(SESSION_TOKEN, &["$1"]).map(|query| SessionToken { query, hash });
    let resolver = query(RESOLVER, &["$1"]);
    let membership = query(MEMBERSHIP, &["$1", "$2"]);
    let tenants = query(TENANTS, &["$1"]);
    let claimants: BTreeSet<String> =
        reader.items(CLAIM).unwrap_or_default().into_iter().map(|item| item.text).collect();
    if !claimants.is_empty() && !reader.is_written(MEMBERSHIP) {
        let fault = Fault::new("nothing checks what they say of themselves", MEMBERSHIP);
        reader.wrong(CLAIM, fault);
    }
    Lookups {
        lookup: lookup(reader, upstream),
        session_token,
        resolver,
        membership,
        tenants,
        claimants,
        carriers: carriers(reader),
        max_token_bytes: reader.size("context.token.max_bytes", 16..=65_535).unwrap_or(MAX_TOKEN_BYTES),
    }
}

/// A query has to name its parameters; whether it is right is the server's to say.
fn checked(text: &str, parameters: &[&str]) -> Result<String, Fault> {
    for parameter in parameters {
        if !text.contains(parameter) {
            let expected = format!("a query of {}", parameters.join(" and "));
            return Err(Fault::new(format!("does not ask for {parameter}"), expected));
        }
    }
    Ok(text.to_owned())
}

fn carriers(reader: &mut Reader<'_>) -> BTreeSet<TokenCarrier> {
    let Some(items) = reader.items(CARRIERS) else {
        return TokenCarrier::WORDS.iter().map(|(_, carrier)| *carrier).collect();
    };
    let mut carriers = BTreeSet::new();
    for item in items {
        carriers.extend(reader.keep(TokenCarrier::from_word(&item.text), &item.origin, CARRIERS));
    }
    carriers
}

fn lookup(reader: &mut Reader<'_>, upstream: Option<&Upstream>) -> Option<Lookup> {
    let (short, second) = (Duration::from_millis(10), Duration::from_secs(1));
    let user = reader.text(USER);
    let password = reader.secret("context.lookup.password");
    let database = reader.text("context.lookup.database");
    let ttl = reader.duration("context.lookup.ttl", second, HOUR).unwrap_or(TTL);
    let read = Lookup {
        user: String::new(),
        password: None,
        database: String::new(),
        timeout: reader.duration("context.lookup.timeout", short, HOUR).unwrap_or(TIMEOUT),
        connections: reader.number("context.lookup.connections", 1..=1_000).unwrap_or(CONNECTIONS),
        ttl,
        denied_ttl: reader.duration("context.lookup.denied_ttl", second, HOUR).unwrap_or(DENIED_TTL),
        unnotified_ttl: reader
            .duration("context.lookup.unnotified_ttl", second, HOUR)
            .unwrap_or(UNNOTIFIED_TTL.min(ttl)),
        entries: reader.number("context.lookup.entries", 1..=100_000_000).unwrap_or(ENTRIES),
        channel: reader.parse("context.lookup.channel", channel).unwrap_or_else(|| CHANNEL.to_owned()),
    };
    let asked = QUERIES.into_iter().find(|key| reader.is_written(key));
    check(reader, asked, upstream);
    asked?;
    let upstream = upstream?;
    let own = user.is_some();
    let user = user.or_else(|| upstream.user.clone())?;
    Some(Lookup {
        password: if own { password } else { upstream.password.clone() },
        database: database.or_else(|| upstream.database.clone()).unwrap_or_else(|| user.clone()),
        user,
        ..read
    })
}

/// What does not fit together.
fn check(reader: &mut Reader<'_>, asked: Option<&str>, upstream: Option<&Upstream>) {
    const PASSWORD: &str = "context.lookup.password";
    let Some(asked) = asked else {
        if reader.is_written(USER) {
            reader.wrong(USER, Fault::new("nothing is looked up", format!("one of {}", QUERIES.join(", "))));
        }
        return;
    };
    if reader.is_written(PASSWORD) && !reader.is_written(USER) {
        reader.wrong(PASSWORD, Fault::new("a password without a user", USER));
    }
    if !reader.is_written(USER) && upstream.is_some_and(|upstream| upstream.user.is_none()) {
        let fault = Fault::new("is missing, nothing says who looks up", "a login of pgwarden's own");
        reader.missing(USER, asked, fault);
    }
}

/// A channel's name as `LISTEN` and `pg_notify` take it: shorter than an identifier may be, any text.
fn channel(text: &str) -> Result<String, Fault> {
    if text.len() > 63 || text.contains('\0') {
        return Err(Fault::new(format!("{text:?} is no channel"), "a name of at most 63 bytes"));
    }
    Ok(text.to_owned())
}
