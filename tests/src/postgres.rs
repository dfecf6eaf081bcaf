//! Throw-away PostgreSQL servers.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;

use crate::directory::Directory;
use crate::launch::{Account, Process, command};
use crate::version::Version;
use crate::wait::{free_port, until};
use crate::{client, template};

/// The superuser of every server; everybody is trusted unless a test says otherwise.
pub const SUPERUSER: &str = "postgres";

const DEFAULTS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 100
shared_buffers = 16MB
fsync = off
full_page_writes = off
autovacuum = off
log_checkpoints = off
log_line_prefix = '%m [%p] %q%u@%d '
timezone = 'UTC'
log_timezone = 'UTC'
";

/// What a server should be like before it starts.
#[derive(Debug)]
pub struct ServerBuilder {
    version: Version,
    settings: String,
    access: String,
    files: Vec<(String, String)>,
}

impl ServerBuilder {
    /// A setting of postgresql.conf.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> ServerBuilder {
        let quoted = value.replace('\'', "''");
        let _ = writeln!(self.settings, "{name} = '{quoted}'");
        self
    }

    /// A line of pg_hba.conf, in front of those that trust everybody.
    #[must_use]
    pub fn access(mut self, line: &str) -> ServerBuilder {
        let _ = writeln!(self.access, "{line}");
        self
    }

    /// A file of the data directory, such as `server.crt`.
    #[must_use]
    pub fn file(mut self, name: &str, contents: &str) -> ServerBuilder {
        self.files.push((name.to_owned(), contents.to_owned()));
        self
    }

    /// TLS with this certificate and key, beside connections in clear text.
    #[must_use]
    pub fn tls(self, certificate: &str, key: &str) -> ServerBuilder {
        self.set("ssl", "on").file("server.crt", certificate).file("server.key", key)
    }

    /// Starts the server, and returns when it takes connections.
    pub fn start(self) -> Server {
        let directory = Directory::create(&self.version.to_string());
        template::copy(self.version, &directory.path().join("data"));
        self.configure(&directory);
        let server = Server {
            version: self.version,
            directory,
            state: Mutex::new(State { process: None, port: free_port() }),
            databases: AtomicU32::new(0),
        };
        server.start_again();
        server
    }

    fn configure(&self, directory: &Directory) {
        let data = directory.path().join("data");
        let mut settings = format!("{DEFAULTS}unix_socket_directories = '{}'\n", directory.path().display());
        if self.version >= Version(18) {
            settings.push_str("io_method = sync\n");
        }
        settings.push_str(&self.settings);
        append(&data.join("postgresql.conf"), &settings);
        let access = data.join("pg_hba.conf");
        let trusting = fs::read_to_string(&access).expect("the template has a pg_hba.conf");
        fs::write(&access, format!("{}{trusting}", self.access)).expect("the data directory can be written");
        for (name, contents) in &self.files {
            fs::write(data.join(name), contents).expect("the data directory can be written");
            template::hand_over(&data.join(name), 0o600);
        }
        template::hand_over(directory.path(), 0o755);
    }
}

/// A running PostgreSQL with a cluster of its own. Stopped and removed when dropped.
#[derive(Debug)]
pub struct Server {
    // Fields are dropped in this order: the process ends before its directory goes.
    state: Mutex<State>,
    directory: Directory,
    version: Version,
    databases: AtomicU32,
}

#[derive(Debug)]
struct State {
    process: Option<Process>,
    port: u16,
}

impl Server {
    /// A server of this version with default settings.
    pub fn start(version: Version) -> Server {
        Server::builder(version).start()
    }

    /// A server with settings of one's own.
    pub fn builder(version: Version) -> ServerBuilder {
        ServerBuilder { version, settings: String::new(), access: String::new(), files: Vec::new() }
    }

