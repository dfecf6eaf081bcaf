//! Two clients of different tenants share one backend, under any schedule that the input chooses.
//!
//! What must hold:
//!
//! * whatever policies look at runs in the context of the client that sent it, and in the one that its statement shows
//!   a token of (asserted by the server);
//! * no client reads a reply to pgwarden's own statements, or a value of the other client's tenants;
//! * no token reaches the server;
//! * the replies of an honest server are never out of step, and no session waits for one that will not come;
//! * bytes in pieces, on both sides, leave the same bytes (with one client).

use std::sync::Arc;

use pgwarden_session::{Backend, Health, Interner, SessionError, Stop};
use pgwarden_wire::Writer;

use crate::choices::Choices;
use crate::manner::Manner;
use crate::play::{Play, pieces};
use crate::server::{Owner, Server, Tenant, split};

/// What the clients say.
const TEXTS: [&str; 88] = [
    "SELECT 1",
    "INSERT INTO t VALUES (1)",
    "SELECT fail",
    "",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "ROLLBACK TO s",
    "RELEASE s",
    "COMMIT AND CHAIN",
    "ROLLBACK AND CHAIN",
    "SELECT 1; SELECT 2",
    "BEGIN; SELECT 1",
    "SELECT 1; COMMIT",
    "COMMIT; BEGIN; SELECT 1",
    "SELECT 1; ROLLBACK; SELECT 2",
    "SELECT 1; SELECT fail; SELECT 2",
    "COMMIT; SELECT 1",
    "BEGIN; SELECT 1; COMMIT; SELECT 2; BEGIN",
    "COPY t FROM STDIN",
    "COPY t TO STDOUT",
    "COPY t FROM STDIN; SELECT 1",
    "VACUUM t",
    "CALL p()",
    "DO $$ BEGIN END $$",
    "SET DateStyle = 'SQL'",
    "SET LOCAL a.b = 'c'",
    "SET TRANSACTION READ ONLY",
    "SHOW app.current_org_id",
    "RESET ALL",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "DEALLOCATE a",
    "LISTEN c",
    "UNLISTEN *",
    "CREATE TABLE x ()",
    "DECLARE c CURSOR FOR SELECT 1",
    "FETCH c",
    "CLOSE c",
    "EXPLAIN SELECT 1",
    "LOCK TABLE t",
    "SELECT 'forbidden'",
    "SELECT 'question'",
    "SELECT set_config('x.y', 'z', false)",
    "SELECT 1; ROLLBACK TO s; SELECT 2",
    "SAVEPOINT s; SELECT 1",
    "ROLLBACK TO s; SELECT 1",
    "START TRANSACTION",
    "ABORT",
    "CREATE INDEX CONCURRENTLY i ON t (c)",
    "FROBNICATE ALONE",
    "CREATE TEMP TABLE x ()",
    "COMMIT fail",
    "SELECT 'it''s",
    "TABLE t",
    "SELECT 1; VACUUM t",
    "WITH x AS (SELECT 1) TABLE x",
    "SET pgwarden.token = 'token-other'",
    "SET pgwarden.token = 'token-own'",
    "SET LOCAL pgwarden.token = 'token-other'",
    "SET LOCAL pgwarden.token = 'token-other-asked'",
    "SET SESSION pgwarden.token TO 'token-old'",
    "SET pgwarden.token = 'token-wrong'",
    "SET pgwarden.token = ''",
    "RESET pgwarden.token",
    "SELECT set_config('pgwarden.token', 'token-other', true)",
    "SELECT set_config('pgwarden.token', 'token-other-asked', false)",
    "SELECT set_config('pgwarden.token', NULL, true)",
    "SELECT set_config('pgwarden.token', $1, true)",
    "SELECT set_config('pgwarden.token', $1, false)",
    "SELECT set_config('pgwarden.token', $1, $2)",
    "SELECT 'as-other' /*pgwarden_token='token-other'*/",
    "/*pgwarden_token='token-other-asked'*/ SELECT 'as-other'",
    "SELECT 'as-own' /*pgwarden_token='token-own'*/",
    "SELECT fail /*pgwarden_token='token-other'*/",
    "BEGIN /*pgwarden_token='token-other'*/",
    "SELECT 1 /*pgwarden_token='token-old'*/",
    "INSERT INTO t VALUES ('as-other') /*traceparent='1',pgwarden_token='token-other'*/",
    "BEGIN; SET LOCAL pgwarden.token = 'token-other'; SELECT 'as-other'; COMMIT",
    "SET LOCAL pgwarden.token = 'token-other-asked'; SELECT 'as-other'; SELECT fail",
    "SELECT set_config('pgwarden.token', 'token-own', true); SELECT 'as-own'",
    "SET LOCAL app.current_org_id = 'tenant-of-c'",
    "SET LOCAL app.current_org_id = 'tenant-of-d'",
    "SET app.current_org_id = 'tenant-of-c'",
    "SELECT set_config('app.current_org_id', 'tenant-of-d', true), set_config('app.current_user_id', 'somebody', true)",
    "SELECT set_config('app.current_org_id', $1, true)",
    "RESET app.current_org_id",
];

