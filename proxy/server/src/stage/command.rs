//! `pgwarden stage`, `staged` and `unstage`.

use super::administrator::{Administrator, Effect};
use super::arguments::{Stage, Staged, Tables, Unstage, Whom};
use super::catalog::{self, StagedTable};
use super::failure::Failure;
use super::plan::{self, Planned, entry};
use super::roles::{self, ShadowRole};
use super::{closure, install, lock, moved, neutral, preflight, source};
use crate::{BAD_SYSTEM, cli, complain, say, settings};
use pgwarden_shadow::policy::{Weight, identifier};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// Something could not be staged, and is named.
const LEFT_OUT: u8 = 1;

/// Runs a command in a session of its own.
///
/// # Errors
/// The exit code, after the reason was printed.
pub(crate) fn in_session<T>(
    whom: &Whom,
    work: impl AsyncFnOnce(&mut Administrator) -> Result<T, Failure>,
) -> Result<T, ExitCode> {
    let settings = settings::load_for_server(whom.config.clone(), whom.url.as_deref())?;
    let configured = match (&whom.config, &whom.url) {
        (None, Some(_)) => None,
        (Some(_), Some(_)) => Some(settings::load(&cli::Settings::of_file(whom.config.clone()))?),
        (_, None) => Some(settings.clone()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        complain(&format_args!("pgwarden: {error}"));
        ExitCode::from(BAD_SYSTEM)
    })?;
    let effect = if whom.dry_run { Effect::Printed } else { Effect::Made };
    let done = runtime.block_on(async {
        let mut session = Administrator::open(&settings, effect).await?;
        session.configured = configured;
        work(&mut session).await
    });
    done.map_err(|failure| {
        complain(&format_args!("pgwarden: {failure}"));
        ExitCode::from(failure.exit_code())
    })
}

/// Stages.
///
/// # Errors
/// The exit code.
pub(crate) fn stage(flags: &Stage) -> Result<(), ExitCode> {
    match in_session(&flags.whom, async |session| stage_in(session, flags).await)? {
        0 => Ok(()),
        _ => Err(ExitCode::from(LEFT_OUT)),
    }
}

/// How many tables could not be staged.
async fn stage_in(session: &mut Administrator, flags: &Stage) -> Result<usize, Failure> {
    let pending = source::pending(session, flags).await?;
    for one in &pending.unread {
        let word = if one.weight == Weight::Aside { "note" } else { "left out" };
        remark(session, &format!("{word}: {}, line {}: {}", pending.source, one.line, one.why));
    }
    let before = catalog::staged(session).await?;
    let promoted = |oid: u32| before.iter().any(|row| row.oid == oid && row.state == "promoted");
    let relations: Vec<_> = pending.tables.iter().map(|(relation, _)| relation.clone()).collect();
    let created = pending.tables.iter().flat_map(|(_, change)| &change.created);
    let listed: BTreeSet<String> = created.flat_map(|policy| policy.roles.iter().cloned()).collect();
    let acting = roles::acting(session, &flags.app, (&relations, &listed)).await?;
    let roles = roles::shadows(session, acting, &relations).await?;
    let mut setup = install::schema(session).await?;
    setup.extend(roles::make(session, &roles).await?);
    setup.extend(observer(session, flags, &roles).await?);
    session.change(&setup).await?;
    roles::verify(session).await?;
    install::helpers(session, &pending.helpers).await?;
    let owners: Vec<&str> =
        roles.iter().flat_map(|role| role.acting.acts.iter().map(String::as_str)).collect();
    let mut left_out = pending.unread.iter().filter(|one| one.weight == Weight::Policies).count();
    for (relation, mut change) in pending.tables {
        if promoted(relation.oid) {
            remark(
                session,
                &format!("{}: promoted already; demote it first to stage it anew", relation.label()),
            );
            continue;
        }
        if roles.iter().all(|role| role.acting.attributes.is_empty()) {
            source::force(&mut change, &relation, &owners);
        }
        let source = pending.source.clone();
        let planned = plan::plan((relation, change, source), &roles, flags.enable_rls).await?;
        left_out += usize::from(!table(session, (planned, &before), &roles, flags.whom.patience).await?);
    }
    for line in preflight::of_roles(&roles).iter().map(String::as_str).chain([preflight::BLOCKED]) {
        remark(session, line);
    }
    if !session.only_prints() {
        let graph = closure::Graph::read(session).await?;
        graph.recursions().iter().for_each(|line| remark(session, &format!("blocker: {line}")));
        graph.doubts().iter().for_each(|line| remark(session, &format!("left out: {line}")));
    }
    Ok(left_out)
}

/// What the observer needs: the one that is named, or that of the configuration unless it is the application itself.
async fn observer(
    session: &mut Administrator,
    flags: &Stage,
    roles: &[ShadowRole],
) -> Result<Vec<String>, Failure> {
    let configured = session.configured.as_ref().and_then(|settings| settings.shadow.observer.as_ref());
    let configured = configured.map(|observer| observer.user.clone());
    match (&flags.observer, configured) {
        (Some(named), _) => roles::admit(session, named, roles).await,
        (None, Some(user)) if roles.iter().any(|role| role.acting.name == user) => {
            remark(
                session,
                &format!(
                    "note: the observer logs in as \"{user}\", which is the application: nothing can be replayed. \
                     Give shadow.observer.user a login of its own"
                ),
            );
            Ok(Vec::new())
        }
        (None, Some(user)) => roles::admit(session, &user, roles).await,
        (None, None) => Ok(Vec::new()),
    }
}

