//! Who has rights on a table with promoted policies, and is not bound by them.

use super::ask::Asked;
use super::report::{Finding, Severity};
use crate::stage::UNBOUND;
use crate::upstream::UpstreamError;

/// Roles that the policies of a promoted table leave out.
///
/// # Errors
/// As [`Asked::rows`].
pub(super) async fn look(asked: &mut Asked) -> Result<Vec<Finding>, UpstreamError> {
    let readable = "SELECT 1 WHERE has_table_privilege(to_regclass('pgwarden.staged')::oid, 'SELECT') \
                    AND has_schema_privilege('pgwarden', 'USAGE')";
    if asked.rows("SELECT to_regclass('pgwarden.staged')::oid").await?.concat().concat().is_empty()
        || asked.rows(readable).await?.is_empty()
    {
        return Ok(Vec::new());
    }
    let mut findings = Vec::new();
    for row in asked.rows(UNBOUND).await? {
        let [state, table, role, why, ..] = row.as_slice() else { continue };
        if state != "promoted" {
            continue;
        }
        findings.push(Finding {
            severity: Severity::Warning,
            kind: "table",
            object: table.clone(),
            message: format!("role {role} has rights on it, and its promoted policies do not bind it: {why}"),
            sql: None,
        });
    }
    Ok(findings)
}
