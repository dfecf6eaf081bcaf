//! Child processes that die with their test.
//!
//! The kernel signals a child when the *thread* that started it ends, so every child is started
//! by one thread that lives as long as the test process: servers shared by several tests survive
//! the thread of the test that started them, and nothing survives a killed test process.

use std::io;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

type Request = (Command, mpsc::Sender<io::Result<Child>>);

/// Starts `command` from the thread that lives as long as the process.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Request>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, answer) in requests {
                // The test may be gone by now: its child then goes as well.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (sender, answer) = mpsc::channel();
    starter.lock().expect("the starter never panics").send((command, sender)).expect("the starter lives");
    answer.recv().expect("the starter answers")
}

/// A command that gets `signal` (as `setpriv` spells it) when the test process ends, and runs as
/// PostgreSQL's account when `as_server` is [`Account::Server`] and the tests run as root.
pub(crate) fn command(program: &std::path::Path, account: Account, signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    if account == Account::Server && is_root() {
        command.args(["--reuid", "postgres", "--regid", "postgres", "--init-groups"]);
    }
    command.args(["--pdeathsig", signal, "--"]).arg(program).stdin(Stdio::null());
    command
}

/// Whose rights a child has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// Those of the test process.
    Own,
    /// PostgreSQL's, which refuses to run as root.
    Server,
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(command: Command) -> Process {
        let shown = format!("{command:?}");
        Process { child: spawn(command).unwrap_or_else(|error| panic!("cannot run {shown}: {error}")) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // An error says that the process is gone, which whoever signals will see when waiting.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// How it ended, if it has.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for the end, at most `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    /// Asks it to end with `signal`, and kills it if it does not listen.
    pub(crate) fn stop(&mut self, signal: Signal) -> ExitStatus {
        if let Some(status) = self.exited() {
            return status;
        }
        self.signal(signal);
        self.wait(Duration::from_secs(5)).unwrap_or_else(|| {
            self.signal(Signal::KILL);
            self.child.wait().expect("a child can be waited for")
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Signal::KILL);
    }
}
