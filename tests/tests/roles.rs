//! Transactions that run as a role of their own: names and rights are the role's, whatever carries the statement, and
//! nobody keeps a role.

#[path = "roles/bounds.rs"]
mod bounds;
#[path = "roles/lookups.rs"]
mod lookups;
#[path = "roles/stage.rs"]
mod stage;
