//! Issuers of JSON Web Tokens: their keys, made by the `openssl` command, and the address where their public keys are.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

pub use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
pub use serde_json::{Value, json};

/// The secret of every [`Issuer`] of an `HS` algorithm.
pub const SECRET: &str = "a secret that nobody guesses, of more than thirty-two bytes";

/// Who signs tokens.
pub struct Issuer {
    algorithm: Algorithm,
    private: EncodingKey,
    public: String,
    id: Option<String>,
}

impl Issuer {
    /// An issuer with a new key of the algorithm's type; its tokens name no key id.
    pub fn new(algorithm: Algorithm) -> Issuer {
        use Algorithm as A;
        let options: &[&str] = match algorithm {
            A::HS256 | A::HS384 | A::HS512 => return Issuer::of_secret(algorithm, SECRET),
            A::ES256 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
            A::ES384 => &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
            A::EdDSA => &["-algorithm", "ED25519"],
            _ => &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        };
        let key = openssl(&[&["genpkey"], options].concat(), "");
        let public = openssl(&["pkey", "-pubout"], &key);
        let private = match algorithm {
            A::ES256 | A::ES384 => EncodingKey::from_ec_pem(key.as_bytes()),
            A::EdDSA => EncodingKey::from_ed_pem(key.as_bytes()),
            _ => EncodingKey::from_rsa_pem(key.as_bytes()),
        };
        Issuer { algorithm, private: private.expect("a key of the type asked for"), public, id: None }
    }

    /// An issuer that signs with a shared secret.
    pub fn of_secret(algorithm: Algorithm, secret: &str) -> Issuer {
        let private = EncodingKey::from_secret(secret.as_bytes());
        Issuer { algorithm, private, public: secret.to_owned(), id: None }
    }

    /// The same issuer with a name for its key.
    #[must_use]
    pub fn named(mut self, id: &str) -> Issuer {
        self.id = Some(id.to_owned());
        self
    }

    /// What verifies its tokens: a public key in PEM, or the secret.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The same as an entry of a JWK set.
    pub fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.private, self.algorithm).expect("the key has a public part");
        let mut jwk = serde_json::to_value(jwk).expect("a JWK is JSON");
        if let Some(id) = &self.id {
            jwk["kid"] = Value::from(id.as_str());
        }
        jwk
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_under(Header::new(self.algorithm), claims)
    }

    /// A token that brings its own key along (`jwk`), and the address of a set with it (`jku`).
    pub fn sign_with_own_key(&self, claims: &Value, address: &str) -> String {
        let jwk = Jwk::from_encoding_key(&self.private, self.algorithm).expect("the key has a public part");
        let address = Some(address.to_owned());
        self.sign_under(
            Header { jwk: Some(jwk), jku: address.clone(), x5u: address, ..Header::new(self.algorithm) },
            claims,
        )
    }

    fn sign_under(&self, header: Header, claims: &Value) -> String {
        let header = Header { kid: self.id.clone(), ..header };
        jsonwebtoken::encode(&header, claims, &self.private).expect("claims can be signed")
    }
}

/// A JWK set of these issuers.
pub fn jwks(issuers: &[&Issuer]) -> String {
    json!({"keys": issuers.iter().map(|issuer| issuer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Seconds since 1970, and so many more.
pub fn seconds_from_now(more: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    i64::try_from(now).expect("it is not that late") + more
}

/// A document at an address of this machine.
pub struct Address {
    port: u16,
    answer: Arc<Mutex<(u16, String)>>,
    requests: Arc<AtomicUsize>,
}

impl Address {
    /// Serves `document` until the test process ends.
    pub fn serve(document: &str) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let answer = Arc::new(Mutex::new((200, document.to_owned())));
        let requests = Arc::new(AtomicUsize::new(0));
        let (shared, counter) = (Arc::clone(&answer), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (status, document) = shared.lock().expect("nobody panics with it").clone();
                // A client that has gone needs no answer.
                let _ = reply(stream, status, &document);
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Address { port, answer, requests }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/.well-known/jwks.json", self.port)
    }

    /// How often it was asked for.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Serves this from now on.
    pub fn change(&self, status: u16, document: &str) {
        *self.answer.lock().expect("nobody panics with it") = (status, document.to_owned());
    }
}

/// Reads a request up to its empty line, and answers.
fn reply(stream: TcpStream, status: u16, document: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let length = document.len();
    let head = format!("HTTP/1.1 {status} Whatever\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    reader.into_inner().write_all(format!("{head}{document}").as_bytes())
}

/// Runs openssl with `input`, and returns what it prints.
fn openssl(arguments: &[&str], input: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = openssl.spawn().expect("openssl is installed");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(input.as_bytes()).expect("openssl reads");
    drop(stdin);
    let output = child.wait_with_output().expect("openssl ends");
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM is text")
}

/// A token that is good for an hour.
#[must_use]
pub fn token(claims: &Value) -> String {
    let mut claims = claims.clone();
    if claims.get("exp").is_none() {
        claims["exp"] = Value::from(seconds_from_now(3600));
    }
    Issuer::new(Algorithm::HS256).sign(&claims)
}
