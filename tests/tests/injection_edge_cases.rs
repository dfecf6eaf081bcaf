//! What was met at the edges: encodings, sizes, parallel plans, settings that change how text is read.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Exit, Frontend, Pgwarden, Server, Wire, for_each_version};

#[test]
fn standard_conforming_strings_off_does_not_break_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("SET standard_conforming_strings = off");
        for sql in ["SELECT org()", "BEGIN; SELECT org(); COMMIT", "SELECT E'\\''; COMMIT; SELECT org()"] {
            assert_eq!(values(&acme.query(sql)).last().map(String::as_str), Some(ACME), "{sql}");
        }
        acme.send(&run("SELECT org()").sync());
        assert_eq!(values(&acme.until_ready()), [ACME]);
        assert_eq!(values(&stage.client("globex").query("SELECT '\\', org()")), ["\\"]);
    });
}

#[test]
fn a_backslash_that_reads_differently_splits_nothing_wrongly() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        for setting in ["on", "off"] {
            acme.query(&format!(
                "SET standard_conforming_strings = {setting}; SET escape_string_warning = off"
            ));
            for sql in
                ["SELECT '\\'; COMMIT; SELECT org(); --'", "SELECT 'a\\'; COMMIT; SELECT ''||'\\'||org()"]
            {
                let answers = acme.query(sql);
                let mut rows = values(&answers);
                rows.retain(|row| row.contains("0000"));
                assert!(rows.iter().all(|row| row.contains(ACME)), "{setting} {sql}: {answers:?}");
                assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
            }
        }
    });
}

/// pgwarden with one variable of type text for everybody, and a client of it.
fn literal(server: &Server, value: &str) -> Pgwarden {
    Tenants::load(server);
    let config = format!(
        "mode = \"enforce\"\n[auth]\nmethod = \"trust\"\n[context]\nmissing = \"empty\"\nmax_value_bytes = 1048576\n\
         [[context.variables]]\nname = \"app.current_org_id\"\nfrom = \"tenant\"\nkind = \"text\"\n\
         [context.fixed.acme]\ntenant = {value:?}\n"
    );
    Pgwarden::builder()
        .upstream(&format!("{}?sslmode=disable", server.url_for("app", "", "postgres")))
        .env("PGWARDEN_POOL_SIZE", "1")
        .config(&config)
        .start()
}

/// The three ways in which a value travels.
fn ways() -> [Frontend; 4] {
    let sql = "SELECT encode(convert_to(org(), 'UTF8'), 'hex')";
    [
        Frontend::new().query(sql),
        run(sql).sync(),
        Frontend::new().query(&format!("BEGIN; {sql}; COMMIT")),
        Frontend::new().query(&format!("COMMIT; {sql}")),
    ]
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn values_with_quotes_backslashes_and_other_scripts_arrive_as_they_are() {
    for_each_version(async |server| {
        let text = "it's \\ 'x'; \"DROP\" $1 $$ é€😀 -- /* %s";
        let pgwarden = literal(server, text);
        for encoding in ["UTF8", "LATIN1", "SQL_ASCII", "EUC_JP", "EUC_KR", "WIN1252", "KOI8R"] {
            for strings in ["on", "off"] {
                let mut acme = Wire::open(pgwarden.port(), "acme", "", "postgres");
                acme.query(&format!("SET client_encoding = '{encoding}'"));
                acme.query(&format!("SET standard_conforming_strings = {strings}"));
                for (number, messages) in ways().into_iter().enumerate() {
                    acme.send(&messages);
                    let answers = acme.until_ready();
                    assert_eq!(values(&answers), [hex(text)], "{encoding} {strings} {number}: {answers:?}");
                }
            }
        }
    });
}

#[test]
fn a_value_of_a_megabyte_arrives_whole() {
    for_each_version(async |server| {
        let pgwarden = literal(server, &"x".repeat(1_000_000));
        let mut acme = Wire::open(pgwarden.port(), "acme", "", "postgres");
        let sql = "SELECT length(org()) || ' ' || (md5(org()) = md5(repeat('x', length(org()))))";
        for messages in [
            Frontend::new().query(sql),
            run(sql).sync(),
            Frontend::new().query(&format!("BEGIN; {sql}; COMMIT")),
            Frontend::new().query(&format!("BEGIN; {sql}; COMMIT; {sql}")),
        ] {
            acme.send(&messages);
            assert_eq!(values(&acme.until_ready())[0], "1000000 true");
        }
    });
}

#[test]
fn a_statement_and_a_parameter_of_8_megabytes_pass() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let text = "y".repeat(8_000_000);
        let simple = Frontend::new().query(&format!("SELECT org(), length('{text}')"));
        let several = Frontend::new().query(&format!("SELECT 1, length('{text}'); COMMIT; SELECT org()"));
        let bound = Frontend::new().parse("", "SELECT org(), $1::text", &[]).bind("", "", &[Some(&text)]);
        for messages in [simple, several, bound.execute("", 0).sync()] {
            let answers = stage.like_direct(&messages, 1);
            assert_eq!(values(&answers).last().map(String::as_str), Some(ACME));
        }
    });
}

