//! Reading `[service.NAME]`.

use std::collections::BTreeMap;

use crate::auth::{Auth, Method, TrustRemote};
use crate::context::ContextSettings;
use crate::mistake::{Fault, Origin};
use crate::moment::Moment;
use crate::network::Neighbour;
use crate::pool::PoolMode;
use crate::reader::{self, Reader, single};
use crate::service::{Pattern, Service, Signs};
use crate::syntax;
use crate::tls::{ClientCert, ClientTls};
use crate::upstream::{Pooler, Upstream};
use crate::variable::ClaimPath;
use crate::word::Word;
use crate::written::{Node, Value};

/// The key of the services.
pub(crate) const KEY: &str = "service";
const FIELDS: &str = "one of user, certificate, claim, upstream_user, upstream_password, reason, addresses, expires, \
                      max_sessions, pooling";
const MAX_SESSIONS: usize = 5;
const MOST_SESSIONS: u64 = 10_000;

/// What services are looked at beside.
pub(crate) struct Surroundings<'a> {
    pub(crate) auth: &'a Auth,
    pub(crate) tls: &'a ClientTls,
    pub(crate) context: &'a ContextSettings,
    /// Missing where it has mistakes of its own.
    pub(crate) upstream: Option<&'a Upstream>,
}

/// Reads the services; those with mistakes are left out.
pub(crate) fn resolve(reader: &mut Reader<'_>, around: &Surroundings<'_>) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::new();
    let Some(node) = reader.node(KEY) else { return services };
    let Value::Table(names) = &node.value else {
        reader.wrong(KEY, Fault::new("is not a table", "[service.NAME] with user and upstream_user"));
        return services;
    };
    for (name, origin, node) in names {
        let key = format!("{KEY}.{name}");
        if !is_name(name) {
            let fault = Fault::new(
                format!("{name:?} is not a name for a service"),
                "at most 63 letters, digits, - and _",
            );
            reader.wrong_at(origin.clone(), &key, fault);
            continue;
        }
        let Some(service) = one(reader, &key, origin, node) else { continue };
        if let Some(other) =
            services.iter().find(|(_, other): &(&String, &Service)| other.signs == service.signs)
        {
            let problem = format!("is recognised by the same as {KEY}.{}", other.0);
            reader.wrong_at(origin.clone(), &key, Fault::new(problem, "something else to tell them apart"));
        }
        for (field, fault) in conflicts(&service, around) {
            reader.wrong_at(field_origin(node, field, origin), &format!("{key}.{field}"), fault);
        }
        services.insert(name.clone(), service);
    }
    services
}

/// What a pooler in between takes from sessions.
pub(crate) fn loses_sessions(service: &Service, pooler: Pooler) -> Option<Fault> {
    let is_lost = service.pooling == PoolMode::Session && pooler == Pooler::Transaction;
    let problem = "a pooler in between gives each transaction another backend";
    is_lost.then(|| Fault::new(problem, "\"transaction\", or no upstream.downstream_pooler"))
}

/// Names stand in metrics and in logs.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (1..=63).contains(&name.len()) && name.chars().all(is_plain)
}

fn field_origin(node: &Node, field: &str, otherwise: &Origin) -> Origin {
    let Value::Table(fields) = &node.value else { return otherwise.clone() };
    let found = fields.iter().find(|(name, ..)| name == field);
    found.map_or_else(|| otherwise.clone(), |(.., value)| value.origin.clone())
}

/// Reads one service; `None` after a mistake.
fn one(reader: &mut Reader<'_>, key: &str, origin: &Origin, node: &Node) -> Option<Service> {
    let Value::Table(fields) = &node.value else {
        let fault = Fault::new("is not a table", format!("[{key}] with user and upstream_user"));
        reader.wrong_at(node.origin.clone(), key, fault);
        return None;
    };
    let mut draft = Draft::default();
    let mut is_right = true;
    for (name, place, value) in fields {
        let key = format!("{key}.{name}");
        if !draft.knows(name) {
            reader.wrong_at(place.clone(), &key, Fault::new("unknown key", FIELDS));
            is_right = false;
            continue;
        }
        let taken = draft.take(reader, name, value);
        is_right &= reader.keep(taken, &value.origin, &key).is_some();
    }
    let service = draft.finish();
    match service {
        _ if !is_right => None,
        Ok(service) => Some(service),
        Err((field, fault)) => {
            reader.wrong_at(origin.clone(), &format!("{key}.{field}"), fault);
            None
        }
    }
}

/// A service as far as it was read.
#[derive(Default)]
struct Draft {
    signs: Signs,
    upstream_user: Option<String>,
    upstream_password: Option<crate::secret::SecretText>,
    reason: Option<Pattern>,
    addresses: Vec<Neighbour>,
    expires: Option<Moment>,
    max_sessions: Option<usize>,
    pooling: Option<PoolMode>,
}

impl Draft {
    fn knows(&self, field: &str) -> bool {
        let known = FIELDS.strip_prefix("one of ").unwrap_or(FIELDS);
        known.split(", ").any(|name| name == field)
    }

