//! `pgwarden promote` and `demote`: policies are put in force, and out of it, all those of a command together.

use super::administrator::Administrator;
use super::arguments::Move;
use super::catalog::{self, Relation, StagedTable};
use super::closure::{Graph, UNBOUND};
use super::command::{in_session, remark};
use super::failure::{Failure, Told};
use super::gate;
use super::lock;
use super::plan::entry;
use super::through::Traffic;
use super::withdraw::chosen;
use pgwarden_shadow::policy::{Change, OPEN, Policy, Switch, identifier, literal};
use serde_json::json;
use std::collections::BTreeSet;
use std::process::ExitCode;

/// Puts what is staged in force.
///
/// # Errors
/// The exit code.
pub(crate) fn promote(flags: &Move) -> Result<(), ExitCode> {
    in_session(&flags.whom, async |session| {
        let rows = chosen(session, &flags.tables).await?;
        if let Some(row) = rows.iter().find(|row| row.state == "refused") {
            return Err(Failure::refused(
                format!("{} could not be staged", row.label),
                row.reason.clone().unwrap_or_default(),
                "Name the other tables.",
            ));
        }
        let rows: Vec<StagedTable> = rows.into_iter().filter(|row| row.state == "staged").collect();
        if rows.is_empty() {
            remark(session, "nothing to promote: all of it is in force already");
            return Ok(());
        }
        let forced = answered_for(flags)?;
        let labels: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        gate::pass(&labels, &session.database, flags, forced).await?;
        closed(session, &rows).await?;
        moved(session, (&rows, flags), Direction::Promote).await?;
        for row in session.read(UNBOUND).await.unwrap_or_default() {
            if let [Some(state), Some(table), Some(role), Some(why), ..] = row.as_slice()
                && state == "promoted"
            {
                remark(session, &format!("note: {table}: role {role} is not bound: {why}"));
            }
        }
        Ok(())
    })
}

/// Puts what was promoted out of force, exactly.
///
/// # Errors
/// The exit code.
pub(crate) fn demote(flags: &Move) -> Result<(), ExitCode> {
    in_session(&flags.whom, async |session| {
        let rows = chosen(session, &flags.tables).await?;
        let rows: Vec<StagedTable> = rows.into_iter().filter(|row| row.state == "promoted").collect();
        if rows.is_empty() {
            remark(session, "nothing to demote: none of it is in force");
            return Ok(());
        }
        if flags.force && flags.through.is_none() && !session.only_prints() {
            return Err(Failure::caller(
                "--force needs --through",
                "It ends sessions of that pgwarden, and only that knows which are its own. Without --force, the command says \
                 who is in the way.",
            ));
        }
        moved(session, (&rows, flags), Direction::Demote).await
    })
}

fn answered_for(flags: &Move) -> Result<Option<&str>, Failure> {
    match (flags.force, flags.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty())) {
        (true, None) => Err(Failure::caller("--force needs --reason", "Say why: it is recorded.")),
        (true, reason) => Ok(reason),
        (false, _) => Ok(None),
    }
}

