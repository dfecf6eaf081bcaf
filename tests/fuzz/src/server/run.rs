//! What statements do.

use pgwarden_sql::{StringSyntax, Verb, analyse};

use super::{Block, Failure, Outcome, Owner, Server, Tenant, is_own};

/// The statements of a string; `None` for what cannot be read.
pub(super) fn split(text: &[u8]) -> Option<Vec<Vec<u8>>> {
    let script = analyse(text, StringSyntax::Standard).ok()?;
    Some(script.statements().iter().map(|one| text[one.span.clone()].to_vec()).collect())
}

fn verb(text: &[u8]) -> Option<Verb> {
    analyse(text, StringSyntax::Standard).ok()?.single().map(|one| one.verb)
}

pub(super) fn returns_rows(text: &[u8]) -> bool {
    match verb(text) {
        Some(Verb::Token) => says(text, "set_config"),
        verb => matches!(
            verb,
            Some(
                Verb::Query
                    | Verb::Show
                    | Verb::Explain
                    | Verb::ExecutePrepared
                    | Verb::Fetch
                    | Verb::SetConfig
            )
        ),
    }
}

pub(super) fn ends_failed_block(text: &[u8]) -> bool {
    matches!(verb(text), Some(Verb::Commit { .. } | Verb::Rollback { .. } | Verb::RollbackTo))
}

fn says(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|window| window == word.as_bytes())
}

/// The name that a text ends with, without quotes.
fn last_word(text: &[u8]) -> &[u8] {
    let word = text.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    word.strip_prefix(b"\"").and_then(|word| word.strip_suffix(b"\"")).unwrap_or(word)
}

impl Server {
    /// Runs one statement.
    pub(super) fn statement(
        &mut self,
        text: &[u8],
        bound: &[u8],
        owner: Option<Owner>,
    ) -> Result<Outcome, Failure> {
        let Some(verb) = verb(text) else { return Ok(Outcome::Empty) };
        if self.block == Block::Failed && !ends_failed_block(text) {
            return Err(("25P02", ""));
        }
        if self.block == Block::Outside {
            self.begin(Block::Implicit);
        }
        let first = self.block == Block::Implicit && !self.is_shared;
        let outcome = self.effect(verb, text, bound, owner, first);
        self.is_shared = true;
        outcome
    }

    fn effect(
        &mut self,
        verb: Verb,
        text: &[u8],
        bound: &[u8],
        owner: Option<Owner>,
        alone: bool,
    ) -> Result<Outcome, Failure> {
        if is_own(text) {
            self.context.set(text, bound);
            return Ok(if text.starts_with(b"SET") { Outcome::Command("SET") } else { own_row() });
        }
        // What pgwarden asks between transactions, of no table.
        if text.starts_with(b"SELECT EXISTS (SELECT FROM pg_catalog.") {
            return Ok(Outcome::Rows("f".to_owned()));
        }
        if text.starts_with(b"SELECT pg_catalog.current_setting(") || text.starts_with(b"SELECT CASE WHEN ") {
            return Ok(own_row());
        }
        if says(text, "fail") {
            return Err(("22012", "int4div"));
        }
        if verb.controls_transaction() {
            return self.control(verb, text);
        }
        match verb {
            Verb::Query | Verb::Explain | Verb::ExecutePrepared | Verb::Fetch => {
                self.observe(owner, &String::from_utf8_lossy(text));
                Ok(Outcome::Rows(self.context.tenant().map_or("none", Tenant::value).to_owned()))
            }
            Verb::Show => Ok(Outcome::Rows("shown".to_owned())),
            Verb::CopyFrom | Verb::CopyTo => {
                self.observe(owner, "COPY");
                Ok(if verb == Verb::CopyFrom { Outcome::CopyIn } else { Outcome::CopyOut })
            }
            Verb::Call | Verb::Do => {
                self.observe(owner, "CALL or DO");
                Ok(Outcome::Command(if verb == Verb::Do { "DO" } else { "CALL" }))
            }
            Verb::Unblockable => self.unblockable("VACUUM", owner, alone),
            Verb::Other if says(text, "ALONE") => self.unblockable("OTHER", owner, alone),
            Verb::Other => {
                self.observe(owner, "a statement of another kind");
                Ok(Outcome::Command("OTHER"))
            }
            Verb::DiscardAll if !alone => Err(("25001", "PreventInTransactionBlock")),
            Verb::DiscardAll => {
                self.statements.clear();
                self.context.reset();
                self.end(true);
                Ok(Outcome::Command("DISCARD ALL"))
            }
            Verb::Deallocate { all: true } => {
                self.statements.clear();
                Ok(Outcome::Command("DEALLOCATE ALL"))
            }
            Verb::Deallocate { all: false } => {
                let known = self.statements.remove(last_word(text));
                known.map(|_| Outcome::Command("DEALLOCATE")).ok_or(("26000", "FetchPreparedStatement"))
            }
            Verb::Token | Verb::SetConfig if returns_rows(text) => {
                self.context.set(text, bound);
                Ok(Outcome::Rows(String::new()))
            }
            Verb::Set | Verb::Token => {
                self.context.set(text, bound);
                Ok(Outcome::Command("SET"))
            }
            Verb::Reset => {
                self.context.set(text, bound);
                Ok(Outcome::Command("RESET"))
            }
            Verb::ResetAll => Ok(Outcome::Command("RESET")),
            _ => Ok(Outcome::Command("DONE")),
        }
    }

