//! One client of the load: it does something else in every step, and knows what has to come back.

use pgwarden_tests::tenants::{error_code, run, values};
use pgwarden_tests::{Frontend, Message, Wire};

/// A tenant's client.
pub struct Client {
    port: u16,
    user: &'static str,
    org: &'static str,
    wire: Wire,
    /// A linear congruential generator: the same steps in every run.
    random: u64,
}

impl Client {
    pub fn new(port: u16, user: &'static str, org: &'static str, seed: u64) -> Client {
        let wire = Wire::open(port, user, "", "postgres");
        Client { port, user, org, wire, random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % limit
    }

    /// Does something; returns how many transactions that were.
    pub fn step(&mut self) -> u64 {
        match self.below(24) {
            0..=5 => self.reads(),
            6..=8 => self.prepared(),
            9..=11 => self.block(),
            12 | 13 => self.pipeline(),
            14 | 15 => self.fails(),
            16 => self.copies(),
            17 => self.is_cancelled(),
            18 => self.is_pinned(),
            19 => self.leaves_in_the_middle(),
            20 => self.calls(),
            21 => self.comes_again(),
            _ => self.writes(),
        }
    }

    /// All rows are the tenant's.
    #[track_caller]
    fn assert_own(&self, answers: &[Message]) {
        let found = values(answers);
        assert_eq!(error_code(answers), "", "{}", self.user);
        assert!(
            !found.is_empty() && found.iter().all(|org| org == self.org),
            "{} reads {found:?}",
            self.user
        );
    }

    #[track_caller]
    fn query(&mut self, sql: &str) -> Vec<Message> {
        self.wire.query(sql)
    }

    fn reads(&mut self) -> u64 {
        let answers = self.query("SELECT org FROM items");
        self.assert_own(&answers);
        1
    }

    fn writes(&mut self) -> u64 {
        // In the table without policies: whose context it was is looked at in the end.
        let org = self.org;
        assert_eq!(error_code(&self.query(&format!("INSERT INTO notes (name) VALUES ('{org}')"))), "");
        1
    }

    fn prepared(&mut self) -> u64 {
        let name = format!("s{}", self.below(3));
        let parse =
            Frontend::new().close_statement(&name).parse(&name, "SELECT org, $1::text FROM items", &[]);
        for _ in 0..2 {
            let bind = Frontend::new().bind("", &name, &[Some("x")]).execute("", 0).sync();
            self.wire.send(&parse.clone().raw(bind.bytes()));
            let answers = self.wire.until_ready();
            self.assert_own(&answers);
        }
        2
    }

    fn block(&mut self) -> u64 {
        self.query("BEGIN");
        for sql in ["SAVEPOINT s", "SELECT org FROM nowhere", "ROLLBACK TO s"] {
            self.query(sql);
        }
        let answers = self.query("SELECT org FROM items");
        self.assert_own(&answers);
        let end = if self.below(2) == 0 { "COMMIT" } else { "ROLLBACK" };
        self.query(end);
        1
    }

    fn pipeline(&mut self) -> u64 {
        let one = run("SELECT org FROM items").sync();
        self.wire.send(&Frontend::new().raw(one.bytes()).query("SELECT org FROM items").raw(one.bytes()));
        for _ in 0..3 {
            let answers = self.wire.until_ready();
            self.assert_own(&answers);
        }
        3
    }

    fn fails(&mut self) -> u64 {
        assert_eq!(error_code(&self.query("SELECT 1/0")), "22012");
        self.wire.send(&run("SELECT org FROM items").raw(run("SELECT 1/0").bytes()).sync());
        let answers = self.wire.until_ready();
        assert_eq!(error_code(&answers), "22012");
        assert!(values(&answers).iter().all(|org| org == self.org));
        2
    }

    fn copies(&mut self) -> u64 {
        let answers = self.query("COPY (SELECT org FROM items) TO STDOUT");
        let lines = answers.iter().filter(|message| message.tag == b'd');
        assert!(lines.clone().count() > 0);
        lines.for_each(|line| assert_eq!(String::from_utf8_lossy(&line.body).trim_end(), self.org));
        1
    }

    fn is_cancelled(&mut self) -> u64 {
        // More than the server keeps before it sends: what has been read tells that it runs.
        let rows = "SELECT org, repeat('x', 10000) FROM items; SELECT pg_sleep(30)";
        self.wire.send(&Frontend::new().query(rows));
        self.wire.expect("T");
        self.wire.cancel();
        assert_eq!(error_code(&self.wire.until_ready()), "57014");
        1
    }

    fn is_pinned(&mut self) -> u64 {
        self.query("LISTEN news");
        let answers = self.query("SELECT org FROM items");
        self.assert_own(&answers);
        assert_eq!(error_code(&self.query("DISCARD ALL")), "");
        3
    }

    fn calls(&mut self) -> u64 {
        let answers = self.query("DO $$ BEGIN PERFORM 1 FROM items WHERE org <> current_setting('app.current_org_id'); IF FOUND THEN RAISE 'another''s rows'; END IF; END $$");
        assert_eq!(error_code(&answers), "");
        1
    }

    fn leaves_in_the_middle(&mut self) -> u64 {
        let rows = "SELECT org, repeat('x', 1000) FROM items, generate_series(1, 200)";
        self.query("BEGIN");
        self.wire.send(&Frontend::new().query(rows));
        self.wire.expect("TD");
        self.comes_again()
    }

    fn comes_again(&mut self) -> u64 {
        let wire = Wire::open(self.port, self.user, "", "postgres");
        let old = std::mem::replace(&mut self.wire, wire);
        if self.below(2) == 0 {
            old.reset();
        }
        1
    }
}
