//! How often each query was looked at, and how often it could not be: exact, and told at intervals.

use crate::Reporter;
use crate::catalog::Catalog;
use crate::coverage::{Coverage, Detector, Uncovered};
use crate::finding::Site;
use crate::queries::{Itself, Known};
use crate::writes::{Sight, sight};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::{Arc, Mutex, PoisonError};

const PARTS: usize = 16;

/// Counts, kept in parts so that sessions seldom wait for one another.
#[derive(Debug)]
pub struct Book {
    parts: [Mutex<Part>; PARTS],
}

/// By query, site, and what was known of the tables when it wrote.
type Part = HashMap<(u64, usize, usize), Page, BuildHasherDefault<Itself>>;

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
    /// What was known of the tables, where it may write.
    then: Option<Arc<Catalog>>,
    /// What triggers have seen of its executions.
    wrote: Vec<(Wrote, u64)>,
}

/// What came of one execution.
#[derive(Debug)]
pub(crate) struct Came {
    /// To the client.
    pub(crate) seen: Seen,
    /// To tables, where it may write; with what is known of them.
    pub(crate) wrote: Option<(Arc<Catalog>, Wrote)>,
}

/// What triggers have seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrote {
    /// Everything that they are there for.
    Whole,
    /// Some of the rows.
    Part,
    /// It has failed: the triggers of a statement fire at its end.
    Failed,
    /// Nobody hears what they say: behind a pooler they do not know whom to tell.
    Unheard,
}

/// What came of its rows.
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
    pub(crate) fn note(&self, session: usize, known: &Arc<Known>, site: &Arc<Site>, came: Came) {
        let Some(part) = self.parts.get(session % PARTS) else { return };
        let (then, wrote) = came.wrote.unzip();
        // The page keeps the catalog, so that no other one gets its address.
        let knew = then.as_ref().map_or(0, |catalog| Arc::as_ptr(catalog).addr());
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let page = part
            .entry((known.number, Arc::as_ptr(site).addr(), knew))
            .or_insert_with(|| Page::new(Arc::clone(known), Arc::clone(site), then));
        page.note(came.seen, wrote);
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
    fn new(known: Arc<Known>, site: Arc<Site>, then: Option<Arc<Catalog>>) -> Self {
        Self { known, site, executed: 0, rows: Vec::new(), unseen: Vec::new(), then, wrote: Vec::new() }
    }

    fn note(&mut self, seen: Seen, wrote: Option<Wrote>) {
        self.executed += 1;
        match seen {
            Seen::Nothing => (),
            Seen::Rows(tables) => count(&mut self.rows, tables),
            Seen::Not(reason) => count(&mut self.unseen, reason),
        }
        if let Some(wrote) = wrote {
            count(&mut self.wrote, wrote);
        }
    }

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
        let Some(then) = &self.then else { return };
        let why = match sight(self.known.doing(), then, catalog) {
            Sight::Nothing if self.known.is_opaque() => Some(Uncovered::Unread),
            Sight::Nothing => return,
            Sight::Whole => None,
            Sight::Not(why) => Some(why),
        };
        for (wrote, count) in &self.wrote {
            let uncovered = match (why, wrote) {
                // Whatever it says, nothing came of it.
                (Some(Uncovered::Unread), Wrote::Failed) => wrote.uncovered(),
                _ => why.or(wrote.uncovered()),
            };
            say(Detector::Writes, &named, uncovered, *count);
        }
    }
}

impl Wrote {
    fn uncovered(self) -> Option<Uncovered> {
        match self {
            Self::Whole => None,
            Self::Part => Some(Uncovered::NotSampled),
            Self::Failed => Some(Uncovered::Failed),
            Self::Unheard => Some(Uncovered::NoTrigger),
        }
    }
}

/// Counts one more of a sort.
fn count<T: PartialEq>(counts: &mut Vec<(T, u64)>, sort: T) {
    match counts.iter_mut().find(|(known, _)| *known == sort) {
        Some((_, count)) => *count += 1,
        None => counts.push((sort, 1)),
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
