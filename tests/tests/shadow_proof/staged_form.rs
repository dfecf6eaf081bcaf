//! Whether the role of the staged form gets what the policies give when they are in force.

use std::collections::BTreeMap;

use pgwarden_tests::Server;

use crate::case::Case;
use crate::statement::{Class, Statement};
use crate::truth::{Copy, Difference, Outcome};

const DATABASES: [&str; 3] = ["today", "enforced", "staged"];

/// What became of many statements, and the first that disagrees, alone.
#[derive(Debug, Default)]
pub struct Comparison {
    pub seen: BTreeMap<(Class, Difference), usize>,
    pub wrong: usize,
    pub first_wrong: Option<Case>,
}

/// Runs each case with the staged form that `staging` says.
pub fn compare(
    server: &Server,
    cases: impl Iterator<Item = Case>,
    staging: impl Fn(&Case) -> String,
) -> Comparison {
    let mut comparison = Comparison::default();
    for case in cases {
        let (seen, wrong) = compare_case(server, &case, &staging);
        for what in seen {
            *comparison.seen.entry(what).or_default() += 1;
        }
        comparison.wrong += wrong.len();
        if let (Some((number, _)), None) = (wrong.first(), &comparison.first_wrong) {
            let statements = vec![case.statements[*number].clone()];
            comparison.first_wrong = Some(Case { statements, ..case });
        }
    }
    comparison
}

/// What disagrees in a case with one statement, with as little data as it needs.
pub fn explain(server: &Server, case: Case, staging: impl Fn(&Case) -> String) -> String {
    let smallest = case.shrink(|case| !compare_case(server, case, &staging).1.is_empty());
    compare_case(server, &smallest, &staging).1.swap_remove(0).1
}

type Seen = Vec<(Class, Difference)>;

fn compare_case(
    server: &Server,
    case: &Case,
    staging: &impl Fn(&Case) -> String,
) -> (Seen, Vec<(usize, String)>) {
    case.create(server, "today");
    case.copy(server, "today", "enforced", &case.schema.migration());
    case.copy(server, "today", "staged", &staging(case));
    let mut copies = [
        Copy::open(server, "today"),
        Copy::open(server, "enforced"),
        Copy::open_as(server, "staged", "shadow"),
        Copy::open(server, "staged"),
    ];
    let (mut seen, mut wrong) = (Vec::new(), Vec::new());
    for (number, statement) in case.statements.iter().enumerate() {
        let outcomes = copies.each_mut().map(|copy| copy.run(case, statement));
        seen.push((statement.class, Difference::between(statement, &outcomes[0], &outcomes[1])));
        if !agree(statement, &outcomes) {
            let names = ["today", "in force", "as the shadow role", "as the application, staged"];
            let outcomes: Vec<_> = names.into_iter().zip(&outcomes).collect();
            wrong.push((number, case.describe(statement, &outcomes)));
        }
    }
    drop(copies);
    for database in DATABASES {
        server.psql(&format!("DROP DATABASE {database} WITH (FORCE)"));
    }
    server.psql("DROP ROLE shadow");
    (seen, wrong)
}

/// The shadow role gets what the policies give, and the application what it had. Row level security itself refuses COPY
/// FROM, whatever the policies say.
fn agree(statement: &Statement, [today, enforced, shadow, application]: &[Outcome; 4]) -> bool {
    let unchanged = statement.copy_data.is_some() || today.is_like(statement, application);
    enforced.is_like(statement, shadow) && unchanged
}

impl Comparison {
    /// A line for each class of statements.
    pub fn table(&self) -> String {
        let mut lines: BTreeMap<Class, Vec<String>> = BTreeMap::new();
        for ((class, difference), count) in &self.seen {
            lines.entry(*class).or_default().push(format!("{difference:?} {count}"));
        }
        lines
            .iter()
            .map(|(class, counts)| format!("{:<14}{}\n", format!("{class:?}"), counts.join(", ")))
            .collect()
    }
}
