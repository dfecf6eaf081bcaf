//! pgwarden in front of PgBouncer, and a look at each connection that PgBouncer has to the server.

use std::collections::BTreeSet;

use pgwarden_tests::tenants::Tenants;
use pgwarden_tests::{PgBouncer, PgwardenBuilder, Server, Wire};

/// What a session can hold beyond the end of a transaction, of all that pgwarden has to do with: the context, prepared
/// statements, cursors, locks, and settings other than those that PgBouncer itself keeps apart.
const STATE: &str = "SELECT pg_backend_pid(), concat_ws('; ', \
    nullif(current_setting('app.current_org_id', true), ''), \
    nullif(current_setting('app.current_user_id', true), ''), \
    (SELECT string_agg('prepared: ' || statement, ', ') FROM pg_prepared_statements), \
    (SELECT string_agg('cursor: ' || statement, ', ') FROM pg_cursors), \
    (SELECT string_agg('lock: ' || mode, ', ') FROM pg_locks WHERE locktype = 'advisory'), \
    (SELECT string_agg('setting: ' || name || ' = ' || setting, ', ') FROM pg_settings \
        WHERE source = 'session' AND lower(name) NOT IN \
        ('application_name', 'client_encoding', 'datestyle', 'standard_conforming_strings', 'timezone')))";

/// Two tenants before a pgwarden, whose backends are connections to a PgBouncer in transaction mode.
pub struct Behind<'a> {
    // Dropped in this order.
    pub tenants: Tenants<'a>,
    pub pgbouncer: PgBouncer,
    /// How many connections PgBouncer has to the server.
    servers: usize,
}

impl<'a> Behind<'a> {
    /// PgBouncer takes turns on its connections: a transaction meets another one than the transaction before.
    #[track_caller]
    pub fn start(server: &'a Server, servers: usize) -> Behind<'a> {
        Behind::start_with(server, servers, |builder| builder)
    }

    /// The same with a pgwarden that is told something else, too.
    #[track_caller]
    pub fn start_with(
        server: &'a Server,
        servers: usize,
        tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder,
    ) -> Behind<'a> {
        Tenants::load(server);
        let size = servers.to_string();
        let settings =
            [("pool_mode", "transaction"), ("default_pool_size", &size), ("server_round_robin", "1")];
        let pgbouncer = PgBouncer::start_with(server, &["app"], &settings);
        let upstream = format!("{}?sslmode=disable", pgbouncer.url("app", "postgres"));
        let builder = Tenants::builder(&upstream)
            .env("PGWARDEN_POOL_SIZE", "4")
            .file("pgwarden.toml", "[upstream]\ndownstream_pooler = \"transaction\"\n")
            .argument("--config")
            .argument("{dir}/pgwarden.toml");
        let tenants = Tenants { server, pgwarden: tell(builder).start() };
        let behind = Behind { tenants, pgbouncer, servers };
        // Opens them all.
        behind.assert_nothing_left("the start");
        behind
    }

    /// A client of pgwarden.
    #[track_caller]
    pub fn client(&self, user: &str) -> Wire {
        self.tenants.client(user)
    }

    /// A client of PgBouncer that knows nothing of pgwarden.
    #[track_caller]
    pub fn outsider(&self) -> Wire {
        Wire::open(self.pgbouncer.port(), "app", "", "postgres")
    }

    /// Looks at every connection that PgBouncer has to the server; none may be in use.
    #[track_caller]
    pub fn assert_nothing_left(&self, after: &str) {
        let mut outsiders: Vec<Wire> = (0..self.servers).map(|_| self.outsider()).collect();
        for outsider in &mut outsiders {
            // Whoever is in a block has a connection of its own.
            outsider.query("BEGIN");
        }
        let mut seen = BTreeSet::new();
        for outsider in &mut outsiders {
            let mut row = outsider.rows(STATE).swap_remove(0);
            assert_eq!(row.pop().flatten().as_deref(), Some(""), "what is left behind after {after}");
            seen.insert(row.pop().flatten());
            outsider.query("ROLLBACK");
        }
        assert_eq!(seen.len(), self.servers, "{seen:?}: every connection is looked at");
    }
}
