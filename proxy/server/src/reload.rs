//! SIGHUP: the configuration and every file that it names are read again.
//!
//! What was read becomes a new [`App`] for the logins that follow, or, if there is any mistake in it, nothing at all.
//! Sessions keep what they logged in with; only their pools follow. Variables of the environment cannot change while
//! a process runs, so a secret that is given as `env:NAME` stays what it is.

use crate::app::{self, App, Current};
use crate::causes::WithCauses;
use crate::cli;
use crate::loaded::{self, Loaded, Purpose};
use crate::meters::ReloadOutcome;
use crate::notify;
use crate::settings;
use crate::signals::Phase;
use arc_swap::ArcSwapOption;
use pgwarden_config::{FixedKey, Mistake, SecretText, Settings};
use std::io;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};

/// What is told of a reload.
#[derive(Debug)]
pub(crate) struct Reloader {
    current: Current,
    flags: Arc<cli::Settings>,
    /// The settings as they were written when pgwarden started.
    start: Arc<Settings>,
    told: Told,
    refreshing: Option<JoinHandle<()>>,
}

/// Those who hold something of the settings themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// What callers of the admin listener must bring.
    pub(crate) token: Arc<ArcSwapOption<SecretText>>,
    /// Rings when the server may be another one.
    pub(crate) server: Arc<Notify>,
}

impl Told {
    fn admit(&self, settings: &Settings) {
        let token = settings.admin.as_ref().and_then(|admin| admin.token.clone());
        self.token.store(token.map(Arc::new));
    }
}

impl Reloader {
    /// For a pgwarden that was started with these flags and settings. Must be made inside a runtime.
    pub(crate) fn new(current: Current, flags: cli::Settings, start: Settings) -> Self {
        let told = Told::default();
        told.admit(&current.load().settings);
        let refreshing = keep_keys_fresh(&current.load());
        Self { current, flags: Arc::new(flags), start: Arc::new(start), told, refreshing }
    }

    /// What it tells others.
    pub(crate) fn told(&self) -> Told {
        self.told.clone()
    }

    /// Takes over SIGHUP; the future, which the caller spawns, reloads at each one. Signals that come meanwhile count
    /// as one.
    ///
    /// # Errors
    /// Whatever stops the handler from being installed. Must be called inside a runtime.
    pub(crate) fn on_signals(self) -> io::Result<impl Future<Output = ()> + Send + use<>> {
        let hangup = signal(SignalKind::hangup())?;
        Ok(self.reload_at_each(hangup))
    }

    async fn reload_at_each(mut self, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            if self.current.load().shutdown.phase() == Phase::Running {
                self.reload().await;
            } else {
                tracing::warn!("SIGHUP: nothing is reloaded any more, this process is about to end");
            }
        }
    }

    async fn reload(&mut self) {
        notify::reloading();
        let before = self.current.load_full();
        let (flags, start, shared) = (Arc::clone(&self.flags), Arc::clone(&self.start), Arc::clone(&before));
        let read = spawn_blocking(move || read(&flags, &start, &shared)).await;
        let read = read.unwrap_or_else(|_| Err(vec!["the reading was abandoned".to_owned()]));
        let outcome = match read {
            Ok(Read { settings, loaded, fixed }) => {
                self.put_into_force(&before, settings, loaded);
                for FixedKey { key, old, new } in fixed {
                    tracing::warn!(key, old, new, "ignored until a restart");
                }
                tracing::info!("the configuration was reloaded");
                ReloadOutcome::Ok
            }
            Err(mistakes) => {
                for mistake in mistakes {
                    tracing::warn!(mistake, "the configuration cannot be used");
                }
                tracing::warn!("nothing was reloaded, everything stays as it was");
                ReloadOutcome::Failed
            }
        };
        before.board.reloaded(outcome);
        before.meters.reloaded(outcome);
        notify::ready(match outcome {
            ReloadOutcome::Ok => notify::SERVING,
            ReloadOutcome::Failed => {
                "serving clients; the configuration has a mistake, and the one before is in force"
            }
        });
    }

    fn put_into_force(&mut self, before: &App, settings: Settings, loaded: Loaded) {
        let next = Arc::new(before.renewed(settings, loaded));
        if let Some(task) = self.refreshing.take() {
            task.abort();
        }
        self.refreshing = keep_keys_fresh(&next);
        app::warn_about_clear_text(&next.settings);
        next.identities.listen();
        next.observer.start();
        self.current.store(Arc::clone(&next));
        self.told.admit(&next.settings);
        if !Arc::ptr_eq(&next.server, &before.server) || next.settings.upstream != before.settings.upstream {
            self.told.server.notify_one();
        }
    }
}

/// What was read, and can be used.
struct Read {
    settings: Settings,
    loaded: Loaded,
    fixed: Vec<FixedKey>,
}

/// Reads everything again. This blocks.
fn read(flags: &cli::Settings, start: &Settings, before: &App) -> Result<Read, Vec<String>> {
    let shown = |mistakes: Vec<Mistake>| mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>();
    let settings = settings::read(flags)?;
    let (settings, fixed) = settings.over(start, &before.settings).map_err(shown)?;
    match loaded::load(&settings, Purpose::Reload(before)) {
        Ok(loaded) => Ok(Read { settings, loaded, fixed }),
        Err(mistakes) => Err(mistakes.iter().map(|mistake| WithCauses(mistake).to_string()).collect()),
    }
}

/// Starts the task that reads the keys for tokens again from time to time.
fn keep_keys_fresh(app: &App) -> Option<JoinHandle<()>> {
    let (keys, jwt) = (app.tokens.keys.clone()?, app.settings.auth.jwt.as_ref()?);
    Some(tokio::spawn(keys.keep_fresh(jwt.key.clone(), jwt.refresh)))
}
