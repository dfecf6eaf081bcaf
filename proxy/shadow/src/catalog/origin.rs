//! Which columns of tables a view shows as they are.
//!
//! The server keeps a view as the query's tree in text form (`pg_rewrite.ev_action`, written by `outfuncs.c`). Its target
//! list says for each column the table and column that it comes from, if it comes from one at all: `resorigtbl` and
//! `resorigcol`, the same that RowDescription tells of a query (`markTargetListOrigin` in `parse_target.c`).

use super::Origin;
use std::collections::HashMap;

/// A view of a view of a view: deeper than this, nothing is said.
const DEPTH: usize = 64;

/// What the entries of the outermost target list say.
pub(super) fn of_definition(definition: &str) -> Vec<Origin> {
    let mut origins = Vec::new();
    let (mut depth, mut entry) = (0_usize, None);
    let mut words = Words(definition);
    while let Some(word) = words.next() {
        match word {
            "{" => {
                depth += 1;
                if depth == 2 && words.peek() == Some("TARGETENTRY") {
                    entry = Some(Entry::default());
                }
            }
            "}" => {
                if depth == 2 {
                    origins.extend(entry.take().and_then(Entry::origin));
                }
                depth = depth.saturating_sub(1);
            }
            _ if depth == 2 => {
                if let Some(entry) = &mut entry {
                    entry.take(word, &mut words);
                }
            }
            _ => {}
        }
    }
    origins
}

/// Follows what views show down to the tables.
pub(super) fn resolved(view: u32, shown: &HashMap<u32, Vec<Origin>>) -> Vec<Origin> {
    let Some(origins) = shown.get(&view) else { return Vec::new() };
    let follow = |origin: &Origin| {
        let mut found = *origin;
        for _ in 0..DEPTH {
            let Some(next) = shown.get(&found.table) else {
                return Some(Origin { column: origin.column, ..found });
            };
            found = *next.iter().find(|next| next.column == found.number)?;
        }
        None
    };
    origins.iter().filter_map(follow).collect()
}

/// A target list's entry, as far as it was read.
#[derive(Default)]
struct Entry {
    resno: i64,
    table: i64,
    number: i64,
}

impl Entry {
    fn take(&mut self, word: &str, words: &mut Words<'_>) {
        let field = match word {
            ":resno" => &mut self.resno,
            ":resorigtbl" => &mut self.table,
            ":resorigcol" => &mut self.number,
            _ => return,
        };
        *field = words.peek().and_then(|word| word.parse().ok()).unwrap_or_default();
    }

    fn origin(self) -> Option<Origin> {
        let column = i16::try_from(self.resno).ok().filter(|number| *number > 0)?;
        let table = u32::try_from(self.table).ok().filter(|oid| *oid > 0)?;
        let number = i16::try_from(self.number).ok().filter(|number| *number > 0)?;
        Some(Origin { column, table, number })
    }
}

/// The words of a tree, as `pg_strtok` of `read.c` reads them: separated by white space, braces and parentheses, which a
/// backslash makes ordinary.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        Words(self.0).next()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start_matches([' ', '\n', '\t']);
        let mut characters = text.char_indices();
        let end = loop {
            match characters.next() {
                None => break text.len(),
                Some((0, '{' | '}' | '(' | ')')) => break 1,
                Some((at, ' ' | '\n' | '\t' | '{' | '}' | '(' | ')')) => break at,
                Some((_, '\\')) => {
                    characters.next();
                }
                Some(_) => {}
            }
        };
        let (word, rest) = text.split_at_checked(end)?;
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(column: i16, table: u32, number: i16) -> Origin {
        Origin { column, table, number }
    }

    #[test]
    fn only_the_outermost_target_list_counts() {
        let tree = r"({QUERY :rtable ({RANGETBLENTRY :subquery {QUERY :targetList ({TARGETENTRY :resno 1 :resorigtbl 9
            :resorigcol 9})} :alias {ALIAS :aliasname a\}\ b}}) :targetList ({TARGETENTRY :expr {VAR :varno 3} :resno 1
            :resname n :ressortgroupref 0 :resorigtbl 16386 :resorigcol 3 :resjunk false} {TARGETENTRY :expr {CONST} :resno 2
            :resname \:resorigtbl\ 5 :resorigtbl 0 :resorigcol 0 :resjunk false}) :override 0})";
        assert_eq!(of_definition(tree), [origin(1, 16386, 3)]);
    }

    #[test]
    fn no_text_is_too_strange() {
        for text in [
            "",
            "}",
            "{{",
            "({QUERY {TARGETENTRY :resno",
            "\\",
            "{ {TARGETENTRY :resno x} }",
            "{é {TARGETENTRY \\",
        ] {
            assert_eq!(of_definition(text), []);
        }
    }

    #[test]
    fn views_of_views_end_at_tables() {
        let shown = HashMap::from([
            (2, vec![origin(1, 1, 5), origin(2, 3, 1)]),
            (3, vec![origin(1, 2, 1)]),
            (4, vec![origin(1, 4, 1)]),
        ]);
        assert_eq!(resolved(3, &shown), [origin(1, 1, 5)]);
        assert_eq!(resolved(2, &shown), [origin(1, 1, 5), origin(2, 1, 5)]);
        assert_eq!(resolved(4, &shown), [], "a circle, which no server has");
        assert_eq!(resolved(1, &shown), []);
    }
}
