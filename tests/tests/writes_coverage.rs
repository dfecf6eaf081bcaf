//! How far writes were looked at: what triggers have not seen is never called clean.

use pgwarden_tests::shadow::{SETTINGS, Watched};
use pgwarden_tests::staged::{SHADOW, install, own, stage};
use pgwarden_tests::tenants::{ACME, error_code};
use pgwarden_tests::{Server, Wire, for_each_version, until};

const SCHEMA: &str = "
CREATE TABLE parts (id int PRIMARY KEY, org_id uuid, thing int);
CREATE TABLE remarks (id int, text text);
CREATE TABLE kept (id int PRIMARY KEY, org_id uuid, before int);
CREATE TABLE counted (id int PRIMARY KEY, org_id uuid);
CREATE TABLE loose (id int, org_id uuid);
CREATE TABLE noting (id int, org_id uuid);
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
INSERT INTO remarks VALUES (7, 'x');
CREATE FUNCTION harmless(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
CREATE FUNCTION looking(int) RETURNS int LANGUAGE plpgsql AS
    'BEGIN RETURN (SELECT count(*) FROM parts WHERE thing = $1); END';
CREATE FUNCTION asking(int) RETURNS int LANGUAGE sql AS 'SELECT looking($1)';
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF NEW.org_id IS DISTINCT FROM OLD.org_id THEN RAISE EXCEPTION ''fixed''; END IF; RETURN NEW; END';
CREATE TRIGGER keep BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION keep();
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF EXISTS (SELECT FROM parts WHERE id = NEW.id) THEN RETURN NULL; END IF; RETURN NEW; END';
CREATE TRIGGER look BEFORE INSERT ON counted FOR EACH ROW EXECUTE FUNCTION look();
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO loose VALUES (NEW.id, NEW.org_id); RETURN NEW; END';
CREATE TABLE wholes (id int PRIMARY KEY, org_id uuid);
CREATE TABLE pieces (id int, org_id uuid, whole int REFERENCES wholes ON DELETE CASCADE);
GRANT ALL ON wholes, pieces TO PUBLIC;
CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN UPDATE kept SET before = (SELECT count(*) FROM parts); RETURN OLD; END';
CREATE TRIGGER rest AFTER DELETE ON pieces FOR EACH ROW EXECUTE FUNCTION rest();
CREATE TRIGGER note AFTER INSERT ON noting FOR EACH ROW EXECUTE FUNCTION note();
";

/// Tables with staged policies, all but `loose` with triggers, and a pgwarden that knows it.
fn watched(server: &Server, settings: &str) -> Watched {
    let watched = Watched::start_with(server, SCHEMA, "shadow", |builder| {
        builder.file("pgwarden.toml", &format!("{SETTINGS}{settings}"))
    });
    server.psql(SHADOW);
    for table in ["things", "parts", "kept", "counted", "noting", "wholes", "pieces"] {
        server.psql(&stage(table, &own("org_id")));
    }
    install(server);
    server.psql(&stage("loose", &own("org_id")));
    let mut client = watched.client("acme");
    until("pgwarden knows of the triggers", || {
        client.query("UPDATE things SET name = 'seen'");
        let counts = watched.coverage("writes", "update things set name = $1");
        counts.iter().any(|(reason, ..)| reason.is_empty()).then_some(())
    });
    until("and of all tables", || {
        client.query(&format!("INSERT INTO loose (id, org_id) VALUES (0, '{ACME}')"));
        (!watched.coverage("writes", "insert into loose").is_empty()).then_some(())
    });
    watched
}

/// The reasons for which a statement was not looked at, `""` if it was.
#[track_caller]
fn reasons(watched: &Watched, words: &str) -> Vec<String> {
    until(&format!("{words:?} is counted"), || {
        let counts = watched.coverage("writes", words);
        (!counts.is_empty()).then(|| counts.into_iter().map(|(reason, ..)| reason).collect())
    })
}

#[track_caller]
fn run(client: &mut Wire, sql: &str) {
    assert_eq!(error_code(&client.query(sql)), "", "{sql}");
}

#[test]
fn a_write_is_covered_where_triggers_see_all_of_it() {
    for_each_version(async |server| {
        let watched = watched(server, "");
        let mut client = watched.client("acme");
        for (sql, words, reason) in [
            (
                format!("INSERT INTO things VALUES (20, '{ACME}', 'a')"),
                "insert into things values ($1, $2, $3)",
                "",
            ),
            ("UPDATE things SET name = upper(name) WHERE id = 1".into(), "upper(name) where id", ""),
            ("UPDATE things SET name = 'x' WHERE id = harmless(1)".into(), "harmless", ""),
            ("DELETE FROM things WHERE id = 20 RETURNING id".into(), "returning id", ""),
            (
                format!(
                    "INSERT INTO things VALUES (1, '{ACME}', 'b') ON CONFLICT (id) DO UPDATE SET name = 'c'"
                ),
                "on conflict",
                "",
            ),
            (
                "WITH gone AS (DELETE FROM parts RETURNING thing) INSERT INTO remarks SELECT thing FROM gone"
                    .into(),
                "with gone",
                "",
            ),
            (format!("INSERT INTO things SELECT id, '{ACME}' FROM remarks"), "from remarks", ""),
            (format!("INSERT INTO kept VALUES (1, '{ACME}')"), "insert into kept", ""),
            ("UPDATE kept SET before = 2".into(), "update kept", ""),
            (
                "INSERT INTO remarks SELECT id FROM parts".into(),
                "insert into remarks select id",
                "reads_elsewhere",
            ),
            (
                "INSERT INTO parts SELECT id, org_id FROM things".into(),
                "select id, org_id from",
                "reads_elsewhere",
            ),
            (
                "UPDATE things SET name = p.id::text FROM parts p WHERE p.thing = things.id".into(),
                "from parts p",
                "reads_elsewhere",
            ),
            (
                "UPDATE things SET id = id WHERE id = (SELECT max(id) FROM things)".into(),
                "max(id)",
                "reads_elsewhere",
            ),
            ("UPDATE things SET id = asking(id) + 100 WHERE id = 99".into(), "asking", "function_reads"),
            (format!("INSERT INTO counted VALUES (1, '{ACME}')"), "insert into counted", "function_reads"),
            ("DELETE FROM wholes WHERE id = 1".into(), "delete from wholes", "function_reads"),
            (format!("INSERT INTO noting VALUES (1, '{ACME}')"), "insert into noting", "no_trigger"),
        ] {
            run(&mut client, &sql);
            assert_eq!(reasons(&watched, words), [reason], "{sql}");
        }
        client.query(&format!("INSERT INTO things (org_id, id) VALUES ('{ACME}', 1)"));
        assert_eq!(reasons(&watched, "insert into things(org_id, id)"), ["failed"]);
        run(&mut client, "INSERT INTO remarks VALUES (1, 'nobody stages anything for it')");
        run(&mut client, "SELECT 1 AS last_of_all");
        until("the last one is counted", || {
            (!watched.coverage("context", "last_of_all").is_empty()).then_some(())
        });
        assert_eq!(watched.coverage("writes", "insert into remarks values"), []);
    });
}

#[test]
fn rows_that_no_trigger_looks_at_are_not_covered() {
    for_each_version(async |server| {
        let watched = watched(server, "[shadow.writes]\nrows = 3\n");
        let mut client = watched.client("acme");
        run(&mut client, "DELETE FROM things");
        run(&mut client, &format!("INSERT INTO things SELECT id, '{ACME}' FROM generate_series(1, 4) AS id"));
        run(&mut client, "UPDATE things SET name = 'all of them' WHERE org_id IS NOT NULL");
        assert_eq!(reasons(&watched, "where org_id is not null"), ["not_sampled"]);
        // What replicates fires no trigger.
        server.psql("ALTER ROLE app SUPERUSER");
        run(&mut client, "SET session_replication_role = replica");
        run(&mut client, "DELETE FROM things WHERE name = 'a replica' AND org_id IS NULL");
        assert_eq!(reasons(&watched, "and org_id is null"), ["no_trigger"]);
        run(&mut client, "RESET session_replication_role");
        server.psql("ALTER TABLE things DISABLE TRIGGER USER");
        until("pgwarden knows that they are disabled", || {
            client.query("DELETE FROM things WHERE name = 'disabled'");
            let counts = watched.coverage("writes", "delete from things where name");
            counts.iter().any(|(reason, ..)| reason == "no_trigger").then_some(())
        });
    });
}
