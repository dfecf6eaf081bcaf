//! Whom to ask: an address and what has to be brought.

use super::AskError;
use pgwarden_config::{Admin, SecretText};
use std::path::Path;

/// A pgwarden's admin listener.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// `host:port`.
    pub(super) address: String,
    /// What it demands.
    pub(super) token: Option<SecretText>,
}

impl Place {
    /// The one that a configuration names. Where that listens on every address, this machine's own is asked.
    ///
    /// # Errors
    /// [`AskError::Off`] when there is none.
    pub(crate) fn of_settings(admin: Option<Admin>) -> Result<Self, AskError> {
        let Admin { host, port, token } = admin.ok_or(AskError::Off)?;
        let host = match host.as_str() {
            "*" | "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { address, token })
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it demands, as a header.
    pub(crate) fn bearer(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {}", token.expose()))
    }

    /// The one at `http://host:port` or `host:port`, with a token behind `file:PATH` or `env:NAME`.
    ///
    /// # Errors
    /// [`AskError::Address`] and [`AskError::Token`] when one of them is written otherwise, or cannot be read.
    pub(crate) fn named(address: &str, token: Option<&str>) -> Result<Self, AskError> {
        let bare = address.strip_prefix("http://").unwrap_or(address);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let port = bare.rsplit_once(':').map(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if port != Some(true) || bare.contains(['/', '@', '?', '#']) {
            return Err(AskError::Address(address.to_owned()));
        }
        let token = token.map(secret).transpose()?;
        Ok(Self { address: bare.to_owned(), token })
    }
}

/// A token on the command line itself would be seen by everybody who lists processes.
fn secret(written: &str) -> Result<SecretText, AskError> {
    let text = match written.split_once(':') {
        Some(("file", path)) => std::fs::read_to_string(Path::new(path)).ok(),
        Some(("env", name)) => std::env::var(name).ok(),
        _ => return Err(AskError::Token("is neither file:PATH nor env:NAME")),
    };
    let text = text.ok_or(AskError::Token("names what cannot be read as text"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(AskError::Token("names what is empty")),
        token => Ok(SecretText::new(token.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_as_a_url() {
        for (written, expected) in [
            ("http://127.0.0.1:6433", "127.0.0.1:6433"),
            ("http://pgwarden.internal:6433/", "pgwarden.internal:6433"),
            ("localhost:6433", "localhost:6433"),
            ("[::1]:6433", "[::1]:6433"),
        ] {
            assert_eq!(Place::named(written, None).unwrap().address, expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for written in ["", "6433", ":6433", "localhost", "https://a:1", "http://a:1/metrics", "a:x", "u@a:1"]
        {
            assert!(matches!(Place::named(written, None), Err(AskError::Address(_))), "{written}");
        }
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_this_machine() {
        for (host, expected) in [
            ("*", "127.0.0.1:1"),
            ("0.0.0.0", "127.0.0.1:1"),
            ("::", "[::1]:1"),
            ("::1", "[::1]:1"),
            ("h", "h:1"),
        ] {
            let admin = Admin { host: host.to_owned(), port: 1, token: None };
            assert_eq!(Place::of_settings(Some(admin)).unwrap().address, expected);
        }
        assert!(matches!(Place::of_settings(None), Err(AskError::Off)));
    }
}
