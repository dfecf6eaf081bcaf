//! Migrations as people run them, by Prisma, Django, sqlx and psql: as a service they go through and reach every tenant's
//! rows, as a tenant they are refused; and tenants see what is theirs, before and behind them.
//!
//! The tables have FORCE ROW LEVEL SECURITY, and belong to a role that may bypass it.

#[path = "drivers/program.rs"]
mod program;

use pgwarden_tests::lane::last_account;
use pgwarden_tests::tenants::{error_code, value, values};
use pgwarden_tests::{Frontend, Message, Pgwarden, Server, Version, Wire, psql, versions};
use program::{Pooling, Program, Stage, elsewhere, home, root, said};

const ACME: &str = "a0000000-0000-4000-8000-000000000001";
const GLOBEX: &str = "b0000000-0000-4000-8000-000000000001";

const OWNER: &str = "
CREATE ROLE owner LOGIN BYPASSRLS;
ALTER TABLE notes OWNER TO owner;
ALTER TABLE inbox OWNER TO owner;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
REVOKE CREATE ON SCHEMA public FROM app, PUBLIC;
GRANT ALL ON SCHEMA public TO owner;
ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;
ALTER DEFAULT PRIVILEGES FOR ROLE owner GRANT USAGE ON SEQUENCES TO app;
";

const SERVICE: &str = "[service.migrations]
user = \"migrator\"
upstream_user = \"owner\"
reason = 'OPS-\\d+.*'
";

/// A server with the table `notes` of two tenants, and a pgwarden with the service `migrations`.
#[track_caller]
fn stage(version: Version, pooling: Pooling) -> Stage {
    let server = Server::start(version);
    let schema = root().join("tests/drivers/policies.sql");
    let output = psql(&server.url(), &["-f", &schema.to_string_lossy()]);
    assert!(output.status.success(), "{}", said(&output));
    server.psql(OWNER);
    let users = ["acme", "globex", "migrator"].map(|name| format!("\"{name}\" \"{name}-secret\"\n")).concat();
    let pgwarden = Pgwarden::builder()
        .config(SERVICE)
        .upstream(&format!("{}?sslmode=disable", server.url_for("app", "", "postgres")))
        .file("users.txt", &users)
        .env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
        .env("PGWARDEN_MODE", "enforce")
        .env("PGWARDEN_AUTH", "scram-sha-256")
        .env("PGWARDEN_LOG_FORMAT", "json")
        .env("PGWARDEN_POOL_MODE", pooling.name())
        .env("PGWARDEN_POOL_SIZE", pooling.backends())
        .env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid")
        .env("PGWARDEN_FIXED", &format!("acme=tenant:{ACME}, globex=tenant:{GLOBEX}"))
        .start();
    let reason = "application_name=OPS-7";
    let settings = vec![
        ("DATABASE_URL", pgwarden.url("acme", "acme-secret", "postgres")),
        ("EXPECT_TENANT_VALUE", ACME.to_owned()),
        ("OTHER_URL", pgwarden.url("globex", "globex-secret", "postgres")),
        ("OTHER_EXPECT_TENANT_VALUE", GLOBEX.to_owned()),
        // Programs start others, and those take their time on a busy machine.
        ("SCENARIO_TIMEOUT", "300".to_owned()),
        ("SERVICE_URL", format!("{}?{reason}", pgwarden.url("migrator", "migrator-secret", "postgres"))),
    ];
    Stage { pgwarden, server, pooling, settings }
}

impl Stage {
    fn client(&self, user: &str) -> Wire {
        Wire::open(self.pgwarden.port(), user, &format!("{user}-secret"), "postgres")
    }

    #[track_caller]
    fn service(&self) -> Wire {
        let mut wire = Wire::connect(self.pgwarden.port());
        let parameters =
            [("user", "migrator"), ("database", "postgres"), ("application_name", "OPS-7 by hand")];
        wire.try_log_in("migrator-secret", &parameters).unwrap_or_else(|error| panic!("{}", error.fields()));
        wire
    }

