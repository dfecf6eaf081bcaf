//! Which context is in force: the transaction's own, else the session's, else the login's.

use crate::context::Identity;
use crate::evidence::Evidence;
use crate::grant::{Authority, Denial, Grant, Known, Standing};
use crate::offence::Offence;
use pgwarden_session::{Moment, Place, Refusal, Term};
use std::sync::Arc;

/// What a client has shown, and what it was granted for it.
#[derive(Debug, Clone)]
pub struct Held {
    /// What it was granted for; `None` where nobody need be asked again.
    pub evidence: Option<Evidence>,
    /// What was granted.
    pub grant: Arc<Grant>,
}

/// What came of a look at a context.
#[derive(Debug)]
pub(crate) enum Appraisal {
    /// It may be acted for.
    Good,
    /// It may not.
    Denied(Denial),
    /// Somebody has to be asked first: [`Holder::question`] says what.
    Ask,
}

/// The contexts of one client.
#[derive(Debug)]
pub(crate) struct Holder {
    authority: Arc<dyn Authority>,
    /// What is in force for who has nothing.
    blank: Arc<Grant>,
    login: Held,
    session: Option<Held>,
    local: Option<Held>,
    /// The transaction that `local` is of.
    transaction: u64,
    question: Option<Evidence>,
    answer: Option<(Evidence, Result<Arc<Grant>, Denial>)>,
    /// The transaction for which something was looked up: it need not be again, whatever changes meanwhile.
    settled: Option<u64>,
}

impl Holder {
    pub(crate) fn new(authority: Arc<dyn Authority>, blank: Arc<Grant>, login: Held) -> Self {
        Self {
            authority,
            blank,
            login,
            session: None,
            local: None,
            transaction: 0,
            question: None,
            answer: None,
            settled: None,
        }
    }

    /// What is in force.
    pub(crate) fn grant(&self) -> &Arc<Grant> {
        &self.held().grant
    }

    /// What has to be looked up.
    pub(crate) fn question(&mut self) -> Option<Evidence> {
        self.question.take()
    }

    /// What the look-up found: it counts the next time that somebody asks, whether or not it is kept elsewhere.
    pub(crate) fn answered(&mut self, evidence: Evidence, found: Result<Arc<Grant>, Denial>) {
        self.answer = Some((evidence, found));
    }

    /// A transaction of this number is on; what was for another one is gone.
    pub(crate) fn enter(&mut self, transaction: u64) {
        if self.transaction != transaction {
            self.transaction = transaction;
            self.local = None;
        }
    }

    /// Sees to it that what is in force may begin a transaction.
    pub(crate) fn renew(&mut self, now: u64) -> Appraisal {
        let held = self.held();
        let standing = held.grant.standing(now);
        match (standing, held.evidence.clone()) {
            (Standing::Good, _) | (Standing::Stale, None) => Appraisal::Good,
            (Standing::Stale, _) if self.settled == Some(self.transaction) => Appraisal::Good,
            (Standing::Expired, _) => Appraisal::Denied(expired()),
            (Standing::Stale, Some(evidence)) => match self.ask(&evidence, now) {
                Ok(grant) => {
                    self.held_mut().grant = grant;
                    Appraisal::Good
                }
                Err(appraisal) => {
                    if matches!(appraisal, Appraisal::Denied(_)) {
                        self.held_mut().grant = self.nothing_for_now();
                    }
                    appraisal
                }
            },
        }
    }

    /// The client shows something. What is denied puts nothing in its place: no earlier context may go on by mistake.
    pub(crate) fn show(&mut self, evidence: &Evidence, term: Term, place: Place, now: u64) -> Appraisal {
        self.enter(place.transaction);
        let found = match self.ask(evidence, now) {
            Err(Appraisal::Ask) => return Appraisal::Ask,
            Ok(grant) if grant.standing(now) == Standing::Expired => Err(Appraisal::Denied(expired())),
            found => found,
        };
        let grant = found.as_ref().map_or(&self.blank, |grant| grant);
        if place.moment == Moment::Bound && grant.context.values != self.grant().context.values {
            return Appraisal::Denied(other_tenant());
        }
        self.hold(Held { evidence: Some(evidence.clone()), grant: Arc::clone(grant) }, term);
        found.map_or_else(|appraisal| appraisal, |_| Appraisal::Good)
    }

    /// The client shows what cannot be evidence.
    pub(crate) fn deny(&mut self, denial: Denial, term: Term, place: Place) -> Appraisal {
        self.enter(place.transaction);
        if place.moment != Moment::Bound {
            self.hold(Held { evidence: None, grant: Arc::clone(&self.blank) }, term);
        }
        Appraisal::Denied(denial)
    }

