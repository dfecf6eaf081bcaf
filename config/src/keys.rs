//! Every key of the file, and the environment variable that says the same.

/// The variable that names the file itself; it has no key in the file.
pub(crate) const CONFIG: &str = "PGWARDEN_CONFIG";

/// What every variable of pgwarden starts with.
pub const PREFIX: &str = "PGWARDEN_";

/// The keys, dotted. The last six hold a whole tree of their own.
pub(crate) const KEYS: &[(&str, Option<&str>)] = &[
    ("listen", Some("PGWARDEN_LISTEN")),
    ("proxy_protocol", Some("PGWARDEN_PROXY_PROTOCOL")),
    ("unix_socket_permissions", None),
    ("mode", Some("PGWARDEN_MODE")),
    ("workers", Some("PGWARDEN_WORKERS")),
    ("takeover", Some("PGWARDEN_TAKEOVER")),
    ("upstream.url", Some("PGWARDEN_UPSTREAM")),
    ("upstream.password", None),
    ("upstream.connect_timeout", None),
    ("upstream.downstream_pooler", None),
    ("upstream.max_backends", None),
    ("upstream.tls.mode", None),
    ("upstream.tls.root_cert", None),
    ("upstream.tls.cert", None),
    ("upstream.tls.key", None),
    ("upstream.tls.channel_binding", None),
    ("pool.mode", Some("PGWARDEN_POOL_MODE")),
    ("pool.size", Some("PGWARDEN_POOL_SIZE")),
    ("pool.pins", Some("PGWARDEN_PINS")),
    ("pool.checkout_timeout", None),
    ("pool.idle_timeout", None),
    ("pool.max_lifetime", None),
    ("pool.prepared_statements", None),
    ("pool.reassert", None),
    ("auth.method", Some("PGWARDEN_AUTH")),
    ("auth.users_file", Some("PGWARDEN_USERS_FILE")),
    ("auth.trust_remote", None),
    ("auth.query.user", Some("PGWARDEN_AUTH_QUERY_USER")),
    ("auth.query.password", Some("PGWARDEN_AUTH_QUERY_PASSWORD")),
    ("auth.query.database", None),
    ("auth.query.sql", Some("PGWARDEN_AUTH_QUERY")),
    ("auth.query.ttl", None),
    ("auth.query.unknown_ttl", None),
    ("auth.query.timeout", None),
    ("auth.query.max_entries", None),
    ("auth.jwt.key", Some("PGWARDEN_JWT_KEY")),
    ("auth.jwt.refresh", None),
    ("auth.jwt.issuer", Some("PGWARDEN_JWT_ISSUER")),
    ("auth.jwt.audience", Some("PGWARDEN_JWT_AUDIENCE")),
    ("auth.jwt.algorithms", Some("PGWARDEN_JWT_ALGORITHMS")),
    ("auth.jwt.leeway", None),
    ("auth.oauth.issuer", None),
    ("auth.oauth.scope", None),
    ("context.missing", None),
    ("context.default_tenant", None),
    ("context.default_user", None),
    ("context.tenant_claim", None),
    ("context.user_claim", None),
    ("context.role", None),
    ("context.anonymous_role", None),
    ("context.role_claim", None),
    ("context.roles", None),
    ("context.max_value_bytes", None),
    ("context.max_claims_bytes", None),
    ("context.seal.key", Some("PGWARDEN_SEAL_KEY")),
    ("context.seal.lifetime", None),
    ("context.seal.variable", None),
    ("context.lookup.user", None),
    ("context.lookup.password", None),
    ("context.lookup.database", None),
    ("context.lookup.timeout", None),
    ("context.lookup.connections", None),
    ("context.lookup.ttl", None),
    ("context.lookup.denied_ttl", None),
    ("context.lookup.unnotified_ttl", None),
    ("context.lookup.entries", None),
    ("context.lookup.channel", None),
    ("context.session_token.query", None),
    ("context.session_token.hash", None),
    ("context.resolver.query", None),
    ("context.membership.query", None),
    ("context.tenants.query", None),
    ("context.claim.users", None),
    ("context.token.carriers", None),
    ("context.token.max_bytes", None),
    ("guard.mode", Some("PGWARDEN_GUARD")),
    ("guard.functions", Some("PGWARDEN_GUARD_FUNCTIONS")),
    ("shadow.tenant_columns", Some("PGWARDEN_TENANT_COLUMNS")),
    ("shadow.global_tenants", None),
    ("shadow.null_is_global", None),
    ("shadow.observer.user", Some("PGWARDEN_OBSERVER_USER")),
    ("shadow.observer.password", Some("PGWARDEN_OBSERVER_PASSWORD")),
    ("shadow.observer.databases", None),
    ("shadow.observer.interval", None),
    ("shadow.observer.timeout", None),
    ("shadow.rows.look", None),
    ("shadow.rows.guard", Some("PGWARDEN_ROW_GUARD")),
    ("shadow.rows.window", None),
    ("shadow.writes.rows", None),
    ("shadow.replay.mode", Some("PGWARDEN_REPLAY")),
    ("shadow.replay.first", None),
    ("shadow.replay.rate", Some("PGWARDEN_REPLAY_RATE")),
    ("shadow.replay.concurrency", None),
    ("shadow.replay.queue", None),
    ("shadow.replay.statement_timeout", None),
    ("shadow.replay.max_bytes", None),
    ("shadow.replay.slower", None),
    ("shadow.replay.slower_by", None),
    ("tls.mode", Some("PGWARDEN_TLS_MODE")),
    ("tls.cert", Some("PGWARDEN_TLS_CERT")),
    ("tls.key", Some("PGWARDEN_TLS_KEY")),
    ("tls.client_ca", Some("PGWARDEN_TLS_CLIENT_CA")),
    ("tls.client_cert", None),
    ("admin.listen", Some("PGWARDEN_ADMIN")),
    ("admin.token", None),
    ("log.level", Some("PGWARDEN_LOG")),
    ("log.format", Some("PGWARDEN_LOG_FORMAT")),
    ("log.account_interval", None),
    ("audit.directory", Some("PGWARDEN_AUDIT")),
    ("audit.required", None),
    ("audit.instance", None),
    ("audit.window", None),
    ("audit.coverage_window", None),
    ("audit.sorts", None),
    ("audit.segment_bytes", None),
    ("audit.segment_age", None),
    ("audit.keep_for", None),
    ("audit.keep_bytes", None),
    ("audit.fsync", None),
    ("audit.fsync_interval", None),
    ("audit.signing_key", None),
    ("audit.checkpoint_interval", None),
    ("audit.checkpoints", None),
    ("audit.pseudonym_key", None),
    ("audit.postgres.url", None),
    ("audit.postgres.password", None),
    ("audit.postgres.timeout", None),
    ("audit.postgres.batch", None),
    ("audit.otlp.endpoint", None),
    ("audit.otlp.headers", None),
    ("audit.otlp.resource", None),
    ("audit.otlp.root_cert", None),
    ("audit.otlp.timeout", None),
    ("audit.otlp.batch", None),
    ("audit.syslog.address", None),
    ("audit.syslog.facility", None),
    ("audit.syslog.root_cert", None),
    ("audit.syslog.timeout", None),
    ("audit.syslog.batch", None),
    ("report.min_days", Some("PGWARDEN_REPORT_MIN_DAYS")),
    ("report.min_replays", None),
    ("report.max_uncovered", None),
    ("tcp.keepalive_idle", None),
    ("tcp.keepalive_interval", None),
    ("tcp.keepalive_count", None),
    ("tcp.user_timeout", None),
    ("limits.message_bytes", None),
    ("limits.query_bytes", None),
    ("limits.token_bytes", None),
    ("limits.max_clients", None),
    ("limits.max_clients_per_user", None),
    ("limits.prepared_statements", None),
    ("limits.client_idle_timeout", None),
    ("limits.idle_in_transaction_timeout", None),
    ("limits.statement_timeout", None),
    ("limits.login_timeout", None),
    ("limits.login_failures", None),
    ("limits.login_delay", Some("PGWARDEN_LOGIN_DELAY")),
    ("limits.login_delay_max", None),
    ("limits.drain_timeout", Some("PGWARDEN_DRAIN_TIMEOUT")),
    ("context.variables", Some("PGWARDEN_CONTEXT")),
    ("context.fixed", Some("PGWARDEN_FIXED")),
    ("auth.rules", None),
    ("databases", None),
    ("users", None),
    ("service", None),
];

