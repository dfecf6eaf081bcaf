//! Records of what happened: how events become them.

use crate::detail::Detail;
use crate::event::Staging;
use crate::hash::{hex, sha256};
use crate::kind::{Life, RecordKind};
use crate::pseudonym::Pseudonyms;
use crate::record::{Covered, Evidence, Record, RecordedActor, RecordedOrigin, RecordedTenant, Seen};
use pgwarden_shadow::{Actor, Coverage, Finding, Origin, PolicyDigest, Tenant, TenantSource, Token};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The longest text of a statement, in bytes, and of anything else that a client or a detector says.
const LONGEST_QUERY: usize = 16 * 1024;
const LONGEST: usize = 512;
/// How deeply a detail may be nested: readers of JSON have limits, and a record has to be readable.
const DEEPEST: usize = 32;
/// The most foreign tenants that are named.
const FOREIGN: usize = 5;

/// Which finding this is: 16 hexadecimal digits, the same for kind, table, policy, command and fingerprint.
#[must_use]
pub fn finding_id(finding: &Finding) -> String {
    let word = |text: Option<&String>| text.map(String::as_str).unwrap_or_default().to_owned();
    let target = &finding.target;
    let command =
        finding.command.and_then(|command| serde_json::to_string(&command).ok()).unwrap_or_default();
    let fingerprint = finding.query.as_ref().map(|query| query.fingerprint.clone()).unwrap_or_default();
    let (schema, table, policy) =
        (word(target.schema.as_ref()), word(target.table.as_ref()), word(target.policy.as_ref()));
    let parts = [finding.kind.label(), &fingerprint, &schema, &table, &command, &policy].join("\0");
    hex(sha256(&[parts.as_bytes()]).get(..8).unwrap_or_default())
}

impl Record {
    /// What detectors have found, all of one sort.
    #[must_use]
    pub fn finding(finding: &Finding, seen: Seen, pseudonyms: Option<&Pseudonyms>) -> Self {
        let kind = RecordKind::Finding(finding.kind);
        let name = |id: &String| pseudonyms.map_or_else(|| short(id, LONGEST), |some| some.tenant(id));
        Self {
            mode: Some(finding.mode),
            decision: Some(finding.decision),
            would_have: Some(finding.would_have),
            rule: Some(finding.rule),
            outcome: Some(finding.outcome),
            finding: Some(finding_id(finding)),
            count: Some(finding.count),
            seen: Some(seen),
            tenant: finding.tenant.as_deref().map(|tenant| recorded_tenant(tenant, name(&tenant.id))),
            actor: Some(recorded_actor(&finding.actor, finding.origin.as_deref(), pseudonyms)),
            backend: Some(finding.site.clone()),
            target: Some(finding.target.clone()),
            command: finding.command,
            rows: Some(finding.rows),
            foreign_tenants: finding.foreign_tenants.iter().take(FOREIGN).map(name).collect(),
            query: finding.query.clone().map(bounded),
            origin: finding.origin.as_deref().and_then(recorded_origin),
            evidence: Some(Evidence {
                detector: finding.detector,
                samples: finding.evidence.as_deref().map(|text| short(text, LONGEST)),
            }),
            ..Self::of(kind)
        }
    }

    /// What was looked at, or not.
    #[must_use]
    pub fn coverage(coverage: &Coverage, seen: Seen) -> Self {
        Self {
            count: Some(coverage.count),
            seen: Some(seen),
            backend: Some(coverage.site.clone()),
            query: Some(bounded(Arc::clone(&coverage.query))),
            coverage: Some(Covered {
                detector: coverage.detector,
                tables: coverage.tables.clone(),
                uncovered: coverage.uncovered,
            }),
            ..Self::of(Life::Coverage)
        }
    }

    /// A service's account.
    #[must_use]
    pub fn service(account: Value) -> Self {
        Self { service: Some(account), ..Self::of(Life::Service) }
    }

