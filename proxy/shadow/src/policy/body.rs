//! What the body of a function names, as far as its words tell: SQL that it puts together shows nothing of it.

/// A name in a body, in lower case unless it is quoted there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    /// What stands in front of it and a dot.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
    /// What it is used as.
    pub used: Used,
}

/// What a name is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Used {
    /// Something stands in parentheses behind it.
    Call,
    /// Anything else.
    Name,
}

/// The names in a body in SQL or PL/pgSQL; none where its words cannot be told.
#[must_use]
pub fn words(body: &str) -> Option<Vec<Word>> {
    let tokens = pg_query::scan_tokens(body).ok()?;
    let text = |token: &pg_query::protobuf::ScanToken| {
        let range = usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?;
        body.get(range)
    };
    let texts: Vec<&str> = tokens
        .iter()
        .filter_map(text)
        .filter(|text| !text.starts_with("--") && !text.starts_with("/*"))
        .collect();
    let at = |index: Option<usize>| index.and_then(|index| texts.get(index)).copied().unwrap_or_default();
    let mut words = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let Some(name) = plain(text) else { continue };
        let is_behind_dot = at(index.checked_sub(1)) == ".";
        let schema = if is_behind_dot { plain(at(index.checked_sub(2))) } else { None };
        let used = if at(index.checked_add(1)) == "(" { Used::Call } else { Used::Name };
        words.push(Word { schema, name, used });
    }
    Some(words)
}

/// Whether a word of this name asks who the role is, or what it may do.
#[must_use]
pub(super) fn is_about_roles(name: &str) -> bool {
    matches!(
        name,
        "current_user"
            | "current_role"
            | "session_user"
            | "getpgusername"
            | "pg_has_role"
            | "row_security_active"
    ) || (name.starts_with("has_") && name.ends_with("_privilege"))
}

/// What in a body asks who the role is. Within SECURITY DEFINER that is the owner, whoever calls, and only the session's
/// user can differ.
#[must_use]
pub fn role_in(words: &[Word], definer: super::Switch) -> Option<&str> {
    let names = words.iter().map(|word| word.name.as_str());
    match definer {
        super::Switch::On => names.into_iter().find(|name| *name == "session_user"),
        super::Switch::Off => names.into_iter().find(|name| is_about_roles(name)),
    }
}

fn plain(text: &str) -> Option<String> {
    if let Some(quoted) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        return Some(quoted.replace("\"\"", "\""));
    }
    let begins = text.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let goes_on = text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
    (begins && goes_on).then(|| text.to_lowercase())
}
