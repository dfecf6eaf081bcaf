//! What a running pgwarden takes over from a configuration that was read again, and what it cannot.

use crate::effective::address;
use crate::endpoint::{Endpoint, is_loopback};
use crate::method_needs;
use crate::mistake::{Fault, Mistake, Origin};
use crate::seal;
use crate::service_reader;
use crate::settings::{Admin, Settings};
use crate::units;

/// A key whose new value cannot come into force before a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedKey {
    /// The key.
    pub key: &'static str,
    /// The value in force.
    pub old: String,
    /// The value as it is written now.
    pub new: String,
}

impl Settings {
    /// The same settings as far as they can come into force while pgwarden runs: sockets, threads, the way of pooling,
    /// the log and the place of the trail stay as they are. `start` is what was written when pgwarden started, `running` what is in force,
    /// which differs where sockets were inherited.
    ///
    /// Returns the settings and the keys that were written anew in vain.
    ///
    /// # Errors
    /// What must not be in force together with what stays.
    pub fn over(mut self, start: &Self, running: &Self) -> Result<(Self, Vec<FixedKey>), Vec<Mistake>> {
        let fixed = FIXED.iter().filter_map(|(key, show)| {
            let (old, new) = (show(start), show(&self));
            (old != new).then_some(FixedKey { key, old, new })
        });
        let fixed = fixed.collect();
        self.listen.clone_from(&running.listen);
        self.unix_socket_permissions = running.unix_socket_permissions;
        self.workers = running.workers;
        self.takeover.clone_from(&running.takeover);
        self.upstream.downstream_pooler = running.upstream.downstream_pooler;
        self.pool.mode = running.pool.mode;
        self.log = running.log.clone();
        self.audit.directory.clone_from(&running.audit.directory);
        self.audit.instance.clone_from(&running.audit.instance);
        self.audit.sorts = running.audit.sorts;
        let token = self.admin.take().and_then(|admin| admin.token);
        self.admin = running.admin.clone().map(|admin| Admin { token, ..admin });
        let mistakes = self.conflicts();
        if mistakes.is_empty() { Ok((self, fixed)) } else { Err(mistakes) }
    }

    /// What the sockets and the way of pooling that are in force forbid. They may be others than those written: inherited,
    /// or kept.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Mistake> {
        let mut mistakes = method_needs::in_force(self);
        mistakes.extend(seal::in_force(&self.context, &self.upstream));
        let pooler = self.upstream.downstream_pooler;
        mistakes.extend(self.services.iter().filter_map(|(name, service)| {
            let fault = service_reader::loses_sessions(service, pooler)?;
            Some(fault.at(Origin::Absent, &format!("{}.{name}.pooling", service_reader::KEY)))
        }));
        if let Some(Admin { host, token: None, .. }) = &self.admin
            && !is_loopback(host)
        {
            let problem = "is missing, other machines reach the admin listener";
            let fault = Fault::new(problem, "file:PATH or env:NAME");
            mistakes.push(fault.at(Origin::Absent, "admin.token"));
        }
        mistakes
    }
}

type Show = fn(&Settings) -> String;

/// What stays as it is until a restart.
const FIXED: &[(&str, Show)] = &[
    ("listen", |settings| settings.listen.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(",")),
    ("unix_socket_permissions", |settings| {
        settings.unix_socket_permissions.map_or_else(String::new, |mode| format!("{mode:04o}"))
    }),
    ("workers", |settings| settings.workers.to_string()),
    ("takeover", |settings| {
        settings.takeover.as_ref().map_or_else(String::new, |path| path.display().to_string())
    }),
    ("upstream.downstream_pooler", |settings| settings.upstream.downstream_pooler.as_str().to_owned()),
    ("pool.mode", |settings| settings.pool.mode.as_str().to_owned()),
    ("admin.listen", |settings| address(settings.admin.as_ref())),
    ("log.level", |settings| settings.log.level.clone()),
    ("log.format", |settings| settings.log.format.as_str().to_owned()),
    ("audit.directory", |settings| {
        settings.audit.directory.as_ref().map_or_else(String::new, |path| path.display().to_string())
    }),
    ("audit.instance", |settings| settings.audit.instance.clone().unwrap_or_default()),
    ("audit.sorts", |settings| settings.audit.sorts.to_string()),
    ("log.account_interval", |settings| units::show(settings.log.account_interval)),
];
