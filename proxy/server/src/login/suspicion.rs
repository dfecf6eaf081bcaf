//! Slowing down who guesses passwords: what has failed before makes the next attempt wait.

use crate::app::App;
use crate::login::Denied;
use crate::login::rules::Newcomer;
use crate::meters::LoginOutcome;
use pgwarden_auth::throttle::{Patience, Suspect, Throttle, Turn};
use pgwarden_config::Limits;
use pgwarden_session::Refusal;
use std::time::{Duration, Instant};

/// Who has failed, and for how long that counts.
#[derive(Debug)]
pub(crate) struct Suspicion {
    throttle: Throttle,
    /// Where its time begins.
    started: Instant,
}

/// Whether a client has waited for what failed before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// It has had its turn.
    Already,
    /// There was nothing to wait for when it came.
    Not,
}

impl Suspicion {
    /// Nobody has failed yet; `key` is what names are hashed with.
    pub(crate) fn new(limits: &Limits, key: [u8; 32]) -> Self {
        Self { throttle: Throttle::new(patience(limits), key), started: Instant::now() }
    }

    /// Takes other limits; who has failed is still known.
    pub(crate) fn follow(&self, limits: &Limits) {
        self.throttle.follow(patience(limits));
    }

    /// Waits until a client may be asked for its proof; it takes nobody's place meanwhile. Cancel safe: who gives up has
    /// had its turn.
    ///
    /// # Errors
    /// [`Denied`] with 53300 when that would be later than the end of the login.
    pub(super) async fn hold(&self, suspect: &Suspect<'_>, app: &App) -> Result<Waited, Denied> {
        let turn = self.throttle.turn(suspect, self.now(), app.settings.limits.login_timeout);
        if turn != Turn::Now {
            app.meters.login_delayed();
        }
        match turn {
            Turn::Now => Ok(Waited::Not),
            Turn::Later(wait) => {
                tokio::time::sleep(wait).await;
                Ok(Waited::Already)
            }
            Turn::Never => Err(too_many()),
        }
    }

    /// Waits until a proof that has come may be looked at, if others have failed since its client came: many that come
    /// at once have no more guesses than those that come one after the other. Cancel safe.
    ///
    /// # Errors
    /// As [`Suspicion::hold`].
    pub(super) async fn hold_proof(&self, newcomer: &Newcomer<'_>, app: &App) -> Result<(), Denied> {
        if newcomer.waited == Waited::Not {
            self.hold(&newcomer.suspect(), app).await?;
        }
        Ok(())
    }

    /// Remembers that a login was refused; what had nothing to do with its proof counts for nothing.
    pub(super) fn refused(&self, denied: &Denied, suspect: &Suspect<'_>) {
        if matches!(denied, Denied::Refused(_, LoginOutcome::RefusedAuthentication)) {
            self.throttle.failed(suspect, self.now());
        }
    }

    /// Remembers that a client is about to be let in.
    pub(super) fn accepted(&self, suspect: &Suspect<'_>) {
        self.throttle.succeeded(suspect, self.now());
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

fn patience(limits: &Limits) -> Patience {
    Patience { free: limits.login_failures, first: limits.login_delay, most: limits.login_delay_max }
}

/// Says nothing of the user: the address alone has brought this about.
fn too_many() -> Denied {
    let refusal = Refusal::new(
        "53300",
        "too many failed logins from this address",
        "",
        "Log in with the right password, and try again later.",
    );
    Denied::Refused(refusal, LoginOutcome::RefusedLimit)
}
