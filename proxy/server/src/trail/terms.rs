//! What the configuration says about the trail; a reload may change it.

use pgwarden_audit::{NotASigningKey, Pseudonyms, Signer, hash_of};
use pgwarden_config::{Audit, Settings, Sinks};
use pgwarden_tenant::Mode;

/// What the configuration says about the trail.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(super) audit: Audit,
    /// Who follows the trail.
    pub(super) sinks: Sinks,
    pub(super) signer: Option<Signer>,
    pub(super) pseudonyms: Option<Pseudonyms>,
    /// The general mode.
    pub(super) mode: Mode,
    /// Of the whole configuration, secrets aside.
    pub(super) config_hash: String,
}

impl Terms {
    /// What these settings say.
    ///
    /// # Errors
    /// [`NotASigningKey`] when the signing key is none.
    pub(crate) fn of(settings: &Settings) -> Result<Self, NotASigningKey> {
        let audit = settings.audit.clone();
        let signer = audit.signing_key.as_ref().map(|key| Signer::parse(key.expose())).transpose()?;
        let pseudonyms = audit.pseudonym_key.as_ref().map(|key| Pseudonyms::new(key.expose()));
        let mode = match settings.mode {
            pgwarden_config::Mode::Passthrough => Mode::Passthrough,
            pgwarden_config::Mode::Shadow => Mode::Shadow,
            pgwarden_config::Mode::Enforce => Mode::Enforce,
        };
        let config_hash = hash_of(&pgwarden_config::effective(settings));
        let sinks = settings.sinks.clone();
        Ok(Self { audit, sinks, signer, pseudonyms, mode, config_hash })
    }

    /// The word for the general mode.
    pub(super) fn mode_word(&self) -> &'static str {
        match self.mode {
            Mode::Passthrough => "passthrough",
            Mode::Shadow => "shadow",
            Mode::Enforce => "enforce",
        }
    }
}