/// What a parameter may be.
const PARAMETERS: [&[u8]; 6] =
    [b"token-other", b"token-other-asked", b"token-own", b"tenant-of-c", b"token-wrong", b""];

/// Names of statements and portals.
const NAMES: [&[u8]; 3] = [b"", b"a", b"b"];

/// Everything that is going on.
struct Stage {
    manner: Manner,
    interner: Arc<Interner>,
    plays: [Play; 2],
    /// Sessions that have ended.
    ended: [bool; 2],
    /// Whether a batch has begun and no Sync has followed.
    open: [bool; 2],
    idle: Option<Box<Backend>>,
    /// Whose backend it is.
    holder: Option<usize>,
    server: Server,
    /// How many clients there are.
    clients: usize,
    /// The size of the pieces.
    size: usize,
    /// Everything the clients have read, of sessions that ended too.
    read: String,
    /// Who has shown a token, or said whom it acts for.
    has_shown: [bool; 2],
    /// Whether a client has broken the protocol, or come near it.
    was_interrupted: bool,
    /// Whether every step is told, for whoever looks at a finding.
    tells: bool,
}

pub(crate) fn run(input: &[u8]) {
    let mut choices = Choices::new(input);
    let manner = Manner::choose(&mut choices);
    let byte = choices.byte();
    let size = usize::from(byte % 16);
    let clients = if byte < 128 { 2 } else { 1 };
    let stage = Stage::begin(manner, clients, usize::MAX);
    stage.tell(&format!("{manner:?}, {clients} clients, {size}"), None, &[]);
    let whole = stage.play(choices.clone());
    let parts = Stage::begin(manner, clients, size).play(choices);
    // Of two clients, another may be the first to get the backend that becomes free between two pieces.
    if clients == 1 && whole.is_some() && parts.is_some() {
        assert_eq!(parts, whole, "in pieces of {size} bytes on the left, whole on the right");
    }
}

impl Stage {
    fn begin(manner: Manner, clients: usize, size: usize) -> Stage {
        let interner = Arc::new(Interner::default());
        let plays = Tenant::BOTH.map(|tenant| manner.begin(&interner, tenant));
        Stage {
            idle: Some(manner.backend()),
            manner,
            interner,
            plays,
            ended: [false; 2],
            open: [false; 2],
            holder: None,
            server: Server::default(),
            clients,
            size,
            read: String::new(),
            has_shown: [false; 2],
            was_interrupted: false,
            tells: std::env::var_os("PGWARDEN_FUZZ_TELL").is_some(),
        }
    }

    fn tell(&self, what: &str, who: Option<usize>, bytes: &[u8]) {
        if self.tells {
            let whose = who.map(|who| Tenant::BOTH[who]);
            eprintln!("{what} {whose:?}: {}", bytes.escape_ascii());
        }
    }

