//! One pass over the tokens: where statements start and end, and what they mention.
//!
//! A `;` inside parentheses is a syntax error in PostgreSQL (except in CREATE RULE): it is treated as the end of the
//! statement, so that an unbalanced parenthesis cannot hide what comes behind it.

use smallvec::SmallVec;

use crate::call;
use crate::classify::classify;
use crate::head::{Head, Step};
use crate::lexer::{Kind, Lexer, Literal, Token};
use crate::literal::identifier;
use crate::marks::{fold, of_constant};
use crate::shape::Cursor;
use crate::{LexError, Marks, Script, Statement, StringSyntax, Verb, token};

/// Splits a query string into statements and classifies each.
///
/// `strings` says how the server reads a backslash in a plain literal. Where a plain literal holds one, the text is read
/// the other way too: if that is also a readable text, but with other statements, nobody can be sure what the
/// server will see, and the result is [`LexError::AmbiguousBackslash`].
///
/// # Errors
/// [`LexError`] for a text that cannot be tokenised; nothing is known about it then.
pub fn analyse(text: &[u8], strings: StringSyntax) -> Result<Script, LexError> {
    if text.contains(&0) {
        return Err(LexError::Nul { at: text.iter().take_while(|byte| **byte != 0).count() });
    }
    let mut lexer = Lexer::new(text, 0, strings);
    let script = read(&mut lexer)?;
    match lexer.backslash() {
        None => Ok(script),
        Some(at) => same_both_ways(text, strings.other(), script, at),
    }
}

#[cold]
fn same_both_ways(text: &[u8], other: StringSyntax, script: Script, at: usize) -> Result<Script, LexError> {
    match read(&mut Lexer::new(text, 0, other)) {
        Ok(reading) if reading != script => Err(LexError::AmbiguousBackslash { at }),
        _ => Ok(script),
    }
}

fn read(lexer: &mut Lexer<'_>) -> Result<Script, LexError> {
    let mut splitter = Splitter::new(lexer.text(), lexer.strings());
    while let Some(token) = lexer.next()? {
        splitter.token(token);
    }
    splitter.finish()
}

/// What the first token says about the statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// There is no token yet.
    Missing,
    /// It is a query, nothing more to find out.
    Query,
    /// The keywords have to be looked at.
    Keywords,
}

const INTO: u64 = fold(b"into");

struct Splitter<'a> {
    text: &'a [u8],
    strings: StringSyntax,
    script: Script,
    lead: Lead,
    head: Head,
    marks: Marks,
    depth: usize,
    start: usize,
    /// The last token, and where it ends; of the statement before, where there is none yet.
    last: Kind,
    last_start: usize,
    end: usize,
    /// The end of the last word behind a dot: it is a name, whatever it is otherwise.
    dot: usize,
    /// The end of the last INTO: what follows is no function.
    into: usize,
    /// Where the statement ends if its body turns out to be none: before the last `;`, or behind `BEGIN ATOMIC`.
    body_end: usize,
}

impl<'a> Splitter<'a> {
    fn new(text: &'a [u8], strings: StringSyntax) -> Self {
        Self {
            text,
            strings,
            script: Script { statements: SmallVec::new() },
            lead: Lead::Missing,
            head: Head::Settled,
            marks: Marks::empty(),
            depth: 0,
            start: 0,
            last: Kind::End,
            last_start: 0,
            end: 0,
            dot: 0,
            into: 0,
            body_end: 0,
        }
    }

    #[inline]
    fn token(&mut self, token: Token) {
        if token.kind == Kind::Semicolon {
            return self.semicolon(token);
        }
        if self.lead == Lead::Missing {
            self.open(token);
        } else if self.head != Head::Settled {
            self.step(token);
        }
        match token.kind {
            Kind::Word => {
                let word = self.slice(token);
                self.marks |= Marks::of_word(word);
                if fold(word) == INTO && word.len() == 4 {
                    self.into = token.end;
                }
                if self.last == Kind::Sign && self.text.get(self.last_start) == Some(&b'.') {
                    self.dot = token.end;
                }
            }
            Kind::Open => {
                self.depth += 1;
                self.marks |= self.called(token);
            }
            Kind::Close => self.depth = self.depth.saturating_sub(1),
            Kind::Quoted | Kind::UnicodeWord => self.name(token),
            Kind::String(Literal::Dollar) => self.marks |= Marks::BODY | Marks::DOTTED,
            Kind::String(kind) => self.marks |= of_constant(kind, self.slice(token)),
            Kind::Number | Kind::Parameter | Kind::Sign => {}
            Kind::Semicolon | Kind::End | Kind::Broken => {}
        }
        self.last = token.kind;
        self.last_start = token.start;
        self.end = token.end;
    }

    /// What the parenthesis says about the name in front of it.
    #[inline]
    fn called(&self, open: Token) -> Marks {
        match self.last {
            Kind::Word => {
                let name = self.text.get(self.last_start..self.end).unwrap_or_default();
                let is_qualified = self.dot == self.end;
                if (call::is_well_known(name) && !is_qualified) || self.follows_into(open) {
                    return Marks::empty();
                }
                call::marks(name)
            }
            Kind::Quoted if self.follows_into(open) => Marks::empty(),
            Kind::Quoted | Kind::UnicodeWord => self.called_in_quotes(),
            // Behind UESCAPE.
            Kind::String(_) => Marks::CALLS | Marks::RUNS_TEXT,
            _ => Marks::empty(),
        }
    }