/// Refuses what would leave a policy relying on one that is not in force, or never end.
async fn closed(session: &mut Administrator, rows: &[StagedTable]) -> Result<(), Failure> {
    let graph = Graph::read(session).await?;
    let chosen: BTreeSet<u32> = rows.iter().map(|row| row.oid).collect();
    let missing = graph.missing(&chosen);
    if !missing.is_empty() {
        let names: Vec<&str> = rows.iter().map(|row| row.label.as_str()).collect();
        return Err(Failure::refused(
            format!("the policies of {} rely on those of other tables", names.join(", ")),
            format!(
                "Not in force yet, and read by them: {}. Without those, they would let too much through.",
                missing.join(", ")
            ),
            format!("pgwarden promote {} {}", names.join(" "), missing.join(" ")),
        ));
    }
    let concerned = rows.iter().find_map(|row| graph.recursion(row.oid));
    concerned.map_or(Ok(()), |line| {
        Err(Failure::refused("every query would fail", line, "Mend the migration, and stage it again."))
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Promote,
    Demote,
}

/// One transaction for all tables.
async fn moved(
    session: &mut Administrator,
    (rows, flags): (&[StagedTable], &Move),
    direction: Direction,
) -> Result<(), Failure> {
    let oids: Vec<u32> = rows.iter().map(|row| row.oid).collect();
    let relations = catalog::relations(session, &oids).await?;
    let tables: Vec<String> = relations.iter().map(Relation::sql).collect();
    if session.only_prints() {
        let statements = statements(rows, &relations, (direction, flags))?;
        return session.change(&statements).await;
    }
    let traffic = Traffic::of(flags, &session.database)?;
    let begun = match (direction, flags.force) {
        (Direction::Demote, true) => begin_by_force(session, &tables, (flags, &traffic)).await,
        _ => lock::begin_holding(session, &tables, flags.whom.patience, &traffic).await,
    };
    let done = match begun {
        Ok(()) => under_lock(session, (rows, &oids), flags, direction).await,
        Err(failure) => Err(failure),
    };
    traffic.release().await;
    done?;
    for row in rows {
        let word = if direction == Direction::Promote { "in force" } else { "not in force any more, staged" };
        remark(session, &format!("{}: {word}", row.label));
    }
    Ok(())
}

/// What may have changed since the command began is read again: now nobody else can change it.
async fn under_lock(
    session: &mut Administrator,
    (rows, oids): (&[StagedTable], &[u32]),
    flags: &Move,
    direction: Direction,
) -> Result<(), Failure> {
    let relations = catalog::relations(session, oids).await;
    let statements = match relations {
        Ok(relations) => statements(rows, &relations, (direction, flags)),
        Err(failure) => Err(failure),
    };
    match statements {
        Ok(statements) => lock::finish(session, &statements).await,
        Err(failure) => {
            session.read("ROLLBACK").await?;
            Err(failure)
        }
    }
}

/// Ends the sessions of the pgwarden of `--through` that hold the tables, and no other: which these are it says itself.
async fn begin_by_force(
    session: &mut Administrator,
    tables: &[String],
    (flags, traffic): (&Move, &Traffic),
) -> Result<(), Failure> {
    let shortest = flags.whom.patience.min(std::time::Duration::from_millis(300));
    match lock::begin_holding(session, tables, shortest, traffic).await {
        Err(Failure::Locked(_)) => (),
        done => return done,
    }
    let own: Vec<String> = traffic.hold().await?.iter().map(ToString::to_string).collect();
    let names: Vec<String> = tables.iter().map(|table| literal(table)).collect();
    let query = format!(
        "SELECT DISTINCT a.pid, format('process %s (user %s, %s)', a.pid, a.usename, a.state) FROM pg_locks l \
         JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.granted AND l.locktype = 'relation' \
         AND a.datname = current_database() AND l.database = a.datid AND a.pid = ANY ('{{{}}}'::int[]) \
         AND l.relation IN (SELECT to_regclass(t)::oid FROM unnest(ARRAY[{}]::text[]) t)",
        own.join(","),
        names.join(", ")
    );
    // One by one: a condition that ends sessions would be asked of those that the others exclude.
    for row in session.read(&query).await? {
        let [Some(process), Some(line)] = row.as_slice() else { continue };
        session.read(&format!("SELECT pg_terminate_backend({process})")).await?;
        remark(session, &format!("ended: {line}"));
    }
    lock::begin_holding(session, tables, flags.whom.patience, traffic).await
}

fn statements(
    rows: &[StagedTable],
    relations: &[Relation],
    (direction, flags): (Direction, &Move),
) -> Result<Vec<String>, Failure> {
    let mut statements = Vec::new();
    for row in rows {
        let Some(relation) = relations.iter().find(|relation| relation.oid == row.oid) else {
            return Err(Failure::refused(
                format!("{} is not there any more", row.label),
                "",
                "pgwarden unstage removes what is remembered of it.",
            ));
        };
        match direction {
            Direction::Promote => statements.extend(in_force(row, relation)?),
            Direction::Demote => statements.extend(out_of_force(row, relation)),
        }
    }
    let labels: Vec<String> = rows.iter().map(|row| row.label.clone()).collect();
    let step = if direction == Direction::Promote { "promote" } else { "demote" };
    let policies: Vec<&str> =
        rows.iter().flat_map(|row| row.change.created.iter().map(|policy| policy.name.as_str())).collect();
    let how = if flags.force { "forced" } else { "verdict" };
    let detail = json!({ "policies": policies, "by": how });
    statements.push(entry(step, &labels, flags.reason.as_deref(), &detail));
    Ok(statements)
}

/// What puts a table's policies in force, if they are those that were looked at.
fn in_force(row: &StagedTable, relation: &Relation) -> Result<Vec<String>, Failure> {
    if let Some(changed) = changed(row, relation) {
        return Err(Failure::Refused(changed));
    }
    let mut statements = promotion(&row.change, relation, &relation.staged);
    statements.push(state(row, "promoted"));
    Ok(statements)
}

/// What is not any more as it was when it was staged.
pub(super) fn changed(row: &StagedTable, relation: &Relation) -> Option<Told> {
    let label = &row.label;
    if relation.today != row.today {
        return Some(Told::new(
            format!("{label} has other policies than when it was staged"),
            "What was found since then was found with those.",
            "Stage it again, and let the detectors run.",
        ));
    }
    if relation.staged.is_empty() {
        return Some(Told::new(format!("{label} has no staged policies any more"), "", "Stage it again."));
    }
    let is_known = !row.made.is_empty();
    (is_known && relation.made != row.made).then(|| {
        Told::new(
            format!("the staged policies of {label} are not those that were staged"),
            "Somebody has changed, added or dropped one: what was found was found with others.",
            "Stage it again, and let the detectors run.",
        )
    })
}

/// What the migration does to a table on which policies of these names are staged.
pub(super) fn promotion(change: &Change, relation: &Relation, staged: &[String]) -> Vec<String> {
    let table = relation.sql();
    let mut statements = Vec::new();
    if staged.iter().any(|name| name == OPEN) {
        statements.push(drop(OPEN, &table));
    }
    statements.extend(change.dropped.iter().map(|name| drop(name, &table)));
    statements.extend(change.created.iter().flat_map(|policy| policy.create(&table)));
    if let Some(force) = change.force.filter(|force| *force != relation.today.forced) {
        statements.push(forced(&table, force));
    }
    statements
}

/// What undoes that.
fn out_of_force(row: &StagedTable, relation: &Relation) -> Vec<String> {
    let table = relation.sql();
    let today = &row.today.policies;
    let mut statements: Vec<String> =
        row.change.created.iter().map(|policy| drop(&policy.name, &table)).collect();
    let back = |policy: &&Policy| row.change.dropped.contains(&policy.name);
    for policy in today.iter().filter(back) {
        statements.push(drop(&policy.name, &table));
        statements.extend(policy.create(&table));
    }
    if row.today.enabled == Switch::Off && !relation.staged.iter().any(|name| name == OPEN) {
        statements.push(format!("CREATE POLICY {OPEN} ON {table} USING (true) WITH CHECK (true)"));
    }
    if relation.today.forced != row.today.forced {
        statements.push(forced(&table, row.today.forced));
    }
    statements.push(state(row, "staged"));
    statements
}

fn drop(policy: &str, table: &str) -> String {
    format!("DROP POLICY IF EXISTS {} ON {table}", identifier(policy))
}

fn forced(table: &str, force: Switch) -> String {
    let word = if force == Switch::On { "FORCE" } else { "NO FORCE" };
    format!("ALTER TABLE {table} {word} ROW LEVEL SECURITY")
}

fn state(row: &StagedTable, state: &str) -> String {
    format!(
        "UPDATE pgwarden.staged SET state = {}, at = clock_timestamp(), by_user = session_user WHERE relation::oid = {}",
        literal(state),
        row.oid
    )
}