    /// A step of the way to enforcement.
    #[must_use]
    pub fn staging(mut staging: Box<Staging>) -> Self {
        if is_deeper(&staging.detail, DEEPEST) {
            staging.detail = "nested too deeply to be recorded".into();
        }
        Self { staging: Some(staging), ..Self::of(Life::Staging) }
    }

    /// The policies of a database are others than before.
    #[must_use]
    pub fn policies_changed(database: String, hash: String, tables: BTreeMap<String, PolicyDigest>) -> Self {
        Self::of(Life::PoliciesChanged).with(Detail::PoliciesChanged(database, hash, tables))
    }
}

fn recorded_tenant(tenant: &Tenant, id: String) -> RecordedTenant {
    RecordedTenant { id, source: tenant.source, verified: tenant.source != TenantSource::Default }
}

fn recorded_actor(actor: &Actor, origin: Option<&Origin>, pseudonyms: Option<&Pseudonyms>) -> RecordedActor {
    let said = |text: &Option<String>| text.as_deref().map(|text| short(text, LONGEST));
    let user = |id: &Option<String>| match pseudonyms {
        Some(some) => id.as_deref().map(|id| some.user(id)),
        None => said(id),
    };
    let token = |token: &Token| Token { iss: said(&token.iss), sub: user(&token.sub), jti: user(&token.jti) };
    RecordedActor {
        user: short(&actor.user, LONGEST),
        service: actor.service.clone(),
        application_name: said(&actor.application_name),
        client_addr: actor.client_addr.clone(),
        certificate: user(&actor.certificate),
        token: actor.token.as_ref().map(token),
        trace_id: origin.and_then(|origin| said(&origin.trace_id)),
    }
}

fn recorded_origin(origin: &Origin) -> Option<RecordedOrigin> {
    let said = |text: &Option<String>| text.as_deref().map(|text| short(text, LONGEST));
    let (route, file) = (said(&origin.route), said(&origin.file));
    (route.is_some() || file.is_some()).then_some(RecordedOrigin { route, file })
}

/// A statement whose text is not longer than a record should be.
fn bounded(query: Arc<pgwarden_shadow::Query>) -> Arc<pgwarden_shadow::Query> {
    match &query.text {
        Some(text) if text.len() > LONGEST_QUERY => {
            let text = Some(short(text, LONGEST_QUERY));
            Arc::new(pgwarden_shadow::Query { fingerprint: query.fingerprint.clone(), text })
        }
        _ => query,
    }
}

fn is_deeper(value: &Value, levels: usize) -> bool {
    let inside = |value: &Value| levels == 0 || is_deeper(value, levels - 1);
    match value {
        Value::Array(values) => values.iter().any(inside),
        Value::Object(values) => values.values().any(inside),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The text, cut off behind so many bytes at most.
fn short(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Step;

    #[test]
    fn what_is_cut_off_ends_with_a_whole_character() {
        assert_eq!(short("abc", 3), "abc");
        assert_eq!(short("äöü", 3), "ä…");
    }

    #[test]
    fn a_record_can_be_read_however_deep_the_detail_of_a_step_is() {
        let deep = (0..200).fold(Value::Null, |inside, _| Value::Array(vec![inside]));
        let flat = (0..20).fold(Value::Null, |inside, _| Value::Array(vec![inside]));
        for (detail, is_kept) in [(deep, false), (flat, true)] {
            let (database, by, at) =
                ("d".to_owned(), "b".to_owned(), "2026-01-01T00:00:00.000000Z".to_owned());
            let staging = Staging {
                id: 1,
                step: Step::Stage,
                database,
                by,
                at,
                tables: Vec::new(),
                reason: None,
                detail: detail.clone(),
            };
            let record = Record::staging(Box::new(staging));
            let text = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
            assert_eq!(record.staging.unwrap().detail == detail, is_kept);
        }
    }
}
