//! `DEALLOCATE name`: drivers that prepare by message and deallocate by SQL mean the name they gave.

use crate::engine::{Engine, Pooling};
use crate::names;
use crate::output::Output;
use crate::queue::Naming;
use crate::tenancy::Tenancy;
use crate::token::Taken;
use pgwarden_sql::{Script, Verb};
use std::sync::Arc;

impl<T: Tenancy> Engine<T> {
    /// The name that a single DEALLOCATE of transaction pooling gives up.
    fn deallocated(&self, text: &[u8], script: &Script) -> Option<Vec<u8>> {
        let statement = script.single().filter(|one| one.verb == Verb::Deallocate { all: false })?;
        if self.options.pooling == Pooling::Session {
            return None;
        }
        last_identifier(text.get(statement.span.clone())?)
    }

    /// Whether a DEALLOCATE has to wait until it is known what its name stands for.
    pub(crate) fn deallocates_in_doubt(&self, text: &[u8], script: Option<&Script>) -> bool {
        script.and_then(|script| self.deallocated(text, script)).is_some_and(|name| !self.is_certain(&name))
    }

    /// The text under which the backend knows the statement that a single DEALLOCATE names; `None` where the text
    /// can go as it is.
    pub(crate) fn renamed_deallocate(
        &mut self,
        text: &[u8],
        script: &Script,
        out: &mut Output,
    ) -> Option<(Vec<u8>, Naming)> {
        let name = self.deallocated(text, script)?;
        let known = Arc::clone(self.statements.find(&name)?);
        let on_backend = if self.is_behind_pooler() {
            // It has no name there; it gets one, for the time until it is deallocated.
            names::of_statement(self.prepare_by_number(&known, out)?)
        } else {
            self.name_on_backend(&known, out)
        };
        let naming = Naming::sent(&name, known, Taken::default());
        Some(([b"DEALLOCATE ".as_slice(), &on_backend].concat(), naming))
    }
}

/// The identifier at the end of a statement, as PostgreSQL reads it.
fn last_identifier(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii_end();
    if let Some(quoted) = text.strip_suffix(b"\"") {
        let mut start = quoted.len();
        while let Some(before) = quoted.get(..start).filter(|before| !before.is_empty()) {
            let ends_here = before.ends_with(b"\"");
            let doubled = before.ends_with(b"\"\"");
            start -= if doubled { 2 } else { 1 };
            if ends_here && !doubled {
                let inner = quoted.get(start + 1..)?;
                return Some(String::from_utf8_lossy(inner).replace("\"\"", "\"").into_bytes());
            }
        }
        return None;
    }
    let start =
        text.iter().rposition(|byte| byte.is_ascii_whitespace() || *byte == b'/').map_or(0, |at| at + 1);
    Some(text.get(start..)?.to_ascii_lowercase()).filter(|name| !name.is_empty() && !names::is_reserved(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_postgresql_reads_them() {
        assert_eq!(last_identifier(b"DEALLOCATE PREPARE Foo ").as_deref(), Some(b"foo".as_slice()));
        assert_eq!(last_identifier(b"deallocate \"A b\"").as_deref(), Some(b"A b".as_slice()));
        assert_eq!(last_identifier(b"deallocate \"A \"\"b\"").as_deref(), Some(b"A \"b".as_slice()));
    }
}
