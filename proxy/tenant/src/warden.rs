//! Who decides about one client's statements.

use crate::claims::{ClaimRules, Claimant, disagreement};
use crate::context::Presence;
use crate::encode::ROLE;
use crate::evidence::Evidence;
use crate::gate::Gate;
use crate::grant::{Authority, Denial, Grant};
use crate::guard::{Guard, Inspection, Stance};
use crate::holder::{Appraisal, Held, Holder};
use crate::offence::{Observer, Offence};
use crate::relations::{Names, RelationCache};
use crate::tokens::{Permission, TokenRules, unwanted};
use crate::watch::{Judgement, Watch};
use pgwarden_session::{
    Carrier, Claim, End, Moment, Overseer, Place, Refusal, Ruling, Sent, Shown, Subject, Tenancy, Ticket,
    Unread,
};
use pgwarden_sql::{Marks, Script, StringSyntax, Verb, assignments};
use std::sync::Arc;

/// What happens to an offence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is looked at.
    Passthrough,
    /// It is counted, and the statement runs.
    Shadow,
    /// It is counted, and the statement is refused.
    Enforce,
}

/// What a client without a context may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Statements that name a relation are an offence.
    Refuse,
    /// Row Level Security answers, with empty values.
    Empty,
}

/// The tenancy of one client.
#[derive(Debug)]
pub struct Warden {
    mode: Mode,
    missing: Missing,
    holder: Holder,
    guard: Arc<Guard>,
    observer: Arc<dyn Observer>,
    relations: Arc<RelationCache>,
    tokens: TokenRules,
    claims: Arc<ClaimRules>,
    gate: Option<Arc<dyn Gate>>,
    claimant: Option<Claimant>,
    watch: Option<Box<dyn Watch>>,
}

/// What all clients share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What clients may not touch.
    pub guard: Arc<Guard>,
    /// Who hears of offences.
    pub observer: Arc<dyn Observer>,
    /// Which texts name a relation.
    pub relations: Arc<RelationCache>,
    /// Who knows what evidence stands for.
    pub authority: Arc<dyn Authority>,
    /// What is in force for who has nothing.
    pub blank: Arc<Grant>,
    /// How tokens are shown.
    pub tokens: TokenRules,
    /// What variables say when an application sets them itself.
    pub claims: Arc<ClaimRules>,
    /// What may keep transactions from beginning.
    pub gate: Option<Arc<dyn Gate>>,
}

impl Warden {
    /// The tenancy of a client that has logged in with this context.
    #[must_use]
    pub fn new((mode, missing): (Mode, Missing), login: Held, shared: &Shared) -> Self {
        let (authority, blank) = (Arc::clone(&shared.authority), Arc::clone(&shared.blank));
        Self {
            mode,
            missing,
            holder: Holder::new(authority, blank, login),
            guard: Arc::clone(&shared.guard),
            observer: Arc::clone(&shared.observer),
            relations: Arc::clone(&shared.relations),
            tokens: shared.tokens,
            claims: Arc::clone(&shared.claims),
            gate: shared.gate.clone(),
            claimant: None,
            watch: None,
        }
    }

    /// The same for a client that may say itself whom it acts for.
    #[must_use]
    pub fn listening_to(self, claimant: Claimant) -> Self {
        Self { claimant: Some(claimant), ..self }
    }

    /// The same, watched, unless nothing is looked at anyway.
    #[must_use]
    pub fn watched_by(self, watch: Box<dyn Watch>) -> Self {
        let watch = Some(watch).filter(|_| self.mode != Mode::Passthrough);
        Self { watch, ..self }
    }

