//! Drivers before a pgwarden that requires TLS: what each calls `require` and `verify-full`, a certificate that it does not
//! trust, no TLS at all, a cancel. Logins are SCRAM, so that who can binds it to the channel.

#[path = "drivers/program.rs"]
#[expect(dead_code, reason = "other drivers' tests use more of it")]
mod program;

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::{Pgwarden, Server};
use program::{Pooling, Program, Stage, home};

const ACME: &str = "a0000000-0000-4000-8000-000000000001";

#[track_caller]
fn run(program: Program) {
    let (authority, other) = (Authority::create(), Authority::create());
    let server = Server::start(home());
    server.psql("CREATE ROLE app LOGIN");
    let pgwarden = Pgwarden::builder()
        .upstream(&format!("{}?sslmode=disable", server.url_for("app", "", "postgres")))
        .file("users.txt", "\"acme\" \"acme-secret\"\n")
        .env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
        .env("PGWARDEN_MODE", "enforce")
        .env("PGWARDEN_AUTH", "scram-sha-256")
        .env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid")
        .env("PGWARDEN_FIXED", &format!("acme=tenant:{ACME}"))
        .tls("require", &authority.server())
        .start();
    let settings = vec![
        ("DATABASE_URL", pgwarden.url("acme", "acme-secret", "postgres")),
        ("EXPECT_TENANT_VALUE", ACME.to_owned()),
        ("TLS_AUTHORITY", authority.path()),
        ("TLS_OTHER_AUTHORITY", other.path()),
    ];
    let stage = Stage { pgwarden, server, pooling: Pooling::Transaction, settings };
    program.run(&stage);
    assert_eq!(stage.pgwarden.metric("pgwarden_desyncs_total"), Some(0.0), "{}", stage.pgwarden.stderr());
}

#[test]
fn asyncpg() {
    run(Program::python("python/asyncpg_tls.py"));
}

#[test]
fn psycopg3() {
    run(Program::python("python/psycopg3_tls.py"));
}

#[test]
fn node_postgres() {
    run(Program::run_by("node", &[], "node/pg_tls.mjs"));
}

#[test]
fn pgjdbc() {
    // Compiled at once, and not very well: it runs for a few seconds.
    let arguments = &["-XX:TieredStopAtLevel=1", "-cp", "/usr/share/java/postgresql.jar"];
    run(Program::run_by("java", arguments, "java/PgjdbcTls.java"));
}
