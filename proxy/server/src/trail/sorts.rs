//! Which findings are of one sort, and fall together in one record, and the same for what was looked at.

use super::tallies::Sort;
use pgwarden_shadow::{Coverage, Finding, Query, Rows, WouldHave};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;

/// The most foreign tenants that are named.
const FOREIGN: usize = 5;

impl Sort for Finding {
    fn hash(&self, hasher: &mut impl Hasher) {
        (self.kind, fingerprint(self.query.as_deref()), &self.target, self.command).hash(hasher);
        (&self.tenant, &self.actor.user, &self.site.database).hash(hasher);
    }

    fn is_like(&self, other: &Self) -> bool {
        let manner = |one: &Self| {
            let would_have = discriminant(&one.would_have);
            (one.kind, one.detector, one.mode, one.decision, would_have, one.rule, one.outcome, one.command)
        };
        manner(self) == manner(other)
            && fingerprint(self.query.as_deref()) == fingerprint(other.query.as_deref())
            && self.target == other.target
            && self.site.database == other.site.database
            && self.tenant == other.tenant
            && self.actor.user == other.actor.user
            && self.actor.service == other.actor.service
    }

    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        if let (WouldHave::Filtered(rows), WouldHave::Filtered(more)) =
            (&mut self.would_have, other.would_have)
        {
            *rows = rows.saturating_add(more);
        }
        let Rows { returned, foreign, control, shadow } = &mut self.rows;
        let pairs = [
            (returned, other.rows.returned),
            (foreign, other.rows.foreign),
            (control, other.rows.control),
            (shadow, other.rows.shadow),
        ];
        for (sum, more) in pairs {
            *sum = sum.map_or(more, |sum| Some(sum.saturating_add(more.unwrap_or_default())));
        }
        for tenant in &other.foreign_tenants {
            if self.foreign_tenants.len() < FOREIGN && !self.foreign_tenants.contains(tenant) {
                self.foreign_tenants.push(tenant.clone());
            }
        }
    }

    fn clear(&mut self) {
        self.count = 0;
    }

    fn count(&self) -> u64 {
        self.count
    }
}

impl Sort for Coverage {
    fn hash(&self, hasher: &mut impl Hasher) {
        (&self.query.fingerprint, &self.site.database, self.detector, self.uncovered).hash(hasher);
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.detector, self.uncovered) == (other.detector, other.uncovered)
            && self.query.fingerprint == other.query.fingerprint
            && self.site.database == other.site.database
            && self.site.role == other.site.role
            && self.tables == other.tables
    }

    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
    }

    fn clear(&mut self) {
        self.count = 0;
    }

    fn count(&self) -> u64 {
        self.count
    }
}

fn fingerprint(query: Option<&Query>) -> Option<&str> {
    query.map(|query| query.fingerprint.as_str())
}
