//! Where to listen, or where a server listens.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::mistake::Fault;

/// The port that pgwarden takes for a socket directory without one.
pub(crate) const DEFAULT_PORT: u16 = 6432;

const EXPECTED: &str = "host:port, [address]:port, *:port, or the absolute path of a socket directory";

/// The longest path that fits in `sockaddr_un` on Linux, with its closing zero.
const SOCKET_PATH_BYTES: usize = 108;

/// A TCP address or a unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// Host name or address (IPv6 without its brackets; `*` means every address) and port.
    Tcp(String, u16),
    /// The socket `.s.PGSQL.<port>` in a directory.
    Unix {
        /// The directory, absolute.
        directory: PathBuf,
        /// The number in the socket's name.
        port: u16,
    },
}

impl Endpoint {
    /// Whether only this machine can reach it: loopback, `localhost`, or a unix socket.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(host, _) => is_loopback(host),
            Self::Unix { .. } => true,
        }
    }

    /// The path of the unix socket, if it is one.
    #[must_use]
    pub fn socket_path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(..) => None,
            Self::Unix { directory, port } => Some(directory.join(format!(".s.PGSQL.{port}"))),
        }
    }

    /// The endpoint of a unix socket's file, if clients would find it: it is named `.s.PGSQL.<port>`.
    #[must_use]
    pub fn of_socket(path: &Path) -> Option<Self> {
        let port = port_number(path.file_name()?.to_str()?.strip_prefix(".s.PGSQL.")?)?;
        Some(Self::Unix { directory: path.parent()?.to_owned(), port })
    }

    /// Reads one endpoint; port 0 lets the system choose.
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        if text.starts_with('/') {
            return unix(text);
        }
        let split = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        let Some((host, port)) = split else {
            return Err(Fault::new(format!("{text:?} is not an address with a port"), EXPECTED));
        };
        let port = port_number(port)
            .ok_or_else(|| Fault::new(format!("{text:?} has no valid port"), "a port from 0 to 65535"))?;
        let host =
            host_name(host).ok_or_else(|| Fault::new(format!("{text:?} has no valid host"), EXPECTED))?;
        Ok(Self::Tcp(host, port))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(out, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(out, "{host}:{port}"),
            Self::Unix { directory, port } => write!(out, "{}:{port}", directory.display()),
        }
    }
}

/// Whether a host is this machine only.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A host without brackets, if it can be one: an address, `*`, or a name.
pub(crate) fn host_name(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().ok().map(|ip| ip.to_string());
    }
    let of_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    (host == "*" || (!host.is_empty() && host.chars().all(of_name))).then(|| host.to_owned())
}

/// A port in digits only.
pub(crate) fn port_number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A unix socket, if its path is short enough for the system.
pub(crate) fn unix_socket(directory: &str, port: u16) -> Result<Endpoint, Fault> {
    let endpoint = Endpoint::Unix { directory: PathBuf::from(directory), port };
    let length = endpoint.socket_path().map_or(0, |path| path.as_os_str().len());
    if length >= SOCKET_PATH_BYTES || directory.contains('\0') {
        let expected = format!("a socket path of at most {} bytes", SOCKET_PATH_BYTES - 1);
        return Err(Fault::new("the socket's path is too long", expected));
    }
    Ok(endpoint)
}

/// Mode bits in octal: `"0770"` as in PostgreSQL, or `0o770` as TOML writes such numbers. One without either mark would
/// be decimal in TOML.
pub(crate) fn permissions(text: &str) -> Result<u32, Fault> {
    let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
    let octal =
        digits.filter(|digits| digits.len() == 3).and_then(|digits| u32::from_str_radix(digits, 8).ok());
    octal.ok_or_else(|| Fault::new(format!("{text:?} is no file mode"), "\"0000\" to \"0777\", in octal"))
}

/// The path of a unix socket that is no endpoint for clients; a name is put behind it for a moment.
pub(crate) fn socket_path(text: &str) -> Result<PathBuf, Fault> {
    const ROOM: usize = 12;
    let most = SOCKET_PATH_BYTES - ROOM;
    if !text.starts_with('/') || text.ends_with('/') || text.len() >= most || text.contains('\0') {
        let expected = format!("an absolute path of less than {most} bytes");
        return Err(Fault::new("is no path for a socket", expected));
    }
    Ok(PathBuf::from(text))
}

fn unix(text: &str) -> Result<Endpoint, Fault> {
    let numbered = text.rsplit_once(':').and_then(|(path, port)| Some((path, port_number(port)?)));
    let (directory, port) = numbered.unwrap_or((text, DEFAULT_PORT));
    unix_socket(directory, port)
}
