//! What each method of authentication needs of the rest of the configuration.

use crate::auth::{Auth, Method, TrustRemote};
use crate::endpoint::Endpoint;
use crate::mistake::{Fault, Mistake, Origin};
use crate::network::{Neighbour, Network};
use crate::pool::{Pool, PoolMode};
use crate::reader::Reader;
use crate::rule_reader::{self, Placed};
use crate::rules::{Connection, Rule};
use crate::settings::Settings;
use crate::tls::{ClientCert, ClientTls, TlsMode};
use crate::upstream::{ChannelBinding, Upstream};

const METHOD: &str = "auth.method";

/// What the methods are looked at beside.
pub(crate) struct Surroundings<'a> {
    pub(crate) listen: &'a [Endpoint],
    pub(crate) proxies: &'a [Neighbour],
    /// Missing where it has mistakes of its own.
    pub(crate) upstream: Option<&'a Upstream>,
    pub(crate) tls: &'a ClientTls,
    pub(crate) pool: &'a Pool,
}

/// A method that some clients use.
struct Use<'a> {
    method: Method,
    origin: Origin,
    /// The key to blame.
    key: &'static str,
    /// Which clients; nothing where there are no rules.
    clients: Option<(Option<Connection>, &'a [Network])>,
}

/// What must not be in force together, though each was right where it was written: some settings stay as they are while
/// pgwarden runs, and sockets can be inherited.
pub(crate) fn in_force(settings: &Settings) -> Vec<Mistake> {
    let Settings { auth, listen, proxy_protocol, upstream, tls, pool, .. } = settings;
    let surroundings = Surroundings { listen, proxies: proxy_protocol, upstream: Some(upstream), tls, pool };
    let uses: Vec<Use<'_>> = match auth.rules.as_slice() {
        [] => vec![Use { method: auth.method, origin: Origin::Absent, key: METHOD, clients: None }],
        rules => rules.iter().map(|rule| Use::of_rule(rule, Origin::Absent)).collect(),
    };
    let faults = uses.iter().flat_map(|one| {
        let found = [one.trust(auth, &surroundings), one.passing(&surroundings)];
        found.into_iter().flatten().map(|fault| fault.at(Origin::Absent, one.key))
    });
    faults.collect()
}

/// Checks the one method, or that of each rule.
pub(crate) fn check(reader: &mut Reader<'_>, auth: &Auth, rules: &[Placed], surroundings: &Surroundings<'_>) {
    let uses: Vec<Use<'_>> = match reader.is_written(rule_reader::KEY) {
        true => rules.iter().map(|placed| Use::of_rule(&placed.rule, placed.origin.clone())).collect(),
        false if reader.is_spoiled(METHOD) => return,
        false => vec![Use { method: auth.method, origin: reader.origin(METHOD), key: METHOD, clients: None }],
    };
    let secrets = uses.iter().find(|one| one.method.needs_secrets());
    let is_known = ["auth.users_file", "auth.query.user"].iter().any(|key| reader.is_written(key));
    if let Some(one) = secrets.filter(|_| !is_known) {
        let problem = format!("is missing, {} needs it", one.method.as_str());
        let expected = "the path of a file with lines \"name\" \"secret\", or auth.query.user";
        reader.wrong_at(one.origin.clone(), "auth.users_file", Fault::new(problem, expected));
    }
    for one in &uses {
        let tls_is_spoiled = ["tls.mode", "tls.cert", "tls.key", "tls.client_ca"];
        let tls_is_spoiled = tls_is_spoiled.iter().any(|key| reader.is_spoiled(key));
        let found = [
            one.trust(auth, surroundings),
            one.token(surroundings.upstream),
            one.encryption(surroundings).filter(|_| !tls_is_spoiled),
            one.connection(surroundings.listen),
            one.socket(surroundings.proxies),
            one.passing(surroundings),
        ];
        for fault in found.into_iter().flatten() {
            reader.wrong_at(one.origin.clone(), one.key, fault);
        }
    }
    let token = uses.iter().find(|one| one.method.takes_token());
    if let Some(one) = token.filter(|_| !reader.is_written("auth.jwt.key")) {
        let problem = format!("is missing, {} needs it", one.method.as_str());
        let fault = Fault::new(problem, "file:PATH, env:NAME or the URL of a JWKS document");
        reader.wrong_at(one.origin.clone(), "auth.jwt.key", fault);
    }
    let discovery = uses.iter().find(|one| one.method == Method::OAuthBearer);
    for (key, expected) in [
        ("auth.oauth.issuer", "the https address of the issuer"),
        ("auth.oauth.scope", "the scope that a token has to be asked for"),
    ] {
        if let Some(one) = discovery.filter(|_| !reader.is_written(key)) {
            let fault = Fault::new("is missing, oauthbearer needs it", expected);
            reader.wrong_at(one.origin.clone(), key, fault);
        }
    }
}

impl<'a> Use<'a> {
    fn of_rule(rule: &'a Rule, origin: Origin) -> Self {
        let clients = Some((rule.connection, rule.networks.as_slice()));
        Self { method: rule.method, origin, key: rule_reader::KEY, clients }
    }