    fn take(&mut self, reader: &mut Reader<'_>, field: &str, node: &Node) -> Result<(), Fault> {
        if field == "addresses" {
            self.addresses = addresses(node)?;
            return Ok(());
        }
        let text = single(node)?;
        match field {
            "user" => self.signs.user = Some(text.to_owned()),
            "certificate" => self.signs.certificate = Some(text.to_owned()),
            "claim" => self.signs.claim = Some(claim(text)?),
            "upstream_user" => self.upstream_user = Some(text.to_owned()),
            "upstream_password" => self.upstream_password = Some(reader.indirect(text)?),
            "reason" => self.reason = Some(Pattern::parse(text)?),
            "expires" => self.expires = Some(Moment::parse(text)?),
            "max_sessions" => self.max_sessions = Some(reader::number(text, &(1..=MOST_SESSIONS))?),
            _ => self.pooling = Some(PoolMode::from_word(text)?),
        }
        Ok(())
    }

    fn finish(self) -> Result<Service, (&'static str, Fault)> {
        if self.signs.is_empty() {
            return Err(("user", Fault::new("nothing tells who this is", "user, certificate or claim")));
        }
        let Some(upstream_user) = self.upstream_user else {
            return Err(("upstream_user", Fault::new("is missing", "a role on the server of its own")));
        };
        Ok(Service {
            signs: self.signs,
            upstream_user,
            upstream_password: self.upstream_password,
            reason: self.reason,
            addresses: self.addresses,
            expires: self.expires,
            max_sessions: self.max_sessions.unwrap_or(MAX_SESSIONS),
            pooling: self.pooling.unwrap_or(PoolMode::Session),
        })
    }
}

/// `app_metadata.service=migrations`.
fn claim(text: &str) -> Result<(ClaimPath, String), Fault> {
    const EXPECTED: &str = "a claim and its value, like app_metadata.service=migrations";
    let split = syntax::split_first(text, '=')?;
    let (path, value) = split.ok_or_else(|| Fault::new(format!("{text:?} has no `=`"), EXPECTED))?;
    let value = syntax::unquote(value)?;
    if value.is_empty() {
        return Err(Fault::new(format!("{text:?} has no value"), EXPECTED));
    }
    Ok((ClaimPath::parse(path)?, value))
}

fn addresses(node: &Node) -> Result<Vec<Neighbour>, Fault> {
    let texts = match &node.value {
        Value::List(items) => items.iter().map(single).collect::<Result<Vec<_>, _>>()?,
        Value::Text(_) | Value::Table(_) => single(node)?.split(',').map(str::trim).collect(),
    };
    match texts.as_slice() {
        [] => Err(Fault::new("is an empty list", "addresses, or the key left out")),
        texts => texts.iter().map(|text| Neighbour::parse(text)).collect(),
    }
}

/// What the rest of the configuration does not go together with, and under which field that is said.
fn conflicts(service: &Service, around: &Surroundings<'_>) -> Vec<(&'static str, Fault)> {
    let signs = &service.signs;
    let mut found = Vec::new();
    let tokens = around.auth.methods().any(Method::takes_token);
    if signs.claim.is_some() && !tokens {
        found.push((
            "claim",
            Fault::new("clients bring no token", "auth.method = \"jwt\" or \"oauthbearer\""),
        ));
    }
    if signs.certificate.is_some() && around.tls.client_cert == ClientCert::None {
        found.push(("certificate", Fault::new("clients bring no certificate", "tls.client_ca as well")));
    }
    if let (Some(user), None, None) = (&signs.user, &signs.certificate, &signs.claim) {
        found.extend(by_name_alone(user, service, around).map(|fault| ("user", fault)));
    }
    let everybodys = around.upstream.and_then(|upstream| upstream.user.as_ref());
    if everybodys == Some(&service.upstream_user) {
        let problem = "is the login of all clients in upstream.url";
        found.push(("upstream_user", Fault::new(problem, "a role of the service's own")));
    }
    let pooler = around.upstream.map_or(Pooler::No, |upstream| upstream.downstream_pooler);
    found.extend(loses_sessions(service, pooler).map(|fault| ("pooling", fault)));
    found
}

/// A name is only as good as the login that proves it.
fn by_name_alone(user: &str, service: &Service, around: &Surroundings<'_>) -> Option<Fault> {
    let mut methods = around.auth.methods();
    if around.context.fixed.contains_key(user) {
        return Some(Fault::new("has a tenant in context.fixed", "a user of the service's own"));
    }
    if methods.all(|method| method.takes_token() || matches!(method, Method::Passthrough | Method::Reject)) {
        let problem = "no login proves the name";
        return Some(Fault::new(problem, "claim or certificate, or another method for this user"));
    }
    let trusts = around.auth.methods().any(|method| method == Method::Trust);
    let anybody = trusts && around.auth.trust_remote == TrustRemote::Allow && service.addresses.is_empty();
    let problem = "auth.trust_remote lets everybody be this user";
    anybody.then(|| Fault::new(problem, "another method, or addresses as well"))
}
