//! Black-box tests: the binary as a process, real PostgreSQL servers, real drivers.
//!
//! This library is the harness that the files in `tests/tests/` share:
//!
//! * [`Server`]: a throw-away PostgreSQL of one [`Version`], ready in some hundred milliseconds;
//! * [`for_each_version`]: the same test on every version asked for;
//! * [`Pgwarden`]: the binary under test;
//! * [`manager`]: the service manager that it reports to;
//! * [`otlp`]: a receiver of OpenTelemetry logs;
//! * [`PgBouncer`]: the neighbour that some have between;
//! * [`Relay`]: a network between pgwarden and the server that can break;
//! * [`Wire`]: the protocol spoken by hand, for what no driver would ever send;
//! * [`certificates`]: an authority for TLS tests;
//! * [`tokens`]: issuers of JSON Web Tokens;
//! * [`encryption`]: how psql got in;
//! * [`identities`]: the example platform, look-ups and the triggers that tell changes;
//! * [`platform`]: the example schema with its policies;
//! * [`lane`]: a service beside the two tenants;
//! * [`reload`]: a configuration in a file, changed while pgwarden runs;
//! * [`Application`] and [`examples`]: what is in `deploy/examples`;
//! * [`replay`]: policies that are staged, and queries that are run again;
//! * [`staged`]: policies that are staged, and triggers that look at writes;
//! * [`seal`]: a sealed context with its readers;
//! * [`earlier_trail`]: an audit trail that was written before;
//! * [`shadow`]: tables without policies, and a pgwarden that watches;
//! * [`trail`]: the audit trail as its files are;
//! * [`staging`]: pending policies, staged and promoted;
//! * [`tenants`]: two tenants before one pgwarden, and the same tables asked directly.
//!
//! Nothing started here outlives its test, not even one that is killed, and nothing waits by
//! sleeping: conditions are polled until a deadline, and a failure prints what the servers said.

mod application;
pub mod certificates;
pub mod client;
mod directory;
pub mod earlier_trail;
pub mod encryption;
pub mod examples;
pub mod identities;
pub mod lane;
mod launch;
pub mod manager;
pub mod otlp;
mod pgbouncer;
pub mod platform;
mod postgres;
mod proxy;
mod relay;
pub mod reload;
pub mod replay;
pub mod seal;
pub mod shadow;
pub mod staged;
pub mod staging;
mod template;
pub mod tenants;
pub mod tokens;
pub mod trail;
mod version;
mod wait;
pub mod wire;

pub use application::{Answer, Application};
pub use client::connect;
pub use pgbouncer::PgBouncer;
pub use postgres::{Database, SUPERUSER, Server, ServerBuilder, psql, psql_with_libpq};
pub use proxy::{Exit, Pgwarden, PgwardenBuilder, binary};
pub use relay::Relay;
pub use rustix::process::Signal;
pub use version::{Version, for_each_version, for_version, versions};
pub use wait::{DEADLINE, free_port, until, until_async};
pub use wire::{Frontend, Message, Wire};
