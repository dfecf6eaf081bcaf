//! Policies that are staged, the triggers that look at writes, and what these say.

use serde_json::Value;

use crate::tenants::{ACME, Tenants};
use crate::{Pgwarden, Server, Wire};

/// The role that stands for the application, and the schema of what pgwarden keeps in the database.
pub const SHADOW: &str = "
CREATE ROLE pgwarden_shadow NOLOGIN NOBYPASSRLS;
GRANT app TO pgwarden_shadow;
CREATE SCHEMA IF NOT EXISTS pgwarden;
";

/// The standard predicate on a column.
pub fn own(column: &str) -> String {
    format!("{column} = (SELECT nullif(current_setting('app.current_org_id', true), '')::uuid)")
}

/// SQL that stages one policy for each command, beside one for the application that lets everything pass.
pub fn stage(table: &str, predicate: &str) -> String {
    let mut sql = format!(
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
         CREATE POLICY everything ON {table} USING (true) WITH CHECK (true);"
    );
    for (command, clause) in
        [("select", "USING"), ("insert", "WITH CHECK"), ("update", "USING"), ("delete", "USING")]
    {
        sql.push_str(&format!(
            "CREATE POLICY pgwarden_{command} ON {table} AS RESTRICTIVE FOR {command} TO pgwarden_shadow
             {clause} ({predicate});"
        ));
    }
    sql
}

/// Runs `pgwarden writes` with these arguments as the superuser; what it said, and whether it was done.
#[track_caller]
pub fn writes(server: &Server, arguments: &[&str]) -> (bool, String) {
    let upstream = format!("{}?sslmode=disable", server.url());
    let command: Vec<&str> = ["writes"].iter().chain(arguments).copied().collect();
    let exit = Tenants::builder(&upstream)
        .env("PGWARDEN_TENANT_COLUMNS", "org_id")
        .env("PGWARDEN_MODE", "shadow")
        .run(&command);
    (exit.status.success(), exit.stderr)
}

/// The same for `install`, which has to work.
#[track_caller]
pub fn install(server: &Server) {
    let (done, said) = writes(server, &["install"]);
    assert!(done, "{said}");
}

/// A connection to the server itself whose triggers speak.
#[derive(Debug)]
pub struct Signed(Wire);

/// What the triggers have said of a statement: the command, whether a cascade has written, how many rows for each mask.
pub type Said = (String, bool, Vec<(u64, u64)>);

impl Signed {
    /// As the application, for `acme`.
    #[track_caller]
    pub fn open(server: &Server) -> Signed {
        let mut wire = Wire::open(server.port(), "app", "", "postgres");
        wire.query(&format!("SET app.current_org_id = '{ACME}'"));
        wire.query("SET pgwarden.nonce = 'signed'");
        Signed(wire)
    }

    /// Runs SQL, which has to work, and returns what the triggers say of it.
    #[track_caller]
    pub fn run(&mut self, sql: &str) -> Vec<Said> {
        self.documents(sql).iter().map(said).collect()
    }

    /// The same as the triggers write it.
    #[track_caller]
    pub fn documents(&mut self, sql: &str) -> Vec<Value> {
        let messages = self.0.query(sql);
        assert!(messages.iter().all(|message| message.tag != b'E'), "{sql}: {messages:?}");
        let notices = messages.iter().filter(|message| message.tag == b'N').map(|message| message.fields());
        let ours = notices.filter(|fields| fields.code() == "WS001" && fields.message() == "signed");
        ours.map(|fields| serde_json::from_str(fields.detail()).expect("a document")).collect()
    }

    /// Runs SQL, whatever comes of it.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.0
    }
}

fn said(document: &Value) -> Said {
    assert_eq!(document["failed"], Value::Null, "{document}");
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut masks: Vec<(u64, u64)> = Vec::new();
    for group in document["groups"].as_array().into_iter().flatten() {
        let (mask, count) = (number(&group[0]), number(&group[3]));
        match masks.iter_mut().find(|(known, _)| *known == mask) {
            Some((_, total)) => *total += count,
            None => masks.push((mask, count)),
        }
    }
    masks.sort_unstable();
    let command = document["command"].as_str().unwrap_or_default().to_owned();
    (command, document["cascade"] == Value::Bool(true), masks)
}

/// Whether a client of pgwarden was shown anything of what triggers say.
pub fn shows_notices(pgwarden: &Pgwarden, messages: &[crate::Message]) -> bool {
    let _alive = pgwarden.process_id();
    messages.iter().any(|message| message.tag == b'N' && message.fields().code() == "WS001")
}
