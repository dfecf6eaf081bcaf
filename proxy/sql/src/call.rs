//! What a name in front of a parenthesis calls.

use crate::Marks;
use crate::shape::Shape;

/// Names of functions in `pg_catalog` of PostgreSQL 14 to 18, sorted by bytes, one a line.
const CATALOG: &str = include_str!("catalog_functions.txt");

/// Functions that run SQL, with names that are longer than a [`Shape`].
const LONG: [&[u8]; 4] =
    [b"query_to_xmlschema", b"cursor_to_xmlschema", b"query_to_xml_and_xmlschema", b"dblink_send_query"];

/// Whether what stands in front of a parenthesis is a word of the grammar, a type, or one of the functions that nearly
/// every application calls; none of them runs anything but itself.
#[inline]
#[expect(clippy::too_many_lines, reason = "one table, which the compiler makes a comparison of a few words")]
pub(crate) fn is_well_known(word: &[u8]) -> bool {
    let shape = Shape::lower(word);
    matches!(
        shape.as_bytes(),
        b"in"
            | b"as"
            | b"on"
            | b"or"
            | b"by"
            | b"if"
            | b"and"
            | b"not"
            | b"any"
            | b"all"
            | b"row"
            | b"set"
            | b"key"
            | b"sum"
            | b"min"
            | b"max"
            | b"avg"
            | b"abs"
            | b"now"
            | b"mod"
            | b"bit"
            | b"end"
            | b"some"
            | b"over"
            | b"from"
            | b"with"
            | b"then"
            | b"else"
            | b"when"
            | b"case"
            | b"char"
            | b"cast"
            | b"trim"
            | b"left"
            | b"ceil"
            | b"round"
            | b"floor"
            | b"power"
            | b"right"
            | b"count"
            | b"lower"
            | b"upper"
            | b"array"
            | b"where"
            | b"using"
            | b"union"
            | b"exists"
            | b"values"
            | b"select"
            | b"having"
            | b"filter"
            | b"nullif"
            | b"concat"
            | b"length"
            | b"substr"
            | b"random"
            | b"unnest"
            | b"extract"
            | b"varchar"
            | b"numeric"
            | b"decimal"
            | b"lateral"
            | b"between"
            | b"collate"
            | b"replace"
            | b"to_char"
            | b"greatest"
            | b"coalesce"
            | b"position"
            | b"date_part"
            | b"array_agg"
            | b"json_agg"
            | b"jsonb_agg"
            | b"returning"
            | b"substring"
            | b"timestamp"
            | b"row_number"
            | b"date_trunc"
            | b"conflict"
            | b"string_agg"
            | b"to_timestamp"
            | b"current_setting"
            | b"generate_series"
            | b"regexp_replace"
            | b"gen_random_uuid"
    )
}

/// The marks of a call of this function.
pub(crate) fn marks(name: &[u8]) -> Marks {
    if runs_text(name) { Marks::CALLS | Marks::RUNS_TEXT } else { Marks::CALLS }
}

/// Whether a text is a name, perhaps qualified, and nothing else.
pub(crate) fn is_a_name(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let is_in_names = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'"' | 0x80..);
    !text.is_empty() && text.iter().all(is_in_names)
}

/// Whether a function of this name runs the SQL in its arguments: those of PostgreSQL, and of its extensions dblink,
/// tablefunc and xml2. Case does not matter.
#[must_use]
pub fn runs_text(name: &[u8]) -> bool {
    let shape = Shape::lower(name);
    match shape.as_bytes() {
        b"ts_stat" | b"ts_rewrite" | b"query_to_xml" | b"cursor_to_xml" | b"xpath_table" | b"connectby" => {
            true
        }
        b"crosstab" | b"crosstab2" | b"crosstab3" | b"crosstab4" | b"crosstab_hash" => true,
        b"dblink" | b"dblink_exec" | b"dblink_open" | b"dblink_connect" | b"dblink_connect_u" => true,
        // Longer than a shape.
        [] => LONG.iter().any(|long| name.eq_ignore_ascii_case(long)),
        _ => false,
    }
}

/// Whether `pg_catalog` has a function of this name in some supported version.
#[must_use]
pub fn is_catalog_function(name: &str) -> bool {
    let mut names = CATALOG;
    // By halves: the lines are sorted.
    while !names.is_empty() {
        let middle = names.len() / 2;
        let start = names.get(..middle).and_then(|front| front.rfind('\n')).map_or(0, |at| at + 1);
        let rest = names.get(start..).unwrap_or_default();
        let line = rest.lines().next().unwrap_or_default();
        match line.cmp(name) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => names = rest.get(line.len() + 1..).unwrap_or_default(),
            std::cmp::Ordering::Greater => names = names.get(..start).unwrap_or_default(),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_of_the_list_is_found_and_no_other() {
        assert!(CATALOG.lines().is_sorted_by(|left, right| left < right));
        assert!(CATALOG.lines().all(is_catalog_function));
        for stranger in ["", "a", "set_contex", "zzz", "abbrev\nabs"] {
            assert!(!is_catalog_function(stranger), "{stranger}");
        }
    }

    #[test]
    fn what_runs_sql_is_known_in_any_case() {
        for name in [
            "QUERY_TO_XML",
            "query_to_xml_and_xmlschema",
            "dblink_exec",
            "crosstab4",
            "DBLINK_SEND_QUERY",
            "Ts_Stat",
        ] {
            assert!(runs_text(name.as_bytes()), "{name}");
        }
        for name in ["table_to_xml", "count", "dblink_log", "a_function_with_a_long_name"] {
            assert!(!runs_text(name.as_bytes()), "{name}");
        }
    }
}
