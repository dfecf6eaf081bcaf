//! Two tenants on tables whose policies are staged and not in force, behind a pgwarden that runs their queries again.

use std::fs;

use serde_json::Value;

use crate::tenants::{ACME, GLOBEX};
use crate::wait::until;
use crate::{Pgwarden, PgwardenBuilder, Server, Version, Wire};

/// The tables. Acme has the rows 1 and 2, globex 3, 4 and 5.
const SCHEMA: &str = "
CREATE ROLE app LOGIN;
CREATE ROLE pgwarden_shadow NOLOGIN;
CREATE ROLE observer LOGIN NOINHERIT;
ALTER ROLE observer SET log_statement = 'all';
CREATE TABLE items (id int PRIMARY KEY, name text, org uuid, price float8, amount int);
CREATE TABLE tags (item int, tag text);
INSERT INTO items SELECT n, 'item ' || n,
    (CASE WHEN n < 3 THEN '{acme}' ELSE '{globex}' END)::uuid, n / 10.0, n FROM generate_series(1, 5) n;
INSERT INTO tags SELECT n, 'tag ' || n FROM generate_series(1, 5) n;
CREATE TABLE free (id int, note text);
INSERT INTO free VALUES (1, 'one');
CREATE VIEW all_items AS SELECT * FROM items;
ALTER VIEW all_items OWNER TO app;
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE POLICY allow_all ON items USING (true);
CREATE POLICY pgwarden_items_select ON items AS RESTRICTIVE FOR SELECT TO pgwarden_shadow
    USING (org = (SELECT nullif(current_setting('app.current_org_id', true), '')::uuid));
GRANT SELECT, INSERT, UPDATE, DELETE ON items, tags, free, all_items TO app;
GRANT CREATE ON SCHEMA public TO app;
";

/// The server with the tables, and a pgwarden in `shadow` in front of it.
#[derive(Debug)]
pub struct Replayed<'a> {
    /// The server.
    pub server: &'a Server,
    /// pgwarden.
    pub pgwarden: Pgwarden,
}

/// What was said about the executions of one query.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The kinds of its findings, each once.
    pub findings: Vec<String>,
    /// Why it was not looked at, each once; nothing where it was.
    pub uncovered: Vec<String>,
}

impl<'a> Replayed<'a> {
    /// Every query is run again.
    #[track_caller]
    pub fn start(server: &'a Server) -> Self {
        Self::start_with(server, "", "rate = 1")
    }

    /// The same with more in the schema, and other settings of `[shadow.replay]`.
    #[track_caller]
    pub fn start_with(server: &'a Server, schema: &str, replay: &str) -> Self {
        Self::load(server);
        if !schema.is_empty() {
            server.psql(schema);
        }
        let pgwarden = Self::builder(server, replay).start();
        pgwarden.until_logged("the tables of the database are known", 0);
        Self { server, pgwarden }
    }

    /// The schema alone, with the roles as `pgwarden stage` makes them.
    #[track_caller]
    pub fn load(server: &Server) {
        server.psql(&SCHEMA.replace("{acme}", ACME).replace("{globex}", GLOBEX));
        let newer = server.version() >= Version(16);
        let (member, observer) = match newer {
            true => (" WITH INHERIT TRUE, SET FALSE", " WITH INHERIT FALSE, SET TRUE"),
            false => ("", ""),
        };
        server.psql(&format!("GRANT app TO pgwarden_shadow{member}"));
        server.psql(&format!("GRANT app, pgwarden_shadow TO observer{observer}"));
    }

