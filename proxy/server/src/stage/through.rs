//! A pgwarden that holds the traffic of a database for a moment, so that a lock is there at once.

use super::arguments::Move;
use super::failure::Failure;
use crate::status::command::{AskError, Place};
use std::time::Duration;
use ureq::Agent;

/// How long the traffic is held at most; the admin listener takes no more.
const HELD: Duration = Duration::from_millis(2_000);

/// How long the listener has to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Traffic that is held. It flows again when this has ended, or by itself after two seconds.
#[derive(Debug)]
pub(crate) struct Hold(Option<Held>);

#[derive(Debug)]
struct Held {
    place: Place,
    database: String,
}

impl Hold {
    /// Holds it, where the arguments say through whom.
    ///
    /// # Errors
    /// [`Failure`] when that pgwarden does not do it.
    pub(crate) async fn begin(flags: &Move, database: &str) -> Result<Self, Failure> {
        let Some(address) = &flags.through else { return Ok(Self(None)) };
        let refused = |error: AskError| Failure::caller(error.to_string(), "See --through and --token.");
        let place = Place::named(address, flags.token.as_deref()).map_err(refused)?;
        let held = Held { place, database: database.to_owned() };
        let held = ask(held, Verb::Hold).await?;
        Ok(Self(Some(held)))
    }

    /// Lets it flow. That nobody answers changes nothing: it does so by itself.
    pub(crate) async fn end(self) {
        if let Some(held) = self.0 {
            let _by_itself = ask(held, Verb::Release).await;
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Verb {
    Hold,
    Release,
}

/// Asks on a thread: the client blocks.
async fn ask(held: Held, verb: Verb) -> Result<Held, Failure> {
    let asked = tokio::task::spawn_blocking(move || request(&held, verb).map(|()| held));
    asked.await.map_err(|error| Failure::Answer(error.to_string()))?
}

fn request(held: &Held, verb: Verb) -> Result<(), Failure> {
    let config = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        .user_agent(concat!("pgwarden/", env!("CARGO_PKG_VERSION")))
        .build();
    let agent = Agent::new_with_config(config);
    let url = format!("http://{}/hold?database={}", held.place.address(), encoded(&held.database));
    let bearer = held.place.bearer();
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
    let address = held.place.address();
    let silent =
        |cause: String| Failure::caller(format!("nothing answers at {address}: {cause}"), "See --through.");
    let answer = answered.map_err(|error| silent(error.to_string()))?;
    match answer.status().as_u16() {
        200 => Ok(()),
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
