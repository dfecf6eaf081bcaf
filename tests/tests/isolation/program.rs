//! What a client does: random programs, as messages for pgwarden and for a plain server.

use std::collections::BTreeSet;

use pgwarden_tests::Frontend;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// One statement. `{me}` stands for the client's tenant, `{other}` for another one.
pub type Sql = &'static str;

/// Statements that are the same on every server and in every state, whatever other clients do.
const STATEMENTS: &[Sql] = &[
    "SELECT probe()",
    "SELECT probe()",
    "SELECT coalesce(string_agg(DISTINCT tenant || '', ','), '-') AS seen, current_setting('app.tenant', true) FROM items",
    "SELECT n || probe() AS n FROM generate_series(1, 3) AS n",
    "INSERT INTO items (writer) VALUES ('{me}')",
    "INSERT INTO items (writer) VALUES ('{me}') RETURNING tenant || '', probe()",
    "INSERT INTO items (tenant, writer) VALUES ('{other}', '{me}')",
    "INSERT INTO notes (writer) VALUES ('{me}')",
    "BEGIN",
    "BEGIN",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "SAVEPOINT a",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "ROLLBACK TO SAVEPOINT a",
    "RELEASE a",
    "SELECT 1 / length(left(probe(), 0))",
    "SELEC 'é', 1",
    "SELECT 'é', unknown_column",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "DEALLOCATE s1",
    "RESET ALL",
    "CALL commits('{me}')",
    "CALL rolls_back('{me}')",
    "CALL commits('{me}')",
    "DO $$ BEGIN INSERT INTO notes (writer) VALUES ('{me}'); RAISE NOTICE '%', probe(); END $$",
    "DO $$ BEGIN COMMIT; INSERT INTO notes (writer) VALUES ('{me}'); RAISE NOTICE '%', probe(); END $$",
    "SET TimeZone = 'Europe/Rome'",
    "SET application_name = '{me}'",
    "SHOW TimeZone",
    "SET work_mem = '5MB'",
    "SHOW work_mem",
    "SELECT set_config('app.word', '{me}', false)",
    "SELECT coalesce(nullif(current_setting('app.word', true), ''), '-')",
    "RESET work_mem",
    "PREPARE p AS SELECT probe()",
    "EXECUTE p",
    "DEALLOCATE p",
    "SELECT current_setting('application_name') || probe()",
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "COPY (SELECT probe()) TO STDOUT",
    "DECLARE c CURSOR FOR SELECT probe() FROM generate_series(1, 3)",
    "FETCH 1 FROM c",
    "CLOSE c",
    "LOCK TABLE notes IN ACCESS SHARE MODE",
    "VACUUM notes",
    "PREPARE TRANSACTION 'never'",
    "EXPLAIN (COSTS off) SELECT 1",
];

