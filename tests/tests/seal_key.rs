//! Attacks on the key that seals contexts: by types, operators and functions that take the place of PostgreSQL's, and by
//! everything that a role may look at.

use pgwarden_tests::seal::{self, KEY};
use pgwarden_tests::tenants::{ACME, Tenants, error_code, values};
use pgwarden_tests::{Message, Pgwarden, Server, Wire, for_each_version};

/// What a role could see of the key: its pads in hexadecimal digits, or as bytea shows them otherwise.
fn traces() -> [String; 3] {
    let pad = |with: u8| -> String {
        let digits: Vec<u8> =
            (0..64).step_by(2).map(|at| u8::from_str_radix(&KEY[at..at + 2], 16).unwrap()).collect();
        digits.iter().map(|byte| format!("{:02x}", byte ^ with)).collect()
    };
    [KEY[..16].to_owned(), pad(0x36)[..16].to_owned(), pad(0x5c)[..16].to_owned()]
}

#[track_caller]
fn assert_nothing_shown(what: &str, text: &str) {
    let text = text.to_lowercase();
    for trace in traces() {
        assert!(!text.contains(&trace), "{what} shows the key: {text}");
    }
}

/// Everything that a client is sent, notices included.
fn shown(messages: &[Message]) -> String {
    messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

/// The readers in every form.
const READERS: [&str; 4] = [
    "SELECT pgwarden.verified_setting('app.current_org_id')",
    "SELECT pgwarden.current_org_id()",
    "SELECT pgwarden.current_user_id()",
    "SELECT name FROM sealed",
];

/// Runs all readers with the right context, with a wrong one, and without a seal; nothing of the key is shown, and no
/// row of another tenant.
#[track_caller]
fn assert_readers_hold(server: &Server, client: &mut Wire, what: &str) {
    let before = server.log().len();
    for change in [
        "",
        &format!("SELECT public.pretend('app.current_org_id', '{ACME}');"),
        "SELECT public.pretend('app.context_seal', repeat('0', 105));",
        "SELECT public.pretend('app.context_seal', overlay(current_setting('app.context_seal') placing 'zz' from 50));",
    ] {
        for reader in READERS {
            let replies = client.query(&format!("BEGIN; {change} {reader}"));
            assert_nothing_shown(what, &shown(&replies));
            if change.is_empty() {
                assert_eq!(error_code(&replies), "", "{what}: {reader}: {replies:?}");
            } else {
                assert_eq!(error_code(&replies), "42501", "{what}: {change} {reader}: {replies:?}");
            }
            assert!(!values(&replies).contains(&"of acme".to_owned()), "{what}: {reader}");
            assert_eq!(error_code(&client.query("ROLLBACK")), "");
        }
    }
    assert_nothing_shown(what, &server.log()[before..]);
}

/// A client that keeps its backend: what it makes in `pg_temp` is there afterwards.
fn start(server: &Server) -> Tenants<'_> {
    seal::start_with(server, |builder| {
        builder.env("PGWARDEN_POOL_MODE", "session").config("context.seal.lifetime = '10min'")
    })
}

#[test]
fn types_and_domains_in_pg_temp_are_not_those_of_the_readers() {
    for_each_version(async |server| {
        let stage = start(server);
        for name in
            ["bytea", "text", "name", "int4", "bool", "uuid", "jsonb", "timestamptz", "seal_key", "record"]
        {
            let mut globex = stage.client("globex");
            let base = if ["seal_key", "record"].contains(&name) { "text" } else { name };
            for sql in [
                "CREATE FUNCTION pg_temp.tell(anyelement) RETURNS bool LANGUAGE plpgsql AS
                 $$ BEGIN RAISE NOTICE 'told %', $1; RAISE LOG 'told %', $1; RETURN true; END $$",
                &format!(
                    "CREATE DOMAIN pg_temp.{name} AS pg_catalog.{base} CHECK (pg_temp.tell(VALUE::pg_catalog.{base}))"
                ),
                &format!("CREATE DOMAIN pg_temp._{name} AS pg_catalog.{base}[]"),
            ] {
                assert_eq!(error_code(&globex.query(sql)), "", "{sql}");
            }
            assert_readers_hold(server, &mut globex, name);
            drop(globex);
            // An impossible check shows the value in its error.
            let mut globex = stage.client("globex");
            let domain = format!("CREATE DOMAIN pg_temp.{name} AS pg_catalog.{base} CHECK (VALUE IS NULL)");
            assert_eq!(error_code(&globex.query(&domain)), "");
            assert_readers_hold(server, &mut globex, name);
        }
    });
}

/// What the test above would find.
#[test]
fn without_their_precautions_the_readers_would_give_the_key_away() {
    for_each_version(async |server| {
        let stage = start(server);
        let kit = seal::printed(Pgwarden::builder(), &["install"]);
        let careless = kit.replace(" pg_catalog.bytea", " bytea");
        let careless =
            careless.replace("SET search_path = pg_catalog, pg_temp\nAS", "SET search_path = pg_catalog\nAS");
        seal::run(server, &server.url(), &careless);
        let mut globex = stage.client("globex");
        let domain = "CREATE DOMAIN pg_temp.bytea AS pg_catalog.bytea CHECK (VALUE IS NULL)";
        assert_eq!(error_code(&globex.query(domain)), "");
        let replies = globex.query("SELECT pgwarden.current_org_id()");
        assert_eq!(error_code(&replies), "23514", "{replies:?}");
    });
}

