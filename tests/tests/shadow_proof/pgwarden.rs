//! pgwarden in shadow mode, before a database whose policies are staged.

use std::path::PathBuf;

use pgwarden_tests::{Pgwarden, Server};

use crate::case::Case;

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

    /// Whether no query waits to be run again, or is.
    pub fn is_idle(&self) -> bool {
        true
    }
}

/// Stages the policies of the case, and starts pgwarden before them.
pub fn start(server: &Server, case: &Case, database: &str) -> Staged {
    let fixed: Vec<_> = case
        .schema
        .users
        .iter()
        .map(|(user, tenant)| format!("{user}=tenant:{};user:{user}", case.schema.tenants[*tenant]))
        .collect();
    let url = format!("{}?sslmode=disable", server.url_for("app", "", database));
    let pgwarden = Pgwarden::builder()
        .upstream(&url)
        .env("PGWARDEN_MODE", "shadow")
        .env("PGWARDEN_AUTH", "trust")
        .env(
            "PGWARDEN_CONTEXT",
            &format!("app.org=tenant:{}, app.who=user:text", case.schema.tenant_type.context_kind()),
        )
        .env("PGWARDEN_FIXED", &fixed.join(", "))
        .start();
    Staged { pgwarden }
}
