//! Lexical rules of PostgreSQL, statement split and classification.
//!
//! pgwarden has to know what a text *does to the session* before it forwards it: does it begin or end a
//! transaction, touch a setting, leave something behind on the backend? [`analyse`] answers from the tokens
//! alone. It runs on every statement, allocates nothing for an ordinary one, and fails closed: what cannot be
//! tokenised is an error, and what is not known is [`Verb::Other`].
//!
//! It is not a parser and accepts many texts that PostgreSQL rejects. The rule behind each shortcut: a text that
//! PostgreSQL *accepts* is split and classified as PostgreSQL would, or more cautiously. A text with a syntax
//! error anywhere executes nothing, because PostgreSQL parses a query string as a whole first
//! (`exec_simple_query`, `src/backend/tcop/postgres.c`).
//!
//! The `parser` feature adds [`user_relations`], which asks PostgreSQL's own grammar (libpg_query). It is
//! thousands of times slower than [`analyse`] and meant for the first sight of a text.
//!
//! Texts in a client encoding whose multi-byte characters may contain the byte 0x5C (SJIS, BIG5, GBK, UHC,
//! GB18030, JOHAB) are not handled; the caller refuses those encodings.

mod assignment;
#[cfg(feature = "parser")]
mod body;
mod bytes;
mod call;
#[cfg(feature = "parser")]
mod catalog;
mod classify;
mod comment;
#[cfg(feature = "parser")]
mod doing;
mod error;
mod head;
mod lexer;
mod literal;
mod marks;
mod mention;
#[cfg(feature = "parser")]
mod named;
mod normalise;
#[cfg(feature = "parser")]
mod overlooked;
#[cfg(feature = "parser")]
mod parsed;
#[cfg(feature = "parser")]
mod relation;
#[cfg(feature = "parser")]
mod rerun;
#[cfg(feature = "parser")]
mod rerun_walk;
mod set_config;
mod setting;
mod shape;
#[cfg(feature = "parser")]
mod source;
mod split;
mod statement;
#[cfg(test)]
mod tests;
mod token;
#[cfg(feature = "parser")]
mod uses;
#[cfg(feature = "parser")]
mod writing;

pub use assignment::{Assignment, Given, Lasting, assignments};
#[cfg(feature = "parser")]
pub use body::{Body, body};
pub use call::{is_catalog_function, runs_text};
pub use comment::{Uncommented, without_token};
#[cfg(feature = "parser")]
pub use doing::{Doing, doing};
pub use error::LexError;
pub use lexer::StringSyntax;
pub use literal::string_literals;
pub use marks::Marks;
pub use mention::{Mention, Place, mentions, reads_the_same};
#[cfg(feature = "parser")]
pub use named::{Named, named};
pub use normalise::{Normaliser, fingerprint};
#[cfg(feature = "parser")]
pub use parsed::{Argument, Call, Parsed, parsed};
#[cfg(feature = "parser")]
pub use relation::{MAX_PARSE_BYTES, ParseError, Relation, user_relations};
#[cfg(feature = "parser")]
pub use rerun::{Bound, Depends, NotAgain, Part, Rerun, rerun};
pub use set_config::{SetConfigTarget, set_config_is_local, set_config_targets};
pub use split::analyse;
pub use statement::{Script, Setting, Statement, Verb};
pub use token::{TokenUse, token_use};
#[cfg(feature = "parser")]
pub use uses::{Uses, relation_uses};
#[cfg(feature = "parser")]
pub use writing::{Reads, Writing, WritingCommand};