#[test]
fn tables_and_functions_in_pg_temp_are_not_those_of_the_readers() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut globex = stage.client("globex");
        for sql in [
            "CREATE TEMP TABLE seal_key (id text, inner_pad bytea, outer_pad bytea, variables text[])",
            "INSERT INTO pg_temp.seal_key SELECT substr(current_setting('app.context_seal'), 2, 8), '', '', '{}'",
            "CREATE TEMP TABLE pg_stat_activity (pid int)",
            "CREATE FUNCTION pg_temp.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT '\\x00'::bytea $$",
            "CREATE FUNCTION pg_temp.verified_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'x'::text $$",
        ] {
            assert_eq!(error_code(&globex.query(sql)), "", "{sql}");
        }
        assert_readers_hold(server, &mut globex, "pg_temp");
    });
}

#[test]
fn operators_and_functions_of_a_search_path_are_not_those_of_the_readers() {
    for_each_version(async |server| {
        let stage = start(server);
        server.psql("CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO tenants");
        let mut globex = stage.client("globex");
        let tell = "RAISE NOTICE 'told % %', $1, $2; RAISE LOG 'told % %', $1, $2";
        let mut script = vec![];
        for (operator, arguments, result, value) in [
            ("=", "text, text", "bool", "true"),
            ("<>", "text, text", "bool", "false"),
            ("<>", "bytea, bytea", "bool", "false"),
            ("=", "bytea, bytea", "bool", "true"),
            ("<=", "text, text", "bool", "false"),
            ("||", "bytea, bytea", "bytea", "''"),
            ("=", "uuid, uuid", "bool", "true"),
        ] {
            let number = script.len();
            let [left, right] = arguments.split(", ").collect::<Vec<_>>().try_into().expect("two");
            script.push(format!(
                "CREATE FUNCTION evil.f{number}({arguments}) RETURNS {result} LANGUAGE plpgsql AS
                 $$ BEGIN {tell}; RETURN {value}; END $$"
            ));
            script.push(format!(
                "CREATE OPERATOR evil.{operator} (FUNCTION = evil.f{number}, LEFTARG = {left}, RIGHTARG = {right})"
            ));
        }
        for (name, arguments, result, value) in [
            ("sha256", "bytea", "bytea", "$1"),
            ("current_setting", "text, bool", "text", "'x'"),
            ("convert_to", "text, name", "bytea", "''"),
            ("substr", "text, int", "text", "''"),
            ("substr", "text, int, int", "text", "'7fffffffffffffff'"),
            ("pg_backend_pid", "", "int", "1"),
            ("verified_setting", "text", "text", "'x'"),
        ] {
            script.push(format!(
                "CREATE FUNCTION evil.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS
                 $$ BEGIN RETURN {value}; END $$"
            ));
        }
        script.push("SET search_path = evil, pg_catalog, public".to_owned());
        for sql in &script {
            assert_eq!(error_code(&globex.query(sql)), "", "{sql}");
        }
        for reader in &READERS[..3] {
            let replies = globex.query(reader);
            assert_eq!(error_code(&replies), "", "{reader}");
            assert_nothing_shown(reader, &shown(&replies));
        }
        let change = format!("BEGIN; SELECT public.pretend('app.current_org_id', '{ACME}')");
        assert_eq!(error_code(&globex.query(&change)), "");
        assert_eq!(error_code(&globex.query("SELECT pgwarden.current_org_id()")), "42501");
    });
}

#[test]
fn no_setting_of_a_session_makes_the_readers_talk() {
    for_each_version(async |server| {
        let stage = start(server);
        let forced = if server.version().0 >= 16 { "debug_parallel_query" } else { "force_parallel_mode" };
        for settings in [
            "SET client_min_messages = debug5",
            "SET client_min_messages = log; SET debug_print_plan = on; SET debug_print_parse = on; SET debug_print_rewritten = on",
            "SET client_min_messages = debug5; SET debug_pretty_print = off; SET debug_print_plan = on; SET plan_cache_mode = force_custom_plan",
            "SET plan_cache_mode = force_generic_plan",
            "SET plpgsql.extra_errors = 'all'; SET plpgsql.extra_warnings = 'all'; SET plpgsql.print_strict_params = on",
            "SET plpgsql.check_asserts = off; SET transform_null_equals = on; SET array_nulls = off",
            "SET standard_conforming_strings = off; SET bytea_output = escape; SET backslash_quote = on",
            "SET timezone = 'Pacific/Kiritimati'; SET datestyle = 'SQL, DMY'; SET intervalstyle = sql_standard",
            "SET client_encoding = latin1; SET lc_monetary = 'C'; SET extra_float_digits = -15",
            "SET row_security = on; SET check_function_bodies = off; SET default_transaction_isolation = serializable",
            "SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_seqscan = off; SET jit = on; SET jit_above_cost = 0",
            &format!(
                "SET {forced} = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0"
            ),
            "SET default_transaction_read_only = on; SET default_transaction_deferrable = on",
        ] {
            let mut globex = stage.client("globex");
            let replies = globex.query(settings);
            let said = error_code(&replies);
            assert!(said.is_empty() || said == "22023" || said == "42704", "{settings}: {replies:?}");
            assert_readers_hold(server, &mut globex, settings);
        }
    });
}

