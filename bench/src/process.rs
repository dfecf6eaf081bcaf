//! Services as child processes that never outlive the benchmark.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::connection::{Connection, Login};

/// How long a service may take to answer its first login, and to stop.
const START_LIMIT: Duration = Duration::from_secs(15);
const STOP_LIMIT: Duration = Duration::from_secs(10);
const SETPRIV: &str = "/usr/bin/setpriv";

/// The account a service runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// Whoever started the benchmark.
    Own,
    /// `postgres` when root started the benchmark, because PostgreSQL and PgBouncer refuse to run as root.
    Postgres,
}

/// A running service; dropping it stops the process and waits for its end.
#[derive(Debug)]
pub struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
    stop: &'static str,
}

impl Service {
    /// Starts `command` with its output in `directory`/`name`.log. `stop` names the signal that ends it.
    pub fn start(
        name: &'static str,
        mut command: Command,
        directory: &Path,
        stop: &'static str,
    ) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { name, child, log, stop })
    }

    /// What it was started as.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Process id. Wrappers replace themselves by the service, so this is the service's own.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a login succeeds. Fails with the end of the log when the process ends or time runs out.
    pub async fn ready(&mut self, login: &Login) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let attempt = tokio::time::timeout(START_LIMIT, Connection::open(login)).await;
            let error = match attempt {
                Ok(Ok(connection)) => return connection.close().await,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            let ended = self.child.try_wait()?.is_some();
            if ended || Instant::now() > deadline {
                let state = if ended { "ended" } else { "is not ready" };
                return Err(format!("{} {state} ({error}); its log:\n{}", self.name, self.log_end()).into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let signal = format!("kill -{} {}", self.stop, self.child.id());
        if let Ok(None) = self.child.try_wait() {
            // Nothing to do about a failure here: the process is killed below.
            let _ = Command::new("/bin/sh").args(["-c", &signal]).stderr(Stdio::null()).status();
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A command for `program` under `account`, in a process group of its own (Ctrl-C reaches the benchmark alone, which
/// then stops its services in order), and told to stop by the kernel should the benchmark be killed.
pub fn command(program: &Path, account: Account) -> Command {
    let mut command = Command::new(program);
    if Path::new(SETPRIV).exists() {
        command = Command::new(SETPRIV);
        if account == Account::Postgres && is_root() {
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        }
        command.args(["--pdeathsig", "INT", "--"]).arg(program);
    }
    command.process_group(0);
    command
}

/// Gives a path to the account that services run under.
pub fn hand_over(path: &Path) -> Result<()> {
    if !is_root() {
        return Ok(());
    }
    let accounts = fs::read_to_string("/etc/passwd")?;
    let line = accounts.lines().find(|line| line.starts_with("postgres:"));
    let mut fields =
        line.ok_or("root needs an account named postgres to run PostgreSQL as")?.split(':').skip(2);
    let mut number = || fields.next().and_then(|field| field.parse().ok());
    std::os::unix::fs::chown(path, number(), number())?;
    Ok(())
}

/// A loopback address that nobody listens on at the moment.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