    /// The server that the tests of this process share as long as one of them holds it. A test
    /// takes a [`Server::database`] of its own there.
    pub fn shared(version: Version) -> Arc<Server> {
        static SHARED: Mutex<Vec<Weak<Server>>> = Mutex::new(Vec::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.iter().filter_map(Weak::upgrade).find(|server| server.version == version)
        {
            return server;
        }
        let server = Arc::new(Server::start(version));
        shared.push(Arc::downgrade(&server));
        server
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.state().port
    }

    /// The directory of its unix socket, which also holds `data/` and `log`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process id of the postmaster.
    pub fn process_id(&self) -> u32 {
        self.state().process.as_ref().expect("the server runs").id()
    }

    /// The superuser's URL of the database `postgres`.
    pub fn url(&self) -> String {
        self.url_for(SUPERUSER, "", "postgres")
    }

    /// A URL; an empty password is left out.
    pub fn url_for(&self, user: &str, password: &str, database: &str) -> String {
        client::url(self.port(), user, password, database)
    }

    /// A connection of the superuser.
    pub async fn connect(&self) -> Client {
        client::connect(&self.url()).await
    }

    /// An empty database of the caller's own.
    pub async fn database(&self) -> Database {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let created = self.connect().await.batch_execute(&format!("CREATE DATABASE {name}")).await;
        created.unwrap_or_else(|error| panic!("cannot create {name}: {error}"));
        Database { url: self.url_for(SUPERUSER, "", &name), name }
    }

    /// Terminates the backends for which `condition` on pg_stat_activity holds, and waits until their processes are
    /// gone and their sockets closed with them.
    pub fn terminate(&self, condition: &str) {
        let sql =
            format!("SELECT pid, pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE {condition}");
        let outcomes = self.psql(&sql);
        // One that ends by itself at this moment cannot be terminated, and is gone as well.
        let by_itself = outcomes.lines().filter_map(|line| line.strip_suffix("|f"));
        for process in by_itself {
            let left = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {process}");
            until(&format!("{process} is gone"), || (self.psql(&left).trim() == "0").then_some(()));
        }
    }

    /// Sends a signal to one of the server's processes.
    pub fn signal_backend(&self, process: &str, signal: Signal) {
        let id = process.parse().ok().and_then(Pid::from_raw);
        // An error says that the process is gone.
        let _ = kill_process(id.unwrap_or_else(|| panic!("{process:?} is no process")), signal);
    }

    /// Runs SQL as superuser through psql, as one simple query; unaligned rows without headers
    /// come back. Panics on an error.
    pub fn psql(&self, sql: &str) -> String {
        let output = psql(&self.url(), &["-c", sql]);
        assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Ends all sessions, stops and starts; the port stays.
    pub fn restart(&self) {
        self.stop(Signal::INT);
        self.start_again();
    }

    /// Stops as after a crash: clients see the connection break. [`Server::start_again`] recovers.
    pub fn stop_immediate(&self) {
        self.stop(Signal::QUIT);
    }

    /// Ends all sessions with 57P01 and stops.
    pub fn stop_fast(&self) {
        self.stop(Signal::INT);
    }

    /// Reads the configuration anew.
    pub fn reload(&self) {
        if let Some(process) = &self.state().process {
            process.signal(Signal::HUP);
        }
    }

    /// Starts a stopped server on the port it had.
    pub fn start_again(&self) {
        let mut state = self.state();
        assert!(state.process.is_none(), "the server runs already");
        // Another process may take the free port first: then the next one.
        for _ in 0..5 {
            match self.try_start(state.port) {
                Some(process) => {
                    state.process = Some(process);
                    return;
                }
                None => state.port = free_port(),
            }
        }
        panic!("PostgreSQL {} does not start:\n{}", self.version, self.log_tail());
    }

    fn stop(&self, signal: Signal) {
        if let Some(mut process) = self.state().process.take() {
            process.stop(signal);
        }
    }

    /// None when the server ended instead of becoming ready.
    fn try_start(&self, port: u16) -> Option<Process> {
        let data = self.directory.path().join("data");
        let mut server = command(&self.version.programs().join("postgres"), Account::Server, "QUIT");
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        server.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        server.env("LD_LIBRARY_PATH", self.version.libraries()).current_dir(self.directory.path());
        server.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        let mut process = Process::start(server);
        let id = process.id();
        let ready = until(&format!("PostgreSQL {} becomes ready", self.version), || {
            if process.exited().is_some() {
                return Some(false);
            }
            is_ready(&data.join("postmaster.pid"), id).then_some(true)
        });
        ready.then_some(process)
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Signal::QUIT);
    }
}

/// The postmaster writes its id in the first line of postmaster.pid and `ready` in the eighth.
fn is_ready(pid_file: &Path, id: u32) -> bool {
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let mut lines = text.lines();
    lines.next() == Some(&id.to_string()) && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}

/// A database of one test.
#[derive(Debug)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// The superuser's URL.
    pub url: String,
}

impl Database {
    /// A connection of the superuser.
    pub async fn connect(&self) -> Client {
        client::connect(&self.url).await
    }
}

/// Runs psql against any URL: quiet, unaligned, rows only, no psqlrc, stops at the first error.
pub fn psql(url: &str, arguments: &[&str]) -> Output {
    run_psql(Command::new(Version(15).programs().join("psql")), url, arguments)
}

/// The same psql with the libpq of another version, for what only that one can.
pub fn psql_with_libpq(version: Version, url: &str, arguments: &[&str]) -> Output {
    let mut psql = Command::new(Version(15).programs().join("psql"));
    psql.env("LD_LIBRARY_PATH", version.libraries());
    run_psql(psql, url, arguments)
}

fn run_psql(mut psql: Command, url: &str, arguments: &[&str]) -> Output {
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url]).args(arguments);
    psql.stdin(std::process::Stdio::null()).output().expect("psql is installed")
}

fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    let file: std::io::Result<File> = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("the data directory can be written");
}
