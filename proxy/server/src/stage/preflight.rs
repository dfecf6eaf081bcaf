//! What has to be known before anything is staged.

use super::administrator::Administrator;
use super::failure::Failure;
use super::plan::Planned;
use super::roles::{Rights, ShadowRole};
use pgwarden_shadow::policy::Switch;

/// What is switched on with row level security, although everything is permitted.
const ENABLED: &str = "row level security is switched on. The application notices: COPY FROM fails for who does not own \
     the table; errors of unique and foreign keys come without the values in DETAIL; readers with row_security = off \
     (pg_dump) fail unless they own the table or have BYPASSRLS; estimates for operators that are not leakproof change";

/// What the application cannot do any more.
pub(crate) const BLOCKED: &str = "note: as long as policies are staged, DROP COLUMN and ALTER COLUMN … TYPE fail for the columns that they \
     name (2BP01, 0A000): unstage first";

/// About the application's roles.
pub(crate) fn of_roles(roles: &[ShadowRole]) -> Vec<String> {
    let mut lines = Vec::new();
    for role in roles {
        let acting = &role.acting;
        lines.extend(acting.bypasses().map(|why| format!("blocker: {why}")));
        if role.rights == Rights::Copied {
            lines.push(format!(
                "note: role \"{}\" owns tables, so \"{}\" has copies of its rights: stage again after GRANT or \
                 CREATE TABLE. promote forces row level security on its tables",
                acting.name, role.shadow.role
            ));
        }
    }
    lines
}

/// About a table.
///
/// # Errors
/// As [`Administrator::read`].
pub(crate) async fn of_table(session: &mut Administrator, planned: &Planned) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    if planned.work.is_err() {
        return Ok(lines);
    }
    if planned.relation.today.enabled == Switch::Off {
        lines.push(ENABLED.to_owned());
    }
    let query = format!(
        "SELECT DISTINCT v.oid::regclass::text FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid \
         JOIN pg_class v ON v.oid = r.ev_class WHERE d.classid = 'pg_rewrite'::regclass \
         AND d.refclassid = 'pg_class'::regclass AND d.refobjid = {} AND v.oid <> d.refobjid AND v.relkind IN ('v', 'm') \
         AND NOT coalesce('security_invoker=true' = ANY (v.reloptions) OR 'security_invoker=on' = ANY (v.reloptions), \
         false) ORDER BY 1",
        planned.relation.oid
    );
    let views = session.texts(&query);
    for view in views.await? {
        lines.push(format!(
            "note: view {view} reads the table with its owner's rights: policies for the caller are not asked there, \
             neither staged nor promoted"
        ));
    }
    Ok(lines)
}