/// The key that an environment variable stands for.
pub(crate) fn of_variable(name: &str) -> Option<&'static str> {
    KEYS.iter().find(|(_, variable)| *variable == Some(name)).map(|(key, _)| *key)
}

/// Whether this dotted path is a key.
pub(crate) fn is_key(path: &str) -> bool {
    KEYS.iter().any(|(key, _)| *key == path)
}

/// Whether keys live under this dotted path.
pub(crate) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|(key, _)| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The names that may stand directly in a section, for a message; `""` is the top level.
pub(crate) fn names_in(section: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for (key, _) in KEYS {
        let rest = if section.is_empty() {
            Some(*key)
        } else {
            key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'))
        };
        let name = rest.and_then(|rest| rest.split('.').next());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// The key that was probably meant.
pub(crate) fn nearest_key(path: &str) -> Option<&'static str> {
    nearest(path, KEYS.iter().map(|(key, _)| *key))
}

/// The variable that was probably meant.
pub(crate) fn nearest_variable(name: &str) -> Option<&'static str> {
    nearest(name, KEYS.iter().filter_map(|(_, variable)| *variable).chain([CONFIG]))
}

/// The closest of the candidates, if it is close enough to be a slip of the hand.
fn nearest(text: &str, candidates: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let reach = 1 + text.chars().count() / 6;
    let measured = candidates.map(|candidate| (distance(text, candidate), candidate));
    measured.min_by_key(|(distance, _)| *distance).filter(|(distance, _)| *distance <= reach).map(|(_, c)| c)
}

/// How many single-character edits lead from one text to the other (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, left) in from.chars().enumerate() {
        let mut next = vec![line + 1];
        let mut last = line + 1;
        for ((right, above), corner) in to.chars().zip(row.iter().skip(1)).zip(row.iter()) {
            last = (last + 1).min(above + 1).min(corner + usize::from(left != right));
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
