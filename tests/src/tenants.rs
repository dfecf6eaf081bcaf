//! Two tenants, a client without one, and the same tables asked directly: the stage of the tests about injection.

use crate::{Frontend, Message, Pgwarden, PgwardenBuilder, Server, Wire};

/// The organisation of the client `acme`.
pub const ACME: &str = "00000000-0000-4000-8000-00000000000a";
/// The organisation of the client `globex`.
pub const GLOBEX: &str = "00000000-0000-4000-8000-00000000000b";
/// The user behind `acme`.
pub const ANN: &str = "00000000-0000-4000-8000-0000000000a1";
/// The user behind `globex`.
pub const BOB: &str = "00000000-0000-4000-8000-0000000000b1";

const SCHEMA: &str = "
CREATE ROLE tenants;
CREATE ROLE app LOGIN IN ROLE tenants;
ALTER ROLE app SET log_statement = 'all';
GRANT CREATE ON SCHEMA public TO tenants;
CREATE FUNCTION org() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('app.current_org_id', true)
$$;
CREATE FUNCTION who() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT current_setting('app.current_user_id', true)
$$;
CREATE FUNCTION poison(value text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('app.current_org_id', value, false);
    RETURN 'done';
END $$;
CREATE TABLE items (name text, org text DEFAULT org(), writer text DEFAULT who());
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON items USING (org = nullif(org(), ''));
CREATE TABLE notes (name text, org text DEFAULT org());
GRANT ALL ON items, notes TO tenants;
";

/// A server with the tables of two tenants, and a pgwarden in front of it.
#[derive(Debug)]
pub struct Tenants<'a> {
    /// The server.
    pub server: &'a Server,
    /// pgwarden in `enforce`, with one backend.
    pub pgwarden: Pgwarden,
}

