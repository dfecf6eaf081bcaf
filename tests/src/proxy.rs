//! The binary under test, as a process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::Signal;

use crate::certificates::Identity;
use crate::client;
use crate::directory::Directory;
use crate::launch::{Account, Process, command};
use crate::wait::{DEADLINE, free_port, until};

/// What pgwarden is told before it starts: environment variables and arguments.
#[derive(Debug, Default)]
pub struct PgwardenBuilder {
    variables: BTreeMap<String, String>,
    arguments: Vec<String>,
    files: Vec<(String, String)>,
    inherited: Vec<String>,
    place: Option<Place>,
    given: Given,
    heard: Heard,
}

/// Whether the builder names the listeners by itself.
#[derive(Debug, Default, PartialEq, Eq)]
enum Given {
    #[default]
    Listeners,
    Nothing,
}

/// Whether anybody reads what pgwarden says.
#[derive(Debug, Default, PartialEq, Eq)]
enum Heard {
    #[default]
    InAFile,
    ByNobody,
}

/// The ports that a pgwarden listens on unless it is told otherwise.
#[derive(Debug, Clone, Copy)]
struct Ports {
    clients: u16,
    admin: u16,
}

/// Where another pgwarden is that runs already.
#[derive(Debug)]
struct Place {
    ports: Ports,
    directory: String,
}

impl PgwardenBuilder {
    /// `PGWARDEN_UPSTREAM`.
    #[must_use]
    pub fn upstream(self, url: &str) -> PgwardenBuilder {
        self.env("PGWARDEN_UPSTREAM", url)
    }

