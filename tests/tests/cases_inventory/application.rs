//! An application of the example as a process, and its clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use pgwarden_tests::tokens::Value;
use pgwarden_tests::{Pgwarden, free_port, until};

use crate::stage::{ACME, DATABASE, DEFAULT, GLOBEX, example};

/// One of the applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Prisma,
    Sqlalchemy,
    Django,
}

/// One that runs.
pub struct Application {
    kind: Kind,
    process: Child,
    port: u16,
    said: PathBuf,
}

/// Whom a request acts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenant {
    Default,
    Acme,
    Globex,
    /// Somebody who shows what is good for nothing.
    Nobody,
}

impl Tenant {
    /// Those that exist.
    pub const ALL: [Tenant; 3] = [Tenant::Default, Tenant::Acme, Tenant::Globex];

    /// Its organisation.
    pub fn organisation(self) -> &'static str {
        match self {
            Tenant::Default | Tenant::Nobody => DEFAULT,
            Tenant::Acme => ACME[0],
            Tenant::Globex => GLOBEX[0],
        }
    }
}

/// What a request was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub rows: Vec<Value>,
}

impl Application {
    /// Starts one in front of this pgwarden, and waits until it answers.
    #[track_caller]
    pub fn start(kind: Kind, pgwarden: &Pgwarden) -> Application {
        let port = free_port();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("inventory-{port}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let said = folder.join("said");
        let (program, file) = match kind {
            Kind::Prisma => (PathBuf::from("node"), generate(&folder)),
            Kind::Sqlalchemy => (python(), example("sqlalchemy/app.py")),
            Kind::Django => (python(), example("django/app.py")),
        };
        let log = std::fs::File::create(&said).expect("a file can be made");
        // Ends with this test, should it be killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).arg(file).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        command.env("PORT", port.to_string()).env("DATABASE_URL", pgwarden.url("inventory", "", DATABASE));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        let process = command.spawn().expect("it can be started; `./run setup` installs what it needs");
        let mut application = Application { kind, process, port, said };
        until("the application listens", || {
            let ended = application.process.try_wait().expect("it is a child");
            assert_eq!(ended, None, "{kind:?} ended: {}", application.said());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        application
    }

    /// What it wrote.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    /// A request of one that acts for this tenant.
    #[track_caller]
    pub fn ask(&self, tenant: Tenant, request: &str) -> Answer {
        self.ask_with(&self.shown_by(tenant), request)
    }

    /// A request with these headers.
    #[track_caller]
    pub fn ask_with(&self, headers: &str, request: &str) -> Answer {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).expect("the application listens");
        socket.set_read_timeout(Some(pgwarden_tests::DEADLINE)).expect("a socket has this option");
        let text = format!("{request} HTTP/1.0\r\nHost: inventory\r\nContent-Length: 0\r\n{headers}\r\n");
        socket.write_all(text.as_bytes()).expect("the application reads");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{request}: {error}"));
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{request}: {answer:?}\n{}", self.said()));
        assert_ne!(status, 500, "{request}: {}", self.said());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Answer { status, rows: serde_rows(body) }
    }

    fn shown_by(&self, tenant: Tenant) -> String {
        let key = |key: &str| format!("X-Api-Key: {key}\r\n");
        let claim = |[org, user]: [&str; 2]| format!("X-Org-Id: {org}\r\nX-User-Id: {user}\r\n");
        match (self.kind, tenant) {
            (_, Tenant::Default) => String::new(),
            (Kind::Sqlalchemy, Tenant::Acme) => claim(ACME),
            (Kind::Sqlalchemy, Tenant::Globex) => claim(GLOBEX),
            (Kind::Sqlalchemy, Tenant::Nobody) => claim([GLOBEX[0], ACME[1]]),
            (_, Tenant::Acme) => key("acme-key"),
            (_, Tenant::Globex) => key("globex-key"),
            (_, Tenant::Nobody) => key("nobodys-key"),
        }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = self.said.parent().map(std::fs::remove_dir_all);
    }
}

fn serde_rows(body: &str) -> Vec<Value> {
    match body.parse() {
        Ok(Value::Array(rows)) => rows,
        _ => Vec::new(),
    }
}

fn python() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache/venv/bin/python")).to_owned()
}

/// The files of the Prisma example in `folder`, with the packages of the driver tests, and the client that Prisma makes
/// of the example's schema.
#[track_caller]
fn generate(folder: &Path) -> PathBuf {
    for name in ["package.json", "schema.prisma", "tenants.mjs", "app.mjs"] {
        std::fs::copy(example("prisma").join(name), folder.join(name)).expect("the example has this file");
    }
    let packages = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers/node/node_modules"));
    symlink(packages, folder.join("node_modules")).expect("a link can be made");
    let mut prisma = Command::new(packages.join(".bin/prisma"));
    prisma.args(["generate", "--schema", "schema.prisma"]).current_dir(folder);
    // It needs neither of the engines that would be fetched: the adapter's client has none.
    prisma.env("CHECKPOINT_DISABLE", "1").env("DATABASE_URL", "postgresql://unused");
    prisma.env("PRISMA_SCHEMA_ENGINE_BINARY", "/bin/true").env("PRISMA_QUERY_ENGINE_LIBRARY", "/bin/true");
    let output = prisma.output().expect("prisma can be run; `./run setup` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("app.mjs")
}