    /// Runs a program, and looks at the server behind it.
    #[track_caller]
    fn run(&self, program: Program) {
        program.run(self);
        assert_eq!(self.server.psql("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
        assert_eq!(self.pgwarden.metric("pgwarden_desyncs_total"), Some(0.0), "{}", self.pgwarden.stderr());
        let statements = "pgwarden_service_statements_total{service=\"migrations\"}";
        assert!(self.pgwarden.metric(statements) > Some(10.0), "{statements}");
    }
}

const DJANGO: Program = Program::python("python/django_migrations.py");
const PRISMA: Program = Program::run_by("node", &[], "node/prisma_service.mjs");
const SQLX: Program = Program::run_by(".cache/sqlx/sqlx_policies", &["migrates"], "");

#[test]
fn django_migrates_as_a_service() {
    stage(home(), Pooling::Transaction).run(DJANGO);
}

#[test]
fn prisma_migrates_as_a_service() {
    stage(home(), Pooling::Transaction).run(PRISMA);
}

#[test]
fn sqlx_migrates_as_a_service() {
    stage(home(), Pooling::Transaction).run(SQLX);
}

#[test]
fn sqlx_migrates_as_a_service_where_tenants_have_backends_of_their_own() {
    stage(home(), Pooling::Session).run(SQLX);
}

/// A module with one test per program, on a version other than that.
macro_rules! on_another_version {
    ($($module:ident: $major:literal,)*) => { $(
        mod $module {
            use super::{DJANGO, PRISMA, Pooling, SQLX, elsewhere, stage};

            #[test]
            fn django() {
                if let Some(version) = elsewhere($major) {
                    stage(version, Pooling::Transaction).run(DJANGO);
                }
            }

            #[test]
            fn prisma() {
                if let Some(version) = elsewhere($major) {
                    stage(version, Pooling::Transaction).run(PRISMA);
                }
            }

            #[test]
            fn sqlx() {
                if let Some(version) = elsewhere($major) {
                    stage(version, Pooling::Transaction).run(SQLX);
                }
            }
        }
    )* };
}

on_another_version! { on_14: 14, on_16: 16, on_17: 17, on_18: 18, }

#[test]
fn psql_migrates_as_a_service_and_not_as_a_tenant() {
    for version in versions() {
        let stage = stage(version, Pooling::Transaction);
        let file = root().join("tests/drivers/shell/migrations/service.sql");
        let run = |url: &str| psql(url, &["-f", &file.to_string_lossy()]);
        let url =
            |name: &str| stage.settings.iter().find(|(known, _)| *known == name).expect("a URL").1.clone();
        let tenants = run(&url("DATABASE_URL"));
        assert!(said(&tenants).contains("must be owner of table notes"), "{}", said(&tenants));

        let nothing = run(&stage.pgwarden.url("migrator", "migrator-secret", "postgres"));
        assert!(said(&nothing).contains("service \"migrations\" has to say what for"), "{}", said(&nothing));

        let output = run(&url("SERVICE_URL"));
        assert!(output.status.success(), "{}\n{}", said(&output), stage.server.log_tail());
        assert_eq!(String::from_utf8_lossy(&output.stdout).lines().last(), Some("t"), "{}", said(&output));

        for (user, org) in [("acme", ACME), ("globex", GLOBEX)] {
            let mut wire = stage.client(user);
            let title = format!("{}: FIRST", user.to_uppercase());
            assert_eq!(value(&wire.query("SELECT min(title) FROM notes")), Some(title), "{user}");
            assert_eq!(values(&wire.query("SELECT name FROM labels")), [format!("of {org}")], "{user}");
        }
        let account = last_account(&stage.pgwarden);
        assert_eq!(account["reason"], "OPS-7", "{account}");
        assert_eq!((&account["read"], &account["errors"]), (&"progress".into(), &0.into()), "{account}");
        assert_eq!(account["written"], "labels, notes, progress", "{account}");
        let commands = account["commands"].as_str().expect("a text");
        for command in
            ["ALTER TABLE 4", "CREATE INDEX 1", "CALL 1", "COPY 1", "DO 1", "VACUUM 1", "CREATE POLICY 2"]
        {
            assert!(commands.contains(command), "{command}: {commands}");
        }
    }
}

/// A statement that a tenant has prepared by name, described, and then runs.
fn prepare(name: &str) -> Frontend {
    Frontend::new().parse(name, "SELECT * FROM notes ORDER BY id", &[]).describe_statement(name).sync()
}

fn run(name: &str) -> Frontend {
    Frontend::new().bind("", name, &[]).execute("", 1).sync()
}

fn columns(messages: &[Message]) -> Vec<String> {
    let description = messages.iter().find(|message| message.tag == b'T');
    description.unwrap_or_else(|| panic!("no description: {messages:?}")).columns()
}

#[test]
fn what_tenants_have_prepared_follows_a_migration_as_it_follows_ddl_of_their_own() {
    for version in versions() {
        let migrations = [
            "ALTER TABLE notes ADD COLUMN a text",
            "DO $$ BEGIN ALTER TABLE notes ADD COLUMN b text; END $$",
            "BEGIN; ALTER TABLE notes ADD COLUMN c text; COMMIT",
            "CREATE PROCEDURE more() LANGUAGE plpgsql AS 'BEGIN ALTER TABLE notes ADD COLUMN d text; END'; CALL more()",
        ];
        let stage = stage(version, Pooling::Transaction);
        let (mut service, mut old) = (stage.service(), stage.client("acme"));
        let mut expected: Vec<String> = ["id", "org_id", "body"].map(str::to_owned).to_vec();
        for (migration, column) in migrations.into_iter().zip(["a", "b", "c", "d"]) {
            old.send(&prepare(column));
            assert_eq!(columns(&old.until_ready()), expected, "{migration}");
            old.send(&run(column));
            assert_eq!(error_code(&old.until_ready()), "", "{migration}");

            assert_eq!(error_code(&service.query(migration)), "", "{migration}");
            expected.push(column.to_owned());
            old.send(&run(column));
            assert_eq!(error_code(&old.until_ready()), "0A000", "it knows the old columns: {migration}");
            for user in ["acme", "globex"] {
                let mut new = stage.client(user);
                new.send(&prepare("new"));
                assert_eq!(columns(&new.until_ready()), expected, "{user}: {migration}");
                new.send(&run("new"));
                let messages = new.until_ready();
                assert_eq!(error_code(&messages), "", "{user}: {migration}");
                let org = if user == "acme" { ACME } else { GLOBEX };
                let row = messages.iter().find(|message| message.tag == b'D').expect("a row").row();
                assert_eq!(
                    (row[1].as_deref(), row.len()),
                    (Some(org), expected.len()),
                    "{user}: {migration}"
                );
            }
        }
    }
}
