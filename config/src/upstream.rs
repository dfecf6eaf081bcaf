//! The PostgreSQL server behind pgwarden.

use std::path::PathBuf;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::mistake::Fault;
use crate::reader::Reader;
use crate::secret::SecretText;
use crate::tls::{self, Identity};
use crate::url::{self, UpstreamUrl};
use crate::word::words;

const URL: &str = "upstream.url";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the connection to the server uses TLS, and how much of it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamTlsMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it. Nothing is checked, unless there is a root: then as [`Self::VerifyCa`].
    Prefer,
    /// TLS. Nothing is checked, unless there is a root: then as [`Self::VerifyCa`], as libpq does.
    Require,
    /// TLS; the certificate must be signed by the root.
    VerifyCa,
    /// TLS; the certificate must be signed by the root and name the host.
    VerifyFull,
}

words!(UpstreamTlsMode {
    Disable = "disable",
    Prefer = "prefer",
    Require = "require",
    VerifyCa = "verify-ca",
    VerifyFull = "verify-full",
});

/// Whether the login to the server is bound to the TLS connection, as `channel_binding` of libpq has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    /// It is not.
    Disable,
    /// It is where the server offers it.
    Prefer,
    /// It is, or there is no login: no other authentication than SCRAM-SHA-256-PLUS is taken part in.
    Require,
}

words!(ChannelBinding { Disable = "disable", Prefer = "prefer", Require = "require" });

/// Whether a pooler stands between pgwarden and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooler {
    /// No, or one that gives each connection a server of its own.
    No,
    /// Yes, and each transaction may meet another server.
    Transaction,
}

words!(Pooler { No = "no", Transaction = "transaction" });

/// TLS towards the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Whether it is used and what is checked; `disable` for a unix socket.
    pub mode: UpstreamTlsMode,
    /// The authorities, PEM; present for `verify-ca` and `verify-full`, and where `prefer` or `require` shall check.
    pub root_cert: Option<PathBuf>,
    /// The certificate that pgwarden shows, with its key.
    pub identity: Option<Identity>,
    /// Whether the login is bound to it.
    pub channel_binding: ChannelBinding,
}

/// The server, and how pgwarden logs in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The login for every client; without one, each client's own name. Present for `jwt`.
    pub user: Option<String>,
    /// The password of that login.
    pub password: Option<SecretText>,
    /// The database for pgwarden's own queries.
    pub database: Option<String>,
    /// TLS towards it.
    pub tls: UpstreamTls,
    /// Whether a pooler stands in between.
    pub downstream_pooler: Pooler,
    /// The most backends at once, of all databases and users together.
    pub max_backends: Option<usize>,
    /// How long a connection may take, login included.
    pub connect_timeout: Duration,
}

/// Reads `[upstream]`; nothing without a URL.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Option<Upstream> {
    let url = reader.parse(URL, url::parse);
    if !reader.is_written(URL) {
        let fault =
            Fault::new("is missing", "postgres://user:password@host:port/database, or PGWARDEN_UPSTREAM");
        reader.wrong(URL, fault);
    }
    let password = reader.secret("upstream.password");
    let downstream_pooler = reader.word("upstream.downstream_pooler").unwrap_or(Pooler::No);
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(3_600));
    let connect_timeout = reader.duration("upstream.connect_timeout", least, most).unwrap_or(CONNECT_TIMEOUT);
    let max_backends = reader.number("upstream.max_backends", 1..=100_000);
    let tls = tls(reader, url.as_ref());
    let url = url?;
    if url.user.is_none() && reader.is_written("upstream.password") {
        reader.wrong("upstream.password", Fault::new("a password without a user", "a user in upstream.url"));
    }
    if url.password.is_some() && reader.is_written("upstream.password") {
        let fault = Fault::new("the URL has a password already", "the password in one place");
        reader.wrong("upstream.password", fault);
    }
    Some(Upstream {
        endpoint: url.endpoint,
        user: url.user,
        password: url.password.or(password),
        database: url.database,
        tls,
        downstream_pooler,
        max_backends,
        connect_timeout,
    })
}

