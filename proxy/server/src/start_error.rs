//! Why pgwarden cannot start.

use crate::keys::KeyStoreError;
use crate::logging::LogError;
use crate::tls::TlsError;
use crate::trail::StoreError;
use crate::upstream::UpstreamError;
use pgwarden_audit::NotASigningKey;
use pgwarden_auth::secret::SecretError;
use pgwarden_auth::users::UserListError;
use pgwarden_config::Mistake;
use pgwarden_tenant::NotASealKey;
use std::path::PathBuf;
use thiserror::Error;

/// Why pgwarden cannot start with these settings. The causes are sources; [`WithCauses`](crate::causes::WithCauses)
/// shows them.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    /// Configuration: certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Configuration: the keys that verify tokens.
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    /// Configuration: the users file cannot be read.
    #[error("cannot read the users file {}", .path.display())]
    UsersFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Configuration: the users file is malformed.
    #[error("the users file {}", .path.display())]
    Users {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: UserListError,
    },
    /// Configuration: the server's password.
    #[error("the password for the server (upstream.url, upstream.password or auth.query.password)")]
    Password(#[from] SecretError),
    /// Configuration: the key that seals contexts.
    #[error("context.seal.key")]
    SealKey(#[from] NotASealKey),
    /// Configuration: the key that signs the audit trail.
    #[error("audit.signing_key")]
    SigningKey(#[from] NotASigningKey),
    /// Configuration or system: the audit trail cannot be kept.
    #[error(transparent)]
    Trail(#[from] StoreError),
    /// Configuration: the password for look-ups.
    #[error("the password for look-ups (context.lookup.password)")]
    LookupPassword(#[source] SecretError),
    /// Configuration: the password for the table of the audit trail.
    #[error("the password for the table of the audit trail (audit.postgres.url or audit.postgres.password)")]
    SinkPassword(#[source] SecretError),
    /// Configuration: the password of who looks at the catalog.
    #[error("the password of who looks at the catalog (shadow.observer.password)")]
    ObserverPassword(#[source] SecretError),
    /// Configuration: the password of a service.
    #[error("the password of a service (service.{service}.upstream_password)")]
    ServicePassword {
        /// The service.
        service: String,
        /// What is wrong with it.
        source: SecretError,
    },
    /// Configuration: a claim path.
    #[error("{0}")]
    Variable(String),
    /// Configuration: a socket of the service manager that clients cannot connect to.
    #[error("socket {index} of the service manager")]
    Inherited {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// Configuration: what must not be in force with the sockets that there are.
    #[error(transparent)]
    Sockets(Mistake),
    /// System: a process that does not reach the server takes over from none.
    #[error("the server cannot be used, and the pgwarden that runs already goes on")]
    Upstream(#[source] UpstreamError),
    /// Configuration or system: there is no log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// System: a thread, a socket or a signal handler.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Who has to put it right; the exit code says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Whoever wrote the configuration, or a file that it names.
    Configuration,
    /// The system, which does not give what is needed.
    System,
}

impl StartError {
    /// A failure of the system.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// Who has to put it right.
    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::System { .. }
            | Self::Upstream(_)
            | Self::Log(LogError::Thread(_))
            | Self::Trail(StoreError::Taken(_) | StoreError::Thread(_)) => Blame::System,
            Self::Tls(_)
            | Self::Keys(_)
            | Self::UsersFile { .. }
            | Self::Users { .. }
            | Self::Password(_)
            | Self::SealKey(_)
            | Self::SigningKey(_)
            | Self::Trail(StoreError::Directory { .. })
            | Self::LookupPassword(_)
            | Self::SinkPassword(_)
            | Self::ObserverPassword(_)
            | Self::ServicePassword { .. }
            | Self::Variable(_)
            | Self::Inherited { .. }
            | Self::Sockets(_)
            | Self::Log(LogError::Level(_) | LogError::Taken(_)) => Blame::Configuration,
        }
    }
}
