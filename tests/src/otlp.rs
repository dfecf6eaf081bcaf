//! A receiver of OpenTelemetry logs: OTLP over HTTP/1.1, with the messages of the protocol's own crate.
//!
//! It is as strict as a collector: another path, method or content type is refused, and so is what is no message.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::Identity;
use crate::wait::free_port;

const PATH: &str = "/v1/logs";
const PROTOBUF: &str = "application/x-protobuf";

/// A receiver.
#[derive(Debug)]
pub struct Collector {
    port: u16,
    tls: Option<Arc<ServerConfig>>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    taken: Vec<Taken>,
    orders: VecDeque<Order>,
    poison: Option<String>,
    requests: Vec<Instant>,
    open: Vec<TcpStream>,
    accepting: Option<Arc<()>>,
}

/// A record that was taken, and what came with it.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The record.
    pub record: LogRecord,
    /// Who sent it.
    pub resource: Vec<KeyValue>,
    /// The headers of the request, names in small letters.
    pub headers: Vec<(String, String)>,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Nothing of it is taken; the answer has this status, and these headers.
    Refuse(u16, Vec<(&'static str, &'static str)>),
    /// It is taken, and the connection breaks before the answer.
    TakeAndHangUp,
    /// It is taken but for so many records.
    TakeBut(i64),
}

impl Collector {
    /// One that listens in clear text.
    pub fn listen() -> Self {
        Self::begin(None)
    }

    /// One that listens with TLS and shows this certificate.
    pub fn listen_with(identity: &Identity) -> Self {
        Self::begin(Some(identity.acceptor()))
    }

    fn begin(tls: Option<Arc<ServerConfig>>) -> Self {
        let collector = Self { port: free_port(), tls, state: Arc::default() };
        collector.come_back();
        collector
    }

    /// Its address.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What happens to the next requests, each in turn.
    pub fn order(&self, orders: impl IntoIterator<Item = Order>) {
        self.state().orders.extend(orders);
    }

    /// From now on, a request with a record that holds this text is refused as malformed.
    pub fn refuse_all_with(&self, text: &str) {
        self.state().poison = Some(text.to_owned());
    }

    /// Closes all connections, and takes no more.
    pub fn go_away(&self) {
        let mut state = self.state();
        state.accepting = None;
        for stream in state.open.drain(..) {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        // Who waits in `accept` sees that it is over.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }

    /// Listens again.
    pub fn come_back(&self) {
        let token = Arc::new(());
        self.state().accepting = Some(Arc::clone(&token));
        let listener =
            crate::until("the port is free again", || TcpListener::bind(("127.0.0.1", self.port)).ok());
        let (state, tls) = (Arc::clone(&self.state), self.tls.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let mut now = lock(&state);
                if !now.accepting.as_ref().is_some_and(|now| Arc::ptr_eq(now, &token)) {
                    return;
                }
                now.open.push(stream.try_clone().expect("a socket can be shared"));
                drop(now);
                let (state, tls) = (Arc::clone(&state), tls.clone());
                std::thread::spawn(move || serve(stream, tls, &state));
            }
        });
    }

    /// What was taken so far.
    pub fn taken(&self) -> Vec<Taken> {
        self.state().taken.clone()
    }

    /// When there were requests.
    pub fn requests(&self) -> Vec<Instant> {
        self.state().requests.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.go_away();
    }
}

impl Taken {
    /// The record's body.
    pub fn body(&self) -> &str {
        match self.record.body.as_ref().and_then(|body| body.value.as_ref()) {
            Some(Value::StringValue(text)) => text,
            other => panic!("the body is no text: {other:?}"),
        }
    }

    /// An attribute of the record.
    pub fn attribute(&self, name: &str) -> Option<String> {
        shown(&self.record.attributes, name)
    }

    /// An attribute of who sent it.
    pub fn resource(&self, name: &str) -> Option<String> {
        shown(&self.resource, name)
    }
}