    /// The same, listened to by somebody who looks at nothing, whatever the mode.
    #[must_use]
    pub fn hushed_by(self, watch: Box<dyn Watch>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// What follows runs in this server process.
    pub fn runs_on(&mut self, process: u32) {
        if let Some(watch) = &mut self.watch {
            watch.runs_on(process);
        }
    }

    /// What has to be looked up before the statement that [`Ruling::Ask`] answered is asked about again; `None` where it
    /// is the text of the statement.
    pub fn question(&mut self) -> Option<Evidence> {
        self.holder.question()
    }

    /// What the look-up found.
    pub fn answered(&mut self, evidence: Evidence, found: Result<Arc<Grant>, Denial>) {
        self.holder.answered(evidence, found);
    }

    /// An offence: refused in `enforce`, otherwise only counted.
    fn judge(&mut self, offence: Offence, refusal: Refusal, text: Option<&[u8]>) -> Ruling {
        if self.mode != Mode::Passthrough {
            self.observer.found(offence, self.mode);
        }
        if self.mode == Mode::Enforce {
            self.tell(offence, Judgement::Refused, text);
            Ruling::Refuse(Box::new(refusal))
        } else {
            self.tell(offence, Judgement::Allowed, text);
            Ruling::Allow
        }
    }

    fn tell(&mut self, offence: Offence, judgement: Judgement, text: Option<&[u8]>) {
        if let Some(watch) = &mut self.watch {
            watch.offended(offence, judgement, text, self.holder.held());
        }
    }

    fn rule_on(&mut self, appraisal: Appraisal, text: Option<&[u8]>) -> Ruling {
        match appraisal {
            Appraisal::Good => Ruling::Allow,
            Appraisal::Ask => Ruling::Ask,
            Appraisal::Denied(denial) => self.judge(denial.offence, denial.refusal, text),
        }
    }

    /// An offence of the guard, which may be told to count alone.
    fn judge_guarded(&mut self, offence: Offence, text: Option<&[u8]>) -> Ruling {
        if self.guard.stance() == Stance::Reject {
            return self.judge(offence, refusal(offence), text);
        }
        self.observer.found(offence, self.mode);
        self.tell(offence, Judgement::Allowed, text);
        Ruling::Allow
    }

    /// Whether the statement does nothing but say whom the client acts for, which it may: that is no guard's business.
    fn is_claim(&self, subject: Subject<'_>) -> bool {
        let Subject::Text { text, script: Ok(script) } = subject else { return false };
        let single = script.single().filter(|_| self.claimant.is_some());
        let all = single.and_then(|one| assignments(text, one, StringSyntax::Standard));
        all.is_some_and(|all| all.iter().all(|one| self.hears(&one.name)))
    }

    /// Whether a client without a context names a relation of the application.
    fn missing_context(&mut self, text: &[u8], marks: impl Iterator<Item = Marks>) -> Ruling {
        let mut marks = marks;
        if !marks.any(|one| one.contains(Marks::RELATION)) {
            return Ruling::Allow;
        }
        match self.relations.names_relation(text) {
            None => Ruling::Ask,
            Some(Names::Nothing) => Ruling::Allow,
            Some(Names::Relation) => {
                self.judge(Offence::ContextMissing, refusal(Offence::ContextMissing), Some(text))
            }
        }
    }
}

impl Tenancy for Warden {
    fn carrier(&self) -> Option<&Arc<Carrier>> {
        self.holder.grant().carrier.as_ref()
    }

    fn rule(&mut self, subject: Subject<'_>, place: Place, now: u64) -> Ruling {
        self.holder.enter(place.transaction);
        if place.moment == Moment::Begins
            && let Some(refusal) = self.gate.as_ref().and_then(|gate| gate.closed())
        {
            return Ruling::Refuse(Box::new(refusal));
        }
        if self.carrier().is_none() {
            return Ruling::Allow;
        }
        if place.moment == Moment::Begins && !gives_up_context(subject) {
            let appraisal = self.holder.renew(now);
            match self.rule_on(appraisal, text_of(subject)) {
                Ruling::Allow => (),
                ruling => return ruling,
            }
        }
        if self.mode == Mode::Passthrough || self.is_claim(subject) {
            return Ruling::Allow;
        }
        if let Subject::Text { script: Err(Unread::Unclear), .. } = subject {
            return self.judge(Offence::Unreadable, refusal(Offence::Unreadable), text_of(subject));
        }
        match self.guard.inspect(subject) {
            Inspection::Clean => (),
            Inspection::Unparsed => return Ruling::Ask,
            Inspection::Found(offence) => match self.judge_guarded(offence, text_of(subject)) {
                // Recorded alone, it still may need a context that is not there.
                Ruling::Allow if self.mode == Mode::Enforce => (),
                ruling => return ruling,
            },
        }
        match subject {
            Subject::Text { text, script: Ok(script) }
                if self.holder.grant().context.presence == Presence::Missing
                    && self.missing == Missing::Refuse =>
            {
                self.missing_context(text, script.statements().iter().map(|one| one.marks))
            }
            _ => Ruling::Allow,
        }
    }

    fn reads_values(&self, text: &[u8], script: &Script) -> bool {
        self.mode != Mode::Passthrough && self.carrier().is_some() && self.guard.reads_values(text, script)
    }

    fn show(&mut self, shown: Shown<'_>, place: Place, now: u64) -> Ruling {
        if self.mode == Mode::Passthrough || self.carrier().is_none() {
            return Ruling::Allow;
        }
        let Shown { token, term, bearer } = shown;
        if self.tokens.permit(bearer) == Permission::Withheld {
            let denied = self.holder.deny(unwanted(), term, place);
            return self.rule_on(denied, None);
        }
        let appraisal = match token.map(|token| self.tokens.read(token)) {
            None => self.holder.take_back(term, place),
            Some(Ok(evidence)) => self.holder.show(&evidence, term, place, now),
            Some(Err(denial)) => self.holder.deny(denial, term, place),
        };
        self.rule_on(appraisal, None)
    }

    fn reads_comments(&self) -> bool {
        self.mode != Mode::Passthrough && self.tokens.comment == Permission::Granted
    }

    fn hears(&self, setting: &str) -> bool {
        self.claimant.is_some() && self.mode != Mode::Passthrough && self.claims.knows(setting)
    }

