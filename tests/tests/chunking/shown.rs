//! What clients show of whom they act for: tokens in all three ways they come, and variables that they set themselves.

use pgwarden_tests::Frontend;
use pgwarden_tests::tenants::{BOB, GLOBEX, run};

use crate::conversations::{Conversation, query, spoken};

const BY_PARAMETER: &str = "SELECT set_config('pgwarden.token', $1, $2)";

/// All of them. None is plain: a direct connection answers them otherwise.
pub fn shown() -> Vec<Conversation> {
    [tokens(), commented(), claims()].concat()
}

fn bound(token: Option<&str>, local: &str) -> Frontend {
    Frontend::new().parse("", BY_PARAMETER, &[]).bind("", "", &[token, Some(local)]).execute("", 0)
}

fn tokens() -> Vec<Conversation> {
    let by_literal = "SELECT set_config('pgwarden.token', 'token-other', true) AS \"é\"";
    let described = Frontend::new().parse("t", by_literal, &[]).describe_statement("t").bind("", "t", &[]);
    vec![
        spoken(
            "tokens by SET",
            vec![
                query("SET pgwarden.token = 'token-other'"),
                query("SELECT org()"),
                query(
                    "BEGIN; SET LOCAL pgwarden.token = U&'token\\002down'; SELECT org(); COMMIT; SELECT 1/0",
                ),
                query("SET pgwarden.token TO 'token-own-asked'"),
                query("SELECT org()"),
                query("RESET pgwarden.token"),
            ],
        ),
        spoken(
            "a token in a block",
            vec![
                query("BEGIN"),
                query("SET LOCAL pgwarden.token = 'token-other-asked'"),
                query("SELECT org()"),
                query("SET LOCAL pgwarden.token = 'token-own'"),
                query("ROLLBACK"),
                query("SELECT org()"),
            ],
        ),
        spoken(
            "tokens by set_config",
            vec![
                query("SELECT set_config('pgwarden.token', 'token-other', true), nope"),
                query("SELECT set_config('pgwarden.token', 'token-other', true); SELECT org()"),
                (bound(Some("token-other"), "true").raw(run("SELECT org()").bytes()).sync(), 1),
                (bound(Some("token-other-asked"), "f").describe_portal("").sync(), 1),
                (run("SELECT org()").sync().raw(bound(None, "f").sync().bytes()), 2),
                (described.describe_portal("").execute("", 1).execute("", 1).sync(), 1),
            ],
        ),
        spoken(
            "tokens that are refused",
            vec![
                query("SET pgwarden.token = 'token-wrong'"),
                query("SELECT org() FROM items"),
                (bound(Some("token-old"), "true").raw(run("SELECT 1").bytes()).sync(), 1),
                (run("BEGIN").sync().raw(bound(Some("wrong"), "true").sync().query("ROLLBACK").bytes()), 3),
                query("SET LOCAL pgwarden.token = 'token-own'; SET LOCAL pgwarden.token = 'token-other'"),
            ],
        ),
    ]
}

fn commented() -> Vec<Conversation> {
    let named = |name: &str, token: &str| {
        Frontend::new().parse(name, &format!("/*pgwarden_token='{token}'*/ SELECT org(), $1::int"), &[])
    };
    let prepared =
        named("a", "token-other").raw(named("b", "token-own-asked").describe_statement("b").bytes());
    let both = Frontend::new().bind("", "a", &[Some("1")]).execute("", 0).sync().bind("", "b", &[None]);
    vec![
        spoken(
            "tokens in comments",
            vec![
                query("SELECT org() /*action='list',pgwarden_token='token-other'*/;"),
                query("/* ü */ /*pgwarden_token='token-other-asked'*/ SELECT org(), 1/0"),
                query("/*pgwarden_token='token-other'*/ SELECT nope"),
                query("BEGIN /*pgwarden_token='token-other'*/"),
                query("SELECT org() /*pgwarden_token='token%2Dother'*/"),
                query("COMMIT /*pgwarden_token='token-other'*/"),
                query("SELECT org() FROM items /*pgwarden_token='token-old'*/"),
                query("SELECT org()"),
            ],
        ),
        spoken(
            "tokens in comments of prepared statements",
            vec![
                (prepared.sync(), 1),
                (both.execute("", 0).sync(), 2),
                (Frontend::new().bind("", "a", &[Some("x")]).execute("", 0).close_statement("a").sync(), 1),
            ],
        ),
        spoken(
            "a token in front of a COPY",
            vec![query("COPY (SELECT org()) TO STDOUT /*pgwarden_token='token-other'*/")],
        ),
    ]
}

fn claims() -> Vec<Conversation> {
    let set = |name: &str, value: &str| query(&format!("SET LOCAL app.current_{name}_id = '{value}'"));
    let both =
        "SELECT set_config('app.current_org_id', $1, true), set_config('app.current_user_id', $2, true)";
    let bound = |org: &str| Frontend::new().parse("", both, &[]).bind("", "", &[Some(org), Some(BOB)]);
    let claimed = bound(GLOBEX).execute("", 0).raw(run("SELECT org(), who()").bytes()).sync();
    let refused = bound("nobody").execute("", 0).raw(run("SELECT org(), who()").bytes()).sync();
    vec![
        spoken(
            "claims by SET LOCAL",
            vec![
                query("BEGIN"),
                set("user", BOB),
                set("org", GLOBEX),
                query("SELECT org(), who()"),
                query("COMMIT"),
                query("SELECT org(), who()"),
            ],
        ),
        spoken("claims by set_config", vec![(claimed, 1), (refused, 1), query("SELECT org(), who()")]),
    ]
}
