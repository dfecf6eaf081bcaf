//! A query that has run, with all that it takes to run it again.

use crate::finding::{Actor, Origin, Query, Site, Tenant};
use crate::replay::sampler::Choice;
use pgwarden_session::Carrier;
use pgwarden_tenant::Mode;
use std::fmt;
use std::sync::Arc;

/// Takes queries that are to be run again. Never waits: what finds no place is counted.
pub trait Replayer: fmt::Debug + Send + Sync {
    /// Whether this execution is to be run again; if not, it has been counted. Cheap: it is asked for each execution.
    fn choose(&self, query: &Arc<Query>, site: &Site, tenant: Option<&str>) -> Choice;

    /// Whether the next execution may be chosen. Nothing is counted.
    fn may_choose(&self, query: &Query, tenant: Option<&str>) -> bool;

    /// The most bytes of text and values that are taken.
    fn limit(&self) -> usize;

    /// Takes a query that has completed.
    fn offer(&self, candidate: Candidate);

    /// A query was chosen, and cannot be offered.
    fn pass(&self, query: &Arc<Query>, site: &Site, why: crate::Uncovered);
}

/// The values of a Bind.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bound {
    /// The types of the parameters as Parse gave them; 0 or nothing where the server inferred one.
    pub types: Vec<u32>,
    /// Formats and values as they travel in Bind, with their numbers, without the formats of the result. Empty without
    /// parameters.
    pub values: Vec<u8>,
}

/// A query that has completed. It lives in memory alone, and only until it was run again.
#[derive(Clone)]
pub struct Candidate {
    /// The statement as it was sent: one statement alone.
    pub text: Vec<u8>,
    /// Its parameters.
    pub bound: Bound,
    /// The context in which it ran.
    pub carrier: Option<Arc<Carrier>>,
    /// The settings of its session: those that the server reports, and those that the client has set.
    pub settings: Vec<(String, String)>,
    /// The mode of its client.
    pub mode: Mode,
    /// Whom it acted for.
    pub tenant: Option<Arc<Tenant>>,
    /// Who has sent it.
    pub actor: Arc<Actor>,
    /// Where it ran: the role is the login.
    pub site: Site,
    /// The statement without literals.
    pub query: Arc<Query>,
    /// Where in the application it comes from.
    pub origin: Option<Arc<Origin>>,
}

impl Candidate {
    /// The role in whose name it ran.
    #[must_use]
    pub fn role(&self) -> &str {
        self.carrier.as_ref().and_then(|carrier| carrier.role.as_deref()).unwrap_or(&self.site.role)
    }
}

/// Neither text nor values.
impl fmt::Debug for Candidate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Candidate").field("query", &self.query.fingerprint).finish_non_exhaustive()
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bound").field("types", &self.types).finish_non_exhaustive()
    }
}
