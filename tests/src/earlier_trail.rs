//! A trail that was written before pgwarden starts, and what is to be found of it elsewhere.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgwarden_audit::{Carried, Chain, Detail, Life, Moment, Record, Seen, Timestamp};
use pgwarden_shadow::{
    Actor, Command, Decision, Detector, Finding, Kind, Outcome, Query, Rows, Rule, Site, Target, Tenant,
    TenantSource, WouldHave,
};
use pgwarden_tenant::Mode;

use crate::PgwardenBuilder;
use crate::directory::Directory;

/// One record in a second, from this one on: 2026-01-31T23:50:00Z, so that a month ends soon.
const BEGIN: i64 = 1_769_903_400_000_000;

/// A directory with a trail. The files are those of a pgwarden of an earlier time.
#[derive(Debug)]
pub struct EarlierTrail {
    directory: Directory,
    chain: Chain,
    lines: Vec<String>,
    segment: PathBuf,
}

impl Default for EarlierTrail {
    fn default() -> Self {
        Self::new()
    }
}

impl EarlierTrail {
    /// An empty directory.
    pub fn new() -> Self {
        let directory = Directory::create("trail");
        Self { directory, chain: Chain::default(), lines: Vec::new(), segment: PathBuf::new() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A pgwarden that keeps its trail there.
    #[must_use]
    pub fn told(&self, builder: PgwardenBuilder) -> PgwardenBuilder {
        builder.env("PGWARDEN_AUDIT", &self.path().to_string_lossy())
    }

    /// Begins a file.
    pub fn segment(&mut self) {
        self.segment = self.path().join(format!("trail-{:020}.jsonl", self.chain.seq() + 1));
        self.record(Record::of(Life::Segment).with(Detail::Segment(Carried::default())));
    }

    /// Writes so many findings, each of another statement, without a file of their own.
    pub fn findings(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.chain.seq() + 1;
            self.finding(&finding(number));
        }
    }

    /// Writes a finding.
    pub fn finding(&mut self, finding: &Finding) {
        let now = self.now();
        self.record(Record::finding(finding, Seen { first: now, last: now }, None));
    }

    /// Writes a record.
    pub fn record(&mut self, mut record: Record) {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.chain.seq().to_be_bytes());
        random.rotate_right(2);
        let moment = Moment { now: self.now(), random };
        let mut line = Vec::new();
        record.proxy = Arc::new(pgwarden_audit::Proxy {
            instance: "proxy-1".to_owned(),
            version: "0.0.1".to_owned(),
            ..Default::default()
        });
        self.chain.link(&mut record, moment, &mut line);
        let file = OpenOptions::new().create(true).append(true).open(&self.segment);
        file.and_then(|mut file| file.write_all(&line)).expect("a file can be written");
        let line = String::from_utf8(line).expect("JSON is text");
        self.lines.push(line.trim_end().to_owned());
    }

    /// The lines that were written.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// All lines that are in the directory by now, in their order: those of the pgwarden that goes on there as well.
    pub fn all_lines(&self) -> Vec<String> {
        let files = fs::read_dir(self.path()).expect("a directory");
        let mut files: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
        files.sort();
        let texts = files.iter().map(|path| fs::read_to_string(path).expect("text"));
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    fn now(&self) -> Timestamp {
        Timestamp(BEGIN + i64::try_from(self.chain.seq()).expect("not that many") * 1_000_000)
    }
}

/// A finding whose statement has a number.
pub fn finding(number: u64) -> Finding {
    let query = Query {
        fingerprint: format!("{number:016x}"),
        text: Some(format!("SELECT column_{number} FROM app.items WHERE id = $1")),
    };
    let text = |text: &str| Some(text.to_owned());
    Finding {
        kind: Kind::RowsForeign,
        detector: Detector::Rows,
        mode: Mode::Shadow,
        decision: Decision::Allowed,
        would_have: WouldHave::Filtered(3),
        rule: Rule::Primary,
        outcome: Outcome::Committed,
        count: 2,
        tenant: Some(Arc::new(Tenant { id: "acme".to_owned(), source: TenantSource::Token })),
        actor: Arc::new(Actor {
            user: "app".to_owned(),
            application_name: text("web"),
            client_addr: text("192.0.2.7"),
            ..Actor::default()
        }),
        site: Site { database: "shop".into(), role: "app".into(), pid: Some(7) },
        target: Target { schema: text("app"), table: text("items"), column: text("org_id"), policy: None },
        command: Some(Command::Select),
        rows: Rows { returned: Some(5), foreign: Some(3), ..Rows::default() },
        foreign_tenants: vec!["globex".to_owned()],
        query: Some(Arc::new(query)),
        origin: Some(Arc::new(pgwarden_shadow::Origin {
            trace_id: text("4bf92f3577b34da6a3ce929d0e0e4736"),
            route: text("/items"),
            file: None,
        })),
        evidence: None,
    }
}
