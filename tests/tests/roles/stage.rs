//! A login without rights, and roles that have some. Each role has a table `whose` in a schema of its name, which
//! `search_path` finds by `"$user"`: what the table says is as whom the name was looked up.

use pgwarden_tests::tokens::{SECRET, json, token};
use pgwarden_tests::{Frontend, Message, Pgwarden, PgwardenBuilder, Server, Wire};

/// `support` is a superuser so that SHOW is_superuser tells whether a backend has kept it.
const SCHEMA: &str = "
CREATE ROLE authenticator LOGIN NOINHERIT;
CREATE ROLE member;
CREATE ROLE support SUPERUSER;
CREATE ROLE anon;
GRANT member, support, anon TO authenticator;
CREATE SCHEMA member AUTHORIZATION member;
CREATE SCHEMA support AUTHORIZATION support;
CREATE SCHEMA anon AUTHORIZATION anon;
CREATE TABLE member.whose AS SELECT 'member'::text AS name;
CREATE TABLE support.whose AS SELECT 'support'::text AS name;
CREATE TABLE anon.whose AS SELECT 'anon'::text AS name;
ALTER TABLE member.whose OWNER TO member;
ALTER TABLE anon.whose OWNER TO anon;
CREATE TABLE papers AS SELECT 'a paper'::text AS name;
GRANT SELECT ON papers TO member;
CREATE PROCEDURE sign() LANGUAGE plpgsql AS $$ BEGIN
    COMMIT;
    INSERT INTO whose VALUES ('signed by ' || current_user);
END $$;
";

const CONFIGURATION: &str = r#"
mode = "enforce"
auth.method = "trust"
pool.size = 1
[context]
variables = "app.current_org_id=claim:org"
missing = "empty"
role = "member"
anonymous_role = "anon"
role_claim = "role"
roles = ["member", "support", "nobody"]
"#;

/// A pgwarden with one backend, which sets the role.
#[track_caller]
pub fn start(server: &Server) -> Pgwarden {
    start_with(server, |builder| builder)
}

/// The same with a pgwarden that is told something else, too.
#[track_caller]
pub fn start_with(server: &Server, tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder) -> Pgwarden {
    start_configured(server, ToOwned::to_owned, tell)
}

/// The same with its configuration changed.
#[track_caller]
pub fn start_configured(
    server: &Server,
    change: impl FnOnce(&str) -> String,
    tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder,
) -> Pgwarden {
    load(server);
    tell(builder(server, &change(CONFIGURATION))).start()
}

/// The schema, once.
#[track_caller]
fn load(server: &Server) {
    if server.psql("SELECT to_regrole('authenticator') IS NULL") == "t" {
        server.psql(SCHEMA);
    }
}

fn builder(server: &Server, configuration: &str) -> PgwardenBuilder {
    let upstream = format!("{}?sslmode=disable", server.url_for("authenticator", "", "postgres"));
    let builder = Pgwarden::builder().upstream(&upstream).config(configuration);
    builder.file("key", SECRET).env("PGWARDEN_JWT_KEY", "file:{dir}/key")
}

/// A client that shows nothing yet.
#[track_caller]
pub fn client(pgwarden: &Pgwarden) -> Wire {
    Wire::open(pgwarden.port(), "anybody", "", "postgres")
}

/// A client whose session runs as this role, or as the usual one.
#[track_caller]
pub fn client_as(pgwarden: &Pgwarden, role: Option<&str>) -> Wire {
    let mut wire = client(pgwarden);
    become_role(&mut wire, role);
    wire
}

/// Shows a token for the rest of the session.
#[track_caller]
pub fn become_role(wire: &mut Wire, role: Option<&str>) {
    let shown = wire.query(&format!("SET pgwarden.token = '{}'", of(role)));
    assert!(shown.iter().all(|message| message.tag != b'E'), "{shown:?}");
}

/// A token that names this role, or none.
pub fn of(role: Option<&str>) -> String {
    match role {
        Some(role) => token(&json!({"org": "acme", "role": role})),
        None => token(&json!({"org": "acme"})),
    }
}

/// What a batch is answered, up to its ReadyForQuery.
#[track_caller]
pub fn answer(wire: &mut Wire, batch: Frontend) -> Vec<Message> {
    wire.send(&batch.sync());
    wire.until_ready()
}
