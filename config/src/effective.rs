//! The configuration in force, as TOML, with secrets hidden.

mod audit;
mod sinks;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use crate::auth::{Auth, KeySource};
use crate::auth_query::AuthQuery;
use crate::context::ContextSettings;
use crate::endpoint::Endpoint;
use crate::limits::Limits;
use crate::lookup::Lookups;
use crate::rules::{Connection, Rule};
use crate::secret::HIDDEN;
use crate::service::Service;
use crate::settings::{Admin, Mode, Settings};
use crate::syntax;
use crate::tcp::Tcp;
use crate::tls::{ClientCert, ClientTls};
use crate::units;
use crate::upstream::Upstream;
use crate::url;

/// The whole configuration as a TOML file; every secret reads `[hidden]`.
#[must_use]
pub fn effective(settings: &Settings) -> String {
    let mut page = Page::default();
    page.list("listen", settings.listen.iter().map(ToString::to_string));
    if !settings.proxy_protocol.is_empty() {
        page.list("proxy_protocol", settings.proxy_protocol.iter().map(ToString::to_string));
    }
    let mode = settings.unix_socket_permissions.map(|mode| format!("{mode:04o}"));
    page.optional("unix_socket_permissions", mode.as_deref());
    page.text("mode", settings.mode.as_str());
    page.bare("workers", settings.workers);
    page.path("takeover", settings.takeover.as_deref());
    page.upstream(&settings.upstream);
    page.section("pool");
    page.text("mode", settings.pool.mode.as_str());
    page.bare("size", settings.pool.size);
    page.text("pins", settings.pool.pins.as_str());
    page.text("checkout_timeout", &units::show(settings.pool.checkout_timeout));
    page.text("idle_timeout", &units::show(settings.pool.idle_timeout));
    page.text("max_lifetime", &units::show(settings.pool.max_lifetime));
    page.bare("prepared_statements", settings.pool.prepared_statements);
    page.text("reassert", settings.pool.reassert.as_str());
    page.auth(&settings.auth);
    page.context(&settings.context);
    page.section("guard");
    page.text("mode", settings.guard.mode.as_str());
    page.list("functions", settings.guard.functions.iter().cloned());
    settings.shadow.show(&mut page);
    page.tls(&settings.tls);
    page.admin(settings.admin.as_ref());
    page.section("log");
    page.text("level", &settings.log.level);
    page.text("format", settings.log.format.as_str());
    page.text("account_interval", &units::show(settings.log.account_interval));
    page.audit(&settings.audit);
    page.sinks(&settings.sinks);
    page.tcp(&settings.tcp);
    page.limits(&settings.limits);
    page.modes("databases", &settings.databases);
    page.modes("users", &settings.users);
    settings.services.iter().for_each(|(name, service)| page.service(name, service));
    page.0
}

/// The TOML text so far.
#[derive(Default)]
pub(crate) struct Page(String);

impl Page {
    /// Begins a table.
    pub(crate) fn section(&mut self, name: &str) {
        self.0.push_str(&format!("\n[{name}]\n"));
    }

    /// A value as it is.
    pub(crate) fn bare(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.bare(key, quoted(value));
    }

