//! The role that transactions run as: how it is written, and every mistake in it.

use super::from_file;
use super::mistakes::file;
use crate::{ClaimPath, RoleSettings, effective};

const RIGHT: &str = r#"
    mode = "enforce"
    upstream.url = "postgres://app@db/calls"
    auth.method = "trust"
    auth.jwt.key = "file:/key"
    [context]
    variables = "app.org=claim:org"
    role = "authenticated"
    anonymous_role = "anon"
    role_claim = "role"
    roles = ["authenticated", "support"]
"#;

#[test]
fn roles_are_read_and_read_back() {
    let settings = from_file(RIGHT).unwrap();
    let expected = RoleSettings {
        usual: "authenticated".into(),
        anonymous: "anon".into(),
        claim: Some(ClaimPath::parse("role").unwrap()),
        allowed: vec!["authenticated".into(), "support".into()],
    };
    assert_eq!(settings.context.role, Some(expected));
    assert_eq!(from_file(&effective(&settings)).unwrap(), settings);
}

#[test]
fn who_has_no_context_is_the_usual_role_unless_it_is_said() {
    let settings = from_file(&RIGHT.replace("anonymous_role = \"anon\"", "")).unwrap();
    assert_eq!(settings.context.role.unwrap().anonymous, "authenticated");
    let none = from_file(&RIGHT.lines().filter(|line| !line.contains("role")).collect::<Vec<_>>().join("\n"));
    assert_eq!(none.unwrap().context.role, None);
}

#[test]
fn names_of_roles() {
    file(
        "context.role = \"none\"\ncontext.anonymous_role = \"\"\ncontext.role_claim = \"a..b\"\n\
         context.roles = [\"none\"]",
        &[
            "pgwarden.toml:1:16: context.role: \"none\" is not a role; \
             expected the name of a role, at most 63 bytes",
            "pgwarden.toml:2:26: context.anonymous_role: is empty; expected a value, or the key left out",
            "pgwarden.toml:3:22: context.role_claim: \"a..b\" is not a path of claims; \
             expected names with dots between, like app_metadata.org_id",
            "pgwarden.toml:4:18: context.roles: \"none\" is not a role; \
             expected the name of a role, at most 63 bytes",
        ],
    );
}

#[test]
fn what_belongs_together() {
    file(
        "context.anonymous_role = \"anon\"",
        &["pgwarden.toml:1:26: context.anonymous_role: no role is set; expected context.role as well"],
    );
    file(
        "context.role = \"member\"\ncontext.roles = [\"member\"]",
        &["pgwarden.toml:2:17: context.roles: nothing names one of these; \
           expected context.role_claim as well"],
    );
    file(
        "context.role = \"member\"\ncontext.role_claim = \"role\"\nauth.jwt.key = \"file:/key\"",
        &["pgwarden.toml:2:22: context.role_claim: no role may be named by it; \
           expected context.roles as well"],
    );
    file(
        "context.role = \"member\"\ncontext.role_claim = \"role\"\ncontext.roles = [\"member\"]",
        &["pgwarden.toml:2:22: context.role_claim: clients bring no token; expected auth.method = \"jwt\""],
    );
}
