//! Waiting for conditions, never for time.

use std::fs::File;
use std::future::Future;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const DEADLINE: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(4);

/// Polls until `condition` yields a value; panics with `what` after [`DEADLINE`].
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "gave up waiting: {what}");
        std::thread::sleep(STEP);
    }
}

/// [`until`] for conditions that have to be awaited.
pub async fn until_async<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "gave up waiting: {what}");
        tokio::time::sleep(STEP).await;
    }
}

/// A port of 127.0.0.1 that nobody listens on, and that no other test takes while this process lives. It lies below
/// the range from which the kernel takes ports for outgoing connections.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_240;
    const COUNT: u32 = 22_000;
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let offset = start.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(FIRST + offset).expect("below 65,536");
        if claim(port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Locks the port's file among all tests of this machine; the lock ends with the process.
fn claim(port: u16) -> bool {
    let directory = Path::new("/dev/shm/pgwarden-tests-ports");
    std::fs::create_dir_all(directory).expect("a directory for locks can be made");
    let file = File::options().create(true).append(true).open(directory.join(port.to_string()));
    let file = file.expect("a file for a lock can be made");
    let claimed = file.try_lock().is_ok();
    // Open as long as the process lives, if it holds the lock.
    if claimed {
        std::mem::forget(file);
    }
    claimed
}
