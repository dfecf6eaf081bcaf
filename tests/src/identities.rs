//! The example platform with its policies, pgwarden's own login for look-ups, and triggers that tell changes: the stage
//! of the tests about who the tenant is.

use crate::platform;
use crate::tenants::value;
use crate::version::root;
use crate::{Message, Pgwarden, PgwardenBuilder, Server, Wire, until};

/// The organisation Acme.
pub const ACME: &str = "a0000000-0000-4000-8000-000000000001";
/// The organisation Globex.
pub const GLOBEX: &str = "b0000000-0000-4000-8000-000000000001";
/// Owner of Acme, and a member of nothing else.
pub const ANN: &str = "a0000000-0000-4000-8000-0000000000a1";
/// A member of both, who works in Globex at first.
pub const SAM: &str = "c0000000-0000-4000-8000-0000000000a1";
/// A user who belongs nowhere.
pub const NOBODY: &str = "d0000000-0000-4000-8000-0000000000a1";

/// The session of [`ANN`].
pub const ANNS: &str = "acme-owner-session";
/// The session of [`SAM`].
pub const SAMS: &str = "shared-session";

/// Whether changes are told.
pub const LISTENING: &str = "pgwarden_identity_listening";
/// Look-ups that found somebody.
pub const GRANTED: &str = "pgwarden_identity_lookups_total{outcome=\"granted\"}";
/// Look-ups that found nobody.
pub const DENIED: &str = "pgwarden_identity_lookups_total{outcome=\"denied\"}";
/// The line of the log that says that changes are told.
pub const HEARD: &str = "changes of identities are heard of";

/// The login for look-ups, what it may read, and a count of its queries that outlives their transactions.
const LOOKUP: &str = "
CREATE ROLE pgwarden_lookup LOGIN BYPASSRLS;
GRANT USAGE ON SCHEMA platform TO pgwarden_lookup;
GRANT SELECT ON platform.users, platform.organization_members, platform.user_sessions TO pgwarden_lookup;
CREATE SEQUENCE public.asked;
GRANT USAGE ON SEQUENCE public.asked TO pgwarden_lookup;
";

const SESSION_TOKEN: &str = "SELECT s.user_id AS user, s.expires_at FROM platform.user_sessions s \
     WHERE s.token_hash = $1 AND pg_catalog.nextval('public.asked') > 0";
const RESOLVER: &str = "SELECT u.active_org_id AS tenant FROM platform.users u WHERE u.id = $1";
const MEMBERSHIP: &str =
    "SELECT m.role FROM platform.organization_members m WHERE m.user_id = $1 AND m.organization_id = $2";

/// Loads everything into the database `postgres`.
#[track_caller]
pub fn load(server: &Server) {
    for (name, sql) in platform::files().into_iter().filter(|(name, _)| is_part(name)) {
        run(server, &name, &sql);
    }
    run(server, "invalidation.sql", &kit());
    server.psql(LOOKUP);
}

/// The SQL that tells changes.
pub fn kit() -> String {
    let path = root().join("deploy/sql/invalidation.sql");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// How often it was asked whose session a token is.
pub fn asked(server: &Server) -> u64 {
    let count = server.psql("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM public.asked");
    count.parse().expect("a number")
}

/// The configuration: session tokens, active organisations and memberships, and more in `[context.lookup]`.
#[must_use]
pub fn configuration(lookup: &str) -> String {
    configuration_with(lookup, SESSION_TOKEN, RESOLVER, MEMBERSHIP)
}

/// The same with another query for memberships.
#[must_use]
pub fn configuration_with_membership(lookup: &str, membership: &str) -> String {
    configuration_with(lookup, SESSION_TOKEN, RESOLVER, membership)
}

/// The same with another query for session tokens.
#[must_use]
pub fn configuration_with_session_token(lookup: &str, session_token: &str) -> String {
    configuration_with(lookup, session_token, RESOLVER, MEMBERSHIP)
}

fn configuration_with(lookup: &str, session_token: &str, resolver: &str, membership: &str) -> String {
    format!(
        "mode = \"enforce\"\nauth.method = \"trust\"\n[context]\n\
         variables = \"app.current_org_id=tenant:uuid, app.current_user_id=user:uuid, app.role=column:role\"\n\
         fixed = \"ann=user:{ANN}, sam=user:{SAM}, nobody=user:{NOBODY}, acme=tenant:{ACME};user:{ANN}\"\n\
         [context.lookup]\nuser = \"pgwarden_lookup\"\n{lookup}\n\
         [context.session_token]\nquery = \"{session_token}\"\n\
         [context.resolver]\nquery = \"{resolver}\"\n\
         [context.membership]\nquery = \"{membership}\"\n"
    )
}

/// A pgwarden before the platform, which is not yet started.
#[must_use]
pub fn builder(server: &Server, configuration: &str) -> PgwardenBuilder {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    Pgwarden::builder().upstream(&upstream).config(configuration)
}

/// A pgwarden before the platform that hears of changes.
#[track_caller]
pub fn start(server: &Server, lookup: &str) -> Pgwarden {
    let pgwarden = builder(server, &configuration(lookup)).start();
    until_listening(&pgwarden);
    pgwarden
}

/// Waits until a pgwarden hears of changes.
#[track_caller]
pub fn until_listening(pgwarden: &Pgwarden) {
    until("changes are heard of", || (pgwarden.metric(LISTENING) == Some(1.0)).then_some(()));
}

/// A client.
#[track_caller]
pub fn client(pgwarden: &Pgwarden, user: &str) -> Wire {
    Wire::open(pgwarden.port(), user, "", "postgres")
}

/// The organisation that a client acts for: what the policies see.
#[track_caller]
pub fn org(wire: &mut Wire) -> String {
    value(&wire.query("SELECT current_setting('app.current_org_id')")).unwrap_or_default()
}

/// The same for one transaction with this session token.
#[track_caller]
pub fn org_with(wire: &mut Wire, token: &str) -> String {
    let text = format!("SELECT current_setting('app.current_org_id') /*pgwarden_token='{token}'*/");
    value(&wire.query(&text)).unwrap_or_default()
}

/// What a transaction with this session token is answered.
#[track_caller]
pub fn answer_with(wire: &mut Wire, token: &str) -> Vec<Message> {
    wire.query(&format!("SELECT count(*) FROM platform.projects /*pgwarden_token='{token}'*/"))
}

/// Makes it the organisation in which a user works.
#[track_caller]
pub fn switch(server: &Server, user: &str, tenant: &str) {
    let switched = server.psql(&format!("SELECT platform.set_user_active_org('{user}', '{tenant}')"));
    assert_eq!(switched, "t");
}

/// Files of the example without those that take it back, and without its own checks.
fn is_part(name: &str) -> bool {
    !name.contains("rollback") && !name.contains("check")
}

#[track_caller]
fn run(server: &Server, name: &str, sql: &str) {
    let output = crate::psql(&server.url(), &["-c", sql]);
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}
