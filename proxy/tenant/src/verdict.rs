//! What a real parse says about a text that the tokens have made suspicious: only that lets it through.

use crate::offence::Offence;
use crate::protected::Protected;
use crate::suspicion::{self, Suspicion};
use pgwarden_sql::{
    Argument, Call, Parsed, StringSyntax, analyse, is_catalog_function, parsed, reads_the_same, runs_text,
};

/// How deep SQL in SQL is followed.
const DEPTH: usize = 4;

/// What a parse says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The text has no parse, or more than one: whatever was suspected stays.
    Unclear,
    /// It touches the context.
    Guilty(Offence),
    /// It does not, and calls nothing but PostgreSQL's own functions.
    Harmless,
    /// It does not by itself; but it calls functions of the application, which see its values.
    HandsOn,
}

impl Verdict {
    /// What is left of a suspicion.
    pub(crate) fn on(self, suspected: Offence) -> Option<Offence> {
        match self {
            Self::Unclear => Some(suspected),
            Self::Guilty(offence) => Some(offence),
            Self::HandsOn if suspected == Offence::SettingNamed => Some(suspected),
            Self::Harmless | Self::HandsOn => None,
        }
    }

    /// Parses the text. It recurses: for a thread with a deep stack.
    pub(crate) fn of(protected: &Protected, text: &[u8]) -> Self {
        judge(protected, text, 0)
    }
}

fn judge(protected: &Protected, text: &[u8], depth: usize) -> Verdict {
    let tree =
        std::str::from_utf8(text).ok().filter(|_| reads_the_same(text)).and_then(|text| parsed(text).ok());
    let Some(tree) = tree else { return Verdict::Unclear };
    let calls = tree.calls.iter().find_map(|call| of_call(protected, call, depth));
    if let Some(offence) = calls.or_else(|| of_names(protected, &tree)) {
        return Verdict::Guilty(offence);
    }
    let executes = tree.statements.iter().any(|statement| statement == "ExecuteStmt");
    let sees_values = |call: &Call| !call.arguments.is_empty() && !is_postgresqls(&call.name);
    if executes || tree.calls.iter().any(sees_values) { Verdict::HandsOn } else { Verdict::Harmless }
}

/// A name that belongs to a function of PostgreSQL, unless the application has one of the same name.
fn is_postgresqls(name: &str) -> bool {
    is_catalog_function(name.strip_prefix("pg_catalog.").unwrap_or(name))
}

fn of_call(protected: &Protected, call: &Call, depth: usize) -> Option<Offence> {
    let bare = call.name.rsplit('.').next().unwrap_or_default();
    if protected.is_function(&call.name) {
        return Some(Offence::FunctionCalled);
    }
    if bare == "set_config" {
        return match call.arguments.first() {
            Some(Argument::Text(name)) => protected.offence_for(name),
            _ => Some(Offence::SettingTouched),
        };
    }
    if !runs_text(bare.as_bytes()) {
        return None;
    }
    call.arguments.iter().find_map(|argument| match argument {
        Argument::Text(text) => of_inner(protected, text, depth + 1),
        Argument::Constant => None,
        Argument::Computed => Some(Offence::CodeUnread),
    })
}

/// SQL within SQL, or a constant that is none: read as the outer text is.
fn of_inner(protected: &Protected, text: &str, depth: usize) -> Option<Offence> {
    if depth > DEPTH {
        return Some(Offence::CodeUnread);
    }
    let Ok(script) = analyse(text.as_bytes(), StringSyntax::Standard) else {
        return Some(Offence::CodeUnread);
    };
    script.statements().iter().find_map(|statement| {
        match suspicion::of_statement(protected, text.as_bytes(), statement) {
            Suspicion::None => None,
            Suspicion::Certain(offence) => Some(offence),
            Suspicion::Possible(offence) => judge(protected, text.as_bytes(), depth).on(offence),
        }
    })
}

/// What the statements change, and the names in definitions.
fn of_names(protected: &Protected, tree: &Parsed) -> Option<Offence> {
    let defines_view = tree.statements.iter().any(|one| matches!(one.as_str(), "ViewStmt" | "RuleStmt"));
    let is_settings = |name: &String| name.eq_ignore_ascii_case("pg_settings");
    if tree.changed.iter().any(is_settings) || (defines_view && tree.other.iter().any(is_settings)) {
        return Some(Offence::SettingTouched);
    }
    tree.settings.iter().find_map(|name| protected.offence_for(name)).or_else(|| {
        tree.other.iter().find_map(|name| {
            if name.eq_ignore_ascii_case("set_config") {
                Some(Offence::SettingTouched)
            } else if runs_text(name.as_bytes()) {
                Some(Offence::CodeUnread)
            } else {
                protected.is_function(&name.to_lowercase()).then_some(Offence::FunctionCalled)
            }
        })
    })
}
