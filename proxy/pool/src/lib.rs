//! Backend connections as book-keeping: how many may be open, who waits, and which are idle.
//!
//! A [`Ledger`] is shared by all workers and counts; a [`Shelf`] belongs to one worker and holds its idle backends,
//! so that taking and returning one needs no lock. The lock of the ledger is taken only when the pool is exhausted.

mod allowance;
mod ledger;
mod shelf;

pub use allowance::Allowance;
pub use ledger::{Exhausted, Grant, Ledger, Slot, Ticket};
pub use shelf::Shelf;
