//! Replay: what could have an effect is not run again, and what was run leaves nothing behind.

use pgwarden_tests::replay::Replayed;
use pgwarden_tests::tenants::error_code;
use pgwarden_tests::{Version, for_each_version};

/// Functions of all kinds that do what no READ ONLY stops, most of them under a wrong name.
const FUNCTIONS: &str = "
CREATE FUNCTION tells() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION lies_in_sql() RETURNS text LANGUAGE sql STABLE AS $$ SELECT pg_notify('a', 'b')::text $$;
CREATE FUNCTION lies_deeper() RETURNS text LANGUAGE sql STABLE AS 'SELECT lies_in_sql()';
CREATE FUNCTION lies_in_plpgsql() RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN
    PERFORM pg_advisory_lock(7); RETURN 1; END $$;
CREATE FUNCTION computes(text) RETURNS int LANGUAGE plpgsql STABLE AS $$ DECLARE n int; BEGIN
    EXECUTE 'SELECT ' || $1 INTO n; RETURN n; END $$;
CREATE FUNCTION of_row(items) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION adds(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1 + $2';
CREATE OPERATOR +# (LEFTARG = int, RIGHTARG = int, FUNCTION = adds);
CREATE AGGREGATE total(int) (sfunc = adds, stype = int, initcond = '0');
CREATE VIEW notifying AS SELECT id, pg_notify('a', name)::text AS told FROM items;
CREATE VIEW behind AS SELECT id AS number FROM notifying WHERE told IS NOT NULL;
CREATE FUNCTION harmless(int) RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN $1 + 1; END $$;
CREATE SEQUENCE numbers;
GRANT SELECT ON notifying, behind TO app;
GRANT USAGE ON SEQUENCE numbers TO app;
";

#[test]
fn nothing_volatile_is_run_again_however_it_is_reached() {
    for_each_version(async |server| {
        let stage = Replayed::start_with(server, FUNCTIONS, "rate = 1");
        let mut acme = stage.client("acme");
        let cases = [
            ("v1", "SELECT name AS v1, pg_notify('a', 'b')::text FROM items", "unsafe"),
            ("v2", "SELECT name AS v2, nextval('numbers') FROM items", "unsafe"),
            ("v3", "SELECT name AS v3, pg_advisory_lock(id)::text FROM items", "unsafe"),
            ("v4", "SELECT name AS v4, set_config('my.setting', 'x', false) FROM items", "unsafe"),
            ("v5", "SELECT name AS v5, tells() FROM items", "unsafe"),
            ("v6", "SELECT name AS v6, lies_in_sql() FROM items", "unsafe"),
            ("v7", "SELECT name AS v7, lies_deeper() FROM items", "unsafe"),
            ("v8", "SELECT name AS v8, lies_in_plpgsql() FROM items", "unsafe"),
            ("v9", "SELECT name AS v9, computes('1') FROM items", "unsafe"),
            ("v10", "SELECT name AS v10, i.of_row FROM items i", "unsafe"),
            ("v11", "SELECT id +# 1 AS v11 FROM items", "unsafe"),
            ("v12", "SELECT total(id) AS v12 FROM items", "unsafe"),
            ("v13", "SELECT id AS v13 FROM notifying", "unsafe"),
            ("v14", "SELECT number AS v14 FROM behind", "unsafe"),
            ("v15", "SELECT harmless(id) AS v15 FROM items", "result_differs"),
            ("v16", "SELECT id AS v16, random() < 2 FROM items", "unsafe"),
        ];
        stage.check(&mut acme, &cases);
        for (word, _, said) in cases {
            assert_eq!(stage.ran(word) == 0, said == "unsafe", "{word}");
        }
    });
}

#[test]
fn what_locks_writes_or_makes_tables_is_not_run_again() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("w1", "SELECT name AS w1 FROM items WHERE id = 1 FOR UPDATE", "unsafe"),
                ("w2", "SELECT * FROM (SELECT name AS w2 FROM items FOR SHARE) q", "unsafe"),
                (
                    "w3",
                    "WITH d AS (DELETE FROM items WHERE id = 9 RETURNING 1 AS w3) SELECT * FROM d",
                    "unsafe",
                ),
                ("w4", "SELECT name AS w4 INTO made FROM items", "unsafe"),
            ],
        );
        for word in ["w1", "w2", "w3", "w4"] {
            assert_eq!(stage.ran(word), 0, "{word}");
        }
    });
}