#[test]
fn the_role_of_the_application_cannot_read_write_or_replace_anything_of_the_readers() {
    for_each_version(async |server| {
        let stage = start(server);
        // Who may read every table is no exception.
        server.psql("GRANT pg_read_all_data, pg_write_all_data TO app; ANALYZE pgwarden.seal_key");
        let mut globex = stage.client("globex");
        for sql in [
            "SELECT * FROM pgwarden.seal_key",
            "TABLE pgwarden.seal_key",
            "COPY pgwarden.seal_key TO STDOUT",
            "SELECT query_to_xml('SELECT * FROM pgwarden.seal_key', true, true, '')",
            "SELECT * FROM pg_stats WHERE schemaname = 'pgwarden'",
            "SELECT inner_pad FROM pgwarden.seal_key TABLESAMPLE BERNOULLI (100)",
            "SELECT stavalues1 FROM pg_statistic WHERE starelid = 'pgwarden.seal_key'::regclass",
            "SELECT pg_get_functiondef('pgwarden.verified_setting(text)'::regprocedure)",
            "SELECT * FROM pg_stat_activity",
            "EXPLAIN (ANALYZE, VERBOSE) SELECT pgwarden.current_org_id()",
            "SET row_security = off; SELECT * FROM pgwarden.seal_key",
            "SELECT * FROM pg_prepared_statements",
        ] {
            let replies = globex.query(sql);
            assert_nothing_shown(sql, &shown(&replies));
            assert_eq!(error_code(&globex.query("RESET row_security")), "");
        }
        let key = "'00000000', decode(repeat('36', 64), 'hex'), decode(repeat('5c', 64), 'hex'), '{app.current_org_id}'";
        for sql in [
            &format!("INSERT INTO pgwarden.seal_key VALUES ({key})"),
            "ALTER TABLE pgwarden.seal_key DISABLE ROW LEVEL SECURITY",
            "CREATE POLICY mine ON pgwarden.seal_key USING (true)",
            "CREATE TRIGGER mine BEFORE INSERT ON pgwarden.seal_key EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "CREATE RULE mine AS ON SELECT TO pgwarden.seal_key DO INSTEAD SELECT 1",
            "CREATE INDEX ON pgwarden.seal_key (inner_pad)",
            "CREATE TABLE mine (id text REFERENCES pgwarden.seal_key)",
            "TRUNCATE pgwarden.seal_key",
            "DROP TABLE pgwarden.seal_key",
            "CREATE OR REPLACE FUNCTION pgwarden.current_org_id() RETURNS uuid LANGUAGE sql RETURN NULL::uuid",
            "CREATE FUNCTION pgwarden.mine() RETURNS int LANGUAGE sql RETURN 1",
            "CREATE FUNCTION pgwarden.verified_setting(varchar) RETURNS text LANGUAGE sql RETURN 'x'::text",
            "ALTER FUNCTION pgwarden.verified_setting(text) RESET ALL",
            "ALTER FUNCTION pgwarden.verified_setting(text) SECURITY INVOKER",
            "ALTER FUNCTION pgwarden.verified_setting(text) OWNER TO app",
            "DROP FUNCTION pgwarden.current_org_id()",
            "ALTER SCHEMA pgwarden RENAME TO mine",
            "DROP SCHEMA pgwarden CASCADE",
            "SET ROLE pgwarden_kit",
            "SET SESSION AUTHORIZATION pgwarden_kit",
            "GRANT pgwarden_kit TO app",
            "ALTER ROLE pgwarden_kit LOGIN",
            "ALTER DEFAULT PRIVILEGES FOR ROLE pgwarden_kit GRANT SELECT ON TABLES TO PUBLIC",
        ] {
            let replies = globex.query(sql);
            assert_eq!(error_code(&replies), "42501", "{sql}: {replies:?}");
            assert_nothing_shown(sql, &shown(&replies));
        }
        // What rows there are for it to change: none.
        for sql in ["UPDATE pgwarden.seal_key SET variables = '{}'", "DELETE FROM pgwarden.seal_key"] {
            assert_eq!(error_code(&globex.query(sql)), "", "{sql}");
        }
        assert_eq!(
            server.psql("SELECT count(*), cardinality(max(variables)) FROM pgwarden.seal_key GROUP BY ()"),
            "1|2"
        );
        assert_readers_hold(server, &mut globex, "after all that");
    });
}
