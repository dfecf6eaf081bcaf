//! Every mistake about the context, with the exact line that the operator reads.

use super::mistakes::{file, one};

/// Asserts that this `PGWARDEN_CONTEXT` gives exactly this one mistake.
fn variable(text: &str, line: &str) {
    let variables = [("PGWARDEN_MODE", "shadow"), ("PGWARDEN_CONTEXT", text)];
    one(&variables, &format!("PGWARDEN_CONTEXT: context.variables: {line}"));
}

#[test]
fn names_of_variables() {
    const SHAPE: &str =
        "name=source[:argument][:kind], like app.current_org_id=claim:app_metadata.org_id:uuid";
    const NAME: &str = "a dotted identifier like app.current_org_id (PostgreSQL would answer SQLSTATE 42602)";
    let long = "x".repeat(64);
    for (text, line) in [
        ("a.b".to_owned(), format!("\"a.b\" has no `=`; expected {SHAPE}")),
        ("a.b=literal:x,".to_owned(), format!("\"\" has no `=`; expected {SHAPE}")),
        (
            "role=literal:x".to_owned(),
            format!("\"role\" is not the name of a custom setting; expected {NAME}"),
        ),
        (
            "a..b=literal:x".to_owned(),
            format!("\"a..b\" is not the name of a custom setting; expected {NAME}"),
        ),
        ("a.1=literal:x".to_owned(), format!("\"a.1\" is not the name of a custom setting; expected {NAME}")),
        ("a.é=literal:x".to_owned(), format!("\"a.é\" is not the name of a custom setting; expected {NAME}")),
        (
            format!("a.{long}=literal:x"),
            format!("\"a.{long}\" is too long; expected at most 63 bytes between the dots"),
        ),
        (
            "PgWarden.x=literal:x".to_owned(),
            "\"PgWarden.x\" belongs to pgwarden; expected another prefix than pgwarden".into(),
        ),
    ] {
        variable(&text, &line);
    }
}

#[test]
fn sources_and_values_of_variables() {
    const SOURCES: &str =
        "tenant, user, claim:PATH, claims, column:NAME or literal:TEXT, and behind it uuid, bigint or text";
    for (text, line) in [
        ("a.b=header:x".to_owned(), format!("\"header:x\" is not a source; expected {SOURCES}")),
        ("a.b=literal".to_owned(), format!("\"literal\" is not a source; expected {SOURCES}")),
        ("a.b=literal:x:int".to_owned(), "\"int\" is not known; expected one of uuid, bigint, text".into()),
        (
            "a.b=literal:x:y:z".to_owned(),
            "\"literal:x:y:z\" has too many colons; expected quotes around what contains a colon".into(),
        ),
        ("a.b=literal:x:uuid".to_owned(), "\"x\" is not a value for a.b; expected a uuid".into()),
        ("a.b=claims:uuid".to_owned(), "a.b takes all claims, which are JSON; expected the kind text".into()),
        (
            "a.b=claim:x..y".to_owned(),
            "\"x..y\" is not a path of claims; expected names with dots between, like app_metadata.org_id"
                .into(),
        ),
        ("a.b=literal:'x".to_owned(), "a quote is not closed; expected a second '".into()),
        (
            "a.b=literal:x'y'".to_owned(),
            "x'y' has a quote inside; expected the quotes around the whole text".into(),
        ),
        ("a.b=literal:'x'y'z'".to_owned(), "'x'y'z' is not quoted rightly; expected one quoted text".into()),
        (
            "a.b=literal:x,A.B=literal:y".to_owned(),
            "\"A.B\" is given twice; expected each variable once".into(),
        ),
        (
            "a.b=claim:sub".to_owned(),
            "a.b takes a claim, but clients bring no token; expected auth.method = \"jwt\"".into(),
        ),
        (
            "a.b=claims".to_owned(),
            "a.b takes a claim, but clients bring no token; expected auth.method = \"jwt\"".into(),
        ),
        (
            "a.b=tenant".to_owned(),
            "nothing says who the tenant of a.b is; \
             expected one of context.fixed, context.default_tenant, context.tenant_claim, \
             context.session_token.query, context.resolver.query, context.claim.users"
                .into(),
        ),
        (
            format!("a.b=literal:{}", "x".repeat(8193)),
            "the value of a.b is too long; expected at most 8192 bytes".into(),
        ),
    ] {
        variable(&text, &line);
    }
}

