//! The guard: statements that would change a protected setting, or the role.
//!
//! The token scan of `pgwarden_sql` has classified the statement already, so an ordinary one costs two comparisons.

use crate::encode::ROLE;
use crate::finding::Finding;
use pgwarden_session::{Subject, Unread};
use pgwarden_sql::{Marks, SetConfigTarget, Statement, StringSyntax, Verb, set_config_targets};

/// `pg_catalog.set_config(text, text, boolean)`; system OIDs never change (`pg_proc.dat`).
const SET_CONFIG_OID: u32 = 2078;

/// Settings that decide who a statement acts as, whatever the configuration says. `row_security` is not among them:
/// `off` makes the server refuse what policies would filter, and pg_dump sends it.
const IDENTITY: [&str; 2] = ["role", "session_authorization"];

/// The settings that clients may not touch.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    names: Vec<String>,
}

impl Protected {
    /// Protects the settings of these names, and the token; case does not matter. No name: nothing is protected.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        let token = (!names.is_empty()).then_some(&"pgwarden.token");
        Self { names: names.iter().chain(token).map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Whether the setting is one that pgwarden sets.
    #[must_use]
    pub fn holds(&self, setting: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(setting))
    }

    /// What a setting's change would be found as.
    #[must_use]
    pub fn finding_for(&self, setting: &str) -> Option<Finding> {
        match () {
            () if self.names.is_empty() => None,
            () if IDENTITY.iter().any(|name| name.eq_ignore_ascii_case(setting)) => {
                Some(Finding::RoleTouched)
            }
            () if self.holds(setting) => Some(Finding::SettingTouched),
            () => None,
        }
    }

    /// What the guard finds in what a client wants to run.
    #[must_use]
    pub fn inspect(&self, subject: Subject<'_>, strings: StringSyntax) -> Option<Finding> {
        match subject {
            _ if self.names.is_empty() => None,
            Subject::Function(oid) => (oid == SET_CONFIG_OID).then_some(Finding::SettingTouched),
            Subject::Text { script: Err(Unread::Unclear), .. } => Some(Finding::Unreadable),
            Subject::Text { script: Err(Unread::Malformed), .. } => None,
            Subject::Text { text, script: Ok(script) } => script
                .statements()
                .iter()
                .find_map(|statement| self.inspect_statement(text, statement, strings)),
        }
    }

    fn inspect_statement(
        &self,
        text: &[u8],
        statement: &Statement,
        strings: StringSyntax,
    ) -> Option<Finding> {
        if statement.verb == Verb::Token {
            return None;
        }
        let direct = match (&statement.verb, &statement.setting) {
            (Verb::SetRole | Verb::SetSessionAuthorization, _) => Some(Finding::RoleTouched),
            // Back to the login, where pgwarden has set another role.
            (Verb::ResetIdentity, _) if self.holds(ROLE) => Some(Finding::RoleTouched),
            (Verb::Set | Verb::Reset, Some(setting)) => self.finding_for(&setting.name),
            _ => None,
        };
        if direct.is_some() || !statement.marks.contains(Marks::SET_CONFIG) {
            return direct;
        }
        set_config_targets(text, statement, strings).iter().find_map(|target| match target {
            SetConfigTarget::Literal(name) => self.finding_for(name),
            SetConfigTarget::Dynamic => Some(Finding::SettingTouched),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgwarden_sql::analyse;

    fn found(text: &str) -> Option<Finding> {
        let protected = Protected::new(&["app.current_org_id", "app.Current_User_Id"]);
        let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("readable");
        let subject = Subject::Text { text: text.as_bytes(), script: Ok(&script) };
        protected.inspect(subject, StringSyntax::Standard)
    }

    #[test]
    fn setting_a_protected_variable_is_found_in_every_spelling() {
        for text in [
            "SET app.current_org_id = 'x'",
            "set local APP.Current_Org_Id to 'x'",
            "SET SESSION \"app\".\"current_user_id\" = 'x'",
            "RESET app.current_org_id",
            "SELECT 1; SET app.current_org_id = ''",
            "SELECT set_config('app.current_org_id', 'x', true)",
            "SELECT pg_catalog.\"set_config\"('APP.current_org_id', 'x', false)",
            "SELECT set_config('app.' || 'current_org_id', 'x', false)",
            "SELECT set_config($1, $2, true)",
        ] {
            assert_eq!(found(text), Some(Finding::SettingTouched), "{text}");
        }
    }

    #[test]
    fn changing_the_role_is_found() {
        for text in ["SET ROLE admin", "set local role admin", "SET SESSION AUTHORIZATION x"] {
            assert_eq!(found(text), Some(Finding::RoleTouched), "{text}");
        }
    }

    #[test]
    fn a_role_that_pgwarden_sets_is_not_taken_back() {
        let protected = Protected::new(&["app.current_org_id", "role"]);
        for text in ["RESET ROLE", "RESET SESSION AUTHORIZATION", "SELECT set_config('ROLE', 'none', true)"] {
            let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("readable");
            let subject = Subject::Text { text: text.as_bytes(), script: Ok(&script) };
            assert_eq!(
                protected.inspect(subject, StringSyntax::Standard),
                Some(Finding::RoleTouched),
                "{text}"
            );
        }
    }

    #[test]
    fn ordinary_statements_pass() {
        for text in [
            "SELECT 1",
            "SET search_path = x",
            "SELECT set_config('search_path', '', false)",
            "RESET ALL",
            "DISCARD ALL",
            "RESET ROLE",
            "SHOW app.current_org_id",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