#[test]
fn parallel_workers_see_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("CREATE TABLE many AS SELECT i, CASE WHEN i % 2 = 0 THEN '' ELSE 'x' END AS t FROM generate_series(1, 20000) i; GRANT SELECT ON many TO PUBLIC; ANALYZE many");
        for setting in
            ["parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"]
        {
            server.psql(&format!("ALTER ROLE app SET {setting}"));
        }
        let flag = if server.version().0 >= 16 { "debug_parallel_query" } else { "force_parallel_mode" };
        server.psql(&format!("ALTER ROLE app SET {flag} = on"));
        let sql =
            "SELECT count(*) FROM many WHERE current_setting('app.current_org_id', true) || t LIKE '%a'";
        for messages in [Frontend::new().query(sql), run(sql).sync()] {
            let mut acme = stage.client("acme");
            acme.send(&messages);
            assert_eq!(values(&acme.until_ready()), ["10000"]);
            let plan = values(&acme.query(&format!("EXPLAIN (COSTS OFF) {sql}"))).join("\n");
            assert!(plan.contains("Workers Planned"), "{plan}");
        }
    });
}

#[test]
fn an_immutable_helper_leaks_under_a_generic_plan_which_is_why_check_blocks_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("CREATE FUNCTION wrong() RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN current_setting(''app.current_org_id'', true); END'");
        server.psql("ALTER ROLE app SET plan_cache_mode = 'force_generic_plan'");
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let mut seen = Vec::new();
        for wire in [&mut acme, &mut globex] {
            wire.send(
                &Frontend::new().parse("s", "SELECT wrong()", &[]).bind("", "s", &[]).execute("", 0).sync(),
            );
            seen.extend(values(&wire.until_ready()));
        }
        // A fact about PostgreSQL: the first tenant's value is in the plan that both share.
        assert_eq!(seen, [ACME, ACME]);
    });
}

#[test]
fn lock_declare_and_set_local_in_autocommit_keep_their_error_or_warning() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for (sql, seen) in [
            ("LOCK TABLE notes", "EZ"),
            ("DECLARE c CURSOR FOR SELECT 1", "EZ"),
            ("SET LOCAL work_mem = '5MB'", "NCZ"),
            ("SAVEPOINT s", "EZ"),
            ("RELEASE s", "EZ"),
            ("ROLLBACK TO s", "EZ"),
            ("SET CONSTRAINTS ALL DEFERRED", "NCZ"),
            ("COMMIT AND CHAIN", "EZ"),
            ("FETCH c", "EZ"),
        ] {
            assert_eq!(tags(&stage.like_direct(&Frontend::new().query(sql), 1)), seen, "{sql}");
            stage.like_direct(&run(sql).sync(), 1);
        }
    });
}

