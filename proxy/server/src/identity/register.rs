//! The books of the memory: what is about whom, what was remembered first, and what is being searched for.

use crate::identity::fingerprint::{Key, Tag};
use crate::identity::memory::{Found, Hearing, Memory};
use crate::identity::search::Searching;
use dashmap::DashMap;
use pgwarden_tenant::Standing;
use std::collections::{HashMap, HashSet, VecDeque};

/// How much longer than needed an order may be before it is tidied up.
const SLACK: usize = 1_024;

type Entries = DashMap<Key, Found>;

/// The books.
#[derive(Debug)]
pub(super) struct Register {
    /// Whether changes are heard of.
    pub(super) hearing: Hearing,
    /// What is being searched for.
    pub(super) searches: HashMap<Key, Searching>,
    files: HashMap<Key, File>,
    about: HashMap<Tag, HashSet<Key>>,
    granted: Order,
    denied: Order,
    last: u64,
}

/// What the books say about one entry.
#[derive(Debug)]
struct File {
    number: u64,
    kind: Kind,
    tags: Vec<Tag>,
}

/// Grants and denials have orders of their own: who makes up tokens drives nobody out who has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Granted,
    Denied,
}

/// What was remembered, the first in front; some of it is forgotten by now.
#[derive(Debug, Default)]
struct Order {
    queue: VecDeque<(u64, Key)>,
    alive: usize,
}

impl Register {
    /// Empty books.
    pub(super) fn new(hearing: Hearing) -> Self {
        Self {
            hearing,
            searches: HashMap::new(),
            files: HashMap::new(),
            about: HashMap::new(),
            granted: Order::default(),
            denied: Order::default(),
            last: 0,
        }
    }

    /// Everything that the books are made of, counted.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let Self { searches, files, about, granted, denied, .. } = self;
        searches.len() + files.len() + about.len() + granted.queue.len() + denied.queue.len()
    }

    /// Forgets what is about this one, and lets searches know.
    pub(super) fn forget(&mut self, entries: &Entries, tag: &Tag) {
        for key in self.about.remove(tag).unwrap_or_default() {
            self.close(entries, &key);
        }
        self.searches.values_mut().for_each(|searching| searching.misses(Some(*tag)));
    }

    /// Forgets whatever there is, and lets searches know.
    pub(super) fn forget_everything(&mut self, entries: &Entries) {
        entries.iter().for_each(|found| found.withdraw());
        entries.clear();
        self.files.clear();
        self.about.clear();
        (self.granted, self.denied) = (Order::default(), Order::default());
        self.searches.values_mut().for_each(|searching| searching.misses(None));
    }

    /// Remembers what was found, in place of what was known before, and forgets what has to make room.
    pub(super) fn remember(&mut self, memory: &Memory, key: Key, found: (Vec<Tag>, Found), now: u64) {
        let (tags, found) = found;
        self.close(&memory.entries, &key);
        self.last += 1;
        let (number, kind) = (self.last, Kind::of(&found));
        for tag in &tags {
            self.about.entry(*tag).or_default().insert(key);
        }
        self.files.insert(key, File { number, kind, tags });
        memory.entries.insert(key, found);
        let order = self.order(kind);
        order.queue.push_back((number, key));
        order.alive += 1;
        self.make_room(memory, kind, now);
    }

    /// Forgets what came first while there is too much, and on the way whatever does not hold any more.
    fn make_room(&mut self, memory: &Memory, kind: Kind, now: u64) {
        while let Some((number, key)) = self.order(kind).queue.front().copied() {
            let is_alive = self.is_alive(number, &key);
            let holds = is_alive && memory.entries.get(&key).is_some_and(|found| found.holds(now));
            if holds && self.order(kind).alive <= memory.bounds.entries {
                break;
            }
            self.order(kind).queue.pop_front();
            if is_alive {
                self.close(&memory.entries, &key);
            }
        }
        let order = self.order(kind);
        if order.queue.len() > 2 * order.alive + SLACK {
            let mut queue = std::mem::take(&mut order.queue);
            queue.retain(|(number, key)| self.is_alive(*number, key));
            self.order(kind).queue = queue;
        }
    }

    fn is_alive(&self, number: u64, key: &Key) -> bool {
        self.files.get(key).is_some_and(|file| file.number == number)
    }

    /// Forgets one entry; its place in the order is found to be empty later.
    fn close(&mut self, entries: &Entries, key: &Key) {
        let Some(file) = self.files.remove(key) else { return };
        self.order(file.kind).alive -= 1;
        for tag in &file.tags {
            if let Some(keys) = self.about.get_mut(tag) {
                keys.remove(key);
                if keys.is_empty() {
                    self.about.remove(tag);
                }
            }
        }
        if let Some((_, found)) = entries.remove(key) {
            found.withdraw();
        }
    }

    fn order(&mut self, kind: Kind) -> &mut Order {
        match kind {
            Kind::Granted => &mut self.granted,
            Kind::Denied => &mut self.denied,
        }
    }
}

impl Kind {
    fn of(found: &Found) -> Self {
        match found {
            Found::Granted(_) => Self::Granted,
            Found::Denied(..) => Self::Denied,
        }
    }
}

impl Found {
    fn holds(&self, now: u64) -> bool {
        match self {
            Self::Granted(grant) => grant.standing(now) == Standing::Good,
            Self::Denied(_, since, until) => (*since..*until).contains(&now),
        }
    }
}
