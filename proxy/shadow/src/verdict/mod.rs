//! From the records of the trail to a verdict for each table.
//!
//! A [`Ledger`] adds up what records say: findings, of which many occurrences are one [`Issue`]; how far each statement
//! was looked at; the steps that people have taken. [`judge()`] says what follows. Nothing in here reads a file, asks a
//! server or looks at a clock.
//!
//! A finding counts until it is ignored (for a time, with a reason, by somebody who answers for it), or said to be
//! resolved: then it counts again as soon as it is met again. What the policies of a table would have done counts only
//! from the moment on at which they were staged as they are.

mod ahead;
mod coverage;
mod issue;
mod judge;
mod ledger;
mod milestone;
mod moment;
mod report;
mod runs;
mod service;
mod tally;
mod timeline;
mod words;

pub use ahead::{Ahead, Obstacles};
pub use coverage::{Evaluation, Examined, Looks};
pub use issue::{Disposition, Issue, Key, Occurrence, Standing};
pub use judge::{Surroundings, judge};
pub use ledger::{Event, Fact, Happening, Ledger, is_same};
pub use milestone::{Milestone, NotStaged, Stage, Step};
pub use moment::Moment;
pub use report::{
    Cause, Chain, Judgement, Reason, Report, Rules, Statement, Trail, Unseen, VERSION, Verdict,
};
pub use service::{ServiceAccount, ServiceUse};
pub use tally::Tally;
pub use timeline::{Timeline, Weights};
pub use words::{percent, span};
