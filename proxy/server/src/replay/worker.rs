//! The thread that runs queries again, and tells what came of it.

use crate::replay::Terms;
use crate::replay::perform::{Judged, Outcome, Rules, perform};
use crate::replay::side::{Side, SideError};
use crate::upstream::UpstreamError;
use pgwarden_shadow::replay::{Candidate, Judgement, Tally};
use pgwarden_shadow::{
    Command, Decision, Detector, Finding, Kind, Outcome as Ending, Reporter, Rows, Rule, Target, Uncovered,
    WouldHave,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often what was counted is told.
const WINDOW: Duration = Duration::from_secs(1);
/// How long a connection is kept that nobody needs.
const IDLE: Duration = Duration::from_secs(30);
/// Runs of one replay at most, to bound the whole of it.
const RUNS: u32 = 16;

/// What all replays share.
#[derive(Debug)]
pub(super) struct Worker {
    terms: Terms,
    rules: Rules,
    tally: Arc<Tally>,
    reporter: Arc<dyn Reporter>,
    /// Whether there is no time left to run anything.
    end: watch::Receiver<bool>,
}

impl Worker {
    pub(super) fn new(
        terms: Terms,
        rules: Rules,
        (tally, reporter): (Arc<Tally>, Arc<dyn Reporter>),
        end: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self { terms, rules, tally, reporter, end })
    }

    /// Works until nobody can offer anything any more, and everything has been told.
    pub(super) async fn work(self: Arc<Self>, candidates: Receiver<Candidate>) {
        let candidates = Arc::new(Mutex::new(candidates));
        let mut places = JoinSet::new();
        for _ in 0..self.terms.settings.concurrency {
            places.spawn(Arc::clone(&self).take_turns(Arc::clone(&candidates)));
        }
        loop {
            tokio::select! {
                ended = places.join_next() => if ended.is_none() { break },
                () = tokio::time::sleep(WINDOW) => self.tell(),
            }
        }
        self.tell();
    }

    fn tell(&self) {
        self.tally.take().into_iter().for_each(|coverage| self.reporter.covered(coverage));
    }

    /// One candidate after the other, with a connection to each database.
    async fn take_turns(self: Arc<Self>, candidates: Arc<Mutex<Receiver<Candidate>>>) {
        let (mut sides, mut end) = (HashMap::new(), self.end.clone());
        loop {
            let next = async { candidates.lock().await.recv().await };
            match tokio::time::timeout(IDLE, next).await {
                Ok(Some(candidate)) => tokio::select! {
                    biased;
                    Ok(_) = end.wait_for(|ends| *ends) => self.told(&candidate, Outcome::Uncovered(Uncovered::Dropped)),
                    () = self.replay(&candidate, &mut sides) => (),
                },
                Ok(None) => return,
                Err(_) => sides.clear(),
            }
        }
    }

    async fn replay(&self, candidate: &Candidate, sides: &mut HashMap<Arc<str>, Side>) {
        let database = Arc::clone(&candidate.site.database);
        let kept = sides.remove(&database).and_then(|mut side| side.is_quiet().then_some(side));
        let limit = self.terms.settings.statement_timeout * RUNS;
        let replayed = tokio::time::timeout(limit, self.on(kept, candidate)).await;
        match replayed.unwrap_or(Err(SideError::Strange)) {
            Ok((side, outcome)) => {
                sides.insert(database, side);
                self.told(candidate, outcome);
            }
            Err(SideError::Lost(UpstreamError::Refused { sqlstate, .. })) if is_about_rights(&sqlstate) => {
                self.told(candidate, Outcome::Judged(vec![Judged::failed(&sqlstate)], Vec::new()));
            }
            Err(error) => {
                tracing::debug!(%error, ?database, "a query could not be run again");
                self.told(candidate, Outcome::Uncovered(Uncovered::Dropped));
            }
        }
    }

    async fn on(&self, kept: Option<Side>, candidate: &Candidate) -> Result<(Side, Outcome), SideError> {
        let Terms { server, login, seals, .. } = &self.terms;
        let mut side = match kept {
            Some(side) => side,
            None => Side::open(server, login, &candidate.site.database, *seals).await?,
        };
        let outcome = perform(&mut side, candidate, self.rules).await?;
        Ok((side, outcome))
    }

    fn told(&self, candidate: &Candidate, outcome: Outcome) {
        let (query, site) = (&candidate.query, &candidate.site);
        match outcome {
            Outcome::Untouched => self.tally.count(query, site, &[], None),
            Outcome::Uncovered(why) => self.tally.count(query, site, &[], Some(why)),
            Outcome::Judged(judged, tables) => {
                let names: Vec<String> =
                    tables.iter().map(|(schema, table)| format!("{schema}.{table}")).collect();
                let uncovered = judged.iter().filter_map(|one| uncovered(&one.judgement)).max();
                for one in &judged {
                    self.find(candidate, one, &tables);
                }
                self.tally.count(query, site, &names, uncovered);
            }
        }
    }

    /// A finding for each table whose policies may be the reason.
    fn find(&self, candidate: &Candidate, judged: &Judged, tables: &[(String, String)]) {
        let Some(kind) = kind(&judged.judgement) else { return };
        let targets = tables.iter().map(|(schema, table)| Target {
            schema: Some(schema.clone()),
            table: Some(table.clone()),
            ..Target::default()
        });
        let mut targets: Vec<Target> = targets.collect();
        if targets.is_empty() {
            targets.push(Target::default());
        }
        for target in targets {
            self.reporter.found(finding(candidate, judged, kind, target));
        }
    }
}

