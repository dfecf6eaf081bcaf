use proptest::prelude::*;

use crate::{LexError, Marks, Script, StringSyntax, Verb, analyse, set_config_targets, string_literals};

const FRAGMENTS: [&str; 62] = [
    "select",
    "commit",
    "begin",
    "set",
    "local",
    "session",
    "a.b",
    "=",
    "to",
    "'x'",
    "'it''s'",
    "e'\\''",
    "'\\'",
    "$$",
    "$t$",
    "\"q\"",
    "\"",
    "'",
    ";",
    ";",
    "(",
    ")",
    "--",
    "\n",
    "/*",
    "*/",
    "create",
    "function",
    "f()",
    "begin atomic",
    "end",
    "case",
    "as",
    ".",
    "rule",
    "temp",
    "into",
    "table",
    "u&'\\0061'",
    "uescape '!'",
    "u&\"!0073et_config\"",
    "set_config",
    ",",
    "1",
    "1e",
    "$1",
    "é",
    "with hold",
    "declare",
    "for",
    "copy",
    "from",
    "reset",
    "all",
    "transaction",
    "prepared",
    "chain",
    "and",
    "role",
    "time zone",
    "n'",
    "b'1'",
];

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::collection::vec(
        (prop::sample::select(FRAGMENTS.to_vec()), prop::sample::select(vec!["", " ", "\n"])),
        0..30,
    );
    let noise = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (pieces, noise).prop_map(|(pieces, noise)| {
        let mut text: Vec<u8> =
            pieces.iter().flat_map(|(piece, gap)| [piece.as_bytes(), gap.as_bytes()].concat()).collect();
        for (at, byte) in noise.into_iter().filter(|_| !pieces.is_empty()) {
            if !text.is_empty() {
                let at = at.index(text.len());
                text[at] = byte;
            }
        }
        text
    })
}

fn verbs(script: &Script) -> Vec<Verb> {
    script.statements().iter().map(|statement| statement.verb).collect()
}

/// Whether the statement is one whose end depends on more than `;` (an open body or rule).
fn is_creation(text: &[u8]) -> bool {
    text.windows(6).any(|word| word.eq_ignore_ascii_case(b"create"))
}

fn check(text: &[u8], strings: StringSyntax) {
    let Ok(script) = analyse(text, strings) else { return };
    let mut last = 0;
    for statement in script.statements() {
        assert!(statement.span.start >= last && statement.span.start < statement.span.end, "{statement:?}");
        assert!(statement.span.end <= text.len(), "{statement:?}");
        assert_ne!(text[statement.span.end - 1], b' ');
        last = statement.span.end;
        if let Some(setting) = &statement.setting {
            assert!(setting.value.start >= statement.span.start && setting.value.start <= setting.value.end);
            assert_eq!(setting.value.end, statement.span.end);
        }
        let targets = set_config_targets(text, statement, strings);
        assert_eq!(targets.is_empty(), !statement.marks.contains(Marks::SET_CONFIG), "{statement:?}");
        assert!(string_literals(text, statement, strings).iter().all(|value| value.len() <= text.len() * 3));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&text, StringSyntax::Standard);
        check(&text, StringSyntax::Backslash);
    }

    #[test]
    fn spans_are_in_range_ordered_and_disjoint(text in mutated()) {
        check(&text, StringSyntax::Standard);
        check(&text, StringSyntax::Backslash);
    }

    #[test]
    fn a_statement_alone_reads_as_it_does_among_others(text in mutated()) {
        if let Ok(script) = analyse(&text, StringSyntax::Standard) {
            for statement in script.statements() {
                let part = &text[statement.span.clone()];
                if is_creation(part) {
                    continue;
                }
                let alone = match analyse(part, StringSyntax::Standard) {
                    // What was unreadable the other way as a whole may be readable in parts.
                    Err(LexError::AmbiguousBackslash { .. }) => continue,
                    result => result.unwrap(),
                };
                prop_assert_eq!(alone.statements().len(), 1);
                prop_assert_eq!(alone.statements()[0].verb, statement.verb);
                prop_assert_eq!(alone.statements()[0].marks, statement.marks);
            }
        }
    }

    #[test]
    fn texts_joined_by_a_semicolon_have_the_same_verbs(first in mutated(), second in mutated()) {
        let (left, right) = (analyse(&first, StringSyntax::Standard), analyse(&second, StringSyntax::Standard));
        if let (Ok(left), Ok(right), false) = (left, right, is_creation(&first)) {
            // The line break ends a comment that the first text may end with.
            let joined = [first.as_slice(), b"\n;", second.as_slice()].concat();
            if let Ok(both) = analyse(&joined, StringSyntax::Standard) {
                prop_assert_eq!(verbs(&both), [verbs(&left), verbs(&right)].concat());
            }
        }
    }

    #[test]
    fn white_space_and_comments_change_nothing(text in mutated()) {
        if let Ok(script) = analyse(&text, StringSyntax::Standard) {
            let padded = [b"/* ; ' */ -- '\n".as_slice(), text.as_slice(), b"\n-- ;"].concat();
            prop_assert_eq!(verbs(&analyse(&padded, StringSyntax::Standard).unwrap()), verbs(&script));
        }
    }
}
