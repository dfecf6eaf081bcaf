use super::*;
use pgwarden_sql::{StringSyntax, analyse};

fn guard() -> Guard {
    let functions = ["platform.set_system_user".to_owned()];
    let protected = Protected::new(&["app.current_org_id", "app.Current_User_Id"]).with_functions(&functions);
    Guard::new(protected, Stance::Reject)
}

/// What is found in the end, and whether a parse was necessary.
fn inspected(guard: &Guard, subject: Subject<'_>, text: &str) -> (Option<Offence>, usize) {
    let mut parses = 0;
    loop {
        match guard.inspect(subject) {
            Inspection::Clean => return (None, parses),
            Inspection::Found(offence) => return (Some(offence), parses),
            Inspection::Unparsed => guard.parse(text.as_bytes()),
        }
        parses += 1;
        assert_eq!(parses, 1, "{text}: once is enough");
    }
}

fn found(text: &str) -> (Option<Offence>, usize) {
    let script =
        analyse(text.as_bytes(), StringSyntax::Standard).unwrap_or_else(|error| panic!("{text}: {error}"));
    inspected(&guard(), Subject::Text { text: text.as_bytes(), script: Ok(&script) }, text)
}

fn found_in_values(text: &str, values: &str) -> Option<Offence> {
    let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("readable");
    let subject = Subject::Values { text: text.as_bytes(), script: &script, values: values.as_bytes() };
    inspected(&guard(), subject, text).0
}

#[track_caller]
fn each_is(expected: Offence, texts: &[&str]) {
    for text in texts {
        assert_eq!(found(text).0, Some(expected), "{text}");
    }
}

#[test]
fn setting_a_protected_variable_is_found_in_every_spelling() {
    each_is(
        Offence::SettingTouched,
        &[
            "SET app.current_org_id = 'x'",
            "set local APP.Current_Org_Id to 'x'",
            "SET SESSION \"app\".\"current_user_id\" = 'x'",
            "SET U&\"!0061pp\" UESCAPE '!' . current_org_id = 'x'",
            "RESET app.current_org_id",
            "SELECT 1; SET app.current_org_id = ''",
            "SELECT set_config('app.current_org_id', 'x', true)",
            "SELECT pg_catalog.\"set_config\"('APP.current_org_id', 'x', false)",
            "SELECT U&\"!0073et_config\" UESCAPE '!' ('app.current_org_id', 'x', false)",
            "SELECT set_config('app.' || 'current_org_id', 'x', false)",
            "SELECT set_config($1, $2, true)",
            "SELECT set_config(E'app\\x2ecurrent_org_id', 'x', true)",
            // As standard_conforming_strings = off reads it.
            "SELECT set_config('app\\056current_org_id', 'x', true)",
            "PREPARE p AS SELECT set_config('app.current_org_id', $1, true)",
            "EXECUTE p(set_config('app.current_org_id', 'x', true))",
            "EXPLAIN ANALYZE SELECT set_config('app.current_org_id', 'x', true)",
            "COPY (SELECT set_config('app.current_org_id', 'x', true)) TO STDOUT",
            "DECLARE c CURSOR FOR SELECT set_config('app.current_org_id', 'x', true)",
            "INSERT INTO t VALUES (1) RETURNING set_config('app.current_org_id', 'x', true)",
            "CREATE TEMP TABLE t (a text DEFAULT set_config('app.current_org_id', 'x', true))",
            "CALL p(set_config('app.current_org_id', 'x', true))",
            "UPDATE pg_settings SET setting = 'x' WHERE name = 'app.current_org_id'",
            "WITH x AS (UPDATE pg_catalog.pg_settings SET setting = 'x' RETURNING 1) SELECT * FROM x",
            "CREATE VIEW v AS SELECT * FROM pg_settings -- UPDATE\n",
            "CREATE AGGREGATE a(text, boolean) (sfunc = set_config, stype = text)",
            "CREATE AGGREGATE a(text, boolean) (sfunc = 'set_config', stype = text)",
            "CREATE AGGREGATE a(text, boolean) (sfunc = U&'set!005fconfig' UESCAPE '!', stype = text)",
            "ALTER ROLE app SET app.current_org_id = 'x'",
            "ALTER DATABASE d SET \"app.current_org_id\" = 'x'",
            "ALTER FUNCTION f() SET app.current_org_id = 'x'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET app.current_org_id = 'x' AS 'SELECT 1'",
            "ALTER SYSTEM SET app.current_org_id = 'x'",
        ],
    );
}

