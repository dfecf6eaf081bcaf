//! The PostgreSQL versions that the tests run on, and where their programs are.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use crate::Server;

/// A major version of PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u16);

impl Version {
    /// The directory of `postgres` and `initdb`: as `./run test` noted in `.cache/postgres.env`,
    /// else where Debian's packages have it.
    pub(crate) fn programs(self) -> PathBuf {
        let noted = std::fs::read_to_string(root().join(".cache/postgres.env")).unwrap_or_default();
        let prefix = format!("{self}=");
        noted
            .lines()
            .find_map(|line| line.strip_prefix(&prefix))
            .map_or_else(|| PathBuf::from(format!("/usr/lib/postgresql/{self}/bin")), PathBuf::from)
    }

    /// The libraries that come with the programs, for those that do not find them by themselves.
    pub fn libraries(self) -> PathBuf {
        self.programs().join("../lib")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The versions to test: `PGWARDEN_TEST_VERSIONS` (such as `14,15,18`), else 15 alone.
pub fn versions() -> Vec<Version> {
    let listed = std::env::var("PGWARDEN_TEST_VERSIONS").unwrap_or_else(|_| "15".to_owned());
    let parse = |major: &str| {
        let number = major.trim().parse();
        Version(number.unwrap_or_else(|_| panic!("PGWARDEN_TEST_VERSIONS: {major:?} is no version")))
    };
    listed.split(',').map(parse).collect()
}

/// Runs `test` once per version, each time on a fresh server and a fresh single-threaded runtime.
/// A failure names the version and prints the end of the server's log.
pub fn for_each_version(test: impl AsyncFn(&Server)) {
    for version in versions() {
        for_version(version, &test);
    }
}

/// [`for_each_version`] for one version: for tests about what only some versions have.
pub fn for_version(version: Version, test: impl AsyncFn(&Server)) {
    let server = Server::start(version);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(test(&server)))) {
        eprintln!("--- failed on PostgreSQL {version}; its log ends with:\n{}", server.log_tail());
        resume_unwind(panic);
    }
}