    /// Any variable. `{dir}` in the value stands for the directory of [`PgwardenBuilder::file`], `{port}` and
    /// `{admin_port}` for the ports that the builder has chosen.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> PgwardenBuilder {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// An argument after `serve`; `{dir}` as in [`PgwardenBuilder::env`].
    #[must_use]
    pub fn argument(mut self, argument: &str) -> PgwardenBuilder {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A socket that a service manager opens for pgwarden: `NAME=tcp:HOST:PORT` or `NAME=unix:PATH`, with the words in
    /// braces of [`PgwardenBuilder::env`].
    #[must_use]
    pub fn inheriting(mut self, socket: &str) -> PgwardenBuilder {
        self.inherited.push(socket.to_owned());
        self
    }

    /// Listens on the ports of another one, and `{before}` stands for its directory (for its own while there is none).
    #[must_use]
    pub fn in_place_of(mut self, other: &Pgwarden) -> PgwardenBuilder {
        let directory = other.place.clone();
        self.place = Some(Place { ports: Ports { clients: other.port, admin: other.admin_port }, directory });
        self
    }

    /// No variables that the test has not given: `{port}` and `{admin_port}` have to be named somewhere.
    #[must_use]
    pub fn given_nothing(mut self) -> PgwardenBuilder {
        self.given = Given::Nothing;
        self
    }

    /// Standard output and error are pipes that nobody reads, closed at the other end.
    #[must_use]
    pub fn heard_by_nobody(mut self) -> PgwardenBuilder {
        self.heard = Heard::ByNobody;
        self
    }

    /// TLS towards clients in a mode of `tls.mode`, with this identity.
    #[must_use]
    pub fn tls(self, mode: &str, identity: &Identity) -> PgwardenBuilder {
        self.file("server.crt", &identity.certificate)
            .file("server.key", &identity.key)
            .env("PGWARDEN_TLS_MODE", mode)
            .env("PGWARDEN_TLS_CERT", "{dir}/server.crt")
            .env("PGWARDEN_TLS_KEY", "{dir}/server.key")
    }

    /// Client certificates have to be signed by these authorities, PEM.
    #[must_use]
    pub fn client_authority(self, certificates: &str) -> PgwardenBuilder {
        self.file("clients.crt", certificates).env("PGWARDEN_TLS_CLIENT_CA", "{dir}/clients.crt")
    }

    /// A configuration file, `pgwarden.toml`.
    pub fn config(self, text: &str) -> PgwardenBuilder {
        self.file("pgwarden.toml", text).argument("--config=pgwarden.toml")
    }

    /// A file for pgwarden to read: a key, a user list, a configuration. Its contents may hold the same words in
    /// braces as [`PgwardenBuilder::env`].
    #[must_use]
    pub fn file(mut self, name: &str, contents: &str) -> PgwardenBuilder {
        self.files.push((name.to_owned(), contents.to_owned()));
        self
    }

    /// Starts pgwarden; panics with what it said when it does not become ready.
    #[track_caller]
    pub fn start(self) -> Pgwarden {
        self.try_start()
            .unwrap_or_else(|exit| panic!("pgwarden ended with {}:\n{}", exit.status, exit.stderr))
    }

    /// Starts pgwarden and returns when `/healthz` answers 200, or how it ended before that.
    pub fn try_start(self) -> Result<Pgwarden, Exit> {
        let pgwarden = self.start_unasked();
        let exit = until("pgwarden becomes ready", || {
            if let Some(status) = pgwarden.process().exited() {
                return Some(Some(status));
            }
            matches!(pgwarden.request("/healthz"), Ok((200, _))).then_some(None)
        });
        match exit {
            None => Ok(pgwarden),
            Some(status) => Err(Exit { status, stderr: pgwarden.stderr() }),
        }
    }

    /// Starts pgwarden and returns at once, for one that nobody can ask whether it is ready.
    pub fn start_unasked(mut self) -> Pgwarden {
        let ports = match &self.place {
            Some(place) => place.ports,
            None => Ports { clients: free_port(), admin: free_port() },
        };
        if self.given == Given::Listeners {
            let mut default = |name: &str, port: u16| {
                self.variables.entry(name.to_owned()).or_insert_with(|| format!("127.0.0.1:{port}"));
            };
            default("PGWARDEN_LISTEN", ports.clients);
            default("PGWARDEN_ADMIN", ports.admin);
            // Tests fail to log in often, and on purpose; those about the delays ask for them.
            self.variables.entry("PGWARDEN_LOGIN_DELAY".to_owned()).or_insert_with(|| "0".to_owned());
        }
        let (directory, process) = self.launch(&["serve"], ports);
        let place = match self.place {
            Some(place) => place.directory,
            None => directory.path().to_string_lossy().into_owned(),
        };
        let process = Mutex::new(process);
        Pgwarden { process, directory, place, port: ports.clients, admin_port: ports.admin }
    }

    /// Runs another command than `serve`, such as `config check`, to its end; nothing is added to the variables.
    #[track_caller]
    pub fn run(self, subcommand: &[&str]) -> Exit {
        let ports = Ports { clients: free_port(), admin: free_port() };
        let (directory, mut process) = self.launch(subcommand, ports);
        let status = until("pgwarden ends", || process.exited());
        Exit { status, stderr: said(&directory) }
    }

    /// Starts another command than `serve` that goes on until it is told to end; nothing is added to the variables.
    pub fn start_command(self, subcommand: &[&str]) -> Pgwarden {
        let ports = Ports { clients: free_port(), admin: free_port() };
        let (directory, process) = self.launch(subcommand, ports);
        let place = directory.path().to_string_lossy().into_owned();
        let process = Mutex::new(process);
        Pgwarden { process, directory, place, port: ports.clients, admin_port: ports.admin }
    }

    fn launch(&self, subcommand: &[&str], ports: Ports) -> (Directory, Process) {
        let directory = Directory::create("pgwarden");
        let place = directory.path().to_string_lossy().into_owned();
        let before = self.place.as_ref().map_or(&place, |place| &place.directory);
        let fill = |text: &str| {
            let [port, admin] = [ports.clients, ports.admin].map(|port| port.to_string());
            let text = text.replace("{before}", before);
            text.replace("{dir}", &place).replace("{port}", &port).replace("{admin_port}", &admin)
        };
        for (name, contents) in &self.files {
            fs::write(directory.path().join(name), fill(contents)).expect("a file can be written");
        }
        let mut command = if self.inherited.is_empty() {
            command(binary(), Account::Own, "KILL")
        } else {
            let mut python = command(Path::new("python3"), Account::Own, "KILL");
            python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/inherit.py"));
            python.args(self.inherited.iter().map(|socket| fill(socket))).arg("--").arg(binary());
            python
        };
        // Unknown names are errors, and the tests have some of their own.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PGWARDEN_")) {
            command.env_remove(name);
        }
        command.args(subcommand).args(self.arguments.iter().map(|argument| fill(argument)));
        command.envs(self.variables.iter().map(|(name, value)| (name, fill(value))));
        command.current_dir(directory.path());
        match self.heard {
            Heard::InAFile => {
                let file = File::create(directory.path().join("stderr")).expect("a file can be created");
                command.stdout(file.try_clone().expect("a file can be shared")).stderr(file);
            }
            Heard::ByNobody => {
                let (_, output) = std::io::pipe().expect("a pipe can be made");
                command.stdout(output.try_clone().expect("a pipe can be shared")).stderr(output);
            }
        }
        (directory, Process::start(command))
    }
}

