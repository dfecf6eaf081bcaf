//! Replay: a query is run once more beside its application, as the application's role and as the shadow role, and the two
//! results are compared.
//!
//! What is decided without a server is here: which queries are chosen ([`Sampler`]), what is asked about everything that they
//! reach ([`Closure`]), how they are run ([`counting`], [`pieces`]) and what the results say ([`judge`]). Both results come
//! from one snapshot; what the client itself got plays no part, because its data may have changed since.

mod candidate;
mod closure;
mod follower;
mod judgement;
mod sampler;
mod tally;
mod text;

pub use candidate::{Bound, Candidate, Replayer};
pub use closure::{Body, Closure, Hindrance, Round};
pub use follower::{Acting, Follower};
pub use judgement::{Answer, Doubt, Judgement, Pace, Run, failed, judge, settle};
pub use sampler::{Choice, Sampler, Sampling};
pub use tally::Tally;
pub use text::{MARK, bare, counting, pieces};