    /// What was claimed for this term, as far as it still counts; the transaction's own comes first.
    pub(crate) fn claimed(&mut self, term: Term, place: Place) -> Option<Arc<Identity>> {
        self.enter(place.transaction);
        let local = self.local.as_ref().filter(|_| term == Term::Transaction);
        match local.or(self.session.as_ref())?.evidence.as_ref()? {
            Evidence::Claim(identity) => Some(Arc::clone(identity)),
            Evidence::Token(_) | Evidence::Login(_) => None,
        }
    }

    /// Whether a token says whom the client acts for.
    pub(crate) fn has_token(&self) -> bool {
        match &self.held().evidence {
            Some(Evidence::Token(_)) => true,
            Some(Evidence::Login(identity)) => identity.claims.is_some(),
            Some(Evidence::Claim(_)) | None => false,
        }
    }

    /// The client has said only a part of whom it acts for: until it has said all, it acts for nobody.
    pub(crate) fn await_more(&mut self, evidence: Evidence, term: Term, place: Place) -> Appraisal {
        self.enter(place.transaction);
        if place.moment == Moment::Bound && self.blank.context.values != self.grant().context.values {
            return Appraisal::Denied(other_tenant());
        }
        self.hold(Held { evidence: Some(evidence), grant: Arc::clone(&self.blank) }, term);
        Appraisal::Good
    }

    /// The client takes back what it has shown.
    pub(crate) fn take_back(&mut self, term: Term, place: Place) -> Appraisal {
        self.enter(place.transaction);
        if place.moment == Moment::Bound && self.login.grant.context.values != self.grant().context.values {
            return Appraisal::Denied(other_tenant());
        }
        match term {
            Term::Transaction => self.local = Some(self.login.clone()),
            Term::Session => (self.session, self.local) = (None, None),
        }
        Appraisal::Good
    }

    /// RESET ALL or DISCARD ALL: the session's own is gone, though a transaction stays whose it is.
    pub(crate) fn reset(&mut self, place: Place) {
        self.enter(place.transaction);
        if place.moment == Moment::Bound && self.session.is_some() {
            self.local = Some(self.held().clone());
        }
        self.session = None;
    }

    /// What is in force behind the transaction.
    pub(crate) fn grant_afterwards(&self) -> &Arc<Grant> {
        &self.session.as_ref().unwrap_or(&self.login).grant
    }

    /// What is in force when all that was shown since the login is taken back.
    pub(crate) fn grant_of_login(&self) -> &Arc<Grant> {
        &self.login.grant
    }

    fn hold(&mut self, held: Held, term: Term) {
        match term {
            Term::Transaction => self.local = Some(held),
            Term::Session => (self.session, self.local) = (Some(held), None),
        }
    }

    fn ask(&mut self, evidence: &Evidence, now: u64) -> Result<Arc<Grant>, Appraisal> {
        if let Some((_, found)) = self.answer.take_if(|(asked, _)| asked == evidence) {
            self.settled = found.is_ok().then_some(self.transaction);
            return found.map_err(Appraisal::Denied);
        }
        match self.authority.known(evidence, now) {
            Known::Granted(grant) => Ok(grant),
            Known::Denied(denial) => Err(Appraisal::Denied(denial)),
            Known::Unknown => {
                self.question = Some(evidence.clone());
                Err(Appraisal::Ask)
            }
        }
    }

    /// Nothing is in force, and whoever is to begin the next transaction is asked about again: a look-up that failed may
    /// work then.
    fn nothing_for_now(&self) -> Arc<Grant> {
        Arc::new(Grant::until(self.blank.context.clone(), self.blank.carrier.clone(), 0, 0))
    }

    /// What is in force, and what it was granted for.
    pub(crate) fn held(&self) -> &Held {
        self.local.as_ref().or(self.session.as_ref()).unwrap_or(&self.login)
    }

    fn held_mut(&mut self) -> &mut Held {
        self.local.as_mut().or(self.session.as_mut()).unwrap_or(&mut self.login)
    }
}

fn expired() -> Denial {
    let refusal = Refusal::new(
        "28000",
        "the token of this connection has expired",
        "A transaction cannot begin after the token's \"exp\".",
        "Show a fresh token, or open a new connection with one.",
    );
    Denial { offence: Offence::ContextExpired, refusal }
}

fn other_tenant() -> Denial {
    let refusal = Refusal::new(
        "42501",
        "the tenant cannot change within a transaction",
        "Statements of this transaction have run with another context.",
        "End the transaction first, or show the token in front of its first statement.",
    );
    Denial { offence: Offence::ContextChanged, refusal }
}