/// How a pgwarden ended.
#[derive(Debug)]
pub struct Exit {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output and error.
    pub stderr: String,
}

/// A running pgwarden; killed when dropped.
#[derive(Debug)]
pub struct Pgwarden {
    process: Mutex<Process>,
    directory: Directory,
    /// What `{before}` stands for.
    place: String,
    port: u16,
    admin_port: u16,
}

impl Pgwarden {
    /// A pgwarden that listens on a free port, with an admin listener on another.
    pub fn builder() -> PgwardenBuilder {
        PgwardenBuilder::default()
    }

    /// The port for clients on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the admin listener on 127.0.0.1.
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// Its process id.
    pub fn process_id(&self) -> u32 {
        self.process().id()
    }

    /// The directory with its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A URL through pgwarden; an empty password is left out.
    pub fn url(&self, user: &str, password: &str, database: &str) -> String {
        client::url(self.port, user, password, database)
    }

    /// GET on the admin listener: status and body.
    #[track_caller]
    pub fn admin(&self, path: &str) -> (u16, String) {
        self.request(path).unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.stderr()))
    }

    /// The value of a sample in `/metrics`, named with its labels as written there.
    pub fn metric(&self, sample: &str) -> Option<f64> {
        let (_, body) = self.admin("/metrics");
        let value = body.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Everything it wrote to standard output and error so far.
    pub fn stderr(&self) -> String {
        said(&self.directory)
    }

    /// How often its log holds `text` by now.
    pub fn logged(&self, text: &str) -> usize {
        self.stderr().matches(text).count()
    }

    /// The log, as soon as it holds `text` more often than `before`: a thread of its own writes it.
    #[track_caller]
    pub fn until_logged(&self, text: &str, before: usize) -> String {
        until(&format!("it logs {text:?} more often than {before} times"), || {
            Some(self.stderr()).filter(|log| log.matches(text).count() > before)
        })
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn wait_exit(&self) -> ExitStatus {
        until("pgwarden ends", || self.process().exited())
    }

    fn request(&self, path: &str) -> std::io::Result<(u16, String)> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.admin_port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: pgwarden\r\nConnection: close\r\n\r\n")?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        let response = String::from_utf8_lossy(&response).into_owned();
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Ok((status, if chunked { join_chunks(body) } else { body.to_owned() }))
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a pgwarden with this directory wrote to standard output and error.
fn said(directory: &Directory) -> String {
    String::from_utf8_lossy(&fs::read(directory.path().join("stderr")).unwrap_or_default()).into_owned()
}

fn join_chunks(mut body: &str) -> String {
    let mut joined = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some((chunk, rest)) = rest.split_at_checked(size).filter(|_| size > 0) else { break };
        joined.push_str(chunk);
        body = rest.trim_start_matches("\r\n");
    }
    joined
}

/// `PGWARDEN_BIN`, else `pgwarden` beside the test executables, built if need be.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("PGWARDEN_BIN").map_or_else(build_beside_tests, PathBuf::from))
}

/// target/debug/deps/test-0123 -> target/debug/pgwarden
fn build_beside_tests() -> PathBuf {
    let test = std::env::current_exe().expect("this executable has a path");
    let profile = test.parent().and_then(Path::parent).expect("tests are in target/<profile>/deps");
    let target = profile.parent().expect("tests are in target/<profile>/deps");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--workspace", "--bins", "--tests", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.current_dir(crate::version::root()).status().expect("cargo can be run");
    assert!(built.success(), "pgwarden does not build");
    profile.join("pgwarden")
}