fn finding(candidate: &Candidate, judged: &Judged, kind: Kind, target: Target) -> Finding {
    let (control, shadow) = judged.rows;
    let filtered = control.zip(shadow).and_then(|(control, shadow)| control.checked_sub(shadow));
    Finding {
        kind,
        detector: Detector::Replay,
        mode: candidate.mode,
        decision: Decision::Allowed,
        would_have: match (kind, filtered) {
            (Kind::ResultDiffers | Kind::ResultUnstable, Some(rows)) if rows > 0 => WouldHave::Filtered(rows),
            _ => WouldHave::None,
        },
        rule: if candidate.tenant.is_some() { Rule::Primary } else { Rule::Secondary },
        outcome: Ending::Committed,
        count: 1,
        tenant: candidate.tenant.clone(),
        actor: Arc::clone(&candidate.actor),
        site: candidate.site.clone(),
        target,
        command: Some(Command::Select),
        rows: Rows { control, shadow, ..Rows::default() },
        foreign_tenants: Vec::new(),
        query: Some(Arc::clone(&candidate.query)),
        origin: candidate.origin.clone(),
        evidence: evidence(judged),
    }
}

/// Who failed, or how long it took; never what the server has said.
fn evidence(judged: &Judged) -> Option<String> {
    let shadow = &judged.shadow;
    match &judged.judgement {
        Judgement::Fails(code) => Some(format!("{code} as {shadow}")),
        Judgement::Error(code) if shadow.is_empty() => Some(format!(
            "{code} before it was run: may the observer become the application's role and the shadow role?"
        )),
        Judgement::Error(code) => Some(format!("{code} when it was run again")),
        Judgement::Slower => {
            let (usual, with_policies) = judged.took;
            Some(format!("{} ms, and {} ms as {shadow}", usual.as_millis(), with_policies.as_millis()))
        }
        Judgement::Differs | Judgement::Unstable => Some(format!("as {shadow}")),
        Judgement::Same | Judgement::Dropped | Judgement::Undecided | Judgement::Ask(_) => None,
    }
}

fn kind(judgement: &Judgement) -> Option<Kind> {
    match judgement {
        Judgement::Differs | Judgement::Fails(_) => Some(Kind::ResultDiffers),
        Judgement::Unstable => Some(Kind::ResultUnstable),
        Judgement::Slower => Some(Kind::Slower),
        Judgement::Error(_) => Some(Kind::ReplayError),
        Judgement::Same | Judgement::Dropped | Judgement::Undecided | Judgement::Ask(_) => None,
    }
}

fn uncovered(judgement: &Judgement) -> Option<Uncovered> {
    match judgement {
        Judgement::Dropped => Some(Uncovered::Dropped),
        Judgement::Undecided | Judgement::Ask(_) => Some(Uncovered::Unstable),
        Judgement::Error(_) => Some(Uncovered::Failed),
        Judgement::Same
        | Judgement::Differs
        | Judgement::Fails(_)
        | Judgement::Unstable
        | Judgement::Slower => None,
    }
}

/// Whether a login was refused because of what it may do, or how it proves who it is.
fn is_about_rights(sqlstate: &str) -> bool {
    sqlstate.starts_with("28") || sqlstate == "42501"
}
