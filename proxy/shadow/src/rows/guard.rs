//! Whether a table's policy is the standard one, so that a foreign row by its tenant column is foreign by the policy too.

use crate::catalog::Relation;

/// The words of an expression that compares the tenant column with one setting, as `pg_get_expr` writes it.
const WORDS: [&str; 14] = [
    "select",
    "as",
    "nullif",
    "current_setting",
    "text",
    "uuid",
    "integer",
    "bigint",
    "smallint",
    "boolean",
    "true",
    "false",
    "varchar",
    "character",
];

/// Whether every policy that says something of reading compares the tenant column with a setting, and does nothing else;
/// and at least one does.
pub(crate) fn is_standard(relation: &Relation) -> bool {
    let Some(column) = relation.tenant_column() else { return false };
    let restricting: Vec<&str> = relation
        .policies
        .iter()
        .filter_map(|policy| policy.using.as_deref())
        .filter(|using| using.trim() != "true")
        .collect();
    !restricting.is_empty() && restricting.iter().all(|using| compares(using, &column.name))
}

fn compares(expression: &str, column: &str) -> bool {
    let mut rest = expression;
    let (mut columns, mut comparisons, mut settings) = (0, 0, 0);
    while let Some(next) = rest.chars().next() {
        if next == '\'' {
            // A constant: the name of the setting, or nothing.
            let Some(end) = rest.get(1..).and_then(|inner| inner.find('\'')) else { return false };
            rest = rest.get(end + 2..).unwrap_or_default();
        } else if next.is_alphanumeric() || next == '_' || next == '"' {
            let quoted = next == '"';
            let body = if quoted { rest.get(1..).unwrap_or_default() } else { rest };
            let is_end = |one: char| if quoted { one == '"' } else { !one.is_alphanumeric() && one != '_' };
            let length = body.find(is_end).unwrap_or(body.len());
            let word = body.get(..length).unwrap_or_default();
            let folded = word.to_lowercase();
            rest = body.get(length + usize::from(quoted)..).unwrap_or_default();
            match folded.as_str() {
                _ if word == column => columns += 1,
                "current_setting" => settings += 1,
                folded if WORDS.contains(&folded) => (),
                _ => return false,
            }
        } else {
            match next {
                '=' => comparisons += 1,
                '(' | ')' | ',' | ':' | ' ' | '\n' | '.' => (),
                _ => return false,
            }
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
    }
    // `AS` in a sub-select names its column after the function or its type.
    (1..=2).contains(&columns) && comparisons == 1 && (1..=2).contains(&settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_with_one_setting_is_standard() {
        for using in [
            "(org_id = (NULLIF(current_setting('app.org'::text, true), ''::text))::uuid)",
            "(org_id = ( SELECT (NULLIF(current_setting('app.org'::text, true), ''::text))::uuid AS \"nullif\"))",
            "(org_id = current_setting('app.org'::text))",
            "(org_id = ( SELECT (current_setting('app.org'::text, true))::integer AS current_setting))",
        ] {
            assert!(compares(using, "org_id"), "{using}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        for using in [
            "true",
            "(org_id = 1)",
            "(user_id = current_setting('app.user'::text))",
            "((org_id = current_setting('app.org'::text)) OR public)",
            "(org_id <> current_setting('app.org'::text))",
            "(org_id IN ( SELECT members.org_id FROM members WHERE (members.user_id = current_setting('app.user'::text))))",
            "(org_id = my_setting('app.org'::text))",
            "(org_id = current_setting('it''s))",
        ] {
            assert!(!compares(using, "org_id"), "{using}");
        }
    }
}