fn tls(reader: &mut Reader<'_>, url: Option<&UpstreamUrl>) -> UpstreamTls {
    let mode = reader.word("upstream.tls.mode");
    let root_cert = reader.path("upstream.tls.root_cert");
    let identity = tls::identity(reader, "upstream.tls.cert", "upstream.tls.key");
    let channel_binding = reader.word("upstream.tls.channel_binding");
    let otherwise = UpstreamTlsMode::Prefer;
    let Some(url) = url else {
        let channel_binding = channel_binding.unwrap_or(ChannelBinding::Prefer);
        return UpstreamTls { mode: mode.unwrap_or(otherwise), root_cert, identity, channel_binding };
    };
    let said = &url.parameters;
    for (key, is_said) in [
        ("upstream.tls.mode", said.tls_mode.is_some()),
        ("upstream.tls.root_cert", said.root_cert.is_some()),
        ("upstream.tls.cert", said.cert.is_some()),
        ("upstream.tls.key", said.key.is_some()),
        ("upstream.tls.channel_binding", said.channel_binding.is_some()),
    ] {
        if is_said && reader.is_written(key) {
            reader.wrong(key, Fault::new("upstream.url says it already", "it in one place"));
        }
    }
    if said.cert.is_some() != said.key.is_some() {
        reader.wrong(URL, Fault::new("has one of sslcert and sslkey", "both or none"));
    }
    for path in [&said.root_cert, &said.cert, &said.key].into_iter().flatten() {
        let readable = reader.readable(path);
        let origin = reader.origin(URL);
        reader.keep(readable, &origin, URL);
    }
    let from_url = said.cert.clone().zip(said.key.clone()).map(|(cert, key)| Identity { cert, key });
    let tls = UpstreamTls {
        mode: said.tls_mode.or(mode).unwrap_or(otherwise),
        root_cert: said.root_cert.clone().or(root_cert),
        identity: from_url.or(identity),
        channel_binding: said.channel_binding.or(channel_binding).unwrap_or(ChannelBinding::Prefer),
    };
    check_tls(reader, tls, &url.endpoint)
}

fn check_tls(reader: &mut Reader<'_>, tls: UpstreamTls, endpoint: &Endpoint) -> UpstreamTls {
    let key = if reader.is_written("upstream.tls.mode") { "upstream.tls.mode" } else { URL };
    let verifies = matches!(tls.mode, UpstreamTlsMode::VerifyCa | UpstreamTlsMode::VerifyFull);
    if verifies && tls.root_cert.is_none() && !reader.is_written("upstream.tls.root_cert") {
        let problem = format!("{} without a root certificate", tls.mode.as_str());
        reader.wrong(key, Fault::new(problem, "sslrootcert in the URL, or upstream.tls.root_cert"));
    }
    check_binding(reader, &tls, endpoint);
    match (endpoint, tls.mode) {
        (Endpoint::Tcp(..), _) => tls,
        (Endpoint::Unix { .. }, UpstreamTlsMode::Disable | UpstreamTlsMode::Prefer) => {
            UpstreamTls { mode: UpstreamTlsMode::Disable, ..tls }
        }
        (Endpoint::Unix { .. }, _) => {
            reader.wrong(key, Fault::new("there is no TLS on a unix socket", "disable or prefer"));
            tls
        }
    }
}

/// Without TLS there is nothing to bind to.
fn check_binding(reader: &mut Reader<'_>, tls: &UpstreamTls, endpoint: &Endpoint) {
    const KEY: &str = "upstream.tls.channel_binding";
    let possible = matches!(endpoint, Endpoint::Tcp(..)) && tls.mode != UpstreamTlsMode::Disable;
    if tls.channel_binding == ChannelBinding::Require && !possible {
        let key = if reader.is_written(KEY) { KEY } else { URL };
        reader.wrong(key, Fault::new("channel binding needs TLS", "another sslmode, and no unix socket"));
    }
}
