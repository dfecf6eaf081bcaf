//! What a text mentions that can matter to who protects settings: slower than the marks, and exact where they are not.

use std::borrow::Cow;

use crate::lexer::{Kind, Lexer, Literal, Token};
use crate::literal::{identifier, string_value, take_uescape};
use crate::set_config::target;
use crate::setting::cut;
use crate::shape::Cursor;
use crate::{LexError, SetConfigTarget, StringSyntax, call};

/// What kind of text is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A statement of SQL.
    Statement,
    /// The body of a function, in SQL or PL/pgSQL.
    Body,
}

/// Something that a text mentions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mention {
    /// `set_config`, with its first argument.
    SetConfig(SetConfigTarget),
    /// A function that runs the SQL in its arguments.
    RunsText,
    /// Both `pg_settings` and UPDATE or MERGE, or a word that makes such a view changeable under another name.
    SettingsUpdate,
    /// A name as it is meant, in lower case, parts joined by dots.
    Name(String),
    /// A name in front of a parenthesis with something in it, that is no word of the grammar and no function of
    /// `pg_catalog`.
    Call(String),
    /// The value of a string constant, unless something only reads the parameter of that name.
    Constant(Vec<u8>),
    /// SET of the role or the session authorization.
    Role,
    /// EXECUTE of something that is put together when it runs.
    Computed,
    /// EXECUTE of a constant.
    Code(Vec<u8>),
    /// The word LANGUAGE and what follows, in lower case.
    Language(String),
    /// `CREATE FUNCTION`, PROCEDURE or AGGREGATE, or DO: constants may be code.
    Makes,
}

/// All that `text` mentions between `range.start` and `range.end`, in order.
///
/// # Errors
/// [`LexError`] when the text cannot be tokenised.
pub fn mentions(
    text: &[u8],
    range: std::ops::Range<usize>,
    strings: StringSyntax,
    place: Place,
) -> Result<Vec<Mention>, LexError> {
    tokens(text, range.clone(), strings)?;
    let cursor = Cursor::new(text, range.start, range.end, strings);
    let mut walk =
        Walk { place, cursor, found: Vec::new(), previous: Vec::new(), settings: Words::default() };
    while walk.next().is_some() {}
    if walk.settings.views > 0 && walk.settings.changes > 0 {
        walk.found.push(Mention::SettingsUpdate);
    }
    Ok(walk.found)
}

/// Whether the text has the same tokens whatever `standard_conforming_strings` is.
#[must_use]
pub fn reads_the_same(text: &[u8]) -> bool {
    let read = |strings| tokens(text, 0..text.len(), strings);
    match (read(StringSyntax::Standard), read(StringSyntax::Backslash)) {
        (Ok((one, plain)), Ok((other, _))) => !plain || one == other,
        _ => false,
    }
}

/// The tokens, and whether a plain constant among them has a backslash.
fn tokens(
    text: &[u8],
    range: std::ops::Range<usize>,
    strings: StringSyntax,
) -> Result<(Vec<Token>, bool), LexError> {
    let mut lexer = Lexer::new(text.get(..range.end).unwrap_or_default(), range.start, strings);
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok((tokens, lexer.backslash().is_some()))
}

/// How often the view of settings and a word for a change have been met.
#[derive(Debug, Default)]
struct Words {
    views: usize,
    changes: usize,
}

struct Walk<'a> {
    place: Place,
    cursor: Cursor<'a>,
    found: Vec<Mention>,
    /// The token before, as a shape.
    previous: Vec<u8>,
    settings: Words,
}

