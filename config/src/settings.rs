//! The configuration as it is meant: complete and checked.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::audit::{self, Audit};
use crate::auth::{self, Auth};
use crate::context::{self, ContextSettings};
use crate::endpoint::{self, Endpoint};
use crate::guard::{self, Guard};
use crate::limits::{self, Limits};
use crate::method_needs::{self, Surroundings};
use crate::mistake::Fault;
use crate::network::Neighbour;
use crate::pool::{self, Pool};
use crate::reader::{self, Reader, single};
use crate::secret::SecretText;
use crate::service::Service;
use crate::service_reader;
use crate::shadow::{self, Shadow};
use crate::sinks::{self, Sinks};
use crate::tcp::{self, Tcp};
use crate::tls::{self, ClientTls};
use crate::upstream::{self, Upstream};
use crate::word::{Word, words};
use crate::written::Value;

const LISTEN: &str = "127.0.0.1:6432";
const ACCOUNT_INTERVAL: Duration = Duration::from_secs(300);
const ADMIN: (&str, u16) = ("127.0.0.1", 6433);

/// How far pgwarden goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The context is injected; nothing is refused or recorded.
    Passthrough,
    /// What `enforce` would refuse is recorded and runs.
    Shadow,
    /// What is not allowed is refused.
    Enforce,
}

words!(Mode { Passthrough = "passthrough", Shadow = "shadow", Enforce = "enforce" });

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object on each line.
    Json,
}

words!(LogFormat { Pretty = "pretty", Json = "json" });

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// A level, or directives like `info,pgwarden_session=debug`.
    pub level: String,
    /// The form of the lines.
    pub format: LogFormat,
    /// How often the account of a service's session is logged while it lasts.
    pub account_interval: Duration,
}

/// The listener for health checks and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Host name or address; `*` means every address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What a caller must bring; present unless the host is loopback.
    pub token: Option<SecretText>,
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where clients connect; at least one.
    pub listen: Vec<Endpoint>,
    /// Who may connect to unix sockets, as mode bits of their files; the umask decides if not said.
    pub unix_socket_permissions: Option<u32>,
    /// Those who bring clients, and say whose address is whose.
    pub proxy_protocol: Vec<Neighbour>,
    /// The server behind.
    pub upstream: Upstream,
    /// The mode where nothing else is said.
    pub mode: Mode,
    /// The mode by database.
    pub databases: BTreeMap<String, Mode>,
    /// The mode by user; goes before that by database.
    pub users: BTreeMap<String, Mode>,
    /// How backends are shared.
    pub pool: Pool,
    /// How clients prove who they are.
    pub auth: Auth,
    /// What goes into every transaction.
    pub context: ContextSettings,
    /// What keeps clients from changing it.
    pub guard: Guard,
    /// What shadow mode looks at.
    pub shadow: Shadow,
    /// Who acts for no tenant, by name.
    pub services: BTreeMap<String, Service>,
    /// Who follows the audit trail.
    pub sinks: Sinks,
    /// TLS towards clients.
    pub tls: ClientTls,
    /// The listener for health checks and metrics, unless it is off.
    pub admin: Option<Admin>,
    /// The number of worker threads.
    pub workers: NonZeroUsize,
    /// The unix socket at which another process takes over, if one may.
    pub takeover: Option<PathBuf>,
    /// What is logged.
    pub log: Log,
    /// What is recorded.
    pub audit: Audit,
    /// How dead peers are noticed.
    pub tcp: Tcp,
    /// What is too much.
    pub limits: Limits,
}

impl Settings {
    /// The mode for a session: that of its user, else that of its database, else the general one.
    #[must_use]
    pub fn mode_for(&self, database: &str, user: &str) -> Mode {
        let special = self.users.get(user).or_else(|| self.databases.get(database));
        special.copied().unwrap_or(self.mode)
    }
}

