//! One freshly initialised cluster per version, copied for every server: initdb takes a second,
//! a copy some milliseconds.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::directory::{Directory, create_open};
use crate::launch::{Account, command, is_root};
use crate::version::{Version, root};

/// Counted up when the options below change.
const REVISION: u32 = 1;

/// Small WAL segments keep a copy at a third of the size.
const OPTIONS: &[&str] = &[
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
    "--no-instructions",
    "--wal-segsize=1",
];

/// Makes `data` a new cluster of this version.
pub(crate) fn copy(version: Version, data: &Path) {
    copy_tree(&ready(version), data);
}

/// The template, made by the first process that needs it.
fn ready(version: Version) -> PathBuf {
    let templates = root().join(".cache/templates");
    let template = templates.join(format!("{version}-{REVISION}"));
    if template.exists() {
        return template;
    }
    create_open(&templates);
    let lock = File::create(templates.join(format!("{version}.lock"))).expect("a lock file");
    lock.lock().expect("a file can be locked");
    if !template.exists() {
        make(version, &template);
    }
    template
}

fn make(version: Version, template: &Path) {
    let workshop = Directory::create("initdb");
    hand_over(workshop.path(), 0o755);
    let data = workshop.path().join("data");
    let mut initdb = command(&version.programs().join("initdb"), Account::Server, "KILL");
    initdb.args(OPTIONS).arg("-D").arg(&data);
    initdb.env("LD_LIBRARY_PATH", version.libraries()).current_dir(workshop.path());
    run(initdb);
    // Renamed when complete, so that a template that exists is whole.
    let copy = template.with_extension("new");
    let _ = fs::remove_dir_all(&copy);
    copy_tree(&data, &copy);
    fs::rename(&copy, template).expect("a directory can be renamed");
}

/// With owners, because root copies for PostgreSQL's account.
fn copy_tree(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto", "--"]).arg(from).arg(to);
    run(copy);
}

fn run(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Gives a file to PostgreSQL's account when the tests run as root.
pub(crate) fn hand_over(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("permissions can be set");
    if is_root() {
        let (user, group) = server_account();
        chown(path, Some(user), Some(group)).expect("root can give files away");
    }
}

/// The user and group id of the account `postgres`.
fn server_account() -> (u32, u32) {
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = accounts.lines().find_map(|line| line.strip_prefix("postgres:"));
    let mut ids = line.into_iter().flat_map(|line| line.split(':').skip(1)).flat_map(str::parse);
    match (ids.next(), ids.next()) {
        (Some(user), Some(group)) => (user, group),
        // No such line (accounts from elsewhere): whoever owns Debian's directory.
        _ => fs::metadata("/var/lib/postgresql")
            .map(|owner| (owner.uid(), owner.gid()))
            .expect("no account postgres"),
    }
}
