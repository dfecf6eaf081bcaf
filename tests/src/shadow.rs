//! Tables of two tenants without policies, a pgwarden that watches, and what it has recorded.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tenants::{ACME, GLOBEX, Tenants};
use crate::trail::{directory, of_kind, records};
use crate::wait::until;
use crate::{Pgwarden, PgwardenBuilder, Server, Wire};

/// What the tests of detectors ask for: nobody waits for a window.
pub const SETTINGS: &str = "
[shadow]
tenant_columns = [\"org_id\"]
[shadow.observer]
user = \"postgres\"
databases = [\"postgres\"]
interval = \"50ms\"
[shadow.rows]
window = \"100ms\"
[audit]
directory = \"{dir}/audit\"
window = \"100ms\"
coverage_window = \"100ms\"
fsync = \"off\"
";

/// The tenant of a row that nobody may see.
const STRANGER: &str = "00000000-0000-4000-8000-0000000000ff";

/// Rows of `acme` and `globex`, and no policy that would keep them apart.
const SCHEMA: &str = "
CREATE TABLE things (id int PRIMARY KEY, org_id uuid, name text);
CREATE TABLE marker (org_id uuid, text text);
GRANT ALL ON things, marker TO tenants;
";

/// A pgwarden that watches, and a server behind it.
#[derive(Debug)]
pub struct Watched {
    /// pgwarden.
    pub pgwarden: Pgwarden,
    mode: String,
}

impl Watched {
    /// In `shadow`, with these tables besides `things` and `marker`.
    #[track_caller]
    pub fn start(server: &Server, schema: &str) -> Watched {
        Watched::start_with(server, schema, "shadow", |builder| builder)
    }

    /// The same in another mode, and told something else too.
    #[track_caller]
    pub fn start_with(
        server: &Server,
        schema: &str,
        mode: &str,
        tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder,
    ) -> Watched {
        Tenants::load(server);
        server.psql(SCHEMA);
        let rows = [(1, ACME), (2, ACME), (3, GLOBEX)];
        for (id, org) in rows {
            server.psql(&format!("INSERT INTO things VALUES ({id}, '{org}', 'number {id}')"));
        }
        server.psql(&format!("INSERT INTO marker VALUES ('{STRANGER}', 'seen')"));
        if !schema.is_empty() {
            server.psql(schema);
        }
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        let builder = Tenants::builder(&upstream).env("PGWARDEN_MODE", mode);
        let pgwarden = tell(builder.config(SETTINGS)).start();
        pgwarden.until_logged("the tables of the database are known", 0);
        Watched { pgwarden, mode: mode.to_owned() }
    }

    /// A client of pgwarden: `acme`, `globex`, or anyone else, who has no tenant.
    #[track_caller]
    pub fn client(&self, user: &str) -> Wire {
        Wire::open(self.pgwarden.port(), user, "", "postgres")
    }

    /// The first finding of this kind whose query has these words, as soon as there is one.
    #[track_caller]
    pub fn found(&self, kind: &str, words: &str) -> Value {
        let trail = directory(&self.pgwarden);
        until(&format!("{kind} about {words:?} is in the trail"), || {
            of_kind(&trail, kind)
                .into_iter()
                .find(|record| record["query"]["text"].as_str().unwrap_or_default().contains(words))
        })
    }

    /// How often something of this kind was found, by the text of the query, as far as it is in the trail.
    pub fn total(&self, kind: &str, words: &str) -> u64 {
        let of = of_kind(&directory(&self.pgwarden), kind).into_iter();
        let about = of.filter(|record| record["query"]["text"].as_str().unwrap_or_default().contains(words));
        about.map(|record| record["count"].as_u64().unwrap_or(1)).sum()
    }

    /// All kinds of findings that are in the trail once everything that has happened so far is.
    #[track_caller]
    pub fn kinds(&self) -> Vec<String> {
        self.settle();
        let is_finding = |record: &&Value| record["finding"].is_string();
        let of = |record: &Value| record["kind"].as_str().unwrap_or_default().to_owned();
        let about_marker =
            |record: &&Value| !record["query"]["text"].as_str().unwrap_or_default().contains("marker");
        records(&directory(&self.pgwarden)).iter().filter(is_finding).filter(about_marker).map(of).collect()
    }

    /// How often a query was looked at by a detector: by reason, `""` for what was.
    #[track_caller]
    pub fn coverage(&self, detector: &str, words: &str) -> Vec<(String, Vec<String>, u64)> {
        let trail = directory(&self.pgwarden);
        let mut found: Vec<(String, Vec<String>, u64)> = Vec::new();
        let records = of_kind(&trail, "coverage");
        // The text stands in the first record of a sort alone.
        let says = |record: &&Value| record["query"]["text"].as_str().unwrap_or_default().contains(words);
        let named: BTreeSet<String> =
            records.iter().filter(says).map(|record| record["query"]["fingerprint"].to_string()).collect();
        for record in records {
            let covered = &record["coverage"];
            let is_meant = named.contains(&record["query"]["fingerprint"].to_string());
            if covered["detector"] != detector || !is_meant {
                continue;
            }
            let reason = covered["uncovered"].as_str().unwrap_or_default().to_owned();
            let tables = covered["tables"].as_array().cloned().unwrap_or_default();
            let tables: Vec<String> =
                tables.iter().filter_map(|table| Some(table.as_str()?.to_owned())).collect();
            let count = record["count"].as_u64().unwrap_or_default();
            let same = |one: &&mut (String, Vec<String>, u64)| one.0 == reason && one.1 == tables;
            match found.iter_mut().find(same) {
                Some((_, _, total)) => *total += count,
                None => found.push((reason, tables, count)),
            }
        }
        found.sort();
        found
    }

    /// Waits until a finding is in the trail that was made last of all.
    #[track_caller]
    fn settle(&self) {
        assert_ne!(self.mode, "passthrough", "nothing is watched");
        let trail = directory(&self.pgwarden);
        // Each time it is another query, so that no window holds it back.
        let column = format!("seen_{}", records(&trail).len());
        self.client("acme").query(&format!("SELECT org_id, text AS {column} FROM marker"));
        self.found("rows_foreign", &column);
    }
}
