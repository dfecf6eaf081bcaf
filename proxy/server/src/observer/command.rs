//! `pgwarden writes`: installs the triggers that look at writes, takes them away, and says where they are.

use crate::causes::WithCauses;
use crate::loaded::{self, Purpose};
use crate::lookup::{Line, LookupError, Question};
use crate::meters::Meters;
use crate::observer::upkeep::Terms;
use crate::observer::{LONGEST, rule, script};
use crate::upstream::{Credentials, Server};
use crate::{BAD_CONFIGURATION, BAD_SYSTEM, NO_ANSWER, cli, complain, refuse, say, settings};
use pgwarden_shadow::writes::remove;
use pgwarden_shadow::{Catalog, LOOK, Relation, Triggers};
use std::fmt::{Display, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Something was not done.
const NOT_DONE: u8 = 1;
/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What policies read where no configuration says it: what staging takes then.
const SETTING: &str = "app.current_org_id";

/// Triggers whose table is gone leave their functions behind.
const LEFT_BEHIND: &str = "SELECT DISTINCT pg_catalog.substring(p.proname, '[0-9]+$')
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = 'pgwarden' AND p.proname ~ '^writes_([a-z]+_)?[0-9]+$'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c
                      WHERE c.oid::pg_catalog.text = pg_catalog.substring(p.proname, '[0-9]+$'))";

/// The server, as whoever runs the command.
struct Place {
    server: Arc<Server>,
    login: Credentials,
    database: String,
    terms: Terms,
    rules: Vec<pgwarden_shadow::TenantRule>,
}

/// Installs, removes, or tells.
///
/// # Errors
/// The exit code.
pub(crate) fn run(command: &cli::WritesCommand) -> Result<(), ExitCode> {
    let (cli::WritesCommand::Install(flags)
    | cli::WritesCommand::Remove(flags)
    | cli::WritesCommand::Status(flags)) = command;
    let place = Place::of(flags, SETTING)?;
    place.done(async |place, catalog| {
        let tables = chosen(catalog, &flags.tables)?;
        Ok(match command {
            cli::WritesCommand::Install(flags) => place.install(&tables, flags.sql).await,
            cli::WritesCommand::Remove(flags) => place.remove(&tables, flags.sql).await,
            cli::WritesCommand::Status(_) => {
                say(&status(&tables, &place.terms));
                0
            }
        })
    })
}

/// Installs them on all tables with staged policies, for whoever has just staged these; `setting` is what they read.
///
/// # Errors
/// The exit code.
pub(crate) fn install_staged(flags: &cli::Writes, setting: Option<&str>) -> Result<(), ExitCode> {
    let place = Place::of(flags, setting.unwrap_or(SETTING))?;
    place.done(async |place, catalog| {
        let tables: Vec<&Relation> =
            chosen(catalog, &[])?.into_iter().filter(|table| table.is_staged()).collect();
        Ok(place.install(&tables, flags.sql).await)
    })
}

impl Place {
    fn of(flags: &cli::Writes, setting: &str) -> Result<Self, ExitCode> {
        let settings = settings::load_for_owner(flags.config.clone(), flags.url.as_deref())?;
        let loaded = loaded::load(&settings, Purpose::Check).map_err(|mistakes| refuse(&mistakes))?;
        let Some(user) = settings.upstream.user.clone() else {
            return Err(stop(
                &"upstream.url names no user: say with --url who owns the tables",
                BAD_CONFIGURATION,
            ));
        };
        let database = flags.database.clone().or_else(|| settings.upstream.database.clone());
        let server =
            Server::new(&settings.upstream, loaded.connector, &settings.tcp, Arc::new(Meters::new()));
        Ok(Self {
            server: Arc::new(server),
            database: database.unwrap_or_else(|| user.clone()),
            login: Credentials { user, secret: loaded.upstream_secret, keys: None },
            terms: Terms::of(&settings).or(setting),
            rules: settings.shadow.tenant_columns.iter().map(rule).collect(),
        })
    }

