//! `pgwarden stage`.

use super::administrator::{Administrator, Effect};
use super::arguments::{Stage, Triggers, Whom};
use super::catalog::{self, StagedTable};
use super::failure::Failure;
use super::plan::{self, Planned};
use super::roles::{self, ShadowRole};
use super::{closure, install, lock, moved, neutral, preflight, source};
use crate::{BAD_SYSTEM, cli, complain, observer, say, settings};
use pgwarden_shadow::policy::Weight;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

/// What is missing where nobody says who the observer is.
const UNOBSERVED: &str = "note: no observer is named: say with --observer as whom pgwarden looks (shadow.observer.user). Without \
     the rights that it gets, nothing is replayed, and no pgwarden hears of what is staged";

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
    let left_out = in_session(&flags.whom, async |session| stage_in(session, flags).await)?;
    if flags.writes == Triggers::Install {
        triggers(flags)?;
    }
    if left_out == 0 { Ok(()) } else { Err(ExitCode::from(LEFT_OUT)) }
}

/// Installs the triggers that look at writes, on everything that is staged by now.
fn triggers(flags: &Stage) -> Result<(), ExitCode> {
    let whom = &flags.whom;
    if whom.dry_run {
        say(
            "-- the triggers that look at writes, for what is staged already; those of other tables are made of what \
             staging makes: pgwarden writes install --sql prints them then\n",
        );
    }
    let writes = cli::Writes {
        tables: Vec::new(),
        config: whom.config.clone(),
        url: whom.url.clone(),
        database: None,
        sql: if whom.dry_run { cli::Form::Sql } else { cli::Form::Done },
    };
    observer::command::install_staged(&writes, flags.sources.setting.as_deref())
}

/// How many tables, and statements about policies, could not be staged.
async fn stage_in(session: &mut Administrator, flags: &Stage) -> Result<usize, Failure> {
    let pending = source::pending(session, &flags.sources).await?;
    for one in &pending.unread {
        let (word, more) = match one.weight {
            Weight::Aside => ("note", ""),
            // Without --drops, the command does not get here.
            Weight::Drops => ("note", "; --drops says which"),
            Weight::Policies => ("left out", ""),
        };
        remark(session, &format!("{word}: {}, line {}: {}{more}", pending.source, one.line, one.why));
    }
    let before = catalog::staged(session).await?;
    let roles = prepare(session, flags, &pending).await?;
    let unread = pending.unread.iter().filter(|one| one.weight == Weight::Policies);
    let unread: Vec<String> = unread.map(|one| format!("line {}: {}", one.line, one.why)).collect();
    let mut left_out = unread.len();
    // A dry run has no schema to read from, unless something was staged before.
    let graph = match session.text("SELECT to_regclass('pgwarden.staged')").await?.is_empty() {
        true => None,
        false => Some(closure::Graph::read(session).await?),
    };
    let owners: Vec<&str> =
        roles.iter().flat_map(|role| role.acting.acts.iter().map(String::as_str)).collect();
    let are_bound = roles.iter().all(|role| role.acting.attributes.is_empty());
    for (relation, mut change) in pending.tables {
        if before.iter().any(|row| row.oid == relation.oid && row.state == "promoted") {
            remark(
                session,
                &format!("{}: promoted already; demote it first to stage it anew", relation.label()),
            );
            continue;
        }
        if are_bound {
            source::force(&mut change, &relation, &owners);
        }
        let words = (pending.source.clone(), unread.clone());
        let enable = flags.enable_rls.into();
        let planned = plan::plan((relation, change), words, (&roles, graph.as_ref()), enable).await?;
        left_out += usize::from(!table(session, (planned, &before), &roles, flags.whom.patience).await?);
    }
    conclude(session, &roles).await?;
    Ok(left_out)
}

/// Makes what staging needs: the schema, the shadow roles and their rights, the functions of the migration.
async fn prepare(
    session: &mut Administrator,
    flags: &Stage,
    pending: &source::Pending,
) -> Result<Vec<ShadowRole>, Failure> {
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
    Ok(roles)
}

/// Says what has to be known besides.
async fn conclude(session: &mut Administrator, roles: &[ShadowRole]) -> Result<(), Failure> {
    for line in preflight::of_roles(roles).iter().map(String::as_str).chain([preflight::BLOCKED]) {
        remark(session, line);
    }
    if !session.only_prints() {
        let graph = closure::Graph::read(session).await?;
        graph.recursions().iter().for_each(|line| remark(session, &format!("blocker: {line}")));
        graph.doubts().iter().for_each(|line| remark(session, &format!("note: {line}")));
    }
    Ok(())
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
        (None, None) => {
            remark(session, UNOBSERVED);
            Ok(Vec::new())
        }
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
