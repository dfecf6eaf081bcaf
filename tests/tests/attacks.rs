//! Tenant A tries to read tenant B's rows, in every way that is known. See the table in `SECURITY.md`.
//!
//! Each way is tried with each set of layers on every version, in `enforce`; without the guard, to see that the way exists,
//! and in `shadow`, where it is counted and goes through.

#[path = "attacks/table.rs"]
mod table;
#[path = "attacks/vectors.rs"]
mod vectors;

use pgwarden_tests::tenants::{GLOBEX, Tenants, run};
use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{Frontend, Message, Pgwarden, PgwardenBuilder, Server, Wire, seal, versions};
use vectors::{Step, VECTORS, Vector};

const SET_CONFIG: u32 = 2078;

/// What applications have in their databases: a helper that changes the context, one that runs SQL, a powerful role.
const HELPERS: &str = "
CREATE FUNCTION become(org text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN
    RETURN set_config('app.current_org_id', org, false);
END $$;
CREATE FUNCTION run_sql(query text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE query; END $$;
CREATE ROLE auditor BYPASSRLS;
GRANT SELECT ON items TO auditor;
GRANT auditor TO app;
";

/// A set of layers: a column of the table.
struct Layers {
    name: &'static str,
    mode: &'static str,
    guard: &'static str,
    /// What is done to the server; run as its superuser.
    prepare: &'static [fn(&Server)],
    /// What pgwarden is told besides.
    tell: fn(PgwardenBuilder) -> PgwardenBuilder,
}

fn nothing(builder: PgwardenBuilder) -> PgwardenBuilder {
    builder
}

fn with_seal(builder: PgwardenBuilder) -> PgwardenBuilder {
    seal::with_key(builder, seal::KEY)
}

/// Policies that believe sealed contexts alone.
fn install_seal(server: &Server) {
    seal::install(server);
    seal::add_key(server, seal::KEY);
    server.psql("DROP POLICY own ON items");
    server.psql("CREATE POLICY own ON items USING (org = (SELECT pgwarden.current_org_id())::text)");
}

/// What `pgwarden check --sql` prints for the login, without the one REVOKE that an application may not be able to afford.
fn harden(server: &Server) {
    let url = server.url_for("app", "", "postgres");
    let arguments = ["check", "--sql", "--url", url.as_str(), "--setting", "app.current_org_id"];
    let said = Pgwarden::builder().run(&arguments).stderr;
    let kept = ["ON FUNCTION become", "ON FUNCTION public.become", "REVOKE auditor"];
    let sql: Vec<&str> = said.lines().filter(|line| !kept.iter().any(|kept| line.contains(kept))).collect();
    server.psql(&sql.join("\n"));
}

const COLUMNS: &[Layers] = &[
    Layers { name: "injection alone", mode: "enforce", guard: "off", prepare: &[], tell: nothing },
    Layers { name: "guard", mode: "enforce", guard: "reject", prepare: &[], tell: nothing },
    Layers { name: "hardening alone", mode: "enforce", guard: "off", prepare: &[harden], tell: nothing },
    Layers { name: "guard + hardening", mode: "enforce", guard: "reject", prepare: &[harden], tell: nothing },
    Layers { name: "seal alone", mode: "enforce", guard: "off", prepare: &[install_seal], tell: with_seal },
    Layers {
        name: "guard + seal",
        mode: "enforce",
        guard: "reject",
        prepare: &[install_seal],
        tell: with_seal,
    },
];

const SHADOW: Layers =
    Layers { name: "shadow", mode: "shadow", guard: "reject", prepare: &[], tell: nothing };

/// What pgwarden says when it refuses; the server has other words.
const REFUSALS: [&str; 6] = [
    "permission denied to change the tenant context",
    "permission denied to change the role or row security",
    "permission denied to name the tenant context in a value",
    "permission denied to call a function that changes the tenant context",
    "permission denied to run code that cannot be checked",
    "permission denied to set \"app.current_org_id\" in the startup packet",
];

/// Another tenant's rows were read.
const READS: &str = "**reads**";
/// pgwarden has refused it.
const REFUSED: &str = "refused";
/// The server has refused it.
const SERVER: &str = "refused by the server";
/// It ran, and what the client sees has not changed.
const NOTHING: &str = "no effect";

/// A server with tenants and helpers behind a pgwarden.
struct Stage<'a> {
    server: &'a Server,
    pgwarden: Pgwarden,
}

impl<'a> Stage<'a> {
    fn start(server: &'a Server, layers: &Layers) -> Stage<'a> {
        Tenants::load(server);
        server.psql(HELPERS);
        layers.prepare.iter().for_each(|prepare| prepare(server));
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        let pgwarden = Tenants::builder(&upstream)
            .env("PGWARDEN_MODE", layers.mode)
            .env("PGWARDEN_GUARD", layers.guard)
            .env("PGWARDEN_GUARD_FUNCTIONS", "become");
        let pgwarden = (layers.tell)(pgwarden).start();
        Stage { server, pgwarden }
    }

    /// How many findings there have been.
    fn findings(&self) -> f64 {
        let (_, metrics) = self.pgwarden.admin("/metrics");
        let samples = metrics.lines().filter(|line| line.starts_with("pgwarden_findings_total{"));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Tries one way, and tells what came of it.
    fn attack(&self, vector: &Vector) -> &'static str {
        let answers = self.converse(vector);
        self.server.psql("ALTER ROLE app RESET app.current_org_id");
        let read = |message: &Message| message.body.windows(9).any(|bytes| bytes == b"of globex");
        let error = answers.iter().find(|message| message.tag == b'E').map(Message::fields);
        match (answers.iter().any(read), error) {
            (true, _) => READS,
            (false, Some(error)) if REFUSALS.contains(&error.message()) => REFUSED,
            (false, Some(_)) => SERVER,
            (false, None) => NOTHING,
        }
    }

    /// All answers; the conversation ends with the first error.
    fn converse(&self, vector: &Vector) -> Vec<Message> {
        let mut answers = Vec::new();
        let mut wire = match vector.steps {
            [Step::Startup(name, value), ..] => {
                let mut wire = Wire::connect(self.pgwarden.port());
                let value = fill(value);
                let parameters = [("user", "acme"), ("database", "postgres"), (*name, value.as_str())];
                wire.send(&Frontend::new().startup(PROTOCOL_3_0, &parameters));
                loop {
                    let message = wire.receive();
                    match message.tag {
                        b'E' => return vec![message],
                        b'Z' => break wire,
                        _ => {}
                    }
                }
            }
            _ => Wire::open(self.pgwarden.port(), "acme", "", "postgres"),
        };
        let look = "SELECT name FROM items";
        let own = wire.query(look);
        assert!(own.iter().any(|message| message.tag == b'D'), "its own row is there: {own:?}");
        answers.extend(own);
        answers.extend(wire.query("BEGIN"));
        for step in vector.steps {
            wire.send(&messages(step));
            let more = wire.until_ready();
            let failed = more.iter().any(|message| message.tag == b'E');
            answers.extend(more);
            if failed {
                break;
            }
            answers.extend(wire.query(look));
        }
        wire.query("ROLLBACK");
        answers
    }
}

fn fill(text: &str) -> String {
    text.replace("{b}", GLOBEX)
}

fn messages(step: &Step) -> Frontend {
    match step {
        Step::Query(sql) => Frontend::new().query(&fill(sql)),
        Step::Bound(sql, values) => {
            let values: Vec<String> = values.iter().map(|value| fill(value)).collect();
            let values: Vec<Option<&str>> = values.iter().map(|value| Some(value.as_str())).collect();
            Frontend::new().parse("", &fill(sql), &[]).bind("", "", &values).execute("", 0).sync()
        }
        Step::Function => {
            let arguments: [Option<&[u8]>; 3] =
                [Some(b"app.current_org_id"), Some(GLOBEX.as_bytes()), Some(b"true")];
            Frontend::new().function_call(SET_CONFIG, &arguments)
        }
        // The connection itself was the attack.
        Step::Startup(..) => run("SELECT 1").sync(),
    }
}

#[test]
fn what_each_layer_stops_is_what_the_table_says() {
    let names: Vec<&str> = COLUMNS.iter().map(|layers| layers.name).collect();
    let ways: Vec<&str> = VECTORS.iter().map(|vector| vector.name).collect();
    let found = versions().into_iter().map(|version| {
        let columns = COLUMNS.iter().map(|layers| {
            let server = Server::start(version);
            let stage = Stage::start(&server, layers);
            VECTORS.iter().map(|vector| stage.attack(vector)).collect()
        });
        (version, columns.collect())
    });
    table::check(&names, &ways, &found.collect::<Vec<_>>());
}

#[test]
fn in_shadow_each_way_is_counted_and_goes_through() {
    for version in versions() {
        let (guarded, open, shadow) =
            (Server::start(version), Server::start(version), Server::start(version));
        let guarded = Stage::start(&guarded, &COLUMNS[1]);
        let open = Stage::start(&open, &COLUMNS[0]);
        let shadow = Stage::start(&shadow, &SHADOW);
        for vector in VECTORS {
            let before = shadow.findings();
            let outcome = shadow.attack(vector);
            // A variable of the startup packet is left out: pgwarden sets it itself.
            assert_eq!(outcome, open.attack(vector), "{}: shadow refuses nothing", vector.name);
            if guarded.attack(vector) == REFUSED {
                assert!(shadow.findings() > before, "{}: it is counted", vector.name);
            }
        }
    }
}
