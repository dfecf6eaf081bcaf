//! What is mentioned, in every spelling.

use crate::{Mention, Place, SetConfigTarget, StringSyntax, mentions, reads_the_same};

fn all(text: &str, place: Place) -> Vec<Mention> {
    mentions(text.as_bytes(), 0..text.len(), StringSyntax::Standard, place)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[track_caller]
fn has(text: &str, place: Place, mention: &Mention) {
    let found = all(text, place);
    assert!(found.contains(mention), "{text}: {found:?}");
}

#[track_caller]
fn has_not(text: &str, place: Place, mention: &Mention) {
    let found = all(text, place);
    assert!(!found.contains(mention), "{text}: {found:?}");
}

#[test]
fn names_are_joined_and_decoded() {
    for text in [
        "ALTER ROLE x SET App.Current_Org TO 'y'",
        "ALTER ROLE x SET \"app\" . \"current_org\" TO 'y'",
        "ALTER ROLE x SET \"app.current_org\" TO 'y'",
        "ALTER ROLE x SET U&\"!0061pp\" UESCAPE '!' . current_org TO 'y'",
    ] {
        has(text, Place::Statement, &Mention::Name("app.current_org".to_owned()));
    }
}

#[test]
fn only_calls_that_postgresql_does_not_know_are_calls() {
    for text in ["SELECT app.f(1)", "SELECT \"App\".F (1)", "CALL app.f(1)"] {
        has(text, Place::Statement, &Mention::Call("app.f".to_owned()));
    }
    for text in
        ["SELECT count(1), pg_catalog.lower('x'), int4pl(1, 2), mine( )", "INSERT INTO f(a) VALUES (1)"]
    {
        assert!(!all(text, Place::Statement).iter().any(|one| matches!(one, Mention::Call(_))), "{text}");
    }
}

#[test]
fn a_constant_that_is_read_is_none() {
    let constant = Mention::Constant(b"app.a".to_vec());
    for text in ["SELECT f('app.a')", "SELECT current_setting('app.' || 'app.a')", "SELECT E'app\\056a'"] {
        has(text, Place::Statement, &constant);
    }
    for text in ["SELECT current_setting('app.a')", "SELECT pg_catalog.current_setting('app.a'::text, true)"]
    {
        has_not(text, Place::Statement, &constant);
    }
}

#[test]
fn a_role_that_is_set_is_told_from_a_column_of_that_name() {
    for text in [
        "BEGIN SET ROLE x; END",
        "BEGIN SET LOCAL \"role\" TO x; END",
        "BEGIN UPDATE t SET a = 1; SET role = 'x'; END",
        "BEGIN SET SESSION AUTHORIZATION x; END",
        "BEGIN SET SESSION session_authorization = x; END",
    ] {
        has(text, Place::Body, &Mention::Role);
    }
    for text in ["BEGIN UPDATE t SET role = 'x'; END", "BEGIN UPDATE t SET a = 1, role = 2; RESET ROLE; END"]
    {
        has_not(text, Place::Body, &Mention::Role);
    }
    has("CREATE FUNCTION f() RETURNS int SET role = 'x' AS ''", Place::Statement, &Mention::Role);
}

#[test]
fn what_is_executed_is_a_constant_or_computed() {
    for text in [
        "BEGIN EXECUTE 'SELECT ' || 1; END",
        "BEGIN EXECUTE format('SELECT %s', 1); END",
        "BEGIN EXECUTE function; END",
        "BEGIN EXECUTE function INTO x; END",
        "BEGIN RETURN QUERY EXECUTE $1; END",
        "BEGIN FOR r IN EXECUTE (a) LOOP NULL; END LOOP; END",
    ] {
        has(text, Place::Body, &Mention::Computed);
    }
    let code = Mention::Code(b"SELECT 1".to_vec());
    for text in ["BEGIN EXECUTE 'SELECT 1'; END", "BEGIN EXECUTE $x$SELECT 1$x$ INTO a; END"] {
        has(text, Place::Body, &code);
        has_not(text, Place::Body, &Mention::Computed);
    }
    for text in ["GRANT EXECUTE ON FUNCTION f TO x", "CREATE TRIGGER t EXECUTE FUNCTION f()"] {
        has_not(text, Place::Body, &Mention::Computed);
    }
}

#[test]
fn a_change_of_the_view_of_settings_is_seen() {
    has("UPDATE pg_catalog.pg_settings SET setting = 'x'", Place::Statement, &Mention::SettingsUpdate);
    has_not("SELECT * FROM pg_settings", Place::Statement, &Mention::SettingsUpdate);
    has_not("UPDATE t SET a = 1", Place::Statement, &Mention::SettingsUpdate);
}

#[test]
fn set_config_is_listed_with_its_target() {
    let target = |name: &str| Mention::SetConfig(SetConfigTarget::Literal(name.to_owned()));
    has("SELECT u&\"!0073et_config\" UESCAPE '!' ('a.b', '', true)", Place::Statement, &target("a.b"));
    has("BEGIN PERFORM pg_catalog.set_config('a.b', '', true); END", Place::Body, &target("a.b"));
    let dynamic = Mention::SetConfig(SetConfigTarget::Dynamic);
    has(
        "CREATE AGGREGATE a(text, boolean) (sfunc = \"set_config\", stype = text)",
        Place::Statement,
        &dynamic,
    );
}

#[test]
fn languages_are_listed() {
    for text in
        ["DO LANGUAGE 'PLPython3u' $$ $$", "DO LANGUAGE plpython3U $$ $$", "DO LANGUAGE \"plpython3u\" $$ $$"]
    {
        has(text, Place::Statement, &Mention::Language("plpython3u".to_owned()));
    }
}

#[test]
fn a_text_reads_the_same_unless_a_backslash_moves_a_quote() {
    for text in ["SELECT 'a', E'\\'b'", "SELECT 'a\\d'"] {
        assert!(reads_the_same(text.as_bytes()), "{text}");
    }
    for text in ["SELECT 'a\\', 'b'", "SELECT 'a\\''"] {
        assert!(!reads_the_same(text.as_bytes()), "{text}");
    }
}

#[test]
fn making_a_function_is_told_from_words_like_it() {
    for text in [
        "CREATE OR REPLACE FUNCTION f() AS ''",
        "CREATE PROCEDURE f() AS ''",
        "DO LANGUAGE sql ''",
        "DO $$ $$",
    ] {
        has(text, Place::Statement, &Mention::Makes);
    }
    for text in [
        "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        "DROP FUNCTION f",
        "CREATE TRIGGER t EXECUTE FUNCTION f()",
    ] {
        has_not(text, Place::Statement, &Mention::Makes);
    }
}
