//! A driver's program, and how it is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pgwarden_tests::{Pgwarden, Server, Version, versions};

/// The version that everything runs on.
const HOME: Version = Version(15);

/// How pgwarden shares its backends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    Transaction,
    Session,
}

impl Pooling {
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Transaction => "transaction",
            Pooling::Session => "session",
        }
    }

    /// Few enough that clients share backends; in session mode, enough for every connection that a program opens at once.
    pub fn backends(self) -> &'static str {
        match self {
            Pooling::Transaction => "4",
            Pooling::Session => "40",
        }
    }
}

/// A program in `tests/drivers/`, and what runs it.
#[derive(Clone, Copy)]
pub struct Program {
    /// Its name below `tests/drivers/`; empty where the interpreter is the program.
    pub file: &'static str,
    pub interpreter: &'static str,
    /// What stands in front of the file; paths are those of the repository.
    pub arguments: &'static [&'static str],
}

/// A server with tables, and a pgwarden that knows two of its clients.
pub struct Stage {
    // Dropped in this order.
    pub pgwarden: Pgwarden,
    pub server: Server,
    pub pooling: Pooling,
    /// What the program is told by its environment.
    pub settings: Vec<(&'static str, String)>,
}

impl Program {
    pub const fn python(file: &'static str) -> Program {
        Program::run_by(".cache/venv/bin/python", &[], file)
    }

    pub const fn run_by(
        interpreter: &'static str,
        arguments: &'static [&'static str],
        file: &'static str,
    ) -> Program {
        Program { file, interpreter, arguments }
    }

    /// Runs all scenarios and gives back what it said; panics with that when one fails, or none passes.
    #[track_caller]
    pub fn run(self, stage: &Stage) -> String {
        let output = self.command(stage).output().unwrap_or_else(|error| {
            panic!("cannot run {}: {error}; `./run setup` installs what the tests need", self.interpreter)
        });
        let said = said(&output);
        let passed = passed(&said);
        let (name, version, pooling) = (self.name(), stage.server.version(), stage.pooling.name());
        assert!(
            output.status.success() && passed > 0,
            "{name} on PostgreSQL {version}, {pooling} pooling: {}, {passed} passed\n{said}\n--- pgwarden said:\n{}\n\
             --- the server's log ends with:\n{}",
            output.status,
            stage.pgwarden.stderr(),
            stage.server.log_tail(),
        );
        println!("{name} on PostgreSQL {version}, {pooling} pooling:\n{said}");
        said
    }

    fn name(self) -> &'static str {
        if self.file.is_empty() { self.interpreter } else { self.file }
    }

    fn command(self, stage: &Stage) -> Command {
        // Ends with this test, should it be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(self.interpreter()).args(self.arguments);
        if !self.file.is_empty() {
            command.arg(root().join("tests/drivers").join(self.file));
        }
        command.current_dir(root()).stdin(Stdio::null());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("POOL_MODE", stage.pooling.name()).env("SCENARIO_TIMEOUT", "60");
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.envs(stage.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// With a folder in its name, one of the repository; else one of PATH.
    fn interpreter(self) -> PathBuf {
        let path = Path::new(self.interpreter);
        if path.components().count() == 1 { path.to_owned() } else { root().join(path) }
    }
}

/// The one version of what does not run on all.
pub fn home() -> Version {
    let versions = versions();
    if versions.contains(&HOME) { HOME } else { versions[0] }
}

/// A version other than that, if it was asked for.
pub fn elsewhere(major: u16) -> Option<Version> {
    Some(Version(major)).filter(|version| *version != home() && versions().contains(version))
}

/// Both outputs of a program.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The number in the program's last words: `12 passed, 0 failed`.
pub fn passed(said: &str) -> u32 {
    let count = |line: &str| line.strip_suffix(" failed")?.split_once(" passed, ")?.0.parse().ok();
    said.lines().rev().find_map(count).unwrap_or(0)
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
