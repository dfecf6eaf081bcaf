//! Tenants interleaved over few backends by a random scheduler: nobody ever reads or writes what is another's, and
//! everybody gets the replies that PostgreSQL gives.
//!
//! The same programs run twice: through pgwarden, interleaved; and each alone on a plain server, where the login of
//! every tenant has the variable as its default. The statements are such that their results do not depend on other
//! clients, so the replies must be the same: all of them, in the same order.
//!
//! `PGWARDEN_TEST_CASES` sets the number of cases.

#[path = "isolation/program.rs"]
mod program;

use std::time::{Duration, Instant};

use pgwarden_tests::{Frontend, Message, Pgwarden, Server, Version, Wire, versions};
use program::{End, Reader, Session, Step, sessions};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

/// The logins, their tenants, and the tenant that each is made to look like; `nobody` has none.
const LOGINS: [(&str, &str, &str); 5] = [
    ("ann", "t1", "t2"),
    ("bob", "t2", "t3"),
    ("cid", "t3", "t1"),
    ("dan", "t1", "t3"),
    ("nobody", "", "t1"),
];

/// Without a message for so long, while one is owed, something hangs.
const PATIENCE: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
CREATE TABLE items (tenant text DEFAULT current_setting('app.tenant', true), writer text NOT NULL);
INSERT INTO items VALUES ('t1', 't1'), ('t2', 't2'), ('t3', 't3');
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON items USING (tenant = nullif(current_setting('app.tenant', true), ''));
CREATE TABLE notes (tenant text DEFAULT current_setting('app.tenant', true), writer text NOT NULL);
GRANT SELECT, INSERT ON items, notes TO PUBLIC;
CREATE FUNCTION probe() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(string_agg(DISTINCT tenant, ','), '-') || '/' || current_setting('app.tenant', true) FROM items
$$;
CREATE FUNCTION cancelled() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    RAISE query_canceled USING message = 'canceling statement due to user request';
END $$;
CREATE FUNCTION poison(victim text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    {poison};
    RETURN 'done';
END $$;
CREATE PROCEDURE poisons(victim text) LANGUAGE plpgsql AS $$ BEGIN {poison}; END $$;
CREATE PROCEDURE commits(who text, INOUT seen text DEFAULT '') LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO notes (writer) VALUES (who);
    seen := probe();
    COMMIT;
    INSERT INTO notes (writer) VALUES (who);
    seen := seen || ' ' || probe();
END $$;
CREATE PROCEDURE rolls_back(who text, INOUT seen text DEFAULT '') LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO notes (writer) VALUES (who);
    ROLLBACK;
    INSERT INTO notes (writer) VALUES (who);
    seen := probe();
END $$;
";

/// A server with the schema twice, and two pgwardens in front of one of them.
struct Stage {
    server: Server,
    pgwardens: Vec<Pgwarden>,
}

/// Whether the pgwardens keep every rule.
#[derive(Clone, Copy)]
enum Rules {
    Kept,
    /// All but the one that this switches off.
    Without(&'static str),
}

impl Stage {
    fn set(version: Version) -> Stage {
        Stage::with(version, Rules::Kept)
    }

    fn with(version: Version, rules: Rules) -> Stage {
        let server = Server::start(version);
        server.psql("CREATE ROLE app LOGIN");
        for (login, tenant, _) in LOGINS {
            server
                .psql(&format!("CREATE ROLE {login} LOGIN; ALTER ROLE {login} SET app.tenant = '{tenant}'"));
        }
        for (database, poison) in
            [("live", "PERFORM set_config('app.tenant', victim, false)"), ("plain", "PERFORM 1")]
        {
            server.psql(&format!("CREATE DATABASE {database}"));
            let url = server.url_for("postgres", "", database);
            let output = pgwarden_tests::psql(&url, &["-c", &SCHEMA.replace("{poison}", poison)]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        let pgwardens = [(1, "transaction"), (2, "transaction"), (2, "statement")]
            .map(|(size, reassert)| pgwarden(&server, size, reassert, rules));
        Stage { server, pgwardens: pgwardens.into() }
    }

    /// The writer of every row that bears another tenant's name.
    fn misplaced(&self) -> String {
        let url = self.server.url_for("postgres", "", "live");
        let sql = "SELECT tenant, writer FROM items WHERE tenant IS DISTINCT FROM writer \
                   UNION ALL SELECT tenant, writer FROM notes WHERE tenant IS DISTINCT FROM writer";
        let output = pgwarden_tests::psql(&url, &["-c", sql]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn sweep(&self) {
        let url = self.server.url_for("postgres", "", "live");
        let _ =
            pgwarden_tests::psql(&url, &["-c", "DELETE FROM items WHERE tenant <> writer; TRUNCATE notes"]);
    }
}

fn pgwarden(server: &Server, size: usize, reassert: &str, rules: Rules) -> Pgwarden {
    let fixed: Vec<String> = LOGINS
        .iter()
        .filter(|(_, tenant, _)| !tenant.is_empty())
        .map(|(login, tenant, _)| format!("{login}=tenant:{tenant}"))
        .collect();
    let text = format!(
        "mode = \"enforce\"\n[upstream]\nurl = \"{}?sslmode=disable\"\n[pool]\nsize = {size}\nreassert = \"{reassert}\"\n\
         [auth]\nmethod = \"trust\"\n[context]\nmissing = \"empty\"\nvariables = \"app.tenant=tenant:text\"\nfixed = \"{}\"\n",
        server.url_for("app", "", "live"),
        fixed.join(", "),
    );
    let builder = Pgwarden::builder().config(&text);
    match rules {
        Rules::Kept => builder.start(),
        Rules::Without(rule) => builder.env("PGWARDEN_TEST_FAULT", rule).start(),
    }
}

/// A message as far as it can be compared: where an error was raised inside the server is nobody's business.
fn shown(message: &Message) -> String {
    if !matches!(message.tag, b'E' | b'N') {
        return format!("{message:?}");
    }
    let fields = message.fields();
    let parts: Vec<String> = "VCMDHPW".chars().map(|code| fields.field(code).to_owned()).collect();
    format!("{} {}", char::from(message.tag), parts.join("|").trim_end_matches('|'))
}

/// What a plain server answers to every step of a session.
fn expected(port: u16, (login, me, other): (&str, &str, &str), session: &Session) -> Vec<Vec<String>> {
    let mut wire = Wire::open(port, login, "", "plain");
    let mut answers = Vec::new();
    for step in &session.steps {
        let mut mark = step.messages(me, other, Reader::Plain);
        for _ in 0..5 {
            mark = mark.close_statement("no such statement");
        }
        wire.send(&mark.sync());
        let mut answer = Vec::new();
        loop {
            answer.push(wire.receive());
            if pgwarden_tests::wire::tags(&answer).ends_with("33333Z") {
                break;
            }
        }
        answer.truncate(answer.len() - 6);
        let last_wishes = matches!(step, Step::Cancelled);
        answers.push(
            answer
                .iter()
                .map(shown)
                .map(|line| if last_wishes { without_place(&line) } else { line })
                .collect(),
        );
    }
    answers
}

/// Without the context of an error.
fn without_place(line: &str) -> String {
    line.split("|PL/pgSQL").next().unwrap_or_default().trim_end_matches('|').to_owned()
}

/// Whether the answers are the same. A portal whose Bind was skipped does not exist; where pgwarden learns of the failed
/// block too late, it puts the context in front of the Execute, and the block refuses that.
fn agree(expected: &str, got: &str) -> bool {
    expected == got || (expected.starts_with("E ERROR|34000|") && got.starts_with("E ERROR|25P02|"))
}

/// What pgwarden adds to the error of a query that waited when it was cancelled.
const WAITED: &str = "|The statement waited for a backend of the pool, and has not been run.";

/// One client on its way through its program.
struct Client<'a> {
    login: (&'static str, &'static str, &'static str),
    sessions: std::slice::Iter<'a, Session>,
    current: Option<Running<'a>>,
}

/// A session that has begun.
struct Running<'a> {
    wire: Wire,
    session: &'a Session,
    expected: Vec<Vec<String>>,
    /// Steps sent, and bytes of the last one that were held back.
    sent: usize,
    held_back: Vec<u8>,
    received: Vec<String>,
    last: Instant,
}

impl Running<'_> {
    fn owed(&self) -> usize {
        self.expected[..self.sent].iter().map(Vec::len).sum::<usize>() - self.received.len().min(self.total())
    }

    fn total(&self) -> usize {
        self.expected[..self.sent].iter().map(Vec::len).sum()
    }

    /// Takes what has arrived and compares it.
    fn receive(&mut self, login: &str) -> Result<(), TestCaseError> {
        while let Some(message) = self.wire.receive_at_once() {
            self.last = Instant::now();
            self.received.extend(self.unless_it_waited(shown(&message)));
            let flat = self.expected.iter().flatten();
            if let Some(at) = flat.zip(&self.received).position(|(expected, got)| !agree(expected, got)) {
                return Err(TestCaseError::fail(self.difference(login, at)));
            }
        }
        if self.owed() > 0 && self.held_back.is_empty() && self.last.elapsed() > PATIENCE {
            return Err(TestCaseError::fail(format!(
                "hangs; {}",
                self.difference(login, self.received.len())
            )));
        }
        Ok(())
    }

    /// A query that is cancelled before it has begun, because it waits for a backend or the cancel was quick, fails
    /// with the same error, but without the description of its result.
    fn unless_it_waited(&self, line: String) -> Vec<String> {
        if !(self.is_cancelling() && line.starts_with("E ERROR|57014|")) {
            return vec![line];
        }
        let next = self.expected.iter().flatten().nth(self.received.len());
        let description = next.filter(|expected| expected.starts_with('T')).cloned();
        description.into_iter().chain([line.replace(WAITED, "")]).collect()
    }

    fn difference(&self, login: &str, at: usize) -> String {
        let mut before = 0;
        let step = self.expected.iter().take_while(|answer| {
            before += answer.len();
            before <= at
        });
        let step = step.count();
        format!(
            "{login}, message {at}, step {step} {:?}:\n  expected {:#?}\n  got {:?}\n  before that {:?}",
            self.session.steps.get(step),
            self.expected.get(step),
            self.received.get(at),
            &self.received[at.saturating_sub(8)..at],
        )
    }

    fn is_cancelling(&self) -> bool {
        self.sent > 0 && matches!(self.session.steps[self.sent - 1], Step::Cancelled)
    }
}

/// What the scheduler does with the client whose turn it is.
#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Sends the next step without waiting for anything.
    Pipeline,
    /// Sends the next step once everything is answered, and waits a little for the answer.
    Converse,
    /// Sends only the first bytes of the next step.
    Split(usize),
}

impl<'a> Client<'a> {
    fn is_done(&self) -> bool {
        self.current.is_none() && self.sessions.as_slice().is_empty()
    }

    fn turn(&mut self, turn: Turn, (live, plain): (u16, u16)) -> Result<(), TestCaseError> {
        let (login, me, other) = self.login;
        let Some(running) = &mut self.current else {
            let Some(session) = self.sessions.next() else { return Ok(()) };
            let (wire, last) = (Wire::open(live, login, "", "live"), Instant::now());
            let expected = expected(plain, self.login, session);
            let (sent, held_back, received) = (0, Vec::new(), Vec::new());
            self.current = Some(Running { wire, session, expected, sent, held_back, received, last });
            return Ok(());
        };
        running.receive(login)?;
        if !running.held_back.is_empty() {
            let rest = std::mem::take(&mut running.held_back);
            running.wire.send_bytes(&rest);
            running.last = Instant::now();
            return Ok(());
        }
        if running.is_cancelling() && running.owed() > 0 {
            running.wire.cancel();
            return wait(running, login, Duration::from_millis(20));
        }
        let Some(step) = running.session.steps.get(running.sent) else { return self.leave() };
        let waits = matches!(turn, Turn::Converse) || matches!(step, Step::Cancelled);
        if waits && running.owed() > 0 {
            return Ok(());
        }
        let messages = step.messages(me, other, Reader::Pgwarden);
        let at =
            if let Turn::Split(at) = turn { at % messages.bytes().len() } else { messages.bytes().len() };
        let (now, later) = messages.bytes().split_at(at);
        running.wire.send_bytes(now);
        running.held_back = later.to_vec();
        running.sent += 1;
        running.last = Instant::now();
        if waits { wait(running, login, Duration::from_millis(15)) } else { Ok(()) }
    }

    /// Ends the session: at once, or when everything is answered.
    fn leave(&mut self) -> Result<(), TestCaseError> {
        let Some(running) = &mut self.current else { return Ok(()) };
        if running.session.end == End::Clean {
            if running.owed() > 0 {
                return Ok(());
            }
            running.wire.send(&Frontend::new().terminate());
        } else {
            let begun = Frontend::new().query("BEGIN").query("INSERT INTO notes (writer) VALUES ('nobody')");
            running.wire.send(&begun.raw(b"Q\0\0"));
        }
        self.current = None;
        Ok(())
    }
}

fn wait(running: &mut Running<'_>, login: &str, at_most: Duration) -> Result<(), TestCaseError> {
    let start = Instant::now();
    while running.owed() > 0 && start.elapsed() < at_most {
        running.receive(login)?;
        std::thread::yield_now();
    }
    Ok(())
}

fn play(
    ports: (u16, u16),
    programs: &[Vec<Session>],
    schedule: &[(usize, Turn)],
) -> Result<(), TestCaseError> {
    let mut clients: Vec<Client<'_>> = programs
        .iter()
        .zip(LOGINS)
        .map(|(sessions, login)| Client { login, sessions: sessions.iter(), current: None })
        .collect();
    for (who, turn) in schedule.iter().cycle() {
        let count = clients.len();
        clients[who % count].turn(*turn, ports)?;
        if clients.iter().all(Client::is_done) {
            break;
        }
        // Whoever the schedule leaves out must not be left out for ever.
        for client in &mut clients {
            if let Some(running) = &mut client.current {
                running.receive(client.login.0)?;
            }
        }
        std::thread::yield_now();
    }
    Ok(())
}

fn schedule() -> impl Strategy<Value = Vec<(usize, Turn)>> {
    let turn = prop_oneof![
        1 => Just(Turn::Pipeline),
        3 => Just(Turn::Converse),
        1 => (1..400_usize).prop_map(Turn::Split),
    ];
    // Everybody has a turn in the end.
    vec((0..LOGINS.len(), turn), 1..40).prop_map(|mut turns| {
        turns.extend((0..LOGINS.len()).map(|who| (who, Turn::Converse)));
        turns
    })
}

fn cases(version: Version) -> u32 {
    let asked = std::env::var("PGWARDEN_TEST_CASES").ok().and_then(|cases| cases.parse().ok());
    asked.unwrap_or(if version == versions()[0] { 100 } else { 25 })
}

/// The same cases every time, unless others are asked for.
fn seed() -> RngSeed {
    match std::env::var("PGWARDEN_TEST_SEED").as_deref() {
        Ok("random") => RngSeed::Random,
        Ok(seed) => RngSeed::Fixed(seed.parse().expect("PGWARDEN_TEST_SEED is a number, or random")),
        Err(_) => RngSeed::Fixed(0),
    }
}

/// The pgwarden that is asked, the clients' programs, and who is when on the move.
type Case = (usize, Vec<Vec<Session>>, Vec<(usize, Turn)>);

/// Plays random cases until one shows a difference or something misplaced.
fn search(stage: &Stage, config: Config) -> Result<(), TestError<Case>> {
    let programs = (0..stage.pgwardens.len(), vec(sessions(), 2..=LOGINS.len()), schedule());
    TestRunner::new(config).run(&programs, |(which, programs, schedule)| {
        let pgwarden = &stage.pgwardens[which];
        let result = play((pgwarden.port(), stage.server.port()), &programs, &schedule);
        let misplaced = stage.misplaced();
        if result.is_err() || !misplaced.is_empty() {
            stage.sweep();
        }
        result?;
        prop_assert!(misplaced.is_empty(), "written for another tenant (tenant|writer):\n{misplaced}");
        Ok(())
    })
}

#[test]
fn a_rule_that_is_switched_off_is_noticed() {
    for rule in ["unsettled", "dirty", "uninjected"] {
        let stage = Stage::with(versions()[0], Rules::Without(rule));
        let config = Config {
            cases: 200,
            rng_seed: RngSeed::Fixed(1),
            failure_persistence: None,
            max_shrink_iters: 0,
            ..Config::default()
        };
        match search(&stage, config) {
            Err(TestError::Fail(reason, _)) => println!("{rule}: {reason}"),
            other => panic!("nobody notices that {rule} is switched off: {other:?}"),
        }
    }
}

#[test]
fn no_schedule_shows_a_client_what_is_another_tenants() {
    for version in versions() {
        let stage = Stage::set(version);
        let config = Config {
            cases: cases(version),
            rng_seed: seed(),
            failure_persistence: None,
            max_shrink_iters: 2_000,
            max_shrink_time: 60_000,
            ..Config::default()
        };
        let outcome = search(&stage, config);
        match outcome {
            Err(TestError::Fail(reason, (which, programs, schedule))) => panic!(
                "PostgreSQL {version}: {reason}\npgwarden {which}, programs:\n{programs:?}\nschedule: {schedule:?}"
            ),
            other => other.expect("no case is rejected"),
        }
    }
}

/// The rows' and the variable's tenant, as `probe()` answered every time.
fn probes(messages: &[Message]) -> Vec<String> {
    let rows = messages.iter().filter(|message| message.tag == b'D');
    rows.filter_map(|row| row.row().swap_remove(0)).filter(|text| text.contains('/')).collect()
}

/// Runs one conversation as `ann` (tenant t1) on the only backend, whose session an own function of the server
/// left with the value of another tenant.
fn on_a_poisoned_backend(which: usize, messages: &Frontend, replies: usize) -> Vec<Message> {
    let stage = Stage::set(versions()[0]);
    let port = stage.pgwardens[which].port();
    Wire::open(port, "bob", "", "live").query("SELECT poison('t2')");
    let mut wire = Wire::open(port, "ann", "", "live");
    wire.send(messages);
    (0..replies).flat_map(|_| wire.until_ready()).collect()
}

#[test]
fn a_failed_block_that_is_chained_has_its_context_in_a_pipeline() {
    for command in ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"] {
        let stage = Stage::set(versions()[0]);
        let mut wire = Wire::open(stage.pgwardens[0].port(), "ann", "", "live");
        wire.query("SELECT poison('t2')");
        wire.query("BEGIN");
        assert_eq!(wire.query("SELECT 1 / 0").last().map(Message::status), Some('E'));
        wire.send(&Frontend::new().query(command).query("SELECT probe()").query("ROLLBACK"));
        let answer: Vec<_> = (0..3).flat_map(|_| wire.until_ready()).collect();
        assert_eq!(probes(&answer), ["t1/t1"], "{command}: {answer:?}");
    }
}

/// What pgwarden says instead of running a procedure without a context that it can vouch for.
const BEHIND_ANOTHER: &str = "a statement that may end its transaction cannot keep its tenant context behind \
                              another of the same batch";

#[test]
fn a_procedure_behind_another_statement_of_its_batch_is_refused_and_nothing_leaks() {
    let run = |messages: Frontend, sql| messages.parse("", sql, &[]).bind("", "", &[]).execute("", 0);
    for call in ["CALL commits('t1')", "CALL rolls_back('t1')", "DO $$ BEGIN COMMIT; END $$"] {
        let stage = Stage::set(versions()[0]);
        let port = stage.pgwardens[0].port();
        Wire::open(port, "bob", "", "live").query("SELECT poison('t3')");
        let mut wire = Wire::open(port, "ann", "", "live");
        wire.send(&run(run(Frontend::new(), "SELECT probe()"), call).sync());
        let answer = wire.until_ready();
        let error = answer.iter().find(|message| message.tag == b'E').map(Message::fields);
        let error = error.unwrap_or_else(|| panic!("{call} is not refused: {answer:?}"));
        assert_eq!((error.code(), error.message()), ("0A000", BEHIND_ANOTHER), "{call}");
        assert_eq!(probes(&answer), ["t1/t1"], "{call}: {answer:?}");
        assert_eq!(answer.last().map(Message::status), Some('I'), "{call}: {answer:?}");
        assert_eq!(probes(&wire.query("SELECT probe()")), ["t1/t1"], "{call}");
        assert_eq!(stage.misplaced(), "", "{call}");
    }
}

#[test]
fn every_statement_of_a_string_has_its_context_when_that_is_asked_for() {
    let answer = on_a_poisoned_backend(2, &Frontend::new().query("SELECT poison('t2'); SELECT probe()"), 1);
    assert_eq!(probes(&answer), ["t1/t1"], "{answer:?}");
}

#[test]
fn a_setting_behind_reset_all_in_one_batch_stays() {
    let run = |messages: Frontend, sql| messages.parse("", sql, &[]).bind("", "", &[]).execute("", 0);
    let batch = run(run(Frontend::new(), "RESET ALL"), "SET TimeZone = 'Europe/Rome'").sync();
    let stage = Stage::set(versions()[0]);
    let mut wire = Wire::open(stage.pgwardens[0].port(), "ann", "", "live");
    wire.send(&batch);
    let answer = wire.until_ready();
    assert_eq!(pgwarden_tests::wire::tags(&answer), "12C12CSZ", "{answer:?}");
    Wire::open(stage.pgwardens[0].port(), "bob", "", "live").query("SELECT 1");
    assert_eq!(wire.rows("SHOW TimeZone"), [[Some("Europe/Rome".to_owned())]]);
}
