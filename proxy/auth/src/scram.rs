//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS in the server role (RFC 5802, RFC 7677).
//!
//! ```text
//! ScramServer ──client_first──▶ ScramAwaitingFinal ──client_final──▶ ScramSuccess
//! ```
//!
//! Every state is consumed by its one method, so that no exchange can be continued twice. An unknown
//! user, and one whose secret cannot do SCRAM, goes through the same exchange with a made-up verifier
//! that stays the same from login to login, and fails at the end like a wrong password does
//! (`mock_scram_secret` in `src/backend/libpq/auth-scram.c`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::crypto::{Key, hmac_sha256, sha256, xor};
use crate::scram_keys::ScramKeys;
use crate::scram_message::{ClientFinal, ClientFirst, MAX_CLIENT_NONCE, MessageError};
use crate::secret::{DEFAULT_ITERATIONS, ScramVerifier, Secret, parse_key};

/// PostgreSQL's `SCRAM_DEFAULT_SALT_LEN`.
const SALT_LENGTH: usize = 16;

/// The one channel binding type that PostgreSQL knows, as a GS2 flag.
const TLS_SERVER_END_POINT_FLAG: &str = "p=tls-server-end-point";

/// A SASL mechanism of the SCRAM family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// `SCRAM-SHA-256`.
    ScramSha256,
    /// `SCRAM-SHA-256-PLUS`, bound to the TLS connection.
    ScramSha256Plus,
}

/// What the exchange can be bound to on this connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Nothing: no TLS, or channel binding is not offered.
    Unavailable,
    /// The hash of the server's certificate (RFC 5929 section 4; SHA-256 where the certificate's own
    /// signature uses MD5 or SHA-1, the signature's hash otherwise).
    TlsServerEndPoint(Vec<u8>),
}

/// Why an exchange failed, in blame of the client.
///
/// The texts fit an error DETAIL; none of them tells whether the user exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// A message does not follow the grammar of RFC 5802.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The client's nonce is longer than 256 bytes.
    #[error("the nonce of the client is longer than 256 bytes")]
    NonceTooLong,
    /// The client wants to act as somebody else (`a=`), which PostgreSQL does not support either.
    #[error("the client uses an authorization identity, which is not supported")]
    AuthorizationIdentity,
    /// The client demands an extension (`m=`).
    #[error("the client requires an unsupported SCRAM extension")]
    MandatoryExtension,
    /// The client binds to the channel without having chosen, or been offered, `-PLUS`.
    #[error("the client requires channel binding, which was not negotiated")]
    ChannelBindingNotNegotiated,
    /// The client chose `-PLUS` and then does not bind to the channel.
    #[error("the client selected SCRAM-SHA-256-PLUS without channel binding")]
    ChannelBindingMissing,
    /// The client uses another binding than `tls-server-end-point`.
    #[error("the client uses an unsupported channel binding type")]
    ChannelBindingType,
    /// The client could bind and believes that we cannot: somebody removed `-PLUS` from the offer.
    #[error("the client believes that channel binding is not offered, but it is")]
    ChannelBindingDowngrade,
    /// The client is bound to another channel: there is somebody in between.
    #[error("SCRAM channel binding check failed")]
    ChannelBindingMismatch,
    /// The client repeats another GS2 header than it began with, though nothing is bound.
    #[error("unexpected SCRAM channel-binding attribute in client-final-message")]
    ChannelBindingUnexpected,
    /// The nonce in the second message is not the one of the first.
    #[error("nonce does not match")]
    NonceMismatch,
    /// Wrong password, unknown user, or a secret that cannot do SCRAM.
    #[error("password authentication failed")]
    WrongProof,
}

/// An exchange before the client's first message.
#[derive(Debug)]
#[must_use]
pub struct ScramServer {
    account: Account,
    server_nonce: String,
    mechanism: Mechanism,
    binding: ChannelBinding,
}

/// An exchange between the server's first and the client's final message.
#[must_use]
pub struct ScramAwaitingFinal {
    account: Account,
    nonce: String,
    client_first_bare: String,
    server_first: String,
    mechanism: Mechanism,
    channel_binding: Vec<u8>,
}

/// An exchange that proved the client's identity.
#[must_use]
pub struct ScramSuccess {
    /// The body of `AuthenticationSASLFinal`.
    pub server_final: Vec<u8>,
    /// Enough to log in wherever the same verifier is stored.
    pub keys: ScramKeys,
}

/// The verifier to check against, and whether the exchange may succeed at all.
struct Account {
    verifier: ScramVerifier,
    real: Choice,
}

