//! How often each query was looked at, and how often it could not be: exact, and told at intervals.

use crate::Reporter;
use crate::catalog::Catalog;
use crate::coverage::{Coverage, Detector, Uncovered};
use crate::finding::Site;
use crate::queries::{Itself, Known};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex, PoisonError};

const PARTS: usize = 16;

/// Counts, kept in parts so that sessions seldom wait for one another.
#[derive(Debug)]
pub struct Book {
    parts: [Mutex<Part>; PARTS],
}

type Part = HashMap<(u64, usize), Page, BuildHasherDefault<Itself>>;

/// One query at one site.
#[derive(Debug)]
struct Page {
    known: Arc<Known>,
    site: Arc<Site>,
    /// Executions: each is looked at for its context, and for a refusal by a policy.
    executed: u64,
    /// Results whose rows were looked at, by their tables.
    rows: Vec<(Arc<[String]>, u64)>,
    /// Results whose rows were not.
    unseen: Vec<(Uncovered, u64)>,
}

/// What came of one execution.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// It returns nothing, or nobody looks at rows.
    Nothing,
    /// The rows of these tables were looked at.
    Rows(Arc<[String]>),
    /// They could not be.
    Not(Uncovered),
}

impl Default for Book {
    fn default() -> Self {
        Self { parts: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Book {
    /// One execution, in a session that has this number.
    pub(crate) fn note(&self, session: usize, known: &Arc<Known>, site: &Arc<Site>, seen: &Seen) {
        let Some(part) = self.parts.get(session % PARTS) else { return };
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let page = part.entry((known.number, Arc::as_ptr(site).addr())).or_insert_with(|| Page {
            known: Arc::clone(known),
            site: Arc::clone(site),
            executed: 0,
            rows: Vec::new(),
            unseen: Vec::new(),
        });
        page.executed += 1;
        match seen {
            Seen::Nothing => (),
            Seen::Rows(tables) => match page.rows.iter_mut().find(|(known, _)| known == tables) {
                Some((_, count)) => *count += 1,
                None => page.rows.push((Arc::clone(tables), 1)),
            },
            Seen::Not(reason) => match page.unseen.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += 1,
                None => page.unseen.push((*reason, 1)),
            },
        }
    }

    /// Tells what was counted since the last time. `catalog` is that of a database. Texts that are new are parsed: this is
    /// for a thread with a deep stack.
    pub fn tell(&self, reporter: &dyn Reporter, catalog: impl Fn(&str) -> Arc<Catalog>) {
        for part in &self.parts {
            let pages = std::mem::take(&mut *part.lock().unwrap_or_else(PoisonError::into_inner));
            for page in pages.into_values() {
                let catalog = catalog(&page.site.database);
                page.tell(reporter, &catalog);
            }
        }
    }
}

impl Page {
    fn tell(&self, reporter: &dyn Reporter, catalog: &Catalog) {
        let named: Vec<String> = self.known.tables().iter().map(|name| full_name(name, catalog)).collect();
        let say = |detector, tables: &[String], uncovered, count| {
            if count > 0 {
                let (query, site) = (Arc::clone(&self.known.query), Site::clone(&self.site));
                reporter.covered(Coverage {
                    query,
                    site,
                    tables: tables.to_vec(),
                    detector,
                    uncovered,
                    count,
                });
            }
        };
        say(Detector::Context, &named, None, self.executed);
        say(Detector::Denied, &named, None, self.executed);
        for (tables, count) in &self.rows {
            say(Detector::Rows, tables, None, *count);
            // Of a join, only those tables are seen whose tenant columns are in the result.
            let is_tenants = |name: &&String| {
                catalog.relations().any(|one| one.tenant.is_some() && one.full_name() == **name)
            };
            let rest: Vec<String> =
                named.iter().filter(|name| !tables.contains(name)).filter(is_tenants).cloned().collect();
            if !rest.is_empty() {
                say(Detector::Rows, &rest, Some(Uncovered::NoTenantColumn), *count);
            }
        }
        for (reason, count) in &self.unseen {
            say(Detector::Rows, &named, Some(*reason), *count);
        }
    }
}

/// A name as reports have it: with the schema, where only one is meant.
fn full_name(name: &str, catalog: &Catalog) -> String {
    if name.contains('.') {
        return name.to_owned();
    }
    if catalog.named("public", name).is_some() {
        return format!("public.{name}");
    }
    let mut found = catalog.relations().filter(|relation| relation.name == name);
    match (found.next(), found.next()) {
        (Some(relation), None) => relation.full_name(),
        _ => name.to_owned(),
    }
}