#[test]
fn variables_in_the_file() {
    file(
        "mode = \"shadow\"\n[context]\nvariables = [1, { name = \"a.b\" }, { nam = 1 },\n\
         { name = \"a.c\", from = \"literal:1:uuid\", kind = \"uuid\" }]",
        &[
            "pgwarden.toml:3:14: context.variables: is not a table; expected a table with name, from and kind",
            "pgwarden.toml:3:17: context.variables: has no name or no source; expected a table with name, from and kind",
            "pgwarden.toml:3:35: context.variables: unknown key \"nam\"; expected a table with name, from and kind",
            "pgwarden.toml:4:1: context.variables: the kind of a.c is given twice; expected one kind",
        ],
    );
}

#[test]
fn fixed_contexts() {
    const SHAPE: &str = "expected name=tenant:ID;user:ID";
    let rest = [("PGWARDEN_MODE", "shadow"), ("PGWARDEN_CONTEXT", "a.b=literal:x")];
    for (text, line) in [
        ("alice", format!("\"alice\" names no user; {SHAPE}")),
        ("=tenant:1", format!("\"=tenant:1\" names no user; {SHAPE}")),
        ("alice=1", format!("\"1\" is neither tenant:ID nor user:ID; {SHAPE}")),
        ("alice=tenant:", format!("\"tenant:\" is empty or given twice; {SHAPE}")),
        ("alice=tenant:1;tenant:2", format!("\"tenant:2\" is empty or given twice; {SHAPE}")),
        ("a=tenant:1,a=tenant:2", "\"a\" is given twice; expected each user once".to_owned()),
    ] {
        let variables = [&rest[..], &[("PGWARDEN_FIXED", text)]].concat();
        one(&variables, &format!("PGWARDEN_FIXED: context.fixed: {line}"));
    }
    file(
        "mode = \"shadow\"\n[context]\nvariables = \"a.b=tenant:uuid\"\n[context.fixed]\nalice = 1\nbob = {}\n\
         carol = { tenant = \"x\", role = 1 }",
        &[
            "pgwarden.toml:5:9: context.fixed.alice: is not a table; expected [context.fixed.alice] with tenant and user",
            "pgwarden.toml:6:7: context.fixed.bob: is empty; expected tenant, user or both",
            "pgwarden.toml:7:20: context.fixed.carol.tenant: \"x\" is not a value for a.b; expected a uuid of at most 8192 bytes",
            "pgwarden.toml:7:25: context.fixed.carol.role: unknown key; expected one of tenant, user",
        ],
    );
}

#[test]
fn the_default_tenant() {
    file(
        "context.missing = \"default\"",
        &[
            "pgwarden.toml:1:19: context.missing: there is no default tenant; expected context.default_tenant as well",
        ],
    );
    file(
        "context.missing = \"refuse\"\ncontext.default_tenant = \"1\"",
        &["pgwarden.toml:1:19: context.missing: contradicts context.default_tenant; \
           expected \"default\", or no default tenant"],
    );
    file(
        "mode = \"shadow\"\n[context]\ndefault_tenant = \"x\"\ntenant_claim = \"t\"\nvariables = \"a.b=tenant:bigint\"",
        &[
            "pgwarden.toml:3:18: context.default_tenant: \"x\" is not a value for a.b; expected a bigint of at most 8192 bytes",
            "pgwarden.toml:4:16: context.tenant_claim: clients bring no token; expected auth.method = \"jwt\"",
        ],
    );
}