    /// Looks at the catalog, and does this with it; it says how many tables it was not done for.
    fn done(
        &self,
        work: impl AsyncFnOnce(&Self, &Catalog) -> Result<usize, ExitCode>,
    ) -> Result<(), ExitCode> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| stop(&error, BAD_SYSTEM))?;
        runtime.block_on(async {
            let catalog = self.look().await.map_err(|error| stop(&WithCauses(&error), NO_ANSWER))?;
            let undone = work(self, &catalog).await?;
            if undone == 0 { Ok(()) } else { Err(ExitCode::from(NOT_DONE)) }
        })
    }

    fn line(&self) -> Line {
        let line = Line::new(Arc::clone(&self.server), self.login.clone(), self.database.clone(), PATIENCE);
        line.of_at_most(1).reading(LONGEST)
    }

    async fn look(&self) -> Result<Catalog, LookupError> {
        let rows = self.line().ask(Question { sql: LOOK, values: &[""], rows: 1 }).await?;
        let document = rows.into_iter().next().and_then(|row| row.into_iter().nth(1)).flatten();
        let unreadable = || LookupError::Answer("the answer is no document".to_owned());
        Catalog::read(&document.ok_or_else(unreadable)?, &self.rules)
            .map_err(|error| LookupError::Answer(error.to_string()))
    }

    async fn install(&self, tables: &[&Relation], form: cli::Form) -> usize {
        let mut undone = 0;
        for table in tables {
            let name = table.full_name();
            match self.terms.install(table) {
                Ok((script, _)) => undone += self.perform(&name, &script, form, "installed").await,
                Err(why) => {
                    complain(&format_args!("{name}: not installed: {why}"));
                    undone += 1;
                }
            }
        }
        undone
    }

    async fn remove(&self, tables: &[&Relation], form: cli::Form) -> usize {
        let mut undone = 0;
        for table in tables {
            let script = remove(table.oid, Some(table));
            undone += self.perform(&table.full_name(), &script, form, "removed").await;
        }
        let left = self.line().ask(Question { sql: LEFT_BEHIND, values: &[], rows: 1000 }).await;
        for row in left.unwrap_or_default() {
            let oid = row.into_iter().next().flatten().and_then(|text| text.parse::<u32>().ok());
            if let Some(oid) = oid {
                undone += self.perform("a table that is gone", &remove(oid, None), form, "removed").await;
            }
        }
        undone
    }

    /// Runs the script or prints it; returns how many were not done.
    async fn perform(&self, name: &str, script: &str, form: cli::Form, done: &str) -> usize {
        if form == cli::Form::Sql {
            say(&format!("-- {name}\n{script}\n"));
            return 0;
        }
        match script::run(&self.server, &self.login, &self.database, script).await {
            Ok(()) => {
                say(&format!("{name}: {done}\n"));
                0
            }
            Err(error) => {
                complain(&format_args!("{name}: not {done}: {}", WithCauses(&error)));
                1
            }
        }
    }
}

/// The tables that were named, or all for which policies are staged, or that have triggers.
fn chosen<'a>(catalog: &'a Catalog, named: &[String]) -> Result<Vec<&'a Relation>, ExitCode> {
    let mut tables: Vec<&Relation> = Vec::new();
    for name in named {
        let (schema, table) = name.split_once('.').unwrap_or(("public", name));
        match catalog.named(schema, table) {
            Some(found) => tables.push(found),
            None => return Err(stop(&format_args!("there is no table {schema}.{table}"), NOT_DONE)),
        }
    }
    if named.is_empty() {
        let concerned = |table: &&Relation| table.is_staged() || table.writes != Triggers::Missing;
        tables = catalog.relations().map(|table| &**table).filter(concerned).collect();
        tables.sort_by_key(|table| (&table.schema, &table.name));
    }
    Ok(tables)
}

fn status(tables: &[&Relation], terms: &Terms) -> String {
    let mut page = String::new();
    for table in tables {
        let state = match (&table.writes, terms.install(table)) {
            (Triggers::Installed(digest), Ok((_, wanted))) if *digest == wanted => "installed".to_owned(),
            (Triggers::Installed(_) | Triggers::Outdated(_), Ok(_)) => {
                "installed, with other policies than there are now".to_owned()
            }
            (Triggers::Installed(_) | Triggers::Outdated(_), Err(why)) => {
                format!("installed, and should not be: {why}")
            }
            (Triggers::Disabled, _) => "disabled".to_owned(),
            (Triggers::Missing, Ok(_)) => "not installed".to_owned(),
            (Triggers::Missing, Err(why)) => format!("not installed: {why}"),
        };
        let _fits = writeln!(page, "{}: {state}", table.full_name());
    }
    if page.is_empty() { "no table has staged policies\n".to_owned() } else { page }
}

fn stop(error: &dyn Display, code: u8) -> ExitCode {
    complain(&format_args!("pgwarden: {error}"));
    ExitCode::from(code)
}