#[test]
fn code_that_sets_or_names_a_protected_variable_is_found() {
    each_is(
        Offence::SettingTouched,
        &[
            "DO $$ BEGIN PERFORM set_config('app.current_org_id', 'x', true); END $$",
            "DO 'BEGIN PERFORM set_config(''app.current_org_id'', ''x'', true); END'",
            "DO LANGUAGE plpgsql $$ BEGIN SET LOCAL app.current_org_id = 'x'; END $$",
            "DO $$ BEGIN PERFORM set_config('app.' || 'current_org_id', 'x', true); END $$",
            "DO $$ BEGIN PERFORM exec_sql('SET app.current_org_id = 1'); END $$",
            "DO $a$ BEGIN EXECUTE $b$ SET app.current_org_id = 'x' $b$; END $a$",
            "DO $$ BEGIN UPDATE pg_settings SET setting = 'x'; END $$",
            "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT set_config('app.current_org_id', 'x', true) $$",
            "CREATE FUNCTION f() RETURNS text AS 'SELECT set_config(E''app\\\\056current_org_id'', '''', true)' LANGUAGE sql",
            "CREATE FUNCTION f() RETURNS text RETURN set_config('app.current_org_id', 'x', true)",
            "CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT set_config('app.current_org_id', 'x', true); END",
            "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $a$ CREATE FUNCTION g() RETURNS void LANGUAGE plpgsql AS \
             $b$ BEGIN SET app.current_org_id = 'x'; END $b$ $a$",
        ],
    );
    each_is(
        Offence::CodeUnread,
        &[
            "DO $$ BEGIN EXECUTE 'SET app.' || 'current_org_id = ''x'''; END $$",
            "DO $$ DECLARE function text := 'x'; BEGIN EXECUTE function; END $$",
            "DO LANGUAGE plperl $$ spi_exec_query('SELECT 1') $$",
            "CREATE FUNCTION f() RETURNS text LANGUAGE internal AS 'set_config_by_name'",
            "CREATE FUNCTION f(q text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE q; END $$",
            "DO $$ BEGIN PERFORM query_to_xml('SELECT 1', true, true, ''); END $$",
        ],
    );
    each_is(
        Offence::RoleTouched,
        &[
            "DO $$ BEGIN SET ROLE admin; END $$",
            "DO $$ BEGIN PERFORM set_config('role', 'admin', true); END $$",
        ],
    );
}

#[test]
fn functions_that_run_sql_are_found_unless_that_sql_is_harmless() {
    each_is(
        Offence::SettingTouched,
        &[
            "SELECT query_to_xml('SELECT set_config(''app.current_org_id'', ''x'', true)', true, true, '')",
            "SELECT * FROM ts_stat('SELECT set_config(''app.'' || ''current_org_id'', ''x'', true)::tsvector')",
            "SELECT query_to_xml($$SELECT query_to_xml('SELECT set_config(''app.current_org_id'', '''', true)', true, \
             true, '')$$, true, true, '')",
        ],
    );
    each_is(
        Offence::CodeUnread,
        &[
            "SELECT query_to_xml('SELECT ' || 1, true, true, '')",
            "SELECT ts_rewrite('a'::tsquery, $1)",
            "SELECT dblink_exec('dbname=d', q) FROM queries",
            "SELECT query_to_xml('SELECT ''open', true, true, '')",
        ],
    );
    for text in [
        "SELECT query_to_xml('SELECT a FROM t', true, true, '')",
        "SELECT * FROM ts_stat('SELECT v FROM documents', 'ab')",
        "SELECT query_to_xml FROM t",
    ] {
        assert_eq!(found(text).0, None, "{text}");
    }
}

#[test]
fn changing_the_role_is_found() {
    each_is(
        Offence::RoleTouched,
        &[
            "SET ROLE admin",
            "set local role admin",
            "SET SESSION AUTHORIZATION x",
            "SELECT set_config('role', 'x', true)",
            "ALTER ROLE app SET role = 'admin'",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET role = 'admin' AS 'SELECT 1'",
        ],
    );
}

#[test]
fn functions_of_the_database_that_change_the_context_are_found() {
    each_is(
        Offence::FunctionCalled,
        &[
            "SELECT platform.set_system_user()",
            "SELECT set_system_user()",
            "SELECT * FROM \"platform\".\"set_system_user\"() x",
            "SELECT 1 WHERE platform . /* */ set_system_user() IS NULL",
            "CALL platform.set_system_user()",
            "EXECUTE p(platform.set_system_user())",
            "DO $$ BEGIN PERFORM platform.set_system_user(); END $$",
            "CREATE TRIGGER t BEFORE INSERT ON t EXECUTE FUNCTION platform.set_system_user()",
            "CREATE AGGREGATE a(text) (sfunc = 'set_system_user', stype = text)",
        ],
    );
    let guard = guard();
    for (oid, expected) in [
        (2078, Inspection::Found(Offence::SettingTouched)),
        (2924, Inspection::Found(Offence::CodeUnread)),
        (20_000, Inspection::Found(Offence::FunctionCalled)),
        (1344, Inspection::Clean),
    ] {
        assert_eq!(guard.inspect(Subject::Function(oid)), expected, "{oid}");
    }
}

#[test]
fn values_that_name_a_protected_variable_matter_where_the_application_sees_them() {
    each_is(
        Offence::SettingNamed,
        &["SELECT exec_sql('SET app.current_org_id = 1')", "EXECUTE p('SET app.current_org_id = 1')"],
    );
    let setting = "SET App.current_org_id = 'x'";
    for text in ["SELECT exec_sql($1)", "CALL run($1)", "EXECUTE p($1)"] {
        assert_eq!(found_in_values(text, setting), Some(Offence::SettingNamed), "{text}");
        assert_eq!(found_in_values(text, "SELECT 1"), None, "{text}");
    }
    for text in [
        "INSERT INTO notes (body) VALUES ($1)",
        "SELECT lower($1), int4pl(1, 2)",
        "WITH v(a) AS (SELECT $1) TABLE v",
    ] {
        assert_eq!(found_in_values(text, setting), None, "{text}");
    }
}

