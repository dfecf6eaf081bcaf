//! What pgwarden says of statements that go through it, beside what is so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use pgwarden_tests::trail::records;
use pgwarden_tests::{Frontend, Pgwarden, Server, Signal, Wire, until};

use crate::case::Case;
use crate::pgwarden::{Staged, start};
use crate::rates::{Rates, Said, Truth};
use crate::sighting::{Sighting, sightings};
use crate::statement::{Class, Order, Statement};
use crate::truth::{Copy, Difference, Outcome};

/// How long replays are waited for.
const PATIENCE: Duration = Duration::from_secs(15);

/// All rates, and what was wrong.
#[derive(Debug, Default)]
pub struct Proof {
    /// By detector, and `together`.
    pub rates: BTreeMap<&'static str, Rates>,
    pub statements: usize,
    /// Statements that pgwarden judged wrongly, each for psql.
    pub wrong: Vec<String>,
    /// Statements that did something else through pgwarden than without it.
    pub disturbed: Vec<String>,
    /// Records about statements of nobody.
    pub strays: Vec<String>,
}

/// What is known of one statement.
struct Run {
    now: Outcome,
    then: Outcome,
    through: Outcome,
    difference: Difference,
}

/// Runs the cases through pgwarden.
///
/// A thorough proof gives replays all the time that they need on a machine that is busy; without it, pgwarden says of some
/// that there was no time.
pub fn prove(server: &Server, cases: impl Iterator<Item = Case>, thorough: bool) -> Proof {
    let mut proof = Proof::default();
    for case in cases {
        prove_case(server, &case, thorough, &mut proof);
    }
    proof
}

fn prove_case(server: &Server, case: &Case, thorough: bool, proof: &mut Proof) {
    case.create(server, "today");
    case.copy(server, "today", "enforced", &case.schema.migration());
    server.psql("CREATE DATABASE staged TEMPLATE today");
    let staged = start(server, case, "staged");
    let runs = run(server, case, &staged.pgwarden);
    if thorough {
        wait_for_replays(case, &runs, &staged);
    }
    staged.pgwarden.signal(Signal::TERM);
    staged.pgwarden.wait_exit();
    let records = records(&staged.trail());
    let (sightings, strays) = sightings(case, &records);
    for ((statement, run), sighting) in case.statements.iter().zip(&runs).zip(&sightings) {
        proof.count(statement, run, sighting);
        proof.judge(case, statement, run, sighting);
    }
    proof.strays.extend(strays.iter().map(|record| format!("case {}: {record}", case.seed)));
    drop(staged);
    for database in ["today", "enforced", "staged"] {
        server.psql(&format!("DROP DATABASE {database} WITH (FORCE)"));
    }
}

fn run(server: &Server, case: &Case, pgwarden: &Pgwarden) -> Vec<Run> {
    let (mut today, mut enforced) = (Copy::open(server, "today"), Copy::open(server, "enforced"));
    let mut clients: BTreeMap<String, Wire> = BTreeMap::new();
    let mut runs = Vec::new();
    for statement in &case.statements {
        let (now, then) = (today.run(case, statement), enforced.run(case, statement));
        let difference = Difference::between(statement, &now, &then);
        let user =
            statement.user.map_or_else(|| "nobody".to_owned(), |user| case.schema.users[user].0.clone());
        let open = || Wire::open(pgwarden.port(), &user, "", "staged");
        let through = send(clients.entry(user.clone()).or_insert_with(open), statement);
        runs.push(Run { now, then, through, difference });
    }
    for (_, mut client) in clients {
        client.send(&Frontend::new().terminate());
    }
    runs
}

/// What writes is rolled back; queries stand alone, as applications send most of them.
fn send(client: &mut Wire, statement: &Statement) -> Outcome {
    let is_in_block = statement.class.writes() || statement.class == Class::Fetch;
    let block = is_in_block || statement.number.is_multiple_of(5);
    if block {
        client.rows("BEGIN");
    }
    let outcome = Outcome::converse(client, statement);
    if block {
        client.rows("ROLLBACK");
    }
    outcome
}

/// Of each query that has come to its end it is told what came of running it again. What is not told in time is judged as
/// it is: pgwarden counts at its end what it has not run.
fn wait_for_replays(case: &Case, runs: &[Run], staged: &Staged) {
    let begun = Instant::now();
    let is_replayed =
        |(statement, run): (&Statement, &Run)| !statement.class.writes() && run.through.error.is_none();
    let expected = case.statements.iter().zip(runs).map(is_replayed);
    let expected: Vec<_> = expected.collect();
    until("the replays are told of, or have had their time", || {
        let records = records(&staged.trail());
        let (sightings, _) = sightings(case, &records);
        let told = sightings.iter().map(|sighting| sighting.coverage.contains_key("replay"));
        let all = expected.iter().zip(told).all(|(expected, told)| told || !expected);
        (all || begun.elapsed() > PATIENCE).then_some(())
    });
}

