//! Services at the door: who is one, whether it may come in, and what its session is made of.
//!
//! A login has been proven before anything is looked at here. Whoever says to be a service and is not recognised as it is
//! refused, and never taken for an ordinary client: with a service's name nobody else gets anywhere.

use crate::app::App;
use crate::clock;
use crate::identity::Nobody;
use crate::login::Denied;
use crate::login::authenticate::Shown;
use crate::login::certificate;
use crate::login::rules::Newcomer;
use crate::meters::LoginOutcome;
use crate::pool::Pool;
use crate::services::ServiceSession;
use crate::stream::Stream;
use pgwarden_account::Party;
use pgwarden_auth::jwt::ClaimPath;
use pgwarden_config::{PoolMode, Pooler, Service, Signs};
use pgwarden_session::Refusal;
use pgwarden_tenant::{Grant, Held, Missing, Mode, Warden};
use std::sync::Arc;

/// The longest reason that is kept, in characters.
const REASON: usize = 200;

/// A client that was recognised as a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recognised<'a> {
    name: &'a str,
    service: &'a Service,
}

/// The service that a client is, if it is one.
///
/// # Errors
/// [`Denied`] with 28000 for who says to be one and is not, is two at once, or leaves its login to the server.
pub(super) fn recognise<'a>(
    stream: &Stream,
    newcomer: &Newcomer<'_>,
    shown: &Shown,
    app: &'a App,
) -> Result<Option<Recognised<'a>>, Denied> {
    let services = &app.settings.services;
    if services.is_empty() {
        return Ok(None);
    }
    let user = newcomer.user;
    let certified = certificate::brought(stream);
    let mut found = services.iter().filter(|(_, service)| fits(&service.signs, user, shown, &certified));
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(refused(
            format!("user \"{user}\" is more than one service"),
            "Several services of the configuration fit this client.",
            "Connect as the user of one of them.",
        )),
        (Some((name, service)), None) if matches!(shown, Shown::Name(_) | Shown::Token(_)) => {
            Ok(Some(Recognised { name, service }))
        }
        (Some(_), None) => Err(not_proven(user)),
        (None, _) if services.values().any(|one| one.signs.user.as_deref() == Some(user)) => {
            Err(not_proven(user))
        }
        (None, _) if is_role_of_a_service(user, shown, app) => Err(refused(
            format!("role \"{user}\" belongs to a service"),
            "Only the sessions of its service get to it.",
            "Connect as the service.",
        )),
        (None, _) => Ok(None),
    }
}

/// Whether all signs of a service are there. A name alone has to be proven by the login: a token proves none.
fn fits(signs: &Signs, user: &str, shown: &Shown, certified: &[String]) -> bool {
    let claim = |(path, value): &(pgwarden_config::ClaimPath, String)| {
        let path = ClaimPath::parse(&path.to_string()).ok();
        let found = path.zip(shown.claims()).and_then(|(path, claims)| path.text(&claims.json));
        found.as_deref() == Some(value)
    };
    let rests_on_name = signs.certificate.is_none() && signs.claim.is_none();
    signs.user.as_ref().is_none_or(|name| name == user)
        && signs.certificate.as_ref().is_none_or(|name| certified.contains(name))
        && signs.claim.as_ref().is_none_or(claim)
        && (!rests_on_name || matches!(shown, Shown::Name(_)))
}

/// Where clients log in to the server under their own names, a service's role is not for them.
fn is_role_of_a_service(user: &str, shown: &Shown, app: &App) -> bool {
    let own_names = app.settings.upstream.user.is_none() || matches!(shown, Shown::LeftToServer);
    own_names && app.settings.services.values().any(|service| service.upstream_user == user)
}

