//! What a function's body would do: read by its tokens, because it may be in PL/pgSQL, which has no parser here.

use crate::offence::Offence;
use crate::protected::Protected;
use pgwarden_sql::{Mention, Place, SetConfigTarget, StringSyntax, mentions};

/// Languages whose bodies can be read.
const LANGUAGES: [&str; 2] = ["sql", "plpgsql"];

/// How deep code in code is followed.
const DEPTH: usize = 8;

/// What is found among the mentions of a statement that makes a function or runs code: in its language, and in its
/// constants, one of which is the code.
pub(crate) fn inspect(protected: &Protected, mentions: &[Mention]) -> Option<Offence> {
    mentions.iter().find_map(|mention| match mention {
        Mention::Language(name) if !LANGUAGES.contains(&name.as_str()) => Some(Offence::CodeUnread),
        Mention::Constant(value) => code(protected, value, 0),
        _ => None,
    })
}

/// What is found in code, however backslashes are read in it.
fn code(protected: &Protected, text: &[u8], depth: usize) -> Option<Offence> {
    if depth > DEPTH {
        return Some(Offence::CodeUnread);
    }
    let read = |strings| mentions(text, 0..text.len(), strings, Place::Body).ok();
    let plain = read(StringSyntax::Standard);
    let escaped = text.contains(&b'\\').then(|| read(StringSyntax::Backslash)).flatten();
    if plain.is_none() && escaped.is_none() {
        return Some(Offence::CodeUnread);
    }
    [plain, escaped].iter().flatten().find_map(|found| among(protected, found, depth))
}

fn among(protected: &Protected, found: &[Mention], depth: usize) -> Option<Offence> {
    let makes = found.contains(&Mention::Makes);
    found.iter().find_map(|mention| match mention {
        Mention::SetConfig(SetConfigTarget::Literal(name)) => protected.offence_for(name),
        Mention::SetConfig(SetConfigTarget::Dynamic) | Mention::SettingsUpdate => {
            Some(Offence::SettingTouched)
        }
        Mention::Role => Some(Offence::RoleTouched),
        Mention::RunsText | Mention::Computed => Some(Offence::CodeUnread),
        Mention::Name(name) if protected.holds(name) => Some(Offence::SettingTouched),
        Mention::Name(name) if protected.is_function(name) => Some(Offence::FunctionCalled),
        Mention::Constant(value) if protected.is_named_in(value) => Some(Offence::SettingTouched),
        Mention::Constant(value) if makes => code(protected, value, depth + 1),
        Mention::Code(value) => code(protected, value, depth + 1),
        Mention::Language(name) if makes && !LANGUAGES.contains(&name.as_str()) => Some(Offence::CodeUnread),
        _ => None,
    })
}
