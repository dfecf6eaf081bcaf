//! Authentication exchanges without sockets: SCRAM, md5, cleartext, JWT.
//!
//! Everything here is a function of its arguments. There is no I/O, no clock and no random source:
//! the caller passes the time, nonces and per-process keys in, and sends the bytes that come out.
//! What a peer sent is untrusted on both sides of the proxy: clients *and* servers get length and
//! cost limits.
//!
//! | module | role |
//! |---|---|
//! | [`secret`] | what `pg_authid.rolpassword` may hold: clear text, md5 hash, SCRAM verifier |
//! | [`users`] | a PgBouncer `userlist.txt` |
//! | [`password`] | `password` and `md5`, both roles |
//! | [`scram`] | SCRAM-SHA-256(-PLUS) towards clients |
//! | [`scram_keys`] | what a client's proof leaves, good for servers with the same verifier |
//! | [`scram_client`] | SCRAM-SHA-256(-PLUS) towards servers, by password or by keys |
//! | [`jwt`] | signed tokens |
//! | [`oauth_bearer`] | OAUTHBEARER towards clients: where the token is |
//! | [`throttle`] | slowing down who guesses |
//!
//! Two calls cost about a millisecond of CPU at PostgreSQL's 4096 iterations and belong on a
//! blocking thread: [`password::check_password`] and SCRAM with a clear-text password
//! ([`scram::needs_derivation`], [`scram_client::ScramClient::is_expensive`]).

mod crypto;
pub mod jwt;
pub mod oauth_bearer;
pub mod password;
pub mod scram;
pub mod scram_client;
pub mod scram_keys;
mod scram_message;
pub mod secret;
pub mod throttle;
pub mod users;
