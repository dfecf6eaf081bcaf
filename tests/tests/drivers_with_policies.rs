//! Drivers and ORMs as two tenants before a table with a policy: the programs in `tests/drivers/` that all have the same
//! scenarios, each in both pool modes, logging in by SCRAM.
//!
//! A program says which of the scenarios it ran, and which its driver has nothing for. The table in the README says the
//! same, and is compared with it. Afterwards every row is looked at directly: it must lie with the tenant that wrote it.
//!
//! All run on PostgreSQL 15; on the other versions, in transaction mode, those that look into the server's catalogs by
//! themselves or speak the protocol by themselves.

#[path = "drivers/program.rs"]
mod program;

use pgwarden_tests::{Pgwarden, Server, Version, psql};
use program::{Pooling, Program, Stage, elsewhere, home, root, said};

const ACME: &str = "a0000000-0000-4000-8000-000000000001";
const GLOBEX: &str = "b0000000-0000-4000-8000-000000000001";

/// What every program has, in this order; the columns of the README's table.
const SCENARIOS: [&str; 12] = [
    "connects",
    "reads",
    "writes",
    "transactions",
    "savepoints",
    "prepared",
    "errors",
    "batches",
    "copy",
    "notifications",
    "cancel",
    "habits",
];

/// A driver, as the README names it, and its program.
struct Driver {
    name: &'static str,
    program: Program,
}

const fn driver(name: &'static str, program: Program) -> Driver {
    Driver { name, program }
}

impl Driver {
    /// Runs the program on a server of this version, and looks at what it did.
    #[track_caller]
    fn run(&self, version: Version, pooling: Pooling) {
        let stage = stage(version, pooling);
        let said = self.program.run(&stage);
        let outcomes: Vec<(&str, &str)> = said.lines().filter_map(outcome).collect();
        let names: Vec<&str> = outcomes.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, SCENARIOS, "scenarios of {}", self.name);
        let marks: Vec<&str> = outcomes.iter().map(|(_, mark)| *mark).collect();
        let row = format!("| {} | {} |", self.name, marks.join(" | "));
        assert!(readme().contains(&row), "the README's table should have: {row}");
        assert_rows_lie_with_their_tenants(&stage);
        assert_eq!(stage.pgwarden.metric("pgwarden_desyncs_total"), Some(0.0), "{}", stage.pgwarden.stderr());
    }

    #[track_caller]
    fn run_elsewhere(&self, major: u16) {
        if let Some(version) = elsewhere(major) {
            self.run(version, Pooling::Transaction);
        }
    }
}

/// A server with the table `notes`, and a pgwarden with the clients `acme` and `globex`.
#[track_caller]
fn stage(version: Version, pooling: Pooling) -> Stage {
    let server = Server::start(version);
    let schema = root().join("tests/drivers/policies.sql");
    let output = psql(&server.url(), &["-v", "ON_ERROR_STOP=1", "-f", &schema.to_string_lossy()]);
    assert!(output.status.success(), "{}", said(&output));
    let pgwarden = Pgwarden::builder()
        .upstream(&format!("{}?sslmode=disable", server.url_for("app", "", "postgres")))
        .file("users.txt", "\"acme\" \"acme-secret\"\n\"globex\" \"globex-secret\"\n")
        .env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
        .env("PGWARDEN_MODE", "enforce")
        .env("PGWARDEN_AUTH", "scram-sha-256")
        .env("PGWARDEN_POOL_MODE", pooling.name())
        .env("PGWARDEN_POOL_SIZE", pooling.backends())
        .env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid")
        .env("PGWARDEN_FIXED", &format!("acme=tenant:{ACME}, globex=tenant:{GLOBEX}"))
        .start();
    let settings = vec![
        ("DATABASE_URL", pgwarden.url("acme", "acme-secret", "postgres")),
        ("EXPECT_TENANT_VALUE", ACME.to_owned()),
        ("OTHER_URL", pgwarden.url("globex", "globex-secret", "postgres")),
        ("OTHER_EXPECT_TENANT_VALUE", GLOBEX.to_owned()),
    ];
    Stage { pgwarden, server, pooling, settings }
}

/// A line such as `ok reads` or `skip copy: why` as the scenario's name and its mark in the table.
fn outcome(line: &str) -> Option<(&str, &str)> {
    let skipped = line.strip_prefix("skip ").map(|rest| (rest.split(':').next().unwrap_or(rest), "–"));
    line.strip_prefix("ok ").map(|name| (name, "✓")).or(skipped)
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the README can be read")
}

