//! Who the client is: trust, password, md5, SCRAM, certificate, token or operating system user.

use crate::app::App;
use crate::clock;
use crate::login::rules::{self, Newcomer};
use crate::login::scram::{self, Offer};
use crate::login::{Denied, certificate, oauth_bearer, peer, secret};
use crate::meters::LoginOutcome;
use crate::packet;
use crate::pool::Lent;
use crate::stream::Stream;
use pgwarden_auth::jwt::{self, Claims, TokenError};
use pgwarden_config::Method;
use pgwarden_session::Refusal;
use pgwarden_wire::Writer;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Bytes of the longest password message, as PostgreSQL takes (`PG_MAX_AUTH_TOKEN_LENGTH`).
const PASSWORD_LIMIT: usize = 65_535 + 6;

/// What a client has shown.
#[derive(Debug)]
pub(super) enum Shown {
    /// That it is the user, and what its proof leaves for logins to the server.
    Name(Option<Lent>),
    /// A token, which says nothing about the user's name.
    Token(Claims),
    /// Nothing yet: the server will ask.
    LeftToServer,
}

impl Shown {
    /// Takes what the proof leaves for logins to the server.
    pub(super) fn lent(&mut self) -> Option<Lent> {
        match self {
            Self::Name(lent) => lent.take(),
            Self::Token(_) | Self::LeftToServer => None,
        }
    }

    /// The claims of a token, if it is one.
    pub(super) fn claims(&self) -> Option<&Claims> {
        match self {
            Self::Token(claims) => Some(claims),
            Self::Name(_) | Self::LeftToServer => None,
        }
    }
}

/// Asks for the proof that the rules demand.
///
/// # Errors
/// [`Denied`] when the proof is wrong. An unknown user gets the same text and takes the same time as a wrong password.
pub(super) async fn authenticate(
    stream: &mut Stream,
    newcomer: &Newcomer<'_>,
    app: &Arc<App>,
) -> Result<Shown, Denied> {
    certificate::demand(stream, &app.settings.tls.client_cert)?;
    let user = newcomer.user;
    match rules::method(stream, newcomer, app)? {
        Method::Trust => {}
        Method::Passthrough => return Ok(Shown::LeftToServer),
        Method::Peer => peer::names(stream, user).await?,
        Method::Reject => return Err(rules::rejected(stream, newcomer)),
        Method::Cert => certificate::names(stream, user)?,
        Method::Jwt => return token(stream, newcomer, app).await.map(Shown::Token),
        Method::OAuthBearer => {
            return oauth_bearer::exchange(stream, newcomer, app).await.map(Shown::Token);
        }
        Method::Password => return secret::password(stream, newcomer, app).await.map(Shown::Name),
        Method::Md5 => return secret::md5(stream, newcomer, app).await.map(Shown::Name),
        Method::ScramSha256 => {
            return scram::exchange(stream, newcomer, Offer::Either, app).await.map(Shown::Name);
        }
        Method::ScramSha256Plus => {
            return scram::exchange(stream, newcomer, Offer::Bound, app).await.map(Shown::Name);
        }
    }
    Ok(Shown::Name(None))
}

/// Whether a client has shown that it knows the secret.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It has.
    Given,
    /// It has not, or there is nothing to know.
    Wrong,
}

/// One text for a wrong password and for a user that does not exist.
pub(super) fn verdict(proof: &Proof, user: &str) -> Result<(), Denied> {
    if *proof == Proof::Given {
        return Ok(());
    }
    let message = format!("password authentication failed for user \"{user}\"");
    Err(Denied::Refused(Refusal::new("28P01", message, "", ""), LoginOutcome::RefusedAuthentication))
}

/// Sends an authentication request and reads the answer, without the zero byte that ends it.
pub(super) async fn ask(stream: &mut Stream, kind: i32, data: &[u8]) -> Result<Vec<u8>, Denied> {
    let mut answer = ask_sasl(stream, kind, data).await?;
    match answer.pop() {
        Some(0) if !answer.contains(&0) => Ok(answer),
        _ => Err(Denied::protocol("08P01", "invalid password packet")),
    }
}

