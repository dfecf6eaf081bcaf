//! What an application says itself of whom it acts for: taken over only where the configuration says so, and only after
//! somebody has checked it.

use crate::context::{Identity, Source, Variable};
use crate::grant::Denial;
use crate::offence::Offence;
use pgwarden_session::{Claim, Refusal};
use std::sync::Arc;

/// What a variable says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Tenant,
    User,
    /// Nothing that could be checked.
    Other,
}

/// What the variables say, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct ClaimRules {
    parts: Vec<(String, Part)>,
}

/// A client that may say itself whom it acts for.
#[derive(Debug, Clone)]
pub struct Claimant {
    /// What its login says already.
    pub login: Arc<Identity>,
}

impl ClaimRules {
    /// The rules for these variables.
    #[must_use]
    pub fn new(variables: &[Variable]) -> Self {
        let part = |variable: &Variable| match variable.source {
            Source::Tenant => Part::Tenant,
            Source::User => Part::User,
            _ => Part::Other,
        };
        let parts = variables.iter().map(|one| (one.name.to_ascii_lowercase(), part(one))).collect();
        Self { parts }
    }

    /// Whether the variable says who the tenant or the user is.
    pub(crate) fn knows(&self, setting: &str) -> bool {
        self.parts.iter().any(|(name, part)| *part != Part::Other && name.eq_ignore_ascii_case(setting))
    }

    /// Whether `values`, one for each variable, say the same as the claims.
    pub(crate) fn agree(&self, claims: &[Claim], values: &[String]) -> bool {
        claims.iter().all(|claim| {
            let place = self.parts.iter().position(|(name, _)| *name == claim.setting);
            let value = place.and_then(|place| values.get(place)).map(String::as_bytes);
            value == Some(claim.value.as_deref().unwrap_or_default())
        })
    }

    /// What was said before, with the claims.
    ///
    /// # Errors
    /// [`Denial`] for a value that is not UTF-8, and for claims of which one is to count longer than another.
    pub(crate) fn add(&self, said: &Identity, claims: &[Claim]) -> Result<Identity, Denial> {
        let mut identity = said.clone();
        for claim in claims {
            if claims.first().is_some_and(|first| first.term != claim.term) {
                return Err(unequal());
            }
            let value = claim.value.clone().map(String::from_utf8).transpose().map_err(|_| malformed())?;
            for (_, part) in self.parts.iter().filter(|(name, _)| *name == claim.setting) {
                match part {
                    Part::Tenant => identity.tenant.clone_from(&value),
                    Part::User => identity.user.clone_from(&value),
                    Part::Other => (),
                }
            }
        }
        Ok(identity)
    }
}

fn malformed() -> Denial {
    let refusal = Refusal::new("22021", "the value of a context variable is not UTF-8", "", "");
    Denial { offence: Offence::ContextDenied, refusal }
}

fn unequal() -> Denial {
    let refusal = Refusal::new(
        "0A000",
        "one statement cannot set context variables for the transaction and for the session",
        "What it says of tenant and user counts together.",
        "Set them in two statements, or for equally long.",
    );
    Denial { offence: Offence::ContextDenied, refusal }
}

/// The application says something else than its token.
pub(crate) fn disagreement() -> Denial {
    let refusal = Refusal::new(
        "42501",
        "the application claims another tenant or user than its token says",
        "The token counts.",
        "Remove the statement, or show the token of whom it is to act for.",
    );
    Denial { offence: Offence::ClaimDisagrees, refusal }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Kind;
    use pgwarden_session::Term;

    fn rules() -> ClaimRules {
        let variable =
            |name: &str, source| Variable { name: name.into(), source, kind: Kind::Text, limit: 9 };
        ClaimRules::new(&[
            variable("app.org", Source::Tenant),
            variable("App.User", Source::User),
            variable("app.region", Source::Literal("eu".into())),
        ])
    }

    fn claim(setting: &str, value: Option<&str>) -> Claim {
        Claim { setting: setting.into(), value: value.map(Into::into), term: Term::Transaction }
    }

    #[test]
    fn claims_add_up_and_can_be_taken_back() {
        let first = rules().add(&Identity::default(), &[claim("app.user", Some("ann"))]).expect("UTF-8");
        let both = rules().add(&first, &[claim("app.org", Some("acme"))]).expect("UTF-8");
        assert_eq!((both.tenant.as_deref(), both.user.as_deref()), (Some("acme"), Some("ann")));
        let less = rules().add(&both, &[claim("app.user", None)]).expect("UTF-8");
        assert_eq!((less.tenant.as_deref(), less.user.as_deref()), (Some("acme"), None));
    }

    #[test]
    fn claims_of_one_statement_count_equally_long() {
        let lasting = Claim { term: Term::Session, ..claim("app.user", Some("ann")) };
        let mixed = [claim("app.org", Some("acme")), lasting];
        let denial = rules().add(&Identity::default(), &mixed).expect_err("mixed");
        assert_eq!(denial.refusal.sqlstate, "0A000");
    }

    #[test]
    fn only_variables_of_tenant_and_user_are_heard_of() {
        assert!(rules().knows("APP.ORG") && rules().knows("app.user"));
        assert!(!rules().knows("app.region") && !rules().knows("work_mem"));
    }

    #[test]
    fn claims_agree_with_values_that_are_the_same() {
        let values = ["acme".to_owned(), String::new(), "eu".to_owned()];
        assert!(rules().agree(&[claim("app.org", Some("acme")), claim("app.user", None)], &values));
        assert!(!rules().agree(&[claim("app.org", Some("globex"))], &values));
    }
}