    /// Plays the schedule to its end; returns what the clients have read. Who interrupts a COPY is thrown out by the
    /// server or by pgwarden, whoever is first: then there is nothing to compare.
    fn play(mut self, mut choices: Choices<'_>) -> Option<String> {
        let mut steps = 0;
        while !choices.is_empty() && steps < 200 {
            self.step(&mut choices);
            steps += 1;
        }
        (0..self.clients).for_each(|who| self.finish(who));
        (!self.was_interrupted).then_some(self.read)
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        let kind = choices.byte();
        let who = usize::from(kind >> 7) % self.clients;
        let kind = kind & 0x7f;
        match kind % 16 {
            0..=3 => self.client_sends(who, |w| {
                w.query(choices.one_of(&TEXTS).as_bytes());
            }),
            4 => self.client_sends(who, |w| message(w, choices)),
            5 | 6 => self.client_sends(who, |w| {
                let (name, text) = (choices.one_of(&NAMES), choices.one_of(&TEXTS));
                w.parse(name, text.as_bytes(), &[0, 0]).bind_front(name, name, 6).raw(&[0; 6]).execute(name);
            }),
            7 | 8 => self.client_sends(who, |w| {
                w.sync();
            }),
            9 | 10 => self.client_sends(who, |w| message(w, choices)),
            11 | 12 => {
                self.serve();
                self.deliver(usize::MAX);
            }
            13 => self.serve(),
            14 => self.deliver(usize::from(choices.byte())),
            _ => self.client_sends(who, |w| {
                let text = choices.one_of(&TEXTS).as_bytes();
                w.query(text).sync().query(choices.one_of(&TEXTS).as_bytes());
            }),
        }
    }

    fn client_sends(&mut self, who: usize, write: impl FnOnce(&mut Writer<'_>)) {
        let mut bytes = Vec::new();
        write(&mut Writer::new(&mut bytes));
        self.note_batches(who, &bytes);
        self.has_shown[who] |= contains(&bytes, b"pgwarden") || contains(&bytes, b"app.current_org_id");
        self.tell("client", Some(who), &bytes);
        for piece in pieces(&bytes, self.size) {
            if self.ended[who] {
                return;
            }
            let result = self.plays[who].client_sends(piece, &mut self.idle);
            self.after(who, result);
        }
    }

    /// A Query behind a batch without Sync is skipped if the batch fails, and refused if pgwarden does not know yet that
    /// it has: with another ReadyForQuery in one case, so that there is nothing to compare.
    fn note_batches(&mut self, who: usize, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((tag, _, behind)) = split(rest) {
            self.was_interrupted |= matches!(tag, b'Q' | b'F') && self.open[who];
            match tag {
                b'P' | b'B' | b'D' | b'E' | b'C' => self.open[who] = true,
                b'S' | b'Q' | b'F' => self.open[who] = false,
                _ => (),
            }
            rest = behind;
        }
    }

    /// The server reads everything there is.
    fn serve(&mut self) {
        self.tell("server reads from", self.holder, &self.server.input);
        let owner = |who: usize| Owner { tenant: Tenant::BOTH[who], has_shown: self.has_shown[who] };
        self.server.run(self.holder.map(owner));
    }

    /// So many bytes of the server reach the session that holds the backend.
    fn deliver(&mut self, count: usize) {
        let count = count.min(self.server.output.len());
        let bytes: Vec<u8> = self.server.output.drain(..count).collect();
        self.tell("server sends to", self.holder, &bytes);
        for piece in pieces(&bytes, self.size) {
            let Some(who) = self.holder else { panic!("nobody is owed {:?}", piece.escape_ascii()) };
            let result = self.plays[who].server_sends(piece, &mut self.idle);
            self.after(who, result);
            if self.ended[who] {
                return;
            }
        }
    }

    /// What the relay does after each step: passes bytes on, gives the backend back, ends the session.
    fn after(&mut self, who: usize, result: Result<(), SessionError>) {
        if self.plays[who].engine.holds_backend() {
            self.holder = Some(who);
        }
        let bytes = std::mem::take(&mut self.plays[who].to_server);
        self.server.input.extend(bytes);
        match result {
            Err(error @ (SessionError::Desync { .. } | SessionError::Setting(_))) => {
                panic!("an honest server: {error}")
            }
            Err(_) => {
                self.was_interrupted = true;
                return self.end(who);
            }
            Ok(()) if self.plays[who].engine.has_ended() => {
                self.was_interrupted = true;
                return self.end(who);
            }
            Ok(()) => (),
        }
        if self.plays[who].is_releasable() {
            let backend = self.plays[who].engine.detach().expect("a backend is held");
            self.holder = None;
            if backend.health == Health::Sound {
                self.idle = Some(backend);
            } else {
                self.replace_backend();
            }
            self.wake();
        }
    }

    /// A client that waits for the backend gets it.
    fn wake(&mut self) {
        for who in 0..2 {
            if self.plays[who].stop == Stop::Backend && !self.ended[who] && self.idle.is_some() {
                let result = self.plays[who].take(&mut self.idle);
                self.after(who, result);
            }
        }
    }

    /// The session ends, and its backend with it unless that is in order.
    fn end(&mut self, who: usize) {
        let held = self.plays[who].engine.detach();
        self.look_at_what_was_read(who);
        self.ended[who] = true;
        if held.is_some() {
            self.holder = None;
            self.replace_backend();
            self.wake();
        }
    }

    fn replace_backend(&mut self) {
        self.server = Server::default();
        self.idle = Some(self.manner.backend());
    }

    /// The client comes to an end of what it does; nothing may hang.
    fn finish(&mut self, who: usize) {
        for _ in 0..4 {
            self.settle();
            if self.holder == Some(who) && self.server.is_copying() {
                self.client_sends(who, give_up);
            }
            self.settle();
            self.client_sends(who, |w| {
                w.sync();
            });
        }
        self.settle();
        self.client_sends(who, |w| {
            w.query(b"ROLLBACK");
        });
        self.settle();
        if !self.ended[who] {
            let waits = self.holder.is_some_and(|holder| holder != who);
            let play = &self.plays[who];
            assert!(waits || play.engine.is_idle(), "a session hangs: {:?}", play.stop);
            if !waits {
                self.end(who);
            }
        }
    }

    /// Until nothing moves any more.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.server.input.is_empty() && self.server.output.is_empty() {
                return;
            }
            self.serve();
            self.deliver(usize::MAX);
        }
        panic!("there is no end to it");
    }

    fn look_at_what_was_read(&mut self, who: usize) {
        let bytes = std::mem::take(&mut self.plays[who].to_client);
        let shown = || bytes.escape_ascii().to_string();
        assert!(!contains(&bytes, b"reply-of-pgwardens-own"), "a client reads {:?}", shown());
        let neighbour = Tenant::BOTH[1 - who];
        let foreign = [neighbour, neighbour.other()].map(|one| contains(&bytes, one.value().as_bytes()));
        assert_eq!(foreign, [false; 2], "a client reads {:?}", shown());
        let mut rest = bytes.as_slice();
        while let Some((_, _, behind)) = split(rest) {
            rest = behind;
        }
        assert!(rest.is_empty() || self.holder == Some(who), "half a message: {}", rest.escape_ascii());
        self.read.push_str(&bytes.escape_ascii().to_string());
        self.plays[who] = self.manner.begin(&self.interner, Tenant::BOTH[who]);
    }
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// CopyFail.
fn give_up(w: &mut Writer<'_>) {
    w.message(b'f', |p| {
        p.string(b"enough");
    });
}

