//! `[audit.syslog]`: the trail as messages of RFC 5424.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{pace, surroundings};
use crate::endpoint;
use crate::mistake::Fault;
use crate::reader::Reader;
use crate::word::words;

const SECTION: &str = "audit.syslog";
const ADDRESS: &str = "audit.syslog.address";
const FACILITY: &str = "audit.syslog.facility";
const ROOT: &str = "audit.syslog.root_cert";
const OTHERS: [&str; 4] = [FACILITY, ROOT, "audit.syslog.timeout", "audit.syslog.batch"];
const SHAPE: &str = "unix:/dev/log, udp://host:514, tcp://host:601 or tls://host:6514";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where a syslog receiver listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogAddress {
    /// A unix socket: of datagrams, or else a stream.
    Unix(PathBuf),
    /// Datagrams (RFC 5426).
    Udp(String, u16),
    /// A stream, messages with their length in front (RFC 6587).
    Tcp(String, u16),
    /// The same over TLS (RFC 5425).
    Tls(String, u16),
}

impl fmt::Display for SyslogAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Unix(path) => return write!(out, "unix:{}", path.display()),
            Self::Udp(host, port) => ("udp", host, port),
            Self::Tcp(host, port) => ("tcp", host, port),
            Self::Tls(host, port) => ("tls", host, port),
        };
        if host.contains(':') {
            write!(out, "{scheme}://[{host}]:{port}")
        } else {
            write!(out, "{scheme}://{host}:{port}")
        }
    }
}

/// The part of the system that a message is said to come from (RFC 5424, 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Facility {
    /// System daemons, 3.
    Daemon,
    /// Security and authorization, 4.
    Auth,
    /// The same, private, 10.
    Authpriv,
    /// Log audit, 13.
    Audit,
    /// For local use, 16.
    Local0,
    /// 17.
    Local1,
    /// 18.
    Local2,
    /// 19.
    Local3,
    /// 20.
    Local4,
    /// 21.
    Local5,
    /// 22.
    Local6,
    /// 23.
    Local7,
}

words!(Facility {
    Daemon = "daemon",
    Auth = "auth",
    Authpriv = "authpriv",
    Audit = "audit",
    Local0 = "local0",
    Local1 = "local1",
    Local2 = "local2",
    Local3 = "local3",
    Local4 = "local4",
    Local5 = "local5",
    Local6 = "local6",
    Local7 = "local7",
});

impl Facility {
    /// Its number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Daemon => 3,
            Self::Auth => 4,
            Self::Authpriv => 10,
            Self::Audit => 13,
            Self::Local0 => 16,
            Self::Local1 => 17,
            Self::Local2 => 18,
            Self::Local3 => 19,
            Self::Local4 => 20,
            Self::Local5 => 21,
            Self::Local6 => 22,
            Self::Local7 => 23,
        }
    }
}

/// A syslog receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogSink {
    /// Where it listens.
    pub address: SyslogAddress,
    /// Where the messages are said to come from.
    pub facility: Facility,
    /// The authorities of the receiver's certificate, PEM; the system's if not said.
    pub root_cert: Option<PathBuf>,
    /// How long connecting, and sending a batch, may take.
    pub timeout: Duration,
    /// The most records of one batch.
    pub batch: usize,
}

/// Reads `[audit.syslog]`; nothing without an address.
pub(super) fn resolve(reader: &mut Reader<'_>) -> Option<SyslogSink> {
    surroundings(reader, ADDRESS, &OTHERS, SHAPE);
    let (timeout, batch) = pace(reader, SECTION, TIMEOUT);
    let facility = reader.word(FACILITY).unwrap_or(Facility::Local0);
    let root_cert = reader.path(ROOT);
    let address = reader.parse(ADDRESS, address)?;
    Some(SyslogSink { address, facility, root_cert, timeout, batch })
}

fn address(text: &str) -> Result<SyslogAddress, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        return endpoint::socket_path(path).map(SyslogAddress::Unix);
    }
    let wrong = || Fault::new(format!("{text:?} is no address of a syslog receiver"), SHAPE);
    let (scheme, rest) = text.split_once("://").ok_or_else(wrong)?;
    let (host, port) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let host = endpoint::host_name(host).filter(|host| host != "*").ok_or_else(wrong)?;
    let port = endpoint::port_number(port).filter(|port| *port > 0).ok_or_else(wrong)?;
    match scheme {
        "udp" => Ok(SyslogAddress::Udp(host, port)),
        "tcp" => Ok(SyslogAddress::Tcp(host, port)),
        "tls" => Ok(SyslogAddress::Tls(host, port)),
        _ => Err(wrong()),
    }
}
