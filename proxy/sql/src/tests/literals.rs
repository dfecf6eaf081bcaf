use super::one;
use crate::{
    SetConfigTarget, StringSyntax, analyse, set_config_is_local, set_config_targets, string_literals,
};

fn values_as(text: &str, strings: StringSyntax) -> Vec<String> {
    let script = analyse(text.as_bytes(), strings).unwrap();
    let values = string_literals(text.as_bytes(), &script.statements()[0], strings);
    values.into_iter().map(|value| String::from_utf8(value.into_owned()).unwrap()).collect()
}

#[test]
fn literals_are_decoded() {
    let table: [(&str, &[&str]); 19] = [
        ("select 'a', 'b''c', ''", &["a", "b'c", ""]),
        ("select 'a' -- it's\n 'b'\n'c'", &["abc"]),
        ("select E'a\\'b\\\\\\n\\t\\b\\f\\r\\v\\q'", &["a'b\\\n\t\x08\x0c\r\x0bq"]),
        ("select E'\\101\\x42\\x4z\\7'", &["AB\x04z\x07"]),
        ("select E'\\u0061\\U00000062\\uD83D\\uDE00\\U0000D83D\\uDE00'", &["ab😀😀"]),
        ("select E'\\u00zz'", &["u00zz"]),
        ("select e'a'\n'\\x62'", &["ab"]),
        ("select U&'\\0061\\+000062\\\\c''d'", &["ab\\c'd"]),
        ("select U&'\\D83D\\DE00'", &["😀"]),
        ("select U&'!0061\\' UESCAPE '!'", &["a\\"]),
        ("select U&'x!0061' /* */ uescape E'!', 'b'", &["xa", "b"]),
        ("select U&'\\zz'", &["\\zz"]),
        ("select N'a''b'", &["a'b"]),
        ("select B'01', X'ff', 'a'", &["a"]),
        ("select $$a'b$$, $x$a$$b$x$", &["a'b", "a$$b"]),
        ("select \"a\", $1, 'b'", &["b"]),
        ("select 'a\\n'", &["a\\n"]),
        ("do 'a' 'b'", &["a", "b"]),
        ("set a.b = 'x'", &["x"]),
    ];
    for (text, expected) in table {
        assert_eq!(values_as(text, StringSyntax::Standard), expected, "{text}");
    }
    assert_eq!(values_as("select 'a\\n', N'\\x41', 'b'", StringSyntax::Backslash), ["a\n", "A", "b"]);
}

#[test]
fn literals_are_those_of_the_statement_alone() {
    let text = "select 'a'; select 'b'; select 'c'";
    let script = super::script(text);
    let values = string_literals(text.as_bytes(), &script.statements()[1], StringSyntax::Standard);
    assert_eq!(values, [b"b".as_slice()]);
}

#[test]
fn the_target_of_set_config_is_known_only_as_a_plain_constant() {
    let known = [
        "set_config('a.b', 'x', true)",
        "pg_catalog.SET_CONFIG ( /* x */ 'a.b' , 'x', true)",
        "\"set_config\"(E'a\\x2eb', 'x', true)",
        "U&\"!0073et_config\" UESCAPE '!' ('a.b', '', true)",
        "set_config(U&'a!002eb' UESCAPE '!', '', true)",
        "set_config('a.b'::text, '', true)",
        "set_config('a.b' :: pg_catalog . text, '', true)",
        "set_config($$a.b$$, '', true)",
        "set_config('a'\n'.b', '', true)",
        "set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'a.b'",
    ];
    for call in known {
        let text = format!("select {call}");
        let targets = set_config_targets(text.as_bytes(), &one(&text), StringSyntax::Standard);
        assert_eq!(targets, [SetConfigTarget::Literal("a.b".to_owned())], "{text}");
    }
    let dynamic = [
        "set_config('a' || '.b', 'x', true)",
        "set_config(('a.b'), 'x', true)",
        "set_config($1, 'x', true)",
        "set_config(name, 'x', true)",
        "set_config(setting_name => 'a.b', new_value => 'x', is_local => true)",
        "set_config(N'a.b ', 'x', true)",
        "set_config(B'01', 'x', true)",
        "set_config('a.b'::name, 'x', true)",
        "set_config('a.b'::text::name, 'x', true)",
        "set_config('a.b'::public.text, 'x', true)",
        "set_config('a.b' COLLATE \"C\", 'x', true)",
        "set_config('a.b')",
        "set_config",
        "set_config(VARIADIC ARRAY['a.b'])",
        "set_config(E'\\xff', 'x', true)",
        "set_config(name, 'x', false) FROM pg_settings",
        "set_config(name, 'x', false) FROM pg_settings WHERE name = 'a' || '.b'",
        "set_config(name, 'x', false) FROM pg_settings WHERE name = 'a.b' OR true",
        "set_config(name, 'x', false) FROM settings WHERE name = 'a.b'",
        "set_config(name, name, false) FROM pg_settings WHERE name = 'a.b'",
    ];
    for call in dynamic {
        let text = format!("select {call}");
        let targets = set_config_targets(text.as_bytes(), &one(&text), StringSyntax::Standard);
        assert_eq!(targets, [SetConfigTarget::Dynamic], "{text}");
    }
}

#[test]
fn every_call_of_set_config_is_listed() {
    let text =
        "select set_config('a', set_config($1, '', true), true), 'set_config', set_config('b', '', true)";
    let targets = set_config_targets(text.as_bytes(), &one(text), StringSyntax::Standard);
    let literal = |name: &str| SetConfigTarget::Literal(name.to_owned());
    assert_eq!(targets, [literal("a"), SetConfigTarget::Dynamic, literal("b")]);
}

#[test]
fn a_set_config_is_local_where_its_last_argument_says_so() {
    let is_local = |text: &str| {
        let script = analyse(text.as_bytes(), StringSyntax::Standard).expect("it can be read");
        set_config_is_local(text.as_bytes(), &script.statements()[0], StringSyntax::Standard)
    };
    for text in [
        "SELECT 1",
        "SELECT set_config('a.b', 'x', true)",
        "SELECT \"set_config\"('a.b', concat('(', $1, ')'), TRUE), 2",
        "SELECT set_config('a.b', 'x', true), set_config('c.d', (SELECT max(x) FROM t), true)",
    ] {
        assert!(is_local(text), "{text}");
    }
    for text in [
        "SELECT set_config('a.b', 'x', false)",
        "SELECT set_config('a.b', 'x', $1)",
        "SELECT set_config('a.b', 'x', not true)",
        "SELECT set_config('a.b', 'x', f(1, true))",
        "SELECT set_config('a.b', 'x', true), set_config('a.b', 'x', false)",
        "SELECT set_config",
    ] {
        assert!(!is_local(text), "{text}");
    }
}