/// What follows the names in a Bind with these values, all as text.
fn values(values: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, u8::try_from(values.len()).expect("a few")];
    for value in values {
        bytes.extend(i32::try_from(value.len()).expect("a short one").to_be_bytes());
        bytes.extend_from_slice(value);
    }
    bytes.extend([0, 0]);
    bytes
}

/// Any other message.
fn message(w: &mut Writer<'_>, choices: &mut Choices<'_>) {
    let name = choices.one_of(&NAMES);
    match choices.byte() % 13 {
        0 => w.parse(name, choices.one_of(&TEXTS).as_bytes(), &[0, 0]),
        1 => w.bind_front(choices.one_of(&NAMES), name, 6).raw(&[0; 6]),
        2 => w.execute(name),
        3 => w.describe(b'S', name),
        4 => w.describe(b'P', name),
        5 => w.close(b'S', name),
        6 => w.close(b'P', name),
        7 => w.flush(),
        8 => w.message(b'd', |p| {
            p.bytes(b"line\n");
        }),
        9 => w.message(b'c', |_| ()),
        10 => w.message(b'f', |p| {
            p.string(b"enough");
        }),
        11 => w.message(b'F', |p| {
            p.int32(1344).bytes(&[0; 6]);
        }),
        _ => {
            let (value, local) = (choices.one_of(&PARAMETERS), choices.one_of(&[b"true".as_slice(), b"off"]));
            let values = values(&[value, local]);
            w.bind_front(choices.one_of(&NAMES), name, values.len()).raw(&values)
        }
    };
}
