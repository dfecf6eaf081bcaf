//! pgwarden: a transparent PostgreSQL proxy that gives every transaction a verified tenant context.

mod activation;
mod admin;
mod app;
mod assemble;
mod cancel;
mod causes;
mod cli;
mod clock;
mod keys;
mod listen;
mod loaded;
mod logging;
mod login;
mod meters;
mod notify;
mod packet;
mod pool;
mod questions;
mod relay;
mod reload;
mod serve;
mod settings;
mod signals;
mod sockets;
mod start_error;
mod stream;
mod takeover;
mod tls;
mod upstream;
mod users;
mod worker;

use causes::WithCauses;
use clap::Parser;
use cli::{Cli, Command, ConfigCommand};
use loaded::Purpose;
use pgwarden_config::Settings;
use start_error::{Blame, StartError};
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration cannot be used (`EX_USAGE` of sysexits.h).
const BAD_CONFIGURATION: u8 = 64;
/// The system does not give what is needed (`EX_OSERR`).
const BAD_SYSTEM: u8 = 71;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(flags) => settings::load(&flags).and_then(|settings| run(settings, flags)),
        Command::Config { command: ConfigCommand::Check(flags) } => {
            settings::load(&flags).and_then(|settings| check(&settings))
        }
        Command::Config { command: ConfigCommand::Show(flags) } => {
            settings::load(&flags).map(|settings| say(&pgwarden_config::effective(&settings)))
        }
        Command::Config { command: ConfigCommand::Reference } => {
            say(pgwarden_config::REFERENCE);
            Ok(())
        }
    };
    done.map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

/// Prints; that nobody reads it changes nothing.
fn say(text: &str) {
    let _unread = io::stdout().write_all(text.as_bytes());
}

/// Prints a line on standard error; that nobody reads it changes nothing.
fn complain(line: &dyn Display) {
    let _unread = writeln!(io::stderr(), "{line}");
}

/// Reads all that `serve` reads, without listening, and without asking anybody.
fn check(settings: &Settings) -> Result<(), ExitCode> {
    loaded::load(settings, Purpose::Check).map_err(|mistakes| refuse(&mistakes))?;
    say("the configuration is right\n");
    Ok(())
}

fn run(settings: Settings, flags: cli::Settings) -> Result<(), ExitCode> {
    let loaded = loaded::load(&settings, Purpose::Serve).map_err(|mistakes| refuse(&mistakes))?;
    serve::serve(settings, loaded, flags).map_err(|error| refuse(&[error]))
}

/// Names each mistake; returns the exit code.
fn refuse(mistakes: &[StartError]) -> ExitCode {
    for mistake in mistakes {
        complain(&format_args!("pgwarden: {}", WithCauses(mistake)));
    }
    match mistakes.iter().any(|mistake| mistake.blame() == Blame::System) {
        true => ExitCode::from(BAD_SYSTEM),
        false => ExitCode::from(BAD_CONFIGURATION),
    }
}