    /// A text, if there is one.
    pub(crate) fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A number, if there is one.
    pub(crate) fn number(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.bare(key, value);
        }
    }

    /// A duration, if there is one.
    pub(crate) fn duration(&mut self, key: &str, value: Option<Duration>) {
        self.optional(key, value.map(units::show).as_deref());
    }

    /// A path, if there is one.
    pub(crate) fn path(&mut self, key: &str, value: Option<&Path>) {
        if let Some(value) = value {
            self.text(key, &value.to_string_lossy());
        }
    }

    /// A list of texts.
    pub(crate) fn list(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let values: Vec<String> = values.map(|value| quoted(&value)).collect();
        self.bare(key, format!("[{}]", values.join(", ")));
    }

    fn upstream(&mut self, upstream: &Upstream) {
        self.section("upstream");
        self.text("url", &upstream_url(upstream));
        self.optional("password", upstream.password.as_ref().map(|_| HIDDEN));
        self.text("connect_timeout", &units::show(upstream.connect_timeout));
        self.text("downstream_pooler", upstream.downstream_pooler.as_str());
        self.number("max_backends", upstream.max_backends);
        self.section("upstream.tls");
        self.text("mode", upstream.tls.mode.as_str());
        self.path("root_cert", upstream.tls.root_cert.as_deref());
        self.path("cert", upstream.tls.identity.as_ref().map(|identity| identity.cert.as_path()));
        self.path("key", upstream.tls.identity.as_ref().map(|identity| identity.key.as_path()));
        self.text("channel_binding", upstream.tls.channel_binding.as_str());
    }

    fn auth(&mut self, auth: &Auth) {
        self.section("auth");
        if auth.rules.is_empty() {
            self.text("method", auth.method.as_str());
        }
        self.path("users_file", auth.users_file.as_deref());
        self.bare("trust_remote", auth.trust_remote.as_str());
        for rule in &auth.rules {
            self.rule(rule);
        }
        if let Some(query) = &auth.query {
            self.auth_query(query);
        }
        if let Some(oauth) = &auth.oauth {
            self.section("auth.oauth");
            self.text("issuer", &oauth.issuer);
            self.text("scope", &oauth.scope);
        }
        let Some(jwt) = &auth.jwt else { return };
        self.section("auth.jwt");
        let key = match &jwt.key {
            KeySource::File(path) => format!("file:{}", path.to_string_lossy()),
            KeySource::Literal(_) => HIDDEN.to_owned(),
            KeySource::Url(url) => url.clone(),
        };
        self.text("key", &key);
        self.text("refresh", &units::show(jwt.refresh));
        self.optional("issuer", jwt.issuer.as_deref());
        self.list("audience", jwt.audience.iter().cloned());
        self.list("algorithms", jwt.algorithms.iter().cloned());
        self.text("leeway", &units::show(jwt.leeway));
    }

    fn auth_query(&mut self, query: &AuthQuery) {
        self.section("auth.query");
        self.text("user", &query.user);
        self.optional("password", query.password.as_ref().map(|_| HIDDEN));
        self.text("database", &query.database);
        self.text("sql", &query.sql);
        self.text("ttl", &units::show(query.ttl));
        self.text("unknown_ttl", &units::show(query.unknown_ttl));
        self.text("timeout", &units::show(query.timeout));
        self.bare("max_entries", query.max_entries);
    }

    fn rule(&mut self, rule: &Rule) {
        self.0.push_str("\n[[auth.rules]]\n");
        self.optional("type", rule.connection.map(Connection::as_str));
        self.list("database", rule.databases.written().into_iter());
        self.list("user", rule.users.written().into_iter());
        if !rule.networks.is_empty() {
            self.list("address", rule.networks.iter().map(ToString::to_string));
        }
        self.text("method", rule.method.as_str());
    }

    fn context(&mut self, context: &ContextSettings) {
        self.section("context");
        self.text("missing", context.missing.as_str());
        if let Some(default) = &context.default_tenant {
            self.optional("default_tenant", default.tenant.as_deref());
            self.optional("default_user", default.user.as_deref());
        }
        self.optional("tenant_claim", context.tenant_claim.as_ref().map(ToString::to_string).as_deref());
        self.optional("user_claim", context.user_claim.as_ref().map(ToString::to_string).as_deref());
        if let Some(role) = &context.role {
            self.text("role", &role.usual);
            self.text("anonymous_role", &role.anonymous);
            self.optional("role_claim", role.claim.as_ref().map(ToString::to_string).as_deref());
            if !role.allowed.is_empty() {
                self.list("roles", role.allowed.iter().cloned());
            }
        }
        self.bare("max_value_bytes", context.max_value_bytes);
        self.bare("max_claims_bytes", context.max_claims_bytes);
        if let Some(seal) = &context.seal {
            self.section("context.seal");
            self.text("key", HIDDEN);
            self.text("lifetime", &units::show(seal.lifetime));
            self.text("variable", &seal.variable);
        }
        self.lookups(&context.lookups);
        for (name, fixed) in &context.fixed {
            self.section(&format!("context.fixed.{}", quoted(name)));
            self.optional("tenant", fixed.tenant.as_deref());
            self.optional("user", fixed.user.as_deref());
        }
        for variable in &context.variables {
            self.0.push_str("\n[[context.variables]]\n");
            self.text("name", &variable.name);
            self.text("from", &variable.from.to_string());
            self.text("kind", variable.kind.as_str());
        }
    }

    fn lookups(&mut self, lookups: &Lookups) {
        if let Some(lookup) = &lookups.lookup {
            self.section("context.lookup");
            self.text("user", &lookup.user);
            self.optional("password", lookup.password.as_ref().map(|_| HIDDEN));
            self.text("database", &lookup.database);
            self.text("timeout", &units::show(lookup.timeout));
            self.bare("connections", lookup.connections);
            self.text("ttl", &units::show(lookup.ttl));
            self.text("denied_ttl", &units::show(lookup.denied_ttl));
            self.text("unnotified_ttl", &units::show(lookup.unnotified_ttl));
            self.bare("entries", lookup.entries);
            self.text("channel", &lookup.channel);
        }
        if let Some(session_token) = &lookups.session_token {
            self.section("context.session_token");
            self.text("query", &session_token.query);
            self.text("hash", session_token.hash.as_str());
        }
        let queries = [
            ("resolver", &lookups.resolver),
            ("membership", &lookups.membership),
            ("tenants", &lookups.tenants),
        ];
        for (section, query) in queries {
            if let Some(query) = query {
                self.section(&format!("context.{section}"));
                self.text("query", query);
            }
        }
        if !lookups.claimants.is_empty() {
            self.section("context.claim");
            self.list("users", lookups.claimants.iter().cloned());
        }
        self.section("context.token");
        self.list("carriers", lookups.carriers.iter().map(|carrier| carrier.as_str().to_owned()));
        self.bare("max_bytes", lookups.max_token_bytes);
    }

    fn tls(&mut self, tls: &ClientTls) {
        self.section("tls");
        self.text("mode", tls.mode.as_str());
        self.path("cert", tls.identity.as_ref().map(|identity| identity.cert.as_path()));
        self.path("key", tls.identity.as_ref().map(|identity| identity.key.as_path()));
        match &tls.client_cert {
            ClientCert::None => self.text("client_cert", "none"),
            ClientCert::Verify { ca } => {
                self.text("client_cert", "verify");
                self.path("client_ca", Some(ca));
            }
        }
    }

    fn admin(&mut self, admin: Option<&Admin>) {
        self.section("admin");
        self.text("listen", &address(admin));
        let token = admin.and_then(|admin| admin.token.as_ref());
        self.optional("token", token.map(|_| HIDDEN));
    }

    fn tcp(&mut self, tcp: &Tcp) {
        self.section("tcp");
        match tcp.keepalive {
            None => self.text("keepalive_idle", "off"),
            Some(keepalive) => {
                self.text("keepalive_idle", &units::show(keepalive.idle));
                self.text("keepalive_interval", &units::show(keepalive.interval));
                self.bare("keepalive_count", keepalive.count);
            }
        }
        self.text("user_timeout", &tcp.user_timeout.map_or_else(|| "off".to_owned(), units::show));
    }

    fn limits(&mut self, limits: &Limits) {
        self.section("limits");
        self.bare("message_bytes", limits.message_bytes);
        self.bare("query_bytes", limits.query_bytes);
        self.bare("token_bytes", limits.token_bytes);
        self.bare("max_clients", limits.max_clients);
        self.number("max_clients_per_user", limits.max_clients_per_user);
        self.bare("prepared_statements", limits.prepared_statements);
        self.duration("client_idle_timeout", limits.client_idle_timeout);
        self.duration("idle_in_transaction_timeout", limits.idle_in_transaction_timeout);
        self.duration("statement_timeout", limits.statement_timeout);
        self.text("login_timeout", &units::show(limits.login_timeout));
        self.bare("login_failures", limits.login_failures);
        self.text("login_delay", &units::show(limits.login_delay));
        self.text("login_delay_max", &units::show(limits.login_delay_max));
        self.text("drain_timeout", &units::show(limits.drain_timeout));
    }

    fn service(&mut self, name: &str, service: &Service) {
        self.section(&format!("service.{name}"));
        self.optional("user", service.signs.user.as_deref());
        self.optional("certificate", service.signs.certificate.as_deref());
        let claim = service.signs.claim.as_ref();
        let claim = claim.map(|(path, value)| format!("{path}={}", syntax::quote(value, '\'')));
        self.optional("claim", claim.as_deref());
        self.text("upstream_user", &service.upstream_user);
        self.optional("upstream_password", service.upstream_password.as_ref().map(|_| HIDDEN));
        self.optional("reason", service.reason.as_ref().map(ToString::to_string).as_deref());
        if !service.addresses.is_empty() {
            self.list("addresses", service.addresses.iter().map(ToString::to_string));
        }
        self.optional("expires", service.expires.map(|moment| moment.to_string()).as_deref());
        self.bare("max_sessions", service.max_sessions);
        self.text("pooling", service.pooling.as_str());
    }

    fn modes(&mut self, key: &str, modes: &BTreeMap<String, Mode>) {
        for (name, mode) in modes {
            self.section(&format!("{key}.{}", quoted(name)));
            self.text("mode", mode.as_str());
        }
    }
}

/// Where the admin listener listens, or `off`.
pub(crate) fn address(admin: Option<&Admin>) -> String {
    let address = admin.map(|admin| Endpoint::Tcp(admin.host.clone(), admin.port).to_string());
    address.unwrap_or_else(|| "off".to_owned())
}

/// The URL without its password.
fn upstream_url(upstream: &Upstream) -> String {
    let login = upstream.user.as_ref().map(|user| format!("{}@", url::encode(user))).unwrap_or_default();
    let host = match &upstream.endpoint {
        Endpoint::Tcp(..) => upstream.endpoint.to_string(),
        Endpoint::Unix { directory, port } => {
            format!("{}:{port}", url::encode(&directory.to_string_lossy()))
        }
    };
    let database =
        upstream.database.as_ref().map(|name| format!("/{}", url::encode(name))).unwrap_or_default();
    format!("postgres://{login}{host}{database}")
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
