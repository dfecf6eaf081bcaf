//! The tenant context: what it is made of, how it travels, and who may not touch it.
//!
//! [`Context`] is what a client acts for; [`encode()`] makes it travel; [`Warden`] is the [`pgwarden_session::Tenancy`]
//! of one client: it refuses what the mode says must be refused, before a byte of it reaches the server.

mod body;
mod context;
mod encode;
mod finding;
mod guard;
mod protected;
mod relations;
mod suspicion;
mod texts;
mod value;
mod verdict;
mod warden;

pub use context::{Context, ContextError, Identity, Presence, Source, Variable};
pub use encode::encode;
pub use finding::{Finding, Observer};
pub use guard::{Guard, Inspection, Stance};
pub use protected::Protected;
pub use relations::{Names, RelationCache};
pub use value::{Kind, ValueError};
pub use warden::{Missing, Mode, Shared, Warden};
