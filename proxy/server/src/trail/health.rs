//! Whether the trail can be written, and who has to know.

use crate::admin::Readiness;
use crate::meters::Meters;
use pgwarden_config::Required;
use pgwarden_session::Refusal;
use pgwarden_tenant::Gate;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the trail can be written.
#[derive(Debug)]
pub(super) struct Health {
    meters: Arc<Meters>,
    readiness: Arc<Readiness>,
    is_broken: AtomicBool,
    /// Whether transactions are refused.
    is_closed: AtomicBool,
}

impl Health {
    /// One that is good.
    pub(super) fn new(meters: Arc<Meters>, readiness: Arc<Readiness>) -> Self {
        Self { meters, readiness, is_broken: AtomicBool::new(false), is_closed: AtomicBool::new(false) }
    }

    /// So many records were written.
    pub(super) fn wrote(&self, count: usize) {
        self.meters.trail.wrote(count);
    }

    /// So much there was no place for.
    pub(super) fn dropped(&self, count: u64) {
        self.meters.trail.dropped(count);
    }

    /// Something could not be written.
    pub(super) fn broken(&self, error: &io::Error, required: Required) {
        self.meters.trail.broken();
        self.readiness.trail_broken(required);
        self.is_closed.store(required == Required::Yes, Ordering::Release);
        if !self.is_broken.swap(true, Ordering::AcqRel) {
            let consequence = match required {
                Required::Yes => "transactions are refused until it can",
                Required::No => "what happens is counted until it can",
            };
            tracing::error!(%error, "the audit trail cannot be written: {consequence}");
        }
    }

    /// It can be written again.
    pub(super) fn mended(&self) {
        self.is_broken.store(false, Ordering::Release);
        self.is_closed.store(false, Ordering::Release);
        self.meters.trail.mended();
        self.readiness.trail_mended();
    }
}

/// Says that nothing is written any more if the writer ends without having been told to: that would be a mistake of its own.
#[derive(Debug)]
pub(super) struct Watch {
    /// Who has to know.
    pub(super) health: Arc<Health>,
    /// What happens then.
    pub(super) required: Required,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.health.broken(&io::Error::other("the thread that writes it has ended"), self.required);
        }
    }
}

impl Gate for Health {
    fn closed(&self) -> Option<Refusal> {
        self.is_closed.load(Ordering::Acquire).then(|| {
            Refusal::new(
                "57P03",
                "the audit trail cannot be written",
                "audit.required is set: no transaction begins that could not be recorded.",
                "Try again when the directory of the trail can be written, or has room; pgwarden's log says what is wrong.",
            )
        })
    }
}
