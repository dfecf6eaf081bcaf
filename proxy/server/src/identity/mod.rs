//! Who a client acts for: from what it shows to a context that may be acted for.

mod context;
mod encoding;

pub(crate) use context::blank;
pub(crate) use encoding::Encoding;

use crate::clock;
use crate::login::Tokens;
use pgwarden_auth::jwt::{Claims, TokenError};
use pgwarden_config::ContextSettings;
use pgwarden_session::Refusal;
use pgwarden_tenant::{Authority, Denial, Evidence, Finding, Grant, Identity, Known};
use std::sync::Arc;

/// Knows what evidence stands for, or finds out.
#[derive(Debug)]
pub(crate) struct Identities {
    encoding: Encoding,
    settings: ContextSettings,
    tokens: Arc<Tokens>,
}

impl Identities {
    /// For contexts that are encoded in this way.
    pub(crate) fn new(encoding: Encoding, settings: ContextSettings, tokens: Arc<Tokens>) -> Self {
        Self { encoding, settings, tokens }
    }

    /// Finds out what the evidence stands for.
    ///
    /// # Errors
    /// [`Denial`] when it stands for nothing.
    pub(crate) async fn resolve(&self, evidence: &Evidence) -> Result<Arc<Grant>, Denial> {
        match evidence {
            Evidence::Token(token) => {
                let claims = self.verified(Arc::clone(token)).await?;
                self.grant(&self.of_claims(claims))
            }
            Evidence::Login(identity) => self.grant(identity),
            Evidence::Claim(_) => Err(unsupported()),
        }
    }

    /// What the claims of a verified token say.
    pub(crate) fn of_claims(&self, claims: Claims) -> Identity {
        context::of_claims(&self.settings, claims)
    }

    async fn verified(&self, token: Arc<str>) -> Result<Claims, Denial> {
        let tokens = Arc::clone(&self.tokens);
        let verified = tokio::task::spawn_blocking(move || tokens.verify(&token, clock::now())).await;
        verified.unwrap_or(Err(TokenError::NoMatchingKey)).map_err(|error| {
            if matches!(error, TokenError::NoMatchingKey) {
                self.tokens.hint_unknown_key();
            }
            refused(&error)
        })
    }

    fn grant(&self, identity: &Identity) -> Result<Arc<Grant>, Denial> {
        let leeway = self.tokens.policy.leeway_seconds;
        context::granted(&self.encoding, identity, leeway).map(Arc::new)
    }
}

impl Authority for Identities {
    fn known(&self, _evidence: &Evidence, _now: u64) -> Known {
        Known::Unknown
    }
}

fn refused(error: &TokenError) -> Denial {
    let refusal = Refusal::new(
        "28000",
        "the token was refused",
        format!("{error}."),
        "Get a fresh token and show it in front of the transaction's first statement.",
    );
    Denial { finding: Finding::ContextDenied, refusal }
}

fn unsupported() -> Denial {
    let refusal = Refusal::new("0A000", "the application may not choose its tenant", "", "");
    Denial { finding: Finding::ContextDenied, refusal }
}