impl Recognised<'_> {
    /// What such a session needs of the rest, and its account, which begins here.
    ///
    /// # Errors
    /// [`Denied`] with 28000 when it may not come from there, does not say what for, or comes too late; 53300 when there
    /// are too many of it.
    pub(super) fn admit(
        self,
        newcomer: &Newcomer<'_>,
        settings: &[(String, String)],
        app: &App,
    ) -> Result<Lane, Denied> {
        let Self { name, service } = self;
        if !service.may_come_from(newcomer.peer.address()) {
            return Err(refused(
                format!("service \"{name}\" may not come from {}", shown_address(newcomer)),
                format!("service.{name}.addresses says from where it may."),
                "",
            ));
        }
        let reason = settings.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case("application_name"));
        let reason = reason.map_or("", |(_, value)| value.as_str());
        if let Some(pattern) = service.reason.as_ref().filter(|pattern| !pattern.fits(reason)) {
            return Err(refused(
                format!("service \"{name}\" has to say what for"),
                format!("The application_name has to match {pattern}."),
                "Set it in the connection: application_name=… in the URL, or PGAPPNAME for libpq.",
            ));
        }
        let party = Party {
            service: name.to_owned(),
            user: newcomer.user.to_owned(),
            database: newcomer.database.to_owned(),
            role: service.upstream_user.clone(),
            client: newcomer.peer.to_string(),
            reason: reason.chars().take(REASON).collect(),
            began: clock::now(),
        };
        let begun = app.services.begin(service, party, &app.interner);
        let session = begun.map_err(|refusal| {
            let outcome = match &*refusal.sqlstate {
                "53300" => LoginOutcome::RefusedLimit,
                _ => LoginOutcome::RefusedService,
            };
            Denied::Refused(refusal, outcome)
        })?;
        let pool = app.pools.of_service(newcomer.database, name, (&app.nobody.names, app.seals()));
        let pool = pool.ok_or_else(|| not_proven(newcomer.user))?;
        Ok(Lane { pool, pooling: service.pooling, session })
    }
}

/// What a session of a service is made of.
#[derive(Debug)]
pub(super) struct Lane {
    /// Where its backends come from: no other client's do.
    pub(super) pool: Arc<Pool>,
    /// For how long it keeps one.
    pub(super) pooling: PoolMode,
    /// What watches it.
    pub(super) session: Box<ServiceSession>,
}

impl Lane {
    /// The tenancy of a service: it acts for nobody, and nothing that it does is refused.
    ///
    /// A backend of its own has begun with empty variables, and what the session makes of them is its business: like on a
    /// direct connection, it can set them to act as a tenant for a while. A backend that it shares with other sessions of
    /// the service gets them emptied in front of each transaction.
    pub(super) fn warden(&self, app: &App) -> Warden {
        let blank = &app.nobody.blank;
        let grant = match self.has_a_backend_of_its_own(app) {
            true => Arc::new(Grant::lasting(blank.context.clone(), None)),
            false => Arc::clone(blank),
        };
        Warden::new((Mode::Passthrough, Missing::Empty), Held { evidence: None, grant }, &app.tenancy)
    }

    /// What the session starts with: texts of the configuration where no context brings them.
    pub(super) fn settings(&self, asked: Vec<(String, String)>, app: &App) -> Vec<(String, String)> {
        if !self.has_a_backend_of_its_own(app) {
            return asked;
        }
        let Nobody { names, blank } = &app.nobody;
        let values = names.iter().cloned().zip(blank.context.values.iter().cloned());
        values.filter(|(_, value)| !value.is_empty()).chain(asked).collect()
    }

    fn has_a_backend_of_its_own(&self, app: &App) -> bool {
        self.pooling == PoolMode::Session && app.settings.upstream.downstream_pooler == Pooler::No
    }
}

fn shown_address(newcomer: &Newcomer<'_>) -> String {
    newcomer.peer.address().map_or_else(|| "a unix socket".to_owned(), |address| address.to_string())
}

fn not_proven(user: &str) -> Denied {
    refused(
        format!("user \"{user}\" is for a service"),
        "This client has not shown everything that the service is recognised by.",
        "Connect as the service does, or as another user.",
    )
}

fn refused(message: String, detail: impl Into<String>, hint: &str) -> Denied {
    Denied::Refused(Refusal::new("28000", message, detail.into(), hint), LoginOutcome::RefusedService)
}
