//! Settings that are lists of names, as the server reads them.

/// Those a client may set (`guc_tables.c`, GUC_LIST_QUOTE): SET quotes every value it is given as one name.
const LISTS: [&str; 4] =
    ["search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"];

/// Whether the setting is a list of names.
pub(super) fn is_list(name: &str) -> bool {
    LISTS.iter().any(|list| list.eq_ignore_ascii_case(name))
}

/// The names in a list, or `None` where the server would not take it (`SplitIdentifierString` in `varlena.c`).
///
/// Libraries are read by other rules there, but a library named after the start is only shown, never loaded.
pub(super) fn names(list: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = trim(list);
    if rest.is_empty() {
        return Some(names);
    }
    loop {
        let (name, behind) = name(rest)?;
        names.push(name);
        match trim(behind) {
            "" => return Some(names),
            more => rest = trim(more.strip_prefix(',')?),
        }
    }
}

/// One name and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted_name(quoted);
    }
    let end = text.find(|c| c == ',' || is_space(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    // ASCII only, as `downcase_identifier` does in every encoding of more than one byte.
    (!name.is_empty()).then(|| (name.to_ascii_lowercase(), rest))
}

/// Up to the closing quote; two quotes stand for one.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let (mut name, mut rest) = (String::new(), text);
    loop {
        let (part, behind) = rest.split_once('"')?;
        name.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, behind)),
        }
    }
}

/// `scanner_isspace` in `scansup.c`.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_the_server_reads_them() {
        for (list, expected) in [
            ("", &[][..]),
            ("  ", &[]),
            ("shop", &["shop"]),
            (" Shop ,\tPUBLIC\n", &["shop", "public"]),
            ("\"Shop\",public", &["Shop", "public"]),
            ("\"a,b\" , c", &["a,b", "c"]),
            ("\"it's \\ \"\"quoted\"\"\"", &["it's \\ \"quoted\""]),
            ("$user, ÄB", &["$user", "Äb"]),
            ("\"\"", &[""]),
        ] {
            assert_eq!(names(list).expect("a list"), expected, "{list}");
        }
    }

    #[test]
    fn what_the_server_refuses_is_no_list() {
        for list in [",", "a,", "a,,b", "a b", "\"a", "\"a\"b", ",a"] {
            assert_eq!(names(list), None, "{list}");
        }
    }
}
