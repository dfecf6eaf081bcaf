//! What the records of the trail say, in the words of the verdict.

use pgwarden_audit::{Detail, Life, Record, RecordKind, Staging, Timestamp};
use pgwarden_shadow::verdict::{Fact, Happening, Key, Milestone, Moment, Occurrence, ServiceAccount};
use pgwarden_shadow::{Actor, Coverage, Detector, Kind, Origin, Query, Token};
use std::sync::Arc;

/// The time of a record.
pub(super) fn moment(time: Timestamp) -> Moment {
    Moment::of_micros(time.0)
}

/// What a record says; nothing of it is lost but what a report does not show.
pub(super) fn of(record: Record) -> Vec<Fact> {
    match record.kind {
        RecordKind::Finding(kind) => found(record, kind).into_iter().collect(),
        RecordKind::Life(Life::Coverage) => covered(record).into_iter().collect(),
        RecordKind::Life(Life::Service) => service(record).into_iter().collect(),
        RecordKind::Life(Life::Staging) => {
            record.staging.and_then(|staging| step(*staging)).into_iter().collect()
        }
        RecordKind::Life(life) => policies(&record).into_iter().chain([event(record, life)]).collect(),
    }
}

fn found(record: Record, kind: Kind) -> Option<Fact> {
    let database = record.backend.as_ref().map(|site| site.database.to_string()).unwrap_or_default();
    let target = record.target.unwrap_or_default();
    let table = target.table.map(|table| match target.schema {
        Some(schema) => format!("{schema}.{table}"),
        None => table,
    });
    let actor = record.actor.unwrap_or_default();
    let origin = record.origin.unwrap_or_default();
    let query = record.query.as_deref();
    let seen = record.seen;
    Some(Fact::Found(Box::new(Occurrence {
        id: record.finding?,
        key: Key {
            database,
            kind,
            table,
            command: record.command,
            policy: target.policy,
            fingerprint: query.map(|query| query.fingerprint.clone()),
        },
        first: moment(seen.map_or(record.time, |seen| seen.first)),
        at: moment(seen.map_or(record.time, |seen| seen.last)),
        count: record.count.unwrap_or(1),
        detector: record.evidence.as_ref().map_or(Detector::Context, |evidence| evidence.detector),
        decision: record.decision.unwrap_or(pgwarden_shadow::Decision::Allowed),
        would_have: record.would_have.unwrap_or(pgwarden_shadow::WouldHave::None),
        rule: record.rule.unwrap_or(pgwarden_shadow::Rule::Primary),
        outcome: record.outcome.unwrap_or(pgwarden_shadow::Outcome::Unknown),
        tenant: record.tenant.map(|tenant| tenant.id),
        actor: Actor {
            user: actor.user,
            service: actor.service,
            application_name: actor.application_name,
            client_addr: actor.client_addr,
            certificate: actor.certificate,
            token: actor.token.map(|token| Token { iss: token.iss, sub: token.sub, jti: token.jti }),
        },
        rows: record.rows.unwrap_or_default(),
        foreign_tenants: record.foreign_tenants,
        text: query.and_then(|query| query.text.clone()),
        origin: Some(Origin { trace_id: actor.trace_id, route: origin.route, file: origin.file }),
        evidence: record.evidence.and_then(|evidence| evidence.samples),
    })))
}

fn covered(record: Record) -> Option<Fact> {
    let covered = record.coverage?;
    Some(Fact::Covered(Box::new(Coverage {
        query: record.query.unwrap_or_else(|| Arc::new(Query { fingerprint: String::new(), text: None })),
        site: record.backend?,
        tables: covered.tables,
        detector: covered.detector,
        uncovered: covered.uncovered,
        count: record.count.unwrap_or(1),
    })))
}

/// The account of a service's session, with what stands beside it.
fn service(record: Record) -> Option<Fact> {
    let mut said = record.service?;
    let mut account = said.get_mut("account")?.take();
    for key in ["role", "ended"] {
        let value = said.get_mut(key).map(serde_json::Value::take).unwrap_or_default();
        account.as_object_mut()?.insert(key.to_owned(), value);
    }
    let account: ServiceAccount = serde_json::from_value(account).ok()?;
    Some(Fact::Service(Box::new(account)))
}

/// A step of the journal.
pub(super) fn step(staging: Staging) -> Option<Fact> {
    Some(Fact::Step(Box::new(Milestone {
        id: staging.id,
        step: staging.step,
        database: staging.database,
        by: staging.by,
        at: Moment::parse(&staging.at)?,
        tables: staging.tables,
        reason: staging.reason,
        detail: staging.detail,
    })))
}

/// What the policies say since then.
fn policies(record: &Record) -> Option<Fact> {
    match record.detail.as_deref() {
        Some(Detail::PoliciesChanged(database, _, tables)) => {
            Some(Fact::Policies(database.clone(), tables.clone()))
        }
        _ => None,
    }
}

fn event(record: Record, life: Life) -> Fact {
    let instance = record.proxy.instance.clone();
    let (what, detail) = match (life, record.detail.map(|detail| *detail)) {
        (Life::Started, _) => (Happening::Started, instance),
        (Life::Stopped, _) => (Happening::Stopped, instance),
        (Life::Reloaded | Life::ModeChanged, Some(Detail::ModeChanged(before, now, whose))) => {
            let whose = whose.map_or_else(String::new, |whose| format!(" of {whose}"));
            (Happening::Reloaded, format!("the mode{whose} is {now}, and was {before}"))
        }
        (Life::Reloaded | Life::ModeChanged, _) => (Happening::Reloaded, instance),
        (Life::PoliciesChanged, Some(Detail::PoliciesChanged(database, hash, _))) => {
            (Happening::PoliciesChanged, format!("{database}: {hash}"))
        }
        (Life::Dropped, Some(Detail::Dropped(counts))) => {
            return Fact::Lost(counts.values().fold(0, |sum, count| sum.saturating_add(*count)));
        }
        (Life::Interrupted, Some(Detail::Interrupted(interruption))) => {
            (Happening::Trail, format!("it could not be written: {}", interruption.error))
        }
        (Life::TornTail, _) => (Happening::Trail, "a torn end was cut off".to_owned()),
        (Life::ClockWentBack, _) => (Happening::Trail, "the clock was put back".to_owned()),
        (Life::Retention, _) => (Happening::Trail, "old files were removed".to_owned()),
        _ => return Fact::Other,
    };
    Fact::Event(what, detail)
}
