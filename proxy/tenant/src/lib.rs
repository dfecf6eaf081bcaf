//! The tenant context: what it is made of, how it travels, and who may not touch it.
//!
//! [`Evidence`] is what a client shows; a [`Grant`] is what it gets for it: a [`Context`], and the same as [`encode()`]
//! makes it travel; [`Warden`] is the [`pgwarden_session::Tenancy`]
//! of one client: it refuses what the mode says must be refused, before a byte of it reaches the server.

mod body;
mod claims;
mod context;
mod encode;
mod evidence;
mod gate;
mod grant;
mod guard;
mod holder;
mod offence;
mod protected;
mod relations;
mod seal;
mod suspicion;
mod texts;
mod tokens;
mod value;
mod verdict;
mod warden;
mod watch;

pub use claims::{ClaimRules, Claimant};
pub use context::{Context, ContextError, Identity, Presence, Roles, Source, Variable};
pub use encode::{ROLE, encode};
pub use evidence::Evidence;
pub use gate::Gate;
pub use grant::{Authority, Denial, Grant, Known, Standing};
pub use guard::{Guard, Inspection, Stance};
pub use holder::Held;
pub use offence::{Observer, Offence};
pub use protected::Protected;
pub use relations::{Names, RelationCache};
pub use seal::{NotASealKey, Pads, SealKey, encode_sealed};
pub use tokens::{Permission, TokenRules};
pub use value::{Kind, ValueError};
pub use warden::{Missing, Mode, Shared, Warden};
pub use watch::{Judgement, Watch};
