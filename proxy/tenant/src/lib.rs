//! The tenant context: what it is made of, how it travels, and who may not touch it.
//!
//! [`Context`] is what a client acts for; [`encode()`] makes it travel; [`Warden`] is the [`pgwarden_session::Tenancy`]
//! of one client: it refuses what the mode says must be refused, before a byte of it reaches the server.

mod context;
mod encode;
mod finding;
mod guard;
mod relations;
mod seal;
mod value;
mod warden;

pub use context::{Context, ContextError, Identity, Presence, Source, Variable};
pub use encode::encode;
pub use finding::{Finding, Observer};
pub use guard::Protected;
pub use relations::{Names, RelationCache};
pub use seal::{NotASealKey, Pads, SealKey, encode_sealed};
pub use value::{Kind, ValueError};
pub use warden::{Missing, Mode, Shared, Warden};
