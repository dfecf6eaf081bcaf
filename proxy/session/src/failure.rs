//! Errors of the server: whose they are, what the client reads, and what of the queue they take away.

use crate::description::Outline;
use crate::engine::{CopyIn, Delivery, Engine, SessionScope, Skipping};
use crate::output::Output;
use crate::queue::{Again, Answer, Entry, Expect, Fate, Naming, Purpose};
use crate::refusal::{Refusal, SessionError};
use crate::tenancy::Tenancy;
use pgwarden_wire::ErrorFields;

/// For a client that sent alone, by extended messages, what pgwarden could not know to refuse a block.
const SEND_SIMPLE: &str = "pgwarden sets the tenant context in front of the statement, which makes a transaction; send it as a simple query.";

/// `cached plan must not change result type` and its kin: the statement is stale on this backend.
const FEATURE_NOT_SUPPORTED: &[u8; 5] = b"0A000";

impl<T: Tenancy> Engine<T> {
    pub(crate) fn error(&mut self, payload: &[u8], out: &mut Output) -> Result<Delivery, SessionError> {
        self.tx.doubt();
        self.doubts.error();
        self.outline = Outline::default();
        // A COPY that fails ends at once: the server waits for a Sync again.
        self.copy = CopyIn::Closed;
        self.ended |= ErrorFields::new(payload).find(b'V').is_some_and(|severity| severity != b"ERROR");
        let delivery = match self.queue.front_mut() {
            Some(Entry::Await(expect, _)) if expect.is_extended() => self.batch_error(payload, out),
            Some(Entry::Await(_, fate)) if !self.ended => query_error(fate, payload, out)?,
            // Nobody asked: the server is about to close the connection (57P01 and its kin).
            Some(_) | None => {
                self.taint();
                Delivery::Forward
            }
        };
        if delivery == Delivery::Forward {
            out.error_passed(payload);
        }
        Ok(delivery)
    }

    /// An error inside an extended batch: the server skips to the next Sync, and so does the queue.
    fn batch_error(&mut self, payload: &[u8], out: &mut Output) -> Delivery {
        let Some(entry) = self.queue.pop() else { return Delivery::Forward };
        let delivery = match &entry {
            Entry::Await(_, fate) => self.blame(fate, payload, out),
            Entry::Answer(_) => Delivery::Forward,
        };
        if let Entry::Await(_, Fate::Parse(naming)) = &entry {
            // The server drops the unnamed statement before it looks at the text of the next one.
            self.statements.forget_unnamed(&naming.name);
        }
        self.skip_to_sync(&entry, out);
        self.undo(entry);
        self.statements.recall_unnamed(self.queue.front_place());
        delivery
    }

    /// What the client reads of the error, by whose message it answers.
    fn blame(&mut self, fate: &Fate, payload: &[u8], out: &mut Output) -> Delivery {
        let code = ErrorFields::new(payload).sqlstate();
        match fate {
            Fate::Shared(statement) | Fate::Described(statement, _) if code == *FEATURE_NOT_SUPPORTED => {
                statement.retire();
                Delivery::Forward
            }
            Fate::Own(Purpose::Provoked(refusal)) => {
                out.refuse(refusal);
                Delivery::Swallow
            }
            Fate::Own(Purpose::Context | Purpose::PrepareContext) if !passes_through(code) => {
                out.refuse(&injection_failed(payload));
                Delivery::Swallow
            }
            Fate::Own(Purpose::SessionSet) => {
                let refusal =
                    if passes_through(code) { as_refusal(payload) } else { injection_failed(payload) };
                self.scope = SessionScope::Failed(Box::new(refusal));
                Delivery::Swallow
            }
            Fate::Unsure if is_block_refused(payload) => {
                rewrite(payload, |position| position, Some(SEND_SIMPLE), out);
                Delivery::Swallow
            }
            Fate::Parse(naming) if naming.taken.removed > 0 => {
                rewrite(payload, |position| position + naming.taken.removed, None, out);
                Delivery::Swallow
            }
            Fate::Own(Purpose::SessionClear) => {
                self.taint();
                Delivery::Swallow
            }
            _ => Delivery::Forward,
        }
    }

    /// Takes away what the server will not answer any more, the last of it first: a name that was taken and given up
    /// again is free.
    fn skip_to_sync(&mut self, failed: &Entry, out: &mut Output) {
        let mut skipped = Vec::new();
        if !self.take_skipped(failed, &mut skipped, out) {
            // The server waits for the Sync that is still to come, whatever pgwarden has refused in front of it meanwhile.
            self.skipping = Skipping::Backend;
        }
        while let Some(entry) = skipped.pop() {
            self.undo_skipped(entry);
        }
    }

    /// Whether a Sync ends what is skipped.
    fn take_skipped(&mut self, failed: &Entry, skipped: &mut Vec<Entry>, out: &mut Output) -> bool {
        let mut own = is_own(failed);
        while let Some(entry) = self.queue.pop() {
            match entry {
                Entry::Await(Expect::Sync, _) => {
                    self.queue.unpop(entry);
                    return true;
                }
                Entry::Await(Expect::Query | Expect::FunctionCall, _) if own => {
                    // The server skipped the client's message too, and waits for a Sync that the client never sends.
                    out.backend.write(|w| {
                        w.sync();
                    });
                    self.queue.unpop(Entry::Await(Expect::Sync, Fate::Client));
                    return true;
                }
                entry => {
                    own &= is_own(&entry);
                    skipped.push(entry);
                }
            }
        }
        false
    }

