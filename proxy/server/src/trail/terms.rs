//! What the configuration says about the trail; a reload may change it.

use pgwarden_audit::{NotASigningKey, Pseudonyms, Signer, hash_of};
use pgwarden_config::{Audit, Settings, Sinks};
use pgwarden_tenant::Mode;
use std::collections::BTreeMap;

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
    /// The modes of databases and users that have one of their own, by what records call them.
    pub(super) modes: BTreeMap<String, &'static str>,
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
        let mode = of(settings.mode);
        let of_database =
            |(name, mode): (&String, &pgwarden_config::Mode)| (format!("database {name}"), word(of(*mode)));
        let of_user = |(name, mode): (&String, &pgwarden_config::Mode)| {
            let name = pseudonyms.as_ref().map_or_else(|| name.clone(), |pseudonyms| pseudonyms.user(name));
            (format!("user {name}"), word(of(*mode)))
        };
        let modes =
            settings.databases.iter().map(of_database).chain(settings.users.iter().map(of_user)).collect();
        let config_hash = hash_of(&pgwarden_config::effective(settings));
        let sinks = settings.sinks.clone();
        Ok(Self { audit, sinks, signer, pseudonyms, mode, modes, config_hash })
    }

    /// The word for the general mode.
    pub(super) fn mode_word(&self) -> &'static str {
        word(self.mode)
    }

    /// The word for the mode of a database or a user: the general one, where it has none of its own.
    pub(super) fn mode_word_of(&self, whose: &str) -> &'static str {
        self.modes.get(whose).copied().unwrap_or_else(|| self.mode_word())
    }
}

fn of(mode: pgwarden_config::Mode) -> Mode {
    match mode {
        pgwarden_config::Mode::Passthrough => Mode::Passthrough,
        pgwarden_config::Mode::Shadow => Mode::Shadow,
        pgwarden_config::Mode::Enforce => Mode::Enforce,
    }
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Passthrough => "passthrough",
        Mode::Shadow => "shadow",
        Mode::Enforce => "enforce",
    }
}
