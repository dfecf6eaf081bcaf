//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS in the client role, towards servers that are not trusted.
//!
//! ```text
//! start ──▶ client-first ──▶ Continue ──▶ client-final ──▶ Final ──▶ Authenticated
//! ```
//!
//! A server is as untrusted as a client until its final message is verified: its nonce, its message
//! and the work that it can ask for are limited, because an unlimited iteration count is a denial of
//! service against the proxy. A login counts only when [`ScramStep::Authenticated`] was reached: an
//! `AuthenticationOk` before that comes from a server that did not prove that it knows the password.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{Key, hmac_sha256, salted_password, sha256, xor};
use crate::scram::{ChannelBinding, Mechanism};
use crate::scram_keys::ScramKeys;
use crate::scram_message::{MAX_SERVER_NONCE, MessageError, ServerFirst};
use crate::secret::{parse_iterations, parse_key};

/// The highest iteration count that a server may ask for.
pub const MAX_ITERATIONS: u32 = 100_000;

/// The longest message that a server may send, in bytes.
pub const MAX_MESSAGE_LENGTH: usize = 4096;

/// What the proxy logs in with.
#[derive(Clone)]
pub enum ScramLogin {
    /// A password, prepared with SASLprep where it applies.
    Password(Zeroizing<Vec<u8>>),
    /// The keys of a client that proved itself (see [`crate::scram::ScramSuccess`]), good on every
    /// server that stores the very same verifier.
    Keys(ScramKeys),
}

