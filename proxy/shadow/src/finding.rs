//! Something that the policies would have changed, and whom it concerns.
//!
//! Nothing in here is a literal, a bound value, a row or a token: what holds such things does not get here.

use crate::coverage::Detector;
use crate::kind::Kind;
use pgwarden_tenant::Mode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One finding, or several of the same kind by the same statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub kind: Kind,
    /// By whom.
    pub detector: Detector,
    /// The mode of the client.
    pub mode: Mode,
    /// What became of the statement.
    pub decision: Decision,
    /// What would have become of it.
    pub would_have: WouldHave,
    /// Whether the cause is another finding of the same statement.
    pub rule: Rule,
    /// What became of its transaction.
    pub outcome: Outcome,
    /// How often; 1 unless the detector itself counts.
    pub count: u64,
    /// Whom the statement acted for; `None` without a context.
    pub tenant: Option<Arc<Tenant>>,
    /// Who sent it.
    pub actor: Arc<Actor>,
    /// Where it ran.
    pub site: Site,
    /// What it concerns.
    pub target: Target,
    /// The command.
    pub command: Option<Command>,
    /// How many rows.
    pub rows: Rows,
    /// Whose rows, five at most.
    pub foreign_tenants: Vec<String>,
    /// The statement.
    pub query: Option<Arc<Query>>,
    /// Where in the application it comes from, as far as the statement says.
    pub origin: Option<Arc<Origin>>,
    /// What the detector has to add, without values: an SQLSTATE, a reason, times.
    pub evidence: Option<String>,
}

/// What became of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It ran.
    Allowed,
    /// It was refused, by pgwarden or by the server.
    Refused,
    /// It was cut off before a foreign row was delivered.
    Cut,
}

/// What would have become of it with the policies in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WouldHave {
    /// So many rows would have been hidden from it.
    Filtered(u64),
    /// 42501.
    Refused,
    /// Nothing else.
    None,
}

/// Whether a finding stands for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// It does.
    Primary,
    /// It follows from another finding of the same statement.
    Secondary,
}

/// What became of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was committed, or writes nothing.
    Committed,
    /// It was rolled back.
    RolledBack,
    /// It is not known: the connection was lost, or nobody waited for the end.
    Unknown,
}

/// Whom a statement acts for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tenant {
    /// The tenant, as the context says; empty where the context knows a user alone.
    pub id: String,
    /// Where that comes from.
    pub source: TenantSource,
}

/// What says whom a statement acts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantSource {
    /// A verified token.
    Token,
    /// The login, or the configuration for it.
    Login,
    /// The application itself; checked.
    Claim,
    /// The default of the configuration.
    Default,
}

/// Who has sent a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The database user that the client gave.
    pub user: String,
    /// The service, for a session of one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    /// The `application_name`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub application_name: Option<String>,
    /// The client's address without its port, or `unix`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_addr: Option<String>,
    /// The common name of its certificate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
    /// Its token, as far as it may be told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<Token>,
}

/// What may be told of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Token {
    /// The issuer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iss: Option<String>,
    /// The subject.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sub: Option<String>,
    /// Its number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub jti: Option<String>,
}

/// Where a statement ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Site {
    /// The database.
    pub database: Arc<str>,
    /// The role at the server.
    pub role: Arc<str>,
    /// The backend's process, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pid: Option<u32>,
}

/// What a finding concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The schema.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub schema: Option<String>,
    /// The table.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub table: Option<String>,
    /// The tenant column.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<String>,
    /// The policy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<String>,
}

/// The command, as policies distinguish them, and those that ask no policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Command {
    /// SELECT.
    Select,
    /// INSERT.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
    /// MERGE.
    Merge,
    /// COPY.
    Copy,
    /// TRUNCATE.
    Truncate,
    /// Anything else.
    Other,
}

/// How many rows a finding speaks of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rows {
    /// The client got, or wrote, so many.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub returned: Option<u64>,
    /// Of another tenant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub foreign: Option<u64>,
    /// The same query returned so many when it was run again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub control: Option<u64>,
    /// With the policies.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shadow: Option<u64>,
}

/// A statement without its literals.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Query {
    /// 16 hexadecimal digits, the same for all texts that differ only in literals, comments and white space.
    pub fingerprint: String,
    /// The text without literals and comments; `None` where it could not be read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
}

/// Where in the application a statement comes from, as its comments say (sqlcommenter).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The trace, from `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    /// The route, controller or action.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub route: Option<String>,
    /// The file, with its line where that is given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
}
