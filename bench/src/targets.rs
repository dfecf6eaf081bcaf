//! The test bed: every service a lane needs, and where each lane connects.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::connection::Login;
use crate::encryption::{Identity, Transport};
use crate::matrix::{Context, Lane};
use crate::options::Plan;
use crate::postgres::Cluster;
use crate::process::{self, Account, Service};
use crate::schema;
use crate::shadow;
use crate::tokens;

/// First PgBouncer that keeps prepared statements apart in transaction mode.
const PGBOUNCER_PREPARES: (u32, u32) = (1, 21);

/// Where a lane connects, and which process lies between.
#[derive(Debug)]
pub struct Target {
    /// The lane.
    pub lane: Lane,
    /// Whom clients log in as, and where.
    pub login: Login,
    /// Process id of the proxy; `None` when there is none.
    pub proxy: Option<u32>,
    /// Whether named prepared statements work across transactions.
    pub prepares: Prepares,
}

/// Whether named prepared statements outlive a transaction in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prepares {
    /// They do.
    Yes,
    /// They do not: the lane is left out for that protocol.
    No,
}

/// All services, running.
#[derive(Debug)]
pub struct TestBed {
    targets: Vec<Target>,
    notes: Vec<String>,
    // Stopped in this order.
    services: Vec<Service>,
    cluster: Cluster,
}

impl TestBed {
    /// Starts what the plan's lanes need. A lane whose program is missing is left out, with a note.
    pub async fn start(plan: &Plan) -> Result<Self> {
        let cluster = Cluster::start(plan).await?;
        let staged = plan.lanes.iter().any(|lane| lane.is_staged());
        if let Some(program) = find_pgwarden().filter(|_| staged) {
            // First of all: a database that somebody is connected to cannot be copied.
            shadow::load(cluster.address(), &program).await?;
        }
        let mut bed = Self { targets: Vec::new(), notes: Vec::new(), services: Vec::new(), cluster };
        for &lane in &plan.lanes {
            bed.add(lane, plan).await?;
        }
        if bed.targets.is_empty() {
            return Err("no lane can be measured".into());
        }
        Ok(bed)
    }

    /// The lanes that can be measured, in the order of the report.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What was left out, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The database server itself.
    pub fn database(&self) -> SocketAddr {
        self.cluster.address()
    }

    /// Stops the proxy of a lane, so that it has written all it has to say; where its trail is then.
    pub fn finish(&mut self, lane: Lane) -> Option<PathBuf> {
        self.services.retain(|service| service.name() != lane.name());
        shadow::trail(lane, self.cluster.directory())
    }

    async fn add(&mut self, lane: Lane, plan: &Plan) -> Result<()> {
        match lane {
            Lane::Direct | Lane::DirectApp => {
                let login = self.login(self.cluster.address(), lane);
                self.targets.push(Target { lane, login, proxy: None, prepares: Prepares::Yes });
                Ok(())
            }
            Lane::Relay => {
                let own = std::env::current_exe()?;
                let address = process::free_address()?;
                let mut command = process::command(&own, Account::Own);
                command.arg("relay").arg(address.to_string()).arg(self.cluster.address().to_string());
                self.launch(lane, command, address, Prepares::Yes).await
            }
            Lane::Pgbouncer | Lane::PgbouncerApp => self.add_pgbouncer(lane, plan).await,
            Lane::PgwardenPassthrough
            | Lane::PgwardenInject
            | Lane::PgwardenSeal
            | Lane::PgwardenShadow
            | Lane::PgwardenRows
            | Lane::PgwardenStaged
            | Lane::PgwardenReplay
            | Lane::PgwardenWrites
            | Lane::PgwardenTrail => self.add_pgwarden(lane, plan).await,
            Lane::PgwardenTokens1 | Lane::PgwardenTokens1000 | Lane::PgwardenTokens100000 => {
                self.add_tokens(lane, plan).await
            }
        }
    }

    /// Both PgBouncer lanes share one process: they never run at the same time.
    async fn add_pgbouncer(&mut self, lane: Lane, plan: &Plan) -> Result<()> {
        let running = self.targets.iter().find(|target| target.lane == Lane::Pgbouncer);
        if let Some(&Target { ref login, proxy, prepares, .. }) = running {
            let login = Login { user: lane.user(), ..login.clone() };
            self.targets.push(Target { lane, login, proxy, prepares });
            return Ok(());
        }
        let Some((program, version)) = find_pgbouncer() else {
            self.notes.push(format!("lane {} left out: no pgbouncer", lane.name()));
            return Ok(());
        };
        let prepares = if version >= PGBOUNCER_PREPARES { Prepares::Yes } else { Prepares::No };
        let address = process::free_address()?;
        let file = self.cluster.directory().join("pgbouncer.ini");
        self.write_pgbouncer_config(&file, address, prepares, plan)?;
        let mut command = process::command(&program, Account::Postgres);
        command.arg(&file);
        self.launch(lane, command, address, prepares).await
    }

    fn write_pgbouncer_config(
        &self,
        file: &Path,
        address: SocketAddr,
        prepares: Prepares,
        plan: &Plan,
    ) -> Result<()> {
        let users = file.with_file_name("users.txt");
        fs::write(&users, "\"app\" \"app\"\n\"app_fixed\" \"app\"\n")?;
        let database = schema::DATABASE;
        let mut text = format!(
            "[databases]\n{database} = host=127.0.0.1 port={upstream} dbname={database}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {users}\npool_mode = transaction\ndefault_pool_size = {pool}\n\
             max_client_conn = {most}\nlog_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n\
             server_tls_sslmode = disable\n",
            upstream = self.cluster.address().port(),
            port = address.port(),
            users = users.display(),
            pool = plan.pool,
            most = plan.most_clients() + 100,
        );
        if prepares == Prepares::Yes {
            text.push_str("max_prepared_statements = 200\n");
        }
        if let Some(Identity { certificate, key, .. }) = self.cluster.identity() {
            let (certificate, key) = (certificate.display(), key.display());
            let files = format!("client_tls_cert_file = {certificate}\nclient_tls_key_file = {key}\n");
            text.push_str(&format!("client_tls_sslmode = require\n{files}"));
        }
        fs::write(file, text)?;
        Ok(())
    }

