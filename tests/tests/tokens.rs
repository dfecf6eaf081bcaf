//! Tokens per transaction: the three ways they come, and what becomes of them.

#[path = "tokens/bounds.rs"]
mod bounds;
#[path = "tokens/carriers.rs"]
mod carriers;
#[path = "tokens/refusals.rs"]
mod refusals;
#[path = "tokens/stage.rs"]
mod stage;
