//! How far the triggers see what a statement does that writes: they see the rows that it writes, and not what it reads to
//! find them, nor what functions read on the way.

use crate::catalog::{Act, Catalog, Relation, Triggers};
use crate::coverage::Uncovered;
use pgwarden_sql::{Doing, Writing, WritingCommand, runs_text};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Whether what a statement writes was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It writes to nothing that policies are staged for, or might be.
    Nothing,
    /// All of it was.
    Whole,
    /// It was not, or not all of it.
    Not(Uncovered),
}

/// What a statement reaches.
struct Reach<'a> {
    catalog: &'a Catalog,
    /// The tables that it writes to, with those of its functions.
    written: BTreeMap<u32, &'a Arc<Relation>>,
    called: BTreeSet<&'a str>,
    /// It reads what policies may hide, or nobody can tell.
    reads: bool,
}

/// How far it was looked at: `then` is the catalog when it ran, and `now` the latest. A trigger that both know has been
/// there in between.
///
/// The first call for a function parses it: this is for a thread with a deep stack.
#[must_use]
pub(crate) fn sight(doing: Option<&Doing>, then: &Catalog, now: &Catalog) -> Sight {
    let Some(doing) = doing else { return Sight::Not(Uncovered::Unread) };
    if doing.writings.is_empty() {
        return Sight::Nothing;
    }
    let [before, after] = [then, now].map(|catalog| {
        let mut reach = Reach { catalog, written: BTreeMap::new(), called: BTreeSet::new(), reads: false };
        reach.statement(doing);
        reach
    });
    let reads = before.reads || after.reads;
    let is_bare = |reach: &Reach<'_>| reach.written.is_empty();
    if is_bare(&before) && is_bare(&after) {
        return if reads && !then.shadow_roles.is_empty() {
            Sight::Not(Uncovered::ReadsElsewhere)
        } else {
            Sight::Nothing
        };
    }
    if doing.writings.iter().any(|writing| writing.command == WritingCommand::Copy) {
        return Sight::Not(Uncovered::Copy);
    }
    let is_watched = |(oid, relation): (&u32, &&Arc<Relation>)| {
        let is_installed = matches!(relation.writes, Triggers::Installed(_));
        is_installed && before.written.get(oid).is_some_and(|earlier| earlier.writes == relation.writes)
    };
    if !after.written.iter().all(is_watched) || before.written.len() > after.written.len() {
        return Sight::Not(Uncovered::NoTrigger);
    }
    if reads { Sight::Not(Uncovered::ReadsElsewhere) } else { Sight::Whole }
}

impl<'a> Reach<'a> {
    fn statement(&mut self, doing: &Doing) {
        doing.writings.iter().for_each(|writing| self.write(writing));
        for read in &doing.reads {
            let meant = self.catalog.meant(read.schema.as_deref(), &read.name);
            let is_common = read.schema.is_none() && doing.common.contains(&read.name);
            // What is not known may be a temporary table, or one that is new.
            self.reads |= if meant.is_empty() { !is_common } else { meant.iter().any(|one| one.may_hide()) };
        }
        doing.calls.iter().for_each(|name| self.call(name));
    }

    fn write(&mut self, writing: &Writing) {
        match writing.command {
            // TRUNCATE asks no policy.
            WritingCommand::Truncate => return,
            // A row that is hidden may be inserted once more, and nothing that triggers get tells of it.
            WritingCommand::Merge => self.reads = true,
            _ => (),
        }
        let catalog = self.catalog;
        for relation in catalog.meant(writing.schema.as_deref(), &writing.table) {
            let parts = catalog.relations().filter(|part| part.root == Some(relation.oid));
            for one in parts.chain([relation]) {
                one.besides.calls.iter().for_each(|name| self.call(name));
                self.reads |= one.besides.rules;
            }
            if relation.may_hide() || relation.tenant.is_some() {
                self.written.insert(relation.oid, relation);
            }
        }
    }

    fn call(&mut self, name: &str) {
        self.reads |= runs_text(name.as_bytes());
        let catalog = self.catalog;
        for function in catalog.functions(name) {
            if self.called.insert(&function.name) {
                match function.act() {
                    Some(act) => self.act(act),
                    None => self.reads = true,
                }
            }
        }
    }

    fn act(&mut self, act: &Act) {
        let names = &act.rest.names;
        self.reads |= self.catalog.relations().any(|one| one.may_hide() && names.contains(&one.name));
        act.writing.iter().for_each(|doing| self.statement(doing));
        act.rest.called.iter().for_each(|name| self.call(name));
    }
}
