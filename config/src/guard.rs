//! What the guard looks for, and what becomes of what it finds.

use crate::mistake::Fault;
use crate::reader::Reader;
use crate::word::words;

const FUNCTIONS: &str = "guard.functions";

/// What becomes of what the guard finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GuardMode {
    /// It is refused in `enforce`, and counted in `shadow`.
    Reject,
    /// It is counted.
    Record,
    /// Nothing is looked for.
    Off,
}

words!(GuardMode { Reject = "reject", Record = "record", Off = "off" });

/// What the guard looks for, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// What becomes of what it finds.
    pub mode: GuardMode,
    /// Functions of the database that change the context, with their schema or without.
    pub functions: Vec<String>,
}

/// Reads `[guard]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Guard {
    let items = reader.items(FUNCTIONS).unwrap_or_default();
    let functions = items
        .into_iter()
        .filter_map(|item| reader.keep(function(&item.text), &item.origin, FUNCTIONS))
        .collect();
    Guard { mode: reader.word("guard.mode").unwrap_or(GuardMode::Reject), functions }
}

/// A name, or two with a dot between; what `regprocedure` adds is left out.
fn function(text: &str) -> Result<String, Fault> {
    let name = text.split_once('(').map_or(text, |(name, _)| name);
    let parts: Vec<&str> = name.split('.').collect();
    let is_name = |part: &&str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c == '"');
    if parts.len() > 2 || !parts.iter().all(is_name) {
        return Err(Fault::new(format!("{text:?} is no function"), "name or schema.name, without quotes"));
    }
    Ok(name.to_owned())
}
