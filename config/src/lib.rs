//! The configuration: the TOML file and the environment, as written and as meant.
//!
//! There are two halves. `Written` is what the operator wrote: keys with the place where each value
//! comes from. [`Settings`] is what it means: complete, checked, with defaults filled in. Between them
//! stands [`load`], which finds *every* mistake in one go. Nothing here opens a file or reads the
//! process environment: what `file:` and `env:` name is asked of a [`Source`].
//!
//! Precedence: flags, then environment, then file, then default. `reference.toml` beside this crate
//! lists every key.

mod audit;
mod auth;
mod auth_query;
mod context;
mod effective;
mod endpoint;
mod fixed;
mod guard;
mod keys;
mod limits;
mod lookup;
mod method_needs;
mod mistake;
mod moment;
mod network;
mod oauth;
mod pool;
mod reader;
mod reload;
mod role;
mod rule_reader;
mod rules;
mod seal;
mod secret;
mod service;
mod service_reader;
mod settings;
mod shadow;
mod shadow_observer;
mod shadow_replay;
mod shadow_rows;
mod shadow_writes;
mod sinks;
mod source;
mod syntax;
mod tcp;
mod tls;
mod units;
mod upstream;
mod url;
mod variable;
mod word;
mod written;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use crate::audit::{Audit, Fsync, Required, SecondPlace};
pub use crate::auth::{Auth, Jwt, KeySource, Method, TrustRemote};
pub use crate::auth_query::AuthQuery;
pub use crate::context::{ContextSettings, Missing};
pub use crate::effective::effective;
pub use crate::endpoint::Endpoint;
pub use crate::fixed::Fixed;
pub use crate::guard::{Guard, GuardMode};
pub use crate::keys::PREFIX;
pub use crate::limits::Limits;
pub use crate::lookup::{Lookup, Lookups, SessionToken, TokenCarrier, TokenHash};
pub use crate::mistake::{Mistake, Origin};
pub use crate::moment::Moment;
pub use crate::network::{Neighbour, Network};
pub use crate::oauth::OAuth;
pub use crate::pool::{PinPolicy, Pool, PoolMode, Reassert};
pub use crate::reload::FixedKey;
pub use crate::role::RoleSettings;
pub use crate::rules::{Attempt, Connection, Names, Rule};
pub use crate::seal::SealSettings;
pub use crate::secret::SecretText;
pub use crate::service::{Pattern, Service, Signs};
pub use crate::settings::{Admin, Log, LogFormat, Mode, Settings};
pub use crate::shadow::{Shadow, TenantColumn};
pub use crate::shadow_observer::ShadowObserver;
pub use crate::shadow_replay::{ReplayMode, ShadowReplay};
pub use crate::shadow_rows::{RowGuard, RowSight, ShadowRows};
pub use crate::shadow_writes::ShadowWrites;
pub use crate::sinks::{Facility, OtlpSink, PostgresSink, Sinks, SyslogAddress, SyslogSink};
pub use crate::source::Source;
pub use crate::tcp::{Keepalive, Tcp};
pub use crate::tls::{ClientCert, ClientTls, Identity, TlsMode};
pub use crate::upstream::{ChannelBinding, Pooler, Upstream, UpstreamTls, UpstreamTlsMode};
pub use crate::variable::{ClaimPath, Kind, ValueFrom, Variable};

use crate::reader::Reader;
use crate::written::Written;

/// The text of `reference.toml`: every key, its default and what it does.
pub const REFERENCE: &str = include_str!("../reference.toml");

/// Reads the whole configuration and resolves it.
///
/// * `file`: path (for messages only) and text of the TOML file.
/// * `environment`: the process environment; only names that start with `PGWARDEN_` are looked at.
/// * `overrides`: what the command line said, under the same `PGWARDEN_*` names.
/// * `source`: answers for `file:` and `env:`, and for whether a named file can be read.
///
/// # Errors
///
/// Every mistake that was found, in the order of the file, then the environment, then the flags; each
/// names its place, its key and what was expected. No mistake shows a secret.
pub fn load(
    file: Option<(&Path, &str)>,
    environment: &[(String, String)],
    overrides: &[(String, String)],
    source: &dyn Source,
) -> Result<Settings, Vec<Mistake>> {
    let written = Written::read(file, environment, overrides)?;
    let mut reader = Reader::new(&written, source);
    let settings = settings::resolve(&mut reader);
    let mistakes = reader.into_mistakes();
    match settings {
        Some(settings) if mistakes.is_empty() => Ok(settings),
        _ => Err(mistakes),
    }
}

/// The configuration file that the flags or the environment name (`PGWARDEN_CONFIG`), if any.
#[must_use]
pub fn config_path(environment: &[(String, String)], overrides: &[(String, String)]) -> Option<PathBuf> {
    let named = |pairs: &[(String, String)]| {
        pairs.iter().rev().find(|(name, _)| name == keys::CONFIG).map(|(_, value)| PathBuf::from(value))
    };
    named(overrides).or_else(|| named(environment))
}
