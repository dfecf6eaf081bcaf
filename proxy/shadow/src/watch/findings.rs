//! What a watcher has seen, in the form of findings.

use super::Watcher;
use super::acting::Acting;
use super::running::Running;
use crate::bulk;
use crate::catalog::Relation;
use crate::context::kind_of;
use crate::coverage::Detector;
use crate::denied::Denied;
use crate::finding::{Decision, Finding, Origin, Outcome, Query, Rows, Rule, Site, Target, WouldHave};
use crate::kind::Kind;
use crate::queries::Known;
use crate::rows;
use crate::writes::Statement;
use pgwarden_session::{Refusal, Ticket};
use pgwarden_sql::Verb;
use pgwarden_tenant::{Judgement, Offence};
use std::sync::Arc;

/// Which statement a finding is about.
#[derive(Debug)]
pub(super) struct Place {
    acting: Arc<Acting>,
    known: Option<Arc<Known>>,
    origin: Option<Arc<Origin>>,
}

impl Place {
    /// A text that runs: the statement of it whose replies come, or the one that stands for all.
    pub(super) fn of(running: &Running) -> Self {
        let known = if running.index == 0 { running.principal() } else { running.known() };
        Self { acting: Arc::clone(&running.acting), known: known.cloned(), origin: running.origin() }
    }

    fn of_current(running: &Running) -> Self {
        let acting = Arc::clone(&running.acting);
        Self { acting, known: running.known().cloned(), origin: running.origin() }
    }

    /// What a client shows outside of all statements.
    pub(super) fn nowhere(acting: &Arc<Acting>) -> Self {
        Self { acting: Arc::clone(acting), known: None, origin: None }
    }

    fn query(&self) -> Option<Arc<Query>> {
        self.known.as_ref().map(|known| Arc::clone(&known.query))
    }
}

impl Watcher {
    /// What a TRUNCATE or COPY FROM that was completed has done to tenants' tables.
    pub(super) fn bulk(&mut self, ticket: Ticket, tag: &[u8]) {
        let Some(running) = self.running(ticket) else { return };
        let Some(known) = running.known() else { return };
        let kind = match known.verb {
            _ if tag == b"TRUNCATE TABLE" => Kind::Truncate,
            Verb::CopyFrom => Kind::CopyFrom,
            _ => return,
        };
        let named = known.query.text.as_deref().map(bulk::targets).unwrap_or_default();
        let catalog = self.catalog.load_full();
        for (schema, name) in named {
            let relation = catalog.find(schema.as_deref(), &name).cloned();
            if let Some(relation) = relation.filter(|relation| relation.tenant.is_some()) {
                self.bulk_done(kind, &relation, tag);
            }
        }
    }

    /// Something that a statement does, and `enforce` refuses.
    pub(super) fn offence(&mut self, offence: Offence, judgement: Judgement, place: &Place) {
        let finding = Finding {
            decision: match judgement {
                Judgement::Allowed => Decision::Allowed,
                Judgement::Refused => Decision::Refused,
            },
            evidence: Some(offence.label().to_owned()),
            ..self.finding(kind_of(offence), Detector::Context, place)
        };
        let ran = judgement == Judgement::Allowed;
        self.tell(finding, place.known.as_deref().filter(|_| ran));
    }

    /// The foreign rows of the result of the text in front.
    pub(super) fn foreign_rows(&mut self, result: &rows::Result, decision: Decision) {
        let Some(place) = self.running.front().map(Place::of_current) else { return };
        for (share, column) in result.shares.iter().zip(&result.plan.columns) {
            if share.foreign == 0 {
                continue;
            }
            let name = column.relation.tenant_column().map(|column| column.name.clone());
            let finding = Finding {
                decision,
                would_have: WouldHave::Filtered(share.foreign),
                target: Target { column: name, ..target(&column.relation) },
                rows: Rows {
                    returned: Some(result.returned),
                    foreign: Some(share.foreign),
                    ..Rows::default()
                },
                foreign_tenants: share.tenants.clone(),
                ..self.finding(Kind::RowsForeign, Detector::Rows, &place)
            };
            self.tell(finding, place.known.as_deref());
        }
    }

    /// TRUNCATE or COPY FROM of a tenants' table.
    pub(super) fn bulk_done(&mut self, kind: Kind, relation: &Relation, tag: &[u8]) {
        let Some(place) = self.running.front().map(Place::of_current) else { return };
        let would_have = if kind == Kind::Truncate { WouldHave::None } else { WouldHave::Refused };
        let count =
            tag.strip_prefix(b"COPY ").and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
        let finding = Finding {
            would_have,
            target: target(relation),
            rows: Rows { returned: count, ..Rows::default() },
            ..self.finding(kind, Detector::Context, &place)
        };
        self.tell(finding, place.known.as_deref());
    }

    /// The server has refused a statement because of a policy.
    pub(super) fn denied(&mut self, denied: Denied, place: &Place) {
        let known = denied.target.table.as_deref().and_then(|name| {
            let catalog = self.catalog.load();
            catalog.find(None, name).map(|relation| relation.schema.clone())
        });
        let finding = Finding {
            decision: Decision::Refused,
            outcome: Outcome::RolledBack,
            command: denied.command.or(place.known.as_ref().map(|known| known.command)),
            target: Target { schema: known, ..denied.target },
            evidence: Some(denied.evidence),
            ..self.finding(Kind::Denied, Detector::Denied, place)
        };
        self.post.reporter.found(finding);
    }

    /// The statement that writes now, as far as a finding needs it.
    pub(super) fn writing(&mut self, ticket: Ticket) -> Option<Statement> {
        let place = Place::of_current(self.running(ticket)?);
        Some(Statement {
            mode: self.mode,
            tenant: place.acting.tenant.clone(),
            actor: Arc::clone(&self.actor),
            site: Site { pid: self.process, ..Site::clone(&self.site) },
            known: place.known,
            origin: place.origin,
        })
    }

    /// What writes counts only once its transaction has come to an end.
    fn tell(&mut self, finding: Finding, known: Option<&Known>) {
        let reporter = &*self.post.reporter;
        if known.is_some_and(|known| known.may_write() && known.verb != Verb::Fetch) {
            self.transaction.await_end(finding, reporter);
        } else {
            reporter.found(finding);
        }
    }

    fn finding(&self, kind: Kind, detector: Detector, place: &Place) -> Finding {
        Finding {
            kind,
            detector,
            mode: self.mode,
            decision: Decision::Allowed,
            would_have: WouldHave::Refused,
            rule: Rule::Primary,
            outcome: Outcome::Committed,
            count: 1,
            tenant: place.acting.tenant.clone(),
            actor: Arc::clone(&self.actor),
            site: Site { pid: self.process, ..Site::clone(&self.site) },
            target: Target::default(),
            command: place.known.as_ref().map(|known| known.command),
            rows: Rows::default(),
            foreign_tenants: Vec::new(),
            query: place.query(),
            origin: place.origin.clone(),
            evidence: None,
        }
    }
}

fn target(relation: &Relation) -> Target {
    Target { schema: Some(relation.schema.clone()), table: Some(relation.name.clone()), ..Target::default() }
}

/// Why a result ends in front of a row.
pub(super) fn cut(table: &str) -> Refusal {
    Refusal::new(
        "42501",
        format!("row of another tenant in the result of a query on \"{table}\""),
        "The result was cut off in front of the row.",
        "See the finding rows_foreign in the audit trail; shadow.rows.guard decides about this.",
    )
}
