//! Every mistake about tokens, with the exact line that the operator reads.

use super::mistakes::{file, one};
use super::{from_env, from_file};

#[test]
fn tokens() {
    const KEY: &str = "PGWARDEN_JWT_KEY: auth.jwt.key";
    const EXPECTED: &str = "expected file:PATH, env:NAME or the URL of a JWKS document";
    let jwt = ("PGWARDEN_AUTH", "jwt");
    one(&[jwt], &format!("PGWARDEN_AUTH: auth.jwt.key: is missing, jwt needs it; {EXPECTED}"));
    for (key, line) in [
        ("secret", format!("is neither a file, a variable nor an address; {EXPECTED}")),
        ("https:///x", format!("is neither a file, a variable nor an address; {EXPECTED}")),
        ("https://a b/x", format!("an address with spaces; {EXPECTED}")),
        (
            "https://u:p@h/x",
            "an address with a password in it; expected an address without user and password".into(),
        ),
        (
            "file:/absent/k",
            "cannot read \"/absent/k\": no such file; expected a file that pgwarden may read".into(),
        ),
        (
            "env:NO",
            "environment variable \"NO\" is not set; expected a variable that holds the secret".into(),
        ),
    ] {
        one(&[jwt, ("PGWARDEN_JWT_KEY", key)], &format!("{KEY}: {line}"));
    }
    one(
        &[jwt, ("PGWARDEN_JWT_KEY", "file:/k"), ("PGWARDEN_JWT_ALGORITHMS", "RS256,none")],
        "PGWARDEN_JWT_ALGORITHMS: auth.jwt.algorithms: \"none\" is not known; expected one of HS256, HS384, HS512, \
         RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
    );
    one(
        &[jwt, ("PGWARDEN_JWT_KEY", "file:/k"), ("PGWARDEN_JWT_AUDIENCE", "a,")],
        "PGWARDEN_JWT_AUDIENCE: auth.jwt.audience: \"\" is not known; expected names with commas between",
    );
}

#[test]
fn tokens_are_taken_only_where_pgwarden_has_a_login_of_its_own() {
    let problem = "auth.method: jwt would let the holder of a token log in to the server under any name; \
                   expected a user in upstream.url";
    let jwt = [("PGWARDEN_AUTH", "jwt"), ("PGWARDEN_JWT_KEY", "file:/k")];
    let without_a_user = [&[("PGWARDEN_UPSTREAM", "postgres://h")], &jwt[..]].concat();
    assert_eq!(from_env(&without_a_user).unwrap_err(), [format!("PGWARDEN_AUTH: {problem}")]);
    let text = "upstream.url = \"postgres://h\"\nauth.method = \"jwt\"\nauth.jwt.key = \"file:/k\"";
    assert_eq!(from_file(text).unwrap_err(), [format!("pgwarden.toml:2:15: {problem}")]);
    let other_methods = [("PGWARDEN_UPSTREAM", "postgres://h"), ("PGWARDEN_AUTH", "trust"), jwt[1]];
    assert!(from_env(&other_methods).is_ok());
}

#[test]
fn a_url_with_a_mistake_is_not_blamed_for_what_it_may_have_meant() {
    let variables =
        [("PGWARDEN_UPSTREAM", "postgres://h:x"), ("PGWARDEN_AUTH", "jwt"), ("PGWARDEN_JWT_KEY", "file:/k")];
    let mistakes = from_env(&variables).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].contains("no valid port"), "{mistakes:?}");
}

#[test]
fn the_longest_token_is_the_longest_password_of_postgresql() {
    file(
        "limits.token_bytes = \"64kB\"",
        &["pgwarden.toml:1:22: limits.token_bytes: \"64kB\" is out of range; \
           expected a size from 64 to 65535 bytes, like 8192 or 16MiB"],
    );
    assert_eq!(super::with(&[]).limits.token_bytes, 65_535);
}

#[test]
fn oauthbearer_needs_keys_an_issuer_a_scope_and_tls() {
    let file = |more: &str| {
        from_file(&format!(
            "upstream.url = \"postgres://u@h\"\nauth.jwt.key = \"file:/k\"\nauth.method = \"oauthbearer\"\n{more}"
        ))
    };
    const BOTH: &str = "auth.oauth = { issuer = \"https://i\", scope = \"openid db\" }\n";
    let settings = file(BOTH).unwrap();
    assert_eq!(from_file(&crate::effective(&settings)).unwrap(), settings);
    let oauth = settings.auth.oauth.unwrap();
    assert_eq!((oauth.issuer.as_str(), oauth.scope.as_str()), ("https://i", "openid db"));
    let expected = |key: &str, what: &str| {
        format!("pgwarden.toml:3:15: auth.oauth.{key}: is missing, oauthbearer needs it; expected {what}")
    };
    let scope = expected("scope", "the scope that a token has to be asked for");
    assert_eq!(file("").unwrap_err(), [expected("issuer", "the https address of the issuer"), scope.clone()]);
    assert_eq!(file("auth.oauth.issuer = \"https://i\"").unwrap_err(), [scope]);
    for (more, problem) in [
        ("auth.oauth = { issuer = \"me\", scope = \"x\" }", "\"me\" is no address"),
        ("auth.oauth = { issuer = \"https://\", scope = \"x\" }", "is no address"),
        ("auth.oauth = { issuer = \"https://u:p@h\", scope = \"x\" }", "is no address"),
        ("auth.oauth = { issuer = \"https://h\", scope = 'a\"b' }", "is no scope"),
    ] {
        let mistakes = file(more).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].contains(problem), "{mistakes:?}");
    }
    let open = file(&format!("{BOTH}listen = \"0.0.0.0:1\"\n")).unwrap_err();
    assert!(open.len() == 1 && open[0].contains("over TLS alone"), "{open:?}");
    assert!(
        file(&format!("{BOTH}listen = \"0.0.0.0:1\"\ntls = {{ cert = \"/c\", key = \"/k\" }}\n")).is_ok()
    );
    let own = format!(
        "upstream.url = \"postgres://h\"\nauth.jwt.key = \"file:/k\"\nauth.method = \"oauthbearer\"\n{BOTH}"
    );
    let mistakes = from_file(&own).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].contains("under any name"), "{mistakes:?}");
}