impl Mechanism {
    /// The mechanisms to offer to a client, best first, as PostgreSQL does.
    #[must_use]
    pub fn offered(binding: &ChannelBinding) -> &'static [Mechanism] {
        match binding {
            ChannelBinding::Unavailable => &[Mechanism::ScramSha256],
            ChannelBinding::TlsServerEndPoint(_) => &[Mechanism::ScramSha256Plus, Mechanism::ScramSha256],
        }
    }

    /// The best of a server's mechanisms that can be used on this connection.
    #[must_use]
    pub fn choose<'a>(
        names: impl IntoIterator<Item = &'a str>,
        binding: &ChannelBinding,
    ) -> Option<Mechanism> {
        let usable = Mechanism::offered(binding);
        let known = names.into_iter().filter_map(Mechanism::parse).filter(|name| usable.contains(name));
        known.max_by_key(|name| matches!(name, Mechanism::ScramSha256Plus))
    }

    /// Reads a SASL mechanism name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Mechanism> {
        [Mechanism::ScramSha256, Mechanism::ScramSha256Plus].into_iter().find(|known| known.name() == name)
    }

    /// The name as it stands in SASL messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }
}

impl ChannelBinding {
    /// The GS2 header of a client that chose this mechanism on this connection.
    pub(crate) fn gs2_header(&self, mechanism: Mechanism) -> &'static str {
        match (self, mechanism) {
            (ChannelBinding::Unavailable, _) => "n,,",
            (ChannelBinding::TlsServerEndPoint(_), Mechanism::ScramSha256) => "y,,",
            (ChannelBinding::TlsServerEndPoint(_), Mechanism::ScramSha256Plus) => "p=tls-server-end-point,,",
        }
    }

    /// The `cbind-input` of RFC 5802: the GS2 header, and the binding's data if it is used.
    pub(crate) fn input(&self, mechanism: Mechanism, gs2_header: &str) -> Vec<u8> {
        let data = match (self, mechanism) {
            (ChannelBinding::TlsServerEndPoint(data), Mechanism::ScramSha256Plus) => data.as_slice(),
            _ => &[],
        };
        [gs2_header.as_bytes(), data].concat()
    }
}

/// Whether [`ScramServer::new`] would spend about a millisecond on deriving a verifier.
///
/// Then call it off the reactor, or, better, replace the secret by [`derive_verifier`] once, when
/// the secrets are loaded: an unknown user costs nothing to derive, and the difference can be seen.
#[must_use]
pub fn needs_derivation(secret: &Secret) -> bool {
    matches!(secret, Secret::Clear(_))
}

/// The verifier that [`ScramServer::new`] would derive for a clear-text password.
///
/// Its salt depends on `mock_key` and the user only, as that of a made-up verifier does.
#[must_use]
pub fn derive_verifier(password: &str, user: &str, mock_key: &[u8; 32]) -> ScramVerifier {
    ScramVerifier::derive(password.as_bytes(), &mock_salt(mock_key, user), DEFAULT_ITERATIONS)
}

impl ScramServer {
    /// Begins an exchange with the user that the startup packet named.
    ///
    /// `mock_key` is random and lives as long as the process (share it between proxies that serve
    /// the same users: then an unknown user looks the same everywhere). `server_nonce` is random and
    /// used once. Costs about a millisecond of CPU if [`needs_derivation`] says so, and nothing
    /// otherwise. Channel binding is unavailable unless [`ScramServer::with_channel_binding`] says
    /// otherwise.
    pub fn new(
        secret: Option<&Secret>,
        user: &str,
        mock_key: &[u8; 32],
        server_nonce: [u8; 18],
    ) -> ScramServer {
        ScramServer {
            account: Account::new(secret, user, mock_key),
            server_nonce: STANDARD.encode(server_nonce),
            mechanism: Mechanism::ScramSha256,
            binding: ChannelBinding::Unavailable,
        }
    }

    /// Says which mechanism the client selected and what was on offer.
    ///
    /// `binding` is what the connection could do, whether or not the client selected `-PLUS`: a
    /// client that could bind but believes that it was not offered is refused.
    pub fn with_channel_binding(self, mechanism: Mechanism, binding: ChannelBinding) -> ScramServer {
        ScramServer { mechanism, binding, ..self }
    }

    /// Takes the client's first message and answers with the body of `AuthenticationSASLContinue`.
    ///
    /// The user name in the message is ignored, as PostgreSQL ignores it.
    ///
    /// # Errors
    /// Everything in [`ScramError`] that can be wrong with this message.
    pub fn client_first(self, data: &[u8]) -> Result<(Vec<u8>, ScramAwaitingFinal), ScramError> {
        let message = ClientFirst::parse(data)?;
        self.check_binding_flag(message.binding_flag)?;
        if !message.authorization_identity.is_empty() {
            return Err(ScramError::AuthorizationIdentity);
        }
        if message.nonce.len() > MAX_CLIENT_NONCE {
            return Err(ScramError::NonceTooLong);
        }
        let nonce = format!("{}{}", message.nonce, self.server_nonce);
        let verifier = &self.account.verifier;
        let salt = STANDARD.encode(verifier.salt());
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations());
        let answer = server_first.clone().into_bytes();
        let next = ScramAwaitingFinal {
            channel_binding: self.binding.input(self.mechanism, message.gs2_header),
            mechanism: self.mechanism,
            client_first_bare: message.bare.to_owned(),
            account: self.account,
            nonce,
            server_first,
        };
        Ok((answer, next))
    }

    /// The rules of `read_client_first_message` in `src/backend/libpq/auth-scram.c`.
    fn check_binding_flag(&self, flag: &str) -> Result<(), ScramError> {
        let available = matches!(self.binding, ChannelBinding::TlsServerEndPoint(_));
        match (flag, self.mechanism) {
            ("n", Mechanism::ScramSha256) => Ok(()),
            ("y", Mechanism::ScramSha256) if !available => Ok(()),
            ("y", Mechanism::ScramSha256) => Err(ScramError::ChannelBindingDowngrade),
            ("n" | "y", Mechanism::ScramSha256Plus) => Err(ScramError::ChannelBindingMissing),
            (TLS_SERVER_END_POINT_FLAG, Mechanism::ScramSha256Plus) if available => Ok(()),
            (flag, Mechanism::ScramSha256Plus) if available && flag.starts_with("p=") => {
                Err(ScramError::ChannelBindingType)
            }
            (flag, _) if flag.starts_with("p=") => Err(ScramError::ChannelBindingNotNegotiated),
            _ => Err(ScramError::Malformed("the channel binding flag is unknown")),
        }
    }
}

