//! What the tokens of a statement say about the context: nothing, too much, or that only a parse can tell.

use crate::body;
use crate::offence::Offence;
use crate::protected::Protected;
use pgwarden_sql::{
    Marks, Mention, Place, SetConfigTarget, Statement, StringSyntax, Verb, mentions, runs_text,
};

/// What a statement's tokens say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// It does not touch the context.
    None,
    /// It does, unless a parse says otherwise.
    Possible(Offence),
    /// It does.
    Certain(Offence),
}

impl Suspicion {
    /// The graver one; of two alike, the first.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Certain(_), _) | (_, Self::None) | (Self::Possible(_), Self::Possible(_)) => self,
            _ => other,
        }
    }
}

/// Looks at one statement. An ordinary one costs a few comparisons.
pub(crate) fn of_statement(protected: &Protected, text: &[u8], statement: &Statement) -> Suspicion {
    if statement.verb == Verb::Token {
        return Suspicion::None;
    }
    let direct = match (&statement.verb, &statement.setting) {
        (Verb::SetRole | Verb::SetSessionAuthorization, _) => Some(Offence::RoleTouched),
        // Back to the login, where pgwarden has set another role.
        (Verb::ResetIdentity, _) if protected.sets_role() => Some(Offence::RoleTouched),
        (Verb::Set | Verb::Reset, Some(setting)) => protected.offence_for(&setting.name),
        _ => None,
    };
    match direct {
        Some(offence) => Suspicion::Certain(offence),
        None if deserves_a_look(protected, statement) => look(protected, text, statement),
        None => Suspicion::None,
    }
}

fn deserves_a_look(protected: &Protected, statement: &Statement) -> bool {
    let marks = statement.marks;
    match statement.verb {
        Verb::Other | Verb::Unblockable | Verb::Do => true,
        _ if marks.meets(Marks::SET_CONFIG | Marks::RUNS_TEXT | Marks::SETTINGS) => true,
        _ => marks.contains(Marks::CALLS) && (marks.contains(Marks::DOTTED) || protected.has_functions()),
    }
}

/// Whether a statement hands its values to what is not PostgreSQL's own.
pub(crate) fn hands_on(text: &[u8], statement: &Statement) -> bool {
    let calls = |mention: &Mention| matches!(mention, Mention::Call(_));
    statement.marks.contains(Marks::CALLS) && readings(text, statement).iter().flatten().any(calls)
}

/// A statement whose values name a protected setting.
pub(crate) fn of_values(protected: &Protected, text: &[u8], statement: &Statement) -> Suspicion {
    let named = match hands_on(text, statement) {
        true => Suspicion::Possible(Offence::SettingNamed),
        false => Suspicion::None,
    };
    named.or(of_statement(protected, text, statement))
}

/// The mentions of a statement, however backslashes are read in it.
fn readings(text: &[u8], statement: &Statement) -> Vec<Vec<Mention>> {
    let read = |strings| mentions(text, statement.span.clone(), strings, Place::Statement).ok();
    let escapes = text.get(statement.span.clone()).is_some_and(|part| part.contains(&b'\\'));
    let escaped = escapes.then(|| read(StringSyntax::Backslash)).flatten();
    read(StringSyntax::Standard).into_iter().chain(escaped).collect()
}

fn look(protected: &Protected, text: &[u8], statement: &Statement) -> Suspicion {
    let readings = readings(text, statement);
    if readings.is_empty() {
        return Suspicion::Certain(Offence::Unreadable);
    }
    readings.iter().fold(Suspicion::None, |worst, found| worst.or(among(protected, found, statement)))
}

fn among(protected: &Protected, found: &[Mention], statement: &Statement) -> Suspicion {
    let each =
        found.iter().map(|mention| one(protected, mention).or(in_definition(protected, mention, statement)));
    let mut worst = each.fold(Suspicion::None, Suspicion::or);
    let named =
        found.iter().any(|one| matches!(one, Mention::Constant(value) if protected.is_named_in(value)));
    let calls = found.iter().any(|one| matches!(one, Mention::Call(_)));
    if named && calls {
        worst = worst.or(Suspicion::Possible(Offence::SettingNamed));
    }
    if statement.verb == Verb::Do || found.contains(&Mention::Makes) {
        worst = worst.or(body::inspect(protected, found).map_or(Suspicion::None, Suspicion::Certain));
    }
    worst
}

/// What one mention says, wherever it stands.
fn one(protected: &Protected, mention: &Mention) -> Suspicion {
    use Suspicion::{Certain, Possible};
    match mention {
        Mention::SetConfig(SetConfigTarget::Literal(name)) => {
            protected.offence_for(name).map_or(Suspicion::None, Certain)
        }
        Mention::SetConfig(SetConfigTarget::Dynamic) | Mention::SettingsUpdate => {
            Possible(Offence::SettingTouched)
        }
        Mention::RunsText => Possible(Offence::CodeUnread),
        Mention::Name(name) if protected.is_function(name) => Possible(Offence::FunctionCalled),
        _ => Suspicion::None,
    }
}

/// What one mention says in DDL, where constants and names can stand for functions and settings.
fn in_definition(protected: &Protected, mention: &Mention, statement: &Statement) -> Suspicion {
    if !matches!(statement.verb, Verb::Other | Verb::Unblockable) {
        return Suspicion::None;
    }
    match mention {
        Mention::Name(name) if protected.holds(name) => Suspicion::Possible(Offence::SettingTouched),
        Mention::Role => Suspicion::Possible(Offence::RoleTouched),
        Mention::Constant(value) => of_constant(protected, value),
        _ => Suspicion::None,
    }
}

/// A constant in a definition may be the name of a function (`defGetQualifiedName`, `define.c`).
fn of_constant(protected: &Protected, value: &[u8]) -> Suspicion {
    let name = String::from_utf8_lossy(value).to_lowercase();
    if name == "set_config" {
        Suspicion::Possible(Offence::SettingTouched)
    } else if runs_text(name.as_bytes()) {
        Suspicion::Possible(Offence::CodeUnread)
    } else if protected.is_function(&name) {
        Suspicion::Possible(Offence::FunctionCalled)
    } else {
        Suspicion::None
    }
}
