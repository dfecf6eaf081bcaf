//! What is known of statements: their fingerprints, their texts without literals, and what they do. Read once by text where
//! a statement is prepared, and once by fingerprint in any case.

use crate::finding::{Command, Query};
use pgwarden_sql::{Doing, Normaliser, Statement, StringSyntax, Verb, doing, fingerprint};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Longer texts are known by their fingerprints alone.
const LONGEST_TEXT: usize = 16 * 1024;
/// Statements that are known at most, in each of the parts of the memory.
const MOST_KNOWN: usize = 1_024;
const PARTS: usize = 16;

/// One statement, the same for all texts that differ in nothing but literals.
#[derive(Debug)]
pub struct Known {
    /// Its fingerprint as a number.
    pub number: u64,
    /// How it is called in findings.
    pub query: Arc<Query>,
    /// What it does.
    pub command: Command,
    /// What it does to the session.
    pub verb: Verb,
    /// A text that was sent, until somebody has read it.
    sample: Mutex<Option<Box<[u8]>>>,
    meaning: OnceLock<Meaning>,
}

/// What a statement says of tables.
#[derive(Debug, Default)]
struct Meaning {
    tables: Vec<String>,
    doing: Option<Doing>,
}

impl Known {
    fn new(number: u64, text: Option<String>, verb: Verb, sample: &[u8]) -> Self {
        let command = text.as_deref().map_or(Command::Other, |text| command(verb, text));
        let text = text.filter(|text| text.len() <= LONGEST_TEXT);
        let sample = Some(sample).filter(|sample| sample.len() <= LONGEST_TEXT);
        Self {
            number,
            query: Arc::new(Query { fingerprint: fingerprint(number), text }),
            command,
            verb,
            sample: Mutex::new(sample.map(Into::into)),
            meaning: OnceLock::new(),
        }
    }

    /// The tables that it names, as it names them: `schema.table`, or `table`. Empty where that cannot be told.
    ///
    /// The first call parses: it is for a thread with a deep stack.
    pub fn tables(&self) -> &[String] {
        &self.meaning().tables
    }

    /// What it does to tables; `None` where that cannot be told. As [`tables`](Self::tables).
    pub fn doing(&self) -> Option<&Doing> {
        self.meaning().doing.as_ref()
    }

    fn meaning(&self) -> &Meaning {
        self.meaning.get_or_init(|| {
            let sample = self.sample.lock().unwrap_or_else(PoisonError::into_inner).take();
            let text = sample.and_then(|sample| String::from_utf8(sample.into_vec()).ok());
            // Nearly every text without literals parses too.
            let Some(text) = text.or_else(|| self.query.text.clone()) else { return Meaning::default() };
            let relations = pgwarden_sql::user_relations(&text).unwrap_or_default();
            Meaning { tables: relations.iter().map(ToString::to_string).collect(), doing: doing(&text).ok() }
        })
    }

    /// Whether its text does not say what it does: what was prepared says it, or a body.
    #[must_use]
    pub(crate) fn is_opaque(&self) -> bool {
        matches!(self.verb, Verb::ExecutePrepared | Verb::Call | Verb::Do)
    }

    /// Whether it may change rows, so that it matters whether its transaction is committed.
    #[must_use]
    pub fn may_write(&self) -> bool {
        let is_with = || self.query.text.as_deref().is_none_or(|text| text.starts_with("with "));
        match self.command {
            Command::Insert | Command::Update | Command::Delete | Command::Merge | Command::Truncate => true,
            Command::Copy => self.verb == Verb::CopyFrom,
            Command::Select => is_with(),
            Command::Other => matches!(
                self.verb,
                Verb::Call
                    | Verb::Do
                    | Verb::ExecutePrepared
                    | Verb::Explain
                    | Verb::Unblockable
                    | Verb::Other
            ),
        }
    }
}

/// The statements of one text.
#[derive(Debug)]
pub struct Text {
    /// In order, the empty ones left out; one where the text cannot be read.
    pub statements: SmallVec<[Arc<Known>; 1]>,
    /// The comment at one of its ends.
    pub comment: Option<Box<[u8]>>,
}

impl Text {
    /// Of which nothing is known.
    pub(crate) fn unread() -> Self {
        Self { statements: SmallVec::new(), comment: None }
    }
}

/// All that is known, shared by all sessions.
#[derive(Debug)]
pub struct Queries {
    parts: [Mutex<Part>; PARTS],
}

type Part = HashMap<u64, Arc<Known>, BuildHasherDefault<Itself>>;