/// Says something about the work: beside the SQL, where that is what is printed.
pub(crate) fn remark(session: &Administrator, line: &str) {
    match session.only_prints() {
        true => say(&format!("-- {line}\n")),
        false => say(&format!("{line}\n")),
    }
}

/// Stages one table; whether it is staged.
async fn table(
    session: &mut Administrator,
    (mut planned, before): (Planned, &[StagedTable]),
    roles: &[ShadowRole],
    patience: Duration,
) -> Result<bool, Failure> {
    let label = planned.relation.label();
    if planned.is_done(before) {
        match &planned.work {
            Ok(_) => remark(session, &format!("{label}: staged already")),
            Err(reason) => remark(session, &format!("{label}: not staged: {reason}")),
        }
        return Ok(planned.work.is_ok());
    }
    for line in preflight::of_table(session, &planned).await? {
        remark(session, &format!("{label}: {line}"));
    }
    if planned.work.is_ok()
        && let Err(reason) = carry_out(session, &planned, roles, patience).await?
    {
        planned.work = Err(reason);
    }
    if let Err(reason) = &planned.work {
        remark(session, &format!("{label}: not staged: {reason}"));
        // Only what is remembered of it changes, and what was staged before goes.
        let tables =
            if planned.relation.staged.is_empty() { Vec::new() } else { vec![planned.relation.sql()] };
        if session.only_prints() {
            session.change(&planned.statements()).await?;
        } else {
            lock::begin(session, &tables, patience).await?;
            lock::finish(session, &planned.statements()).await?;
        }
        return Ok(false);
    }
    remark(session, &format!("{label}: staged"));
    Ok(true)
}

/// The table's transaction; a reason comes back where the server, or the look at the plans, is against it.
async fn carry_out(
    session: &mut Administrator,
    planned: &Planned,
    roles: &[ShadowRole],
    patience: Duration,
) -> Result<Result<(), String>, Failure> {
    let statements = planned.statements();
    if session.only_prints() {
        session.change(&statements).await?;
        return Ok(Ok(()));
    }
    lock::begin(session, &[planned.relation.sql()], patience).await?;
    let before = neutral::plans(session, &planned.relation, roles).await?;
    // What will put the policies in force is tried as well: it must not fail on the day.
    let names = planned.work.as_ref().map(|work| work.names.as_slice()).unwrap_or_default();
    let trial = moved::promotion(&planned.change, &planned.relation, names).join(";\n");
    let trial =
        if trial.is_empty() { trial } else { format!(";\nSAVEPOINT trial;\n{trial};\nROLLBACK TO trial") };
    match session.read(&format!("{}{trial}", statements.join(";\n"))).await {
        Ok(_) => (),
        // What the expressions name does not exist, or is not of the right type: other tables can be staged.
        Err(Failure::Server(error)) if error.sqlstate.starts_with("42") && error.sqlstate != "42501" => {
            session.read("ROLLBACK").await?;
            return Ok(Err(format!(
                "the server refuses the policies: {} ({})",
                error.message, error.sqlstate
            )));
        }
        Err(failure @ Failure::Server(_)) => {
            session.read("ROLLBACK").await?;
            return Err(failure);
        }
        Err(failure) => return Err(failure),
    }
    let after = neutral::plans(session, &planned.relation, roles).await?;
    if before != after {
        session.read("ROLLBACK").await?;
        return Ok(Err("the application's own plans would not be what they were".to_owned()));
    }
    session.read("COMMIT").await?;
    Ok(Ok(()))
}

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
        if relation.staged.iter().any(|name| name == pgwarden_shadow::policy::OPEN) {
            statements.push(format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY"));
        }
        let drop = |name: &String| format!("DROP POLICY IF EXISTS {} ON {table}", identifier(name));
        statements.extend(relation.staged.iter().map(drop));
    }
    statements.push(format!("DELETE FROM pgwarden.staged WHERE relation::oid = {}", row.oid));
    statements.push(entry("unstage", &[row.label.clone()], None, &json!({ "source": row.source })));
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
        let row = pgwarden_shadow::policy::literal(&signature);
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
            format!(
                "DELETE FROM pgwarden.shadow_role WHERE role = {}",
                pgwarden_shadow::policy::literal(&role)
            ),
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

/// Shows what is staged and promoted.
///
/// # Errors
/// The exit code.
pub(crate) fn staged(flags: &Staged) -> Result<(), ExitCode> {
    in_session(&flags.whom, async |session| {
        let rows = catalog::staged(session).await?;
        say(&if flags.json { as_json(&rows) } else { as_table(&rows) });
        Ok(())
    })
}

fn as_json(rows: &[StagedTable]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({ "table": row.label, "state": row.state, "source": row.source, "reason": row.reason,
                    "at": row.at, "by": row.by_user, "change": row.change })
        })
        .collect();
    format!("{}\n", serde_json::to_string_pretty(&rows).unwrap_or_default())
}

fn as_table(rows: &[StagedTable]) -> String {
    let widest = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
    let mut page = String::new();
    for row in rows {
        let about = row.reason.as_deref().unwrap_or(&row.source);
        let _fits = writeln!(page, "{:<widest$}  {:<8}  {}  {about}", row.label, row.state, row.at);
    }
    let count = |state: &str| rows.iter().filter(|row| row.state == state).count();
    let _fits = writeln!(
        page,
        "{} staged, {} promoted, {} could not be staged",
        count("staged"),
        count("promoted"),
        count("refused")
    );
    page
}
