//! Finding out what the server makes of the settings that a client starts with.

use crate::pool::{Link, Pool};
use crate::upstream::{UpstreamError, query_reporting};
use pgwarden_session::{Health, Profile};
use std::sync::Arc;

impl Pool {
    /// Sets them on a backend and remembers what the server reported: one round trip per list that nobody started
    /// with before.
    ///
    /// # Errors
    /// [`UpstreamError::Refused`] when the server does not take a value.
    pub(crate) async fn learn(
        &self,
        link: &mut Link,
        settings: &[(String, String)],
    ) -> Result<Arc<Profile>, UpstreamError> {
        // The backend may have been opened for this: then that has told already.
        if let Some(known) = self.profiles.starting_with(settings) {
            return Ok(known);
        }
        let fresh = self.profiles.fresh().unwrap_or_default();
        let Some(state) = &mut link.state else { return Ok(fresh) };
        if let Some((name, value)) = state.unreadable(settings) {
            return Err(malformed(name, value));
        }
        state.health = Health::Tainted;
        let sql = state.try_settings(&fresh, settings);
        let reports = query_reporting(&mut link.stream, sql.as_bytes()).await;
        // One string is one transaction: what was refused is undone, and the backend is what it was.
        if matches!(reports, Ok(_) | Err(UpstreamError::Refused { .. })) {
            state.health = Health::Sound;
        }
        let profile = state.tried(&fresh, settings, &reports?);
        let profile = self.profiles.remember(fresh, settings, profile);
        state.profile = Arc::clone(&profile);
        Ok(profile)
    }
}

/// In the words of `parse_and_validate_value` in `guc.c`.
fn malformed(name: &str, value: &str) -> UpstreamError {
    UpstreamError::Refused {
        sqlstate: "22023".into(),
        message: format!("invalid value for parameter \"{name}\": \"{value}\""),
        payload: Vec::new(),
    }
}
