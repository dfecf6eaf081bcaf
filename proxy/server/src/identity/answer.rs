//! What the one row of a look-up says.

use crate::identity::instant;
use crate::lookup::{Column, Row, Table};
use std::collections::BTreeMap;
use std::fmt;
use std::iter::zip;
use thiserror::Error;

/// The OID of `boolean` (`pg_type.dat`).
const BOOLEAN: u32 = 16;

/// What one row says. Never printed. What it has no column for, or NULL in it, it does not say.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Column `tenant`; where there is but one column, that one.
    pub(super) tenant: Option<String>,
    /// Column `user`.
    pub(super) user: Option<String>,
    /// Column `expires_at`, in seconds since 1970.
    pub(super) expires_at: Option<u64>,
    /// Every column by its name.
    pub(super) columns: BTreeMap<String, String>,
    /// The one column, where there is but one and it is a boolean.
    pub(super) truth: Option<bool>,
    /// Whether there is a column for a tenant or a user at all.
    pub(super) names_somebody: bool,
}

/// Why an answer says nothing. It never holds a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum AnswerError {
    /// More than one row.
    #[error("there is more than one row")]
    Ambiguous,
    /// Two columns of one name.
    #[error("two columns are called \"{0}\"")]
    SameName(String),
    /// The end of a session that is no point in time.
    #[error("expires_at is neither a timestamp with time zone nor a number of seconds since 1970")]
    NoInstant,
    /// Nothing says who it is.
    #[error("no column is called tenant or user")]
    Nameless,
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Answer").finish_non_exhaustive()
    }
}

impl Answer {
    /// Reads a table of at most one row; `None` where there is none.
    ///
    /// # Errors
    /// [`AnswerError`] when it cannot be told what it says.
    pub(super) fn read(table: Table) -> Result<Option<Self>, AnswerError> {
        let Table { columns, mut rows } = table;
        if rows.len() > 1 {
            return Err(AnswerError::Ambiguous);
        }
        rows.pop().map(|row| Self::of_row(&columns, row)).transpose()
    }

    fn of_row(columns: &[Column], row: Row) -> Result<Self, AnswerError> {
        let mut answer = Self::default();
        for (column, value) in zip(columns, row) {
            let text = value.map(|text| text.to_string());
            let place = match column.name.as_str() {
                "tenant" => Some(&mut answer.tenant),
                "user" => Some(&mut answer.user),
                _ if columns.len() == 1 => Some(&mut answer.tenant),
                _ => None,
            };
            if let Some(place) = place {
                answer.names_somebody = true;
                place.clone_from(&text);
            }
            if column.name == "expires_at" {
                let instant =
                    text.as_deref().map(|text| instant::seconds(text).ok_or(AnswerError::NoInstant));
                answer.expires_at = instant.transpose()?;
            }
            if columns.len() == 1 && column.type_oid == BOOLEAN {
                answer.truth = Some(text.as_deref() == Some("t"));
            }
            if let Some(text) = text
                && answer.columns.insert(column.name.clone(), text).is_some()
            {
                return Err(AnswerError::SameName(column.name.clone()));
            }
        }
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(columns: &[(&str, u32)], rows: &[&[Option<&str>]]) -> Result<Option<Answer>, AnswerError> {
        let columns = columns.iter().map(|(name, oid)| Column { name: (*name).to_owned(), type_oid: *oid });
        let value = |text: &Option<&str>| text.map(|text| text.to_owned().into());
        let rows = rows.iter().map(|row| row.iter().map(value).collect());
        Answer::read(Table { columns: columns.collect(), rows: rows.collect() })
    }

    #[test]
    fn columns_are_known_by_their_names() {
        let columns = [("user", 2950), ("expires_at", 1184), ("role", 25), ("tenant", 2950)];
        let row = [Some("u"), Some("1970-01-01 00:01:00+00"), Some("owner"), None];
        let answer = read(&columns, &[&row]).unwrap().unwrap();
        assert_eq!((answer.user.as_deref(), answer.tenant, answer.expires_at), (Some("u"), None, Some(60)));
        assert_eq!(answer.columns.get("role").map(String::as_str), Some("owner"));
        assert!(!answer.columns.contains_key("tenant"), "NULL says nothing");
    }

    #[test]
    fn a_column_alone_is_the_tenant_whatever_it_is_called() {
        let answer = read(&[("active_org_id", 2950)], &[&[Some("t")]]).unwrap().unwrap();
        assert_eq!((answer.tenant.as_deref(), answer.truth), (Some("t"), None));
        let alone = read(&[("user", 25)], &[&[Some("u")]]).unwrap().unwrap();
        assert_eq!((alone.user.as_deref(), alone.tenant), (Some("u"), None));
    }

    #[test]
    fn a_boolean_alone_is_a_yes_or_a_no() {
        for (value, truth) in [(Some("t"), true), (Some("f"), false), (None, false)] {
            let answer = read(&[("exists", 16)], &[&[value]]).unwrap().unwrap();
            assert_eq!(answer.truth, Some(truth), "{value:?}");
        }
        assert_eq!(read(&[("exists", 25)], &[&[Some("f")]]).unwrap().unwrap().truth, None);
    }

    #[test]
    fn what_is_ambiguous_says_nothing() {
        assert_eq!(read(&[("tenant", 25)], &[]), Ok(None));
        assert_eq!(read(&[("tenant", 25)], &[&[Some("a")], &[Some("a")]]), Err(AnswerError::Ambiguous));
        let twice = read(&[("tenant", 25), ("tenant", 25)], &[&[Some("a"), Some("b")]]);
        assert_eq!(twice, Err(AnswerError::SameName("tenant".to_owned())));
        let never =
            read(&[("tenant", 25), ("expires_at", 1114)], &[&[Some("a"), Some("2026-01-01 00:00:00")]]);
        assert_eq!(never, Err(AnswerError::NoInstant));
    }
}
