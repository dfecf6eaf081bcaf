//! The migrations of `deploy/examples/inventory`: interrupted anywhere, repeated, taken back.

use std::path::PathBuf;

use crate::stage::{self, DATABASE, DEFAULT, GLOBEX, asked, asked_by, load, run_file, text, try_file};
use pgwarden_tests::{Server, for_each_version};

const MIGRATION: &str = "03-organisations.sql";

/// Columns, constraints, indexes, triggers, policies and owners of what there is.
const SHAPE: &str = "
SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT format('%s %s %s %s', relname, relrowsecurity, relforcerowsecurity, relowner::regrole)
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('%s.%s %s %s %s', attrelid::regclass, attname, atttypid::regtype, attnotnull, pg_get_expr(adbin, adrelid))
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT format('%s %s %s %s', conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT format('%s %s', polrelid::regclass, pg_get_expr(polqual, polrelid)) FROM pg_policy
    UNION ALL
    SELECT format('%s %s', oid::regprocedure, proowner::regrole) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS lines (line)";

/// How many rows the tables of before have.
const COUNTS: &str = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM items), (SELECT count(*) FROM locations),
    (SELECT count(*) FROM inventory_ledger), (SELECT count(*) FROM count_sheets), (SELECT count(*) FROM count_lines),
    (SELECT count(*) FROM audit_logs), (SELECT count(*) FROM feature_flags)";

/// The whole steps of the migration: each ends as a transaction or a block of its own.
fn steps() -> Vec<String> {
    let migration = text(MIGRATION);
    let steps = migration.split_inclusive("\n-- ").map(str::to_owned).collect::<Vec<_>>();
    assert!(steps.len() > 7, "the steps of the migration are not found any more");
    steps
}

/// Runs a text as a file of psql's.
#[track_caller]
fn run_text(server: &Server, database: &str, sql: &str) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("migration-{}.sql", server.port()));
    std::fs::write(&path, sql).expect("a file can be written");
    let outcome = try_file(&stage::service_directly(server, database), &path.to_string_lossy());
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(outcome, Ok(()), "{sql}");
}

/// What the application of before does, directly and without an organisation.
#[track_caller]
fn old_application_works(server: &Server, database: &str) {
    let url = server.url_for("inventory", "", database);
    asked_by(&url, "BEGIN; INSERT INTO items (item_number, description) VALUES ('old', 'x');
        INSERT INTO inventory_ledger (item_id, location_id, qty_canonical, reason)
        SELECT items.id, locations.id, 5, 'x' FROM items, locations WHERE item_number = 'old' LIMIT 1; ROLLBACK");
}

#[test]
fn a_run_that_was_interrupted_anywhere_is_repeated_to_the_same_end() {
    for_each_version(async |server| {
        load(server);
        let counts = asked(server, DATABASE, COUNTS);
        server.psql("CREATE DATABASE before TEMPLATE inventory");
        run_file(&stage::service_directly(server, DATABASE), MIGRATION);
        let shape = asked(server, DATABASE, SHAPE);
        let half = "ALTER TABLE items ADD CONSTRAINT org_id_is_known CHECK (org_id IS NOT NULL) NOT VALID;
            UPDATE users SET org_id = NULL WHERE name = 'Dora';";
        let mut prefixes: Vec<String> = Vec::new();
        for step in steps() {
            let before = prefixes.last().cloned().unwrap_or_default();
            prefixes.push(before + &step);
        }
        // In the middle of the steps that commit in between.
        let migration = text(MIGRATION);
        let (columns, _) = migration.split_once("\n-- 4. ").expect("the migration has a fourth step");
        prefixes.push(format!("{columns}\n{half}"));
        for (number, prefix) in prefixes.iter().enumerate() {
            let database = format!("half_{number}");
            server.psql(&format!("CREATE DATABASE {database} TEMPLATE before OWNER inventory"));
            run_text(server, &database, prefix);
            old_application_works(server, &database);
            run_file(&stage::service_directly(server, &database), MIGRATION);
            assert_eq!(asked(server, &database, SHAPE), shape, "after {number} parts, and the whole");
            old_application_works(server, &database);
            assert_eq!(asked(server, &database, COUNTS), counts, "no row is lost");
            server.psql(&format!("DROP DATABASE {database}"));
        }
    });
}

#[test]
fn every_row_belongs_to_the_default_organisation_and_orphans_are_mended() {
    for_each_version(async |server| {
        load(server);
        run_file(&stage::service_directly(server, DATABASE), MIGRATION);
        for table in
            ["users", "items", "locations", "inventory_ledger", "count_sheets", "count_lines", "audit_logs"]
        {
            let found = asked(server, DATABASE, &format!("SELECT DISTINCT org_id FROM {table}"));
            assert_eq!(found, DEFAULT, "{table}");
        }
        assert_eq!(asked(server, DATABASE, "SELECT id FROM audit_logs WHERE user_id IS NULL"), "2");
        let balances = asked(server, DATABASE, "SELECT sum(qty_canonical) FROM inventory_balances");
        assert_eq!(balances, asked(server, DATABASE, "SELECT sum(qty_canonical) FROM inventory_ledger"));
    });
}

#[test]
fn the_owner_is_bound_by_the_policies_because_they_are_forced() {
    for_each_version(async |server| {
        let _pgwarden = stage::start(server);
        let url = server.url_for("inventory", "", DATABASE);
        assert_eq!(asked_by(&url, "SELECT count(*) FROM items"), "0", "without an organisation");
        let acting = format!("SET app.current_org_id = '{}'; SELECT DISTINCT org_id FROM items", GLOBEX[0]);
        assert_eq!(asked_by(&url, &acting), GLOBEX[0]);
        asked(server, DATABASE, "ALTER TABLE items NO FORCE ROW LEVEL SECURITY");
        assert_eq!(
            asked_by(&url, "SELECT count(*) FROM items"),
            "9",
            "without FORCE, policies do not bind an owner"
        );
    });
}

#[test]
fn everything_can_be_run_twice_and_taken_back() {
    for_each_version(async |server| {
        load(server);
        let (before, counts) = (asked(server, DATABASE, SHAPE), asked(server, DATABASE, COUNTS));
        let pgwarden = stage::start_before_migration(server);
        let service = stage::service(&pgwarden);
        let mut shapes = Vec::new();
        for _ in 0..2 {
            for name in ["03-organisations.sql", "04-isolation.sql"] {
                run_file(&service, name);
            }
            shapes.push(asked(server, DATABASE, SHAPE));
        }
        assert_eq!(shapes[0], shapes[1]);
        for name in ["04-rollback.sql", "04-rollback.sql", "03-rollback.sql"] {
            run_file(&service, name);
        }
        assert_eq!(
            asked(server, DATABASE, SHAPE),
            before,
            "found on the left, the shape of before on the right"
        );
        assert_eq!(asked(server, DATABASE, COUNTS), counts);
    });
}

#[test]
fn single_keys_do_not_come_back_over_two_organisations_with_the_same_numbers() {
    for_each_version(async |server| {
        let pgwarden = stage::start(server);
        let service = stage::service(&pgwarden);
        run_file(&service, "04-rollback.sql");
        let shape = asked(server, DATABASE, SHAPE);
        let rollback = stage::example("03-rollback.sql");
        let refused = try_file(&service, &rollback.to_string_lossy());
        assert!(refused.is_err_and(|error| error.contains("could not create unique index")));
        assert_eq!(asked(server, DATABASE, SHAPE), shape, "nothing has changed");
    });
}
