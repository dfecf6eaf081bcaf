//! A sealed context: the readers in the database, keys, and a table that only they open.

use std::fs;

use crate::tenants::{ACME, ANN, BOB, GLOBEX, Tenants};
use crate::{Pgwarden, PgwardenBuilder, Server, psql};

/// A key, as `pgwarden seal keygen` writes them.
pub const KEY: &str = "8f1d1c0a7be94c52a3c6b1f2d4e5960718293a4b5c6d7e8f90a1b2c3d4e5f607";
/// Another one.
pub const NEXT_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// What the tenants of [`start`] have between them; `sealed` is read through the verified reader alone.
const TABLES: &str = "
CREATE TABLE sealed (name text, org uuid DEFAULT pgwarden.current_org_id());
ALTER TABLE sealed ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON sealed USING (org = (SELECT pgwarden.current_org_id()));
GRANT ALL ON sealed TO tenants;
";

/// A function that sets a variable without pgwarden seeing it.
pub const PRETEND: &str = "
CREATE FUNCTION pretend(setting text, value text) RETURNS text LANGUAGE sql AS $$
    SELECT set_config(setting, value, true)
$$;
";

/// Installs the readers in the database `postgres`.
#[track_caller]
pub fn install(server: &Server) {
    run(server, &server.url(), &printed(Pgwarden::builder(), &["install"]));
}

/// Makes a key known to the readers, for the variables of [`Tenants::builder`].
#[track_caller]
pub fn add_key(server: &Server, key: &str) {
    add_key_of(server, with_key(Tenants::builder("postgres://h"), key));
}

/// Makes the key of a configuration known to the readers.
#[track_caller]
pub fn add_key_of(server: &Server, builder: PgwardenBuilder) {
    run(server, &server.url(), &printed(builder, &["key"]));
}

/// What a command of `pgwarden seal` prints.
#[track_caller]
pub fn printed(builder: PgwardenBuilder, command: &[&str]) -> String {
    let exit = builder.run(&[&["seal"], command].concat());
    assert!(exit.status.success(), "{}", exit.stderr);
    exit.stderr
}

/// Runs a script through psql, which knows what to do with the rows of a COPY.
#[track_caller]
pub fn run(server: &Server, url: &str, script: &str) {
    let path = server.directory().join("script.sql");
    fs::write(&path, script).expect("a file can be written");
    let output = psql(url, &["-f", &path.to_string_lossy()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A pgwarden that seals with this key.
#[must_use]
pub fn with_key(builder: PgwardenBuilder, key: &str) -> PgwardenBuilder {
    builder.file("seal.key", &format!("{key}\n")).env("PGWARDEN_SEAL_KEY", "file:{dir}/seal.key")
}

/// Readers, the key and two tenants with a row each in `sealed`.
#[track_caller]
pub fn load(server: &Server) {
    Tenants::load(server);
    install(server);
    add_key(server, KEY);
    server.psql(TABLES);
    server.psql(PRETEND);
    for (name, org) in [("acme", ACME), ("globex", GLOBEX)] {
        server.psql(&format!("INSERT INTO sealed VALUES ('of {name}', '{org}')"));
    }
}

/// The same with a pgwarden in front that refuses nothing: what is refused, the seal refuses.
#[track_caller]
pub fn start(server: &Server) -> Tenants<'_> {
    start_with(server, |builder| builder)
}

/// The same with a pgwarden that is told something else, too.
#[track_caller]
pub fn start_with(server: &Server, tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder) -> Tenants<'_> {
    load(server);
    start_before(server, tell)
}

/// A pgwarden in front of what [`load`] has loaded.
#[track_caller]
pub fn start_before(server: &Server, tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder) -> Tenants<'_> {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let builder = with_key(Tenants::builder(&upstream), KEY).env("PGWARDEN_MODE", "shadow");
    Tenants { server, pgwarden: tell(builder).start() }
}

/// A context and its seal, as somebody saw them.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The variables' values: organisation and user.
    pub values: [String; 2],
    /// The seal.
    pub seal: String,
}

impl Seen {
    /// What the next transaction of a client has.
    #[track_caller]
    pub fn by(client: &mut crate::Wire) -> Seen {
        let sql = "SELECT org(), who(), current_setting('app.context_seal')";
        let row = client.rows(sql).swap_remove(0);
        let [org, user, seal] = row.try_into().expect("three columns");
        let (org, user) = (org.expect("an organisation"), user.expect("a user"));
        Seen { values: [org, user], seal: seal.expect("a seal") }
    }

    /// The same seal with other values.
    #[must_use]
    pub fn with_values(&self, org: &str, user: &str) -> Seen {
        Seen { values: [org.to_owned(), user.to_owned()], seal: self.seal.clone() }
    }

    /// The same values with another seal.
    #[must_use]
    pub fn with_seal(&self, seal: &str) -> Seen {
        Seen { values: self.values.clone(), seal: seal.to_owned() }
    }

    /// The SQL that puts it in the place of the context that is there.
    pub fn set(&self) -> String {
        let [org, user] = &self.values;
        let set = |name: &str, value: &str| format!("SELECT public.pretend('app.{name}', '{value}'); ");
        set("current_org_id", org) + &set("current_user_id", user) + &set("context_seal", &self.seal)
    }
}

/// The two tenants' organisations and users.
pub const TENANTS: [(&str, &str, &str); 2] = [("acme", ACME, ANN), ("globex", GLOBEX, BOB)];
