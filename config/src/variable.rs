//! The variables that make up a context: name, where the value comes from, what it must look like.

use std::fmt;

use crate::mistake::Fault;
use crate::syntax;
use crate::word::{Word, words};

const SHAPE: &str = "name=source[:argument][:kind], like app.current_org_id=claim:app_metadata.org_id:uuid";
const SOURCES: &str =
    "tenant, user, claim:PATH, claims, column:NAME or literal:TEXT, and behind it uuid, bigint or text";

/// The longest part of a name: PostgreSQL cuts longer identifiers off (`NAMEDATALEN - 1`).
const NAME_PART_BYTES: usize = 63;

/// What a value must look like; anything else is refused at login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A UUID in the form 8-4-4-4-12, in hexadecimal digits.
    Uuid,
    /// A 64-bit signed integer in decimal digits.
    Bigint,
    /// Any text without a zero byte.
    Text,
}

words!(Kind { Uuid = "uuid", Bigint = "bigint", Text = "text" });

impl Kind {
    /// Whether a value has this form. Length is not looked at.
    #[must_use]
    pub fn accepts(self, value: &str) -> bool {
        match self {
            Self::Uuid => is_uuid(value),
            Self::Bigint => value.parse::<i64>().is_ok(),
            Self::Text => !value.contains('\0'),
        }
    }
}

/// Where the value of a variable comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueFrom {
    /// The tenant of the context.
    Tenant,
    /// The user of the context.
    User,
    /// One claim of the token.
    Claim(ClaimPath),
    /// All claims of the token, as JSON.
    Claims,
    /// A column of the row that was looked up.
    Column(String),
    /// Always this text.
    Literal(String),
}

/// A path through the claims of a token, for instance `app_metadata.org_id`.
///
/// Segments are separated by dots; a segment that has dots itself stands in double quotes:
/// `"https://example.com/claims".org`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// The names to follow, from the outermost; there is at least one.
    #[must_use]
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let segments: Vec<String> =
            syntax::split(text, '.')?.into_iter().map(syntax::unquote).collect::<Result<_, _>>()?;
        if segments.iter().any(String::is_empty) {
            let problem = format!("{text:?} is not a path of claims");
            return Err(Fault::new(problem, "names with dots between, like app_metadata.org_id"));
        }
        Ok(Self(segments))
    }
}

/// One variable of a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// The name of the setting: at least two parts, ASCII, each part an identifier.
    pub name: String,
    /// Where the value comes from.
    pub from: ValueFrom,
    /// What the value must look like.
    pub kind: Kind,
}

impl Variable {
    /// Reads `name=source[:argument][:kind]`.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let Some((name, source)) = syntax::split_first(text, '=')? else {
            return Err(Fault::new(format!("{text:?} has no `=`"), SHAPE));
        };
        Self::new(&syntax::unquote(name)?, source, None)
    }

    /// Puts a variable together from its parts; the kind may stand behind the source or beside it.
    pub(crate) fn new(name: &str, source: &str, kind: Option<Kind>) -> Result<Self, Fault> {
        check_name(name)?;
        let (from, suffix) = parse_source(source)?;
        if kind.is_some() && suffix.is_some() {
            return Err(Fault::new(format!("the kind of {name} is given twice"), "one kind"));
        }
        let variable = Self { name: name.to_owned(), from, kind: kind.or(suffix).unwrap_or(Kind::Text) };
        match (&variable.from, variable.kind) {
            (ValueFrom::Literal(value), kind) if !kind.accepts(value) => Err(Fault::new(
                format!("{value:?} is not a value for {name}"),
                format!("a {}", kind.as_str()),
            )),
            (ValueFrom::Claims, Kind::Uuid | Kind::Bigint) => {
                Err(Fault::new(format!("{name} takes all claims, which are JSON"), "the kind text"))
            }
            _ => Ok(variable),
        }
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str(".")?;
            }
            if segment.chars().all(plain) {
                out.write_str(segment)?;
            } else {
                out.write_str(&syntax::quote(segment, '"'))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for ValueFrom {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant => out.write_str("tenant"),
            Self::User => out.write_str("user"),
            Self::Claim(path) => write!(out, "claim:{path}"),
            Self::Claims => out.write_str("claims"),
            Self::Column(name) => write!(out, "column:{}", syntax::quote(name, '"')),
            Self::Literal(text) => write!(out, "literal:{}", syntax::quote(text, '\'')),
        }
    }
}

/// Reads a list of variables on one line.
pub(crate) fn parse_list(text: &str) -> Vec<Result<Variable, Fault>> {
    match syntax::split(text, ',') {
        Ok(items) => items.into_iter().map(Variable::parse).collect(),
        Err(fault) => vec![Err(fault)],
    }
}

/// Checks a name as `valid_custom_variable_name` in PostgreSQL's `guc.c` does, and a little more strictly:
/// ASCII only, no part that PostgreSQL would cut off, nothing of pgwarden's own.
pub(crate) fn check_name(name: &str) -> Result<(), Fault> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.len() < 2 || !parts.iter().all(|part| is_identifier(part)) {
        return Err(Fault::new(
            format!("{name:?} is not the name of a custom setting"),
            "a dotted identifier like app.current_org_id (PostgreSQL would answer SQLSTATE 42602)",
        ));
    }
    if parts.iter().any(|part| part.len() > NAME_PART_BYTES) {
        return Err(Fault::new(format!("{name:?} is too long"), "at most 63 bytes between the dots"));
    }
    if parts.first().is_some_and(|part| part.eq_ignore_ascii_case("pgwarden")) {
        return Err(Fault::new(format!("{name:?} belongs to pgwarden"), "another prefix than pgwarden"));
    }
    Ok(())
}

fn is_identifier(part: &str) -> bool {
    let mut characters = part.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$'))
}

fn parse_source(text: &str) -> Result<(ValueFrom, Option<Kind>), Fault> {
    let pieces = syntax::split(text, ':')?;
    let (from, kind) = match pieces.as_slice() {
        ["tenant", kind @ ..] => (ValueFrom::Tenant, kind),
        ["user", kind @ ..] => (ValueFrom::User, kind),
        ["claims", kind @ ..] => (ValueFrom::Claims, kind),
        ["claim", path, kind @ ..] => (ValueFrom::Claim(ClaimPath::parse(path)?), kind),
        ["column", name, kind @ ..] => (ValueFrom::Column(column(name)?), kind),
        ["literal", value, kind @ ..] => (ValueFrom::Literal(syntax::unquote(value)?), kind),
        _ => return Err(Fault::new(format!("{text:?} is not a source"), SOURCES)),
    };
    match kind {
        [] => Ok((from, None)),
        [kind] => Ok((from, Some(Kind::from_word(kind)?))),
        _ => Err(Fault::new(format!("{text:?} has too many colons"), "quotes around what contains a colon")),
    }
}

fn column(name: &str) -> Result<String, Fault> {
    let name = syntax::unquote(name)?;
    if name.is_empty() {
        return Err(Fault::new("a column without a name", "a column of a query, like column:role"));
    }
    Ok(name)
}

fn is_uuid(value: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    value.split('-').count() == lengths.len()
        && value.split('-').zip(lengths).all(|(group, length)| {
            group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}
