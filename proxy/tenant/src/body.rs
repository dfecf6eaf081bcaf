//! What a function's body would do: read by its tokens, because it may be in PL/pgSQL, which has no parser here.

use crate::finding::Finding;
use crate::protected::Protected;
use pgwarden_sql::{Mention, Place, SetConfigTarget, StringSyntax, mentions};

/// Languages whose bodies can be read.
const LANGUAGES: [&str; 2] = ["sql", "plpgsql"];

/// How deep code in code is followed.
const DEPTH: usize = 8;

/// What is found among the mentions of a statement that makes a function or runs code: in its language, and in its
/// constants, one of which is the code.
pub(crate) fn inspect(protected: &Protected, mentions: &[Mention]) -> Option<Finding> {
    mentions.iter().find_map(|mention| match mention {
        Mention::Language(name) if !LANGUAGES.contains(&name.as_str()) => Some(Finding::CodeUnread),
        Mention::Constant(value) => code(protected, value, 0),
        _ => None,
    })
}

/// What is found in code, however backslashes are read in it.
fn code(protected: &Protected, text: &[u8], depth: usize) -> Option<Finding> {
    if depth > DEPTH {
        return Some(Finding::CodeUnread);
    }
    let read = |strings| mentions(text, 0..text.len(), strings, Place::Body).ok();
    let plain = read(StringSyntax::Standard);
    let escaped = text.contains(&b'\\').then(|| read(StringSyntax::Backslash)).flatten();
    if plain.is_none() && escaped.is_none() {
        return Some(Finding::CodeUnread);
    }
    [plain, escaped].iter().flatten().find_map(|found| among(protected, found, depth))
}

fn among(protected: &Protected, found: &[Mention], depth: usize) -> Option<Finding> {
    let makes = found.contains(&Mention::Makes);
    found.iter().find_map(|mention| match mention {
        Mention::SetConfig(SetConfigTarget::Literal(name)) => protected.finding_for(name),
        Mention::SetConfig(SetConfigTarget::Dynamic) | Mention::SettingsUpdate => {
            Some(Finding::SettingTouched)
        }
        Mention::Role => Some(Finding::RoleTouched),
        Mention::RunsText | Mention::Computed => Some(Finding::CodeUnread),
        Mention::Name(name) if protected.holds(name) => Some(Finding::SettingTouched),
        Mention::Name(name) if protected.is_function(name) => Some(Finding::FunctionCalled),
        Mention::Constant(value) if protected.is_named_in(value) => Some(Finding::SettingTouched),
        Mention::Constant(value) if makes => code(protected, value, depth + 1),
        Mention::Code(value) => code(protected, value, depth + 1),
        Mention::Language(name) if makes && !LANGUAGES.contains(&name.as_str()) => Some(Finding::CodeUnread),
        _ => None,
    })
}
