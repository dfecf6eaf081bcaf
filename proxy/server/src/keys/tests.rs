//! Rotation, failure and limits, with files and with a server of our own.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use pgwarden_auth::jwt::{JwtPolicy, TokenError, verify};
use pgwarden_config::SecretText;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use time::Instant;
use ureq::tls::{Certificate, RootCerts};

use super::*;
use crate::tls;

/// HS256 of `{"sub":"alice"}` under [`FIRST`], with the key id `first`.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImZpcnN0In0.eyJzdWIiOiJhbGljZSJ9.\
    cECnNoYk5_UnZHucuGxM-B1ujczOK-4Bpm8QWVs5Gc0";
const FIRST: &str =
    r#"{"keys":[{"kty":"oct","kid":"first","k":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"}]}"#;
const SECOND: &str =
    r#"{"keys":[{"kty":"oct","kid":"second","k":"YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI"}]}"#;
const BOTH: &str = r#"{"keys":[{"kty":"oct","kid":"first","k":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"},
    {"kty":"oct","kid":"second","k":"YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI"}]}"#;
const HOUR: Duration = Duration::from_secs(3600);

fn accepts(store: &KeyStore) -> Result<(), TokenError> {
    let policy = JwtPolicy { require_exp: false, ..JwtPolicy::default() };
    verify(TOKEN, &store.current(), &policy, 0).map(|_| ())
}

/// What a server says to every request, and how many there were.
#[derive(Clone)]
struct Says(Arc<Mutex<(String, usize)>>);

impl Says {
    fn set(&self, answer: String) {
        self.0.lock().unwrap().0 = answer;
    }

    fn requests(&self) -> usize {
        self.0.lock().unwrap().1
    }

    /// Reads one request and answers it, if there is one.
    fn answer(&self, mut stream: impl Read + Write) {
        let mut reader = BufReader::new(&mut stream);
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(2) => break,
                Ok(length) if length > 2 => {}
                _ => return,
            }
        }
        let answer = {
            let mut state = self.0.lock().unwrap();
            state.1 += 1;
            state.0.clone()
        };
        // The client may have seen enough already.
        let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// A server on a port of its own, for as long as the test runs.
fn serve(answer: String) -> (String, Says) {
    serve_with(answer, "http", |says, stream| says.answer(stream))
}

fn serve_with(
    answer: String,
    scheme: &str,
    handle: impl Fn(&Says, TcpStream) + Send + 'static,
) -> (String, Says) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("{scheme}://{}/keys", listener.local_addr().unwrap());
    let says = Says(Arc::new(Mutex::new((answer, 0))));
    let answering = says.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            handle(&answering, stream.unwrap());
        }
    });
    (url, says)
}

/// The same over TLS, and the authority to trust.
fn serve_https(answer: String) -> (String, Says, RootCerts) {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::NoCa;
    let key = KeyPair::generate().unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let shown = params.signed_by(&key, &rcgen::Issuer::new(authority, authority_key)).unwrap();
    let builder = ServerConfig::builder_with_provider(tls::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = Arc::new(builder.with_single_cert(vec![shown.der().clone()], key).unwrap());
    let (url, says) = serve_with(answer, "https", move |says, stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        says.answer(StreamOwned::new(connection, stream));
    });
    (url, says, RootCerts::from([Certificate::from_der(root.der()).to_owned()]))
}

fn load(url: &str) -> Result<KeyStore, String> {
    KeyStore::load(&KeySource::Url(url.to_owned())).map_err(|error| error.to_string())
}

fn file(path: &Path) -> KeySource {
    KeySource::File(path.to_owned())
}

/// Lets the paused clock run on until the condition holds.
async fn until(limit: Duration, condition: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "not within {limit:?}");
        time::sleep(Duration::from_millis(100)).await;
    }
    start.elapsed()
}

// The first reading

