//! From users to organisations, phase by phase: nothing is lost, every file can be run again, and all can be taken back.

use crate::stage::{PHASES, ask, load, load_migrated, migrate, refused};
use pgwarden_tests::for_each_version;

const ANN: &str = "a0000000-0000-4000-8000-0000000000a1";
const GONE: &str = "d0000000-0000-4000-8000-0000000000d1";
const DEFAULT: &str = "a0000000-0000-0000-0000-000000000001";
const TABLES: [&str; 10] = [
    "call_logs",
    "calls",
    "campaign_leads",
    "campaigns",
    "contacts",
    "knowledge_base",
    "knowledge_base_chunks",
    "knowledge_base_documents",
    "leads",
    "usage_events",
];

/// Every table with its rows, whatever columns they have.
#[track_caller]
fn rows(url: &str) -> Vec<String> {
    let count = |table: &&str| format!("{table} {}", ask(url, &format!("SELECT count(*) FROM {table}")));
    TABLES.iter().chain(&["user_credits"]).map(count).collect()
}

#[track_caller]
fn phases(url: &str, phases: &[&str]) {
    phases.iter().for_each(|phase| _ = migrate(url, phase));
}

#[test]
fn every_table_is_found_and_nothing_is_lost() {
    for_each_version(async |server| {
        let url = load(server);
        let before = rows(&url);
        migrate(&url, PHASES[0]);
        let found = migrate(&url, PHASES[1]);
        assert_eq!(found.lines().filter(|line| line.contains("|user|")).count(), 7, "{found}");
        assert!(found.contains("campaign_leads|parent|campaigns|12"), "{found}");
        assert!(found.contains("knowledge_base_chunks|parent|knowledge_base_documents|17"), "{found}");
        assert_eq!(found.lines().filter(|line| line.contains("|person|")).count(), 3, "{found}");
        phases(&url, &PHASES[2..]);
        assert_eq!(rows(&url), before);
        let check = migrate(&url, "check");
        assert!(check.contains("every row has its organisation"), "{check}");
        let of_calls = "SELECT string_agg(o.name || ' ' || n, ', ' ORDER BY o.name COLLATE \"C\") FROM organizations o \
                        JOIN (SELECT org_id, count(*) n FROM calls GROUP BY 1) c ON c.org_id = o.id";
        let expected = "Default Organization 50, acme.example 100, globex.example 50";
        assert_eq!(ask(&url, of_calls), expected);
        let mut orphans =
            ask(&url, &format!("SELECT content FROM knowledge_base_chunks WHERE org_id = '{DEFAULT}'"));
        orphans.retain(|letter| letter != '\n');
        assert!(orphans.contains("Left over"), "{orphans}");
        for table in TABLES {
            let index =
                format!("SELECT indisvalid FROM pg_index WHERE indexrelid = '{table}_org_id_idx'::regclass");
            assert_eq!(ask(&url, &index), "t");
        }
    });
}

#[test]
fn every_file_can_be_run_again_and_all_can_be_taken_back() {
    for_each_version(async |server| {
        let url = load(server);
        let before = rows(&url);
        for phase in PHASES {
            migrate(&url, phase);
            migrate(&url, phase);
        }
        phases(&url, &PHASES);
        migrate(&url, "check");
        for _ in 0..2 {
            migrate(&url, "rollback");
            assert_eq!(rows(&url), before);
            let left = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'org_id'";
            assert_eq!(ask(&url, left), "0");
        }
        phases(&url, &PHASES[..3]);
        migrate(&url, "rollback");
        phases(&url, &PHASES);
        migrate(&url, "check");
        assert_eq!(rows(&url), before);
    });
}

#[test]
fn a_table_of_which_nobody_knows_whose_it_is_stops_the_first_phase() {
    for_each_version(async |server| {
        let url = load(server);
        migrate(&url, PHASES[0]);
        ask(&url, "CREATE TABLE forgotten (id bigint)");
        let text = pgwarden_tests::examples::text("calls/migration/1-discover.sql");
        assert!(refused(&url, &text).contains("nobody knows whose rows these are: forgotten"));
        assert_eq!(ask(&url, "SELECT to_regnamespace('org_migration') IS NULL"), "t", "nothing was begun");
    });
}

#[test]
fn the_old_application_goes_on_from_phase_to_phase() {
    for_each_version(async |server| {
        let url = load(server);
        let insert = |user: &str| {
            let sql = format!("INSERT INTO calls (user_id, phone) VALUES ('{user}', '+1') RETURNING id");
            let id = ask(&url, &sql);
            ask(
                &url,
                &format!("INSERT INTO call_logs (user_id, call_id, line) VALUES ('{user}', {id}, 'x')"),
            );
            id
        };
        phases(&url, &PHASES[..2]);
        let early = insert(ANN);
        migrate(&url, PHASES[2]);
        let late = insert(ANN);
        let of = |id: &str| {
            ask(
                &url,
                &format!(
                    "SELECT o.name FROM calls c LEFT JOIN organizations o ON o.id = c.org_id WHERE c.id = {id}"
                ),
            )
        };
        assert_eq!((of(&early).as_str(), of(&late).as_str()), ("", "acme.example"));
        phases(&url, &PHASES[3..6]);
        assert_eq!(of(&early), "acme.example");
        assert_eq!(of(&insert(ANN)), "acme.example");
        let orphan = format!("INSERT INTO calls (user_id, phone) VALUES ('{GONE}', '+1')");
        let error = refused(&url, &orphan);
        assert!(error.contains("23502") && error.contains("null value in column \"org_id\""), "{error}");
    });
}

#[test]
fn a_row_needs_an_organisation_and_keeps_it() {
    for_each_version(async |server| {
        let url = load_migrated(server);
        for table in ["calls", "contacts", "usage_events"] {
            let error =
                refused(&url, &format!("UPDATE {table} SET org_id = '{DEFAULT}' WHERE user_id = '{ANN}'"));
            assert!(
                error.contains("23000") && error.contains(&format!("org_id of public.{table} cannot change")),
                "{error}"
            );
        }
        assert_eq!(ask(&url, "UPDATE calls SET status = 'closed' WHERE id = 1 RETURNING status"), "closed");
        let error = refused(&url, &format!("INSERT INTO calls (user_id, phone) VALUES ('{ANN}', '+1')"));
        assert!(error.contains("23502") && error.contains("null value in column \"org_id\""), "{error}");
        let unknown = format!("INSERT INTO contacts (user_id, name, org_id) VALUES ('{ANN}', 'x', '{ANN}')");
        assert!(refused(&url, &unknown).contains("23503"));
    });
}
