//! Findings as events of the Open Cybersecurity Schema Framework: class Detection Finding (2004), with the profile
//! `security_control` (<https://schema.ocsf.io/1.5.0/classes/detection_finding>).

use crate::sinks::entry::{Entry, instant};
use serde_json::{Map, Value, json};

/// The version of the schema.
const VERSION: &str = "1.5.0";
const CATEGORY: u64 = 2;
const CLASS: u64 = 2004;
/// `activity_id`: a finding is told.
const CREATE: u64 = 1;

/// The event of a finding; `None` for a record of another kind, which this class is not for.
pub(super) fn finding(entry: &Entry) -> Option<Value> {
    let finding = entry.at("/finding")?.as_str()?;
    let time = entry.micros()? / 1_000;
    let kind = entry.text_at("/kind");
    let (severity_id, severity) = severity(entry.text_at("/severity"));
    let (action_id, disposition_id) = match entry.text_at("/decision") {
        "allowed" => (1, 1),
        "refused" | "cut" => (2, 2),
        _ => (0, 0),
    };
    let title = title(kind);
    let event = json!({
        "activity_id": CREATE,
        "activity_name": "Create",
        "category_uid": CATEGORY,
        "category_name": "Findings",
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": CLASS * 100 + CREATE,
        "type_name": "Detection Finding: Create",
        "time": time,
        "start_time": millis(entry, "/seen/first"),
        "end_time": millis(entry, "/seen/last"),
        "count": entry.at("/count"),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": 1,
        "status": "New",
        "action_id": action_id,
        "disposition_id": disposition_id,
        "message": title,
        "metadata": metadata(entry),
        "finding_info": {
            "uid": finding,
            "title": title,
            "types": [kind],
            "created_time": time,
            "first_seen_time": millis(entry, "/seen/first"),
            "last_seen_time": millis(entry, "/seen/last"),
            "analytic": { "type_id": 1, "type": "Rule", "name": entry.at("/evidence/detector") },
            "data_sources": ["postgresql"],
        },
        "evidences": [evidence(entry)],
        "resources": resources(entry),
        "raw_data": entry.text,
    });
    Some(without_nulls(event))
}

fn metadata(entry: &Entry) -> Value {
    json!({
        "version": VERSION,
        "profiles": ["security_control"],
        "uid": entry.at("/id"),
        "sequence": entry.seq,
        "log_name": "audit trail",
        "log_provider": entry.at("/proxy/instance"),
        "product": { "name": "pgwarden", "vendor_name": "pgwarden", "version": entry.at("/proxy/version") },
    })
}

/// Who did what where. What the schema has no place for is in `data`.
fn evidence(entry: &Entry) -> Value {
    let address = entry.text_at("/actor/client_addr");
    let endpoint =
        if address.is_empty() || address == "unix" { Value::Null } else { json!({ "ip": address }) };
    json!({
        "actor": {
            "user": { "name": entry.at("/actor/user") },
            "app_name": entry.at("/actor/application_name"),
        },
        "src_endpoint": endpoint,
        "database": { "name": entry.at("/backend/database"), "type_id": 1, "type": "Relational" },
        "data": {
            "mode": entry.at("/mode"),
            "would_have": entry.at("/would_have"),
            "tenant": entry.at("/tenant"),
            "foreign_tenants": entry.at("/foreign_tenants"),
            "command": entry.at("/command"),
            "rows": entry.at("/rows"),
            "query": entry.at("/query"),
            "origin": entry.at("/origin"),
            "trace_id": entry.at("/actor/trace_id"),
        },
    })
}

fn resources(entry: &Entry) -> Value {
    let table = entry.table();
    if table.is_empty() {
        return Value::Null;
    }
    json!([{
        "name": table,
        "type": "table",
        "namespace": entry.at("/backend/database"),
        "data": { "column": entry.at("/target/column"), "policy": entry.at("/target/policy") },
    }])
}

fn millis(entry: &Entry, place: &str) -> Option<u64> {
    Some(instant(entry.text_at(place))? / 1_000)
}

/// High, medium and informational.
fn severity(word: &str) -> (u64, &'static str) {
    match word {
        "blocker" => (4, "High"),
        "warning" => (3, "Medium"),
        "info" => (1, "Informational"),
        _ => (0, "Unknown"),
    }
}

/// What a kind of finding means, in a few words.
fn title(kind: &str) -> &'static str {
    match kind {
        "context_missing" => "Statement without a tenant context",
        "context_disagrees" => "Application claims another tenant than its token",
        "context_invalid" => "Invalid tenant context",
        "setting_touched" => "Statement touches a setting of the tenant context",
        "role_touched" => "Statement changes the role or row security",
        "rows_foreign" => "Rows of another tenant returned",
        "result_differs" => "Query returns something else with the policies",
        "result_unstable" => "Query may return something else with the policies",
        "slower" => "Query is much slower with the policies",
        "write_refused" => "Write that the policies would refuse",
        "write_hidden" => "Write to rows that the policies would hide",
        "write_cascade" => "Referential action reaches rows of another tenant",
        "truncate" => "TRUNCATE, which no policy governs",
        "copy_from" => "COPY FROM into a table with row security",
        "denied" => "Statement refused by a policy",
        "policy_error" => "Policy could not be evaluated",
        "replay_error" => "Query could not be replayed",
        "service_used" => "Service worked past all policies",
        _ => "Finding",
    }
}

/// The same without what is not known, and without objects that say nothing then.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name, without_nulls(value)));
            let is_empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgwarden_shadow::Kind;

    #[test]
    fn every_kind_has_a_title_of_its_own() {
        let titles: std::collections::BTreeSet<&str> =
            Kind::ALL.iter().map(|kind| title(kind.label())).collect();
        assert!(titles.len() == Kind::ALL.len() && !titles.contains("Finding"));
    }

    #[test]
    fn what_is_no_finding_is_no_event() {
        let entry =
            Entry::read(br#"{"seq":1,"time":"2026-11-21T22:15:41.5Z","kind":"started"}"#).expect("a record");
        assert_eq!(finding(&entry), None);
    }
}