fn shown(attributes: &[KeyValue], name: &str) -> Option<String> {
    let mut found = attributes.iter().filter(|one| one.key == name);
    let (first, second) = (found.next()?, found.next());
    assert!(second.is_none(), "{name} is there twice");
    match first.value.as_ref().and_then(|value| value.value.as_ref())? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name} is {other:?}"),
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both directions.
trait Both: Read + Write {}
impl<T: Read + Write> Both for T {}

/// Answers requests until the connection ends.
fn serve(socket: TcpStream, tls: Option<Arc<ServerConfig>>, state: &Mutex<State>) {
    let end = socket.try_clone().expect("a socket can be shared");
    let stream: Box<dyn Both> = match tls {
        Some(config) => {
            let connection = ServerConnection::new(config).expect("a connection can be made");
            Box::new(StreamOwned::new(connection, socket))
        }
        None => Box::new(socket),
    };
    let mut stream = BufReader::new(stream);
    while let Some((line, headers, body)) = request(&mut stream) {
        let Some((status, more, answer)) = decide(state, &line, headers, &body) else { break };
        let more: String = more.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = answer.len();
        let head = format!(
            "HTTP/1.1 {status} Said So\r\ncontent-type: {PROTOBUF}\r\n{more}content-length: {length}\r\n\r\n"
        );
        let writer = stream.get_mut();
        let written = writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&answer));
        if written.and_then(|()| writer.flush()).is_err() {
            break;
        }
    }
    // It may be closed already.
    let _ = end.shutdown(Shutdown::Both);
}

type Request = (String, Vec<(String, String)>, Vec<u8>);

fn request(reader: &mut impl BufRead) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: Vec<(String, String)> = lines[1..]
        .iter()
        .map(|line| line.split_once(':').expect("a header"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = header(&headers, "content-length").parse().expect("a length");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((lines[0].clone(), headers, body))
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> &'a str {
    headers.iter().find(|(one, _)| one == name).map_or("", |(_, value)| value)
}

type Answer = (u16, Vec<(&'static str, &'static str)>, Vec<u8>);

/// The answer; none: the connection breaks.
fn decide(state: &Mutex<State>, line: &str, headers: Vec<(String, String)>, body: &[u8]) -> Option<Answer> {
    let refused = |status| Some((status, Vec::new(), Vec::new()));
    if line != format!("POST {PATH} HTTP/1.1") {
        return refused(404);
    }
    if header(&headers, "content-type") != PROTOBUF {
        return refused(415);
    }
    let Ok(request) = ExportLogsServiceRequest::decode(body) else { return refused(400) };
    let mut state = lock(state);
    state.requests.push(Instant::now());
    let taken: Vec<Taken> = request
        .resource_logs
        .into_iter()
        .flat_map(|logs| {
            let resource = logs.resource.unwrap_or_default().attributes;
            let records = logs.scope_logs.into_iter().flat_map(|scope| scope.log_records);
            let headers = headers.clone();
            records.map(move |record| Taken { record, resource: resource.clone(), headers: headers.clone() })
        })
        .collect();
    let order = state.orders.pop_front();
    if let Some(Order::Refuse(status, headers)) = order {
        return Some((status, headers, Vec::new()));
    }
    if state.poison.as_ref().is_some_and(|text| taken.iter().any(|one| one.body().contains(text.as_str()))) {
        return refused(400);
    }
    state.taken.extend(taken);
    let rejected = match order {
        Some(Order::TakeAndHangUp) => return None,
        Some(Order::TakeBut(count)) => Some(count),
        Some(Order::Refuse(..)) | None => None,
    };
    let partial_success = rejected.map(|rejected_log_records| ExportLogsPartialSuccess {
        rejected_log_records,
        error_message: "told so".to_owned(),
    });
    Some((200, Vec::new(), ExportLogsServiceResponse { partial_success }.encode_to_vec()))
}
