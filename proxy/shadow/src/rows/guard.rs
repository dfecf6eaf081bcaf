//! Whether a table's policy is the standard one, so that a foreign row by its tenant column is foreign by the policy too.

use crate::catalog::{PolicyCommand, Relation};

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

/// Whether staged policies may show rows of another tenant on purpose: what is shared, what is the user's own. Then a
/// foreign row is none that the policies would hide, and only replay can tell. They cannot if one of those that restrict
/// compares the tenant column with a setting, or with what a function without arguments says.
pub(crate) fn may_show_foreign(relation: &Relation) -> bool {
    let Some(column) = relation.tenant_column() else { return false };
    let restricts = |using: &str| parts(using).any(|part| is_comparison(part, &column.name, Calls::Any));
    let mut staged = relation
        .policies
        .iter()
        .filter(|policy| policy.is_staged() && !policy.permissive && policy.is_for(PolicyCommand::Select))
        .filter_map(|policy| policy.using.as_deref());
    relation.is_staged() && !staged.any(restricts)
}

/// What is joined by AND in an expression, as `pg_get_expr` puts it in parentheses.
fn parts(expression: &str) -> impl Iterator<Item = &str> {
    let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(expression);
    let (mut depth, mut quoted, mut ends) = (0_i32, false, vec![]);
    for (place, byte) in inner.bytes().enumerate() {
        match byte {
            b'\'' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            b' ' if depth == 0
                && !quoted
                && inner.get(place..).is_some_and(|rest| rest.starts_with(" AND ")) =>
            {
                ends.push(place);
            }
            _ => (),
        }
    }
    let starts: Vec<usize> = std::iter::once(0).chain(ends.iter().map(|end| end + " AND ".len())).collect();
    ends.push(inner.len());
    starts.into_iter().zip(ends).filter_map(|(start, end)| inner.get(start..end))
}

/// Which calls may say whose rows are seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// `current_setting` alone.
    Setting,
    /// Any function without arguments as well, and any type.
    Any,
}

fn compares(expression: &str, column: &str) -> bool {
    is_comparison(expression, column, Calls::Setting)
}

fn is_comparison(expression: &str, column: &str, calls: Calls) -> bool {
    let mut before = "";
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
                _ if calls == Calls::Setting => return false,
                _ if rest.starts_with("()") => settings += 1,
                // A schema, the name of a column of a sub-select, a type and its length.
                _ if rest.starts_with('.') || before == "as" || before == "::" || before == "character" => (),
                folded if folded.bytes().all(|byte| byte.is_ascii_digit()) => (),
                _ => return false,
            }
            before = match folded.as_str() {
                "as" => "as",
                "character" => "character",
                _ => "",
            };
        } else {
            if rest.starts_with("::") {
                before = "::";
            }
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
    fn what_restricts_to_a_tenant_is_told_from_what_shows_more() {
        let restricts = |using: &str| parts(using).any(|part| is_comparison(part, "org_id", Calls::Any));
        for using in [
            "(org_id = current_org())",
            "(org_id = ( SELECT public.current_org() AS current_org))",
            "(org_id = (NULLIF(current_setting('app.org'::text, true), ''::text))::org_kind)",
            "((org_id)::text = ((NULLIF(current_setting('app.org'::text, true), ''::text))::character varying(40))::text)",
            "((org_id)::integer = (current_org())::integer)",
            "((org_id = current_org()) AND (shared OR (owner = current_who())))",
            "((amount < 10) AND (org_id = current_setting('app.org'::text)))",
        ] {
            assert!(restricts(using), "{using}");
        }
        for using in [
            "shared",
            "is_member(org_id)",
            "(owner = current_who())",
            "(shared OR (org_id = current_org()))",
            "((org_id IS NULL) OR (org_id = current_org()))",
            "((shared OR (org_id = current_org())) AND (amount < 10))",
            "(org_id = other_org(1))",
            "(NOT (org_id = current_org()))",
            "(org_id IN ( SELECT m.org FROM members m WHERE (m.who = current_setting('app.who'::text, true))))",
        ] {
            assert!(!restricts(using), "{using}");
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
