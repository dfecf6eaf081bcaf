//! Rules that say by which method which client logs in, like the lines of PostgreSQL's `pg_hba.conf`: the first that
//! matches decides, and who matches none is not let in.

use std::net::IpAddr;

use crate::auth::Method;
use crate::mistake::Fault;
use crate::network::Network;
use crate::word::words;

/// The word for every database, user or address.
const ALL: &str = "all";
/// The word for the database that has the name of the user.
const SAME_USER: &str = "sameuser";

/// The connections that a rule is for: the first column of `pg_hba.conf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Connection {
    /// Through a unix socket.
    Local,
    /// Through TCP.
    Host,
    /// Through TCP, with TLS.
    HostSsl,
    /// Through TCP, without TLS.
    HostNoSsl,
}

words!(Connection { Local = "local", Host = "host", HostSsl = "hostssl", HostNoSsl = "hostnossl" });

/// The databases or users that a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Every one.
    All,
    /// Those of the list; `sameuser` among databases stands for the one with the user's name.
    Listed(Vec<String>),
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The connections; without it all.
    pub connection: Option<Connection>,
    /// The databases.
    pub databases: Names,
    /// The users.
    pub users: Names,
    /// The addresses; empty: every client, those of unix sockets included.
    pub networks: Vec<Network>,
    /// How the client proves who it is.
    pub method: Method,
}

/// A client that wants to log in, as far as rules look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt<'a> {
    /// The database it asks for.
    pub database: &'a str,
    /// The user it says it is.
    pub user: &'a str,
    /// Its address; none through a unix socket.
    pub address: Option<IpAddr>,
    /// Whether it uses TLS.
    pub is_encrypted: bool,
}

impl Rule {
    /// Whether the rule is for this client.
    #[must_use]
    pub fn matches(&self, attempt: &Attempt<'_>) -> bool {
        let over_tcp = attempt.address.is_some();
        let connection = match self.connection {
            None => true,
            Some(Connection::Local) => !over_tcp,
            Some(Connection::Host) => over_tcp,
            Some(Connection::HostSsl) => over_tcp && attempt.is_encrypted,
            Some(Connection::HostNoSsl) => over_tcp && !attempt.is_encrypted,
        };
        let within = |address: IpAddr| self.networks.iter().any(|network| network.contains(address));
        connection
            && self.databases.holds(attempt.database, attempt.user)
            && self.users.holds(attempt.user, "")
            && (self.networks.is_empty() || attempt.address.is_some_and(within))
    }

    /// Whether every client that `later` is for is taken by this rule already.
    pub(crate) fn covers(&self, later: &Rule) -> bool {
        let connection = match (self.connection, later.connection) {
            (None, _) => true,
            (Some(Connection::Host), Some(later)) => later != Connection::Local,
            (Some(Connection::Host), None) => !later.networks.is_empty(),
            (connection, later) => connection == later,
        };
        let within = |one: &Network| self.networks.iter().any(|network| network.covers(one));
        let networks =
            self.networks.is_empty() || (!later.networks.is_empty() && later.networks.iter().all(within));
        connection && networks && self.databases.covers(&later.databases) && self.users.covers(&later.users)
    }
}

impl Names {
    /// Reads names, of which `all` stands for every one. What `pg_hba.conf` knows and pgwarden cannot know is a mistake:
    /// taken for a name, it would match nobody.
    pub(crate) fn parse(
        names: &[String],
        special: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<Self, Fault> {
        for name in names {
            let problem = match name.chars().next() {
                None => Some("an empty name"),
                Some('+') => Some("members of a role are not known to pgwarden"),
                Some('@') => Some("files of names are not read"),
                Some('/') => Some("regular expressions are not supported"),
                _ => special(name),
            };
            if let Some(problem) = problem {
                return Err(Fault::new(format!("{name:?}: {problem}"), "names, or \"all\""));
            }
        }
        match names {
            [] => Err(Fault::new("is an empty list", "names, or \"all\"")),
            names if names.iter().any(|name| name == ALL) => Ok(Self::All),
            names => Ok(Self::Listed(names.to_vec())),
        }
    }

    /// Whether `name` is among them; `same` is the name that `sameuser` stands for.
    fn holds(&self, name: &str, same: &str) -> bool {
        match self {
            Self::All => true,
            Self::Listed(names) => names
                .iter()
                .any(|known| known == name || (known == SAME_USER && !same.is_empty() && same == name)),
        }
    }

    fn covers(&self, later: &Names) -> bool {
        match (self, later) {
            (Self::All, _) => true,
            (Self::Listed(_), Self::All) => false,
            (Self::Listed(names), Self::Listed(later)) => later.iter().all(|name| names.contains(name)),
        }
    }

    /// The names as they were written.
    pub(crate) fn written(&self) -> Vec<String> {
        match self {
            Self::All => vec![ALL.to_owned()],
            Self::Listed(names) => names.clone(),
        }
    }
}

/// Whether a name among the databases of a rule means something that pgwarden has not.
pub(crate) fn special_database(name: &str) -> Option<&'static str> {
    match name {
        "samerole" | "samegroup" => Some("members of a role are not known to pgwarden"),
        "replication" => Some("replication connections are not supported"),
        _ => None,
    }
}
