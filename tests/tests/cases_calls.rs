//! The example `deploy/examples/calls`, as its README says: the migration from users to organisations phase by phase, and
//! two applications (psycopg 3 and postgres.js) that show a signed token in each transaction and run as its role.

#[path = "cases_calls/applications.rs"]
mod applications;
#[path = "cases_calls/migration.rs"]
mod migration;
#[path = "cases_calls/stage.rs"]
mod stage;
