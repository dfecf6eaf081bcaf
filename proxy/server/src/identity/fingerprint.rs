//! Fingerprints, under a key of this process: what is remembered by them cannot be read out of its memory, and nobody
//! else can make two things look the same.

use crate::identity::change::Change;
use aws_lc_rs::{digest, hmac};
use pgwarden_tenant::{Evidence, Identity};

/// What evidence is remembered by.
pub(super) type Key = [u8; 32];

/// What a user, a tenant or a token is remembered by.
pub(super) type Tag = [u8; 32];

/// Makes fingerprints.
#[derive(Debug)]
pub(super) struct Fingerprints(hmac::Key);

/// Whom something is about, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Subjects {
    /// The user.
    pub(super) user: Option<String>,
    /// The tenant.
    pub(super) tenant: Option<String>,
    /// The SHA-256 of the token, as hexadecimal digits.
    pub(super) token: Option<String>,
}

impl Fingerprints {
    /// Fingerprints that no other process makes.
    pub(super) fn new() -> Self {
        let secret: [u8; 32] = rand::random();
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    /// The fingerprint of evidence.
    pub(super) fn of_evidence(&self, evidence: &Evidence) -> Key {
        match evidence {
            Evidence::Token(token) => self.of(b"token", &[Some(token.as_ref())]),
            Evidence::Login(identity) => self.of_identity(b"login", identity),
            Evidence::Claim(identity) => self.of_identity(b"claim", identity),
        }
    }

    /// The fingerprints by which what is about them is found.
    pub(super) fn of_subjects(&self, subjects: &Subjects) -> Vec<Tag> {
        let user = subjects.user.as_deref().map(Change::User);
        let tenant = subjects.tenant.as_deref().map(Change::Tenant);
        let token = subjects.token.as_deref().map(Change::Token);
        [user, tenant, token].into_iter().flatten().filter_map(|change| self.of_change(change)).collect()
    }

    /// The fingerprint of whom a change is about; `None` where it may be anybody.
    pub(super) fn of_change(&self, change: Change<'_>) -> Option<Tag> {
        match change {
            Change::User(user) => Some(self.of(b"about user", &[Some(user)])),
            Change::Tenant(tenant) => Some(self.of(b"about tenant", &[Some(tenant)])),
            Change::Token(digits) => Some(self.of(b"about token", &[Some(&digits.to_ascii_lowercase())])),
            Change::Everything => None,
        }
    }

    fn of_identity(&self, what: &[u8], identity: &Identity) -> Key {
        let claims = identity.claims.as_ref().map(|claims| claims.text.as_str());
        self.of(what, &[identity.tenant.as_deref(), identity.user.as_deref(), claims])
    }

    /// Each part with its length in front, so that no two lists read the same.
    fn of(&self, what: &[u8], parts: &[Option<&str>]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(what);
        for part in parts {
            let length = part.map_or(-1, |text| i64::try_from(text.len()).unwrap_or(i64::MAX));
            context.update(&length.to_be_bytes());
            context.update(part.unwrap_or_default().as_bytes());
        }
        fixed(context.sign().as_ref())
    }
}

/// The SHA-256 of a token.
pub(super) fn sha256(token: &str) -> [u8; 32] {
    fixed(digest::digest(&digest::SHA256, token.as_bytes()).as_ref())
}

/// Lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fixed(bytes: &[u8]) -> [u8; 32] {
    bytes.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn login(tenant: Option<&str>, user: Option<&str>) -> Evidence {
        let (tenant, user) = (tenant.map(str::to_owned), user.map(str::to_owned));
        Evidence::Login(Arc::new(Identity { tenant, user, ..Identity::default() }))
    }

    #[test]
    fn different_evidence_has_different_fingerprints() {
        let prints = Fingerprints::new();
        let claim = match login(Some("a"), None) {
            Evidence::Login(identity) => Evidence::Claim(identity),
            other => other,
        };
        let all = [
            login(Some("ab"), Some("c")),
            login(Some("a"), Some("bc")),
            login(Some("a"), None),
            login(None, Some("a")),
            login(Some("a"), Some("")),
            claim,
            Evidence::Token("a".into()),
        ];
        let keys: std::collections::HashSet<Key> = all.iter().map(|one| prints.of_evidence(one)).collect();
        assert_eq!(keys.len(), all.len());
        assert_ne!(prints.of_evidence(&all[0]), Fingerprints::new().of_evidence(&all[0]));
    }

    #[test]
    fn a_token_is_found_by_its_hash_in_either_case() {
        let digits = hexadecimal(&sha256("abc"));
        assert_eq!(digits, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let prints = Fingerprints::new();
        let upper = digits.to_ascii_uppercase();
        let subjects = Subjects { token: Some(digits), ..Subjects::default() };
        assert_eq!(
            Some(prints.of_subjects(&subjects)[0]),
            prints.of_change(Change::read(&format!("token:{upper}")))
        );
    }
}