    fn claim(&mut self, claims: &[Claim], place: Place, now: u64) -> Ruling {
        let (Some(claimant), Some(term)) = (&self.claimant, claims.first().map(|claim| claim.term)) else {
            return Ruling::Allow;
        };
        let before = self.holder.claimed(term, place);
        if before.is_none() && self.holder.has_token() {
            let agrees = self.claims.agree(claims, &self.holder.grant().context.values);
            return if agrees {
                Ruling::Allow
            } else {
                self.rule_on(Appraisal::Denied(disagreement()), None)
            };
        }
        let said = before.as_ref().unwrap_or(&claimant.login);
        let appraisal = match self.claims.add(said, claims) {
            Err(denial) => self.holder.deny(denial, term, place),
            Ok(identity) if identity == *claimant.login => self.holder.take_back(term, place),
            Ok(identity) if identity.tenant.is_none() || identity.user.is_none() => {
                self.holder.await_more(Evidence::Claim(Arc::new(identity)), term, place)
            }
            Ok(identity) => self.holder.show(&Evidence::Claim(Arc::new(identity)), term, place, now),
        };
        self.rule_on(appraisal, None)
    }

    fn reset(&mut self, place: Place) {
        self.holder.reset(place);
    }

    fn carrier_behind(&self, end: End) -> Option<&Arc<Carrier>> {
        match end {
            End::Transaction => self.holder.grant_afterwards().carrier.as_ref(),
            End::Reset => self.holder.grant_of_login().carrier.as_ref(),
        }
    }

    fn sent(&mut self, sent: &Sent<'_>) -> Option<Ticket> {
        self.watch.as_mut()?.sent(sent, self.holder.held())
    }

    fn overseer(&mut self) -> Option<&mut dyn Overseer> {
        self.watch.as_mut().map(|watch| {
            let overseer: &mut dyn Overseer = watch.as_mut();
            overseer
        })
    }

    fn fails_closed(&self) -> bool {
        self.mode == Mode::Enforce
    }

    fn protects(&self, setting: &str) -> bool {
        let protected = self.guard.protected();
        protected.holds(setting) || (protected.sets_role() && setting.eq_ignore_ascii_case(ROLE))
    }
}

/// Whether a context that is not good any more is no matter: the statement takes it back, or puts another in its place.
fn gives_up_context(subject: Subject<'_>) -> bool {
    let Subject::Text { script: Ok(script), .. } = subject else { return false };
    script.single().is_some_and(|one| matches!(one.verb, Verb::Token | Verb::ResetAll | Verb::DiscardAll))
}

/// The text of the statement in question.
fn text_of(subject: Subject<'_>) -> Option<&[u8]> {
    match subject {
        Subject::Text { text, .. } | Subject::Values { text, .. } => Some(text),
        Subject::Function(_) => None,
    }
}

fn refusal(offence: Offence) -> Refusal {
    match offence {
        Offence::ContextMissing
        | Offence::ContextExpired
        | Offence::ContextDenied
        | Offence::ContextChanged
        | Offence::ClaimDisagrees => Refusal::new(
            "42501",
            "no tenant context for a statement that names a table",
            "This connection has no tenant, and pgwarden enforces one: the statement was not sent to the server.",
            "Connect as a user that has a tenant, or give this one a tenant in context.fixed.",
        ),
        Offence::SettingTouched => Refusal::new(
            "42501",
            "permission denied to change the tenant context",
            "The statement would set a variable that pgwarden sets.",
            "Remove it: pgwarden sets the context of every transaction by itself.",
        ),
        Offence::RoleTouched => Refusal::new(
            "42501",
            "permission denied to change the role or row security",
            "The statement would change who the session acts as, and with it what the policies see.",
            "Connect as the user that has the rights needed.",
        ),
        Offence::SettingNamed => Refusal::new(
            "42501",
            "permission denied to name the tenant context in a value",
            "A value names a variable that pgwarden sets, and the statement hands it to a function that may act on it.",
            "Leave the name out of the value, or call no function of the database with it.",
        ),
        Offence::FunctionCalled => Refusal::new(
            "42501",
            "permission denied to call a function that changes the tenant context",
            "The function is one of guard.functions.",
            "Remove the call: pgwarden sets the context of every transaction by itself.",
        ),
        Offence::CodeUnread => Refusal::new(
            "42501",
            "permission denied to run code that cannot be checked",
            "The statement runs or makes code that pgwarden cannot read: SQL that is put together when it runs, or a language other than SQL and PL/pgSQL.",
            "Write the SQL in the statement itself, or make functions as a user that pgwarden does not guard.",
        ),
        Offence::Unreadable => Refusal::new(
            "42601",
            "the statement cannot be read",
            "A backslash in it reads differently depending on standard_conforming_strings or on client_encoding.",
            "Write literals with a backslash as E'…', and use client_encoding UTF8.",
        ),
    }
}
