//! The report as the admin listener shows it: made anew when somebody asks, but not more often than it is worth.

use super::{Database, Keys, ReportError, Sources};
use pgwarden_shadow::verdict::{Moment, Report, Rules};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long a report is shown again at least; and at most so many times as long as it took to make.
const FRESH: Duration = Duration::from_secs(1);
const REST: u32 = 10;

/// What a report is made of: a reload may change it.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Where the trail is.
    pub(crate) directory: Option<PathBuf>,
    /// What a table needs to be ready.
    pub(crate) rules: Rules,
    /// What verifies the trail's signatures.
    pub(crate) keys: Keys,
    /// The databases that are asked.
    pub(crate) databases: Vec<Database>,
}

/// The report of this process' own trail.
pub(crate) struct Live {
    terms: Box<dyn Fn() -> Terms + Send + Sync>,
    last: Mutex<Option<Made>>,
}

/// The last one.
#[derive(Debug)]
struct Made {
    at: Instant,
    took: Duration,
    since: Option<Moment>,
    report: Arc<Report>,
}

impl Live {
    /// Of the trail that the terms name each time.
    pub(crate) fn new(terms: impl Fn() -> Terms + Send + Sync + 'static) -> Self {
        Self { terms: Box::new(terms), last: Mutex::default() }
    }

    /// The report. Blocks, and only one is made at a time.
    ///
    /// # Errors
    /// [`ReportError`] when there is no trail, or it cannot be read.
    pub(crate) fn report(&self, since: Option<Moment>) -> Result<Arc<Report>, ReportError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*last {
            let is_fresh = made.at.elapsed() < FRESH.max(made.took.saturating_mul(REST));
            if is_fresh && made.since == since {
                return Ok(Arc::clone(&made.report));
            }
        }
        let begun = Instant::now();
        let Terms { directory, rules, keys, databases } = (self.terms)();
        let sources = Sources { trails: directory.into_iter().collect(), since, rules, keys, databases };
        let report = Arc::new(sources.report()?);
        *last = Some(Made { at: Instant::now(), took: begun.elapsed(), since, report: Arc::clone(&report) });
        Ok(report)
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Live").finish_non_exhaustive()
    }
}
