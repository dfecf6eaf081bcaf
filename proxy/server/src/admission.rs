//! How many clients are connected, in all and under each name.

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use pgwarden_config::Limits;
use pgwarden_session::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who is connected.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    clients: AtomicUsize,
    by_user: DashMap<Arc<str>, usize>,
}

/// One client's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    /// The name it is counted under, once it has logged in.
    user: Option<Arc<str>>,
}

impl Admission {
    /// How many clients are connected.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::Acquire)
    }

    /// A place for one more client.
    ///
    /// # Errors
    /// 53300 when `limits.max_clients` are connected.
    pub(crate) fn admit(self: &Arc<Self>, limits: &Limits) -> Result<Place, Refusal> {
        let place = Place { admission: Arc::clone(self), user: None };
        if self.clients.fetch_add(1, Ordering::AcqRel) >= limits.max_clients {
            return Err(Refusal::new(
                "53300",
                "sorry, too many clients already",
                format!("limits.max_clients is {}.", limits.max_clients),
                "Close connections that are not needed, or raise the limit.",
            ));
        }
        Ok(place)
    }
}

impl Place {
    /// The client has logged in under this name.
    ///
    /// # Errors
    /// 53300 when `limits.max_clients_per_user` are connected under it.
    pub(crate) fn name(&mut self, user: &str, limits: &Limits) -> Result<(), Refusal> {
        let Some(most) = limits.max_clients_per_user else { return Ok(()) };
        let user: Arc<str> = user.into();
        let mut count = self.admission.by_user.entry(Arc::clone(&user)).or_default();
        if *count >= most {
            return Err(Refusal::new(
                "53300",
                format!("too many connections for role \"{user}\""),
                format!("limits.max_clients_per_user is {most}."),
                "Close connections that are not needed, or raise the limit.",
            ));
        }
        *count += 1;
        drop(count);
        self.user = Some(user);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.clients.fetch_sub(1, Ordering::AcqRel);
        let Some(Entry::Occupied(mut count)) =
            self.user.take().map(|user| self.admission.by_user.entry(user))
        else {
            return;
        };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}
