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
#[path = "shadow_proof/truth.rs"]
mod truth;
#[path = "shadow_proof/writes.rs"]
mod writes;

use case::{Case, create_roles};
use pgwarden_tests::{Version, for_each_version};

const STATEMENTS_PER_CASE: usize = 40;

/// As many statements as `PGWARDEN_PROOF_STATEMENTS` says, in cases.
fn cases(version: Version, statements: usize) -> impl Iterator<Item = Case> {
    let number = |name: &str, otherwise: usize| {
        let asked =
            std::env::var(name).map(|asked| asked.parse().unwrap_or_else(|_| panic!("{name}: {asked:?}")));
        asked.unwrap_or(otherwise)
    };
    let count = number("PGWARDEN_PROOF_STATEMENTS", statements).div_ceil(STATEMENTS_PER_CASE);
    let first = number("PGWARDEN_PROOF_SEED", 1);
    (first..first + count).map(move |seed| Case::random(seed as u64, version, STATEMENTS_PER_CASE))
}

#[test]
fn the_role_of_the_staged_form_gets_what_the_policies_give_in_force() {
    for_each_version(async |server| {
        create_roles(server);
        let staging = |case: &Case| policy::staging(&case.schema, case.version);
        let comparison = staged_form::compare(server, cases(server.version(), 400), staging);
        println!("PostgreSQL {}\n{}", server.version(), comparison.table());
        if let Some(case) = comparison.first_wrong {
            let first = staged_form::explain(server, case, staging);
            panic!("{} statements differ; the first of them:\n{first}", comparison.wrong);
        }
    });
}

#[test]
fn a_staged_form_without_one_of_its_policies_is_noticed() {
    for_each_version(async |server| {
        create_roles(server);
        for forgotten in ["shadow_select", "shadow_insert", "shadow_update", "shadow_delete"] {
            let staging = |case: &Case| {
                let whole = policy::staging(&case.schema, case.version);
                let lines: Vec<_> = whole.lines().filter(|line| !line.contains(forgotten)).collect();
                lines.join("\n")
            };
            let few = (1..=3).map(|seed| Case::random(seed, server.version(), STATEMENTS_PER_CASE));
            let comparison = staged_form::compare(server, few, staging);
            assert!(comparison.wrong > 0, "nothing differs without {forgotten}");
        }
    });
}

#[test]
fn a_query_run_again_as_the_shadow_role_tells_what_the_policies_change() {
    for_each_version(async |server| {
        create_roles(server);
        let (rates, wrong) = replay_form::measure(server, cases(server.version(), 400));
        println!("PostgreSQL {}: {rates}", server.version());
        assert!(wrong.is_empty(), "{} were judged wrongly; the first of them:\n{}", wrong.len(), wrong[0]);
        assert!(rates.true_positives * 4 > rates.judged(), "the statements are too harmless: {rates}");
    });
}

#[test]
fn what_differs_is_found_and_what_does_not_is_not() {
    for_each_version(async |server| {
        create_roles(server);
        let proof = proof::prove(server, cases(server.version(), 1_000));
        println!("PostgreSQL {}, {} statements\n{}", server.version(), proof.statements, proof.table());
        let show = |what: &str, texts: &[String]| {
            assert!(texts.is_empty(), "{} {what}; the first:\n{}", texts.len(), texts[0]);
        };
        show("statements did something else through pgwarden", &proof.disturbed);
        show("statements were judged wrongly", &proof.wrong);
        show("records are about no statement", &proof.strays);
    });
}