#[test]
fn ordinary_statements_pass_without_a_parse() {
    for text in [
        "SELECT 1",
        "SELECT name, count(*) FROM app.items i WHERE i.id = $1 GROUP BY name",
        "INSERT INTO app.items (a, b) VALUES ('x.y', 1.5) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
        "UPDATE users SET role = 'admin' WHERE id = 1",
        "SET search_path = x",
        "SELECT set_config('search_path', '', false)",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "SELECT current_setting('app.current_org_id')::uuid",
        "SELECT pgwarden.verified_setting('app.current_org_id')",
        "SELECT * FROM items WHERE org = current_setting('app.current_org_id', true) AND pg_sleep(0) IS NOT NULL",
        "SELECT name, setting FROM pg_catalog.pg_settings",
        "INSERT INTO docs (body) VALUES ('how app.current_org_id works')",
        "RESET ALL",
        "DISCARD ALL",
        "RESET ROLE",
        "SHOW app.current_org_id",
        "CREATE TABLE app.t (id int PRIMARY KEY, role text DEFAULT 'x')",
        "CREATE POLICY own ON items USING (org = current_setting('app.current_org_id'))",
        "ALTER TABLE t ALTER COLUMN role SET NOT NULL",
        "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'",
        "DO $$ BEGIN IF current_setting('app.current_org_id') = '' THEN RAISE NOTICE 'it''s empty'; END IF; END $$",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.role := 'x'; INSERT INTO t VALUES ('it''s') \
         ON CONFLICT DO NOTHING; UPDATE u SET role = 'y'; RETURN NEW; END $$",
    ] {
        assert_eq!(found(text), (None, 0), "{text}");
    }
}

#[test]
fn harmless_things_pass_after_a_parse() {
    for text in [
        "SELECT set_config('search_path', '', false) AS set_config",
        "SELECT set_config FROM old_settings",
        "GRANT EXECUTE ON FUNCTION set_config(text, text, boolean) TO x",
        "UPDATE t SET a = s.setting FROM pg_settings s",
        "CREATE TABLE app.current_org_id (a int)",
        "INSERT INTO set_system_user (a) VALUES (1) RETURNING 'app.current_org_id', v(a)"
            .trim_end_matches(", v(a)"),
        "WITH v (a) AS (VALUES ('app.current_org_id')) SELECT * FROM v",
    ] {
        let (offence, parses) = found(text);
        assert_eq!(offence, None, "{text}");
        assert!(parses <= 1, "{text}");
    }
}

#[test]
fn what_cannot_be_parsed_stays_suspected() {
    each_is(
        Offence::SettingTouched,
        &[
            "SELECT set_config(",
            "SELECT set_config FROM t WHERE a = 'x\\' OR 'y' = ''",
            "SELECT set_config,, 1",
        ],
    );
    let long = format!("SELECT set_config FROM t -- {}", "x".repeat(70_000));
    assert_eq!(found(&long), (Some(Offence::SettingTouched), 0));
    let guard = guard();
    let text = "SELECT set_config FROM t";
    guard.give_up(text.as_bytes());
    let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("readable");
    let subject = Subject::Text { text: text.as_bytes(), script: Ok(&script) };
    assert_eq!(guard.inspect(subject), Inspection::Found(Offence::SettingTouched));
}

#[test]
fn a_guard_that_is_off_or_has_nothing_to_protect_finds_nothing() {
    let script = analyse(b"SET app.a = 1", StringSyntax::Standard).expect("readable");
    let subject = Subject::Text { text: b"SET app.a = 1", script: Ok(&script) };
    let off = Guard::new(Protected::new(&["app.a"]), Stance::Off);
    assert_eq!(off.inspect(subject), Inspection::Clean);
    assert_eq!(Guard::default().inspect(subject), Inspection::Clean);
    let record = Guard::new(Protected::new(&["app.a"]), Stance::Record);
    assert_eq!(record.inspect(subject), Inspection::Found(Offence::SettingTouched));
}

#[test]
fn a_role_that_pgwarden_sets_is_not_taken_back_and_the_word_means_nothing_else() {
    let guard = Guard::new(Protected::new(&["app.current_org_id", "role"]), Stance::Reject);
    let found = |text: &str| {
        let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("readable");
        inspected(&guard, Subject::Text { text: text.as_bytes(), script: Ok(&script) }, text).0
    };
    for text in ["RESET ROLE", "RESET SESSION AUTHORIZATION", "SELECT set_config('ROLE', 'none', true)"] {
        assert_eq!(found(text), Some(Offence::RoleTouched), "{text}");
    }
    for text in ["CREATE TABLE members (role text)", "SELECT app.grant_to('role', $1)", "SHOW role"] {
        assert_eq!(found(text), None, "{text}");
    }
}
