//! The audit trail as syslog messages, over each of the four ways.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, PoisonError};

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::earlier_trail::EarlierTrail;
use pgwarden_tests::{Pgwarden, PgwardenBuilder, Signal, until};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

const DELIVERED: &str = "pgwarden_sink_records_total{sink=\"syslog\"}";
const FAILING: &str = "pgwarden_sink_failing{sink=\"syslog\"}";

fn told(trail: &EarlierTrail, more: &str) -> PgwardenBuilder {
    // Nobody listens there: a sink needs no database.
    let config = format!(
        "listen = \"127.0.0.1:{{port}}\"\nauth.method = \"trust\"\nadmin.listen = \"127.0.0.1:{{admin_port}}\"\n\
         upstream.url = \"postgres://nobody@127.0.0.1:1/none\"\n[audit]\ndirectory = \"{}\"\n\
         [audit.syslog]\nfacility = \"audit\"\n{more}\n",
        trail.path().display()
    );
    Pgwarden::builder().given_nothing().config(&config)
}

fn trail(count: usize) -> EarlierTrail {
    let mut trail = EarlierTrail::new();
    trail.segment();
    trail.findings(count);
    trail
}

/// What was received, and the connections that are open.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<(Vec<String>, Vec<TcpStream>)>>);

impl Heard {
    fn add(&self, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.push(message);
    }

    fn messages(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Takes streams of messages with their length in front.
    fn on(&self, listener: TcpListener, tls: Option<Arc<ServerConfig>>) {
        let heard = self.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (heard, tls) = (heard.clone(), tls.clone());
                let shared = socket.try_clone().expect("a socket can be shared");
                heard.0.lock().unwrap_or_else(PoisonError::into_inner).1.push(shared);
                std::thread::spawn(move || match tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config).expect("a connection can be made");
                        heard.read(StreamOwned::new(connection, socket));
                    }
                    None => heard.read(socket),
                });
            }
        });
    }

    fn read(&self, mut stream: impl Read) {
        while let Some(length) = length(&mut stream) {
            let mut message = vec![0; length];
            if stream.read_exact(&mut message).is_err() {
                return;
            }
            self.add(String::from_utf8(message).expect("text"));
        }
    }

    fn hang_up(&self) {
        for socket in self.0.lock().unwrap_or_else(PoisonError::into_inner).1.drain(..) {
            // It may be closed already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// The length in front of a message, and the space behind it.
fn length(stream: &mut impl Read) -> Option<usize> {
    let mut digits = String::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        match byte[0] {
            b' ' => return Some(digits.parse().expect("a number")),
            digit => digits.push(char::from(digit)),
        }
    }
}

/// The record of a message, behind a header that is as RFC 5424 has it.
#[track_caller]
fn record(message: &str) -> &str {
    let (header, rest) = message.split_once(" [origin ").expect("structured data");
    let fields: Vec<&str> = header.split(' ').collect();
    let [priority, time, host, application, process, kind] = fields[..] else { panic!("{header}") };
    assert!(["<107>1", "<108>1", "<110>1"].contains(&priority), "{header}");
    assert!(time.len() == 27 && time.ends_with('Z'), "{header}");
    assert!(!host.is_empty() && !kind.is_empty(), "{header}");
    assert_eq!((application, process), ("pgwarden", "-"), "{header}");
    let (data, record) = rest.split_once("] {").expect("a record behind the data");
    assert!(
        data.starts_with("software=\"pgwarden\" swVersion=\"") && data.contains("][meta sequenceId=\""),
        "{rest}"
    );
    &rest[rest.len() - record.len() - 1..]
}

/// Waits until everything is delivered, ends pgwarden, and compares what was heard, each once, with the files.
#[track_caller]
fn everything_was_heard(heard: &Heard, trail: &EarlierTrail, pgwarden: Pgwarden) {
    pgwarden.signal(Signal::TERM);
    assert!(pgwarden.wait_exit().success(), "{}", pgwarden.stderr());
    let lines: BTreeSet<String> = trail.all_lines().into_iter().collect();
    until("everything was heard", || {
        let messages = heard.messages();
        let records: BTreeSet<String> = messages.iter().map(|message| record(message).to_owned()).collect();
        (records == lines).then_some(())
    });
}

#[test]
fn datagrams_reach_a_receiver_of_the_network() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let (heard, trail) = (Heard::default(), trail(20));
    let address =
        format!("address = \"udp://127.0.0.1:{}\"", socket.local_addr().expect("an address").port());
    let listener = heard.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = socket.recv(&mut buffer) {
            listener.add(String::from_utf8(buffer[..length].to_vec()).expect("text"));
        }
    });
    let pgwarden = told(&trail, &address).start();
    everything_was_heard(&heard, &trail, pgwarden);
}

#[test]
fn datagrams_reach_a_receiver_of_the_machine() {
    let (heard, trail) = (Heard::default(), trail(500));
    let path = trail.path().join("log");
    let address = format!("address = \"unix:{}\"", path.display());
    let pgwarden = told(&trail, &address).start();
    until("nobody is there yet", || (pgwarden.metric(FAILING) == Some(1.0)).then_some(()));
    let socket = UnixDatagram::bind(&path).expect("bound");
    let listener = heard.clone();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = socket.recv(&mut buffer) {
            listener.add(String::from_utf8(buffer[..length].to_vec()).expect("text"));
        }
    });
    until("it delivers", || pgwarden.metric(DELIVERED).filter(|count| *count > 500.0));
    everything_was_heard(&heard, &trail, pgwarden);
}

#[test]
fn a_stream_that_breaks_is_begun_again_and_nothing_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let (heard, trail) = (Heard::default(), trail(500));
    let address =
        format!("address = \"tcp://127.0.0.1:{}\"\nbatch = 50", listener.local_addr().expect("one").port());
    heard.on(listener, None);
    let pgwarden = told(&trail, &address).start();
    until("it delivers", || pgwarden.metric(DELIVERED).filter(|count| *count > 500.0));
    // Between two batches: what was sent last may have been lost with the connection, and is sent once more.
    heard.hang_up();
    everything_was_heard(&heard, &trail, pgwarden);
}

#[test]
fn a_stream_with_tls_goes_only_to_who_is_trusted() {
    let (authority, other) = (Authority::create(), Authority::create());
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let (heard, trail) = (Heard::default(), trail(20));
    let port = listener.local_addr().expect("one").port();
    let address = |authority: &Authority| {
        format!("address = \"tls://localhost:{port}\"\nroot_cert = \"{}\"", authority.path())
    };
    heard.on(listener, Some(authority.server().acceptor()));
    let pgwarden = told(&trail, &address(&other)).start();
    let failures = "pgwarden_sink_retries_total{sink=\"syslog\",class=\"tls\"}";
    until("it has failed", || pgwarden.metric(failures).filter(|count| *count > 0.0));
    assert!(heard.messages().is_empty());
    drop(pgwarden);
    let pgwarden = told(&trail, &address(&authority)).start();
    until("it delivers", || pgwarden.metric(DELIVERED).filter(|count| *count > 20.0));
    everything_was_heard(&heard, &trail, pgwarden);
}
