use super::{parts, parts_as, verbs};
use crate::{LexError, StringSyntax, Verb, analyse};

#[test]
fn a_semicolon_divides_only_outside_of_literals_comments_and_names() {
    let table: [(&str, &[&str]); 34] = [
        ("a;b", &["a", "b"]),
        (" a ; ; b ;", &["a", "b"]),
        ("", &[]),
        (" -- x", &[]),
        (";;/**/;", &[]),
        ("a -- ;\n;b", &["a", "b"]),
        ("a -- ;\r;b", &["a", "b"]),
        ("a /* ; /* ; */ ; */ ;b", &["a", "b"]),
        ("a /*/ ; */ ;b", &["a", "b"]),
        ("a /***/;b", &["a", "b"]),
        ("a /* **/;b", &["a", "b"]),
        ("'a;''b;';c", &["'a;''b;'", "c"]),
        ("\"a;\"\"b;\";c", &["\"a;\"\"b;\"", "c"]),
        ("'a'\n';b';c", &["'a'\n';b'", "c"]),
        ("'a' -- '\n -- '\n  ';b';c", &["'a' -- '\n -- '\n  ';b'", "c"]),
        ("E'a\\';b';c", &["E'a\\';b'", "c"]),
        ("e'a'\n'\\';b';c", &["e'a'\n'\\';b'", "c"]),
        ("E'\\\\';c", &["E'\\\\'", "c"]),
        ("U&'a;\\';c", &["U&'a;\\'", "c"]),
        ("U&\"a;\\\"\";\";c", &["U&\"a;\\\"\";\"", "c"]),
        ("B'1;0';X'f;';N'a;';c", &["B'1;0'", "X'f;'", "N'a;'", "c"]),
        ("$$a;b$$;c", &["$$a;b$$", "c"]),
        ("$x$a;$$;$y$;$x$;c", &["$x$a;$$;$y$;$x$", "c"]),
        ("$x$a$$x$;c", &["$x$a$$x$", "c"]),
        ("$é1$;$é1$;c", &["$é1$;$é1$", "c"]),
        ("a$b$;c$b$", &["a$b$", "c$b$"]),
        ("a$$;c$$", &["a$$", "c$$"]),
        ("$1$$;$$;c", &["$1$$;$$", "c"]),
        ("é$$;c", &["é$$", "c"]),
        ("a+--;\n1;b", &["a+--;\n1", "b"]),
        ("a*/*;*/1;b", &["a*/*;*/1", "b"]),
        ("a@-/*;*/1;b", &["a@-/*;*/1", "b"]),
        ("1e$$;c$$", &["1e$$", "c$$"]),
        ("be'a;\\';c", &["be'a;\\'", "c"]),
    ];
    for (text, expected) in table {
        assert_eq!(parts(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_closed_is_an_error_at_its_start() {
    let table = [
        ("a 'b", LexError::UnterminatedString { at: 2 }),
        ("a 'b''", LexError::UnterminatedString { at: 2 }),
        ("a e'b\\'", LexError::UnterminatedString { at: 2 }),
        ("a e'b\\", LexError::UnterminatedString { at: 2 }),
        ("a U&'b", LexError::UnterminatedString { at: 2 }),
        ("'a'\n'b", LexError::UnterminatedString { at: 0 }),
        ("a \"b\"\"", LexError::UnterminatedIdentifier { at: 2 }),
        ("U&\"b", LexError::UnterminatedIdentifier { at: 0 }),
        ("a /* /* */", LexError::UnterminatedComment { at: 2 }),
        ("/*/", LexError::UnterminatedComment { at: 0 }),
        ("a $$b$", LexError::UnterminatedDollar { at: 2 }),
        ("a $x$b$X$", LexError::UnterminatedDollar { at: 2 }),
        ("a $x$b$$", LexError::UnterminatedDollar { at: 2 }),
        ("a\0b", LexError::Nul { at: 1 }),
        ("'\0'", LexError::Nul { at: 1 }),
        ("-- \0", LexError::Nul { at: 3 }),
        ("create function f() begin atomic select 1;", LexError::UnterminatedBody { at: 0 }),
    ];
    for (text, error) in table {
        assert_eq!(analyse(text.as_bytes(), StringSyntax::Standard), Err(error), "{text}");
    }
}

#[test]
fn a_backslash_in_a_plain_literal_follows_the_setting() {
    let text = "select 'a\\';b'";
    assert_eq!(
        analyse(text.as_bytes(), StringSyntax::Standard),
        Err(LexError::UnterminatedString { at: 12 })
    );
    assert_eq!(parts_as(text, StringSyntax::Backslash), [text]);
}

#[test]
fn a_harmless_backslash_is_no_ambiguity() {
    for text in ["select 'C:\\temp' from a", "a like 'b' escape '\\'", "N'\\n'", "select '\\\\'"] {
        assert_eq!(parts(text), [text], "{text}");
    }
}

#[test]
fn a_backslash_that_changes_the_statements_is_ambiguous() {
    let table = [("select '\\';commit;--'", 8), ("select n'\\', '; commit --'", 9)];
    for (text, at) in table {
        for strings in [StringSyntax::Standard, StringSyntax::Backslash] {
            let result = analyse(text.as_bytes(), strings);
            assert_eq!(result, Err(LexError::AmbiguousBackslash { at }), "{text} {strings:?}");
        }
    }
}

#[test]
fn escapes_that_do_not_depend_on_the_setting_are_no_ambiguity() {
    for text in ["select e'\\';'", "select b'\\'", "select $$\\';$$", "select U&'\\'"] {
        for strings in [StringSyntax::Standard, StringSyntax::Backslash] {
            assert_eq!(parts_as(text, strings), [text], "{text}");
        }
    }
}

#[test]
fn a_routine_body_is_one_statement() {
    let texts = [
        "create function f() returns int begin atomic select 1; select 2; end",
        "CREATE OR REPLACE PROCEDURE p() LANGUAGE sql BEGIN /* x */ ATOMIC ; INSERT INTO a VALUES (1); END",
        "create function f() returns int begin atomic select case when true then 1 else 2 end; return 1; end",
        "create function f() returns int begin atomic select (case when true then case 1 when 1 then 2 end end); end",
        "create function f() returns int begin atomic select 1 as case; select 2 as end; end",
        "create function f() returns int begin atomic select a.case, a.end from a; end",
        "create function f() returns int begin atomic select 1 case; select 'x' case; select (1) case; end",
        "create function f(begin atomic) returns int begin atomic end",
        "create function f() returns int begin atomic (select 1); with a as (select 1) table a; end",
        "create function f() returns int begin atomic merge into a using b on true when matched then delete; end",
        "create function begin() returns begin begin atomic end",
    ];
    for text in texts {
        assert_eq!(parts(text), [text], "{text}");
        assert_eq!(verbs(&format!("{text}; commit")), [Verb::Other, Verb::Commit { chain: false }], "{text}");
    }
}

#[test]
fn begin_atomic_counts_only_in_a_routine() {
    let commit = Verb::Commit { chain: false };
    assert_eq!(verbs("create table f () begin atomic a; commit"), [Verb::Other, commit]);
    assert_eq!(verbs("select begin atomic; commit; end"), [Verb::Query, commit, commit]);
    assert_eq!(verbs("begin; select 1; end"), [Verb::Begin, Verb::Query, commit]);
    assert_eq!(verbs("create function f() as 'begin atomic'; commit"), [Verb::Other, commit]);
    assert_eq!(verbs("create view function as select begin atomic; commit"), [Verb::Other, commit]);
}

#[test]
fn a_miscounted_body_hides_no_transaction_control_and_no_set() {
    let open = "create function f() returns int begin atomic select a case; end; ";
    let commit = Verb::Commit { chain: false };
    assert_eq!(verbs(&format!("{open} commit; select 1 end")), [Verb::Other, commit, Verb::Query]);
    assert_eq!(verbs(&format!("{open} set a.b = 1")), [Verb::Other, Verb::Set]);
    assert_eq!(
        verbs(&format!("{open} drop table a; rollback")),
        [Verb::Other, Verb::Other, Verb::Rollback { chain: false }]
    );
    assert_eq!(verbs("create function f() begin atomic commit; end"), [Verb::Other, commit, commit]);
    let hidden = format!("{open} select 1");
    assert_eq!(analyse(hidden.as_bytes(), StringSyntax::Standard), Err(LexError::UnterminatedBody { at: 0 }));
    let split = format!("{open} commit");
    assert_eq!(parts(&split)[0], open.trim_end_matches([' ', ';']));
}

#[test]
fn the_actions_of_a_rule_are_one_statement() {
    let rule = "create or replace rule r as on insert to a do also (insert into b values (1); notify c)";
    assert_eq!(parts(&format!("{rule}; commit")), [rule, "commit"]);
    assert_eq!(parts("create table r (a; b)"), ["create table r (a", "b)"]);
}

#[test]
fn bytes_that_are_no_utf8_are_identifiers() {
    let script = analyse(b"select \xff\xfe$$ ; commit ; \xa0", StringSyntax::Standard).unwrap();
    let verbs: Vec<_> = script.statements().iter().map(|statement| statement.verb).collect();
    assert_eq!(verbs, [Verb::Query, Verb::Commit { chain: false }, Verb::Other]);
}

#[test]
fn a_word_may_follow_a_number_as_in_postgresql_14() {
    let script = analyse(b"select 1from a", StringSyntax::Standard).unwrap();
    assert!(script.statements()[0].marks.contains(crate::Marks::RELATION));
}
