//! Recording what passes through a session, and playing it again in other pieces.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use pgwarden_fuzz::play::Play;
use pgwarden_session::{
    Backend, Capabilities, Faults, Health, Interner, Limits, Options, PinPolicy, Pooling, Profile, Reassert,
    Route, SimpleForm, Stop, Vehicle,
};
use pgwarden_tests::tenants::{ACME, ANN, BOB, GLOBEX};
use pgwarden_tests::wire::PROTOCOL_3_0;
use pgwarden_tests::{Frontend, Message, Server, Version};

use crate::conversations::Conversation;

/// How a session works.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// How the context travels in batches.
    pub vehicle: Vehicle,
    /// Whether the backend is shared.
    pub pooling: Pooling,
    /// How often the context is set.
    pub reassert: Reassert,
}

impl Manner {
    /// Every way in which a context can travel, and the ways that are not the usual ones.
    pub const ALL: [Manner; 5] = [
        Manner::USUAL,
        Manner { vehicle: Vehicle::InBatch, ..Manner::USUAL },
        Manner { vehicle: Vehicle::Commands, ..Manner::USUAL },
        Manner { pooling: Pooling::Session, ..Manner::USUAL },
        Manner { reassert: Reassert::Statement, ..Manner::USUAL },
    ];
    /// Other ways in which a context can travel.
    pub const OTHER_VEHICLES: [Manner; 2] = [Manner::ALL[1], Manner::ALL[2]];
    /// The usual one.
    pub const USUAL: Manner =
        Manner { vehicle: Vehicle::Prepared, pooling: Pooling::Transaction, reassert: Reassert::Transaction };
}

/// What the session starts from.
#[derive(Clone, Debug)]
struct Beginning {
    manner: Manner,
    capabilities: Capabilities,
    /// What the server reported.
    reported: Arc<Profile>,
}

/// A session, and the backend while it does not hold it.
struct Alone {
    play: Play,
    idle: Option<Box<Backend>>,
}

impl Alone {
    fn begin(beginning: &Beginning) -> Alone {
        let options = Options {
            pooling: beginning.manner.pooling,
            pins: PinPolicy::Allow,
            reassert: beginning.manner.reassert,
            faults: Faults::default(),
            limits: Limits {
                message: 1 << 30,
                held: 1 << 30,
                client_statements: 100,
                backend_statements: 100,
            },
        };
        // The client started with something else: it is brought along whenever a backend is taken.
        let mut profile = Profile::clone(&beginning.reported);
        profile.carried.set("lock_timeout", "54321");
        let contexts = [[ACME, ANN], [GLOBEX, BOB]].map(|values| values.map(str::to_owned));
        let play = Play::begin(options, &contexts, Arc::new(Interner::default()), Arc::new(profile));
        let idle = Some(Box::new(Backend::new(beginning.capabilities, Arc::clone(&beginning.reported), 7)));
        Alone { play, idle }
    }

    fn client_sends(&mut self, bytes: &[u8]) {
        self.play.client_sends(bytes, &mut self.idle).expect("the client does nothing wrong");
        self.release();
    }

    fn server_sends(&mut self, bytes: &[u8]) {
        self.play.server_sends(bytes, &mut self.idle).expect("the replies fit");
        self.release();
    }

    fn release(&mut self) {
        assert_ne!(self.play.stop, Stop::Backend, "the backend is free");
        if self.play.engine.is_releasable() {
            let backend = self.play.engine.detach().expect("a backend is held");
            assert_eq!(
                backend.health,
                Health::Sound,
                "the conversation leaves a backend that cannot be shared"
            );
            self.idle = Some(backend);
        }
    }
}

/// What arrived, in the order of arrival.
#[derive(Clone, Debug)]
enum Arrival {
    Client(Vec<u8>),
    Server(Vec<u8>),
}

/// A conversation as it took place.
#[derive(Debug)]
pub struct Recording {
    /// Its name.
    pub name: String,
    beginning: Beginning,
    /// Every arrival, and how much had left for the server and for the client after it.
    arrivals: Vec<(Arrival, usize, usize)>,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    /// What an overseer was told.
    seen: String,
}

impl Recording {
    /// How many bytes arrived in each event.
    pub fn lengths(&self) -> Vec<usize> {
        let length = |(Arrival::Client(bytes) | Arrival::Server(bytes), _, _): &_| bytes.len();
        self.arrivals.iter().map(length).collect()
    }

