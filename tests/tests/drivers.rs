//! Real drivers: the programs in `tests/drivers/` through the proxy, each in both pool modes.
//!
//! A program is a list of scenarios that compare what a driver gets with what PostgreSQL is known to answer, and that
//! look at the context from inside their own statements (`drivers/python/scenario.py` says how to run one by hand).
//!
//! All of them run on PostgreSQL 15, whose programs are the clients as well. On the other versions asked for, those run
//! that bring a client of their own, in transaction mode. Where 15 is not asked for, everything runs on the first
//! version that is.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pgwarden_tests::{Pgwarden, Server, Version, psql, versions};

const ALICE: &str = "a0000000-0000-4000-8000-000000000001";
const BOB: &str = "b0000000-0000-4000-8000-000000000001";

/// The version that everything runs on.
const HOME: Version = Version(15);

/// How pgwarden shares its backends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pooling {
    Transaction,
    Session,
}

impl Pooling {
    fn name(self) -> &'static str {
        match self {
            Pooling::Transaction => "transaction",
            Pooling::Session => "session",
        }
    }

    /// Few enough that clients share backends; in session mode, enough for every connection that a program opens at once.
    fn backends(self) -> &'static str {
        match self {
            Pooling::Transaction => "4",
            Pooling::Session => "40",
        }
    }
}

/// A program in `tests/drivers/`, and what runs it.
#[derive(Clone, Copy)]
struct Program {
    file: &'static str,
    interpreter: &'static str,
}

const PSYCOPG3: Program = python("python/psycopg3.py");
const ASYNCPG: Program = python("python/asyncpg_scenarios.py");
const PG: Program = Program { file: "node/pg.mjs", interpreter: "node" };
const POSTGRES_JS: Program = Program { file: "node/postgresjs.mjs", interpreter: "node" };
const PSQL: Program = bash("shell/psql.sh");
const PGBENCH: Program = bash("shell/pgbench.sh");
const PG_DUMP: Program = bash("shell/pg_dump.sh");

const fn python(file: &'static str) -> Program {
    Program { file, interpreter: ".cache/venv/bin/python" }
}

const fn bash(file: &'static str) -> Program {
    Program { file, interpreter: "bash" }
}

impl Program {
    /// Runs all scenarios on a server of this version; panics with the program's output when one fails, or none passes.
    #[track_caller]
    fn run(self, version: Version, pooling: Pooling) {
        let stage = Stage::set(version, pooling);
        let output = self.command(&stage, pooling).output().unwrap_or_else(|error| {
            panic!("cannot run {}: {error}; `./run setup` installs what the tests need", self.interpreter)
        });
        let said = said(&output);
        let passed = passed(&said);
        assert!(
            output.status.success() && passed > 0,
            "{} on PostgreSQL {version}, {} pooling: {}, {passed} passed\n{said}\n--- pgwarden said:\n{}\n\
             --- the server's log ends with:\n{}",
            self.file,
            pooling.name(),
            output.status,
            stage.pgwarden.stderr(),
            stage.server.log_tail(),
        );
        println!("{} on PostgreSQL {version}, {} pooling:\n{said}", self.file, pooling.name());
    }

    fn command(self, stage: &Stage, pooling: Pooling) -> Command {
        // Ends with this test, should it be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.interpreter());
        command.arg(root().join("tests/drivers").join(self.file)).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        let settings = [
            ("DATABASE_URL", stage.pgwarden.url("alice", "", "drivers")),
            ("EXPECT_TENANT_VALUE", ALICE.to_owned()),
            ("OTHER_URL", stage.pgwarden.url("bob", "", "drivers")),
            ("OTHER_EXPECT_TENANT_VALUE", BOB.to_owned()),
            ("DIRECT_URL", stage.server.url_for("app", "", "drivers")),
            ("SCENARIO_SCHEMA", "scenarios".to_owned()),
            ("DUMP_SCHEMA", "shown".to_owned()),
            ("POOL_MODE", pooling.name().to_owned()),
            ("SCENARIO_TIMEOUT", "60".to_owned()),
            ("PGBENCH_INIT", "1".to_owned()),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ];
        command.envs(settings);
        command
    }

    /// With a folder in its name, one of the repository; else one of PATH.
    fn interpreter(self) -> PathBuf {
        let path = Path::new(self.interpreter);
        if path.components().count() == 1 { path.to_owned() } else { root().join(path) }
    }
}

/// A server with the database `drivers`, and a pgwarden that knows two of its clients.
struct Stage {
    // Dropped in this order.
    pgwarden: Pgwarden,
    server: Server,
}

impl Stage {
    #[track_caller]
    fn set(version: Version, pooling: Pooling) -> Stage {
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
        Stage { pgwarden, server }
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Both outputs of a program.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The number in the program's last words: `12 passed, 0 failed`.
fn passed(said: &str) -> u32 {
    let count = |line: &str| line.strip_suffix(" failed")?.split_once(" passed, ")?.0.parse().ok();
    said.lines().rev().find_map(count).unwrap_or(0)
}

/// The one version of what does not run on all.
fn home() -> Version {
    let versions = versions();
    if versions.contains(&HOME) { HOME } else { versions[0] }
}

/// Runs on the version that everything runs on.
#[track_caller]
fn at_home(program: Program, pooling: Pooling) {
    program.run(home(), pooling);
}

/// Runs in transaction mode on a version other than that, if it was asked for.
#[track_caller]
fn elsewhere(program: Program, major: u16) {
    let version = Version(major);
    if version != home() && versions().contains(&version) {
        program.run(version, Pooling::Transaction);
    }
}

/// A module with one test per program: a process of its own each, so that they run beside each other.
macro_rules! on_another_version {
    ($($module:ident: $major:literal,)*) => { $(
        mod $module {
            use super::{ASYNCPG, PG, POSTGRES_JS, PSYCOPG3, elsewhere};

            #[test]
            fn psycopg3() {
                elsewhere(PSYCOPG3, $major);
            }

            #[test]
            fn asyncpg() {
                elsewhere(ASYNCPG, $major);
            }

            #[test]
            fn node_postgres() {
                elsewhere(PG, $major);
            }

            #[test]
            fn postgres_js() {
                elsewhere(POSTGRES_JS, $major);
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
