//! Real drivers: the programs in `tests/drivers/` through the proxy, each in both pool modes.
//!
//! A program is a list of scenarios that compare what a driver gets with what PostgreSQL is known to answer, and that
//! look at the context from inside their own statements (`drivers/python/scenario.py` says how to run one by hand).
//!
//! All of them run on PostgreSQL 15, whose programs are the clients as well. On the other versions asked for, those run
//! that bring a client of their own, in transaction mode. Where 15 is not asked for, everything runs on the first
//! version that is.

#[path = "drivers/program.rs"]
mod program;

use std::process::Command;

use pgwarden_tests::{Pgwarden, Server, Version, psql};
use program::{Pooling, Program, Stage, elsewhere, home, passed, said};

const ALICE: &str = "a0000000-0000-4000-8000-000000000001";
const BOB: &str = "b0000000-0000-4000-8000-000000000001";

const PSYCOPG3: Program = Program::python("python/psycopg3.py");
const ASYNCPG: Program = Program::python("python/asyncpg_scenarios.py");
const PG: Program = Program::run_by("node", &[], "node/pg.mjs");
const POSTGRES_JS: Program = Program::run_by("node", &[], "node/postgresjs.mjs");
const PSQL: Program = Program::run_by("bash", &[], "shell/psql.sh");
const PGBENCH: Program = Program::run_by("bash", &[], "shell/pgbench.sh");
const PG_DUMP: Program = Program::run_by("bash", &[], "shell/pg_dump.sh");

/// A server with the database `drivers`, and a pgwarden with two clients.
#[track_caller]
fn stage(version: Version, pooling: Pooling) -> Stage {
    let server = Server::start(version);
    server.psql("CREATE ROLE app LOGIN");
    server.psql("CREATE DATABASE drivers");
    // `shown` is there for pg_dump to show.
    let schemas = "CREATE SCHEMA scenarios; GRANT ALL ON SCHEMA scenarios TO app; \
                   CREATE SCHEMA shown AUTHORIZATION app; SET ROLE app; \
                   CREATE TYPE shown.mood AS ENUM ('glad', 'sad'); \
                   CREATE TABLE shown.parts (id int, mood shown.mood) PARTITION BY RANGE (id); \
                   CREATE TABLE shown.first PARTITION OF shown.parts FOR VALUES FROM (0) TO (10); \
                   CREATE FUNCTION shown.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'; \
                   ALTER TABLE shown.parts ENABLE ROW LEVEL SECURITY; \
                   CREATE POLICY own ON shown.parts USING (id > 1)";
    let output = psql(&server.url_for("postgres", "", "drivers"), &["-c", schemas]);
    assert!(output.status.success(), "{}", said(&output));
    let pgwarden = Pgwarden::builder()
        .upstream(&format!("{}?sslmode=disable", server.url_for("app", "", "drivers")))
        .env("PGWARDEN_MODE", "enforce")
        .env("PGWARDEN_AUTH", "trust")
        .env("PGWARDEN_POOL_MODE", pooling.name())
        .env("PGWARDEN_POOL_SIZE", pooling.backends())
        .env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid")
        .env("PGWARDEN_FIXED", &format!("alice=tenant:{ALICE}, bob=tenant:{BOB}"))
        .start();
    let settings = vec![
        ("DATABASE_URL", pgwarden.url("alice", "", "drivers")),
        ("EXPECT_TENANT_VALUE", ALICE.to_owned()),
        ("OTHER_URL", pgwarden.url("bob", "", "drivers")),
        ("OTHER_EXPECT_TENANT_VALUE", BOB.to_owned()),
        ("DIRECT_URL", server.url_for("app", "", "drivers")),
        ("SCENARIO_SCHEMA", "scenarios".to_owned()),
        ("DUMP_SCHEMA", "shown".to_owned()),
        ("PGBENCH_INIT", "1".to_owned()),
    ];
    Stage { pgwarden, server, pooling, settings }
}

/// Runs on the version that everything runs on.
#[track_caller]
fn at_home(program: Program, pooling: Pooling) {
    program.run(&stage(home(), pooling));
}

/// Runs in transaction mode on a version other than that, if it was asked for.
#[track_caller]
fn on_version(program: Program, major: u16) {
    if let Some(version) = elsewhere(major) {
        program.run(&stage(version, Pooling::Transaction));
    }
}

/// A module with one test per program: a process of its own each, so that they run beside each other.
macro_rules! on_another_version {
    ($($module:ident: $major:literal,)*) => { $(
        mod $module {
            use super::{ASYNCPG, PG, POSTGRES_JS, PSYCOPG3, on_version};

            #[test]
            fn psycopg3() {
                on_version(PSYCOPG3, $major);
            }

            #[test]
            fn asyncpg() {
                on_version(ASYNCPG, $major);
            }

            #[test]
            fn node_postgres() {
                on_version(PG, $major);
            }

            #[test]
            fn postgres_js() {
                on_version(POSTGRES_JS, $major);
            }
        }
    )* };
}

on_another_version! { on_14: 14, on_16: 16, on_17: 17, on_18: 18, }

/// Two tests per program, one for each way to share backends.
macro_rules! in_both_modes {
    ($($module:ident: $program:ident,)*) => { $(
        mod $module {
            use super::{$program, Pooling, at_home};

            #[test]
            fn transaction() {
                at_home($program, Pooling::Transaction);
            }

            #[test]
            fn session() {
                at_home($program, Pooling::Session);
            }
        }
    )* };
}

in_both_modes! {
    psycopg3: PSYCOPG3,
    asyncpg: ASYNCPG,
    node_postgres: PG,
    postgres_js: POSTGRES_JS,
    psql: PSQL,
    pgbench: PGBENCH,
}

/// pg_dump refuses a server that is newer than itself.
mod pg_dump {
    use super::{Command, PG_DUMP, Pooling, Version, at_home, home};

    fn run(pooling: Pooling) {
        let output = Command::new("pg_dump").arg("--version").output().expect("pg_dump is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let major = text.split(|letter: char| !letter.is_ascii_digit()).find_map(|part| part.parse().ok());
        let client = Version(major.unwrap_or_else(|| panic!("no version in {text:?}")));
        if home() <= client {
            at_home(PG_DUMP, pooling);
        } else {
            eprintln!("nothing to run: pg_dump {client} refuses PostgreSQL {}", home());
        }
    }

    #[test]
    fn transaction() {
        run(Pooling::Transaction);
    }

    #[test]
    fn session() {
        run(Pooling::Session);
    }
}

#[test]
fn last_words_are_understood() {
    assert_eq!(passed("ok connects\n12 passed, 0 failed\n"), 12);
    assert_eq!(passed("0 passed, 0 failed\n"), 0);
    assert_eq!(passed("Traceback: 3 passed"), 0);
}