/// Both tenants have written, and each row says the tenant that it lies with.
#[track_caller]
fn assert_rows_lie_with_their_tenants(stage: &Stage) {
    let found = stage
        .server
        .psql("SELECT org_id, split_part(body, ':', 1), count(*) > 5 FROM notes GROUP BY 1, 2 ORDER BY 1, 2");
    assert_eq!(found, format!("{ACME}|acme|t\n{GLOBEX}|globex|t"), "tenants of the rows, and writers");
}

const PSYCOPG2: Driver = driver("psycopg 2", Program::python("python/psycopg2_policies.py"));
const SQLALCHEMY: Driver = driver("SQLAlchemy", Program::python("python/sqlalchemy_policies.py"));
const DJANGO: Driver = driver("Django", Program::python("python/django_policies.py"));
const PRISMA: Driver = driver("Prisma", node("node/prisma_policies.mjs"));
const DRIZZLE: Driver = driver("Drizzle", node("node/drizzle_policies.mjs"));
const SEQUELIZE: Driver = driver("Sequelize", node("node/sequelize_policies.mjs"));
const TYPEORM: Driver = driver("TypeORM", node("node/typeorm_policies.mjs"));
const KNEX: Driver = driver("Knex", node("node/knex_policies.mjs"));
const PGJDBC: Driver = driver("pgjdbc", Program::run_by("java", JAVA, "java/PgjdbcPolicies.java"));
const PDO: Driver = driver("PDO (PHP)", Program::run_by("php", &[], "php/pdo_policies.php"));
const RUBY_PG: Driver = driver("ruby-pg", Program::run_by("ruby", &[], "ruby/pg_policies.rb"));
const ACTIVE_RECORD: Driver =
    driver("ActiveRecord (Rails)", Program::run_by("ruby", &[], "ruby/active_record_policies.rb"));
const DBD_PG: Driver = driver("DBD::Pg (Perl)", Program::run_by("perl", PERL, "perl/dbd_pg_policies.pl"));
const PGX: Driver = driver("pgx (Go)", Program::run_by(".cache/go/pgx_policies", &[], ""));
const SQLX: Driver = driver("sqlx (Rust)", Program::run_by(".cache/sqlx/sqlx_policies", &[], ""));

/// Compiled at once, and not very well: it runs for a few seconds.
const JAVA: &[&str] = &["-XX:TieredStopAtLevel=1", "-cp", "/usr/share/java/postgresql.jar"];
const PERL: &[&str] = &["-I.cache/debian/usr/lib/x86_64-linux-gnu/perl5/5.36"];

const fn node(file: &'static str) -> Program {
    Program::run_by("node", &[], file)
}

/// Two tests per driver, one for each way to share backends.
macro_rules! in_both_modes {
    ($($module:ident: $driver:ident,)*) => { $(
        mod $module {
            use super::{$driver, Pooling, home};

            #[test]
            fn transaction() {
                $driver.run(home(), Pooling::Transaction);
            }

            #[test]
            fn session() {
                $driver.run(home(), Pooling::Session);
            }
        }
    )* };
}

in_both_modes! {
    psycopg2: PSYCOPG2,
    sqlalchemy: SQLALCHEMY,
    django: DJANGO,
    prisma: PRISMA,
    drizzle: DRIZZLE,
    sequelize: SEQUELIZE,
    typeorm: TYPEORM,
    knex: KNEX,
    pgjdbc: PGJDBC,
    pdo: PDO,
    ruby_pg: RUBY_PG,
    active_record: ACTIVE_RECORD,
    dbd_pg: DBD_PG,
    pgx: PGX,
    sqlx: SQLX,
}

/// A module with one test per driver: a process of its own each, so that they run beside each other.
macro_rules! on_another_version {
    ($($module:ident: $major:literal,)*) => { $(
        mod $module {
            use super::{ACTIVE_RECORD, DJANGO, PGJDBC, PGX, SQLX};

            #[test]
            fn django() {
                DJANGO.run_elsewhere($major);
            }

            #[test]
            fn active_record() {
                ACTIVE_RECORD.run_elsewhere($major);
            }

            #[test]
            fn pgjdbc() {
                PGJDBC.run_elsewhere($major);
            }

            #[test]
            fn pgx() {
                PGX.run_elsewhere($major);
            }

            #[test]
            fn sqlx() {
                SQLX.run_elsewhere($major);
            }
        }
    )* };
}

on_another_version! { on_14: 14, on_16: 16, on_17: 17, on_18: 18, }
