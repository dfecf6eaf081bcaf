//! Trails made by hand, for what reads them: the records of an application with three faults.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pgwarden_audit::{Chain, Covered, Detail, Evidence, Life, Moment, Proxy, Record, RecordedActor};
use pgwarden_audit::{RecordKind, RecordedOrigin, RecordedTenant, Seen, Staging, Start, Step, Timestamp};
use pgwarden_shadow::{
    Command, Decision, Detector, Kind, Outcome, Query, Rows, Rule, Site, Target, TenantSource, Uncovered,
    WouldHave,
};
use serde_json::{Value, json};

const HOUR: i64 = 3_600_000_000;

/// A trail that grows.
pub struct Records {
    chain: Chain,
    lines: Vec<u8>,
    now: i64,
    steps: i64,
}

impl Records {
    /// One that began so many hours ago, with the start of pgwarden.
    pub fn since(hours: i64) -> Records {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
        let now = i64::try_from(elapsed.as_micros()).expect("a time of this age") - hours * HOUR;
        let mut records = Records { chain: Chain::default(), lines: Vec::new(), now, steps: 0 };
        records.add(Record::of(Life::Started).with(Detail::Started(Start::New)));
        records
    }

    /// So many hours later.
    pub fn later(&mut self, hours: i64) -> &mut Records {
        self.now += hours * HOUR;
        self
    }

    /// One more record.
    pub fn add(&mut self, mut record: Record) -> &mut Records {
        record.proxy = Arc::new(Proxy {
            instance: "proxy-1".to_owned(),
            version: "0.1.0".to_owned(),
            config_hash: "c0ffee".to_owned(),
            policy_hash: None,
        });
        let moment = Moment { now: Timestamp(self.now), random: [7; 10] };
        self.chain.link(&mut record, moment, &mut self.lines);
        self.now += 1_000;
        self
    }

    /// A step of the journal.
    pub fn step(&mut self, step: Step, tables: &[&str], reason: Option<&str>, detail: Value) -> &mut Records {
        self.steps += 1;
        let staging = Staging {
            id: self.steps,
            step,
            database: "shop".to_owned(),
            by: "dba".to_owned(),
            at: Timestamp(self.now).to_string(),
            tables: tables.iter().map(|table| (*table).to_owned()).collect(),
            reason: reason.map(str::to_owned),
            detail,
        };
        self.add(Record::staging(Box::new(staging)))
    }

    /// Executions of a statement that were looked at, or were not.
    pub fn covered(
        &mut self,
        query: (&str, &str),
        table: &str,
        detector: Detector,
        uncovered: Option<Uncovered>,
        count: u64,
    ) -> &mut Records {
        let (fingerprint, text) = query;
        self.add(Record {
            count: Some(count),
            backend: Some(site()),
            query: Some(Arc::new(Query { fingerprint: fingerprint.to_owned(), text: Some(text.to_owned()) })),
            coverage: Some(Covered { detector, tables: vec![table.to_owned()], uncovered }),
            ..Record::of(Life::Coverage)
        })
    }

    /// A finding, met so many times within the last minute.
    pub fn found(&mut self, id: &str, kind: Kind, query: (&str, &str), count: u64) -> &mut Records {
        let record = finding(id, kind, query, count, self.now);
        self.add(record)
    }

    /// The lines.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines).into_owned()
    }

    /// Writes the trail into a directory, in one file.
    pub fn write(&self, directory: &Path) {
        fs::create_dir_all(directory).expect("a directory can be made");
        fs::write(directory.join("trail-00000000000000000001.jsonl"), &self.lines)
            .expect("a file can be written");
    }
}

/// A finding that can be changed before it is added.
pub fn finding(id: &str, kind: Kind, query: (&str, &str), count: u64, now: i64) -> Record {
    let (detector, command) = match kind {
        Kind::RowsForeign => (Detector::Rows, Command::Select),
        Kind::WriteRefused | Kind::WriteHidden => (Detector::Writes, Command::Update),
        Kind::ContextMissing => (Detector::Context, Command::Select),
        _ => (Detector::Replay, Command::Select),
    };
    let would_have = match kind {
        Kind::WriteRefused => WouldHave::Refused,
        _ => WouldHave::Filtered(count * 3),
    };
    Record {
        decision: Some(Decision::Allowed),
        would_have: Some(would_have),
        rule: Some(Rule::Primary),
        outcome: Some(Outcome::Committed),
        finding: Some(id.to_owned()),
        count: Some(count),
        seen: Some(Seen { first: Timestamp(now - 60_000_000), last: Timestamp(now) }),
        tenant: (kind != Kind::ContextMissing).then(|| RecordedTenant {
            id: "acme".to_owned(),
            source: TenantSource::Token,
            verified: true,
        }),
        actor: Some(RecordedActor {
            user: "app".to_owned(),
            application_name: Some("storefront".to_owned()),
            client_addr: Some("10.0.0.7".to_owned()),
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()),
            ..RecordedActor::default()
        }),
        backend: Some(site()),
        target: Some(Target {
            schema: Some("public".to_owned()),
            table: Some("items".to_owned()),
            column: Some("org_id".to_owned()),
            policy: None,
        }),
        command: Some(command),
        rows: Some(Rows { returned: Some(20), foreign: Some(3), control: None, shadow: None }),
        foreign_tenants: vec!["globex".to_owned()],
        query: Some(Arc::new(Query { fingerprint: query.0.to_owned(), text: Some(query.1.to_owned()) })),
        origin: Some(RecordedOrigin {
            route: Some("GET /items".to_owned()),
            file: Some("src/items.js:42".to_owned()),
        }),
        evidence: Some(Evidence { detector, samples: None }),
        ..Record::of(RecordKind::Finding(kind))
    }
}