impl Walk<'_> {
    /// Takes one token, or a whole name.
    fn next(&mut self) -> Option<()> {
        let token = self.cursor.token()?;
        match token.kind {
            Kind::Word | Kind::Quoted | Kind::UnicodeWord => self.name(token),
            Kind::String(literal) => {
                let value = string_value(token, literal, &mut self.cursor);
                if literal != Literal::Bits {
                    self.found.push(Mention::Constant(value.into_owned()));
                }
                self.previous = b"'".to_vec();
            }
            _ => self.previous = self.cursor.lexer().slice(token).to_vec(),
        }
        Some(())
    }

    /// A name with all its parts, or a word.
    fn name(&mut self, first: Token) {
        let mut parts = Vec::new();
        let mut last = first;
        loop {
            parts.push(self.part(last));
            if self.cursor.peek().as_bytes() != b"." {
                break;
            }
            let mut ahead = self.cursor;
            ahead.token();
            match ahead.token() {
                Some(token) if matches!(token.kind, Kind::Word | Kind::Quoted | Kind::UnicodeWord) => {
                    last = token;
                    self.cursor = ahead;
                }
                _ => break,
            }
        }
        let name = parts.join(".").to_lowercase();
        if parts.len() == 1 && first.kind == Kind::Word {
            self.word(&name);
        }
        self.meaning(&name, parts.last().map_or("", String::as_str).to_lowercase().as_str(), last.kind);
        self.previous = name.clone().into_bytes();
        self.found.push(Mention::Name(name));
    }

    fn part(&mut self, token: Token) -> String {
        let name = identifier(self.cursor.lexer().slice(token), token.kind, self.cursor);
        let name = cut(&String::from_utf8_lossy(&name)).to_owned();
        if token.kind == Kind::UnicodeWord {
            take_uescape(&mut self.cursor);
        }
        name
    }

    /// What a name does; `last` is its last part.
    fn meaning(&mut self, name: &str, last: &str, kind: Kind) {
        self.settings.views += usize::from(last == "pg_settings");
        let is_called = self.cursor.peek().as_bytes() == b"(";
        if last == "set_config" {
            // `target` looks for UESCAPE itself; here it is behind the cursor already.
            let kind = if kind == Kind::UnicodeWord { Kind::Quoted } else { kind };
            self.found
                .push(Mention::SetConfig(target(self.cursor, kind).unwrap_or(SetConfigTarget::Dynamic)));
        } else if call::runs_text(last.as_bytes()) {
            self.found.push(Mention::RunsText);
        } else if is_called && reads_parameter(name) {
            self.skip_read_name();
        } else if is_called && second(self.cursor).as_bytes() != b")" && !self.is_known(name) {
            self.found.push(Mention::Call(name.to_owned()));
        }
    }

    fn is_known(&self, name: &str) -> bool {
        if self.previous == b"into" || call::is_well_known(name.as_bytes()) {
            return true;
        }
        let bare = name.strip_prefix("pg_catalog.").unwrap_or(name);
        call::is_catalog_function(bare)
    }

    /// Behind what reads a parameter: a constant there is read, and sets nothing.
    fn skip_read_name(&mut self) {
        let mut ahead = self.cursor;
        ahead.token();
        if let Some(Token { kind: Kind::String(literal), start, end }) = ahead.token() {
            string_value(Token { kind: Kind::String(literal), start, end }, literal, &mut ahead);
            if matches!(ahead.peek().as_bytes(), b")" | b"," | b":") {
                self.cursor = ahead;
            }
        }
    }

    /// A word of the grammar, perhaps.
    fn word(&mut self, word: &str) {
        match word {
            "update" | "merge" | "view" | "rule" => self.settings.changes += 1,
            "set" => self.role(),
            "execute" => self.execute(),
            "language" => self.language(),
            "function" | "procedure" | "aggregate"
                if matches!(self.previous.as_slice(), b"create" | b"replace") =>
            {
                self.found.push(Mention::Makes);
            }
            "do" if matches!(self.cursor.peek().as_bytes(), b"'" | b"language") => {
                self.found.push(Mention::Makes);
            }
            _ => {}
        }
    }

    /// `SET [LOCAL | SESSION] ROLE …`, `SET … SESSION AUTHORIZATION …`, and both as parameters.
    fn role(&mut self) {
        let mut ahead = self.cursor;
        let mut word = name_ahead(&mut ahead);
        if matches!(word.as_ref(), b"local" | b"session")
            && !matches!(ahead.peek().as_bytes(), b"=" | b"to" | b".")
        {
            let mut behind = ahead;
            let next = name_ahead(&mut behind);
            if word.as_ref() == b"session" && next.as_ref() == b"authorization" {
                return self.found.push(Mention::Role);
            }
            (word, ahead) = (next, behind);
        }
        let assigns = matches!(ahead.peek().as_bytes(), b"=" | b"to" | b"from");
        // In a body, `UPDATE t SET role = 'x'` is an assignment to a column.
        let is_statement = self.place == Place::Statement || self.starts_statement();
        match word.as_ref() {
            b"role" | b"session_authorization" if !assigns || is_statement => self.found.push(Mention::Role),
            _ => {}
        }
    }

    fn starts_statement(&self) -> bool {
        let before = self.previous.as_slice();
        matches!(before, b"" | b";" | b"begin" | b"then" | b"else" | b"loop" | b">" | b"atomic")
    }

    /// EXECUTE in a body; not the right of that name, and not that of a trigger.
    fn execute(&mut self) {
        let mut ahead = self.cursor;
        match ahead.token() {
            Some(token) if matches!(token.kind, Kind::String(_)) => {
                let Kind::String(literal) = token.kind else { return };
                let value = string_value(token, literal, &mut ahead);
                let ends = matches!(ahead.peek().as_bytes(), b"" | b";" | b"into" | b"using" | b"loop");
                self.found.push(if ends { Mention::Code(value.into_owned()) } else { Mention::Computed });
            }
            Some(token) => {
                let (word, next) = (self.cursor.peek(), ahead.token().map(|next| next.kind));
                let ends = matches!(second(self.cursor).as_bytes(), b"into" | b"using" | b"loop");
                let is_a_triggers = matches!(word.as_bytes(), b"function" | b"procedure")
                    && matches!(next, Some(Kind::Word | Kind::Quoted | Kind::UnicodeWord))
                    && !ends;
                // ON is a reserved word, and no variable.
                let is_a_right = token.kind == Kind::Word && word.as_bytes() == b"on";
                if !is_a_right && !is_a_triggers && token.kind != Kind::Sign {
                    self.found.push(Mention::Computed);
                }
            }
            None => {}
        }
    }

    fn language(&mut self) {
        let mut ahead = self.cursor;
        let Some(token) = ahead.token() else { return };
        let name = match token.kind {
            Kind::String(literal) => string_value(token, literal, &mut ahead),
            Kind::Word | Kind::Quoted | Kind::UnicodeWord => {
                identifier(self.cursor.lexer().slice(token), token.kind, ahead)
            }
            _ => return,
        };
        self.found.push(Mention::Language(String::from_utf8_lossy(&name).to_lowercase()));
    }
}

/// The next token, as the name it stands for in lower case; anything else as it is.
fn name_ahead<'a>(cursor: &mut Cursor<'a>) -> Cow<'a, [u8]> {
    let Some(token) = cursor.token() else { return Cow::Borrowed(b"") };
    let raw = cursor.lexer().slice(token);
    let name = match token.kind {
        Kind::Word | Kind::Quoted | Kind::UnicodeWord => identifier(raw, token.kind, *cursor),
        _ => return Cow::Borrowed(raw),
    };
    if token.kind == Kind::UnicodeWord {
        take_uescape(cursor);
    }
    Cow::Owned(name.to_ascii_lowercase())
}

/// The shape of the token after the next.
fn second(mut cursor: Cursor<'_>) -> crate::shape::Shape {
    cursor.token();
    cursor.peek()
}
/// Whether a function only reads the parameter that it is given the name of: the server's own, and the verified reader of
/// sealed contexts (`deploy/sql/seal.sql`).
fn reads_parameter(name: &str) -> bool {
    name.trim_start_matches("pg_catalog.") == "current_setting" || name == "pgwarden.verified_setting"
}
