//! `pgwarden status`: asks a running pgwarden what it does, and prints it for people.

mod ask;
mod place;
mod screen;
pub(crate) mod table;

pub(crate) use ask::{AskError, fetch};
pub(crate) use place::Place;

use crate::complain;
use ask::Answer;
use screen::{Paint, render};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// To where a terminal's cursor goes before each screen, and what is removed behind it.
const HOME: &str = "\x1b[H\x1b[2J";

/// How the status is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Screen,
    /// As `/status` answers.
    Json,
}

/// Prints the status once.
///
/// # Errors
/// [`AskError`] when nobody answers, or not with a status.
pub(crate) fn once(place: &Place, form: Form) -> Result<(), AskError> {
    let answer = ask::ask(place)?;
    let _unread = io::stdout().write_all(shown(&answer, form, Paint::of_output()).as_bytes());
    Ok(())
}

/// Prints the status again and again, in place where that is a terminal, until SIGINT or SIGTERM ends it or nobody reads
/// it any more.
///
/// # Errors
/// [`AskError`] when the first answer is none; later on, why there is none is printed instead.
pub(crate) fn watch(place: &Place, form: Form, every: Duration) -> Result<(), AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(AskError::System)?;
    let watched = runtime.block_on(watching(place, form, every));
    // An answer that is still waited for interests nobody any more.
    runtime.shutdown_background();
    watched
}

async fn watching(place: &Place, form: Form, every: Duration) -> Result<(), AskError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AskError::System)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(AskError::System)?;
    let repeated = async {
        let mut first = Some(asked(place).await?);
        loop {
            let answer = match first.take() {
                Some(answer) => Ok(answer),
                None => asked(place).await,
            };
            if print(answer, form).is_err() {
                return Ok(());
            }
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        ended = repeated => ended,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn asked(place: &Place) -> Result<Answer, AskError> {
    let place = place.clone();
    let asked = tokio::task::spawn_blocking(move || ask::ask(&place)).await;
    asked.unwrap_or_else(|failed| Err(AskError::System(io::Error::other(failed))))
}

/// One more screen; an error when nobody reads it.
fn print(answer: Result<Answer, AskError>, form: Form) -> io::Result<()> {
    let paint = Paint::of_output();
    let text = match answer {
        Ok(answer) => shown(&answer, form, paint),
        // On a terminal it stands in the place of the numbers, which would not be true any more.
        Err(error) if form == Form::Screen && io::stdout().is_terminal() => format!("pgwarden: {error}\n"),
        Err(error) => {
            complain(&format_args!("pgwarden: {error}"));
            return Ok(());
        }
    };
    let mut output = io::stdout().lock();
    match form {
        Form::Screen if output.is_terminal() => write!(output, "{HOME}{text}")?,
        Form::Screen => writeln!(output, "{text}")?,
        Form::Json => output.write_all(text.as_bytes())?,
    }
    output.flush()
}

fn shown(answer: &Answer, form: Form, paint: Paint) -> String {
    match form {
        Form::Screen => render(&answer.report, paint),
        Form::Json => format!("{}\n", answer.body.trim_end()),
    }
}