#[test]
fn keys_come_from_a_variable_a_file_or_an_address() {
    let secret = "a".repeat(32);
    accepts(&KeyStore::load(&KeySource::Literal(SecretText::new(secret.clone()))).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for text in [secret.as_str(), FIRST] {
        fs::write(folder.path().join("key"), text).unwrap();
        accepts(&KeyStore::load(&file(&folder.path().join("key"))).unwrap()).unwrap();
    }
    accepts(&load(&serve(ok(FIRST)).0).unwrap()).unwrap();
}

#[test]
fn a_file_that_is_missing_or_no_key_is_named() {
    let error = KeyStore::load(&file(Path::new("/nowhere/key"))).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nowhere/key");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, "short").unwrap();
    let error = KeyStore::load(&file(&path)).unwrap_err();
    assert_eq!(error.to_string(), format!("no keys in {}", path.display()));
    assert!(error.source().unwrap().to_string().contains("shorter than 32 bytes"));
    let error = KeyStore::load(&file(Path::new("/dev/zero"))).unwrap_err();
    assert!(error.source().unwrap().to_string().contains("longer than 1048576 bytes"));
}

#[test]
fn an_address_that_does_not_answer_is_an_error_without_its_query() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = load(&format!("http://{address}/keys?apikey=hush#hush")).unwrap_err();
    assert!(error.starts_with(&format!("cannot fetch http://{address}/keys: ")), "{error}");
    assert!(!error.contains("hush"), "{error}");
    let error = load("http://[/keys?apikey=hush").unwrap_err();
    assert_eq!(error, "cannot fetch http://[/keys: it is no valid address");
}

#[test]
fn an_answer_that_is_no_jwks_is_refused() {
    for page in ["<html>sorry</html>", &"a".repeat(40), "{}", ""] {
        let error = load(&serve(ok(page)).0).unwrap_err();
        assert!(error.starts_with("no keys in http://127.0.0.1:"), "{error}");
    }
    for line in ["500 Oops", "404 Not Found", "204 No Content", "304 Not Modified"] {
        let error = load(&serve(status(line)).0).unwrap_err();
        assert!(error.ends_with(&format!("the answer has status {}", &line[..3])), "{error}");
    }
    assert!(load(&serve("SSH-2.0-OpenSSH\r\n".to_owned()).0).is_err());
}

#[test]
fn an_oversized_answer_is_refused() {
    let body = " ".repeat(1024 * 1024 + 1 - FIRST.len()) + FIRST;
    let endless = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}{body}");
    for answer in [ok(&body), endless] {
        let error = load(&serve(answer).0).unwrap_err();
        assert!(error.ends_with("the answer is longer than 1048576 bytes"), "{error}");
    }
    load(&serve(ok(&body[1..])).0).unwrap();
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    let silent = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned();
    let open = Mutex::new(Vec::new());
    let (url, _) = serve_with(silent, "http", move |says, stream| {
        says.answer(stream.try_clone().unwrap());
        open.lock().unwrap().push(stream);
    });
    let limit = Duration::from_millis(50);
    let problem = fetch::fetch_within(limit, &url, RootCerts::from([])).unwrap_err();
    assert_eq!(problem, "no complete answer in time");
}