#[test]
fn a_variable_once_set_reads_as_an_empty_string_and_never_null() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut nobody = stage.client("nobody");
        for sql in [
            "SELECT current_setting('app.current_org_id', true)",
            "SELECT current_setting('app.current_org_id')",
        ] {
            assert_eq!(value(&nobody.query(sql)).as_deref(), Some(""), "{sql}");
        }
        // What the policies need it for: nobody's organisation is NULL, not ''.
        server.psql("INSERT INTO items VALUES ('of nobody', '', '')");
        let config = "[context]\nmissing = \"empty\"\n";
        drop((nobody, stage));
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        let builder = Tenants::builder(&upstream).file("pgwarden.toml", config);
        let pgwarden = builder.argument("--config").argument("{dir}/pgwarden.toml").start();
        let mut nobody = Wire::open(pgwarden.port(), "nobody", "", "postgres");
        assert_eq!(nobody.rows("SELECT name FROM items"), [[None::<String>; 1]; 0]);
    });
}

#[test]
fn variable_names_are_dotted_identifiers_checked_when_the_config_is_read() {
    for name in
        ["current_org_id", "app.", ".org", "app..org", "app.org-id", "app.1org", "app.org id", "app.örg"]
    {
        let started: Result<Pgwarden, Exit> = Tenants::builder("postgres://app@127.0.0.1:1/postgres")
            .env("PGWARDEN_CONTEXT", &format!("{name}=tenant:uuid"))
            .try_start();
        let exit = started.expect_err(name);
        assert_eq!(exit.status.code(), Some(64), "{name}: {}", exit.stderr);
        assert!(exit.stderr.contains(name.trim()), "{name}: {}", exit.stderr);
    }
}

#[test]
fn a_latin1_session_reads_and_writes_its_own_encoding() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let messages = Frontend::new().query("SET client_encoding = 'LATIN1'");
        let messages =
            messages.message(b'Q', b"SELECT '\xe9', org()\0").message(b'P', b"\0SELECT '\xe9'\0\0\0");
        let messages = messages.bind("", "", &[]).execute("", 0).sync();
        let answers = stage.like_direct(&messages, 3);
        let rows: Vec<_> = answers.iter().filter(|message| message.tag == b'D').collect();
        assert!(rows[0].body.windows(1).any(|byte| byte == b"\xe9"), "{rows:?}");
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
    });
}

#[test]
fn a_session_in_an_encoding_that_hides_backslashes_can_still_end_its_transaction_and_leave() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for encoding in ["SJIS", "BIG5", "GBK"] {
            let mut acme = stage.client("acme");
            acme.query("BEGIN");
            assert_eq!(
                error_code(&acme.query(&format!("SET client_encoding = '{encoding}'"))),
                "",
                "{encoding}"
            );
            assert_eq!(acme.query("ROLLBACK").last().unwrap().status(), 'I', "{encoding}");
            acme.query(&format!("SET client_encoding = '{encoding}'"));
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{encoding}: plain ASCII is unambiguous");
            assert_eq!(error_code(&acme.query("SET client_encoding = 'UTF8'")), "", "{encoding}");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{encoding}");
        }
    });
}

#[test]
fn a_client_cannot_set_what_pgwarden_sets() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        for sql in [
            format!("SET app.current_org_id = '{GLOBEX}'"),
            format!("SET LOCAL app.current_org_id = '{GLOBEX}'"),
            format!("SELECT set_config('app.current_org_id', '{GLOBEX}', true)"),
            "RESET app.current_org_id".to_owned(),
            format!("SELECT 1; SET SESSION \"app\".current_org_id TO '{GLOBEX}'"),
        ] {
            assert_eq!(error_code(&acme.query(&sql)), "42501", "{sql}");
            acme.send(&run(&sql).sync());
            assert_eq!(error_code(&acme.until_ready()), "42501", "{sql}");
        }
        let mut wire = Wire::connect(stage.pgwarden.port());
        let parameters = [("user", "acme"), ("database", "postgres"), ("app.current_org_id", GLOBEX)];
        assert!(wire.try_log_in("", &parameters).is_err());
        let mut wire = Wire::connect(stage.pgwarden.port());
        let options = format!("-c app.current_org_id={GLOBEX}");
        let parameters = [("user", "acme"), ("database", "postgres"), ("options", options.as_str())];
        assert!(wire.try_log_in("", &parameters).is_err());
        acme.send(
            &Frontend::new().function_call(2078, &[Some(b"app.current_org_id"), Some(b"x"), Some(b"f")]),
        );
        assert_eq!(error_code(&acme.until_ready()), "42501");
        assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
    });
}
