//! Hears that a database has changed, so that nobody waits for the next look.

use crate::lookup::{Listener, LookupError};
use crate::upstream::{Credentials, Server};
use pgwarden_config::Pooler;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Where changes are told. The payload says nothing: the catalog does.
pub(super) const CHANNEL: &str = "pgwarden_shadow";

/// How long the server may say nothing before it is asked for a sign of life.
const BEAT: Duration = Duration::from_secs(30);
/// How long to wait before the connection is opened again, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Rings at each notification, and whenever the connection is opened: something may have changed meanwhile. Behind a
/// pooler that shares its servers no notification comes, and nobody listens.
pub(super) async fn listen(
    (server, login, database): (Arc<Server>, Credentials, String),
    patience: Duration,
    told: Arc<Notify>,
) {
    if server.pooler != Pooler::No {
        return;
    }
    let mut pause = PAUSES.0;
    loop {
        let opening =
            tokio::time::timeout(patience, Listener::open(&server, &login, &database, CHANNEL)).await;
        match opening.unwrap_or(Err(LookupError::TimedOut(patience))) {
            Ok(mut listener) => {
                pause = PAUSES.0;
                told.notify_one();
                while listener.hear(BEAT).await.is_ok() {
                    told.notify_one();
                }
            }
            Err(error) => tracing::debug!(%error, database, "changes of tables cannot be heard of yet"),
        }
        tokio::time::sleep(pause).await;
        pause = PAUSES.1.min(pause * 2);
    }
}
