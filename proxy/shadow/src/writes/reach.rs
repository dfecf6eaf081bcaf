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
    followed: BTreeSet<u32>,
    /// It reads what policies may hide, or nobody can tell.
    reads: Option<Uncovered>,
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
        let (written, called, followed) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut reach = Reach { catalog, written, called, followed, reads: None };
        reach.statement(doing, Uncovered::ReadsElsewhere);
        reach
    });
    let reads = before.reads.max(after.reads);
    let is_bare = |reach: &Reach<'_>| reach.written.is_empty();
    if is_bare(&before) && is_bare(&after) {
        let reads = reads.filter(|_| !then.shadow_roles.is_empty());
        return reads.map_or(Sight::Nothing, Sight::Not);
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
    reads.map_or(Sight::Whole, Sight::Not)
}

impl<'a> Reach<'a> {
    fn reads(&mut self, why: Uncovered) {
        self.reads = self.reads.max(Some(why));
    }

    /// A statement of the text, or of a function; what it reads is not seen for this reason.
    fn statement(&mut self, doing: &Doing, why: Uncovered) {
        doing.writings.iter().for_each(|writing| self.write(writing));
        for read in &doing.reads {
            let meant = self.catalog.meant(read.schema.as_deref(), &read.name);
            let is_common = read.schema.is_none() && doing.common.contains(&read.name);
            // What is not known may be a temporary table, or one that is new.
            let hides = if meant.is_empty() { !is_common } else { meant.iter().any(|one| one.may_hide()) };
            if hides {
                self.reads(why);
            }
        }
        doing.calls.iter().for_each(|name| self.call(name));
    }

    fn write(&mut self, writing: &Writing) {
        match writing.command {
            // TRUNCATE asks no policy.
            WritingCommand::Truncate => return,
            // A row that is hidden may be inserted once more, and nothing that triggers get tells of it.
            WritingCommand::Merge => self.reads(Uncovered::ReadsElsewhere),
            _ => (),
        }
        let catalog = self.catalog;
        for relation in catalog.meant(writing.schema.as_deref(), &writing.table) {
            let parts = catalog.relations().filter(|part| part.root == Some(relation.oid));
            for one in parts.chain([relation]) {
                self.run_besides(one);
                if !matches!(writing.command, WritingCommand::Insert | WritingCommand::InsertOrSkip) {
                    self.follow(one.oid);
                }
            }
            if relation.may_hide() || relation.tenant.is_some() {
                self.written.insert(relation.oid, relation);
            }
        }
    }

    /// What runs when the table is written to, whoever does it.
    fn run_besides(&mut self, relation: &'a Relation) {
        relation.besides.calls.iter().for_each(|name| self.call(name));
        if relation.besides.rules {
            self.reads(Uncovered::FunctionReads);
        }
    }

    /// The tables to which referential actions write, when a row of this one goes or changes. No policy stops an action, but
    /// the triggers behind it run as whoever has begun it.
    fn follow(&mut self, oid: u32) {
        let catalog = self.catalog;
        for child in catalog.relations().filter(|child| child.besides.follows.contains(&oid)) {
            if self.followed.insert(child.oid) {
                self.run_besides(child);
                self.follow(child.oid);
            }
        }
    }

    fn call(&mut self, name: &str) {
        if runs_text(name.as_bytes()) {
            self.reads(Uncovered::FunctionReads);
        }
        let catalog = self.catalog;
        for function in catalog.functions(name) {
            if self.called.insert(&function.name) {
                match function.act() {
                    Some(act) => self.act(act),
                    None => self.reads(Uncovered::FunctionReads),
                }
            }
        }
    }

    fn act(&mut self, act: &Act) {
        let names = &act.rest.names;
        if self.catalog.relations().any(|one| one.may_hide() && names.contains(&one.name)) {
            self.reads(Uncovered::FunctionReads);
        }
        act.writing.iter().for_each(|doing| self.statement(doing, Uncovered::FunctionReads));
        act.rest.called.iter().for_each(|name| self.call(name));
    }
}
