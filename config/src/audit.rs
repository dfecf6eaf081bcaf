//! The audit trail: where it is kept, and what makes it trustworthy.

use std::path::PathBuf;
use std::time::Duration;

use crate::mistake::Fault;
use crate::reader::Reader;
use crate::secret::SecretText;
use crate::word::words;

const DIRECTORY: &str = "audit.directory";
const CHECKPOINTS: &str = "audit.checkpoints";
const WINDOW: Duration = Duration::from_secs(10);
const COVERAGE_WINDOW: Duration = Duration::from_secs(300);
const SEGMENT_BYTES: usize = 64 << 20;
const DAY: Duration = Duration::from_secs(86_400);
const FSYNC_INTERVAL: Duration = Duration::from_secs(1);
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);
const SORTS: usize = 10_000;

/// When what was written reaches the disk for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fsync {
    /// Before anything else happens.
    Always,
    /// Every so often.
    Interval,
    /// When the system sees fit.
    Off,
}

words!(Fsync { Always = "always", Interval = "interval", Off = "off" });

/// Whether transactions need a trail that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Required {
    /// They are refused without.
    Yes,
    /// They go on without.
    No,
}

words!(Required { Yes = "true", No = "false" });

/// Where checkpoints go besides the trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecondPlace {
    /// Standard output.
    Stdout,
    /// A file that lines are appended to.
    File(PathBuf),
}

/// What is recorded of findings and of pgwarden itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Where the trail is kept; none: there is none.
    pub directory: Option<PathBuf>,
    /// What happens while it cannot be written.
    pub required: Required,
    /// What this pgwarden is called in records; the host's name if not said.
    pub instance: Option<String>,
    /// For how long repeats are counted before there is another record of them.
    pub window: Duration,
    /// The same for what was looked at.
    pub coverage_window: Duration,
    /// The most sorts of findings, and of queries looked at, that are told apart within a window.
    pub sorts: usize,
    /// How long a file becomes, in bytes.
    pub segment_bytes: usize,
    /// How old a file becomes.
    pub segment_age: Duration,
    /// For how long files are kept; none: for ever.
    pub keep_for: Option<Duration>,
    /// How many bytes are kept; none: all.
    pub keep_bytes: Option<usize>,
    /// When what was written reaches the disk.
    pub fsync: Fsync,
    /// How often, for [`Fsync::Interval`].
    pub fsync_interval: Duration,
    /// What signs checkpoints.
    pub signing_key: Option<SecretText>,
    /// How often there is one.
    pub checkpoint_interval: Duration,
    /// Where else they are written.
    pub checkpoints: Option<SecondPlace>,
    /// What makes pseudonyms of tenants and users; none: they are named.
    pub pseudonym_key: Option<SecretText>,
}

/// Reads `[audit]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> Audit {
    let (instant, second) = (Duration::from_millis(100), Duration::from_secs(1));
    let years = DAY * 36_500;
    let sizes = 1_024..=u64::try_from(i64::MAX).unwrap_or(u64::MAX);
    let audit = Audit {
        directory: reader.text(DIRECTORY).map(PathBuf::from),
        required: reader.word("audit.required").unwrap_or(Required::No),
        instance: reader.parse("audit.instance", instance),
        window: reader.duration("audit.window", instant, DAY).unwrap_or(WINDOW),
        coverage_window: reader.duration("audit.coverage_window", instant, DAY).unwrap_or(COVERAGE_WINDOW),
        sorts: reader.number("audit.sorts", 1..=10_000_000).unwrap_or(SORTS),
        segment_bytes: reader.size("audit.segment_bytes", sizes.clone()).unwrap_or(SEGMENT_BYTES),
        segment_age: reader.duration("audit.segment_age", second, years).unwrap_or(DAY),
        keep_for: reader.duration("audit.keep_for", second, years),
        keep_bytes: reader.size("audit.keep_bytes", sizes),
        fsync: reader.word("audit.fsync").unwrap_or(Fsync::Interval),
        fsync_interval: reader.duration("audit.fsync_interval", instant, DAY).unwrap_or(FSYNC_INTERVAL),
        signing_key: reader.secret("audit.signing_key"),
        checkpoint_interval: reader
            .duration("audit.checkpoint_interval", instant, DAY)
            .unwrap_or(CHECKPOINT_INTERVAL),
        checkpoints: reader.parse(CHECKPOINTS, second_place),
        pseudonym_key: reader.secret("audit.pseudonym_key"),
    };
    if audit.directory.is_none() && audit.required == Required::Yes {
        reader.missing(
            DIRECTORY,
            "audit.required",
            Fault::new("is missing, no trail is kept", "a directory"),
        );
    }
    if audit.checkpoints.is_some() && !reader.is_written("audit.signing_key") {
        let fault = Fault::new("nothing signs checkpoints", "audit.signing_key as well");
        reader.wrong(CHECKPOINTS, fault);
    }
    audit
}

fn second_place(text: &str) -> Result<SecondPlace, Fault> {
    Ok(match text {
        "stdout" => SecondPlace::Stdout,
        path => SecondPlace::File(PathBuf::from(path)),
    })
}

/// A name that can stand in a line of its own.
fn instance(text: &str) -> Result<String, Fault> {
    match text.len() <= 128 && text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(Fault::new(
            format!("{text:?} is no name"),
            "at most 128 letters, digits or signs, without spaces",
        )),
    }
}
