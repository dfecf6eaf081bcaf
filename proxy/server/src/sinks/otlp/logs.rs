//! Records of the trail as OpenTelemetry logs.
//!
//! The body of a log is the line of the trail, letter by letter. Attributes repeat what is asked for most, with the names
//! of the semantic conventions where there is one; `log.record.uid` tells a record that was delivered twice.

use super::message::{
    AnyValue, ExportLogsServiceRequest, InstrumentationScope, KeyValue, LogRecord, Resource, ResourceLogs,
    ScopeLogs,
};
use crate::sinks::entry::Entry;

/// The name of the part of pgwarden that they come from.
const SCOPE: &str = "pgwarden.audit";

/// Attributes that are texts, and where they stand in a record.
const TEXTS: [(&str, &str); 19] = [
    ("log.record.uid", "/id"),
    ("pgwarden.record.hash", "/hash"),
    ("pgwarden.kind", "/kind"),
    ("pgwarden.mode", "/mode"),
    ("pgwarden.decision", "/decision"),
    ("pgwarden.finding", "/finding"),
    ("pgwarden.tenant.id", "/tenant/id"),
    ("pgwarden.table.schema", "/target/schema"),
    ("pgwarden.policy", "/target/policy"),
    ("pgwarden.query.fingerprint", "/query/fingerprint"),
    ("pgwarden.service", "/actor/service"),
    ("pgwarden.application_name", "/actor/application_name"),
    ("user.name", "/actor/user"),
    ("client.address", "/actor/client_addr"),
    ("db.namespace", "/backend/database"),
    ("db.collection.name", "/target/table"),
    ("db.operation.name", "/command"),
    ("http.route", "/origin/route"),
    ("code.file.path", "/origin/file"),
];

/// Attributes that are numbers.
const NUMBERS: [(&str, &str); 2] = [("pgwarden.record.seq", "/seq"), ("pgwarden.count", "/count")];

/// A request with these records; those of one pgwarden stand together. `more` is said of each of them.
pub(super) fn request(
    entries: &[Entry],
    more: &[(String, String)],
    now_nanos: u64,
) -> ExportLogsServiceRequest {
    let writer = |entry: &Entry| {
        (entry.text_at("/proxy/instance").to_owned(), entry.text_at("/proxy/version").to_owned())
    };
    let groups = entries.chunk_by(|one, next| writer(one) == writer(next));
    let resource_logs = groups.filter_map(|group| {
        let (instance, version) = writer(group.first()?);
        let logs = group.iter().map(|entry| log_record(entry, now_nanos)).collect();
        let scope = InstrumentationScope { name: SCOPE.to_owned(), version: version.clone() };
        Some(ResourceLogs {
            resource: Some(resource(&instance, &version, more)),
            scope_logs: vec![ScopeLogs { scope: Some(scope), log_records: logs }],
        })
    });
    ExportLogsServiceRequest { resource_logs: resource_logs.collect() }
}

/// What the operator says goes before what pgwarden says of itself: no name may stand there twice.
fn resource(instance: &str, version: &str, more: &[(String, String)]) -> Resource {
    let own = [("service.name", "pgwarden"), ("service.version", version), ("service.instance.id", instance)];
    let is_replaced = |name: &str| more.iter().any(|(one, _)| one == name);
    let own = own.into_iter().filter(|(name, value)| !value.is_empty() && !is_replaced(name));
    let own = own.map(|(name, value)| KeyValue::text(name, value));
    Resource { attributes: own.chain(more.iter().map(|(name, value)| KeyValue::text(name, value))).collect() }
}

fn log_record(entry: &Entry, now_nanos: u64) -> LogRecord {
    let texts = TEXTS.iter().map(|(name, place)| (name, entry.text_at(place)));
    let texts = texts.filter(|(_, value)| !value.is_empty()).map(|(name, value)| KeyValue::text(name, value));
    let numbers = NUMBERS
        .iter()
        .filter_map(|(name, place)| entry.at(place)?.as_u64().map(|value| KeyValue::number(name, value)));
    let (severity_number, severity_text) = severity(entry.text_at("/severity"));
    LogRecord {
        time_unix_nano: entry.micros().map_or(0, |micros| micros.saturating_mul(1_000)),
        observed_time_unix_nano: now_nanos,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue::text(&entry.text)),
        attributes: texts.chain(numbers).chain([KeyValue::text("db.system.name", "postgresql")]).collect(),
        trace_id: trace_id(entry.text_at("/actor/trace_id")).unwrap_or_default(),
        event_name: format!("pgwarden.{}", entry.text_at("/kind")),
    }
}

/// The numbers of the log data model: INFO, WARN and ERROR.
fn severity(word: &str) -> (i32, &'static str) {
    match word {
        "blocker" => (17, "ERROR"),
        "warning" => (13, "WARN"),
        _ => (9, "INFO"),
    }
}

/// Sixteen bytes in hexadecimal digits; zeros alone are no trace.
fn trace_id(text: &str) -> Option<Vec<u8>> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..16).map(|index| u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()).collect();
    bytes.filter(|bytes| bytes.iter().any(|byte| *byte != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_sixteen_bytes_and_is_not_nothing() {
        let trace = trace_id("4bf92f3577b34da6a3ce929d0e0e4736").expect("a trace");
        assert_eq!((trace.len(), trace.first(), trace.last()), (16, Some(&0x4b), Some(&0x36)));
        for text in ["", "4bf9", &"0".repeat(32), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(trace_id(text), None, "{text}");
        }
    }

    #[test]
    fn records_of_one_pgwarden_stand_together_and_the_operator_has_the_last_word() {
        let line = |seq: u64, instance: &str| {
            format!(r#"{{"seq":{seq},"kind":"started","proxy":{{"instance":"{instance}","version":"1"}}}}"#)
        };
        let lines = [line(1, "a"), line(2, "a"), line(3, "b")];
        let entries: Vec<Entry> =
            lines.iter().map(|line| Entry::read(line.as_bytes()).expect("a record")).collect();
        let more = [("service.name".to_owned(), "mine".to_owned())];
        let request = request(&entries, &more, 5);
        let counts: Vec<usize> =
            request.resource_logs.iter().map(|logs| logs.scope_logs[0].log_records.len()).collect();
        assert_eq!(counts, [2, 1]);
        let attributes = &request.resource_logs[0].resource.as_ref().expect("a resource").attributes;
        let named: Vec<&KeyValue> = attributes.iter().filter(|one| one.key == "service.name").collect();
        assert_eq!(named, [&KeyValue::text("service.name", "mine")]);
    }
}
