//! Foreign rows on their way to the client.
//!
//! RowDescription names the table and the column that each column of a result comes from. Where that is a tenant column,
//! the value in each row is compared with the tenants of the context. What cannot be seen that way is counted, by reason.

mod columns;
mod guard;
mod result;

pub(crate) use columns::Columns;
pub(crate) use guard::{is_standard, may_show_foreign};
pub(crate) use result::{Result, Sight};