/// Asks for a password or token in clear text, of at most `limits.token_bytes`.
pub(super) async fn ask_in_clear(
    stream: &mut Stream,
    what: &str,
    newcomer: &Newcomer<'_>,
    app: &App,
) -> Result<Vec<u8>, Denied> {
    let given = ask(stream, 3, &[]).await?;
    check_size(given.len(), what, app)?;
    app.suspicion.hold_proof(newcomer, app).await?;
    Ok(given)
}

/// Refuses a password or token of more than `limits.token_bytes`.
pub(super) fn check_size(bytes: usize, what: &str, app: &App) -> Result<(), Denied> {
    let limit = app.settings.limits.token_bytes;
    if bytes <= limit {
        return Ok(());
    }
    Err(Denied::protocol("54000", format!("{what} of {bytes} bytes is over the limit of {limit}")))
}

/// Sends an authentication request and reads the answer as it is.
pub(super) async fn ask_sasl(stream: &mut Stream, kind: i32, data: &[u8]) -> Result<Vec<u8>, Denied> {
    let mut request = Vec::new();
    Writer::new(&mut request).authentication(kind, data);
    packet::write(stream, &request).await?;
    let answer = packet::read(stream, PASSWORD_LIMIT).await?;
    if answer.tag != b'p' {
        let message = format!("expected password response, got message type {}", answer.tag);
        return Err(Denied::protocol("08P01", message));
    }
    Ok(answer.payload)
}

/// The password is a token. It is never logged, and no error repeats any of it.
async fn token(stream: &mut Stream, newcomer: &Newcomer<'_>, app: &Arc<App>) -> Result<Claims, Denied> {
    let user = newcomer.user;
    let given = ask_in_clear(stream, "token", newcomer, app).await?;
    let text = String::from_utf8(given).map_err(|_| invalid_token(user, "the token is not UTF-8"))?;
    verified(Zeroizing::new(text), app).await.map_err(|reason| invalid_token(user, &reason))
}

/// The claims of a token, or why it is no good, for the client to read.
pub(super) async fn verified(token: Zeroizing<String>, app: &Arc<App>) -> Result<Claims, String> {
    let verifier = Arc::clone(app);
    let verified = tokio::task::spawn_blocking(move || verifier.tokens.verify(&token, clock::now())).await;
    match verified {
        Ok(Ok(claims)) => Ok(claims),
        Ok(Err(error)) => {
            if matches!(error, TokenError::NoMatchingKey) {
                app.tokens.hint_unknown_key();
            }
            Err(error.to_string())
        }
        Err(_) => Err("the token could not be checked".to_owned()),
    }
}

fn invalid_token(user: &str, reason: &str) -> Denied {
    let refusal = Refusal::new(
        "28000",
        format!("token authentication failed for user \"{user}\""),
        format!("The token was refused: {reason}."),
        "Get a fresh token and send it as the password.",
    );
    Denied::Refused(refusal, LoginOutcome::RefusedAuthentication)
}

/// What a token has to fulfil, and the keys it is checked with.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The keys; `None` where no token is ever taken.
    pub(crate) keys: Option<crate::keys::KeyStore>,
    /// What a token has to fulfil.
    pub(crate) policy: jwt::JwtPolicy,
}

impl Tokens {
    /// Checks a token; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// [`TokenError`] when it does not fulfil what is demanded.
    pub(crate) fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        match &self.keys {
            Some(keys) => jwt::verify(token, &keys.current(), &self.policy, now),
            None => Err(TokenError::NoMatchingKey),
        }
    }

    /// A token names a key that is not known: it may be new.
    pub(crate) fn hint_unknown_key(&self) {
        if let Some(keys) = &self.keys {
            keys.hint_unknown_key();
        }
    }
}