    /// All lanes with tokens share one process: they never run at the same time.
    async fn add_tokens(&mut self, lane: Lane, plan: &Plan) -> Result<()> {
        let tokens = |target: &&Target| matches!(target.lane.context(), Context::Tokens(_));
        if let Some(&Target { ref login, proxy, prepares, .. }) = self.targets.iter().find(tokens) {
            self.targets.push(Target { lane, login: login.clone(), proxy, prepares });
            return Ok(());
        }
        self.add_pgwarden(lane, plan).await
    }

    async fn add_pgwarden(&mut self, lane: Lane, plan: &Plan) -> Result<()> {
        let Some(program) = find_pgwarden() else {
            let how = "build it (cargo build --release -p pgwarden) or set PGWARDEN_BIN";
            self.notes.push(format!("lane {} left out: no pgwarden binary; {how}", lane.name()));
            return Ok(());
        };
        let address = process::free_address()?;
        let mut command = process::command(&program, Account::Own);
        let login = self.login(address, lane);
        let upstream =
            format!("postgres://{}:app@{}/{}?sslmode=disable", login.user, self.database(), login.database);
        command.arg("serve").current_dir(self.cluster.directory());
        command
            .env_remove("PGWARDEN_BIN")
            .env("PGWARDEN_LISTEN", address.to_string())
            .env("PGWARDEN_UPSTREAM", upstream);
        command.env("PGWARDEN_POOL_SIZE", plan.pool.to_string());
        command.env("PGWARDEN_AUTH", "trust").env("PGWARDEN_ADMIN", "off");
        if let Some(Identity { certificate, key, .. }) = self.cluster.identity() {
            command.env("PGWARDEN_TLS_MODE", "require");
            command.env("PGWARDEN_TLS_CERT", certificate).env("PGWARDEN_TLS_KEY", key);
        }
        if matches!(lane.context(), Context::Tokens(_)) {
            let context = "app.current_org_id=claim:org:uuid,app.current_user_id=claim:sub:uuid";
            command.env("PGWARDEN_MODE", "enforce").env("PGWARDEN_CONTEXT", context);
            command.env("PGWARDEN_JWT_KEY", "env:BENCH_SECRET").env("BENCH_SECRET", tokens::SECRET);
        } else if lane.context() == Context::Proxy {
            let fixed = format!("{}=tenant:{};user:{}", lane.user(), schema::TENANT, schema::USER);
            command.env("PGWARDEN_MODE", "enforce").env("PGWARDEN_FIXED", fixed);
            let context = "app.current_org_id=tenant:uuid,app.current_user_id=user:uuid";
            command.env("PGWARDEN_CONTEXT", context);
            if Lane::SHADOW.contains(&lane) {
                shadow::configure(lane, &mut command, self.cluster.directory());
            }
            if lane == Lane::PgwardenSeal {
                command.env("PGWARDEN_SEAL_KEY", "env:SEAL_KEY").env("SEAL_KEY", "0".repeat(64));
            }
        } else {
            command.env("PGWARDEN_MODE", "passthrough");
        }
        self.launch(lane, command, address, Prepares::Yes).await
    }

    /// How clients of a lane log in at `address`.
    fn login(&self, address: SocketAddr, lane: Lane) -> Login {
        let transport = self.cluster.identity().map_or(Transport::Plain, Identity::transport);
        let database = if lane.is_staged() { shadow::DATABASE } else { schema::DATABASE };
        Login { transport, database, ..Login::new(address, lane.user()) }
    }

    /// Starts a proxy and waits until it lets a client in.
    async fn launch(
        &mut self,
        lane: Lane,
        command: Command,
        address: SocketAddr,
        prepares: Prepares,
    ) -> Result<()> {
        let mut service = Service::start(lane.name(), command, self.cluster.directory(), "TERM")?;
        let login = self.login(address, lane);
        service.ready(&login).await?;
        self.targets.push(Target { lane, login, proxy: Some(service.pid()), prepares });
        self.services.push(service);
        Ok(())
    }
}

/// PgBouncer and its version, from `PGWARDEN_BENCH_PGBOUNCER` or where Debian puts it.
fn find_pgbouncer() -> Option<(PathBuf, (u32, u32))> {
    let set = std::env::var_os("PGWARDEN_BENCH_PGBOUNCER");
    let program = set.map_or_else(|| PathBuf::from("/usr/sbin/pgbouncer"), PathBuf::from);
    let output = Command::new(&program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.lines().next()?.strip_prefix("PgBouncer ")?;
    let mut numbers = version.split('.').map_while(|number| number.trim().parse().ok());
    Some((program, (numbers.next()?, numbers.next()?)))
}

/// pgwarden, from `PGWARDEN_BIN`, beside this binary, or in the workspace's release directory.
fn find_pgwarden() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("PGWARDEN_BIN") {
        return Some(path.into()).filter(|path: &PathBuf| path.exists());
    }
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("pgwarden"));
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/pgwarden");
    beside.into_iter().chain([built]).find(|path| path.exists())
}
