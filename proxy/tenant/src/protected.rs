//! The settings that clients may not touch, and the functions that change them.

use crate::body;
use crate::encode::ROLE;
use crate::offence::Offence;
use pgwarden_sql::Mention;

/// Settings that decide who a statement acts as, whatever the configuration says. `row_security` is not among them:
/// `off` makes the server refuse what policies would filter, and pg_dump sends it.
const IDENTITY: [&str; 2] = ["role", "session_authorization"];

/// The token that a client shows, and the word by which triggers know that pgwarden hears them.
const OWN: [&str; 2] = ["pgwarden.token", "pgwarden.nonce"];

/// What clients may not touch.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    names: Vec<String>,
    functions: Vec<String>,
    /// Whether pgwarden sets the role. It is not among the names: the word means something else almost everywhere.
    sets_role: bool,
}

impl Protected {
    /// Protects the settings of these names, and pgwarden's own; case does not matter. No name: nothing is protected.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let own = if names.is_empty() { &[][..] } else { &OWN[..] };
        let sets_role = names.contains(&ROLE);
        let names = names.iter().chain(own).filter(|name| **name != ROLE);
        let names = names.map(|name| name.to_ascii_lowercase()).collect();
        Self { names, functions: Vec::new(), sets_role }
    }

    /// Functions of the database that change the context, with or without their schema; case does not matter.
    #[must_use]
    pub fn with_functions(self, functions: &[String]) -> Self {
        Self { functions: functions.iter().map(|name| name.to_lowercase()).collect(), ..self }
    }

    /// Whether there is nothing to protect.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether some functions may not be called.
    pub(crate) fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    /// Whether transactions run as a role that pgwarden sets.
    #[must_use]
    pub fn sets_role(&self) -> bool {
        self.sets_role
    }

    /// Whether the setting is a variable that pgwarden sets.
    #[must_use]
    pub fn holds(&self, setting: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(setting))
    }

    /// What a setting's change would be found as.
    #[must_use]
    pub fn offence_for(&self, setting: &str) -> Option<Offence> {
        match () {
            () if self.names.is_empty() => None,
            () if self.holds(setting) => Some(Offence::SettingTouched),
            () if IDENTITY.iter().any(|name| name.eq_ignore_ascii_case(setting)) => {
                Some(Offence::RoleTouched)
            }
            () => None,
        }
    }

    /// Whether a name, in lower case and with its schema if it was given one, can be that of such a function.
    pub(crate) fn is_function(&self, name: &str) -> bool {
        self.functions.iter().any(|function| match (function.rsplit_once('.'), name.rsplit_once('.')) {
            (Some(_), Some(_)) | (None, None) => function == name,
            (Some((_, bare)), None) => bare == name,
            (None, Some((_, bare))) => function == bare,
        })
    }

    /// What a function's body in this language does to the context.
    #[must_use]
    pub fn finding_in_body(&self, language: &str, source: &[u8]) -> Option<Offence> {
        body::inspect(self, &[Mention::Language(language.to_owned()), Mention::Constant(source.to_vec())])
    }

    /// Whether the functions that may not be called have one of this name, which has its schema.
    #[must_use]
    pub fn forbids(&self, function: &str) -> bool {
        self.is_function(&function.to_lowercase())
    }

    /// Whether one of the settings is named somewhere in these bytes.
    pub(crate) fn is_named_in(&self, bytes: &[u8]) -> bool {
        self.names.iter().any(|name| holds_name(bytes, name.as_bytes()))
    }
}

/// Looks for a name by its dot, which is rarer than letters.
fn holds_name(bytes: &[u8], name: &[u8]) -> bool {
    let pivot = name.iter().position(|byte| *byte == b'.').unwrap_or(0);
    let Some(mark) = name.get(pivot) else { return false };
    let found = bytes.iter().enumerate().filter(|(_, byte)| byte.eq_ignore_ascii_case(mark));
    found
        .filter_map(|(at, _)| bytes.get(at.checked_sub(pivot)?..)?.get(..name.len()))
        .any(|window| window.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_anywhere_and_in_any_case() {
        let protected = Protected::new(&["app.current_org_id"]);
        for bytes in [
            "app.current_org_id",
            "set APP.Current_Org_Id to",
            "...app.current_org_id",
            "aapp.current_org_id2",
        ] {
            assert!(protected.is_named_in(bytes.as_bytes()), "{bytes}");
        }
        for bytes in ["", ".", "app.current_org_i", ".current_org_id", "app current_org_id"] {
            assert!(!protected.is_named_in(bytes.as_bytes()), "{bytes}");
        }
    }

    #[test]
    fn a_function_is_meant_with_its_schema_or_without() {
        let protected = Protected::default().with_functions(&["Platform.set_user".into(), "become".into()]);
        for name in ["platform.set_user", "set_user", "become", "any.become"] {
            assert!(protected.is_function(name), "{name}");
        }
        for name in ["other.set_user", "platform", "platform.set_users"] {
            assert!(!protected.is_function(name), "{name}");
        }
    }
}
