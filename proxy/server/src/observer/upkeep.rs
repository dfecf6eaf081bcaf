//! Keeps the triggers that look at writes what the policies say.

use crate::lookup::LookupError;
use crate::observer::script;
use crate::upstream::{Credentials, Server};
use pgwarden_config::Settings;
use pgwarden_shadow::writes::{self, NotInstalled};
use pgwarden_shadow::{Catalog, Relation, Triggers};
use std::collections::HashMap;
use std::sync::Arc;

/// What triggers are to know; [`writes::Terms`] with an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    context: Vec<String>,
    rows: u32,
}

/// What has to be done about a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// The triggers are to be made, or made anew.
    Install(String),
    /// They are to be taken away: they would not tell the truth any more.
    Remove(String, NotInstalled),
}

/// Makes triggers anew when the policies change, and gives partitions theirs.
#[derive(Debug)]
pub(super) struct Upkeep {
    terms: Arc<Terms>,
    place: (Arc<Server>, Credentials, String),
    /// What was tried in vain, so that it is said once and not tried at each look.
    in_vain: HashMap<u32, Work>,
}

impl Terms {
    /// As the configuration has it.
    pub(super) fn of(settings: &Settings) -> Self {
        let context = settings.context.variables.iter().map(|variable| variable.name.clone()).collect();
        Self { context, rows: settings.shadow.writes.rows }
    }

    /// The same; where no configuration says what holds the context, this setting does.
    pub(super) fn or(mut self, setting: &str) -> Self {
        if self.context.is_empty() {
            self.context.push(setting.to_owned());
        }
        self
    }

    /// The script that installs the triggers of a table, with its digest.
    pub(super) fn install(&self, table: &Relation) -> Result<(String, String), NotInstalled> {
        let context: Vec<&str> = self.context.iter().map(String::as_str).collect();
        let (script, digest) = writes::install(table, writes::Terms { context: &context, rows: self.rows })?;
        Ok((format!("CREATE SCHEMA IF NOT EXISTS pgwarden;\n{script}"), digest))
    }

    /// The digest of what the triggers of a table would run if they were made now; `None` where there can be none.
    pub(super) fn digest(&self, table: &Relation) -> Option<String> {
        self.install(table).ok().map(|(_, digest)| digest)
    }

    /// What has to be done about a table whose triggers were installed once, or whose root's were.
    fn work(&self, table: &Relation, catalog: &Catalog) -> Option<Work> {
        let root = table.root.and_then(|root| catalog.relation(root));
        let is_wanted = match &table.writes {
            Triggers::Installed(_) | Triggers::Outdated(_) => true,
            Triggers::Missing => root.is_some_and(|root| root.writes.are_there()),
            // Somebody has switched them off.
            Triggers::Disabled => false,
        };
        match (self.install(table), &table.writes) {
            _ if !is_wanted => None,
            (Ok((_, wanted)), Triggers::Installed(digest)) if *digest == wanted => None,
            (Ok((script, _)), _) => Some(Work::Install(script)),
            (Err(why), found) if found.are_there() => {
                Some(Work::Remove(writes::remove(table.oid, Some(table)), why))
            }
            (Err(_), _) => None,
        }
    }
}

impl Upkeep {
    /// Nothing was tried yet.
    pub(super) fn new(terms: Arc<Terms>, place: (Arc<Server>, Credentials, String)) -> Self {
        Self { terms, place, in_vain: HashMap::new() }
    }

    /// Notes which triggers run something else than the policies say now.
    pub(super) fn outdate(&self, catalog: &mut Catalog) {
        catalog.outdate(|table| self.terms.digest(table));
    }

    /// Does what has to be done about the tables of a catalog. Returns whether anything was done.
    pub(super) async fn keep(&mut self, catalog: &Catalog) -> Done {
        let mut done = Done::Nothing;
        for table in catalog.relations() {
            let Some(work) = self.terms.work(table, catalog) else {
                self.in_vain.remove(&table.oid);
                continue;
            };
            if self.in_vain.get(&table.oid) == Some(&work) {
                continue;
            }
            let name = table.full_name();
            match self.perform(&work).await {
                Ok(()) => {
                    done = Done::Something;
                    match &work {
                        Work::Install(_) => {
                            tracing::info!(table = name, "writes are looked at with the policies of now");
                        }
                        Work::Remove(_, why) => {
                            tracing::warn!(table = name, %why, "writes are not looked at any more");
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        table = name, %error,
                        "the triggers do not fit the policies any more; see \"pgwarden writes install\""
                    );
                    self.in_vain.insert(table.oid, work);
                }
            }
        }
        done
    }

    async fn perform(&self, work: &Work) -> Result<(), LookupError> {
        let (Work::Install(script) | Work::Remove(script, _)) = work;
        let (server, login, database) = &self.place;
        script::run(server, login, database, script).await
    }
}

/// Whether triggers were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Nothing,
    Something,
}