impl ScramAwaitingFinal {
    /// Takes the client's final message and decides.
    ///
    /// # Errors
    /// [`ScramError::WrongProof`] if the client does not know the password, or if there is no such
    /// user or no usable secret; the other errors say what is wrong with the message, and say it
    /// regardless of the user.
    pub fn client_final(self, data: &[u8]) -> Result<ScramSuccess, ScramError> {
        let message = ClientFinal::parse(data)?;
        if message.channel_binding.as_bytes() != STANDARD.encode(&self.channel_binding).as_bytes() {
            return Err(match self.mechanism {
                Mechanism::ScramSha256Plus => ScramError::ChannelBindingMismatch,
                Mechanism::ScramSha256 => ScramError::ChannelBindingUnexpected,
            });
        }
        if message.nonce != self.nonce {
            return Err(ScramError::NonceMismatch);
        }
        let proof =
            parse_key(message.proof).ok_or(ScramError::Malformed("the proof is not 32 bytes in base64"))?;
        let auth_message =
            [self.client_first_bare.as_str(), &self.server_first, message.without_proof].join(",");
        let client_key = Zeroizing::new(self.account.client_key(&proof, &auth_message)?);
        let server_key = Zeroizing::new(*self.account.verifier.server_key());
        let signature = hmac_sha256(server_key.as_ref(), &[auth_message.as_bytes()]);
        let server_final = format!("v={}", STANDARD.encode(signature)).into_bytes();
        Ok(ScramSuccess { server_final, keys: ScramKeys { client_key, server_key } })
    }
}

impl Account {
    fn new(secret: Option<&Secret>, user: &str, mock_key: &[u8; 32]) -> Account {
        match secret {
            Some(Secret::Scram(verifier)) => Account { verifier: verifier.clone(), real: Choice::from(1) },
            Some(Secret::Clear(password)) => {
                Account { verifier: derive_verifier(password, user, mock_key), real: Choice::from(1) }
            }
            Some(Secret::Md5(_)) | None => {
                Account { verifier: mock_verifier(mock_key, user), real: Choice::from(0) }
            }
        }
    }

    /// The key that the proof was made with, if it is the right one.
    fn client_key(&self, proof: &Key, auth_message: &str) -> Result<Key, ScramError> {
        let signature = hmac_sha256(self.verifier.stored_key(), &[auth_message.as_bytes()]);
        let client_key = xor(proof, &signature);
        let matches = sha256(&client_key).ct_eq(self.verifier.stored_key());
        if bool::from(matches & self.real) { Ok(client_key) } else { Err(ScramError::WrongProof) }
    }
}

impl From<MessageError> for ScramError {
    fn from(error: MessageError) -> ScramError {
        match error {
            MessageError::Malformed(reason) => ScramError::Malformed(reason),
            MessageError::MandatoryExtension => ScramError::MandatoryExtension,
        }
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // not even whether the user is real
        f.write_str("Account(..)")
    }
}

impl std::fmt::Debug for ScramAwaitingFinal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramAwaitingFinal(..)")
    }
}

impl std::fmt::Debug for ScramSuccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramSuccess(..)")
    }
}

fn mock_verifier(mock_key: &[u8; 32], user: &str) -> ScramVerifier {
    let key = |label: &[u8]| hmac_sha256(mock_key, &[label, user.as_bytes()]);
    let salt = mock_salt(mock_key, user).to_vec();
    ScramVerifier::from_parts(DEFAULT_ITERATIONS, salt, key(b"stored key\0"), key(b"server key\0"))
}

fn mock_salt(mock_key: &[u8; 32], user: &str) -> [u8; SALT_LENGTH] {
    let full = hmac_sha256(mock_key, &[b"salt\0", user.as_bytes()]);
    let mut salt = [0; SALT_LENGTH];
    for (target, byte) in salt.iter_mut().zip(full) {
        *target = byte;
    }
    salt
}

#[cfg(test)]
mod tests;
