//! pgwarden in shadow mode, before a database whose policies are staged.

use std::fs;
use std::path::PathBuf;

use pgwarden_tests::{Pgwarden, Server, until};

use crate::case::Case;
use crate::staged_form::Form;

/// A pgwarden and what it looks at.
#[derive(Debug)]
pub struct Staged {
    pub pgwarden: Pgwarden,
}

impl Staged {
    /// The directory of its trail.
    pub fn trail(&self) -> PathBuf {
        self.pgwarden.directory().join("trail")
    }

    /// Whether it has looked at the tables: what passes before, no detector but that of contexts can look at.
    fn knows_policies(&self) -> bool {
        let segments = fs::read_dir(self.trail()).into_iter().flatten().flatten();
        let texts = segments.filter_map(|segment| fs::read_to_string(segment.path()).ok());
        texts.into_iter().any(|text| text.contains("\"policies_changed\""))
    }
}

/// Stages the policies of the case, and starts pgwarden before them.
pub fn start(server: &Server, case: &Case, database: &str) -> Staged {
    stage(server, case, database);
    install_triggers(server, database);
    let fixed: Vec<_> = case
        .schema
        .users
        .iter()
        .map(|(user, tenant)| format!("{user}=tenant:{};user:{user}", case.schema.tenants[*tenant]))
        .collect();
    let url = format!("{}?sslmode=disable", server.url_for("app", "", database));
    let config = format!(
        "[shadow]\ntenant_columns = ['{}']\n[shadow.observer]\nuser = 'postgres'\ndatabases = ['{database}']\n\
         [audit]\ndirectory = '{{dir}}/trail'\nfsync = 'off'\ncoverage_window = '1s'\n",
        case.schema.tenant_column
    );
    let pgwarden = Pgwarden::builder()
        .upstream(&url)
        .config(&config)
        .env("PGWARDEN_MODE", "shadow")
        .env("PGWARDEN_AUTH", "trust")
        .env(
            "PGWARDEN_CONTEXT",
            &format!("app.org=tenant:{}, app.who=user:text", case.schema.tenant_type.context_kind()),
        )
        .env("PGWARDEN_FIXED", &fixed.join(", "))
        .start();
    let staged = Staged { pgwarden };
    until("the policies are known", || staged.knows_policies().then_some(()));
    staged
}

/// Stages the migration of the case with `pgwarden stage`.
pub fn stage(server: &Server, case: &Case, database: &str) {
    let url = format!("{}?sslmode=disable", server.url_for("postgres", "", database));
    let command = ["stage", "--url", &url, "--from", "migration.sql", "--app", "app", "--enable-rls"];
    let exit = Pgwarden::builder().file("migration.sql", &case.schema.migration()).run(&command);
    assert!(exit.status.success(), "{}\n{}", exit.stderr, case.schema.migration());
}

/// Installs the triggers that look at writes.
pub fn install_triggers(server: &Server, database: &str) {
    let url = format!("{}?sslmode=disable", server.url_for("postgres", "", database));
    let exit = Pgwarden::builder()
        .env("PGWARDEN_MODE", "shadow")
        .env("PGWARDEN_AUTH", "trust")
        .env("PGWARDEN_CONTEXT", "app.org=tenant:text, app.who=user:text")
        .env("PGWARDEN_FIXED", "u0=tenant:t;user:u0")
        .run(&["writes", "install", "--url", &url]);
    // Where the policies cannot be evaluated beside a write, that is said, and the writes count as not evaluated.
    let is_said = |line: &str| line.contains(": installed") || line.contains("not installed: the policy");
    let said = exit.stderr.lines().filter(|line| !line.is_empty()).all(is_said);
    assert!(exit.status.success() || said, "{}", exit.stderr);
}

impl<'a> Form<'a> {
    /// As the command stages it.
    pub fn of_the_command(server: &'a Server) -> Form<'a> {
        let make = move |case: &Case| {
            server.psql("CREATE DATABASE staged TEMPLATE today");
            stage(server, case, "staged");
        };
        Form { role: "pgwarden_shadow", stage: Box::new(make) }
    }
}
