//! The ways to write variables and fixed contexts.

use super::{from_file, from_file_with_upstream, with};
use crate::{ClaimPath, Fixed, Kind, Missing, Settings, ValueFrom, Variable};

const SHADOW: (&str, &str) = ("PGWARDEN_MODE", "shadow");

fn jwt(variables: &str) -> Settings {
    with(&[
        SHADOW,
        ("PGWARDEN_AUTH", "jwt"),
        ("PGWARDEN_JWT_KEY", "file:/key"),
        ("PGWARDEN_CONTEXT", variables),
    ])
}

fn variable(name: &str, from: ValueFrom, kind: Kind) -> Variable {
    Variable { name: name.to_owned(), from, kind }
}

fn claim(path: &str) -> ValueFrom {
    ValueFrom::Claim(ClaimPath::parse(path).unwrap())
}

#[test]
fn the_example_of_the_contract_is_read() {
    let settings =
        jwt("app.current_org_id=claim:app_metadata.org_id:uuid, app.current_user_id=claim:sub:uuid, \
         request.jwt.claims=claims, app.region=literal:eu");
    assert_eq!(
        settings.context.variables,
        [
            variable("app.current_org_id", claim("app_metadata.org_id"), Kind::Uuid),
            variable("app.current_user_id", claim("sub"), Kind::Uuid),
            variable("request.jwt.claims", ValueFrom::Claims, Kind::Text),
            variable("app.region", ValueFrom::Literal("eu".into()), Kind::Text),
        ]
    );
    assert_eq!((settings.context.max_value_bytes, settings.context.max_claims_bytes), (8192, 65536));
}

#[test]
fn fixed_contexts_fill_tenant_and_user() {
    let context = with(&[
        SHADOW,
        ("PGWARDEN_CONTEXT", "app.org=tenant:bigint,app.user=user"),
        ("PGWARDEN_FIXED", "alice=tenant:1;user:a, bob=tenant:2, \"odd,name\"=user:'x;y'"),
    ])
    .context;
    let fixed = |tenant: Option<&str>, user: Option<&str>| Fixed {
        tenant: tenant.map(str::to_owned),
        user: user.map(str::to_owned),
    };
    assert_eq!(context.fixed["alice"], fixed(Some("1"), Some("a")));
    assert_eq!(context.fixed["bob"], fixed(Some("2"), None));
    assert_eq!(context.fixed["odd,name"], fixed(None, Some("x;y")));
    assert_eq!(context.missing, Missing::Refuse);
}

#[test]
fn quotes_protect_commas_colons_and_quotes() {
    let context =
        jwt("a.b=literal:'x, y: ''z''', a.c=claim:\"https://h.x/c\".org:text, a.d=literal:'':text").context;
    assert_eq!(context.variables[0].from, ValueFrom::Literal("x, y: 'z'".into()));
    let ValueFrom::Claim(path) = &context.variables[1].from else { panic!("no claim") };
    assert_eq!(path.segments(), ["https://h.x/c", "org"]);
    assert_eq!(path.to_string(), "\"https://h.x/c\".org");
    assert_eq!(context.variables[2].from, ValueFrom::Literal(String::new()));
}

#[test]
fn the_file_knows_three_ways_to_write_variables() {
    let expected = [variable("app.org", ValueFrom::Tenant, Kind::Uuid)];
    let rest = "mode = \"shadow\"\n[context]\ndefault_tenant = \"00000000-0000-0000-0000-00000000000a\"\n";
    for variables in [
        "variables = \"app.org=tenant:uuid\"",
        "variables = [{ name = \"app.org\", from = \"tenant\", kind = \"uuid\" }]",
        "[[context.variables]]\nname = \"app.org\"\nfrom = \"tenant:uuid\"",
        "[context.variables]\n\"app.org\" = \"tenant:uuid\"",
        "[context.variables]\napp.org = \"tenant:uuid\"",
    ] {
        let settings = from_file_with_upstream(&format!("{rest}{variables}")).unwrap();
        assert_eq!(settings.context.variables, expected, "{variables}");
        assert_eq!(settings.context.missing, Missing::Default);
    }
}

#[test]
fn claims_may_name_tenant_and_user() {
    let settings = from_file(
        "upstream.url = \"postgres://u@h\"\nmode = \"shadow\"\nauth.method = \"jwt\"\nauth.jwt.key = \"file:/k\"\n\
         [context]\ntenant_claim = \"org.id\"\nuser_claim = \"sub\"\nvariables = \"a.b=tenant, a.c=user\"\n\
         [context.fixed.alice]\ntenant = \"1\"",
    )
    .unwrap();
    assert_eq!(settings.context.tenant_claim, Some(ClaimPath::parse("org.id").unwrap()));
    assert_eq!(settings.context.fixed["alice"].tenant.as_deref(), Some("1"));
}

#[test]
fn kinds_accept_what_postgresql_takes_without_doubt() {
    assert!(Kind::Uuid.accepts("00000000-0000-0000-0000-00000000000A"));
    assert!(!Kind::Uuid.accepts("00000000-0000-0000-0000-00000000000"));
    assert!(!Kind::Uuid.accepts("{00000000-0000-0000-0000-00000000000a}"));
    assert!(!Kind::Uuid.accepts("00000000-0000-0000-0000-0000000000é"));
    assert!(!Kind::Uuid.accepts(""));
    assert!(Kind::Bigint.accepts("-9223372036854775808"));
    assert!(!Kind::Bigint.accepts("9223372036854775808"));
    assert!(!Kind::Bigint.accepts("1; drop"));
    assert!(!Kind::Text.accepts("a\0b"));
}
