//! From evidence to a verdict: who it is, whom that is to act for, and whether that may be.

use crate::identity::Variables;
use crate::identity::answer::Answer;
use crate::identity::context;
use crate::identity::directory::{Directory, DirectoryError};
use crate::identity::fingerprint::{Subjects, hexadecimal, sha256};
use crate::identity::refusals;
use crate::login::Tokens;
use crate::meters::IdentityOutcome;
use pgwarden_auth::jwt::{Claims, TokenError};
use pgwarden_config::ContextSettings;
use pgwarden_tenant::{Context, Denial, Evidence, Grant, Identity, Presence, Source};
use std::sync::Arc;

/// What verdicts are made from.
#[derive(Debug)]
pub(super) struct Judge {
    /// What a context consists of.
    pub(super) variables: Variables,
    /// What the configuration says about contexts.
    pub(super) settings: ContextSettings,
    /// What verifies signed tokens.
    pub(super) tokens: Arc<Tokens>,
    /// Where look-ups are made, if there are any.
    pub(super) directory: Option<Directory>,
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The context that may be acted for, or why there is none.
    pub(super) outcome: Result<Context, Denied>,
    /// Whom it is about.
    pub(super) subjects: Subjects,
    /// When the database says that it ends, in seconds since 1970.
    pub(super) ends_at: Option<u64>,
}

/// Why there is no context.
#[derive(Debug)]
pub(super) enum Denied {
    /// That is so, and will be for a while.
    Surely(Denial),
    /// Nobody can tell at the moment, or it may be otherwise soon.
    ForNow(Denial, IdentityOutcome),
}

/// What is known so far besides who it is.
#[derive(Debug, Default)]
struct Case {
    subjects: Subjects,
    ends_at: Option<u64>,
}

impl Judge {
    /// Whether somebody has to be asked about this evidence, or a signature verified. What a login has established can
    /// be complete.
    pub(super) fn has_to_ask(&self, evidence: &Evidence) -> bool {
        let Evidence::Login(identity) = evidence else { return true };
        let Some(directory) = &self.directory else { return false };
        match (&identity.user, &identity.tenant) {
            (Some(_), _) if directory.knows_sights() => true,
            (Some(_), None) => directory.knows_tenants(),
            (Some(_), Some(_)) => directory.knows_members() && !is_fixed(evidence),
            (None, _) => false,
        }
    }

    /// The grant of a login that is complete: nothing but the end of its token ends it.
    ///
    /// # Errors
    /// [`Denial`] when a value is missing or is not of its kind.
    pub(super) fn complete(&self, evidence: &Evidence) -> Result<Arc<Grant>, Denial> {
        let identity = match evidence {
            Evidence::Login(identity) => Arc::clone(identity),
            Evidence::Claim(_) | Evidence::Token(_) => Arc::default(),
        };
        let context = self.context(&identity)?;
        let carrier = context::carrier(&self.variables, &context);
        Ok(Arc::new(Grant::lasting(context, carrier)))
    }

    /// Finds out what the evidence stands for at the time `now`, in seconds since 1970.
    pub(super) async fn decide(&self, evidence: &Evidence, now: u64) -> Verdict {
        let mut case = Case::default();
        let outcome = self.hear(evidence, now, &mut case).await;
        Verdict { outcome, subjects: case.subjects, ends_at: case.ends_at }
    }

    async fn hear(&self, evidence: &Evidence, now: u64, case: &mut Case) -> Result<Context, Denied> {
        let mut identity = match evidence {
            Evidence::Token(token) => self.of_token(token, now, case).await?,
            Evidence::Login(identity) | Evidence::Claim(identity) => Identity::clone(identity),
        };
        case.is_about(&identity);
        self.find_tenant(&mut identity, case).await?;
        case.is_about(&identity);
        self.check_membership(evidence, &mut identity, case).await?;
        if case.ends_at.is_some_and(|end| end <= now) {
            return Err(Denied::Surely(refusals::ended_session()));
        }
        let mut context = self.context(&identity).map_err(Denied::Surely)?;
        self.find_sights(&identity, &mut context).await?;
        Ok(context)
    }

    /// The other tenants whose rows the user may see: policies may ask for the user's memberships.
    async fn find_sights(&self, identity: &Identity, context: &mut Context) -> Result<(), Denied> {
        let (Some(directory), Some(user)) = (&self.directory, &identity.user) else { return Ok(()) };
        let seen = directory.tenants_seen_by(user).await?;
        if context.tenants.is_empty() && !seen.is_empty() {
            context.tenants.push(String::new());
        }
        context.tenants.extend(seen.into_iter().filter(|one| Some(one) != identity.tenant.as_ref()));
        Ok(())
    }

    /// A token that looks like a signed one is taken for nothing else where signed ones are taken.
    async fn of_token(&self, token: &Arc<str>, now: u64, case: &mut Case) -> Result<Identity, Denied> {
        case.subjects.token = Some(hexadecimal(&sha256(token)));
        let directory = self.directory.as_ref().filter(|directory| directory.knows_tokens());
        let is_signed = self.tokens.keys.is_some() && looks_signed(token);
        let Some(directory) = directory.filter(|_| !is_signed) else {
            let claims = self.verified(Arc::clone(token), now).await?;
            return Ok(context::of_claims(&self.settings, claims));
        };
        let answer = directory.session_of(token).await?;
        let answer = answer.ok_or_else(|| Denied::Surely(refusals::unknown_token()))?;
        let mut identity = Identity::default();
        (identity.tenant, identity.user) = (answer.tenant.clone(), answer.user.clone());
        case.note(answer, &mut identity);
        Ok(identity)
    }

