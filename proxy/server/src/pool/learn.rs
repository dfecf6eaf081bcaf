//! Finding out what the server makes of the settings that clients start with.

use crate::pool::{Learned, Link, Pool};
use crate::upstream::{UpstreamError, query_reporting};
use pgwarden_session::{Health, Profile, bring_along};
use std::sync::Arc;

impl Pool {
    /// Sets each value on a backend and remembers what the server reported of it.
    ///
    /// The backend is closed afterwards if the server refused one: its settings are in between.
    ///
    /// # Errors
    /// [`UpstreamError::Refused`] when the server does not take a value.
    pub(crate) async fn learn(
        &self,
        link: &mut Link,
        settings: &[(String, String)],
    ) -> Result<(), UpstreamError> {
        let Some(state) = &mut link.state else { return Ok(()) };
        state.health = Health::Tainted;
        for (name, value) in settings {
            if self.profiles.learned(name, value).is_some() {
                continue;
            }
            let mut wanted = Profile::clone(&state.profile);
            wanted.carried.set(name, value);
            let wanted = Arc::new(wanted);
            let reports =
                query_reporting(&mut link.stream, bring_along(&state.profile, &wanted).as_bytes()).await?;
            let mut now = Profile::clone(&state.profile);
            for (reported, value) in &reports {
                now.reported.set(reported, value);
            }
            let found = now.reported.iter().find(|(reported, _)| reported.eq_ignore_ascii_case(name));
            let learned = found.map(|(name, value)| Learned::Reported(name.to_owned(), value.to_owned()));
            state.profile = if learned.is_some() { Arc::new(now) } else { wanted };
            self.profiles.remember(name, value, learned.unwrap_or(Learned::Carried));
        }
        state.health = Health::Sound;
        Ok(())
    }
}