#[test]
fn a_temporary_table_is_nobody_elses() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        acme.query("CREATE TEMP TABLE mine AS SELECT 1 AS id");
        stage.check(&mut acme, &[("t1", "SELECT name AS t1 FROM items JOIN mine USING (id)", "unsafe")]);
        acme.query("BEGIN");
        acme.query("CREATE TABLE fresh AS SELECT 1 AS id");
        stage_query(&mut acme, "SELECT name AS t2 FROM items JOIN fresh USING (id)");
        acme.query("ROLLBACK");
        assert_eq!(stage.seen("t2").said(), "unsafe");
    });
}

#[test]
fn what_asks_who_asks_is_not_run_again() {
    for_each_version(async |server| {
        let schema =
            "CREATE VIEW whose AS SELECT id, current_user AS who FROM items; GRANT SELECT ON whose TO app";
        let stage = Replayed::start_with(server, schema, "rate = 1");
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("u1", "SELECT name AS u1, current_user FROM items", "unsafe"),
                ("u2", "SELECT name AS u2 FROM items WHERE has_table_privilege('items', 'SELECT')", "unsafe"),
                ("u3", "SELECT id AS u3, who FROM whose", "unsafe"),
                ("u4", "SELECT name AS u4 FROM items, pg_roles", "unsafe"),
                ("u5", "SELECT name AS u5 FROM items, information_schema.tables", "unsafe"),
                ("u6", "SELECT name AS u6, id AS \"current_user\" FROM items", "result_differs"),
            ],
        );
    });
}

#[test]
fn a_policy_that_is_volatile_is_not_evaluated() {
    for_each_version(async |server| {
        let schema = "
            CREATE FUNCTION noted(int) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true';
            CREATE TABLE noting (id int);
            ALTER TABLE noting ENABLE ROW LEVEL SECURITY;
            CREATE POLICY allow_all ON noting USING (true);
            CREATE POLICY pgwarden_noting ON noting AS RESTRICTIVE FOR SELECT TO pgwarden_shadow USING (noted(id));
            GRANT SELECT ON noting TO app";
        let stage = Replayed::start_with(server, schema, "rate = 1");
        let mut acme = stage.client("acme");
        stage.check(&mut acme, &[("p1", "SELECT id AS p1 FROM noting", "policy")]);
        assert_eq!(stage.ran("p1"), 0);
    });
}

/// What a C function does cannot be read. These two are the server's own, said to be stable.
#[test]
fn what_a_function_leaves_behind_is_taken_away() {
    for_each_version(async |server| {
        let schema = "
            CREATE FUNCTION locks(bigint) RETURNS void LANGUAGE internal STABLE AS 'pg_advisory_lock_shared_int8';
            CREATE FUNCTION sets(text, text, boolean) RETURNS text LANGUAGE internal STABLE AS 'set_config_by_name'";
        let stage = Replayed::start_with(server, schema, "rate = 1\nconcurrency = 1");
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("b1", "SELECT name AS b1, locks(77)::text FROM items", "result_differs"),
                // A context that a run leaves behind would let the next one see everything.
                (
                    "b2",
                    "SELECT name AS b2 FROM items WHERE sets('app.current_org_id', org::text, false) IS NOT NULL AND id < 3",
                    "clean",
                ),
                ("b3", "SELECT name AS b3 FROM items WHERE id = 3", "result_differs"),
            ],
        );
        let held = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
            WHERE locktype = 'advisory' AND application_name = 'pgwarden replay'";
        assert_eq!(server.psql(held).trim(), "0");
        assert!(server.version() >= Version(14));
    });
}

#[track_caller]
fn stage_query(client: &mut pgwarden_tests::Wire, text: &str) {
    assert_eq!(error_code(&client.query(text)), "", "{text}");
}
