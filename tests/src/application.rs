//! An application of `deploy/examples`, as a process: its own files, with the packages that the drivers' tests have.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::directory::Directory;
use crate::launch::{Account, Process, command};
use crate::version::root;
use crate::wait::{DEADLINE, free_port, until};

/// A running application that answers HTTP; killed when dropped.
#[derive(Debug)]
pub struct Application {
    // Dropped in this order: the process ends before its directory goes.
    process: Process,
    directory: Directory,
    port: u16,
}

/// What an application answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body, which is JSON.
    pub body: Value,
}

impl Application {
    /// Starts `file` of the folder `deploy/examples/{example}`: `….mjs` with node, `….py` with python.
    #[track_caller]
    pub fn start(example: &str, file: &str, settings: &[(&str, &str)]) -> Application {
        let (directory, port) = (Directory::create("application"), free_port());
        let source = root().join("deploy/examples").join(example);
        let text = fs::read(source.join(file)).unwrap_or_else(|error| panic!("{example}/{file}: {error}"));
        fs::write(directory.path().join(file), text).expect("a file can be written");
        let packages = root().join("tests/drivers/node/node_modules");
        symlink(packages, directory.path().join("node_modules")).expect("a link can be made");
        let mut program = command(&interpreter(file), Account::Own, "KILL");
        let log = fs::File::create(directory.path().join("log")).expect("a file can be created");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            program.env_remove(name);
        }
        program.arg(file).current_dir(directory.path()).env("PORT", port.to_string());
        program.env("PYTHONDONTWRITEBYTECODE", "1").envs(settings.iter().copied());
        program.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        let mut application = Application { process: Process::start(program), directory, port };
        application.wait_until_ready();
        application
    }

    /// Sends a request, with the token of whoever is logged in.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, token: Option<&str>, body: &Value) -> Answer {
        self.try_request(method, path, token, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}; the application said:\n{}", self.log()))
    }

    /// Asks for something.
    #[track_caller]
    pub fn get(&self, path: &str, token: &str) -> Answer {
        self.request("GET", path, Some(token), &Value::Null)
    }

    /// What it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn try_request(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let bearer = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        // HTTP/1.0: the answer comes in one piece, and ends with the connection.
        let head = format!("{method} {path} HTTP/1.0\r\n{bearer}Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        let (head, body) = response.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
        Ok(Answer { status, body: serde_json::from_str(body).unwrap_or(Value::Null) })
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let port = self.port;
        let ready = until("the application becomes ready", || {
            let ended = self.process.exited().is_some();
            (ended || TcpStream::connect(("127.0.0.1", port)).is_ok()).then_some(!ended)
        });
        assert!(
            ready,
            "the application does not start (`./run setup` installs its packages):\n{}",
            self.log()
        );
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.process.stop(Signal::KILL);
    }
}

fn interpreter(file: &str) -> PathBuf {
    match Path::new(file).extension().and_then(|extension| extension.to_str()) {
        Some("py") => root().join(".cache/venv/bin/python"),
        _ => PathBuf::from("node"),
    }
}
