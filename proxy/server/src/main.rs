//! pgwarden: a transparent PostgreSQL proxy that gives every transaction a verified tenant context.

mod activation;
mod admin;
mod admission;
mod app;
mod assemble;
mod cancel;
mod causes;
mod check;
mod cli;
mod clock;
mod hold;
mod identity;
mod keys;
mod listen;
mod loaded;
mod logging;
mod login;
mod lookup;
mod meters;
mod notify;
mod observer;
mod oversight;
mod packet;
mod pool;
mod questions;
mod relay;
mod reload;
mod replay;
mod seal;
mod serve;
mod services;
mod settings;
mod signals;
mod sinks;
mod sockets;
mod stage;
mod start_error;
mod status;
mod stream;
mod takeover;
mod tls;
mod trail;
mod upstream;
mod users;
mod worker;

use causes::WithCauses;
use clap::Parser;
use cli::{Cli, Command, ConfigCommand, SealCommand, SqlCommand};
use loaded::Purpose;
use pgwarden_config::Settings;
use seal::command::SealError;
use start_error::{Blame, StartError};
use status::command::{self, AskError, Form, Place};
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration cannot be used (`EX_USAGE` of sysexits.h).
const BAD_CONFIGURATION: u8 = 64;
/// Nobody answers (`EX_UNAVAILABLE`).
const NO_ANSWER: u8 = 69;
/// The system does not give what is needed (`EX_OSERR`).
const BAD_SYSTEM: u8 = 71;
/// Not without the right token (`EX_NOPERM`).
const NOT_PERMITTED: u8 = 77;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(flags) => settings::load(&flags).and_then(|settings| run(settings, flags)),
        Command::Status(flags) => status(&flags),
        Command::Check(flags) => check::run(&flags),
        Command::Stage(flags) => stage::stage(&flags),
        Command::Staged(flags) => stage::staged(&flags),
        Command::Unstage(flags) => stage::unstage(&flags),
        Command::Promote(flags) => stage::promote(&flags),
        Command::Demote(flags) => stage::demote(&flags),
        Command::Seal { command } => seal(command),
        Command::Writes { command } => observer::command::run(&command),
        Command::Audit { command } => trail::command::run(&command),
        Command::Config { command: ConfigCommand::Check(flags) } => {
            settings::load(&flags).and_then(|settings| check_configuration(&settings))
        }
        Command::Config { command: ConfigCommand::Show(flags) } => {
            settings::load(&flags).map(|settings| say(&pgwarden_config::effective(&settings)))
        }
        Command::Sql { command: SqlCommand::Invalidation } => {
            say(identity::INVALIDATION);
            Ok(())
        }
        Command::Sql { command: SqlCommand::Audit } => {
            say(sinks::SCRIPT);
            Ok(())
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
fn check_configuration(settings: &Settings) -> Result<(), ExitCode> {
    loaded::load(settings, Purpose::Check).map_err(|mistakes| refuse(&mistakes))?;
    say("the configuration is right\n");
    Ok(())
}

/// Asks a running pgwarden, and prints what it says.
fn status(flags: &cli::Status) -> Result<(), ExitCode> {
    let place = match &flags.admin {
        Some(address) => Place::named(address, flags.token.as_deref()),
        None => settings::load(&cli::Settings::of_file(flags.config.clone()))
            .map(|settings| Place::of_settings(settings.admin))?,
    };
    let form = if flags.json { Form::Json } else { Form::Screen };
    let shown = place.and_then(|place| match flags.watch {
        None => command::once(&place, form),
        Some(every) => command::watch(&place, form, every),
    });
    shown.map_err(|error| {
        complain(&format_args!("pgwarden: {error}"));
        ExitCode::from(match error {
            AskError::Address(_) | AskError::Token(_) => BAD_CONFIGURATION,
            AskError::Off | AskError::Silent { .. } | AskError::Strange { .. } => NO_ANSWER,
            AskError::Refused { .. } => NOT_PERMITTED,
            AskError::System(_) => BAD_SYSTEM,
        })
    })
}

/// Prints keys, and SQL for them.
fn seal(command: SealCommand) -> Result<(), ExitCode> {
    let printed = match command {
        SealCommand::Install(flags) => seal::command::install(&flags).map(Into::into),
        SealCommand::Keygen { out } => seal::command::keygen(out.as_deref()),
        SealCommand::Key(flags) => seal::command::key(&settings::load(&flags)?),
    };
    printed.map(|text| say(&text)).map_err(|error| {
        complain(&format_args!("pgwarden: {}", WithCauses(&error)));
        ExitCode::from(if matches!(error, SealError::File(_)) { BAD_SYSTEM } else { BAD_CONFIGURATION })
    })
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
