//! `pgwarden unstage`: what was staged is taken away, and with the last of it what it needed.

use super::administrator::Administrator;
use super::arguments::{Tables, Unstage};
use super::catalog::{self, StagedTable};
use super::command::{in_session, remark};
use super::failure::Failure;
use super::lock;
use super::plan::entry;
use pgwarden_shadow::policy::{OPEN, identifier, literal};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// Takes away what was staged.
///
/// # Errors
/// The exit code.
pub(crate) fn unstage(flags: &Unstage) -> Result<(), ExitCode> {
    in_session(&flags.whom, async |session| {
        let rows = chosen(session, &flags.tables).await?;
        for row in &rows {
            take_away(session, row, flags.whom.patience).await?;
        }
        if flags.tables.all {
            forget(session).await?;
        }
        Ok(())
    })
}

/// The rows of the tables that are named.
///
/// # Errors
/// [`Failure::Caller`] when one of them is not staged.
pub(crate) async fn chosen(
    session: &mut Administrator,
    tables: &Tables,
) -> Result<Vec<StagedTable>, Failure> {
    let rows = catalog::staged(session).await?;
    if tables.all {
        return Ok(rows);
    }
    let mut chosen = Vec::new();
    for name in &tables.tables {
        let oid = catalog::find(session, name, None).await?;
        let Some(row) = rows.iter().find(|row| row.oid == oid) else {
            return Err(Failure::caller(
                format!("nothing is staged for {name}"),
                "pgwarden staged lists what is.",
            ));
        };
        chosen.push(row.clone());
    }
    Ok(chosen)
}

async fn take_away(
    session: &mut Administrator,
    row: &StagedTable,
    patience: Duration,
) -> Result<(), Failure> {
    if row.state == "promoted" {
        return Err(Failure::refused(
            format!("the policies of {} are in force", row.label),
            "To take away what is staged would leave them without a way back.",
            format!("pgwarden demote {}", row.label),
        ));
    }
    let mut statements = Vec::new();
    let relation = catalog::relations(session, &[row.oid]).await?.into_iter().next();
    if let Some(relation) = &relation {
        let table = relation.sql();
        // First what everybody would notice, had it gone before what keeps the table open.
        if relation.staged.iter().any(|name| name == OPEN) {
            statements.push(format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"));
        }
        let drop = |name: &String| format!("DROP POLICY IF EXISTS {} ON {table}", identifier(name));
        statements.extend(relation.staged.iter().map(drop));
    }
    statements.push(format!("DELETE FROM pgwarden.staged WHERE relation::oid = {}", row.oid));
    statements.push(entry(
        "unstage",
        std::slice::from_ref(&row.label),
        None,
        &json!({ "source": row.source }),
    ));
    if session.only_prints() {
        return session.change(&statements).await;
    }
    let tables: Vec<String> = relation
        .iter()
        .filter(|relation| !relation.staged.is_empty())
        .map(|relation| relation.sql())
        .collect();
    lock::begin(session, &tables, patience).await?;
    lock::finish(session, &statements).await?;
    remark(session, &format!("{}: not staged any more", row.label));
    Ok(())
}

/// Takes away what nothing staged needs any more; what something else needs stays, and is named.
async fn forget(session: &mut Administrator) -> Result<(), Failure> {
    if session.text("SELECT to_regclass('pgwarden.helper')").await?.is_empty() {
        return Ok(());
    }
    for signature in session.texts("SELECT signature FROM pgwarden.helper ORDER BY signature").await? {
        let row = literal(&signature);
        let is_gone = session.text(&format!("SELECT to_regprocedure({row})")).await?.is_empty();
        let mut statements = vec![format!("DELETE FROM pgwarden.helper WHERE signature = {row}")];
        if !is_gone {
            statements.insert(0, format!("DROP ROUTINE {signature}"));
        }
        let dropped = session.change(&statements).await;
        unless_needed(session, &format!("function {signature}"), dropped)?;
    }
    for role in session.texts("SELECT role FROM pgwarden.shadow_role ORDER BY role").await? {
        let quoted = identifier(&role);
        let statements = [
            format!("DROP OWNED BY {quoted}"),
            format!("DELETE FROM pgwarden.shadow_role WHERE role = {}", literal(&role)),
            format!("DROP ROLE {quoted}"),
        ];
        let dropped = session.change(&statements).await;
        unless_needed(session, &format!("role {role}"), dropped)?;
    }
    Ok(())
}

fn unless_needed(session: &Administrator, what: &str, done: Result<(), Failure>) -> Result<(), Failure> {
    match done {
        Err(Failure::Server(error)) if error.sqlstate == "2BP01" => {
            remark(session, &format!("{what} stays: something else needs it"));
            Ok(())
        }
        done => done,
    }
}