    /// A pgwarden that knows the two tenants and the observer.
    pub fn builder(server: &Server, replay: &str) -> PgwardenBuilder {
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        Pgwarden::builder()
            .upstream(&upstream)
            .env("PGWARDEN_MODE", "shadow")
            .env("PGWARDEN_AUTH", "trust")
            .env("PGWARDEN_POOL_SIZE", "1")
            .env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid")
            .env("PGWARDEN_FIXED", &format!("acme=tenant:{ACME}, globex=tenant:{GLOBEX}"))
            .env("PGWARDEN_OBSERVER_USER", "observer")
            .config(&format!(
                "[audit]\ndirectory = \"{{dir}}/audit\"\nwindow = \"100ms\"\ncoverage_window = \"100ms\"\n\
                 [shadow.replay]\n{replay}\n"
            ))
    }

    /// A client.
    #[track_caller]
    pub fn client(&self, user: &str) -> Wire {
        Wire::open(self.pgwarden.port(), user, "", "postgres")
    }

    /// All records of the trail.
    pub fn records(&self) -> Vec<Value> {
        let entries = fs::read_dir(self.pgwarden.directory().join("audit"));
        let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
        let texts = paths.filter_map(|path| fs::read_to_string(path).ok());
        let records = texts.flat_map(|text| {
            let lines = text.lines().map(serde_json::from_str::<Value>);
            lines.filter_map(Result::ok).collect::<Vec<_>>()
        });
        records.collect()
    }

    /// The records about queries whose text has this word: of findings, and of what was looked at.
    pub fn about(&self, word: &str) -> (Vec<Value>, Vec<Value>) {
        let text = |record: &Value| record["query"]["text"].as_str().unwrap_or_default().to_owned();
        let names = |text: &str| text.split(|c: char| !c.is_alphanumeric()).any(|one| one == word);
        let own = self.records().into_iter().filter(|record| names(&text(record)));
        let (coverage, findings): (Vec<Value>, Vec<Value>) =
            own.partition(|record| record["coverage"].is_object());
        let replays =
            coverage.into_iter().filter(|record| record["coverage"]["detector"] == "replay").collect();
        let detects = |record: &Value| record["evidence"]["detector"] == "replay";
        (findings.into_iter().filter(detects).collect(), replays)
    }

    /// What was said about the query with this word, as soon as it was looked at, or could not be.
    #[track_caller]
    pub fn seen(&self, word: &str) -> Seen {
        let (findings, coverage) = until(&format!("the query with {word} was looked at"), || {
            let about = self.about(word);
            (!about.1.is_empty()).then_some(about)
        });
        let kinds = findings.iter().filter_map(|record| record["kind"].as_str());
        let uncovered = coverage.iter().filter_map(|record| record["coverage"]["uncovered"].as_str());
        Seen { findings: each_once(kinds), uncovered: each_once(uncovered) }
    }

    /// Runs each text as acme, whose column `AS word` names it, and asserts what was said about it: a kind of finding,
    /// why it was not looked at, or `clean`.
    #[track_caller]
    pub fn check(&self, client: &mut Wire, cases: &[(&str, &str, &str)]) {
        for (word, text, _) in cases {
            assert!(text.contains(&format!(" AS {word}")), "{text} does not name {word}");
            let replies = client.query(text);
            assert!(replies.iter().all(|message| message.tag != b'E'), "{text}: {replies:?}");
        }
        for (word, text, expected) in cases {
            assert_eq!(self.seen(word).said(), *expected, "{text}\n{:?}", self.about(word));
        }
    }

    /// How often the observer has run a text with this word again.
    pub fn ran(&self, word: &str) -> usize {
        let log = self.server.log();
        let names = |line: &&str| line.split(|c: char| !c.is_alphanumeric()).any(|one| one == word);
        log.lines().filter(|line| line.contains("/* pgwarden replay */")).filter(names).count()
    }
}

impl Seen {
    /// In one word, or several.
    pub fn said(&self) -> String {
        let words: Vec<&str> = self.findings.iter().chain(&self.uncovered).map(String::as_str).collect();
        if words.is_empty() { "clean".to_owned() } else { words.join(" ") }
    }
}

fn each_once<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = words.map(str::to_owned).collect();
    words.sort();
    words.dedup();
    words
}
