//! A throw-away PostgreSQL server.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Result;
use crate::connection::Login;
use crate::encryption::Identity;
use crate::options::Plan;
use crate::process::{self, Account, Service};
use crate::schema;

/// Durability off, nothing in the background, room for 200 connections: the server is not what is measured.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=8GB",
    "checkpoint_timeout=1h",
    "autovacuum=off",
    "jit=off",
    "shared_buffers=256MB",
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
];

/// A running server with its data in a directory that goes with it.
#[derive(Debug)]
pub struct Cluster {
    address: SocketAddr,
    identity: Option<Identity>,
    // Stopped before the directory goes: fields are dropped in order.
    _service: Service,
    directory: TempDir,
}

impl Cluster {
    /// Creates, starts and loads a server that takes as many clients directly as the plan has, 200 at least.
    pub async fn start(plan: &Plan) -> Result<Self> {
        let binaries = binaries()?;
        let directory = tempfile::Builder::new().prefix("pgwarden-bench-").tempdir()?;
        process::hand_over(directory.path())?;
        let data = directory.path().join("data");
        initialise(&binaries, &data)?;
        let address = process::free_address()?;
        let mut command = process::command(&binaries.join("postgres"), Account::Postgres);
        command.arg("-D").arg(&data).arg("-p").arg(address.port().to_string());
        command.arg("-c").arg(format!("max_connections={}", (2 * plan.most_clients() + 60).max(200)));
        let identity = plan.tls.then(|| Identity::create(directory.path())).transpose()?;
        if let Some(Identity { certificate, key, .. }) = &identity {
            command.args(["-c", "ssl=on", "-c"]).arg(format!("ssl_cert_file={}", certificate.display()));
            command.arg("-c").arg(format!("ssl_key_file={}", key.display()));
        }
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        // SIGQUIT is an immediate shutdown: it removes the shared memory and writes nothing.
        let mut service = Service::start("postgres", command, directory.path(), "QUIT")?;
        let initial = Login { database: schema::SUPERUSER, ..Login::new(address, schema::SUPERUSER) };
        service.ready(&initial).await?;
        schema::load(address).await?;
        Ok(Self { address, identity, _service: service, directory })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it shows to clients that want TLS, and whatever stands in front of it too; `None` when clients do without.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// A directory that services may keep files in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// The directory with `initdb` and `postgres`.
fn binaries() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("PGWARDEN_BENCH_PGBIN") {
        return Ok(directory.into());
    }
    let output = Command::new("pg_config").arg("--bindir").output();
    let output = output.map_err(|error| format!("pg_config: {error}; set PGWARDEN_BENCH_PGBIN"))?;
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

fn initialise(binaries: &Path, data: &Path) -> Result<()> {
    let mut command = process::command(&binaries.join("initdb"), Account::Postgres);
    command.args([
        "--username",
        schema::SUPERUSER,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    command.arg("-D").arg(data).current_dir("/").stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("cannot run initdb: {error}"))?;
    if !output.status.success() {
        return Err(format!("initdb failed:\n{}", String::from_utf8_lossy(&output.stderr)).into());
    }
    // initdb's own defaults would listen for IPv6 as well, which not every machine has.
    fs::write(data.join("pg_hba.conf"), "host all all 127.0.0.1/32 trust\n")?;
    Ok(())
}