#[test]
fn https_is_verified_and_redirects_never_leave_it() {
    let (url, _, roots) = serve_https(ok(FIRST));
    assert_eq!(fetch::fetch_within(fetch::TIMEOUT, &url, roots).unwrap(), FIRST.as_bytes());

    let (_, _, strangers) = serve_https(ok(FIRST));
    let (url, says, _) = serve_https(ok(FIRST));
    let problem = fetch::fetch_within(fetch::TIMEOUT, &url, strangers).unwrap_err();
    assert!(problem.contains("invalid peer certificate"), "{problem}");
    assert_eq!(says.requests(), 0);

    let (plain, unasked) = serve(ok(FIRST));
    let to = |url: &str| {
        format!("HTTP/1.1 302 Found\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    };
    let (url, _, roots) = serve_https(to(&plain));
    assert_eq!(
        fetch::fetch_within(fetch::TIMEOUT, &url, roots).unwrap_err(),
        "it redirects from https to http"
    );
    assert_eq!(unasked.requests(), 0);

    let (url, _) = serve(to(&plain));
    load(&url).unwrap();
    let (url, says) = serve(String::new());
    says.set(to(&url));
    assert!(load(&url).unwrap_err().ends_with("it redirects more than 3 times"));
}

// Keeping fresh

#[tokio::test(start_paused = true)]
async fn a_rotation_is_picked_up_in_time() {
    let (url, says) = serve(ok(SECOND));
    let store = load(&url).unwrap();
    assert_eq!(accepts(&store), Err(TokenError::NoMatchingKey));
    let task = tokio::spawn(store.clone().keep_fresh(KeySource::Url(url), HOUR));
    says.set(ok(BOTH));
    let waited = until(HOUR * 2, || accepts(&store).is_ok()).await;
    assert!(waited >= HOUR, "{waited:?}");
    says.set(ok(SECOND));
    until(HOUR * 2, || accepts(&store).is_err()).await;
    assert_eq!(says.requests(), 3);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_short_interval_is_kept_without_hints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, SECOND).unwrap();
    let store = KeyStore::load(&file(&path)).unwrap();
    let task = tokio::spawn(store.clone().keep_fresh(file(&path), Duration::from_secs(1)));
    fs::write(&path, FIRST).unwrap();
    until(Duration::from_secs(2), || accepts(&store).is_ok()).await;
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_has_the_source_read_early_but_not_often() {
    let (url, says) = serve(ok(SECOND));
    let store = load(&url).unwrap();
    let task = tokio::spawn(store.clone().keep_fresh(KeySource::Url(url), HOUR));
    time::sleep(Duration::from_secs(60)).await;
    assert_eq!(says.requests(), 1);

    says.set(ok(FIRST));
    store.hint_unknown_key();
    let waited = until(HOUR, || accepts(&store).is_ok()).await;
    assert!(waited < Duration::from_secs(1), "{waited:?}");
    assert_eq!(says.requests(), 2);

    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(60) {
        store.hint_unknown_key();
        time::sleep(Duration::from_millis(100)).await;
    }
    assert!((7..=8).contains(&says.requests()), "{}", says.requests());
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_old_keys_until_the_source_is_back() {
    let (url, says) = serve(ok(FIRST));
    let store = load(&url).unwrap();
    let task = tokio::spawn(store.clone().keep_fresh(KeySource::Url(url), HOUR));
    for (round, bad) in
        [status("503 Busy"), ok("<html>"), ok(""), "nonsense".to_owned()].into_iter().enumerate()
    {
        says.set(bad);
        until(HOUR * 2, || says.requests() == round + 2).await;
        accepts(&store).unwrap();
    }
    says.set(ok(SECOND));
    until(HOUR * 2, || accepts(&store).is_err()).await;
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_for_a_while_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    fs::write(&path, FIRST).unwrap();
    let store = KeyStore::load(&file(&path)).unwrap();
    let source = Arc::new(file(&path));
    fs::remove_file(&path).unwrap();
    for before in [Health::Answers, Health::Fails] {
        assert_eq!(store.refresh(&source, "the file", before).await, Health::Fails);
        accepts(&store).unwrap();
    }
    fs::write(&path, SECOND).unwrap();
    assert_eq!(store.refresh(&source, "the file", Health::Fails).await, Health::Answers);
    assert_eq!(accepts(&store), Err(TokenError::NoMatchingKey));
}

#[tokio::test]
async fn a_literal_needs_no_task() {
    let source = KeySource::Literal(SecretText::new("a".repeat(32)));
    KeyStore::load(&source).unwrap().keep_fresh(source, HOUR).await;
}

#[test]
fn nothing_of_a_key_is_shown() {
    let store = load(&serve(ok(FIRST)).0).unwrap();
    assert!(!format!("{store:?}").contains("YWFh"));
}