    fn unblockable(
        &mut self,
        tag: &'static str,
        owner: Option<Owner>,
        alone: bool,
    ) -> Result<Outcome, Failure> {
        if !alone {
            return Err(("25001", "PreventInTransactionBlock"));
        }
        self.observe(owner, tag);
        self.end(true);
        Ok(Outcome::Command(tag))
    }

    fn control(&mut self, verb: Verb, text: &[u8]) -> Result<Outcome, Failure> {
        let inside = matches!(self.block, Block::Inside | Block::Failed);
        let missing = ("25P01", "RequireTransactionBlock");
        match verb {
            Verb::Begin => {
                self.block = Block::Inside;
                Ok(Outcome::Command("BEGIN"))
            }
            Verb::Commit { chain: true } | Verb::Rollback { chain: true } if !inside => Err(missing),
            Verb::Commit { chain } | Verb::Rollback { chain } => {
                let commits = matches!(verb, Verb::Commit { .. }) && self.block != Block::Failed;
                self.end(commits);
                if chain {
                    self.begin(Block::Inside);
                }
                Ok(Outcome::Command(if commits { "COMMIT" } else { "ROLLBACK" }))
            }
            _ if !inside => Err(missing),
            Verb::Savepoint => {
                self.context.savepoint(last_word(text));
                Ok(Outcome::Command("SAVEPOINT"))
            }
            Verb::RollbackTo => {
                let found = self.context.roll_back_to(last_word(text));
                self.block = if found { Block::Inside } else { self.block };
                found.then_some(Outcome::Command("ROLLBACK")).ok_or(("3B001", ""))
            }
            Verb::Release => {
                let found = self.context.release(last_word(text));
                found.then_some(Outcome::Command("RELEASE")).ok_or(("3B001", ""))
            }
            // Prepared transactions are switched off, as they are by default.
            _ => Err(("55000", "")),
        }
    }

    /// No token is ever read: not in a text, nor among the values of a statement that shows one.
    pub(super) fn look_for_tokens(&self, text: &[u8], bound: &[u8]) {
        let shown = says(text, "token-o") || says(text, "pgwarden.token") && says(bound, "token-o");
        let what = || (text.escape_ascii().to_string(), bound.escape_ascii().to_string());
        assert!(self.is_lenient || !shown, "the server reads a token: {:?}", what());
    }

    /// Something that policies look at runs: under its client's own context, or there is a leak. A client that has
    /// shown evidence may have its other one, too, or none; where a statement says which (`as-own`, `as-other`), it is
    /// that one.
    pub(super) fn observe(&self, owner: Option<Owner>, what: &str) {
        let seen = self.context.tenant();
        let fits = owner.is_some_and(|Owner { tenant, has_shown }| match () {
            () if what.contains("as-own") => seen == Some(tenant),
            () if what.contains("as-other") => seen == Some(tenant.other()),
            () if has_shown => seen.is_none_or(|one| one == tenant || one == tenant.other()),
            () => seen == Some(tenant),
        });
        assert!(self.is_lenient || fits, "{what} of {owner:?} runs in the context of {seen:?}");
    }
}

/// What pgwarden's own statement returns; no client may ever read it.
fn own_row() -> Outcome {
    Outcome::Rows("reply-of-pgwardens-own".to_owned())
}
