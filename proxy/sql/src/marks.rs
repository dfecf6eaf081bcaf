//! What a statement mentions anywhere in it, found word by word.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use crate::lexer::Literal;

/// Longer constants are taken for dotted without a look.
const LOOKED_AT: usize = 256;

/// A set of things that a statement mentions; each is a superset of what PostgreSQL would act on.
///
/// Names in string literals do not count: they can only act through dynamic SQL, see [`Marks::BODY`] and
/// [`string_literals`](crate::string_literals).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Marks(u16);

impl Marks {
    /// The name `set_config`, plain in any case, quoted or `U&`-escaped.
    pub const SET_CONFIG: Self = Self(1);
    /// Something temporary is made: `CREATE TEMP …`, `SELECT … INTO TEMP …`, or the schema `pg_temp` is named.
    pub const TEMPORARY: Self = Self(1 << 1);
    /// A function that takes a session-level advisory lock.
    pub const ADVISORY_LOCK: Self = Self(1 << 2);
    /// The function `setseed`.
    pub const SETSEED: Self = Self(1 << 3);
    /// The functions `lastval` and `currval`, which read what the session did before.
    pub const SEQUENCE_STATE: Self = Self(1 << 4);
    /// The statement can name a relation; without this mark it cannot.
    pub const RELATION: Self = Self(1 << 5);
    /// The statement carries code as text: a dollar-quoted string, `DO`, `CREATE FUNCTION` or `CREATE PROCEDURE`.
    pub const BODY: Self = Self(1 << 6);
    /// A function that gives session-level advisory locks back.
    pub const ADVISORY_UNLOCK: Self = Self(1 << 7);
    /// A function that runs SQL given to it as text, such as `query_to_xml`.
    pub const RUNS_TEXT: Self = Self(1 << 8);
    /// The view `pg_settings`, whose UPDATE sets parameters.
    pub const SETTINGS: Self = Self(1 << 9);
    /// Something is called that is not among the best known functions of PostgreSQL.
    pub const CALLS: Self = Self(1 << 10);
    /// A string constant that may hold a dotted name.
    pub const DOTTED: Self = Self(1 << 11);
    /// The word TEMP or TEMPORARY; resolved to [`Marks::TEMPORARY`] or dropped when the statement ends.
    pub(crate) const TEMP_WORD: Self = Self(1 << 15);

    const NAMES: [(Self, &'static str); 12] = [
        (Self::SET_CONFIG, "SET_CONFIG"),
        (Self::TEMPORARY, "TEMPORARY"),
        (Self::ADVISORY_LOCK, "ADVISORY_LOCK"),
        (Self::SETSEED, "SETSEED"),
        (Self::SEQUENCE_STATE, "SEQUENCE_STATE"),
        (Self::RELATION, "RELATION"),
        (Self::BODY, "BODY"),
        (Self::ADVISORY_UNLOCK, "ADVISORY_UNLOCK"),
        (Self::RUNS_TEXT, "RUNS_TEXT"),
        (Self::SETTINGS, "SETTINGS"),
        (Self::CALLS, "CALLS"),
        (Self::DOTTED, "DOTTED"),
    ];

    /// The empty set.
    #[must_use]
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in this set.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is marked.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in this set, in `other`, or in both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The marks of an unquoted word: keywords and names.
    #[inline]
    pub(crate) fn of_word(word: &[u8]) -> Self {
        match (word.len(), fold(word)) {
            (4, FROM | JOIN | INTO | ONLY | COPY)
            | (5, USING | TABLE | MERGE)
            | (6, UPDATE)
            | (8, TRUNCATE) => Self::RELATION,
            (4, TEMP) => Self::TEMP_WORD,
            (7 | 10 | 11 | 16.., _) => Self::of_name(word),
            (9, _) if is_one_of(word, [b"temporary"]) => Self::TEMP_WORD,
            _ => Self::empty(),
        }
    }

    /// The marks of a name, quoted or not. Quoted names count in any case: a superset costs less than a rule.
    pub(crate) fn of_name(name: &[u8]) -> Self {
        match name.len() {
            7 if is_one_of(name, [b"pg_temp"]) => Self::TEMPORARY,
            7 if is_one_of(name, [b"lastval", b"currval"]) => Self::SEQUENCE_STATE,
            7 if is_one_of(name, [b"setseed"]) => Self::SETSEED,
            8.. if name.get(..8).is_some_and(|start| is_one_of(start, [b"pg_temp_"])) => Self::TEMPORARY,
            10 if is_one_of(name, [b"set_config"]) => Self::SET_CONFIG,
            11 if is_one_of(name, [b"pg_settings"]) => Self::SETTINGS,
            16 if is_one_of(name, [b"pg_advisory_lock"]) => Self::ADVISORY_LOCK,
            18 if is_one_of(name, [b"pg_advisory_unlock"]) => Self::ADVISORY_UNLOCK,
            20 if is_one_of(name, [b"pg_try_advisory_lock"]) => Self::ADVISORY_LOCK,
            22 if is_one_of(name, [b"pg_advisory_unlock_all"]) => Self::ADVISORY_UNLOCK,
            23 if is_one_of(name, [b"pg_advisory_lock_shared"]) => Self::ADVISORY_LOCK,
            25 if is_one_of(name, [b"pg_advisory_unlock_shared"]) => Self::ADVISORY_UNLOCK,
            27 if is_one_of(name, [b"pg_try_advisory_lock_shared"]) => Self::ADVISORY_LOCK,
            _ => Self::empty(),
        }
    }
}

/// The marks of a string constant, as written: one with a dot, or with an escape that may stand for one.
#[inline]
pub(crate) fn of_constant(kind: Literal, text: &[u8]) -> Marks {
    let may_be_dotted = kind == Literal::Unicode
        || text.len() > LOOKED_AT
        || text.iter().any(|byte| matches!(byte, b'.' | b'\\'));
    if may_be_dotted { Marks::DOTTED } else { Marks::empty() }
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for Marks {
    fn bitor_assign(&mut self, other: Self) {
        *self = self.union(other);
    }
}

impl fmt::Debug for Marks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(mark, _)| self.contains(*mark)).map(|(_, name)| *name);
        formatter.debug_set().entries(names).finish()
    }
}

const FROM: u64 = fold(b"from");
const JOIN: u64 = fold(b"join");
const INTO: u64 = fold(b"into");
const ONLY: u64 = fold(b"only");
const COPY: u64 = fold(b"copy");
const TEMP: u64 = fold(b"temp");
const USING: u64 = fold(b"using");
const TABLE: u64 = fold(b"table");
const MERGE: u64 = fold(b"merge");
const UPDATE: u64 = fold(b"update");
const TRUNCATE: u64 = fold(b"truncate");

/// The first and the last four bytes in lower case: together with the length, all of a word of four to eight letters.
///
/// Setting the bit 0x20 turns capitals into small letters and nothing else that a word may hold into a letter.
#[inline]
pub(crate) const fn fold(word: &[u8]) -> u64 {
    match (word.first_chunk::<4>(), word.last_chunk::<4>()) {
        (Some([a, b, c, d]), Some([e, f, g, h])) => {
            u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) | 0x2020_2020_2020_2020
        }
        _ => 0,
    }
}

#[inline]
fn is_one_of<const LENGTH: usize, const COUNT: usize>(word: &[u8], names: [&[u8; LENGTH]; COUNT]) -> bool {
    let Some(word) = word.first_chunk::<LENGTH>() else { return false };
    names.iter().any(|name| word.eq_ignore_ascii_case(name.as_slice()))
}
