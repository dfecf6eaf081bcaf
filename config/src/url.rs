//! Connection URLs: `postgres://user:password@host:port/database?sslmode=…`.
//!
//! What PostgreSQL's client library takes
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>), for one host.
//! No message repeats anything of the URL: where a password is not percent-encoded, any part of it can
//! end up looking like a host, a port or a parameter.

use std::path::PathBuf;

use crate::endpoint::{self, Endpoint};
use crate::mistake::Fault;
use crate::secret::SecretText;
use crate::upstream::{ChannelBinding, UpstreamTlsMode};
use crate::word::Word;

const SHAPE: &str = "postgres://user:password@host:port/database";
const PARAMETERS: &str = "sslmode, sslrootcert, sslcert, sslkey, channel_binding, host or port";
const POSTGRES_PORT: u16 = 5432;

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UpstreamUrl {
    pub(crate) endpoint: Endpoint,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<SecretText>,
    pub(crate) database: Option<String>,
    pub(crate) parameters: Parameters,
}

/// What stands behind the question mark.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) tls_mode: Option<UpstreamTlsMode>,
    pub(crate) root_cert: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) channel_binding: Option<ChannelBinding>,
    host: Option<String>,
    port: Option<u16>,
}

/// Reads a connection URL.
pub(crate) fn parse(text: &str) -> Result<UpstreamUrl, Fault> {
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let rest = rest.ok_or_else(|| Fault::new("is not a PostgreSQL URL", SHAPE))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let parameters = parameters(query)?;
    let (login, host) = match authority.split_once('@') {
        Some((login, host)) => (Some(login), host),
        None => (None, authority),
    };
    if host.contains('@') || path.contains(['/', '@']) {
        return Err(Fault::new(
            "has `@` or `/` in the wrong place",
            "percent-encoded user, password and database",
        ));
    }
    let (user, password) = match login {
        Some(login) => self::login(login)?,
        None => (None, None),
    };
    let database = Some(decode(path)?).filter(|name| !name.is_empty());
    Ok(UpstreamUrl { endpoint: endpoint(host, &parameters)?, user, password, database, parameters })
}

/// Writes text so that it can stand anywhere in a URL.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn login(text: &str) -> Result<(Option<String>, Option<SecretText>), Fault> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(SecretText::new(decode(password)?))),
        None => (text, None),
    };
    let user = decode(user)?;
    if user.is_empty() {
        return Err(Fault::new("has a login without a user", SHAPE));
    }
    Ok((Some(user), password.filter(|password| !password.expose().is_empty())))
}

fn endpoint(authority: &str, parameters: &Parameters) -> Result<Endpoint, Fault> {
    let no_port = || Fault::new("has no valid port", "a port from 1 to 65535");
    if authority.contains(',') || parameters.host.as_ref().is_some_and(|host| host.contains(',')) {
        return Err(Fault::new("names several hosts, which is not supported yet", "one host"));
    }
    let colon = authority.rfind(':').filter(|at| authority.rfind(']').is_none_or(|bracket| bracket < *at));
    let (host, port) = match colon.and_then(|at| authority.split_at_checked(at)) {
        Some((host, port)) => {
            (host, Some(endpoint::port_number(&port.replacen(':', "", 1)).ok_or_else(no_port)?))
        }
        None => (authority, None),
    };
    if (port.is_some() && parameters.port.is_some()) || (!host.is_empty() && parameters.host.is_some()) {
        return Err(Fault::new("gives the host or port twice", "each once"));
    }
    let port = port.or(parameters.port).unwrap_or(POSTGRES_PORT);
    if port == 0 {
        return Err(no_port());
    }
    let host = match &parameters.host {
        Some(host) => host.clone(),
        None => decode(host)?,
    };
    if host.starts_with('/') {
        return endpoint::unix_socket(&host, port);
    }
    let host = endpoint::host_name(&host).filter(|host| host != "*");
    let host = host
        .ok_or_else(|| Fault::new("has no valid host", "a host name, an address, or a socket directory"))?;
    Ok(Endpoint::Tcp(host, port))
}

fn parameters(query: &str) -> Result<Parameters, Fault> {
    let mut parameters = Parameters::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let unknown = || Fault::new("has an unknown parameter", PARAMETERS);
        let (name, value) = pair.split_once('=').ok_or_else(unknown)?;
        let value = decode(value)?;
        let twice = match name {
            "sslmode" => parameters.tls_mode.replace(tls_mode(&value)?).is_some(),
            "sslrootcert" => parameters.root_cert.replace(PathBuf::from(value)).is_some(),
            "sslcert" => parameters.cert.replace(PathBuf::from(value)).is_some(),
            "sslkey" => parameters.key.replace(PathBuf::from(value)).is_some(),
            "channel_binding" => parameters.channel_binding.replace(channel_binding(&value)?).is_some(),
            "host" => parameters.host.replace(value).is_some(),
            "port" => {
                let port = endpoint::port_number(&value);
                let port = port.ok_or_else(|| Fault::new("has no valid port", "a port from 1 to 65535"))?;
                parameters.port.replace(port).is_some()
            }
            "application_name" | "connect_timeout" | "options" | "target_session_attrs" => {
                return Err(Fault::new(
                    format!("has the parameter {name}, which pgwarden does not use"),
                    PARAMETERS,
                ));
            }
            _ => return Err(unknown()),
        };
        if twice {
            return Err(Fault::new(format!("gives {name} twice"), "each parameter once"));
        }
    }
    Ok(parameters)
}

fn tls_mode(value: &str) -> Result<UpstreamTlsMode, Fault> {
    UpstreamTlsMode::from_word(value).map_err(|fault| Fault::new("has an unknown sslmode", fault.expected))
}

fn channel_binding(value: &str) -> Result<ChannelBinding, Fault> {
    let read = ChannelBinding::from_word(value);
    read.map_err(|fault| Fault::new("has an unknown channel_binding", fault.expected))
}

fn decode(text: &str) -> Result<String, Fault> {
    let wrong = || Fault::new("is not percent-encoded rightly", "%XX with two hexadecimal digits, in UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (high, low) = (digit().ok_or_else(wrong)?, digit().ok_or_else(wrong)?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(wrong)
}