    fn undo_skipped(&mut self, entry: Entry) {
        if matches!(entry, Entry::Await(_, Fate::Own(Purpose::SessionSet))) {
            // The batch failed before the context was set: its own Sync has been answered for pgwarden.
            self.scope = SessionScope::Closed;
            self.skipping = Skipping::Local;
        }
        self.undo(entry);
    }

    /// What was expected of a message that failed or was skipped does not hold.
    fn undo(&mut self, entry: Entry) {
        match entry {
            Entry::Await(_, Fate::Parse(naming)) => self.undo_parse(&naming),
            Entry::Answer(Answer::ParseComplete(naming)) => {
                self.statements.remove_exactly(&naming.name, &naming.statement);
            }
            Entry::Answer(Answer::CloseComplete(Some(naming))) => {
                self.statements.insert(&naming.name, (naming.statement, naming.taken), self.tx.number());
            }
            Entry::Await(_, Fate::Own(purpose)) => self.undo_own(&purpose),
            Entry::Await(..) | Entry::Answer(_) => (),
        }
    }

    fn undo_parse(&mut self, naming: &Naming) {
        self.statements.remove_exactly(&naming.name, &naming.statement);
        let Some(backend) = &mut self.lease else { return };
        match naming.number {
            Some(number) => backend.shelf.forget(&naming.statement, number),
            None if naming.name.is_empty() => backend.unnamed_lost(),
            None => (),
        }
    }

    fn undo_own(&mut self, purpose: &Purpose) {
        let Some(backend) = &mut self.lease else { return };
        match purpose {
            Purpose::PrepareContext | Purpose::Context => backend.context_lost(),
            Purpose::PrepareStatement(statement, number) => backend.shelf.forget(statement, *number),
            Purpose::Unnamed => backend.unnamed_lost(),
            Purpose::Evict(evicted) => backend.shelf.put_back(evicted),
            _ => (),
        }
    }
}

/// Whether pgwarden has sent it in front of a client's message.
fn is_own(entry: &Entry) -> bool {
    matches!(entry, Entry::Await(_, Fate::Own(_)))
}

/// An error inside a simple query, a function call or at Sync: ReadyForQuery follows.
fn query_error(fate: &mut Fate, payload: &[u8], out: &mut Output) -> Result<Delivery, SessionError> {
    match fate {
        Fate::Own(Purpose::Settings) => Err(SessionError::Setting(message_of(payload))),
        Fate::Own(_) => Ok(Delivery::Swallow),
        Fate::Script(insertions) if insertions.is_at_own() && is_of_a_setting(payload) => {
            out.refuse(&injection_failed(payload));
            Ok(Delivery::Swallow)
        }
        Fate::Script(insertions) => {
            match std::mem::take(&mut insertions.again) {
                Again::Possible(text) if is_block_refused(payload) => insertions.again = Again::Due(text),
                _ => rewrite(payload, |position| insertions.original_position(position), None, out),
            }
            Ok(Delivery::Swallow)
        }
        _ => Ok(Delivery::Forward),
    }
}

/// Whether a SET has failed: what the string of statements itself is refused for, before any of it runs, has other codes.
fn is_of_a_setting(payload: &[u8]) -> bool {
    [*b"22023", *b"42501", *b"42704"].contains(&ErrorFields::new(payload).sqlstate())
}

/// `… cannot run inside a transaction block` (`PreventInTransactionBlock`, `xact.c`).
fn is_block_refused(payload: &[u8]) -> bool {
    let fields = ErrorFields::new(payload);
    fields.sqlstate() == *b"25001" && fields.find(b'R') == Some(b"PreventInTransactionBlock")
}

/// Errors that concern the transaction or the server, whatever was running: they stand for the client's own.
fn passes_through(code: [u8; 5]) -> bool {
    code == *b"25P02" || [b"57", b"53", b"40"].into_iter().any(|class| code.starts_with(class))
}

fn injection_failed(payload: &[u8]) -> Refusal {
    Refusal::new(
        "58000",
        "the tenant context could not be set",
        format!("The server answered: {}", message_of(payload)),
        "Nothing of the statement was run. See the log of the server.",
    )
}

/// The server's error, to be given to the client when its turn comes.
fn as_refusal(payload: &[u8]) -> Refusal {
    let fields = ErrorFields::new(payload);
    let text = |kind| String::from_utf8_lossy(fields.find(kind).unwrap_or_default()).into_owned();
    Refusal::new(String::from_utf8_lossy(&fields.sqlstate()).into_owned(), text(b'M'), text(b'D'), text(b'H'))
}

fn message_of(payload: &[u8]) -> String {
    String::from_utf8_lossy(ErrorFields::new(payload).find(b'M').unwrap_or(b"no message")).into_owned()
}

/// Writes the error with its position put right, and a hint where it has none.
fn rewrite(payload: &[u8], place: impl Fn(usize) -> usize, hint: Option<&str>, out: &mut Output) {
    let fields = ErrorFields::new(payload);
    out.error_passed(payload);
    out.client.write(|w| {
        w.message(b'E', |p| {
            for (kind, text) in fields {
                let position = (kind == b'P').then(|| std::str::from_utf8(text).ok()?.parse().ok()).flatten();
                match position {
                    Some(sent) => p.byte(kind).string(place(sent).to_string().as_bytes()),
                    None => p.byte(kind).string(text),
                };
            }
            if let (Some(hint), None) = (hint, fields.find(b'H')) {
                p.byte(b'H').string(hint.as_bytes());
            }
            p.byte(0);
        });
    });
}