/// A part of an extended batch.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Parse, Bind and Execute, with Describe of the portal.
    All(&'static str, Sql),
    /// Parse with Describe of the statement.
    Prepare(&'static str, Sql),
    /// Bind and Execute of what was prepared, in batches of rows.
    Run(&'static str, &'static str, u32),
    /// Execute of an older portal.
    Continue(&'static str),
    /// Close of a statement.
    Forget(&'static str),
    /// Close of a portal.
    ClosePortal(&'static str),
    /// Flush.
    Flush,
}

/// What a client sends at once.
#[derive(Clone, Debug)]
pub enum Step {
    /// A simple query of these statements.
    Simple(Vec<Sql>),
    /// An extended batch up to its Sync.
    Extended(Vec<Part>),
    /// COPY FROM STDIN with all its data, at once.
    CopyIn,
    /// The same in the extended protocol, with a Sync before the data as libpq sends it.
    CopyInExtended,
    /// A function inside the server sets the variable to another tenant, for the session.
    Poison,
    /// The same by a batch of extended messages.
    PoisonExtended,
    /// The same inside a procedure.
    PoisonCall,
    /// The same in a block that is chained to the next one.
    PoisonChained,
    /// A query that is cancelled while it runs.
    Cancelled,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// After all replies, with Terminate.
    Clean,
    /// In the middle of a block, with the first bytes of a message.
    Abrupt,
}

/// What a client does on one connection.
#[derive(Clone, Debug)]
pub struct Session {
    /// What is sent.
    pub steps: Vec<Step>,
    /// The end.
    pub end: End,
}

/// Who reads the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// pgwarden.
    Pgwarden,
    /// A server where nothing has to be injected: the poison is harmless, cancelled queries fail by themselves.
    Plain,
}

impl Step {
    /// The messages of the step.
    pub fn messages(&self, me: &str, other: &str, reader: Reader) -> Frontend {
        let fill = |sql: &str| sql.replace("{me}", me).replace("{other}", other);
        let poison = fill("SELECT poison('{other}')");
        let none = Frontend::new();
        match self {
            Step::Simple(statements) => none.query(&fill(&statements.join("; "))),
            Step::Extended(parts) => {
                parts.iter().fold(none, |messages, part| part.add(messages, &fill)).sync()
            }
            Step::CopyIn => none
                .query("COPY notes (writer) FROM STDIN")
                .copy_data(me.as_bytes())
                .copy_data(b"\n")
                .copy_done(),
            Step::CopyInExtended => {
                let copy = none.parse("", "COPY notes (writer) FROM STDIN", &[]).bind("", "", &[]);
                let copy = copy.execute("", 0).sync().copy_data(fill("{me}\n{me}\n").as_bytes()).copy_done();
                // Nobody is to run it again by accident.
                copy.close_statement("").sync()
            }
            Step::Poison => none.query("ROLLBACK").query(&poison),
            Step::PoisonExtended => {
                let poison = none.query("ROLLBACK").parse("", &poison, &[]).bind("", "", &[]).execute("", 0);
                // Nobody is to run it again in front of a read of the same transaction: that a function cannot
                // change the context in the middle of one is promised by `reassert = "statement"` alone.
                poison.close_statement("").sync()
            }
            Step::PoisonCall => none.query("ROLLBACK").query(&fill("CALL poisons('{other}')")),
            Step::PoisonChained => none
                .query("ROLLBACK")
                .query("BEGIN")
                .query(&poison)
                .query("COMMIT AND CHAIN")
                .query("SELECT probe()"),
            Step::Cancelled if reader == Reader::Pgwarden => none.query("SELECT pg_sleep(60) AS nap"),
            Step::Cancelled => none.query("SELECT cancelled() AS nap"),
        }
    }
}

impl Part {
    fn add(&self, messages: Frontend, fill: &impl Fn(&str) -> String) -> Frontend {
        match *self {
            Part::All(name, sql) => {
                messages.parse(name, &fill(sql), &[]).bind("", name, &[]).describe_portal("").execute("", 0)
            }
            Part::Prepare(name, sql) => messages.parse(name, &fill(sql), &[]).describe_statement(name),
            Part::Run(name, portal, rows) => messages.bind(portal, name, &[]).execute(portal, rows),
            Part::Continue(portal) => messages.execute(portal, 1),
            Part::Forget(name) => messages.close_statement(name),
            Part::ClosePortal(portal) => messages.close_portal(portal),
            Part::Flush => messages.flush(),
        }
    }
}

fn sql() -> impl Strategy<Value = Sql> {
    select(STATEMENTS)
}

/// A statement of the protocol is deallocated by a query of its own.
fn without_names(mut statements: Vec<Sql>) -> Vec<Sql> {
    statements.iter_mut().filter(|sql| **sql == "DEALLOCATE s1").for_each(|sql| *sql = "DEALLOCATE ALL");
    statements
}

/// A statement of the protocol is deallocated by a query of its own: prepared, the DEALLOCATE would mean the same one
/// for ever. And what is prepared already takes no snapshot again, so that SET TRANSACTION may follow.
fn prepared() -> impl Strategy<Value = Sql> {
    sql().prop_map(|sql| match sql {
        "DEALLOCATE s1" => "DEALLOCATE ALL",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ" => "SHOW TimeZone",
        other => other,
    })
}

fn part() -> impl Strategy<Value = Part> {
    let name = || select(&["", "s1", "s2"][..]);
    let portal = || select(&["", "p1"][..]);
    prop_oneof![
        4 => (name(), prepared()).prop_map(|(name, sql)| Part::All(name, sql)),
        3 => (name(), prepared()).prop_map(|(name, sql)| Part::Prepare(name, sql)),
        4 => (name(), portal(), 0..3_u32).prop_map(|(name, portal, rows)| Part::Run(name, portal, rows)),
        // Not the unnamed one: PostgreSQL 15.18 crashes on an Execute of what a failed simple query left there.
        1 => Just(Part::Continue("p1")),
        2 => name().prop_map(Part::Forget),
        1 => portal().prop_map(Part::ClosePortal),
        1 => Just(Part::Flush),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => sql().prop_map(|one| Step::Simple(vec![one])),
        4 => vec(sql(), 2..5).prop_map(without_names).prop_map(Step::Simple),
        8 => vec(part(), 1..5).prop_map(Step::Extended),
        1 => Just(Step::CopyIn),
        1 => Just(Step::CopyInExtended),
        1 => Just(Step::Poison),
        1 => Just(Step::PoisonExtended),
        1 => Just(Step::PoisonCall),
        1 => Just(Step::PoisonChained),
        1 => Just(Step::Cancelled),
    ]
}

/// What a client does on its connections, one after the other.
pub fn sessions() -> impl Strategy<Value = Vec<Session>> {
    let end = prop_oneof![3 => Just(End::Clean), 1 => Just(End::Abrupt)];
    let session = |(steps, end)| Session { steps: in_batches(steps), end };
    vec((vec(step(), 1..12), end).prop_map(session), 1..3)
}

/// Whether the statement may end its transaction or cannot run in a block: pgwarden refuses it behind another
/// statement of the same batch, where PostgreSQL does not.
fn is_leader(sql: Sql) -> bool {
    ["CALL", "DO ", "VACUUM"].iter().any(|verb| sql.starts_with(verb))
}

/// Whether the statement takes away prepared statements: pgwarden knows which are left once it has answered.
fn is_last(sql: Sql) -> bool {
    ["DEALLOCATE s1", "DEALLOCATE ALL", "DISCARD ALL"].contains(&sql)
}

/// The names and portals that may stand for certain statements.
#[derive(Default)]
struct Known {
    names: BTreeSet<&'static str>,
    portals: BTreeSet<&'static str>,
}

impl Known {
    /// Whether the part may run such a statement.
    fn runs(&mut self, part: Part, is_such: impl Fn(Sql) -> bool) -> bool {
        match part {
            Part::All(name, sql) | Part::Prepare(name, sql) if is_such(sql) => {
                self.names.insert(name);
                self.portals.insert("");
                matches!(part, Part::All(..))
            }
            Part::Run(name, portal, _) if self.names.contains(name) => {
                self.portals.insert(portal);
                true
            }
            Part::Continue(portal) => self.portals.contains(portal),
            _ => false,
        }
    }
}

/// The same steps with a Sync in front of every leader that follows something, and behind every last one.
fn in_batches(steps: Vec<Step>) -> Vec<Step> {
    let (mut leaders, mut last) = (Known::default(), Known::default());
    let mut separated = Vec::new();
    for step in steps {
        let Step::Extended(parts) = step else {
            separated.push(step);
            continue;
        };
        let mut batch = Vec::new();
        for part in parts {
            if leaders.runs(part, is_leader) && !batch.is_empty() {
                separated.push(Step::Extended(std::mem::take(&mut batch)));
            }
            batch.push(part);
            if last.runs(part, is_last) {
                separated.push(Step::Extended(std::mem::take(&mut batch)));
            }
        }
        separated.push(Step::Extended(batch));
    }
    separated
}
