//! What a client says about itself when it starts: settings, options, and databases it may not enter. The server's own
//! answers to the same are the measure.

use std::collections::BTreeMap;

use pgwarden_tests::{Frontend, Pgwarden, PgwardenBuilder, Server, Wire, for_each_version};

type Parameters<'a> = &'a [(&'a str, &'a str)];

/// pgwarden with one backend, whose clients are who they say they are on the server as well.
#[track_caller]
fn before(server: &Server, tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder) -> Pgwarden {
    let upstream = format!("postgres://127.0.0.1:{}/postgres?sslmode=disable", server.port());
    let builder = Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust");
    tell(builder.env("PGWARDEN_POOL_SIZE", "1")).start()
}

/// An ordinary user.
fn prepare(server: &Server) {
    server.psql("CREATE ROLE app LOGIN; CREATE SCHEMA shop; GRANT ALL ON SCHEMA shop TO app");
}

/// Logs in with more parameters than user and database: what was reported, or the FATAL error.
#[track_caller]
fn start(port: u16, user: &str, more: Parameters<'_>) -> Result<Wire, String> {
    let mut wire = Wire::connect(port);
    let parameters = [&[("user", user), ("database", "postgres")], more].concat();
    let refused = wire.try_log_in("", &parameters).err();
    match refused {
        None => Ok(wire),
        Some(error) => {
            let fields = error.fields();
            Err(format!("{} {} {}", fields.severity(), fields.code(), fields.message()))
        }
    }
}

/// Without what says which backend it is.
fn reported(wire: &Wire) -> BTreeMap<String, String> {
    wire.parameters.iter().cloned().collect()
}

/// The same start, through pgwarden and directly: the same settings reported and in force, or the same error.
#[track_caller]
fn assert_like_direct(server: &Server, pgwarden: &Pgwarden, more: Parameters<'_>, shown: &[&str]) {
    for user in ["app", "postgres"] {
        let (found, direct) = (start(pgwarden.port(), user, more), start(server.port(), user, more));
        let (mut found, mut direct) = match (found, direct) {
            (Ok(found), Ok(direct)) => (found, direct),
            (found, direct) => {
                let (found, direct) = (found.map(|wire| reported(&wire)), direct.map(|wire| reported(&wire)));
                assert_eq!(found, direct, "{user} {more:?}: found on the left, the server's on the right");
                continue;
            }
        };
        assert_eq!(reported(&found), reported(&direct), "{user} {more:?}: reported");
        for name in shown {
            let show = format!("SHOW {name}");
            assert_eq!(found.rows(&show), direct.rows(&show), "{user} {more:?}: {show}");
        }
        assert_eq!(reported(&found), reported(&direct), "{user} {more:?}: reported after a statement");
    }
}

