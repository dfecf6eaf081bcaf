//! Where servers live: one directory per server, in memory where there is some.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

const ENOUGH_MEMORY: u64 = 2 << 30;

/// A directory that is gone when dropped. Its name begins with the id of the test process, so
/// that what a killed process left behind is found and removed by the next one.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn create(name: &str) -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = base().join(format!("{}-{number}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
        Directory(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What stays is swept by the next test process.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Short, because the path of a unix socket has at most 107 bytes.
fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let user = rustix::process::geteuid().as_raw();
        let base = memory_or_disk().join(format!("pgwarden-tests-{user}"));
        create_open(&base);
        sweep(&base);
        base
    })
}

/// Creates a directory that PostgreSQL's account can pass through.
pub(crate) fn create_open(path: &Path) {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
        .unwrap_or_else(|error| panic!("cannot create {}: {error}", path.display()));
}

fn memory_or_disk() -> &'static Path {
    let memory = Path::new("/dev/shm");
    match rustix::fs::statvfs(memory) {
        Ok(room) if room.f_bavail * room.f_frsize >= ENOUGH_MEMORY => memory,
        _ => Path::new("/tmp"),
    }
}

/// Removes directories of processes that are no more.
fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.split('-').next()).and_then(|id| id.parse::<u32>().ok());
        if owner.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