impl Default for Queries {
    fn default() -> Self {
        Self { parts: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Queries {
    /// Reads a text whose statements were told apart already.
    #[must_use]
    pub fn read(
        &self,
        text: &[u8],
        statements: Option<&[Statement]>,
        strings: StringSyntax,
        normaliser: &mut Normaliser,
    ) -> Text {
        let statements = match statements {
            Some(statements) => statements
                .iter()
                .map(|one| {
                    let own = text.get(one.span.clone()).unwrap_or_default();
                    self.statement(own, one.verb, strings, normaliser)
                })
                .collect(),
            None => SmallVec::from_elem(self.statement(text, Verb::Other, strings, normaliser), 1),
        };
        Text { statements, comment: crate::origin::comment(text).map(Into::into) }
    }

    fn statement(
        &self,
        text: &[u8],
        verb: Verb,
        strings: StringSyntax,
        normaliser: &mut Normaliser,
    ) -> Arc<Known> {
        let Some(number) = normaliser.read(text, strings) else {
            // What cannot be tokenised is one query, whatever it says: nothing of it is kept.
            return self.known(0, || Known::new(0, None, Verb::Other, b""));
        };
        self.known(number, || Known::new(number, normaliser.text(), verb, text))
    }

    fn known(&self, number: u64, make: impl FnOnce() -> Known) -> Arc<Known> {
        let part = usize::try_from(number % 16).unwrap_or_default();
        let Some(part) = self.parts.get(part) else { return Arc::new(make()) };
        let mut known = part.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&number) {
            return Arc::clone(found);
        }
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        let made = Arc::new(make());
        known.insert(number, Arc::clone(&made));
        made
    }
}

/// A fingerprint is a hash already.
#[derive(Debug, Default)]
pub(crate) struct Itself(u64);

impl Hasher for Itself {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }

    fn write_usize(&mut self, number: usize) {
        self.0 = self.0.rotate_left(32) ^ u64::try_from(number).unwrap_or_default();
    }

    fn finish(&self) -> u64 {
        // The map takes its parts from other bits than the memory its own.
        self.0.rotate_right(7).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// The command of a normalised text: behind WITH it is the first one outside of all parentheses.
fn command(verb: Verb, text: &str) -> Command {
    match verb {
        Verb::CopyFrom | Verb::CopyTo => return Command::Copy,
        Verb::Fetch => return Command::Select,
        Verb::Query | Verb::Other | Verb::SetConfig | Verb::Token => (),
        _ => return Command::Other,
    }
    if text.starts_with('(') {
        return Command::Select;
    }
    let mut depth = 0_usize;
    for word in text.split(' ') {
        let name = word.trim_start_matches('(');
        let opened = word.len() - name.len();
        let found = match name.split('(').next().unwrap_or_default() {
            "select" | "values" | "table" => Some(Command::Select),
            "insert" => Some(Command::Insert),
            "update" => Some(Command::Update),
            "delete" => Some(Command::Delete),
            "merge" => Some(Command::Merge),
            "truncate" => Some(Command::Truncate),
            _ => None,
        };
        match found {
            Some(found) if depth + opened == 0 => return found,
            None if depth == 0 && opened == 0 && verb == Verb::Other => return Command::Other,
            _ => (),
        }
        let opens = word.bytes().filter(|byte| *byte == b'(').count();
        let closes = word.bytes().filter(|byte| *byte == b')').count();
        depth = (depth + opens).saturating_sub(closes);
    }
    Command::Other
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgwarden_sql::analyse;

    fn read(queries: &Queries, text: &str) -> Text {
        let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("readable");
        let mut normaliser = Normaliser::default();
        queries.read(text.as_bytes(), Some(script.statements()), StringSyntax::Standard, &mut normaliser)
    }

    #[test]
    fn texts_that_differ_in_literals_are_one_query() {
        let queries = Queries::default();
        let [one, other] = ["SELECT * FROM t WHERE a = 1", "select * from T where a='x' -- here"]
            .map(|text| read(&queries, text));
        assert!(Arc::ptr_eq(&one.statements[0], &other.statements[0]));
        assert_eq!(one.statements[0].query.text.as_deref(), Some("select * from t where a = $1"));
        assert_eq!(one.statements[0].tables(), ["t"]);
    }

    #[test]
    fn a_text_has_as_many_queries_as_statements() {
        let text = read(&Queries::default(), "BEGIN; INSERT INTO a.t VALUES (1); COMMIT");
        let commands: Vec<Command> = text.statements.iter().map(|one| one.command).collect();
        assert_eq!(commands, [Command::Other, Command::Insert, Command::Other]);
        assert_eq!(text.statements[1].tables(), ["a.t"]);
    }

    #[test]
    fn the_command_is_found_behind_what_stands_in_front_of_it() {
        for (text, expected) in [
            ("WITH x AS (SELECT 1), y AS (DELETE FROM t RETURNING 1) UPDATE t SET a = 1", Command::Update),
            ("WITH x AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT * FROM x", Command::Select),
            ("(SELECT 1) UNION (SELECT 2)", Command::Select),
            ("VALUES (1)", Command::Select),
            ("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE", Command::Merge),
            ("TRUNCATE t", Command::Truncate),
            ("COPY t FROM STDIN", Command::Copy),
            ("CREATE TABLE x AS SELECT 1", Command::Other),
            ("FETCH 1 FROM c", Command::Select),
            ("EXPLAIN DELETE FROM t", Command::Other),
        ] {
            assert_eq!(read(&Queries::default(), text).statements[0].command, expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_kept_nowhere() {
        let text = Queries::default().read(
            b"SELECT 'secret",
            None,
            StringSyntax::Standard,
            &mut Normaliser::default(),
        );
        assert_eq!(text.statements[0].query.text, None);
        assert!(text.statements[0].tables().is_empty());
    }
}