fn site() -> Site {
    Site { database: "shop".into(), role: "app".into(), pid: Some(7) }
}

const LIST: (&str, &str) =
    ("1111111111111111", "SELECT id, org_id, name FROM items WHERE name LIKE $1 ORDER BY name");
const MOVE: (&str, &str) = ("2222222222222222", "UPDATE items SET org_id = $1 WHERE id = $2");
const JOB: (&str, &str) = ("3333333333333333", "SELECT count(*) FROM items WHERE created_at < $1");
const ORDERS: (&str, &str) = ("4444444444444444", "SELECT o.id, o.total FROM orders o WHERE o.org_id = $1");
const LOCKED: (&str, &str) = ("5555555555555555", "SELECT id FROM orders WHERE id = $1 FOR UPDATE");

/// Eight days of an application with a list that forgets whose items it shows, a job without a context, and a write that
/// moves an item to another tenant; `items` is staged with one policy left out, `orders` is clean and promoted, and of
/// `notes` nothing was seen.
pub fn story() -> Records {
    let mut story = Records::since(8 * 24);
    let policies = json!({ "state": "staged", "source": "configuration", "policies": ["pgwarden_select"] });
    story.later(1).step(Step::Stage, &["public.items"], None, policies.clone());
    story.step(Step::Stage, &["public.orders"], None, policies.clone());
    story.step(Step::Stage, &["public.notes"], None, policies);
    for hour in 0..30_u64 {
        story.later(6);
        story.covered(LIST, "public.items", Detector::Context, None, 400);
        story.covered(LIST, "public.items", Detector::Rows, None, 400);
        story.covered(LIST, "public.items", Detector::Replay, None, 12);
        story.covered(MOVE, "public.items", Detector::Writes, None, 3);
        story.covered(JOB, "public.items", Detector::Replay, Some(Uncovered::NoContext), 1);
        story.covered(ORDERS, "public.orders", Detector::Replay, None, 90);
        story.covered(ORDERS, "public.orders", Detector::Context, None, 900);
        story.covered(LOCKED, "public.orders", Detector::Rows, None, 40);
        story.covered(LOCKED, "public.orders", Detector::Replay, Some(Uncovered::Unsafe), 40);
        match hour % 5 {
            1 => drop(story.found("aaaa000000000001", Kind::RowsForeign, LIST, 30 + hour * 4)),
            2 => drop(story.found("aaaa000000000002", Kind::WriteRefused, MOVE, 2)),
            3 => drop(story.found("aaaa000000000003", Kind::ContextMissing, JOB, 11)),
            4 => drop(story.found("aaaa000000000004", Kind::Slower, LIST, 6)),
            _ => (),
        }
    }
    story.step(Step::Promote, &["public.orders"], Some("nothing was found in a week"), json!({}));
    story.step(
        Step::Ignore,
        &["public.items"],
        Some("the report of the finance team is on its way out"),
        json!({ "finding": "aaaa000000000004", "owner": "Ines (finance)", "until": "2999-01-01T00:00:00Z" }),
    );
    let account = json!({
        "session": 3, "service": "backup", "user": "backup", "database": "shop", "client": "10.0.0.9",
        "reason": "pg_dump", "began": Timestamp(story.now).to_string(), "seconds": 60, "transactions": 1,
        "statements": 240, "commands": { "SELECT": 240 }, "errors": 0, "read": ["items", "orders"], "written": [],
        "unlisted": 0, "unread": 0,
    });
    let said = json!({ "stage": "goes_on", "role": "backup_service", "ended": null, "account": account });
    story.add(Record::service(said));
    story
}

/// The same with what somebody would plant who wants to be run by those who read it.
pub fn hostile() -> Records {
    let mut story = story();
    let planted = "</script><img src=x onerror=document.title='owned'><svg onload=alert(1)>'\"`${1}";
    let mut record =
        finding("aaaa00000000000f", Kind::RowsForeign, ("6666666666666666", planted), 1, story.now);
    let actor = record.actor.as_mut().expect("somebody");
    actor.application_name = Some(planted.to_owned());
    actor.user = planted.to_owned();
    record.origin = Some(RecordedOrigin {
        route: Some(planted.to_owned()),
        file: Some("javascript:alert(1)".to_owned()),
    });
    record.foreign_tenants = vec![planted.to_owned()];
    record.target = Some(Target {
        schema: None,
        table: Some(planted.to_owned()),
        column: None,
        policy: Some(planted.to_owned()),
    });
    record.evidence = Some(Evidence { detector: Detector::Rows, samples: Some(planted.to_owned()) });
    story.add(record);
    let detail = json!({ "finding": planted, "owner": planted, "until": "2999-01-01" });
    story.step(Step::Ignore, &[planted], Some(planted), detail);
    story
}
