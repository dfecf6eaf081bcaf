//! Settings that clients start with, where backends are shared: what earlier clients left on the backend, and what a
//! hardened server revoked, means nothing to them.

use pgwarden_tests::tenants::{run, values};
use pgwarden_tests::{Frontend, Pgwarden, Server, Wire, for_each_version};

type Parameters<'a> = &'a [(&'a str, &'a str)];

/// pgwarden with one backend for each user, whose clients are who they say they are on the server as well.
#[track_caller]
fn before(server: &Server) -> Pgwarden {
    server.psql("CREATE ROLE app LOGIN");
    let upstream = format!("postgres://127.0.0.1:{}/postgres?sslmode=disable", server.port());
    let builder = Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust");
    builder.env("PGWARDEN_POOL_SIZE", "1").start()
}

/// A client, or why it may not come in.
#[track_caller]
fn start(port: u16, user: &str, more: Parameters<'_>) -> Result<Wire, String> {
    let mut wire = Wire::connect(port);
    let parameters = [&[("user", user), ("database", "postgres")], more].concat();
    match wire.try_log_in("", &parameters) {
        Ok(_) => Ok(wire),
        Err(error) => Err(format!("{} {}", error.fields().code(), error.fields().message())),
    }
}

#[track_caller]
fn app(port: u16, more: Parameters<'_>) -> Wire {
    start(port, "app", more).expect("it can log in")
}

/// Whoever may run set_config there, too: it is asked for each login.
#[test]
fn a_search_path_is_understood_where_set_config_is_revoked() {
    for_each_version(async |server| {
        let pgwarden = before(server);
        server.psql("REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC");
        for name in ["shop", "\"Shop\"", "\"a,b\""] {
            server.psql(&format!("CREATE SCHEMA {name}; GRANT ALL ON SCHEMA {name} TO app"));
        }
        start(pgwarden.port(), "postgres", &[("search_path", "shop")]).expect("the superuser can log in");
        for path in ["Shop,public", "\"Shop\", PUBLIC", "\"a,b\" , shop", "$user, shop", "", "\"\"", " "] {
            let schemas = |port| app(port, &[("Search_Path", path)]).rows("SELECT current_schemas(true)");
            assert_eq!(schemas(pgwarden.port()), schemas(server.port()), "{path:?}");
        }
        for path in [",", "shop,,public", "shop public", "\"shop", "shop,"] {
            let refusal = |port| start(port, "app", &[("search_path", path)]).err();
            assert_eq!(refusal(pgwarden.port()), refusal(server.port()), "{path:?}");
        }
    });
}

#[test]
fn a_value_is_read_as_it_was_sent_whatever_encoding_the_client_before_had() {
    for_each_version(async |server| {
        let pgwarden = before(server);
        let mut latin = app(pgwarden.port(), &[("client_encoding", "LATIN1"), ("app.shop", "café")]);
        for more in [&[("app.shop", "Bücher €")][..], &[("app.shop", "naïve"), ("client_encoding", "LATIN1")]]
        {
            let length = "SELECT length(current_setting('app.shop')), md5(current_setting('app.shop'))";
            let mut direct = app(server.port(), more);
            let mut found = app(pgwarden.port(), more);
            assert_eq!(latin.rows("SELECT length(current_setting('app.shop'))"), [[Some("4".to_owned())]]);
            assert_eq!(found.rows(length), direct.rows(length), "{more:?}");
        }
    });
}

#[test]
fn a_login_takes_nothing_away_from_those_that_are_there() {
    for_each_version(async |server| {
        let pgwarden = before(server);
        let mut first = app(pgwarden.port(), &[("TimeZone", "UTC")]);
        first.send(&run("SELECT 'mine'").sync());
        assert_eq!(values(&first.until_ready()), ["mine"]);
        // The same settings in other words: nothing is left to be set when the first client goes on.
        app(pgwarden.port(), &[("timezone", "utc")]);
        first.send(&Frontend::new().bind("", "", &[]).execute("", 0).sync());
        assert_eq!(values(&first.until_ready()), ["mine"]);
    });
}

#[test]
fn a_start_that_is_refused_leaves_the_backend_as_it_was() {
    for_each_version(async |server| {
        let pgwarden = before(server);
        let mut first = app(pgwarden.port(), &[("statement_timeout", "7s")]);
        let backend = first.rows("SELECT pg_backend_pid(), current_setting('statement_timeout')");
        let refused = start(pgwarden.port(), "app", &[("statement_timeout", "1s"), ("geqo", "perhaps")]);
        assert_eq!(refused.err(), start(server.port(), "app", &[("geqo", "perhaps")]).err());
        assert_eq!(first.rows("SELECT pg_backend_pid(), current_setting('statement_timeout')"), backend);
    });
}

#[test]
fn switches_are_read_as_the_server_reads_them() {
    for_each_version(async |server| {
        let pgwarden = before(server);
        for options in
            ["-S 1024", "-S2048 -e", "-c", "-c geqo", "-x", "stray", "--foo", "-S", "-e5", "-c a-b=1"]
        {
            let shown = "SELECT current_setting('work_mem'), current_setting('DateStyle')";
            let settings =
                |port| start(port, "app", &[("options", options)]).map(|mut wire| wire.rows(shown));
            assert_eq!(settings(pgwarden.port()), settings(server.port()), "{options}");
        }
    });
}
