//! Errors of policies that are in force, told by the functions that raise them: texts are translated, those are not.

use crate::finding::{Command, Target};
use pgwarden_wire::ErrorFields;

/// What a refusal by a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    /// The table and policy, as far as they are told.
    pub(crate) target: Target,
    /// For the record: the SQLSTATE and the function.
    pub(crate) evidence: String,
    /// The command, where the function tells it.
    pub(crate) command: Option<Command>,
}

/// Whether an ErrorResponse comes from a policy.
///
/// `ExecWithCheckOptions` (`execMain.c`) raises 42501 for policies alone: of views it raises 44000. `check_enable_rls`
/// (`rls.c`) raises it where `row_security` is off; `DoCopy` (`copy.c`) raises 0A000 for COPY FROM with policies alone.
pub(crate) fn denied(error: &[u8]) -> Option<Denied> {
    let fields = ErrorFields::new(error);
    let (code, routine) = (fields.sqlstate(), fields.find(b'R')?);
    let command = match (&code, routine) {
        (b"42501", b"ExecWithCheckOptions" | b"check_enable_rls") => None,
        (b"0A000", b"DoCopy") => Some(Command::Copy),
        _ => return None,
    };
    let quoted = quoted(fields.find(b'M').unwrap_or_default());
    let (policy, table) = match quoted.as_slice() {
        [table] => (None, Some(table.clone())),
        [policy, table, ..] => (Some(policy.clone()), Some(table.clone())),
        [] => (None, None),
    };
    let target = match command {
        None => Target { table, policy, ..Target::default() },
        Some(_) => Target::default(),
    };
    let [code, routine] = [&code[..], routine].map(String::from_utf8_lossy);
    Some(Denied { target, evidence: format!("{code} {routine}"), command })
}

/// The names in double quotes: a message that is translated may have others, and then names nothing here.
fn quoted(message: &[u8]) -> Vec<String> {
    let message = String::from_utf8_lossy(message);
    message.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: &str, message: &str, routine: &str) -> Vec<u8> {
        format!("SFEHLER\0C{code}\0M{message}\0R{routine}\0\0").into_bytes()
    }

    #[test]
    fn policies_are_told_by_function_whatever_the_language() {
        let english = "new row violates row-level security policy \"own\" for table \"items\"";
        let found = denied(&error("42501", english, "ExecWithCheckOptions")).expect("denied");
        assert_eq!(
            found.target,
            Target { table: Some("items".into()), policy: Some("own".into()), ..Target::default() }
        );
        assert_eq!(found.evidence, "42501 ExecWithCheckOptions");
        let german = "neue Zeile verletzt Policy für Sicherheit auf Zeilenebene für Tabelle »items«";
        assert_eq!(
            denied(&error("42501", german, "ExecWithCheckOptions")).expect("denied").target,
            Target::default()
        );
        assert!(denied(&error("0A000", "COPY FROM not supported", "DoCopy")).is_some());
    }

    #[test]
    fn other_refusals_are_none_of_policies() {
        for (code, routine) in [
            ("42501", "aclcheck_error"),
            ("44000", "ExecWithCheckOptions"),
            ("0A000", "RevalidateCachedQuery"),
            ("23505", "_bt_check_unique"),
        ] {
            assert_eq!(denied(&error(code, "no", routine)), None, "{code} {routine}");
        }
        assert_eq!(denied(b""), None);
    }
}
