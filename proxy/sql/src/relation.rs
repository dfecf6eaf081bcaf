//! The relations that a text names, by PostgreSQL's own grammar (libpg_query).

use crate::catalog::is_catalog_relation;
use crate::overlooked::overlooked;
use std::fmt;

/// The longest text that [`user_relations`] reads, in bytes.
pub const MAX_PARSE_BYTES: usize = 64 * 1024;

/// A relation as a text names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Relation {
    /// The schema, if the name is qualified.
    pub schema: Option<String>,
    /// The name within the schema.
    pub name: String,
}

impl fmt::Display for Relation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(out, "{schema}.")?;
        }
        out.write_str(&self.name)
    }
}

/// Why the relations of a text are not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The text is longer than [`MAX_PARSE_BYTES`].
    #[error("text of {bytes} bytes is too long to parse")]
    TooLong {
        /// The length of the text.
        bytes: usize,
    },
    /// The grammar does not accept the text.
    #[error("text does not parse: {reason}")]
    Syntax {
        /// What libpg_query says; it may quote the text.
        reason: String,
    },
}

/// The relations that a text names outside `pg_catalog` and `information_schema`, targets of DDL included.
///
/// An unqualified name that `pg_catalog` has too does not count: `pg_catalog` is searched first unless `search_path` says
/// otherwise. Names of common table expressions do not count. Sorted, without doubles.
///
/// The grammar is PostgreSQL 18's. It recurses: call this on a thread with a big stack (16 MiB is enough for
/// [`MAX_PARSE_BYTES`] of parentheses), never on the data path. Functions read relations without naming them, so
/// an empty answer is no proof that no row is touched.
///
/// # Errors
/// [`ParseError`] when the text is too long or is not PostgreSQL's SQL.
pub fn user_relations(text: &str) -> Result<Vec<Relation>, ParseError> {
    if text.len() > MAX_PARSE_BYTES {
        return Err(ParseError::TooLong { bytes: text.len() });
    }
    let (mut relations, common) = summarise(text)?;
    for query in overlooked(text).map_err(|error| ParseError::Syntax { reason: error.to_string() })? {
        let (more, _) = summarise(&query)?;
        relations.extend(more.into_iter().filter(|relation| !is_common(relation, &common)));
    }
    relations.retain(is_user_relation);
    relations.sort_unstable();
    relations.dedup();
    Ok(relations)
}

/// All relations of a text that libpg_query's summary finds, and the names of its common table expressions.
fn summarise(text: &str) -> Result<(Vec<Relation>, Vec<String>), ParseError> {
    let summary =
        pg_query::summary(text, 0, -1).map_err(|error| ParseError::Syntax { reason: error.to_string() })?;
    let relations = summary.tables.into_iter().map(|table| Relation {
        schema: Some(table.schema_name).filter(|name| !name.is_empty()),
        name: table.table_name,
    });
    Ok((relations.collect(), summary.cte_names))
}

fn is_common(relation: &Relation, common: &[String]) -> bool {
    relation.schema.is_none() && common.contains(&relation.name)
}

fn is_user_relation(relation: &Relation) -> bool {
    match relation.schema.as_deref() {
        Some("pg_catalog" | "information_schema") => false,
        Some(_) => true,
        None => !is_catalog_relation(&relation.name),
    }
}
