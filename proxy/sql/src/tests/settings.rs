use super::one;
use crate::Verb;

/// Name, whether it is local, and the text of the value.
fn setting(text: &str) -> (Verb, String, bool, String) {
    let statement = one(text);
    let setting = statement.setting.unwrap_or_else(|| panic!("no setting: {text}"));
    (statement.verb, setting.name.into(), setting.local, text[setting.value].to_owned())
}

#[test]
fn set_names_its_parameter_in_every_spelling() {
    let table = [
        ("SET x = 1", "x", false, "1"),
        ("SET x TO 1", "x", false, "1"),
        ("set X=1 ;", "x", false, "1"),
        ("SET SESSION x TO 'a'", "x", false, "'a'"),
        ("SET LOCAL x TO DEFAULT", "x", true, "DEFAULT"),
        ("SET x TO a, 'b' , c -- d", "x", false, "a, 'b' , c"),
        ("SET App.Org = ''", "app.org", false, "''"),
        ("set \"app\".\"Org\" = 1", "app.org", false, "1"),
        ("set \"app.Org\" = 1", "app.org", false, "1"),
        ("SET LOCAL U&\"!0061pp\" UESCAPE '!' . /* */ u&\"\\006frg\" = 1", "app.org", true, "1"),
        ("SET \"a\"\"b\" = 1", "a\"b", false, "1"),
        ("SET a.b.c TO 1", "a.b.c", false, "1"),
        ("SET TIME ZONE 'UTC'", "timezone", false, "'UTC'"),
        ("SET LOCAL TIME ZONE INTERVAL '1' HOUR TO MINUTE", "timezone", true, "INTERVAL '1' HOUR TO MINUTE"),
        ("SET SESSION TIME ZONE LOCAL", "timezone", false, "LOCAL"),
        ("SET NAMES 'UTF8'", "client_encoding", false, "'UTF8'"),
        ("SET NAMES", "client_encoding", false, ""),
        ("SET SCHEMA 'a'", "search_path", false, "'a'"),
        ("SET XML OPTION DOCUMENT", "xmloption", false, "DOCUMENT"),
        ("SET SEED TO 0.5", "seed", false, "0.5"),
        ("SET x FROM CURRENT", "x", false, "CURRENT"),
        ("SET local.x = 1", "local.x", false, "1"),
        ("SET session.x = 1", "session.x", false, "1"),
        ("SET LOCAL local.x = 1", "local.x", true, "1"),
        ("SET LOCAL session.x = 1", "session.x", true, "1"),
        ("SET transaction.x = 1", "transaction.x", false, "1"),
        ("SET role.x = 1", "role.x", false, "1"),
        ("SET time.x = 1", "time.x", false, "1"),
        ("SET names TO 1", "names", false, "1"),
        ("SET schema = 'a'", "schema", false, "'a'"),
        ("SET constraints.x = 1", "constraints.x", false, "1"),
        ("SET SESSION characteristics TO 1", "characteristics", false, "1"),
        ("SET transaction_isolation = serializable", "transaction_isolation", false, "serializable"),
    ];
    for (text, name, local, value) in table {
        assert_eq!(setting(text), (Verb::Set, name.to_owned(), local, value.to_owned()), "{text}");
    }
}

#[test]
fn a_long_name_is_cut_as_the_server_cuts_it() {
    let long = "é".repeat(40);
    assert_eq!(setting(&format!("SET a.{long}b = 1")).1, format!("a.{}", "é".repeat(31)));
    let part = "a".repeat(63);
    assert_eq!(setting(&format!("SET {part}bcd.{part}efg = 1")).1, format!("{part}.{part}"));
}

#[test]
fn reset_and_show_name_their_parameter() {
    let table = [
        ("RESET x", Verb::Reset, "x"),
        ("RESET App.\"Org\"", Verb::Reset, "app.org"),
        ("RESET TIME ZONE", Verb::Reset, "timezone"),
        ("RESET TRANSACTION ISOLATION LEVEL", Verb::Reset, "transaction_isolation"),
        ("SHOW x", Verb::Show, "x"),
        ("SHOW app.org", Verb::Show, "app.org"),
        ("SHOW TIME ZONE", Verb::Show, "timezone"),
        ("SHOW TRANSACTION ISOLATION LEVEL", Verb::Show, "transaction_isolation"),
        ("SHOW SESSION AUTHORIZATION", Verb::Show, "session_authorization"),
        ("SHOW role", Verb::Show, "role"),
    ];
    for (text, verb, name) in table {
        assert_eq!(setting(text), (verb, name.to_owned(), false, String::new()), "{text}");
    }
}

#[test]
fn set_forms_that_are_no_settings_have_verbs_of_their_own() {
    let table = [
        ("SET TRANSACTION READ ONLY", Verb::SetTransaction),
        ("SET LOCAL TRANSACTION ISOLATION LEVEL SERIALIZABLE", Verb::SetTransaction),
        ("SET TRANSACTION SNAPSHOT 'x'", Verb::SetTransaction),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Verb::SetSessionCharacteristics),
        ("SET SESSION SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Verb::SetSessionCharacteristics),
        ("SET LOCAL SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Verb::SetSessionCharacteristics),
        ("SET CONSTRAINTS ALL DEFERRED", Verb::SetConstraints),
        ("SET CONSTRAINTS a.b, c IMMEDIATE", Verb::SetConstraints),
        ("SET ROLE a", Verb::SetRole),
        ("SET ROLE 'a'", Verb::SetRole),
        ("SET LOCAL ROLE NONE", Verb::SetRole),
        ("SET SESSION ROLE a", Verb::SetRole),
        ("SET role = a", Verb::SetRole),
        ("SET LOCAL \"Role\" TO a", Verb::SetRole),
        ("RESET ROLE", Verb::ResetIdentity),
        ("RESET U&\"r\\006fle\"", Verb::ResetIdentity),
        ("SET SESSION AUTHORIZATION a", Verb::SetSessionAuthorization),
        ("SET LOCAL SESSION AUTHORIZATION DEFAULT", Verb::ResetIdentity),
        ("SET SESSION SESSION AUTHORIZATION a", Verb::SetSessionAuthorization),
        ("SET session_authorization = a", Verb::SetSessionAuthorization),
        ("RESET SESSION AUTHORIZATION", Verb::ResetIdentity),
        ("RESET session_authorization", Verb::ResetIdentity),
        ("RESET ALL", Verb::ResetAll),
        ("SHOW ALL", Verb::Show),
        ("SET 1", Verb::Set),
        ("SET", Verb::Set),
    ];
    for (text, verb) in table {
        let statement = one(text);
        assert_eq!((statement.verb, statement.setting), (verb, None), "{text}");
    }
}

#[test]
fn a_setting_that_is_set_to_its_default_is_reset() {
    for (text, verb, name) in [
        ("SET x TO DEFAULT", Verb::Reset, "x"),
        ("SET SESSION my.x = default", Verb::Reset, "my.x"),
        ("SET TIME ZONE DEFAULT", Verb::Reset, "timezone"),
        ("SET x TO 'default'", Verb::Set, "x"),
        ("SET x TO default, other", Verb::Set, "x"),
        ("SET x FROM CURRENT", Verb::Set, "x"),
        ("SET LOCAL x TO DEFAULT", Verb::Set, "x"),
    ] {
        let statement = one(text);
        assert_eq!((statement.verb, &*statement.setting.expect("a setting").name), (verb, name), "{text}");
    }
    assert_eq!(one("SET role TO DEFAULT").verb, Verb::SetRole);
}
