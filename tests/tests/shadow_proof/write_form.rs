//! Whether the triggers that look at writes tell what the policies would change in them.

use pgwarden_shadow::writes::{Effect, NONCE, Notice};
use pgwarden_sql::{Writing, WritingCommand, doing};
use pgwarden_tests::Server;

use crate::case::Case;
use crate::pgwarden::{install_triggers, stage};
use crate::rates::{Rates, Said, Truth};
use crate::schema::Table;
use crate::statement::{Class, Statement};
use crate::truth::{Copy, Difference, Outcome};

const DATABASES: [&str; 3] = ["today", "enforced", "staged"];

/// Runs what writes of each case on tables with triggers; returns the rates, and what was judged wrongly.
pub fn measure(server: &Server, cases: impl Iterator<Item = Case>) -> (Rates, Vec<String>) {
    let (mut rates, mut wrong) = (Rates::default(), Vec::new());
    for case in cases {
        measure_case(server, &case, &mut rates, &mut wrong);
        for database in DATABASES {
            server.psql(&format!("DROP DATABASE {database} WITH (FORCE)"));
        }
    }
    (rates, wrong)
}

fn measure_case(server: &Server, case: &Case, rates: &mut Rates, wrong: &mut Vec<String>) {
    case.create(server, "today");
    case.copy(server, "today", "enforced", &case.schema.migration());
    server.psql("CREATE DATABASE staged TEMPLATE today");
    stage(server, case, "staged");
    install_triggers(server, "staged");
    let (mut today, mut enforced) = (Copy::open(server, "today"), Copy::open(server, "enforced"));
    let mut watched = Copy::open(server, "staged");
    watched.wire.rows(&format!("SET {NONCE} = 'nonce'"));
    let looked_at = |statement: &&Statement| {
        let is_bulk = matches!(statement.class, Class::CopyFrom | Class::Truncate);
        statement.class.writes() && !is_bulk && statement.user.is_some()
    };
    for statement in case.statements.iter().filter(looked_at) {
        let (now, then) = (today.run(case, statement), enforced.run(case, statement));
        let seen = watched.run(case, statement);
        let truth = match Difference::between(statement, &now, &then) {
            Difference::Same => Truth::Same,
            Difference::FailsToday => Truth::Fails,
            Difference::Unstable => Truth::Open,
            _ => Truth::Differs,
        };
        let disturbed = !now.is_like(statement, &seen);
        let said = said(case, statement, &seen);
        if rates.count(truth, &said) || disturbed {
            let outcomes = [("today", &now), ("in force", &then), ("with triggers", &seen)];
            let text = case.describe(statement, &outcomes);
            wrong.push(format!("{text}-- {said:?}: {:?}\n-- disturbed: {disturbed}\n", notices(&seen)));
        }
    }
}

fn notices(seen: &Outcome) -> Vec<Notice> {
    let read = |payload: &Vec<u8>| Notice::read(payload, "nonce").flatten();
    seen.notices.iter().filter_map(read).collect()
}

fn said(case: &Case, statement: &Statement, seen: &Outcome) -> Said {
    let doing = doing(&statement.text).expect("the statement can be read");
    let (written, reads) = (doing.writings, !doing.reads.is_empty());
    let may_skip = written.iter().any(|writing| writing.command == WritingCommand::InsertOrSkip);
    let (mut doubt, mut differs) = (None, false);
    for notice in notices(seen) {
        let named = |writing: &&Writing| writing.table == notice.name;
        let effect = Effect::of(&notice, written.iter().find(named));
        if let Some(failed) = &notice.failed {
            doubt = Some(format!("failed: {failed}"));
        } else if !notice.cascade && effect.refused + effect.hidden > 0 {
            differs = true;
        } else if !notice.cascade && effect.if_it_reads > 0 {
            doubt = Some("it may read or not".to_owned());
        }
    }
    let views = &case.schema.views;
    let through_view = written.iter().any(|writing| views.iter().any(|view| view.name == writing.table));
    let is_elsewhere = |notice: &Notice| written.iter().all(|writing| writing.table != notice.name);
    let other = notices(seen).iter().any(|notice| is_elsewhere(notice) || notice.is_of_a_trigger());
    let is_written = |table: &&Table| written.iter().any(|writing| writing.table.starts_with(table.name));
    let unwatched = case.schema.tables.iter().filter(is_written).any(|table| !table.is_watched());
    let has_triggers = case.schema.tables.iter().any(|table| !table.triggers.is_empty());
    match doubt {
        // Whose policies hold there, the trigger cannot know.
        _ if unwatched => Said::NotEvaluated("it has no triggers".to_owned()),
        _ if through_view || other => Said::NotEvaluated("through a view or a trigger".to_owned()),
        _ if reads && may_skip => Said::NotEvaluated("it may read a row, or skip it".to_owned()),
        _ if differs => Said::Differs,
        Some(doubt) => Said::NotEvaluated(doubt),
        None if statement.reads_elsewhere() || has_triggers => {
            Said::NotEvaluated("it reads elsewhere".to_owned())
        }
        None => Said::Clean,
    }
}
