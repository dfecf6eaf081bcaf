//! Jumps of the wall clock, forward and back: sessions and time limits do not notice, tokens do.
//!
//! pgwarden's clock is libfaketime's, which the test puts; its monotonic clock is the machine's, as where somebody
//! corrects the date.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pgwarden_tests::reload::write;
use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, values};
use pgwarden_tests::tokens::{Algorithm, Issuer, SECRET, json, seconds_from_now};
use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{Frontend, Pgwarden, PgwardenBuilder, Server, Signal, Wire, for_each_version, until};

/// Another date than the one before, so that the log tells what pgwarden thinks the time is.
const JUMPS: [&str; 2] = ["+49h", "-49h"];

const RELOADED: &str = "the configuration was reloaded";

/// Where Debian keeps the library: below a directory of the machine's architecture.
fn library() -> String {
    let directories = fs::read_dir("/usr/lib").expect("there is /usr/lib").flatten();
    let candidates = directories.map(|directory| directory.path().join("faketime/libfaketimeMT.so.1"));
    let found: PathBuf = candidates.into_iter().find(|path| path.exists()).expect("libfaketime is installed");
    found.to_string_lossy().into_owned()
}

/// A pgwarden whose wall clock can be put.
fn with_a_clock(builder: PgwardenBuilder) -> PgwardenBuilder {
    builder
        .file("clock", "+0")
        .env("LD_PRELOAD", &library())
        .env("FAKETIME_TIMESTAMP_FILE", "{dir}/clock")
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// Puts the clock, and returns when pgwarden has seen it.
#[track_caller]
fn put(pgwarden: &Pgwarden, jump: &str) {
    // At once: half a file would be no time at all.
    write(pgwarden, "clock.new", jump);
    let path = |name: &str| pgwarden.directory().join(name);
    fs::rename(path("clock.new"), path("clock")).expect("a file can be renamed");
    let before = pgwarden.stderr();
    pgwarden.signal(Signal::HUP);
    let after = pgwarden.until_logged(RELOADED, before.matches(RELOADED).count());
    let date = |log: &str, of: &str| {
        let line = log.lines().rfind(|line| line.contains(of));
        line.and_then(|line| line.get(..10)).map(str::to_owned)
    };
    assert_ne!(date(&after, RELOADED), date(&before, "T"), "put to {jump}: {after}");
}

/// What libfaketime leaves where a process is killed.
struct Remains(u32);

impl Drop for Remains {
    fn drop(&mut self) {
        for name in ["sem.faketime_sem_", "faketime_shm_"] {
            // The library may have removed it.
            let _ = fs::remove_file(Path::new("/dev/shm").join(format!("{name}{}", self.0)));
        }
    }
}

fn before(server: &Server) -> PgwardenBuilder {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    with_a_clock(Tenants::builder(&upstream))
}

/// What a time limit ends.
struct Limit {
    /// The configuration that sets it.
    config: &'static str,
    /// What strikes not before this has passed since the scene said so.
    least: Duration,
    /// What the client reads in the end.
    sqlstate: &'static str,
    /// Gets there, jumps, and waits for the end: since when it counts, and the SQLSTATE.
    scene: fn(&Tenants<'_>, &dyn Fn()) -> (Instant, String),
}

const SECOND: Duration = Duration::from_secs(1);

const LIMITS: [Limit; 7] = [
    Limit { config: "limits.client_idle_timeout = \"1s\"", least: SECOND, sqlstate: "57P05", scene: idle },
    Limit {
        config: "limits.idle_in_transaction_timeout = \"1s\"",
        least: SECOND,
        sqlstate: "25P03",
        scene: idle_in_a_transaction,
    },
    Limit { config: "limits.statement_timeout = \"1s\"", least: SECOND, sqlstate: "57014", scene: running },
    Limit { config: "pool.checkout_timeout = \"1s\"", least: SECOND, sqlstate: "53300", scene: waiting },
    Limit { config: "limits.login_timeout = \"1s\"", least: SECOND, sqlstate: "", scene: logging_in },
    // Pools count whole seconds.
    Limit { config: "pool.idle_timeout = \"2s\"", least: SECOND, sqlstate: "", scene: unused },
    Limit { config: "pool.max_lifetime = \"2s\"", least: SECOND, sqlstate: "", scene: unused },
];

fn idle(stage: &Tenants<'_>, jump: &dyn Fn()) -> (Instant, String) {
    let mut acme = stage.client("acme");
    let since = Instant::now();
    acme.query("SELECT 1");
    jump();
    (since, error_code(&acme.ended()))
}

fn idle_in_a_transaction(stage: &Tenants<'_>, jump: &dyn Fn()) -> (Instant, String) {
    let mut acme = stage.client("acme");
    let since = Instant::now();
    acme.query("BEGIN; SELECT 1");
    jump();
    (since, error_code(&acme.ended()))
}

fn running(stage: &Tenants<'_>, jump: &dyn Fn()) -> (Instant, String) {
    let mut acme = stage.client("acme");
    let since = Instant::now();
    acme.send(&Frontend::new().query("SELECT pg_sleep(600)"));
    jump();
    (since, error_code(&acme.until_ready()))
}

fn waiting(stage: &Tenants<'_>, jump: &dyn Fn()) -> (Instant, String) {
    let (mut holder, mut waits) = (stage.client("globex"), stage.client("acme"));
    holder.query("BEGIN; SELECT 1");
    let since = Instant::now();
    waits.send(&Frontend::new().query("SELECT 1"));
    jump();
    (since, error_code(&waits.until_ready()))
}

fn logging_in(stage: &Tenants<'_>, jump: &dyn Fn()) -> (Instant, String) {
    let since = Instant::now();
    let mut unborn = Wire::connect(stage.pgwarden.port());
    unborn.send_bytes(&[0, 0, 0, 200, 0, 3]);
    jump();
    (since, error_code(&unborn.ended()))
}

/// A backend that nobody uses.
fn unused(stage: &Tenants<'_>, jump: &dyn Fn()) -> (Instant, String) {
    let since = Instant::now();
    let mut acme = stage.client("acme");
    let pid = values(&acme.query("SELECT pg_backend_pid()"));
    jump();
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {}", pid[0]);
    until("the backend is closed", || (stage.server.psql(&count) == "0").then_some(()));
    (since, String::new())
}

#[test]
fn limits_count_from_where_something_began_whatever_the_clock_says() {
    for_each_version(async |server| {
        Tenants::load(server);
        std::thread::scope(|scope| {
            for (jump, limit) in JUMPS.iter().flat_map(|jump| LIMITS.iter().map(move |limit| (jump, limit))) {
                scope.spawn(move || {
                    let stage = Tenants { server, pgwarden: before(server).config(limit.config).start() };
                    let _remains = Remains(stage.pgwarden.process_id());
                    let (since, sqlstate) = (limit.scene)(&stage, &|| put(&stage.pgwarden, jump));
                    let (passed, what) = (since.elapsed(), format!("{}, put to {jump}", limit.config));
                    assert_eq!(sqlstate, limit.sqlstate, "{what}");
                    assert!(passed >= limit.least, "{what}: after {passed:?}");
                });
            }
        });
    });
}

#[test]
fn nobody_is_sent_away_or_kept_waiting_when_the_clock_jumps() {
    for_each_version(async |server| {
        let limits = "pool.checkout_timeout = \"1h\"\nlimits.client_idle_timeout = \"1h\"\n\
                      limits.idle_in_transaction_timeout = \"1h\"\nlimits.statement_timeout = \"1h\"\n";
        Tenants::load(server);
        let stage = Tenants { server, pgwarden: before(server).config(limits).start() };
        let _remains = Remains(stage.pgwarden.process_id());
        let (mut idle, mut block, mut waits) =
            (stage.client("acme"), stage.client("acme"), stage.client("globex"));
        assert_eq!(values(&idle.query("SELECT org()")), [ACME]);
        assert_eq!(error_code(&block.query("BEGIN; INSERT INTO notes VALUES ('kept')")), "");
        waits.send(&Frontend::new().query("SELECT org()"));
        until("it waits", || (stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]);
        let (first, rest) = startup.bytes().split_at(7);
        let mut unborn = Wire::connect(stage.pgwarden.port());
        unborn.send_bytes(first);
        for jump in [JUMPS[0], JUMPS[1], "+0"] {
            put(&stage.pgwarden, jump);
            assert_eq!(error_code(&block.query("INSERT INTO notes VALUES ('kept')")), "", "{jump}");
            assert_eq!(waits.receive_at_once(), None, "{jump}: it waits still");
        }
        assert_eq!(error_code(&block.query("COMMIT")), "");
        assert_eq!(values(&waits.until_ready()), [GLOBEX]);
        unborn.send_bytes(rest);
        unborn.until_ready();
        for client in [&mut idle, &mut unborn] {
            assert_eq!(values(&client.query("SELECT org()")), [ACME]);
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes WHERE name = 'kept'"), "4");
        assert_eq!(stage.pgwarden.metric("pgwarden_desyncs_total"), Some(0.0));
    });
}

#[test]
fn tokens_expire_by_the_wall_clock() {
    for_each_version(async |server| {
        Tenants::load(server);
        let builder = before(server).file("key", SECRET).env("PGWARDEN_AUTH", "jwt");
        let builder = builder
            .env("PGWARDEN_JWT_KEY", "file:{dir}/key")
            .env("PGWARDEN_CONTEXT", "app.current_org_id=claim:org:uuid");
        let pgwarden = builder.start();
        let _remains = Remains(pgwarden.process_id());
        let (hour_ago, in_an_hour) = (seconds_from_now(-3600), seconds_from_now(3600));
        let claims = json!({"sub": "ann", "org": ACME, "nbf": hour_ago, "exp": in_an_hour});
        let token = Issuer::new(Algorithm::HS256).sign(&claims);
        let log_in = || {
            let mut wire = Wire::connect(pgwarden.port());
            let outcome = wire.try_log_in(&token, &[("user", "anybody"), ("database", "postgres")]);
            outcome.map(|_| wire).map_err(|error| error.fields().detail().to_owned())
        };
        let mut session = log_in().expect("it is good");
        assert_eq!(values(&session.query("SELECT org()")), [ACME]);
        put(&pgwarden, JUMPS[0]);
        let refused = log_in().expect_err("it has expired");
        assert!(refused.contains("the token expired at"), "{refused}");
        assert_eq!(error_code(&session.query("SELECT org()")), "28000", "a session's next transaction");
        put(&pgwarden, JUMPS[1]);
        let refused = log_in().expect_err("it is not good yet");
        assert!(refused.contains("the token is not valid before"), "{refused}");
        put(&pgwarden, "+0");
        assert_eq!(values(&session.query("SELECT org()")), [ACME]);
        assert_eq!(values(&log_in().expect("it is good again").query("SELECT org()")), [ACME]);
    });
}