impl<'a> Tenants<'a> {
    /// Loads the schema and starts pgwarden.
    #[track_caller]
    pub fn start(server: &'a Server) -> Tenants<'a> {
        Tenants::start_with(server, |builder| builder)
    }

    /// The same with a pgwarden that is told something else, too.
    #[track_caller]
    pub fn start_with(server: &'a Server, tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder) -> Self {
        Tenants::load(server);
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        Tenants { server, pgwarden: tell(Tenants::builder(&upstream)).start() }
    }

    /// The schema alone. The roles `acme` and `globex` are for direct connections: their context is a default.
    #[track_caller]
    pub fn load(server: &Server) {
        server.psql(SCHEMA);
        for (name, org, user) in [("acme", ACME, ANN), ("globex", GLOBEX, BOB)] {
            server.psql(&format!("CREATE ROLE {name} LOGIN IN ROLE tenants"));
            server.psql(&format!("ALTER ROLE {name} SET app.current_org_id = '{org}'"));
            server.psql(&format!("ALTER ROLE {name} SET app.current_user_id = '{user}'"));
            server.psql(&format!("INSERT INTO items VALUES ('of {name}', '{org}', '{user}')"));
        }
    }

    /// A pgwarden that knows the two tenants.
    pub fn builder(upstream: &str) -> PgwardenBuilder {
        Pgwarden::builder()
            .upstream(upstream)
            .env("PGWARDEN_MODE", "enforce")
            .env("PGWARDEN_AUTH", "trust")
            .env("PGWARDEN_POOL_SIZE", "1")
            .env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid, app.current_user_id=user:uuid")
            .env(
                "PGWARDEN_FIXED",
                &format!("acme=tenant:{ACME};user:{ANN}, globex=tenant:{GLOBEX};user:{BOB}"),
            )
    }

    /// A client of pgwarden: `acme`, `globex`, or anyone else, who has no tenant.
    #[track_caller]
    pub fn client(&self, user: &str) -> Wire {
        Wire::open(self.pgwarden.port(), user, "", "postgres")
    }

    /// A client of the server itself.
    #[track_caller]
    pub fn direct(&self, user: &str) -> Wire {
        Wire::open(self.server.port(), user, "", "postgres")
    }

    /// How long the server's log is, to look at what comes after.
    pub fn mark(&self) -> usize {
        self.server.log().len()
    }

    /// What clients of pgwarden have run since `mark`, as the server logged it: `statement: …` for a
    /// simple query, `execute name: …` otherwise. One line each.
    pub fn ran(&self, mark: usize) -> Vec<String> {
        let log = self.server.log();
        let lines = log[mark..].lines().filter_map(|line| line.split_once("app@postgres LOG:  "));
        let texts = lines.map(|(_, text)| text.to_owned());
        let texts = texts.filter(|text| text.starts_with("statement: ") || text.starts_with("execute "));
        // What pgwarden asks a server once, whenever it first reaches it.
        texts.filter(|text| !text.contains("has_function_privilege('pg_catalog.set_config")).collect()
    }

    /// How often the context statement ran since `mark`.
    pub fn injections(&self, mark: usize) -> usize {
        self.ran(mark).iter().filter(|text| is_context(text)).count()
    }

    /// The server's lines since `mark` that are warnings.
    pub fn warnings(&self, mark: usize) -> Vec<String> {
        let log = self.server.log();
        log[mark..].lines().filter(|line| line.contains("WARNING:")).map(str::to_owned).collect()
    }

    /// Sends `messages` to both, each on a new connection, and asserts that the replies are the same to the
    /// last byte, up to as many ReadyForQuery as `ready` says. Returns them.
    #[track_caller]
    pub fn like_direct(&self, messages: &Frontend, ready: usize) -> Vec<Message> {
        let (mut proxied, mut direct) = (self.client("acme"), self.direct("acme"));
        let expected = converse(&mut direct, messages, ready);
        let found = converse(&mut proxied, messages, ready);
        assert_eq!(found, expected, "found on the left, a direct connection's on the right");
        assert_eq!(proxied.receive_at_once(), None, "nothing comes after ReadyForQuery");
        found
    }

    /// [`Tenants::like_direct`] for conversations of simple queries, one after the other on one connection.
    #[track_caller]
    pub fn queries_like_direct(&self, queries: &[&str]) -> Vec<Vec<Message>> {
        let (mut proxied, mut direct) = (self.client("acme"), self.direct("acme"));
        let both = |sql: &&str| {
            let (found, expected) = (proxied.query(sql), direct.query(sql));
            assert_eq!(found, expected, "{sql}: found on the left, a direct connection's on the right");
            found
        };
        queries.iter().map(both).collect()
    }
}

/// Whether a line of [`Tenants::ran`] is the context statement.
pub fn is_context(text: &str) -> bool {
    text.starts_with("execute pgwarden_context_")
}

#[track_caller]
fn converse(wire: &mut Wire, messages: &Frontend, ready: usize) -> Vec<Message> {
    wire.send(messages);
    (0..ready).flat_map(|_| wire.until_ready()).collect()
}

/// The first value of the first row among `messages`; panics with them when there is none.
#[track_caller]
pub fn value(messages: &[Message]) -> Option<String> {
    let row = messages.iter().find(|message| message.tag == b'D');
    row.unwrap_or_else(|| panic!("no row: {messages:?}")).row().swap_remove(0)
}

/// The first values of all rows among `messages`, NULL as "NULL".
pub fn values(messages: &[Message]) -> Vec<String> {
    let rows = messages.iter().filter(|message| message.tag == b'D');
    rows.map(|row| row.row().swap_remove(0).unwrap_or_else(|| "NULL".to_owned())).collect()
}

/// The SQLSTATE of the only error among `messages`; empty when there is none.
#[track_caller]
pub fn error_code(messages: &[Message]) -> String {
    let errors: Vec<_> = messages.iter().filter(|message| message.tag == b'E').collect();
    assert!(errors.len() < 2, "more than one error: {messages:?}");
    errors.first().map_or_else(String::new, |error| error.fields().code().to_owned())
}

/// Parse, Bind, Execute of the unnamed statement, without Sync.
pub fn run(sql: &str) -> Frontend {
    Frontend::new().parse("", sql, &[]).bind("", "", &[]).execute("", 0)
}
