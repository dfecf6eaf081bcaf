//! Where the audit trail goes besides its files: `[audit.postgres]`, `[audit.otlp]`, `[audit.syslog]`.

mod otlp;
mod postgres;
mod syslog;

use std::time::Duration;

pub use self::otlp::OtlpSink;
pub use self::postgres::PostgresSink;
pub use self::syslog::{Facility, SyslogAddress, SyslogSink};

use crate::mistake::Fault;
use crate::reader::Reader;

const DIRECTORY: &str = "audit.directory";
const LEAST_TIMEOUT: Duration = Duration::from_millis(100);
const MOST_TIMEOUT: Duration = Duration::from_secs(600);

/// Who follows the trail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sinks {
    /// A table of a PostgreSQL server.
    pub postgres: Option<PostgresSink>,
    /// A receiver of OpenTelemetry logs.
    pub otlp: Option<OtlpSink>,
    /// A syslog receiver.
    pub syslog: Option<SyslogSink>,
}

impl Sinks {
    /// Whether nobody follows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.postgres.is_none() && self.otlp.is_none() && self.syslog.is_none()
    }
}

/// Reads the sinks; each is there when it has an address.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Sinks {
    Sinks {
        postgres: postgres::resolve(reader),
        otlp: otlp::resolve(reader),
        syslog: syslog::resolve(reader),
    }
}

/// What a sink needs besides its address: the files that it follows. The other keys of its section mean nothing without
/// the address.
fn surroundings(reader: &mut Reader<'_>, address: &str, others: &[&str], expected: &str) {
    if reader.is_written(address) {
        if !reader.is_written(DIRECTORY) {
            let fault = Fault::new("is missing, sinks follow the files of the trail", "a directory");
            reader.missing(DIRECTORY, address, fault);
        }
        return;
    }
    for key in others {
        if reader.is_written(key) {
            reader.missing(address, key, Fault::new("is missing", expected));
        }
    }
}

/// How long the other side may take, and how many records go at once.
fn pace(reader: &mut Reader<'_>, section: &str, otherwise: Duration) -> (Duration, usize) {
    let timeout = reader.duration(&format!("{section}.timeout"), LEAST_TIMEOUT, MOST_TIMEOUT);
    let batch = reader.number(&format!("{section}.batch"), 1..=10_000);
    (timeout.unwrap_or(otherwise), batch.unwrap_or(BATCH))
}

/// Records that go at once.
const BATCH: usize = 500;