/// Reads everything; nothing without an upstream.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Option<Settings> {
    let listen = listen(reader);
    let unix_socket_permissions = reader.parse("unix_socket_permissions", endpoint::permissions);
    let proxy_protocol = proxy_protocol(reader);
    let upstream = upstream::resolve(reader);
    let pool = pool::resolve(reader);
    let (auth, rules) = auth::resolve(reader, upstream.as_ref());
    let tls = tls::resolve(reader);
    let (proxies, behind) = (proxy_protocol.as_slice(), upstream.as_ref());
    let surroundings = Surroundings { listen: &listen, proxies, upstream: behind, tls: &tls, pool: &pool };
    method_needs::check(reader, &auth, &rules, &surroundings);
    let context = context::resolve(reader, &auth, upstream.as_ref());
    let guard = guard::resolve(reader);
    let shadow = shadow::resolve(reader, upstream.as_ref());
    let around = service_reader::Surroundings {
        auth: &auth,
        tls: &tls,
        context: &context,
        upstream: upstream.as_ref(),
    };
    let services = service_reader::resolve(reader, &around);
    let sinks = sinks::resolve(reader);
    let mode = mode(reader);
    let databases = modes(reader, "databases");
    let users = modes(reader, "users");
    check_enforce(reader, mode, &databases, &users);
    let admin = admin(reader);
    let workers = workers(reader);
    let takeover = reader.parse("takeover", endpoint::socket_path);
    let log = log(reader);
    let audit = audit::resolve(reader);
    let tcp = tcp::resolve(reader);
    let limits = limits::resolve(reader);
    let upstream = upstream?;
    Some(Settings {
        listen,
        unix_socket_permissions,
        proxy_protocol,
        upstream,
        mode,
        databases,
        users,
        pool,
        auth,
        context,
        guard,
        shadow,
        services,
        sinks,
        tls,
        admin,
        workers,
        takeover,
        log,
        audit,
        tcp,
        limits,
    })
}

fn listen(reader: &mut Reader<'_>) -> Vec<Endpoint> {
    const KEY: &str = "listen";
    let mut endpoints = Vec::new();
    let Some(items) = reader.items(KEY) else {
        return Endpoint::parse(LISTEN).into_iter().collect();
    };
    if items.is_empty() && !reader.is_spoiled(KEY) {
        reader.wrong(KEY, Fault::new("is empty", "at least one address"));
    }
    for item in items {
        let Some(endpoint) = reader.keep(Endpoint::parse(&item.text), &item.origin, KEY) else { continue };
        if endpoints.contains(&endpoint) {
            let fault = Fault::new(format!("{endpoint} is given twice"), "each address once");
            reader.wrong_at(item.origin, KEY, fault);
        } else {
            endpoints.push(endpoint);
        }
    }
    endpoints
}

fn proxy_protocol(reader: &mut Reader<'_>) -> Vec<Neighbour> {
    const KEY: &str = "proxy_protocol";
    let items = reader.items(KEY).unwrap_or_default();
    items
        .into_iter()
        .filter_map(|item| reader.keep(Neighbour::parse(&item.text), &item.origin, KEY))
        .collect()
}

/// A mode must be chosen as soon as there is a context; without one there is nothing to choose.
fn mode(reader: &mut Reader<'_>) -> Mode {
    let written = reader.word("mode");
    let context = ["context.variables", "context.fixed"].into_iter().find(|key| reader.is_written(key));
    if let (false, Some(context)) = (reader.is_written("mode"), context) {
        let problem = format!("is missing, {context} makes it necessary");
        reader.wrong("mode", Fault::new(problem, format!("one of {}", Mode::listed())));
    }
    written.unwrap_or(Mode::Passthrough)
}

