//! Chromium without a window, driven over its own protocol (CDP) through a pair of pipes: no port, no driver.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::directory::Directory;
use crate::launch::{Account, Process, command};

/// Where `scripts/setup/chromium.sh` puts it.
const UNPACKED: &str = "../.cache/chromium";
const PROGRAM: &str = "usr/lib/chromium/chromium-headless-shell";
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/pulseaudio"];

/// A browser with one page.
pub struct Chromium {
    _process: Process,
    to: PipeWriter,
    from: BufReader<PipeReader>,
    last: u64,
    session: Option<String>,
    events: VecDeque<Value>,
    complaints: Vec<String>,
    requests: Vec<String>,
    _profile: Directory,
}

impl Chromium {
    /// Starts it, with an empty page.
    pub fn start() -> Chromium {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(UNPACKED);
        let program = root.join(PROGRAM);
        assert!(program.exists(), "{} is missing: ./run setup", program.display());
        let profile = Directory::create("chromium");
        let (read, to) = std::io::pipe().expect("a pipe");
        let (from, write) = std::io::pipe().expect("a pipe");
        // It speaks on descriptors 3 and 4; a shell puts them there.
        let mut shell = command(Path::new("sh"), Account::Own, "KILL");
        shell.args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"]).arg(&program);
        shell.args(["--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        shell.args(["--force-color-profile=srgb", "--hide-scrollbars", "--no-first-run"]);
        shell.arg(format!("--user-data-dir={}", profile.path().display()));
        let libraries: Vec<PathBuf> = LIBRARIES.iter().map(|part| root.join(part)).collect();
        shell.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).expect("paths without colons"));
        shell.env("HOME", profile.path()).stdin(Stdio::from(read)).stdout(Stdio::from(write));
        let mut browser = Chromium {
            _process: Process::start(shell),
            to,
            from: BufReader::new(from),
            last: 0,
            session: None,
            events: VecDeque::new(),
            complaints: Vec::new(),
            requests: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method, and returns its result; panics when it fails.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("the browser listens");
        loop {
            let message = self.read();
            if message["id"].as_u64() != Some(self.last) {
                self.note(message);
                continue;
            }
            assert!(message["error"].is_null(), "{method}: {}", message["error"]);
            return message["result"].clone();
        }
    }

    /// Goes to a page, and returns when it is loaded.
    pub fn open(&mut self, url: &str) {
        self.events.clear();
        let gone = self.call("Page.navigate", json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{url}: {}", gone["errorText"]);
        self.until_event("Page.loadEventFired");
    }

    /// Waits for an event of this name.
    pub fn until_event(&mut self, name: &str) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|event| event["method"] == name) {
                return self.events.remove(at).expect("it is there");
            }
            let message = self.read();
            self.note(message);
        }
    }

    /// The value of an expression, promises waited for.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {result}");
        result["result"]["value"].clone()
    }

    /// Does something that leads to another page, and returns when that is loaded.
    pub fn follow(&mut self, expression: &str) {
        self.events.clear();
        self.evaluate(expression);
        self.until_event("Page.loadEventFired");
    }

    /// The size of the window, and what a reader prefers: `light` or `dark`.
    pub fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", scheme);
    }

    /// The whole page as PNG, base64.
    pub fn screenshot(&mut self) -> String {
        let shot =
            self.call("Page.captureScreenshot", json!({ "format": "png", "captureBeyondViewport": true }));
        shot["data"].as_str().expect("a picture").to_owned()
    }

    /// The page as it is printed: PDF, base64.
    pub fn print(&mut self) -> String {
        let printed =
            self.call("Page.printToPDF", json!({ "printBackground": false, "preferCSSPageSize": true }));
        printed["data"].as_str().expect("a document").to_owned()
    }

    /// What the console, the log and scripts have complained about.
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    /// All that was asked for over the network, or read from files.
    pub fn requests(&self) -> &[String] {
        &self.requests
    }

    fn read(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).expect("the browser speaks");
        assert_eq!(bytes.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    fn note(&mut self, event: Value) {
        let parameters = &event["params"];
        match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled") => {
                self.complaints.push(parameters.to_string());
            }
            Some("Log.entryAdded") => self.complaints.push(parameters["entry"].to_string()),
            Some("Network.requestWillBeSent") => {
                self.requests.push(parameters["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            _ => (),
        }
        self.events.push_back(event);
    }
}
