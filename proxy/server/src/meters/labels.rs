//! The values that labels take: enums, so that no tenant, user or SQL text can become one.

use pgwarden_session::Pin;
use pgwarden_shadow::Kind;
use pgwarden_tenant::{Mode, Offence};

/// An enum whose variants are the values of one label.
pub(crate) trait Label: Copy + Eq + 'static {
    /// Every value.
    const ALL: &'static [Self];

    /// The value as written in the metric.
    fn label(self) -> &'static str;
}

/// Writes an enum of label values together with its [`Label`].
macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum $name { $($(#[$doc])* $variant,)+ }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn label(self) -> &'static str {
                match self { $(Self::$variant => $label),+ }
            }
        }
    };
}

pub(super) use labels;

labels!(
    /// How a login ended.
    LoginOutcome {
        /// The client may send statements.
        Accepted = "accepted",
        /// Wrong password, token or certificate, or an unknown user.
        RefusedAuthentication = "refused_authentication",
        /// A client without a token was told where to get one.
        Discovery = "discovery",
        /// No rule of auth.rules is for this client, or one rejects it.
        RefusedRule = "refused_rule",
        /// Authenticated, but its context is missing or malformed.
        RefusedContext = "refused_context",
        /// Too many clients.
        RefusedLimit = "refused_limit",
        /// Something that this server does not do: an unknown protocol, replication, no TLS where it is required.
        RefusedFeature = "refused_feature",
        /// It says to be a service, and may not come in as one.
        RefusedService = "refused_service",
        /// Not while draining.
        RefusedDraining = "refused_draining",
        /// Bytes that no client sends.
        ProtocolError = "protocol_error",
        /// The client took too long.
        TimedOut = "timed_out",
        /// The server behind could not be reached, or would not have it.
        RefusedUpstream = "refused_upstream",
        /// The client left before the end.
        Abandoned = "abandoned",
    }
);

labels!(
    /// How the context reached the server.
    InjectionForm {
        /// As messages in front of the client's.
        Front = "front",
        /// Inside the text of a simple query.
        Text = "text",
        /// Set for the session, for what cannot run in a block.
        Session = "session",
    }
);

impl Label for Offence {
    const ALL: &'static [Self] = &Self::ALL;

    fn label(self) -> &'static str {
        Self::label(self)
    }
}

impl Label for Mode {
    const ALL: &'static [Self] = &[Self::Shadow, Self::Enforce];

    fn label(self) -> &'static str {
        match self {
            Self::Passthrough => "passthrough",
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        }
    }
}

labels!(
    /// What came of finding out whom evidence stands for.
    IdentityOutcome {
        /// A context.
        Granted = "granted",
        /// It stands for nobody, or may not be acted for.
        Denied = "denied",
        /// It took too long.
        TimedOut = "timed_out",
        /// Nobody could be asked, or the answer could not be used.
        Failed = "failed",
    }
);

labels!(
    /// Where an answer about evidence came from.
    RememberedOrNot {
        /// It was known.
        Remembered = "remembered",
        /// It had to be found out.
        LookedUp = "looked_up",
    }
);

labels!(
    /// What a change is about.
    ChangeKind {
        /// A user.
        User = "user",
        /// A tenant.
        Tenant = "tenant",
        /// A token.
        Token = "token",
        /// Anybody.
        Everything = "all",
    }
);

labels!(
    /// How an attempt to open a backend ended.
    ConnectOutcome {
        /// Logged in.
        Ok = "ok",
        /// Refused, unreachable or too slow.
        Failed = "failed",
    }
);

labels!(
    /// What came of a question for the secret of a user.
    SecretLookup {
        /// There is one.
        Found = "found",
        /// There is no such user, or it may not log in with a secret.
        Unknown = "unknown",
        /// The answer cannot be used; the log says why.
        Unusable = "unusable",
        /// There was no answer; the log says why.
        Failed = "failed",
    }
);

labels!(
    /// How a reload ended.
    ReloadOutcome {
        /// The new configuration is in force.
        Ok = "ok",
        /// It had a mistake, and everything stays as it was.
        Failed = "failed",
    }
);

labels!(
    /// Why a backend could not be opened.
    ConnectFailure {
        /// Nobody listens, the name is unknown, or the connection broke.
        Unreachable = "unreachable",
        /// It took too long.
        TimedOut = "timed_out",
        /// The server would not have it: the login, the database, a setting, or too many connections.
        Refused = "refused",
        /// TLS is demanded, and there is none, or none that is trusted.
        Tls = "tls",
        /// The server asks for a secret that is not known.
        NoSecret = "no_secret",
        /// What answers is no PostgreSQL server.
        Protocol = "protocol",
    }
);

labels!(
    /// Which connection is encrypted.
    Side {
        /// That of a client.
        Client = "client",
        /// That to the server.
        Server = "server",
    }
);

labels!(
    /// How a TLS handshake ended.
    HandshakeOutcome {
        /// What follows is encrypted.
        Ok = "ok",
        /// They could not agree, or do not trust each other.
        Failed = "failed",
    }
);

labels!(
    /// What became of a CancelRequest.
    CancelOutcome {
        /// It went on to the server.
        Forwarded = "forwarded",
        /// Nobody has that key.
        Unknown = "unknown",
        /// The client had nothing running.
        Idle = "idle",
        /// The client waited for a backend, and waits no longer.
        Waiting = "waiting",
    }
);

labels!(
    /// Why a backend was closed.
    CloseReason {
        /// Idle for too long.
        Idle = "idle",
        /// It reached its age.
        Lifetime = "lifetime",
        /// A client of another pool was due to have one.
        MadeRoom = "made_room",
        /// It was opened under settings that a reload has replaced.
        Reloaded = "reloaded",
        /// It may carry state of its last client.
        Tainted = "tainted",
        /// The server closed it, or the connection broke.
        Lost = "lost",
        /// It sent what was not expected.
        Desync = "desync",
        /// pgwarden stops.
        Shutdown = "shutdown",
    }
);

impl Label for Pin {
    const ALL: &'static [Self] = &Self::ALL;

    fn label(self) -> &'static str {
        self.label()
    }
}

impl Label for Kind {
    const ALL: &'static [Self] = &Self::ALL;

    fn label(self) -> &'static str {
        self.label()
    }
}
