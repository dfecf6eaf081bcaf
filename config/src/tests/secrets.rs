//! Secrets come from files and variables, and are never printed.

use super::{from_env, from_file, with};
use crate::{Settings, effective};

fn assert_hidden(settings: &Settings) {
    for text in [format!("{settings:?}"), format!("{settings:#?}"), effective(settings)] {
        assert!(!text.contains("hunter2"), "a secret shows in {text}");
        assert!(text.contains("[hidden]"));
    }
}

#[test]
fn a_password_in_the_url_is_not_printed() {
    let settings = with(&[("PGWARDEN_UPSTREAM", "postgres://u:hunter2@h")]);
    assert_eq!(settings.upstream.password.as_ref().unwrap().expose(), "hunter2");
    assert_hidden(&settings);
}

#[test]
fn secrets_from_files_and_variables_are_read_and_not_printed() {
    let settings = from_file(
        "upstream.url = \"postgres://u@h\"\nupstream.password = \"file:/secret\"\n\
         auth.method = \"jwt\"\nauth.jwt.key = \"env:JWT_SECRET\"\nadmin.token = \"env:ADMIN_SECRET\"",
    )
    .unwrap();
    assert_eq!(settings.upstream.password.as_ref().unwrap().expose(), "hunter2-from-file");
    assert_eq!(settings.admin.as_ref().unwrap().token.as_ref().unwrap().expose(), "hunter2-from-env");
    assert_hidden(&settings);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    for text in [
        "upstream.url = \"postgres://u:hunter2@h:x\"",
        "upstream.url = \"postgres://u:a@hunter2@h\"",
        "upstream.url = \"postgres://u:hunter2/a@h\"",
        "upstream.url = \"postgres://u:1/hunter2@h\"",
        "upstream.url = \"postgres://u:a?hunter2@h\"",
        "upstream.url = \"postgres://u:a?sslmode=hunter2\"",
        "upstream.url = \"hunter2\"",
        "upstream.url = \"postgres://u@h\"\nupstream.password = \"hunter2\"",
        "upstream.password = hunter2",
        "upstream.password = \"hunter2",
        "upstream.password = [\"hunter2\"]",
        "auth.method = \"jwt\"\nauth.jwt.key = \"hunter2\"",
        "auth.method = \"jwt\"\nauth.jwt.key = \"https://u:hunter2@h/\"",
        "admin.token = \"hunter2\"",
    ] {
        let mistakes = from_file(text).unwrap_err().join("\n");
        assert!(!mistakes.contains("hunter2"), "a secret shows in {mistakes}");
    }
}

#[test]
fn an_unknown_variable_is_named_without_its_value() {
    let mistakes = from_env(&[("PGWARDEN_PASSWORD", "hunter2")]).unwrap_err().join("\n");
    assert!(!mistakes.contains("hunter2"));
}
