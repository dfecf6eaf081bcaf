//! The proof that the application is answered as before: the plans of its commands.

use super::administrator::Administrator;
use super::catalog::Relation;
use super::failure::Failure;
use super::roles::ShadowRole;
use pgwarden_shadow::policy::{identifier, literal};

/// What each role of the application is shown for each of its commands on a table.
pub(crate) type Plans = Vec<String>;

/// The commands that are explained, and the right that each needs.
const COMMANDS: [(&str, &str); 2] = [("SELECT", "SELECT * FROM"), ("DELETE", "DELETE FROM")];

/// The plans, within the transaction that is open. Where this session may not become a role, there is none.
///
/// # Errors
/// As [`Administrator::read`].
pub(crate) async fn plans(
    session: &mut Administrator,
    relation: &Relation,
    roles: &[ShadowRole],
) -> Result<Plans, Failure> {
    let mut plans = Vec::new();
    let table = relation.sql();
    for role in roles {
        let acting = &role.acting.name;
        for (right, command) in COMMANDS {
            let may =
                format!("SELECT has_table_privilege({}, {}::oid, '{right}')", literal(acting), relation.oid);
            if session.text(&may).await? != "t" {
                continue;
            }
            let explain = format!(
                "SAVEPOINT plan; SET LOCAL ROLE {}; EXPLAIN (COSTS OFF) /* pgwarden stage */ {command} {table}; ROLLBACK TO plan",
                identifier(acting)
            );
            match session.texts(&explain).await {
                Ok(lines) => plans.push(format!("{acting}: {}", lines.join("\n"))),
                Err(Failure::Server(error)) => {
                    session.read("ROLLBACK TO plan").await?;
                    plans.push(format!("{acting}: {}", error.sqlstate));
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(plans)
}
