//! The texts in which a query is run again.

/// By which pg_stat_statements and the server's log know what pgwarden has run: part of every text.
pub const MARK: &str = "/* pgwarden replay */";

/// The alias: a name that no column has. A column of the name `q` would stand for itself, and not for the row.
const ROW: &str = "\"pgwarden_r$\"";

/// Counts the rows of `query`, and adds up a hash of each. The order of the rows does not matter.
///
/// The parenthesis stands on a line of its own: the query may end with a comment.
#[must_use]
pub fn counting(query: &str) -> String {
    format!(
        "SELECT {MARK} pg_catalog.count(*), \
         pg_catalog.sum(pg_catalog.hashtextextended({ROW}::pg_catalog.text, 0)) FROM ({query}\n) {ROW}"
    )
}

/// The same, with a hash of each piece of the row instead: the order of what is gathered in a value does not matter either.
#[must_use]
pub fn pieces(query: &str) -> String {
    format!(
        "SELECT {MARK} pg_catalog.count(*), (pg_catalog.sum(hash)) FROM (SELECT (SELECT \
         pg_catalog.sum(pg_catalog.hashtextextended(piece, 0)) FROM \
         pg_catalog.regexp_split_to_table({ROW}::pg_catalog.text, '[^[:alnum:]]+') piece) hash FROM ({query}\n) {ROW}) \"pgwarden_p$\""
    )
}

/// Counts the rows of `query`, and hashes nothing.
#[must_use]
pub fn bare(query: &str) -> String {
    format!("SELECT {MARK} pg_catalog.count(*), 0 FROM ({query}\n) {ROW}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_at_the_end_does_not_swallow_the_parenthesis() {
        for text in [counting, pieces, bare].map(|make| make("SELECT 1 -- end")) {
            assert!(text.contains("-- end\n)"), "{text}");
        }
    }
}