    #[cold]
    fn called_in_quotes(&self) -> Marks {
        let cursor = Cursor::new(self.text, self.end, self.text.len(), self.strings);
        let raw = self.text.get(self.last_start..self.end).unwrap_or_default();
        call::marks(&identifier(raw, self.last, cursor))
    }

    /// Whether nothing but a name stands between the last INTO and here.
    fn follows_into(&self, open: Token) -> bool {
        let between = self.text.get(self.into..open.start).unwrap_or_default();
        self.into > self.start && call::is_a_name(between)
    }

    fn slice(&self, token: Token) -> &'a [u8] {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    fn open(&mut self, token: Token) {
        let word = self.slice(token);
        self.start = token.start;
        self.lead = if starts_query(token.kind, word) { Lead::Query } else { Lead::Keywords };
        self.head = Head::first(token.kind, word);
    }

    #[cold]
    fn step(&mut self, token: Token) {
        let before = self.head;
        if self.head.step(token, self.slice(token), self.depth) == Step::Split {
            self.close(self.body_end);
            return self.open(token);
        }
        match (before, self.head) {
            (Head::Create, Head::Routine(_)) => self.marks |= Marks::BODY,
            (Head::Routine(_), Head::Body(..)) => self.body_end = token.end,
            _ => {}
        }
    }

    #[cold]
    fn name(&mut self, token: Token) {
        let cursor = Cursor::new(self.text, token.end, self.text.len(), self.strings);
        self.marks |= Marks::of_name(&identifier(self.slice(token), token.kind, cursor));
    }

    fn semicolon(&mut self, token: Token) {
        self.last = Kind::Semicolon;
        if self.lead == Lead::Missing {
            return;
        }
        if self.head.holds_semicolon(self.depth) {
            if !matches!(self.head, Head::Rule) {
                self.depth = 0;
            }
            self.head.semicolon();
            self.body_end = self.end;
            self.end = token.end;
        } else {
            self.close(self.end);
        }
    }

    fn cursor(&self, span: &std::ops::Range<usize>) -> Cursor<'a> {
        Cursor::new(self.text, span.start, span.end, self.strings)
    }

    /// Ends the statement and forgets what belonged to it.
    fn close(&mut self, end: usize) {
        let span = self.start..end;
        let (verb, setting) = match self.lead {
            Lead::Missing => return,
            Lead::Query => (Verb::Query, None),
            Lead::Keywords => classify(self.cursor(&span)),
        };
        let verb = match setting.is_some() || self.marks.contains(Marks::SET_CONFIG) {
            true => token::recognised(self.cursor(&span), verb, setting.as_ref()),
            false => verb,
        };
        let mut marks = self.marks | verb.marks();
        if marks.contains(Marks::TEMP_WORD) {
            let temporary = makes_temporary(self.cursor(&span));
            marks = marks.without(Marks::TEMP_WORD) | temporary;
        }
        self.script.statements.push(Statement { span, verb, marks, setting });
        self.last = Kind::End;
        self.lead = Lead::Missing;
        self.head = Head::Settled;
        self.marks = Marks::empty();
        self.depth = 0;
    }

    fn finish(mut self) -> Result<Script, LexError> {
        if matches!(self.head, Head::Body(..)) {
            return Err(LexError::UnterminatedBody { at: self.start });
        }
        self.close(self.end);
        Ok(self.script)
    }
}

#[inline]
fn starts_query(kind: Kind, word: &[u8]) -> bool {
    const WITH: u64 = fold(b"with");
    const TABLE: u64 = fold(b"table");
    const MERGE: u64 = fold(b"merge");
    const SELECT: u64 = fold(b"select");
    const INSERT: u64 = fold(b"insert");
    const UPDATE: u64 = fold(b"update");
    const DELETE: u64 = fold(b"delete");
    const VALUES: u64 = fold(b"values");
    matches!(
        (kind, word.len(), fold(word)),
        (Kind::Open, ..)
            | (Kind::Word, 4, WITH)
            | (Kind::Word, 5, TABLE | MERGE)
            | (Kind::Word, 6, SELECT | INSERT | UPDATE | DELETE | VALUES)
    )
}

/// Whether the word TEMP or TEMPORARY stands where it makes something temporary (gram.y, `OptTemp` and
/// `OptTempTableName`), and not in `INSERT INTO temp` or as the name of a column.
#[cold]
fn makes_temporary(mut cursor: Cursor<'_>) -> Marks {
    let mut before = cursor.peek();
    let mut previous = before;
    while let Some(shape) = cursor.next_shape() {
        if matches!(shape.as_bytes(), b"temp" | b"temporary") {
            match (before.as_bytes(), previous.as_bytes()) {
                (_, b"create" | b"replace" | b"local" | b"global") => return Marks::TEMPORARY,
                (b"insert" | b"merge", b"into") => {}
                (_, b"into") => return Marks::TEMPORARY,
                _ => {}
            }
        }
        before = previous;
        previous = shape;
    }
    Marks::empty()
}