/// A message of the server that belongs to the exchange.
#[derive(Debug, Clone, Copy)]
pub enum ServerMessage<'a> {
    /// The body of `AuthenticationSASLContinue`.
    Continue(&'a [u8]),
    /// The body of `AuthenticationSASLFinal`.
    Final(&'a [u8]),
}

/// What to do after a message of the server.
#[derive(Debug)]
#[must_use]
pub enum ScramStep {
    /// Send `message` in a `SASLResponse` and wait for the server.
    Send {
        /// The body to send.
        message: Vec<u8>,
        /// The exchange as it goes on.
        next: ScramClient,
    },
    /// The server has proved itself; `AuthenticationOk` may follow.
    Authenticated,
}

/// Why an exchange failed, in blame of the server; no text of the server is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramClientError {
    /// A message does not follow the grammar of RFC 5802.
    #[error("malformed SCRAM message from the server: {0}")]
    Malformed(&'static str),
    /// A message is longer than [`MAX_MESSAGE_LENGTH`].
    #[error("the SCRAM message of the server is longer than 4096 bytes")]
    MessageTooLong,
    /// The nonce is longer than 1024 bytes.
    #[error("the nonce of the server is longer than 1024 bytes")]
    NonceTooLong,
    /// The nonce does not continue ours: the message answers somebody else.
    #[error("the nonce of the server does not continue ours")]
    NonceMismatch,
    /// The iteration count is zero, no number, or above [`MAX_ITERATIONS`].
    #[error("the iteration count of the server is not between 1 and 100000")]
    Iterations,
    /// The server demands an extension (`m=`).
    #[error("the server requires an unsupported SCRAM extension")]
    MandatoryExtension,
    /// A message came out of turn.
    #[error("the server sent a SCRAM message out of turn")]
    OutOfTurn,
    /// The server said that it failed (`e=`).
    #[error("the server reported a SCRAM error")]
    ServerError,
    /// The server does not know the password (or the keys are those of another verifier).
    #[error("the server could not prove that it knows the password")]
    WrongServerSignature,
}

/// An exchange that waits for the server.
pub struct ScramClient {
    state: State,
}

enum State {
    ServerFirst { login: ScramLogin, binding_input: Vec<u8>, nonce: String, client_first_bare: String },
    ServerFinal { server_signature: Key },
}

impl ScramClient {
    /// Begins an exchange; returns the body of the `SASLInitialResponse` too.
    ///
    /// `nonce` is random and used once. `mechanism` is what goes into the `SASLInitialResponse` (see
    /// [`Mechanism::choose`]); `binding` is what the connection can do, whether or not it is used: a
    /// server that had its `-PLUS` offer removed on the way notices. The user name is left empty, as
    /// libpq does: the server takes it from the startup packet.
    #[must_use]
    pub fn start(
        login: ScramLogin,
        mechanism: Mechanism,
        binding: &ChannelBinding,
        nonce: [u8; 18],
    ) -> (Vec<u8>, ScramClient) {
        ScramClient::start_with(login, mechanism, binding, "", STANDARD.encode(nonce))
    }

    fn start_with(
        login: ScramLogin,
        mechanism: Mechanism,
        binding: &ChannelBinding,
        user: &str,
        nonce: String,
    ) -> (Vec<u8>, ScramClient) {
        let header = binding.gs2_header(mechanism);
        let client_first_bare = format!("n={user},r={nonce}");
        let message = format!("{header}{client_first_bare}").into_bytes();
        let binding_input = binding.input(mechanism, header);
        let state = State::ServerFirst { login, binding_input, nonce, client_first_bare };
        (message, ScramClient { state })
    }

    /// Whether the next [`ScramClient::step`] derives keys from a password.
    ///
    /// That costs about a millisecond of CPU at 4096 iterations and up to 25 at the limit: run it
    /// off the reactor. With [`ScramLogin::Keys`] every step takes microseconds.
    #[must_use]
    pub fn is_expensive(&self) -> bool {
        matches!(self.state, State::ServerFirst { login: ScramLogin::Password(_), .. })
    }

    /// Takes a message of the server.
    ///
    /// # Errors
    /// [`ScramClientError`]; the connection has to be closed then.
    pub fn step(self, message: ServerMessage<'_>) -> Result<ScramStep, ScramClientError> {
        let (ServerMessage::Continue(data) | ServerMessage::Final(data)) = message;
        if data.len() > MAX_MESSAGE_LENGTH {
            return Err(ScramClientError::MessageTooLong);
        }
        match (self.state, message) {
            (
                State::ServerFirst { login, binding_input, nonce, client_first_bare },
                ServerMessage::Continue(data),
            ) => {
                let first = Challenge::parse(data, &nonce)?;
                Ok(first.answer(&login, &binding_input, &client_first_bare))
            }
            (State::ServerFinal { server_signature }, ServerMessage::Final(data)) => {
                check_server_final(data, &server_signature)?;
                Ok(ScramStep::Authenticated)
            }
            (State::ServerFirst { .. }, ServerMessage::Final(_))
            | (State::ServerFinal { .. }, ServerMessage::Continue(_)) => Err(ScramClientError::OutOfTurn),
        }
    }
}

/// A server's first message that keeps to the limits.
struct Challenge<'a> {
    text: &'a str,
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl<'a> Challenge<'a> {
    fn parse(data: &'a [u8], client_nonce: &str) -> Result<Self, ScramClientError> {
        let message = ServerFirst::parse(data)?;
        let text =
            std::str::from_utf8(data).map_err(|_| ScramClientError::Malformed("the message is not UTF-8"))?;
        if message.nonce.len() > MAX_SERVER_NONCE {
            return Err(ScramClientError::NonceTooLong);
        }
        if message.nonce.strip_prefix(client_nonce).is_none_or(str::is_empty) {
            return Err(ScramClientError::NonceMismatch);
        }
        let salt = STANDARD.decode(message.salt).ok().filter(|salt| !salt.is_empty());
        let salt = salt.ok_or(ScramClientError::Malformed("the salt is no base64"))?;
        let iterations =
            parse_iterations(message.iterations, MAX_ITERATIONS).ok_or(ScramClientError::Iterations)?;
        Ok(Challenge { text, nonce: message.nonce, salt, iterations })
    }

    fn answer(&self, login: &ScramLogin, binding_input: &[u8], client_first_bare: &str) -> ScramStep {
        let (client_key, server_key) = login.keys(&self.salt, self.iterations);
        let without_proof = format!("c={},r={}", STANDARD.encode(binding_input), self.nonce);
        let auth_message = [client_first_bare, self.text, &without_proof].join(",");
        let signature = hmac_sha256(&sha256(client_key.as_ref()), &[auth_message.as_bytes()]);
        let proof = STANDARD.encode(xor(&client_key, &signature));
        let server_signature = hmac_sha256(server_key.as_ref(), &[auth_message.as_bytes()]);
        ScramStep::Send {
            message: format!("{without_proof},p={proof}").into_bytes(),
            next: ScramClient { state: State::ServerFinal { server_signature } },
        }
    }
}

impl ScramLogin {
    fn keys(&self, salt: &[u8], iterations: NonZeroU32) -> (Zeroizing<Key>, Zeroizing<Key>) {
        match self {
            ScramLogin::Keys(keys) => (keys.client_key.clone(), keys.server_key.clone()),
            ScramLogin::Password(password) => {
                let salted = salted_password(password, salt, iterations);
                let key = |label: &[u8]| Zeroizing::new(hmac_sha256(salted.as_ref(), &[label]));
                (key(b"Client Key"), key(b"Server Key"))
            }
        }
    }
}

fn check_server_final(data: &[u8], expected: &Key) -> Result<(), ScramClientError> {
    let text =
        std::str::from_utf8(data).map_err(|_| ScramClientError::Malformed("the message is not UTF-8"))?;
    if text.starts_with("e=") {
        return Err(ScramClientError::ServerError);
    }
    let signature = text.strip_prefix("v=").and_then(parse_key);
    let signature = signature.ok_or(ScramClientError::Malformed("a server signature is expected"))?;
    if bool::from(signature.ct_eq(expected)) { Ok(()) } else { Err(ScramClientError::WrongServerSignature) }
}

impl From<MessageError> for ScramClientError {
    fn from(error: MessageError) -> ScramClientError {
        match error {
            MessageError::Malformed(reason) => ScramClientError::Malformed(reason),
            MessageError::MandatoryExtension => ScramClientError::MandatoryExtension,
        }
    }
}

impl std::fmt::Debug for ScramLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ScramLogin::Password(_) => "Password(..)",
            ScramLogin::Keys(_) => "Keys(..)",
        })
    }
}

impl std::fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.state {
            State::ServerFirst { .. } => "ScramClient(awaiting the first server message)",
            State::ServerFinal { .. } => "ScramClient(awaiting the final server message)",
        })
    }
}

#[cfg(test)]
mod tests;
