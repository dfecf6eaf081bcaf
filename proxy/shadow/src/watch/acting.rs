//! Whom statements act for, in the words of findings.

use crate::finding::{Tenant, TenantSource};
use crate::tenants::TenantSet;
use pgwarden_tenant::{Evidence, Grant, Held, Presence};
use std::sync::Arc;

/// What is made of one grant.
#[derive(Debug)]
pub(super) struct Acting {
    grant: Arc<Grant>,
    /// Whom findings name.
    pub(super) tenant: Option<Arc<Tenant>>,
    /// Whose rows may be seen.
    pub(super) seen: TenantSet,
}

impl Acting {
    /// For the holder of a grant; everybody may see the rows of `global`.
    pub(super) fn new(held: &Held, global: &[String], default: Option<&str>) -> Self {
        let context = &held.grant.context;
        let is_known = context.presence == Presence::Present;
        let id = context.tenants.first();
        let source = match &held.evidence {
            Some(Evidence::Token(_)) => TenantSource::Token,
            Some(Evidence::Claim(_)) => TenantSource::Claim,
            Some(Evidence::Login(identity)) if identity.claims.is_some() => TenantSource::Token,
            _ if default.is_some() && id.map(String::as_str) == default => TenantSource::Default,
            Some(Evidence::Login(_)) | None => TenantSource::Login,
        };
        let tenant = is_known.then(|| Arc::new(Tenant { id: id.cloned().unwrap_or_default(), source }));
        // Whoever has no tenant sees nothing, not even what all tenants share: nothing is known of whom to compare with.
        let own = context.tenants.iter().filter(|id| is_known && !id.is_empty());
        let seen = match id.filter(|_| is_known) {
            Some(_) => own.chain(global).cloned().collect(),
            None => Vec::new(),
        };
        Self { grant: Arc::clone(&held.grant), tenant, seen: TenantSet::new(seen) }
    }

    /// Whether it was made of this grant.
    pub(super) fn is_of(&self, held: &Held) -> bool {
        Arc::ptr_eq(&self.grant, &held.grant)
    }
}
