//! A pgwarden that holds the traffic of a database for a moment, so that a lock is there at once, and that knows which server
//! processes are its own.

use super::arguments::Move;
use super::failure::Failure;
use crate::status::command::{AskError, Place};
use serde::Deserialize;
use std::time::Duration;
use ureq::Agent;

/// How long the traffic is held at most; the admin listener takes no more.
const HELD: Duration = Duration::from_millis(2_000);

/// The longest answer.
const LONGEST: u64 = 1 << 20;

/// How long the listener has to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Traffic that can be held, for each try to get a lock anew: between them it flows.
#[derive(Debug)]
pub(crate) struct Traffic(Option<Gate>);

/// The pgwarden that holds it, and of which database.
#[derive(Debug, Clone)]
struct Gate {
    place: Place,
    database: String,
}

/// What the admin listener says of a hold.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    /// The server processes that sessions of that pgwarden have at the moment.
    #[serde(default)]
    processes: Vec<u32>,
}

impl Traffic {
    /// Traffic that nobody holds.
    pub(crate) fn free() -> Self {
        Self(None)
    }

    /// That of a database, where the arguments say through whom.
    ///
    /// # Errors
    /// [`Failure`] when they name no place.
    pub(crate) fn of(flags: &Move, database: &str) -> Result<Self, Failure> {
        let Some(address) = &flags.through else { return Ok(Self::free()) };
        let refused = |error: AskError| Failure::caller(error.to_string(), "See --through and --token.");
        let place = Place::named(address, flags.token.as_deref()).map_err(refused)?;
        Ok(Self(Some(Gate { place, database: database.to_owned() })))
    }

    /// Holds it, for two seconds at most. Returns the server processes that sessions of that pgwarden have: no other gets
    /// one until it flows again.
    ///
    /// # Errors
    /// [`Failure`] when that pgwarden does not do it.
    pub(crate) async fn hold(&self) -> Result<Vec<u32>, Failure> {
        match &self.0 {
            Some(gate) => ask(gate.clone(), Verb::Hold).await.map(|answer| answer.processes),
            None => Ok(Vec::new()),
        }
    }

    /// Lets it flow. That nobody answers changes nothing: it does so by itself.
    pub(crate) async fn release(&self) {
        if let Some(gate) = &self.0 {
            let _by_itself = ask(gate.clone(), Verb::Release).await;
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Hold,
    Release,
}

/// Asks on a thread: the client blocks.
async fn ask(gate: Gate, verb: Verb) -> Result<Answer, Failure> {
    let asked = tokio::task::spawn_blocking(move || request(&gate, verb));
    asked.await.map_err(|error| Failure::Answer(error.to_string()))?
}

fn request(gate: &Gate, verb: Verb) -> Result<Answer, Failure> {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .user_agent(concat!("pgwarden/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = Agent::new_with_config(config);
    let url = format!("http://{}/hold?database={}", gate.place.address(), encoded(&gate.database));
    let bearer = gate.place.bearer();
    let answered = match verb {
        Verb::Hold => {
            let mut request = agent.post(format!("{url}&milliseconds={}", HELD.as_millis()));
            if let Some(bearer) = &bearer {
                request = request.header("Authorization", bearer);
            }
            request.send_empty()
        }
        Verb::Release => {
            let mut request = agent.delete(url);
            if let Some(bearer) = &bearer {
                request = request.header("Authorization", bearer);
            }
            request.call()
        }
    };
    let address = gate.place.address();
    let silent =
        |cause: String| Failure::caller(format!("nothing answers at {address}: {cause}"), "See --through.");
    let mut answer = answered.map_err(|error| silent(error.to_string()))?;
    match answer.status().as_u16() {
        200 => {
            let text = answer.body_mut().with_config().limit(LONGEST).read_to_string();
            let text = text.map_err(|error| silent(error.to_string()))?;
            serde_json::from_str(&text).map_err(|error| silent(error.to_string()))
        }
        401 => Err(Failure::caller(format!("{address} demands another token"), "Name it with --token.")),
        status => Err(Failure::caller(
            format!("{address} does not hold traffic: HTTP status {status}"),
            "See --through.",
        )),
    }
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encode = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encode).collect()
}
