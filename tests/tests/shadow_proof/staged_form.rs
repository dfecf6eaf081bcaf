//! Whether the role of the staged form gets what the policies give when they are in force.

use std::collections::BTreeMap;

use pgwarden_tests::Server;

use crate::case::Case;
use crate::policy;
use crate::statement::{Class, Statement};
use crate::truth::{Copy, Difference, Outcome};

/// How policies are staged, and the role that they are staged for.
pub struct Form<'a> {
    pub role: &'static str,
    /// Makes the database `staged` of the database `today`.
    pub stage: Box<dyn Fn(&Case) + 'a>,
}

const DATABASES: [&str; 3] = ["today", "enforced", "staged"];

/// What became of many statements, and the first that disagrees, alone.
#[derive(Debug, Default)]
pub struct Comparison {
    pub seen: BTreeMap<(Class, Difference), usize>,
    pub wrong: usize,
    pub first_wrong: Option<Case>,
}

impl<'a> Form<'a> {
    /// Staged by a script, in which the role is called `shadow`.
    pub fn script(server: &'a Server, script: impl Fn(&Case) -> String + 'a) -> Form<'a> {
        let stage = move |case: &Case| {
            server.psql("DROP ROLE IF EXISTS shadow");
            case.copy(server, "today", "staged", &script(case));
        };
        Form { role: "shadow", stage: Box::new(stage) }
    }

    /// The form as it is described, written down without pgwarden.
    pub fn described(server: &'a Server) -> Form<'a> {
        Form::script(server, |case| policy::staging(&case.schema, case.version, "shadow"))
    }
}

/// Runs each case with the policies staged in this form.
pub fn compare(server: &Server, cases: impl Iterator<Item = Case>, form: &Form) -> Comparison {
    let mut comparison = Comparison::default();
    for case in cases {
        let (seen, wrong) = compare_case(server, &case, form);
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
pub fn explain(server: &Server, case: Case, form: &Form) -> String {
    let smallest = case.shrink(|case| !compare_case(server, case, form).1.is_empty());
    compare_case(server, &smallest, form).1.swap_remove(0).1
}

type Seen = Vec<(Class, Difference)>;

fn compare_case(server: &Server, case: &Case, form: &Form) -> (Seen, Vec<(usize, String)>) {
    case.create(server, "today");
    case.copy(server, "today", "enforced", &case.schema.migration());
    (form.stage)(case);
    let mut copies = [
        Copy::open(server, "today"),
        Copy::open(server, "enforced"),
        Copy::open_as(server, "staged", form.role),
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
