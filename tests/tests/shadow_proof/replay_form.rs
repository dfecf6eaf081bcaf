//! Whether a query that is run again, counted and summed up, tells what the policies would change in it.

use pgwarden_tests::Server;

use crate::case::Case;
use crate::policy;
use crate::rates::{Rates, Said, Truth};
use crate::statement::{Class, Order, Protocol, Statement};
use crate::truth::{Copy, Difference, Outcome};

/// Runs the queries of each case in this form; returns the rates, and those that were judged wrongly.
pub fn measure(server: &Server, cases: impl Iterator<Item = Case>) -> (Rates, Vec<String>) {
    let (mut rates, mut wrong) = (Rates::default(), Vec::new());
    for case in cases {
        measure_case(server, &case, &mut rates, &mut wrong);
        for database in ["today", "enforced", "staged"] {
            server.psql(&format!("DROP DATABASE {database} WITH (FORCE)"));
        }
        server.psql("DROP ROLE shadow");
    }
    (rates, wrong)
}

fn measure_case(server: &Server, case: &Case, rates: &mut Rates, wrong: &mut Vec<String>) {
    case.create(server, "today");
    case.copy(server, "today", "enforced", &case.schema.migration());
    case.copy(server, "today", "staged", &policy::staging(&case.schema, case.version, "shadow"));
    let (mut today, mut enforced) = (Copy::open(server, "today"), Copy::open(server, "enforced"));
    let (mut application, mut shadow) =
        (Copy::open(server, "staged"), Copy::open_as(server, "staged", "shadow"));
    for statement in &case.statements {
        let Some(replay) = replayed(statement) else { continue };
        let (now, then) = (today.run(case, statement), enforced.run(case, statement));
        let (as_application, as_shadow) = (application.run(case, &replay), shadow.run(case, &replay));
        let truth = truth(statement, Difference::between(statement, &now, &then));
        let said = said(&as_application, &as_shadow);
        if rates.count(truth, &said) {
            let outcomes = [
                ("today", &now),
                ("in force", &then),
                ("again, as the application", &as_application),
                ("again, as the shadow role", &as_shadow),
            ];
            wrong.push(case.describe(statement, &outcomes));
        }
    }
}

/// What is so about a query.
fn truth(statement: &Statement, difference: Difference) -> Truth {
    match difference {
        _ if statement.order == Order::Unstable => Truth::Open,
        Difference::Same => Truth::Same,
        Difference::FailsToday => Truth::Fails,
        Difference::Unstable => Truth::Open,
        Difference::Result | Difference::Refused | Difference::Effect | Difference::Error => Truth::Differs,
    }
}

fn said(application: &Outcome, shadow: &Outcome) -> Said {
    match (&application.error, &shadow.error) {
        (Some(_), _) => Said::NotEvaluated("error".to_owned()),
        (None, None) if application.rows == shadow.rows => Said::Clean,
        (None, _) => Said::Differs,
    }
}

/// The query around the client's; `None` for what is no query.
fn replayed(statement: &Statement) -> Option<Statement> {
    if statement.class.writes() || matches!(statement.class, Class::Locking | Class::Fetch) {
        return None;
    }
    let text = match statement.class {
        Class::CopyTo => statement.text.strip_prefix("COPY (")?.strip_suffix(") TO STDOUT")?,
        _ => &statement.text,
    };
    let text = format!(
        "SELECT count(*), sum(hashtextextended(\"pgwarden_r$\"::text, 0)) FROM ({text}\n) \"pgwarden_r$\""
    );
    let protocol = if statement.parameters.is_empty() {
        Protocol::Simple
    } else {
        Protocol::Extended { result_format: 0 }
    };
    Some(Statement { text, protocol, order: Order::Any, ..statement.clone() })
}