/// In both kinds of pooling.
#[track_caller]
fn in_both(server: &Server, cases: &[(Parameters<'_>, &[&str])]) {
    prepare(server);
    for pooling in ["transaction", "session"] {
        let pgwarden = before(server, |builder| builder.env("PGWARDEN_POOL_MODE", pooling));
        for (more, shown) in cases {
            assert_like_direct(server, &pgwarden, more, shown);
        }
    }
}

#[test]
fn a_client_that_says_nothing_is_told_what_the_server_tells() {
    for_each_version(async |server| {
        in_both(server, &[(&[], &["TimeZone", "DateStyle", "search_path", "application_name"])]);
    });
}

#[test]
fn settings_that_the_server_reports_are_taken_as_the_server_takes_them() {
    for_each_version(async |server| {
        in_both(
            server,
            &[
                (&[("application_name", "it's \"one\" \\ two")], &["application_name"]),
                (&[("application_name", "Bücherei €")], &["application_name"]),
                (&[("application_name", &"long ".repeat(40))], &["application_name"]),
                (&[("client_encoding", "LATIN1")], &["client_encoding"]),
                (&[("client_encoding", "utf-8"), ("application_name", "a")], &["client_encoding"]),
                (&[("client_encoding", "SQL_ASCII")], &["client_encoding"]),
                (&[("TimeZone", "Europe/Berlin")], &["timezone"]),
                (&[("timezone", "europe/BERLIN")], &["timezone"]),
                (&[("TIMEZONE", "-3")], &["timezone"]),
                (&[("DateStyle", "German")], &["datestyle"]),
                (&[("DateStyle", "ISO")], &["datestyle"]),
                (&[("datestyle", "sql, DMY")], &["datestyle"]),
                (&[("DateStyle", "MDY")], &["datestyle"]),
                (&[("IntervalStyle", "iso_8601")], &["intervalstyle"]),
                (&[("standard_conforming_strings", "off")], &["standard_conforming_strings"]),
                (&[("TimeZone", "UTC"), ("TimeZone", "Asia/Tokyo")], &["timezone"]),
                (&[], &["datestyle", "timezone", "client_encoding"]),
            ],
        );
    });
}

#[test]
fn other_settings_hold_for_the_session_as_well() {
    for_each_version(async |server| {
        in_both(
            server,
            &[
                (&[("statement_timeout", "5s")], &["statement_timeout"]),
                (&[("extra_float_digits", "3"), ("geqo", "off")], &["extra_float_digits", "geqo"]),
                (&[("app.region", "eu 'west' \\ €")], &["app.region"]),
                (&[("work_mem", "1MB"), ("WORK_MEM", "2MB")], &["work_mem"]),
                (&[("options", "-c search_path=shop -c geqo=off")], &["search_path", "geqo"]),
                (
                    &[("options", r"-capp.name=a\ b --statement-timeout=7s")],
                    &["app.name", "statement_timeout"],
                ),
                (&[("options", "-c timezone=Asia/Tokyo"), ("TimeZone", "UTC")], &["timezone"]),
                (&[("options", "-c DateStyle=German -c IntervalStyle=postgres_verbose")], &["datestyle"]),
                (&[("options", "  ")], &["search_path"]),
                (&[("options", "-c app.name=")], &["app.name"]),
                (&[], &["search_path", "geqo", "statement_timeout", "work_mem"]),
            ],
        );
    });
}

const PATHS: [&str; 12] = [
    "shop",
    "SHOP,public",
    "public,Shop",
    "\"shop\",public",
    "\"Shop\", public",
    "\"a,b\", shop",
    "\"$user\", public",
    "$user, shop",
    "",
    "\"it's \\ \"\"quoted\"\"\"",
    "pg_catalog, SHOP",
    "  shop  ",
];

#[test]
fn a_search_path_finds_the_schemas_that_the_server_would_find() {
    for_each_version(async |server| {
        prepare(server);
        for name in ["app", "\"Shop\"", "\"a,b\"", "\"a, b\"", "\"it's \\ \"\"quoted\"\"\""] {
            server.psql(&format!("CREATE SCHEMA {name}; GRANT ALL ON SCHEMA {name} TO app"));
        }
        for pooling in ["transaction", "session"] {
            let pgwarden = before(server, |builder| builder.env("PGWARDEN_POOL_MODE", pooling));
            let schemas = |port, more: Parameters<'_>| {
                let mut wire = start(port, "app", more).expect("it can log in");
                wire.rows("SELECT current_schemas(true)")
            };
            for path in PATHS {
                let option = format!("-c search_path={}", path.replace('\\', r"\\").replace(' ', r"\ "));
                for more in
                    [&[("search_path", path)], &[("SEARCH_PATH", path)], &[("options", option.as_str())]]
                {
                    let (found, expected) = (schemas(pgwarden.port(), more), schemas(server.port(), more));
                    assert_eq!(found, expected, "{pooling} {more:?}");
                }
            }
        }
    });
}

#[test]
fn a_search_path_is_shown_as_the_server_shows_it() {
    for_each_version(async |server| {
        let all: Vec<[(&str, &str); 1]> = PATHS.iter().map(|path| [("search_path", *path)]).collect();
        let cases: Vec<(Parameters<'_>, &[&str])> =
            all.iter().map(|more| (more.as_slice(), ["search_path"].as_slice())).collect();
        in_both(server, &cases);
    });
}

#[test]
fn what_the_server_refuses_is_refused_in_its_words() {
    for_each_version(async |server| {
        in_both(
            server,
            &[
                (&[("TimeZone", "Nowhere/Never")], &[]),
                (&[("client_encoding", "no such thing")], &[]),
                (&[("DateStyle", "German, Chinese")], &[]),
                (&[("statement_timeout", "soon")], &[]),
                (&[("no_such_setting", "1")], &[]),
                (&[("log_statement", "all")], &["log_statement"]),
                (&[("options", "-c geqo=perhaps")], &[]),
                (&[("options", "-c no_such_setting=1")], &[]),
                (&[("server_version", "9.6")], &[]),
                (&[("a-b.c", "1")], &[]),
                (&[], &["TimeZone"]),
            ],
        );
    });
}

/// Only a connection of its own can have such a setting.
#[test]
fn a_setting_that_a_shared_backend_cannot_take_is_refused_with_its_reason() {
    for_each_version(async |server| {
        prepare(server);
        let more: Parameters<'_> = &[("post_auth_delay", "0")];
        let shared = before(server, |builder| builder);
        let error = start(shared.port(), "app", more).expect_err("a shared backend has started already");
        assert_eq!(error, "FATAL 55P02 parameter \"post_auth_delay\" cannot be set after connection start");
        assert_eq!(shared.admin("/readyz").0, 200, "the server is not to blame");
        start(shared.port(), "app", &[]).expect("the others are served");
        let own = before(server, |builder| builder.env("PGWARDEN_POOL_MODE", "session"));
        start(own.port(), "app", more).expect("a backend of its own is started with it");
    });
}

/// The only backend served somebody with other settings before.
#[test]
fn settings_of_one_client_do_not_colour_those_of_the_next() {
    for_each_version(async |server| {
        prepare(server);
        let pgwarden = before(server, |builder| builder);
        let mut german = start(pgwarden.port(), "app", &[("DateStyle", "German")]).expect("it can log in");
        assert_eq!(german.rows("SHOW DateStyle"), [[Some("German, DMY".to_owned())]]);
        for more in [&[("DateStyle", "ISO")][..], &[("DateStyle", "Postgres")], &[("datestyle", "SQL")], &[]]
        {
            let mut direct = start(server.port(), "app", more).expect("it can log in");
            let mut next = start(pgwarden.port(), "app", more).expect("it can log in");
            assert_eq!(next.parameter("DateStyle"), direct.parameter("DateStyle"), "{more:?}: reported");
            let date = "SELECT to_char('01/02/2024'::date, 'YYYY-MM-DD'), current_setting('DateStyle')";
            assert_eq!(next.rows(date), direct.rows(date), "{more:?}");
            assert_eq!(german.rows("SHOW DateStyle"), [[Some("German, DMY".to_owned())]], "{more:?}");
        }
    });
}

#[test]
fn the_case_of_a_settings_name_means_nothing() {
    for_each_version(async |server| {
        prepare(server);
        let pgwarden = before(server, |builder| builder);
        let starts: [Parameters<'_>; 5] = [
            &[("statement_timeout", "1s"), ("app.name", "one")],
            &[("STATEMENT_TIMEOUT", "2s"), ("App.Name", "two")],
            &[("statement_timeout", "3s"), ("Statement_Timeout", "4s")],
            &[("Statement_Timeout", "5s"), ("statement_timeout", "6s"), ("STATEMENT_TIMEOUT", "7s")],
            &[],
        ];
        let sql =
            "SELECT current_setting('statement_timeout'), nullif(current_setting('app.name', true), '')";
        let open = |port| starts.map(|more| start(port, "app", more).expect("it can log in"));
        let (mut proxied, mut direct) = (open(pgwarden.port()), open(server.port()));
        for round in 0..2 {
            for (number, (found, expected)) in proxied.iter_mut().zip(&mut direct).enumerate() {
                assert_eq!(found.rows(sql), expected.rows(sql), "client {number}, round {round}");
            }
        }
    });
}

#[test]
fn clients_that_share_a_backend_keep_what_they_started_with() {
    for_each_version(async |server| {
        prepare(server);
        let pgwarden = before(server, |builder| builder);
        let starts: [Parameters<'_>; 4] = [
            &[("TimeZone", "Asia/Tokyo"), ("application_name", "one"), ("options", "-c search_path=shop")],
            &[("client_encoding", "LATIN1"), ("statement_timeout", "9s"), ("application_name", "two")],
            &[("DateStyle", "SQL, DMY"), ("options", "-c geqo=off -c app.name=three")],
            &[],
        ];
        let sql = "SELECT name, setting FROM pg_settings WHERE name IN ('TimeZone', 'application_name', 'search_path', \
                   'client_encoding', 'statement_timeout', 'DateStyle', 'geqo') \
                   UNION SELECT 'app', nullif(current_setting('app.name', true), '') ORDER BY 1";
        let open = |port| starts.map(|more| start(port, "app", more).expect("it can log in"));
        let (mut proxied, mut direct) = (open(pgwarden.port()), open(server.port()));
        for round in 0..3 {
            for (number, (found, expected)) in proxied.iter_mut().zip(&mut direct).enumerate() {
                assert_eq!(found.rows(sql), expected.rows(sql), "client {number}, round {round}");
            }
        }
        assert_eq!(pgwarden.metric("pgwarden_backends"), Some(1.0));
    });
}

#[test]
fn databases_that_cannot_be_entered_are_refused_in_the_servers_words() {
    for_each_version(async |server| {
        prepare(server);
        server.psql("CREATE DATABASE closed");
        server.psql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC");
        server.psql("CREATE DATABASE dead");
        server.psql("ALTER DATABASE dead ALLOW_CONNECTIONS false");
        server.psql("CREATE DATABASE crowded CONNECTION LIMIT 0");
        for pooling in ["transaction", "session"] {
            let pgwarden = before(server, |builder| builder.env("PGWARDEN_POOL_MODE", pooling));
            for (database, code) in [
                ("nowhere", "3D000"),
                ("It's \"odd\"", "3D000"),
                ("closed", "42501"),
                ("dead", "55000"),
                ("crowded", "53300"),
            ] {
                let enter = |port: u16| {
                    let start = Frontend::new().startup(3 << 16, &[("user", "app"), ("database", database)]);
                    let mut wire = Wire::connect(port);
                    wire.send(&start);
                    let error = wire.authenticate("app", "").expect_err("it cannot be entered").fields();
                    assert_eq!(wire.ended(), [], "{database}: nothing comes behind");
                    (error.severity().to_owned(), error.code().to_owned(), error.message().to_owned())
                };
                // More often than there are places: a failure gives its place back.
                for _ in 0..3 {
                    let found = enter(pgwarden.port());
                    assert_eq!(found, enter(server.port()), "{pooling} {database}");
                    assert_eq!((found.0.as_str(), found.1.as_str()), ("FATAL", code), "{pooling} {database}");
                }
            }
            let mut sound = start(pgwarden.port(), "app", &[]).expect("the others are served");
            assert_eq!(sound.rows("SELECT 1"), [[Some("1".to_owned())]]);
            assert_eq!(pgwarden.admin("/readyz").0, 200, "{pooling}: the server is not to blame");
        }
    });
}

#[test]
fn users_that_the_server_does_not_let_in_learn_nothing_of_it() {
    for_each_version(async |server| {
        prepare(server);
        server.psql("CREATE ROLE idle NOLOGIN");
        let pgwarden = before(server, |builder| builder);
        let refused = |user: &str| start(pgwarden.port(), user, &[]).expect_err("it may not log in");
        let (idle, nobody) = (refused("idle"), refused("nobody"));
        assert_eq!(idle, "FATAL 57P03 pgwarden could not log in to the database server");
        assert_eq!(idle, nobody, "whether a role exists is not said");
        start(pgwarden.port(), "app", &[]).expect("the others are served");
    });
}

#[test]
fn the_database_is_the_users_name_where_none_is_said() {
    for_each_version(async |server| {
        prepare(server);
        server.psql("CREATE DATABASE app");
        let pgwarden = before(server, |builder| builder);
        for parameters in [&[("user", "app")][..], &[("user", "app"), ("database", "")]] {
            let mut wire = Wire::connect(pgwarden.port());
            wire.try_log_in("", parameters).expect("it can log in");
            assert_eq!(wire.rows("SELECT current_database()"), [[Some("app".to_owned())]], "{parameters:?}");
        }
    });
}

#[test]
fn replication_is_refused_and_its_absence_is_not() {
    for_each_version(async |server| {
        prepare(server);
        let pgwarden = before(server, |builder| builder);
        for value in ["database", "true", "on", "1", "yes"] {
            let refused = start(pgwarden.port(), "postgres", &[("replication", value)]);
            let error = refused.expect_err("no replication through pgwarden");
            assert_eq!(error, "FATAL 0A000 replication connections are not supported", "{value}");
        }
        for value in ["false", "off", "no", "0", "f", "OFF"] {
            start(pgwarden.port(), "postgres", &[("replication", value)]).expect(value);
        }
    });
}