    /// `trust` lets in whoever reaches it. A load balancer can bring anybody, and say of everybody that it is local.
    fn trust(&self, auth: &Auth, surroundings: &Surroundings<'_>) -> Option<Fault> {
        if self.method != Method::Trust || auth.trust_remote == TrustRemote::Allow {
            return None;
        }
        if !surroundings.proxies.is_empty() {
            let problem = "trust lets everybody in whom a load balancer brings";
            return Some(Fault::new(problem, "another method, or auth.trust_remote = true"));
        }
        let remote = self.remote(surroundings)?;
        let expected = "a loopback address or unix socket, or auth.trust_remote = true";
        Some(Fault::new(format!("trust lets everybody in who reaches {remote}"), expected))
    }

    /// Where clients of other machines come in, if it is for them.
    fn remote<'b>(&self, surroundings: &Surroundings<'b>) -> Option<&'b Endpoint> {
        let stays_here = self.clients.is_some_and(|(connection, networks)| {
            connection == Some(Connection::Local)
                || (!networks.is_empty() && networks.iter().all(Network::is_loopback))
        });
        surroundings.listen.iter().find(|endpoint| !endpoint.is_local()).filter(|_| !stays_here)
    }

    /// A token says nothing about the name that its holder gives: where the server is logged in to under that name,
    /// the token would let its holder in as anybody.
    fn token(&self, upstream: Option<&Upstream>) -> Option<Fault> {
        if !self.method.takes_token() || upstream?.user.is_some() {
            return None;
        }
        let method = self.method.as_str();
        let problem = format!("{method} would let the holder of a token log in to the server under any name");
        Some(Fault::new(problem, "a user in upstream.url"))
    }

    /// Whom a load balancer brings through a unix socket, the operating system takes for the load balancer.
    fn socket(&self, proxies: &[Neighbour]) -> Option<Fault> {
        let brings = self.method == Method::Peer && proxies.contains(&Neighbour::Unix);
        let problem =
            "peer takes clients that a load balancer brings through a unix socket for the load balancer";
        brings.then(|| Fault::new(problem, "another method, or no unix in proxy_protocol"))
    }

    /// A login that is passed on belongs to one connection to the server, and is bound to none.
    fn passing(&self, surroundings: &Surroundings<'_>) -> Option<Fault> {
        let binding = surroundings.upstream.map(|upstream| upstream.tls.channel_binding);
        match (self.method, surroundings.pool.mode, binding) {
            (Method::Passthrough, PoolMode::Transaction, _) => {
                let problem = "passthrough needs a connection to the server for each client";
                Some(Fault::new(problem, "pool.mode = \"session\""))
            }
            (Method::Passthrough, PoolMode::Session, Some(ChannelBinding::Require)) => {
                let problem = "passthrough cannot be bound to the connection to the server";
                Some(Fault::new(problem, "upstream.tls.channel_binding = \"prefer\""))
            }
            _ => None,
        }
    }

    /// What needs TLS towards clients.
    fn encryption(&self, surroundings: &Surroundings<'_>) -> Option<Fault> {
        let tls = surroundings.tls;
        let connection = self.clients.and_then(|(connection, _)| connection);
        match self.method {
            Method::Cert if tls.mode == TlsMode::Disable || tls.client_cert == ClientCert::None => {
                let expected = "tls.cert, tls.key and tls.client_ca as well";
                Some(Fault::new("cert needs TLS with client certificates", expected))
            }
            Method::ScramSha256Plus if tls.mode == TlsMode::Disable => {
                let expected = "tls.cert and tls.key as well";
                Some(Fault::new("scram-sha-256-plus needs TLS to bind to", expected))
            }
            // Nobody would get in from there.
            Method::OAuthBearer if tls.mode == TlsMode::Disable && self.remote(surroundings).is_some() => {
                let expected = "tls.cert and tls.key as well";
                Some(Fault::new("oauthbearer takes tokens of other machines over TLS alone", expected))
            }
            _ if connection == Some(Connection::HostSsl) && tls.mode == TlsMode::Disable => Some(Fault::new(
                "hostssl matches nobody, because there is no TLS",
                "tls.cert and tls.key as well",
            )),
            _ => None,
        }
    }

    /// Methods that are good for one type of connection only, as in `parse_hba_line` (`hba.c`).
    fn connection(&self, listen: &[Endpoint]) -> Option<Fault> {
        let connection = self.clients.map(|(connection, _)| connection);
        match (self.method, connection) {
            (Method::Peer, Some(Some(Connection::Local))) => None,
            (Method::Peer, None) => {
                let remote = listen.iter().find(|endpoint| endpoint.socket_path().is_none())?;
                let problem = format!("peer knows clients of unix sockets only, and {remote} is none");
                Some(Fault::new(problem, "unix sockets in listen, or auth.rules"))
            }
            (Method::Peer, Some(_)) => {
                Some(Fault::new("peer knows clients of unix sockets only", "type = \"local\""))
            }
            (Method::Cert | Method::ScramSha256Plus, Some(connection))
                if connection != Some(Connection::HostSsl) =>
            {
                let problem = format!("{} needs a connection with TLS", self.method.as_str());
                Some(Fault::new(problem, "type = \"hostssl\""))
            }
            (Method::Reject, None) => {
                Some(Fault::new("reject lets nobody in", "another method, or auth.rules"))
            }
            _ => None,
        }
    }
}
