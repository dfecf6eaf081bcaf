//! Who looks at the catalog: which tables there are, which column says whose a row is, which policies there are.

use std::time::Duration;

use crate::effective::Page;
use crate::mistake::Fault;
use crate::reader::Reader;
use crate::secret::{HIDDEN, SecretText};
use crate::units;
use crate::upstream::Upstream;

const USER: &str = "shadow.observer.user";
const PASSWORD: &str = "shadow.observer.password";
const DATABASES: &str = "shadow.observer.databases";
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Who looks at the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowObserver {
    /// The login for it.
    pub user: String,
    /// Its password.
    pub password: Option<SecretText>,
    /// The databases; at least one.
    pub databases: Vec<String>,
    /// How often it is looked, besides when a change is told.
    pub interval: Duration,
    /// How long a look may take.
    pub timeout: Duration,
}

impl ShadowObserver {
    /// As the file would say it.
    pub(crate) fn show(&self, page: &mut Page) {
        page.section("shadow.observer");
        page.text("user", &self.user);
        page.optional("password", self.password.as_ref().map(|_| HIDDEN));
        page.list("databases", self.databases.iter().cloned());
        page.text("interval", &units::show(self.interval));
        page.text("timeout", &units::show(self.timeout));
    }
}

/// Reads `[shadow.observer]`; nothing where neither a login, nor a database, nor a tenant column is given.
pub(crate) fn resolve(
    reader: &mut Reader<'_>,
    upstream: Option<&Upstream>,
    has_columns: bool,
) -> Option<ShadowObserver> {
    let (least, most) = (Duration::from_millis(50), Duration::from_secs(3_600));
    let user = reader.text(USER);
    let password = reader.secret(PASSWORD);
    let databases = reader.items(DATABASES).unwrap_or_default();
    let mut databases: Vec<String> = databases.into_iter().map(|item| item.text).collect();
    let interval = reader.duration("shadow.observer.interval", least, most).unwrap_or(INTERVAL);
    let timeout = reader.duration("shadow.observer.timeout", least, most).unwrap_or(TIMEOUT);
    if reader.is_written(PASSWORD) && !reader.is_written(USER) {
        reader.wrong(PASSWORD, Fault::new("a password without a user", USER));
    }
    let asked = [USER, DATABASES].into_iter().find(|key| reader.is_written(key));
    let asked = asked.or(has_columns.then_some("shadow.tenant_columns"))?;
    let upstream = upstream?;
    let own = user.is_some();
    let Some(user) = user.or_else(|| upstream.user.clone()) else {
        let fault =
            Fault::new("is missing, nothing says who looks at the catalog", "a login of pgwarden's own");
        reader.missing(USER, asked, fault);
        return None;
    };
    if databases.is_empty() {
        databases.push(upstream.database.clone().unwrap_or_else(|| user.clone()));
    }
    databases.dedup();
    let password = if own { password } else { upstream.password.clone() };
    Some(ShadowObserver { user, password, databases, interval, timeout })
}