impl Proof {
    /// Counts what the detector of missing contexts says: a statement without one that names a table is found.
    fn count(&mut self, statement: &Statement, run: &Run, sighting: &Sighting) {
        let truth = match statement.user {
            // What does not parse is never sent to be run.
            _ if run.through.error.is_some() => Truth::Fails,
            Some(_) => Truth::Same,
            None if statement.class == Class::Function => Truth::Open,
            None => Truth::Differs,
        };
        if self.rates.entry("context").or_default().count(truth, &context_said(sighting)) {
            self.wrong.push(format!("the context of {statement:?}: {sighting:?}"));
        }
    }

    fn judge(&mut self, case: &Case, statement: &Statement, run: &Run, sighting: &Sighting) {
        self.statements += 1;
        let truth = truth(statement, run);
        let judge = if statement.class.writes() { "writes" } else { "replay" };
        let mut wrong = Vec::new();
        let mut count = |name: &'static str, truth: Truth, said: Said| {
            if self.rates.entry(name).or_default().count(truth, &said) {
                wrong.push(format!("{name} says {said:?}"));
            }
        };
        let past =
            asks_past_policies(case, statement) && truth == Truth::Same && sighting.found("rows_foreign");
        let together = if past { Truth::Open } else { truth };
        count("together", together, sighting.together(judge));
        if statement.class != Class::Truncate {
            count(judge, truth, sighting.of(judge));
        }
        if !run.through.rows.is_empty() {
            count("rows", rows_truth(case, statement, run, together), sighting.of("rows"));
        }
        if !wrong.is_empty() {
            let text = self.describe(case, statement, run, sighting, &wrong);
            self.wrong.push(text);
        }
        let copy_from = statement.copy_data.is_some();
        let today = Outcome { effect: None, ..run.now.clone() };
        if !copy_from && !today.is_like(statement, &run.through) {
            let text = self.describe(case, statement, run, sighting, &["it did something else".to_owned()]);
            self.disturbed.push(text);
        }
    }

    fn describe(
        &self,
        case: &Case,
        statement: &Statement,
        run: &Run,
        said: &Sighting,
        wrong: &[String],
    ) -> String {
        let outcomes = [("today", &run.now), ("in force", &run.then), ("through pgwarden", &run.through)];
        let mut text = case.describe(statement, &outcomes);
        let _ = writeln!(text, "-- {:?}; {}\n-- {said:?}\n", run.difference, wrong.join("; "));
        text
    }

    /// Counts what was found elsewhere, too.
    pub fn add(&mut self, other: &Proof) {
        self.statements += other.statements;
        for (name, rates) in &other.rates {
            self.rates.entry(name).or_default().add(rates);
        }
    }

    /// A line for each detector, with what was not evaluated.
    pub fn table(&self) -> String {
        self.rates.iter().map(|(name, rates)| format!("{name:<9}{rates}\n")).collect()
    }
}

fn truth(statement: &Statement, run: &Run) -> Truth {
    match run.difference {
        // COPY FROM fails as soon as row level security is on, and so when policies are staged.
        _ if run.through.error.is_some() => Truth::Fails,
        Difference::FailsToday => Truth::Fails,
        Difference::Unstable => Truth::Open,
        Difference::Same if statement.user.is_none() || statement.order == Order::Unstable => Truth::Open,
        Difference::Result if statement.order == Order::Unstable => Truth::Open,
        Difference::Same => Truth::Same,
        Difference::Result | Difference::Refused | Difference::Effect | Difference::Error => Truth::Differs,
    }
}

/// Rows looks for foreign rows in results: what else differs is none of its business.
fn rows_truth(case: &Case, statement: &Statement, run: &Run, truth: Truth) -> Truth {
    let Some(user) = statement.user else { return Truth::Open };
    let (_, own) = &case.schema.users[user];
    let foreign = case.schema.tenants.iter().enumerate().filter(|(number, _)| number != own);
    let foreign: Vec<_> = foreign.flat_map(|(_, tenant)| case.schema.tenant_type.encoded(tenant)).collect();
    let holds = |row: &Vec<u8>| {
        foreign.iter().any(|tenant| row.windows(tenant.len()).any(|part| part == tenant.as_slice()))
    };
    let seen = run.now.rows.iter().any(holds);
    match truth {
        Truth::Differs if !seen => Truth::Open,
        truth => truth,
    }
}

/// Partitions by name, and views with the rights of their owner: no policy stops foreign rows there, so that to find
/// them is right, and that nothing changes as well.
fn asks_past_policies(case: &Case, statement: &Statement) -> bool {
    let views = case.schema.views.iter().filter(|view| !view.invoker).map(|view| view.name);
    let partitions = case.schema.partitions.iter().map(|(_, name)| name.as_str());
    let mut words = statement.text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let past: Vec<_> = views.chain(partitions).collect();
    words.any(|word| past.contains(&word))
}

fn context_said(sighting: &Sighting) -> Said {
    if sighting.found("context_missing") { Said::Differs } else { sighting.of("context") }
}
