//! pgwarden: a transparent PostgreSQL proxy that gives every transaction a verified tenant context.

mod admin;
mod app;
mod assemble;
mod cancel;
mod cli;
mod clock;
mod keys;
mod listen;
mod logging;
mod login;
mod meters;
mod packet;
mod pool;
mod questions;
mod relay;
mod serve;
mod settings;
mod signals;
mod stream;
mod tls;
mod upstream;
mod users;
mod worker;

use clap::Parser;
use cli::{Cli, Command, ConfigCommand};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The configuration cannot be used (`EX_USAGE` of sysexits.h).
const BAD_CONFIGURATION: u8 = 64;
/// The system does not give what is needed (`EX_OSERR`).
const BAD_SYSTEM: u8 = 71;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(flags) => match settings::load(&flags) {
            Ok(settings) => run(settings),
            Err(code) => code,
        },
        Command::Config { command: ConfigCommand::Check(flags) } => settings::load(&flags).map_or_else(
            |code| code,
            |_| {
                println!("the configuration is right");
                ExitCode::SUCCESS
            },
        ),
        Command::Config { command: ConfigCommand::Show(flags) } => settings::load(&flags).map_or_else(
            |code| code,
            |settings| {
                print!("{}", pgwarden_config::effective(&settings));
                ExitCode::SUCCESS
            },
        ),
        Command::Config { command: ConfigCommand::Reference } => {
            print!("{}", pgwarden_config::REFERENCE);
            ExitCode::SUCCESS
        }
    }
}

fn run(settings: pgwarden_config::Settings) -> ExitCode {
    match serve::serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgwarden: {error}");
            match error {
                app::StartError::System { .. } => ExitCode::from(BAD_SYSTEM),
                _ => ExitCode::from(BAD_CONFIGURATION),
            }
        }
    }
}