/// Reads `[databases.NAME] mode = …` or `[users.NAME] mode = …`.
fn modes(reader: &mut Reader<'_>, key: &str) -> BTreeMap<String, Mode> {
    let mut modes = BTreeMap::new();
    let Some(node) = reader.node(key) else { return modes };
    let Value::Table(names) = &node.value else {
        reader.wrong(key, Fault::new("is not a table", format!("[{key}.NAME] with a mode")));
        return modes;
    };
    for (name, origin, node) in names {
        let path = format!("{key}.{name}");
        let Value::Table(fields) = &node.value else {
            let fault = Fault::new("is not a table", format!("[{path}] with a mode"));
            reader.wrong_at(node.origin.clone(), &path, fault);
            continue;
        };
        for (field, origin, _) in fields.iter().filter(|(field, ..)| field != "mode") {
            let fault = Fault::new("unknown key", "mode");
            reader.wrong_at(origin.clone(), &format!("{path}.{field}"), fault);
        }
        let Some((.., value)) = fields.iter().find(|(field, ..)| field == "mode") else {
            let fault = Fault::new("is missing", format!("one of {}", Mode::listed()));
            reader.wrong_at(origin.clone(), &format!("{path}.mode"), fault);
            continue;
        };
        let read = single(value).and_then(Mode::from_word);
        let mode = reader.keep(read, &value.origin, &format!("{path}.mode"));
        modes.extend(mode.map(|mode| (name.clone(), mode)));
    }
    modes
}

/// `enforce` with nothing to inject would protect nothing, and look as if it did.
fn check_enforce(
    reader: &mut Reader<'_>,
    mode: Mode,
    databases: &BTreeMap<String, Mode>,
    users: &BTreeMap<String, Mode>,
) {
    let in_map = |map: &BTreeMap<String, Mode>| map.values().any(|mode| *mode == Mode::Enforce);
    let key = match (mode, in_map(databases), in_map(users)) {
        (Mode::Enforce, ..) => "mode",
        (_, true, _) => "databases",
        (_, _, true) => "users",
        _ => return,
    };
    if !reader.is_written("context.variables") {
        reader.wrong(key, Fault::new("enforce has nothing to inject", "context.variables as well"));
    }
}

fn admin(reader: &mut Reader<'_>) -> Option<Admin> {
    const KEY: &str = "admin.listen";
    let token = reader.secret("admin.token");
    let (host, port) = match reader.parse(KEY, admin_address) {
        Some(address) => address?,
        None => (ADMIN.0.to_owned(), ADMIN.1),
    };
    if !endpoint::is_loopback(&host) && !reader.is_written("admin.token") {
        let fault =
            Fault::new("is missing, other machines reach the admin listener", "file:PATH or env:NAME");
        reader.missing("admin.token", KEY, fault);
    }
    Some(Admin { host, port, token })
}

fn admin_address(text: &str) -> Result<Option<(String, u16)>, Fault> {
    const EXPECTED: &str = "host:port or off";
    if text == "off" {
        return Ok(None);
    }
    match Endpoint::parse(text).map_err(|fault| Fault::new(fault.problem, EXPECTED))? {
        Endpoint::Tcp(host, port) => Ok(Some((host, port))),
        Endpoint::Unix { .. } => Err(Fault::new("is a socket directory", EXPECTED)),
    }
}

fn workers(reader: &mut Reader<'_>) -> NonZeroUsize {
    let read = reader.parse("workers", |text| match text {
        "auto" => Ok(None),
        _ => reader::number(text, &(1..=1_024))
            .map(NonZeroUsize::new)
            .map_err(|fault| Fault::new(fault.problem, format!("{} or auto", fault.expected))),
    });
    read.flatten().unwrap_or_else(|| {
        let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        NonZeroUsize::new(processors.get() / 2).unwrap_or(NonZeroUsize::MIN)
    })
}

fn log(reader: &mut Reader<'_>) -> Log {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(7 * 86_400));
    Log {
        level: reader.parse("log.level", log_level).unwrap_or_else(|| "info".to_owned()),
        format: reader.word("log.format").unwrap_or(LogFormat::Pretty),
        account_interval: reader.duration("log.account_interval", least, most).unwrap_or(ACCOUNT_INTERVAL),
    }
}

/// Checks each directive: a level, or `target=level`.
fn log_level(text: &str) -> Result<String, Fault> {
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    let is_target = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    for directive in text.split(',') {
        let (target, level) = directive.split_once('=').unwrap_or(("", directive));
        let named = directive.len() == level.len() || !target.is_empty();
        if !named || !is_level(level) || !target.chars().all(is_target) {
            let expected = "off, error, warn, info, debug or trace, or target=level, with commas between";
            return Err(Fault::new(format!("{directive:?} is not a level"), expected));
        }
    }
    Ok(text.to_owned())
}
