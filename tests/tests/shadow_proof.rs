//! The proof of shadow mode: random schemas, policies, data and statements; the truth is what PostgreSQL does with the
//! policies in force on a copy.
//!
//! The same numbers make the same statements everywhere. `PGWARDEN_PROOF_STATEMENTS` says how many, and
//! `PGWARDEN_PROOF_SEED` where to begin.

#[path = "shadow_proof/case.rs"]
mod case;
#[path = "shadow_proof/dice.rs"]
mod dice;
#[path = "shadow_proof/pgwarden.rs"]
mod pgwarden;
#[path = "shadow_proof/policy.rs"]
mod policy;
#[path = "shadow_proof/proof.rs"]
mod proof;
#[path = "shadow_proof/rates.rs"]
mod rates;
#[path = "shadow_proof/reads.rs"]
mod reads;
#[path = "shadow_proof/replay_form.rs"]
mod replay_form;
#[path = "shadow_proof/schema.rs"]
mod schema;
#[path = "shadow_proof/shrink.rs"]
mod shrink;
#[path = "shadow_proof/sighting.rs"]
mod sighting;
#[path = "shadow_proof/staged_form.rs"]
mod staged_form;
#[path = "shadow_proof/statement.rs"]
mod statement;
#[path = "shadow_proof/trigger.rs"]
mod trigger;
#[path = "shadow_proof/truth.rs"]
mod truth;
#[path = "shadow_proof/write_form.rs"]
mod write_form;
#[path = "shadow_proof/writes.rs"]
mod writes;

use case::{Case, create_roles};
use pgwarden_tests::{Server, Version, for_each_version, versions};
use proof::Proof;
use staged_form::Form;
use std::cell::RefCell;

const STATEMENTS_PER_CASE: usize = 40;

/// As many statements in cases of so many; or those that `PGWARDEN_PROOF_STATEMENTS` asks for, each version its share, and
/// cases of its own.
fn cases(version: Version, statements: usize, each: usize) -> impl Iterator<Item = Case> {
    let number = |name: &str| {
        std::env::var(name).ok().map(|asked| asked.parse().unwrap_or_else(|_| panic!("{name}: {asked:?}")))
    };
    let versions = versions();
    let place = versions.iter().position(|one| *one == version).unwrap_or_default();
    let share = number("PGWARDEN_PROOF_STATEMENTS").map(|all: usize| all.div_ceil(versions.len()));
    let count = share.unwrap_or(statements).div_ceil(each);
    let first = number("PGWARDEN_PROOF_SEED").unwrap_or(1) + place * count;
    (first..first + count).map(move |seed| Case::random(seed as u64, version, each))
}

#[test]
fn the_role_of_the_staged_form_gets_what_the_policies_give_in_force() {
    for_each_version(async |server| {
        create_roles(server);
        agrees(server, 400, &Form::described(server));
    });
}

#[test]
fn what_the_command_stages_answers_as_the_policies_in_force() {
    for_each_version(async |server| {
        create_roles(server);
        agrees(server, 400, &Form::of_the_command(server));
    });
}

/// Nothing differs between the staged form and enforcement, nor for the application.
#[track_caller]
fn agrees(server: &Server, statements: usize, form: &Form) {
    let comparison =
        staged_form::compare(server, cases(server.version(), statements, STATEMENTS_PER_CASE), form);
    println!("PostgreSQL {}\n{}", server.version(), comparison.table());
    if let Some(case) = comparison.first_wrong {
        let first = staged_form::explain(server, case, form);
        panic!("{} statements differ; the first of them:\n{first}", comparison.wrong);
    }
}

#[test]
fn a_staged_form_without_one_of_its_policies_is_noticed() {
    for_each_version(async |server| {
        create_roles(server);
        for forgotten in ["shadow_select", "shadow_insert", "shadow_update", "shadow_delete"] {
            let form = Form::script(server, |case| {
                let whole = policy::staging(&case.schema, case.version, "shadow");
                let lines: Vec<_> = whole.lines().filter(|line| !line.contains(forgotten)).collect();
                lines.join("\n")
            });
            let differs = |seed| {
                let case = Case::random(seed, server.version(), STATEMENTS_PER_CASE);
                staged_form::compare(server, std::iter::once(case), &form).wrong > 0
            };
            assert!((1..=40).any(differs), "nothing differs without {forgotten}");
        }
    });
}

#[test]
fn a_query_run_again_as_the_shadow_role_tells_what_the_policies_change() {
    for_each_version(async |server| {
        create_roles(server);
        let (rates, wrong) = replay_form::measure(server, cases(server.version(), 400, STATEMENTS_PER_CASE));
        println!("PostgreSQL {}: {rates}", server.version());
        assert!(wrong.is_empty(), "{} were judged wrongly; the first of them:\n{}", wrong.len(), wrong[0]);
        assert!(rates.true_positives * 4 > rates.judged(), "the statements are too harmless: {rates}");
    });
}

#[test]
fn triggers_tell_what_the_policies_change_in_what_is_written() {
    for_each_version(async |server| {
        create_roles(server);
        let (rates, wrong) = write_form::measure(server, cases(server.version(), 600, STATEMENTS_PER_CASE));
        println!("PostgreSQL {}: {rates}", server.version());
        show("were judged wrongly, or disturbed", &wrong);
        assert!(rates.true_positives * 10 > rates.judged(), "the statements are too harmless: {rates}");
    });
}

#[test]
fn what_differs_is_found_and_what_does_not_is_not() {
    let together = RefCell::new(Proof::default());
    for_each_version(async |server| {
        create_roles(server);
        let thorough = std::env::var_os("PGWARDEN_PROOF_STATEMENTS").is_some();
        let proof = proof::prove(server, cases(server.version(), 400, 100), thorough);
        println!("PostgreSQL {}, {} statements\n{}", server.version(), proof.statements, proof.table());
        together.borrow_mut().add(&proof);
        show("statements did something else through pgwarden", &proof.disturbed);
        show("statements were judged wrongly", &proof.wrong);
        show("records are about no statement", &proof.strays);
        let found = |name: &str| proof.rates[name].true_positives;
        for detector in ["context", "replay", "rows", "writes"] {
            assert!(found(detector) > 0, "{detector} finds nothing:\n{}", proof.table());
        }
        for detector in ["replay", "rows", "writes"] {
            let clean = proof.rates[detector].true_negatives;
            assert!(clean > 0, "{detector} calls nothing clean:\n{}", proof.table());
        }
    });
    let together = together.into_inner();
    println!("all versions, {} statements\n{}", together.statements, together.table());
}

/// Fails with the first of them whole, and what is said of others.
#[track_caller]
fn show(what: &str, texts: &[String]) {
    let others: String = texts.iter().skip(1).take(60).map(|text| last_lines(text)).collect();
    assert!(texts.is_empty(), "{} {what}; the first:\n{}\nothers:\n{others}", texts.len(), texts[0]);
}

/// Of a description, what is said there of the statement.
fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    let statement = lines.iter().rposition(|line| line.starts_with("SELECT * FROM unnest"));
    let statement = statement.map_or("", |place| lines[place - 1]);
    let first = lines.iter().find(|line| line.starts_with("-- case")).unwrap_or(&"");
    format!("{first}\n{statement}\n{}\n", lines[lines.len().saturating_sub(2)..].join("\n"))
}