    async fn verified(&self, token: Arc<str>, now: u64) -> Result<Claims, Denied> {
        let tokens = Arc::clone(&self.tokens);
        let verified = tokio::task::spawn_blocking(move || tokens.verify(&token, now)).await;
        verified.unwrap_or(Err(TokenError::NoMatchingKey)).map_err(|error| {
            let denial = refusals::bad_token(&error);
            match error {
                TokenError::NoMatchingKey => {
                    self.tokens.hint_unknown_key();
                    Denied::ForNow(denial, IdentityOutcome::Denied)
                }
                TokenError::NotYetValid { .. } | TokenError::IssuedInFuture { .. } => {
                    Denied::ForNow(denial, IdentityOutcome::Denied)
                }
                _ => Denied::Surely(denial),
            }
        })
    }

    /// The tenant in which a user works now, where nothing else says it.
    async fn find_tenant(&self, identity: &mut Identity, case: &mut Case) -> Result<(), Denied> {
        let (Some(directory), Some(user), None) = (&self.directory, &identity.user, &identity.tenant) else {
            return Ok(());
        };
        if let Some(answer) = directory.tenant_of(user).await? {
            identity.tenant.clone_from(&answer.tenant);
            case.note(answer, identity);
        }
        Ok(())
    }

    /// Every pair of user and tenant has to be one that the database knows, unless the configuration says it.
    async fn check_membership(
        &self,
        evidence: &Evidence,
        identity: &mut Identity,
        case: &mut Case,
    ) -> Result<(), Denied> {
        let is_claim = matches!(evidence, Evidence::Claim(_));
        let directory = self.directory.as_ref().filter(|directory| directory.knows_members());
        let Some(directory) = directory.filter(|_| !is_fixed(evidence)) else {
            return if is_claim { Err(Denied::Surely(refusals::unsupported())) } else { Ok(()) };
        };
        match (&identity.user, &identity.tenant) {
            (Some(user), Some(tenant)) => {
                let answer = directory.membership(user, tenant).await?;
                let answer = answer.ok_or_else(|| Denied::Surely(refusals::no_member()))?;
                case.note(answer, identity);
                Ok(())
            }
            (None, Some(_)) if is_claim => Err(Denied::Surely(refusals::unsupported())),
            _ => Ok(()),
        }
    }

    fn context(&self, identity: &Identity) -> Result<Context, Denial> {
        let mut context = context::of(&self.variables, identity, self.tokens.policy.leeway_seconds)?;
        let wants_tenant = self.variables.iter().any(|one| matches!(one.source, Source::Tenant));
        if wants_tenant && self.directory.is_some() && identity.tenant.is_none() {
            // Whoever it is works nowhere: for nobody's rows.
            context.presence = Presence::Missing;
        }
        Ok(context)
    }
}

impl Case {
    fn is_about(&mut self, identity: &Identity) {
        self.subjects.user.clone_from(&identity.user);
        self.subjects.tenant.clone_from(&identity.tenant);
    }

    /// What an answer says besides. The first one that fills a column counts.
    fn note(&mut self, answer: Answer, identity: &mut Identity) {
        self.ends_at = [self.ends_at, answer.expires_at].into_iter().flatten().min();
        for (name, value) in answer.columns {
            identity.columns.entry(name).or_insert(value);
        }
    }
}

impl From<DirectoryError> for Denied {
    fn from(error: DirectoryError) -> Self {
        let outcome = if error.is_late() { IdentityOutcome::TimedOut } else { IdentityOutcome::Failed };
        Self::ForNow(refusals::failed(&error), outcome)
    }
}

/// Whether the configuration says itself whom a login acts for.
fn is_fixed(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Login(identity) if identity.claims.is_none() && identity.tenant.is_some())
}

/// Whether it is three parts with dots between, of which the first begins as the base64 of a JSON object does.
fn looks_signed(token: &str) -> bool {
    let begins = token.starts_with("ey") || token.starts_with("ew");
    begins && token.split('.').count() == 3 && token.split('.').all(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_signed_begins_with_a_json_object_in_base64() {
        for token in ["eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "ewogImFsZyI6IkhTMjU2In0.e30.c2ln"] {
            assert!(looks_signed(token), "{token}");
        }
        for token in ["", "eyJhbGciOiJIUzI1NiJ9", "a.b.c", "eyJ..c", "eyJ.b.c.d", "sess_eyJ.b.c"] {
            assert!(!looks_signed(token), "{token}");
        }
    }

    #[test]
    fn the_configuration_fixes_a_tenant_and_a_token_does_not() {
        let login = |tenant: Option<&str>, claims: Option<Claims>| {
            let tenant = tenant.map(str::to_owned);
            Evidence::Login(Arc::new(Identity { tenant, claims, ..Identity::default() }))
        };
        let claims = Claims { json: serde_json::Value::Null, text: "{}".to_owned(), expires_at: None };
        assert!(is_fixed(&login(Some("t"), None)));
        assert!(!is_fixed(&login(None, None)) && !is_fixed(&login(Some("t"), Some(claims))));
        assert!(!is_fixed(&Evidence::Token("t".into())));
    }

    #[test]
    fn the_earliest_end_counts_and_the_first_value_of_a_column() {
        let (mut case, mut identity) = (Case::default(), Identity::default());
        for (end, role) in [(None, "owner"), (Some(7), "member"), (Some(9), "guest")] {
            let columns = [("role".to_owned(), role.to_owned())].into();
            case.note(Answer { expires_at: end, columns, ..Answer::default() }, &mut identity);
        }
        assert_eq!((case.ends_at, identity.columns["role"].as_str()), (Some(7), "owner"));
    }
}