    /// Plays it again; `cuts` says where the bytes of an event of some length are split. Says what differs.
    pub fn replay(&self, cuts: impl Fn(usize, usize) -> Vec<usize>) -> Result<(), String> {
        let mut alone = Alone::begin(&self.beginning);
        for (index, (arrival, to_server, to_client)) in self.arrivals.iter().enumerate() {
            let (Arrival::Client(bytes) | Arrival::Server(bytes)) = arrival;
            let mut from = 0;
            for to in cuts(index, bytes.len()).into_iter().chain([bytes.len()]) {
                let piece = &bytes[from..to];
                match arrival {
                    Arrival::Client(_) => alone.client_sends(piece),
                    Arrival::Server(_) => alone.server_sends(piece),
                }
                from = to;
            }
            same("the server", index, &alone.play.to_server, &self.to_server[..*to_server])?;
            same("the client", index, &alone.play.to_client, &self.to_client[..*to_client])?;
        }
        let seen = alone.play.engine.tenancy().seen();
        same("the overseer", self.arrivals.len(), seen.as_bytes(), self.seen.as_bytes())
    }
}

fn same(whom: &str, event: usize, found: &[u8], expected: &[u8]) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let (found, expected) = (found[at..].escape_ascii(), expected[at..].escape_ascii());
    Err(format!("after event {event}, for {whom}, from byte {at}:\n     got {found}\nexpected {expected}"))
}

/// Holds a conversation with a server.
pub fn record(server: &Server, conversation: &Conversation, manner: Manner) -> Recording {
    let vehicle = manner.vehicle;
    let newest = server.version() >= Version(18);
    let form = if newest || vehicle != Vehicle::Prepared { SimpleForm::Text } else { SimpleForm::Front };
    let (mut socket, reported) = log_in(server.port());
    let route = if vehicle == Vehicle::InBatch { Route::Pooler } else { Route::Direct };
    let beginning = Beginning { manner, capabilities: Capabilities { vehicle, form, route }, reported };
    let mut alone = Alone::begin(&beginning);
    let mut arrivals: Vec<(Arrival, usize, usize)> = Vec::new();
    let mut sent = 0;
    for turn in &conversation.turns {
        let from = alone.play.to_client.len();
        alone.client_sends(turn.messages.bytes());
        let bytes = turn.messages.bytes().to_vec();
        arrivals.push((Arrival::Client(bytes), alone.play.to_server.len(), alone.play.to_client.len()));
        while !turn.is_answered(&Message::split(&alone.play.to_client[from..])) {
            let mut before = None;
            if alone.play.to_server.len() > sent {
                socket.write_all(&alone.play.to_server[sent..]).expect("the server listens");
                sent = alone.play.to_server.len();
            } else if matches!(arrivals.last(), Some((Arrival::Server(_), _, _))) {
                // What the server sends without being asked again may as well arrive in one piece.
                before = arrivals.pop();
            }
            let message = read(&mut socket);
            alone.server_sends(&message);
            let mut bytes =
                if let Some((Arrival::Server(bytes), _, _)) = before { bytes } else { Vec::new() };
            bytes.extend(message);
            arrivals.push((Arrival::Server(bytes), alone.play.to_server.len(), alone.play.to_client.len()));
        }
    }
    let name = format!("{} ({manner:?})", conversation.name);
    let token = alone.play.to_server.windows(7).position(|window| window == b"token-o");
    assert_eq!(token, None, "{name}: a token reaches the server");
    let seen = alone.play.engine.tenancy().seen().to_owned();
    let (to_server, to_client) = (alone.play.to_server, alone.play.to_client);
    Recording { name, beginning, arrivals, to_server, to_client, seen }
}

/// A connection of pgwarden's login, and what the server reported.
fn log_in(port: u16) -> (TcpStream, Arc<Profile>) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    let parameters = [("user", "app"), ("database", "postgres")];
    let startup = Frontend::new().startup(PROTOCOL_3_0, &parameters);
    socket.write_all(startup.bytes()).expect("the server listens");
    let mut profile = Profile::default();
    loop {
        let (message, _) = Message::split_first(&read(&mut socket)).expect("a whole message");
        match message.tag {
            b'S' => {
                let (name, value) = message.parameter_status();
                profile.reported.set(&name, &value);
            }
            b'E' => panic!("{message:?}"),
            b'Z' => return (socket, Arc::new(profile)),
            _ => (),
        }
    }
}

/// One message of the server, as it travels.
fn read(socket: &mut TcpStream) -> Vec<u8> {
    socket.set_read_timeout(Some(pgwarden_tests::DEADLINE)).expect("a TCP socket has this option");
    let mut bytes = vec![0; 5];
    socket.read_exact(&mut bytes).expect("a message");
    let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
    bytes.resize(1 + usize::try_from(length).expect("a length"), 0);
    socket.read_exact(&mut bytes[5..]).expect("a message");
    bytes
}
