//! TRUNCATE and COPY FROM: which tables they name, in a normalised text.

/// A name as a text has it: the schema, where it says one, and the table.
pub(crate) type Name = (Option<String>, String);

/// The tables behind `truncate` or `copy`.
pub(crate) fn targets(text: &str) -> Vec<Name> {
    let (mut rest, several) = match text.split_once(' ') {
        Some(("truncate", rest)) => (rest.strip_prefix("table ").unwrap_or(rest), true),
        Some(("copy", rest)) => (rest.strip_prefix("binary ").unwrap_or(rest), false),
        _ => return Vec::new(),
    };
    let mut names = Vec::new();
    loop {
        rest = rest.strip_prefix("only ").unwrap_or(rest);
        let Some((name, behind)) = name(rest) else { return names };
        names.push(name);
        let behind = behind.strip_prefix(" *").unwrap_or(behind);
        match behind.strip_prefix(", ") {
            Some(next) if several => rest = next,
            _ => return names,
        }
    }
}

/// A name of one or more parts, the last two of which count, and what is behind it.
fn name(text: &str) -> Option<(Name, &str)> {
    let (mut last, mut rest) = part(text)?;
    let mut schema = None;
    while let Some(behind) = rest.strip_prefix('.') {
        let (next, behind) = part(behind)?;
        (schema, last, rest) = (Some(last), next, behind);
    }
    Some(((schema, last), rest))
}

fn part(text: &str) -> Option<(String, &str)> {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find([' ', '.', ',', '(', '*']).unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        return (!word.is_empty()).then(|| (word.to_owned(), rest));
    };
    let mut name = String::new();
    let mut rest = inner;
    loop {
        let (piece, behind) = rest.split_once('"')?;
        name.push_str(piece);
        match behind.strip_prefix('"') {
            Some(behind) => {
                name.push('"');
                rest = behind;
            }
            None => return Some((name, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Vec<String> {
        let shown = |(schema, name): Name| schema.map_or(name.clone(), |schema| format!("{schema}|{name}"));
        targets(text).into_iter().map(shown).collect()
    }

    #[test]
    fn names_are_found_behind_the_command() {
        for (text, expected) in [
            ("truncate items", vec!["items"]),
            (
                "truncate table only a.items, \"B \"\"c\".d * restart identity cascade",
                vec!["a|items", "B \"c|d"],
            ),
            ("copy items(a, b) from stdin", vec!["items"]),
            ("copy public.items from $1", vec!["public|items"]),
            ("copy (select $1) to stdout", vec![]),
            ("select $1", vec![]),
        ] {
            assert_eq!(named(text), expected, "{text}");
        }
    }
}
