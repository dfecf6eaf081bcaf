//! Services: named identities for migrations and jobs, which act for no tenant and have a login of their own on the server.

use std::fmt;
use std::net::IpAddr;

use regex::Regex;

use crate::mistake::Fault;
use crate::moment::Moment;
use crate::network::Neighbour;
use crate::pool::PoolMode;
use crate::secret::SecretText;
use crate::variable::ClaimPath;

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// By what it is recognised.
    pub signs: Signs,
    /// Its login on the server; nobody else has it there.
    pub upstream_user: String,
    /// The password of that login.
    pub upstream_password: Option<SecretText>,
    /// What its `application_name` has to look like.
    pub reason: Option<Pattern>,
    /// Where it may come from; empty: from anywhere.
    pub addresses: Vec<Neighbour>,
    /// When it ends.
    pub expires: Option<Moment>,
    /// The most sessions at once.
    pub max_sessions: usize,
    /// For how long a session keeps its backend.
    pub pooling: PoolMode,
}

/// By what a service is recognised: at least one thing, and all that are there have to be true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signs {
    /// The database user. Without another sign, the login has to prove the name.
    pub user: Option<String>,
    /// A name in the client's certificate, as it is written there.
    pub certificate: Option<String>,
    /// A claim of the client's token, and its value.
    pub claim: Option<(ClaimPath, String)>,
}

/// A regular expression for the whole of a text.
#[derive(Debug, Clone)]
pub struct Pattern {
    written: String,
    regex: Regex,
}

impl Service {
    /// Whether it may come from this address; none is a unix socket.
    #[must_use]
    pub fn may_come_from(&self, address: Option<IpAddr>) -> bool {
        self.addresses.is_empty() || self.addresses.iter().any(|neighbour| neighbour.is(address))
    }
}

impl Signs {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Pattern {
    /// The longest expression, in bytes.
    const LIMIT: usize = 1_000;

    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        const EXPECTED: &str = "a regular expression for the whole application_name, like [A-Z]+-[0-9]+.*";
        if text.len() > Self::LIMIT {
            return Err(Fault::new("is too long", format!("at most {} bytes", Self::LIMIT)));
        }
        let regex = Regex::new(&format!("^(?:{text})$"));
        let regex = regex.map_err(|_| Fault::new(format!("{text:?} is no regular expression"), EXPECTED))?;
        Ok(Self { written: text.to_owned(), regex })
    }

    /// Whether the text is as it should be.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_for_the_whole_text() {
        let pattern = Pattern::parse("OPS-[0-9]+|break-glass").unwrap();
        assert!(pattern.fits("OPS-17") && pattern.fits("break-glass"));
        for text in ["", "OPS-", "OPS-17 ", "xOPS-17", "OPS-17\n", "break-glass!"] {
            assert!(!pattern.fits(text), "{text:?}");
        }
        assert!(Pattern::parse("(").is_err() && Pattern::parse(&"x".repeat(1_001)).is_err());
    }
}
