//! Policies that are not in force yet: where they come from, and how PostgreSQL evaluates them beforehand.
//!
//! What a table has today and what is pending make what it will have ([`Table::after`]). For a role of the application a
//! *shadow role* stands, which nobody logs in as. Policies for that role alone ([`staged`]) make the server answer it as
//! it will answer the application, while the application notices nothing.

mod body;
mod definition;
mod expression;
mod migration;
mod quoted;
mod shadow;
mod standard;
mod statement;
#[cfg(test)]
mod tests;

pub use body::{Used, Word, role_in, words};
pub use definition::{Change, Policy, PolicyCommand, Shape, Switch, Table};
pub use expression::{Asked, Called, asked};
pub use migration::{Helper, Migration, MigrationError, Named, Unread, Weight, migration};
pub use quoted::{identifier, literal, qualified};
pub use shadow::{BASE, NotStaged, OPEN, Shadow, staged};
pub use standard::{Globals, NullTenant, Standard, isolation};
