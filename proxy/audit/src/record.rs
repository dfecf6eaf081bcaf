//! A record: one line of the trail.
//!
//! ```text
//! {"v":1,"seq":1,"id":"…","time":"…","kind":"…", … ,"proxy":{…},"prev":"<64 digits>","hash":"<64 digits>"}
//! hash = SHA-256(the 32 bytes of prev ‖ the line without `,"hash":"…"`)
//! ```
//! The order of the keys is that of the fields below, there is no white space, and no number has a fraction; so there is
//! one way to write a record. What does not apply is left out.

use crate::chain::hashes;
use crate::detail::Detail;
use crate::event::Staging;
use crate::kind::RecordKind;
use crate::timestamp::Timestamp;
use pgwarden_shadow::{
    Command, Decision, Detector, Outcome, Query, Rows, Rule, Severity, Site, Target, TenantSource, Token,
    Uncovered, WouldHave,
};
use pgwarden_tenant::Mode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The version of the form in which records are written.
pub const VERSION: u32 = 1;

/// One line of the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The version of this form.
    pub v: u32,
    /// The number in the chain, from 1, without gaps.
    pub seq: u64,
    /// A UUID of version 7.
    pub id: String,
    /// When it was written; never before the one in front of it.
    pub time: Timestamp,
    /// What it is about.
    pub kind: RecordKind,
    /// How much it weighs.
    pub severity: Severity,
    /// The mode of the client, or for what happens to pgwarden, the general one.
    #[serde(skip_serializing_if = "Option::is_none", default, with = "mode")]
    pub mode: Option<Mode>,
    /// What became of the statement.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub decision: Option<Decision>,
    /// What would have become of it; the rows of all that are counted here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub would_have: Option<WouldHave>,
    /// Whether its cause is another finding of the same statement.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<Rule>,
    /// What became of the transaction.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outcome: Option<Outcome>,
    /// Which finding it is: the same for kind, table, policy, command and fingerprint ([`finding_id`](crate::finding_id)).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finding: Option<String>,
    /// How many this record stands for: findings of one sort within a window, or executions.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub count: Option<u64>,
    /// When they happened.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seen: Option<Seen>,
    /// Whom the statement acted for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tenant: Option<RecordedTenant>,
    /// Who sent it; where several are counted, who sent the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub actor: Option<RecordedActor>,
    /// Where it ran.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub backend: Option<Site>,
    /// What it concerns.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<Target>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<Command>,
    /// How many rows, of all that are counted here.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rows: Option<Rows>,
    /// Whose rows, five at most.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub foreign_tenants: Vec<String>,
    /// The statement.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub query: Option<Arc<Query>>,
    /// Where in the application it comes from, as it says itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<RecordedOrigin>,
    /// What it rests on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub evidence: Option<Evidence>,
    /// What was looked at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub coverage: Option<Covered>,
    /// A service's account.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<serde_json::Value>,
    /// A step of the way to enforcement.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub staging: Option<Box<Staging>>,
    /// What else belongs to this kind.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<Box<Detail>>,
    /// Who wrote it.
    pub proxy: Arc<Proxy>,
    /// The hash of the record before, as 64 hexadecimal digits; zeros in front of the first.
    pub prev: String,
    /// The hash of this one.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub hash: String,
}

/// When the first and the last of several happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The first.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
}

/// Whom a statement acted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedTenant {
    /// The tenant, or its pseudonym.
    pub id: String,
    /// What says so.
    pub source: TenantSource,
    /// Whether that was verified; a default is not.
    pub verified: bool,
}

/// Who sent a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedActor {
    /// The database user.
    pub user: String,
    /// The service.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub service: Option<String>,
    /// The `application_name`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub application_name: Option<String>,
    /// The address, or `unix`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_addr: Option<String>,
    /// The common name of the certificate, or its pseudonym.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
    /// What may be told of the token; subject and number may be pseudonyms.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token: Option<Token>,
    /// The trace, as the statement says.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
}

/// Where in the application a statement comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedOrigin {
    /// The route, controller or action.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub route: Option<String>,
    /// The file, with its line where that is given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
}

/// What a finding rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Who looked.
    pub detector: Detector,
    /// What it had to add.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub samples: Option<String>,
}

/// What was looked at, or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// Who looked.
    pub detector: Detector,
    /// The tables that the query names.
    pub tables: Vec<String>,
    /// Why it was not looked at; left out where it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uncovered: Option<Uncovered>,
}

/// The pgwarden that wrote a record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Its name.
    pub instance: String,
    /// Its version.
    pub version: String,
    /// The hash of its configuration, secrets aside.
    pub config_hash: String,
    /// The hash of the policies of the database that the record is about, once they are known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy_hash: Option<String>,
}

impl Record {
    /// A record of this kind that says nothing else yet, and has no place in a chain.
    #[must_use]
    pub fn of(kind: impl Into<RecordKind>) -> Self {
        let kind = kind.into();
        Self {
            v: VERSION,
            seq: 0,
            id: String::new(),
            time: Timestamp::default(),
            kind,
            severity: kind.severity(),
            mode: None,
            decision: None,
            would_have: None,
            rule: None,
            outcome: None,
            finding: None,
            count: None,
            seen: None,
            tenant: None,
            actor: None,
            backend: None,
            target: None,
            command: None,
            rows: None,
            foreign_tenants: Vec::new(),
            query: None,
            origin: None,
            evidence: None,
            coverage: None,
            service: None,
            staging: None,
            detail: None,
            proxy: Arc::default(),
            prev: String::new(),
            hash: String::new(),
        }
    }

    /// Reads a line without its line feed. Nothing if it is no record, or not the one that was written.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?;
        let record: Self = serde_json::from_str(text).ok()?;
        let (said, is) = hashes(text, &record.prev)?;
        (said == is).then_some(record)
    }

    /// The same with something that belongs to this kind.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// The database that it is about.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        let of_staging = || self.staging.as_ref().map(|staging| staging.database.as_str());
        self.backend.as_ref().map(|site| &*site.database).or_else(of_staging)
    }
}

/// A mode as a word.
mod mode {
    use pgwarden_tenant::Mode;
    use serde::{Deserialize, Deserializer, Serializer, de};

    const WORDS: [(&str, Mode); 3] =
        [("passthrough", Mode::Passthrough), ("shadow", Mode::Shadow), ("enforce", Mode::Enforce)];

    #[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
    pub(super) fn serialize<S: Serializer>(mode: &Option<Mode>, to: S) -> Result<S::Ok, S::Error> {
        match WORDS.iter().find(|(_, one)| Some(*one) == *mode) {
            Some((word, _)) => to.serialize_str(word),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mode>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let found = WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, mode)| Some(*mode)).ok_or_else(|| de::Error::custom("no mode"))
    }
}
