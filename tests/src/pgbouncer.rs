//! PgBouncer as a neighbour: between pgwarden and PostgreSQL, or for comparison.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;

use rustix::process::Signal;

use crate::Server;
use crate::client;
use crate::directory::Directory;
use crate::launch::{Account, Process, command};
use crate::template::hand_over;
use crate::wait::{free_port, until};

/// A running PgBouncer; killed when dropped.
#[derive(Debug)]
pub struct PgBouncer {
    // Dropped in this order: the process ends before its directory goes.
    process: Process,
    directory: Directory,
    port: u16,
}

impl PgBouncer {
    /// In front of all databases of `server`, in transaction mode; `users` are let in unasked.
    pub fn start(server: &Server, users: &[&str]) -> PgBouncer {
        PgBouncer::start_with(server, users, &[("pool_mode", "transaction")])
    }

    /// With settings of one's own for the section `[pgbouncer]`.
    pub fn start_with(server: &Server, users: &[&str], settings: &[(&str, &str)]) -> PgBouncer {
        let (directory, port) = (Directory::create("pgbouncer"), free_port());
        hand_over(directory.path(), 0o755);
        let place = directory.path().display();
        let mut text = format!("[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\n", server.port());
        let _ = write!(text, "listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n");
        let _ = write!(text, "auth_type = trust\nauth_file = {place}/users\n");
        text.push_str("ignore_startup_parameters = extra_float_digits\nmax_client_conn = 500\n");
        for (name, value) in settings {
            let _ = writeln!(text, "{name} = {value}");
        }
        let listed: String = users.iter().map(|user| format!("\"{user}\" \"\"\n")).collect();
        write(&directory.path().join("pgbouncer.ini"), &text);
        write(&directory.path().join("users"), &listed);
        let process = launch(&directory);
        let mut started = PgBouncer { process, directory, port };
        started.wait_until_ready();
        started
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A URL through PgBouncer.
    pub fn url(&self, user: &str, database: &str) -> String {
        client::url(self.port, user, "", database)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn wait_until_ready(&mut self) {
        let port = self.port;
        let ready = until("PgBouncer becomes ready", || {
            let ended = self.process.exited().is_some();
            (ended || TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(!ended)
        });
        assert!(ready, "PgBouncer does not start:\n{}", self.log());
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.process.stop(Signal::QUIT);
    }
}

fn launch(directory: &Directory) -> Process {
    let mut pgbouncer = command(Path::new("/usr/sbin/pgbouncer"), Account::Server, "KILL");
    let log = File::create(directory.path().join("log")).expect("a file can be created");
    pgbouncer.arg(directory.path().join("pgbouncer.ini")).current_dir(directory.path());
    pgbouncer.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    Process::start(pgbouncer)
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file can be written");
    hand_over(path, 0o600);
}
