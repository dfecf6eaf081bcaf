//! How a client gets into a state of the protocol, and how it goes on from there.

use std::io::ErrorKind;

use pgwarden_tests::tenants::run;
use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{Frontend, Message, Relay, Server, Wire, until};

/// The password of every client.
pub const PASSWORD: &str = "open sesame";

/// Many rows; nobody reads them all before the fault.
const ROWS: &str = "SELECT org(), repeat('x', 8000) FROM generate_series(1, 4000)";

/// Where a client is when something breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Startup,
    Authentication,
    Idle,
    InTransaction,
    Waiting,
    Running,
    Streaming,
    Batch,
    Syncing,
    CopyIn,
    CopyOut,
    Injecting,
    Pinned,
    Session,
}

impl State {
    pub const ALL: [State; 14] = [
        State::Startup,
        State::Authentication,
        State::Idle,
        State::InTransaction,
        State::Waiting,
        State::Running,
        State::Streaming,
        State::Batch,
        State::Syncing,
        State::CopyIn,
        State::CopyOut,
        State::Injecting,
        State::Pinned,
        State::Session,
    ];

    /// Its line in the table.
    pub fn name(self) -> &'static str {
        match self {
            State::Startup => "startup packet half sent",
            State::Authentication => "asked for its password",
            State::Idle => "idle, no backend",
            State::InTransaction => "idle in a transaction",
            State::Waiting => "waiting for a backend",
            State::Running => "a simple query runs",
            State::Streaming => "rows are streaming",
            State::Batch => "a batch without Sync",
            State::Syncing => "between Sync and reply",
            State::CopyIn => "COPY in",
            State::CopyOut => "COPY out",
            State::Injecting => "behind a context that is on its way",
            State::Pinned => "pinned, idle",
            State::Session => "session pooling, idle",
        }
    }

    /// Whether it is the server that has to speak next.
    pub fn awaits_server(self) -> bool {
        use State as S;
        matches!(self, S::Waiting | S::Running | S::Streaming | S::Syncing | S::CopyOut | S::Injecting)
    }
}

/// A client in its state, and whoever has the backend it waits for.
#[derive(Debug)]
pub struct Scene {
    pub state: State,
    pub client: Wire,
    pub holder: Option<Wire>,
}

fn startup() -> Vec<u8> {
    let parameters = [("user", "acme"), ("database", "postgres")];
    Frontend::new().startup(PROTOCOL_3_0, &parameters).bytes().to_vec()
}

#[track_caller]
fn open(port: u16) -> Wire {
    Wire::open(port, "acme", PASSWORD, "postgres")
}

impl Scene {
    /// Brings a client into the state. pgwarden has one backend, through `relay`.
    #[track_caller]
    pub fn set(state: State, port: u16, server: &Server, relay: &Relay) -> Scene {
        let mut holder = None;
        let client = match state {
            State::Startup => {
                let mut wire = Wire::connect(port);
                wire.send_bytes(&startup()[..20]);
                wire
            }
            State::Authentication => {
                let mut wire = Wire::connect(port);
                wire.send_bytes(&startup());
                wire.expect("R");
                wire
            }
            State::Idle | State::Session => {
                let mut wire = open(port);
                wire.query("SELECT org()");
                wire
            }
            State::Pinned => asked(port, &["LISTEN news", "SELECT org()"]),
            State::InTransaction => asked(port, &["BEGIN", "SELECT org()"]),
            State::Waiting => {
                holder = Some(asked(port, &["BEGIN", "SELECT org()"]));
                sent(port, &Frontend::new().query("SELECT org()"))
            }
            State::Running => sent(port, &Frontend::new().query("SELECT org() FROM pg_sleep(600)")),
            State::Syncing => sent(port, &run("SELECT org() FROM pg_sleep(600)").sync()),
            State::Streaming => sent(port, &Frontend::new().query(ROWS)),
            State::CopyOut => sent(port, &Frontend::new().query(&format!("COPY ({ROWS}) TO STDOUT"))),
            State::Batch => {
                let mut wire = sent(port, &run("SELECT org()").flush());
                wire.expect("12DC");
                wire
            }
            State::CopyIn => {
                let mut wire = sent(port, &Frontend::new().query("COPY notes FROM STDIN"));
                wire.expect("G");
                wire.send(&Frontend::new().copy_data(b"never\tx\n"));
                wire
            }
            State::Injecting => {
                let wire = open(port);
                relay.freeze();
                let mut wire = wire;
                wire.send(&Frontend::new().query("SELECT org()"));
                relay.until_something_is_held();
                wire
            }
        };
        let scene = Scene { state, client, holder };
        scene.await_server(server);
        scene
    }

    fn await_server(&self, server: &Server) {
        let condition = match self.state {
            State::Running | State::Syncing => "wait_event = 'PgSleep'",
            State::Streaming | State::CopyOut => "wait_event = 'ClientWrite'",
            State::CopyIn => "wait_event = 'ClientRead' AND query LIKE '%COPY notes%' AND state = 'active'",
            _ => return,
        };
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND {condition}");
        until("the server is where it has to be", || (server.psql(&sql) == "1").then_some(()));
    }

    /// The client does what it would do next, up to the end of that or of the connection.
    pub fn go_on(&mut self) -> Vec<Message> {
        match self.speak() {
            None => self.answers(),
            Some(refused) => vec![refused],
        }
    }

    /// The client says what it would say next; returns why its login is refused, if it is.
    pub fn speak(&mut self) -> Option<Message> {
        let query = Frontend::new().query("SELECT org()");
        let messages = match self.state {
            State::Startup | State::Authentication => {
                // Of the other, the question has been read.
                if self.state == State::Startup {
                    self.client.send_bytes(&startup()[20..]);
                } else {
                    self.client.send(&Frontend::new().password(PASSWORD));
                }
                match self.client.authenticate("acme", PASSWORD) {
                    Err(refused) => return Some(refused),
                    Ok(_) => query,
                }
            }
            State::Idle | State::InTransaction | State::Pinned | State::Session => query,
            State::Batch => Frontend::new().sync(),
            State::CopyIn => Frontend::new().copy_done(),
            _ => Frontend::new(),
        };
        self.client.try_send(&messages);
        None
    }

    /// Everything up to ReadyForQuery or the end of the connection; silence is neither.
    pub fn answers(&mut self) -> Vec<Message> {
        let mut answers = Vec::new();
        loop {
            match self.client.try_receive() {
                Ok(Some(message)) => {
                    let is_last = message.tag == b'Z';
                    answers.push(message);
                    if is_last {
                        return answers;
                    }
                }
                Ok(None) => return answers,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return answers,
                Err(error) => {
                    panic!("{}: nothing comes after {} messages: {error}", self.state.name(), answers.len())
                }
            }
        }
    }
}

#[track_caller]
fn sent(port: u16, messages: &Frontend) -> Wire {
    let mut wire = open(port);
    wire.send(messages);
    wire
}

#[track_caller]
fn asked(port: u16, queries: &[&str]) -> Wire {
    let mut wire = open(port);
    for sql in queries {
        wire.query(sql);
    }
    wire
}
