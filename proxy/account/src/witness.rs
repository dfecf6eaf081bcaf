//! Who watches a session: reads what passes, and tells what it was.

use crate::frames::{Extent, Frames, Message};
use crate::statements::{Statements, Text};
use pgwarden_sql::MAX_PARSE_BYTES;
use pgwarden_wire::{Execute, FrontendTag, Target, TargetKind, bind_head};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Bytes of a client's message that are looked at: the longest text that is parsed, with a name in front.
const KEPT_OF_CLIENT: usize = MAX_PARSE_BYTES + 1_024;
/// Bytes of a server's message that are looked at: CommandComplete and ReadyForQuery.
const KEPT_OF_SERVER: usize = 128;
/// Texts that are known to have been told of.
const MOST_TOLD: usize = 4_096;

/// What a witness tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// A text was sent to be run that was not before, or not lately: which tables it names is to be found out.
    Text(Arc<[u8]>),
    /// Something was sent to be run whose text is too long to be looked at, or is not known.
    Unread,
    /// A command was completed: its tag without the counts, such as `INSERT`, `CREATE TABLE`.
    Command(String),
    /// A command failed.
    Error,
    /// A transaction ended, one of a single command included.
    Transaction,
}

/// Who watches one session.
#[derive(Debug)]
pub struct Witness {
    from_client: Frames,
    to_client: Frames,
    statements: Statements,
    /// Hashes of the texts that were told of.
    told: HashSet<u64>,
    /// Whether anything was run since the last transaction ended.
    activity: Activity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Activity {
    Nothing,
    Something,
}

impl Default for Witness {
    fn default() -> Self {
        Self {
            from_client: Frames::keeping(KEPT_OF_CLIENT),
            to_client: Frames::keeping(KEPT_OF_SERVER),
            statements: Statements::default(),
            told: HashSet::new(),
            activity: Activity::Nothing,
        }
    }
}

impl Witness {
    /// The client has sent these bytes, and pgwarden has taken them.
    pub fn client_sent(&mut self, bytes: &[u8], tell: &mut impl FnMut(Observation)) {
        let Self { from_client, statements, told, .. } = self;
        from_client.take(bytes, |message| {
            if let Some(text) = sent(message, statements) {
                say(text, told, tell);
            }
        });
    }

    /// The client is told these bytes.
    pub fn client_reads(&mut self, bytes: &[u8], tell: &mut impl FnMut(Observation)) {
        let Self { to_client, statements, activity, .. } = self;
        to_client.take(bytes, |message| match (message.tag, message.payload) {
            (b'C', tag) => {
                *activity = Activity::Something;
                tell(Observation::Command(command(tag)));
            }
            (b'V', _) => {
                *activity = Activity::Something;
                tell(Observation::Command("FUNCTION CALL".to_owned()));
            }
            (b'E', _) => {
                *activity = Activity::Something;
                tell(Observation::Error);
            }
            (b'Z', b"I") if *activity == Activity::Something => {
                *activity = Activity::Nothing;
                statements.transaction_ended();
                tell(Observation::Transaction);
            }
            _ => (),
        });
    }
}

/// What a message of the client runs, if it runs something.
fn sent(message: Message<'_>, statements: &mut Statements) -> Option<Text> {
    let Message { tag, payload, extent } = message;
    let whole = |text: &[u8]| (extent == Extent::Whole).then(|| Arc::from(text));
    match FrontendTag::from_byte(tag)? {
        FrontendTag::Query => Some(payload.strip_suffix(b"\0").and_then(whole)),
        FrontendTag::Parse => {
            let mut fields = payload.splitn(3, |byte| *byte == 0);
            let (name, text) = (fields.next()?, fields.next()?);
            // A text that goes up to the cut may go on behind it.
            let text = fields.next().map(|_| Arc::from(text));
            statements.prepare(name, text);
            None
        }
        FrontendTag::Bind => {
            if let Some(head) = bind_head(payload) {
                statements.bind(head.portal, head.statement);
            }
            None
        }
        FrontendTag::Execute => Execute::read(payload).ok().map(|one| statements.text(one.portal)),
        FrontendTag::FunctionCall => Some(None),
        FrontendTag::Close => {
            match Target::read(payload).ok()? {
                Target { kind: TargetKind::Statement, name } => statements.close_statement(name),
                Target { kind: TargetKind::Portal, name } => statements.close_portal(name),
            }
            None
        }
        FrontendTag::Describe
        | FrontendTag::Sync
        | FrontendTag::Flush
        | FrontendTag::CopyData
        | FrontendTag::CopyDone
        | FrontendTag::CopyFail
        | FrontendTag::Terminate => None,
    }
}

/// Tells of a text once.
fn say(text: Text, told: &mut HashSet<u64>, tell: &mut impl FnMut(Observation)) {
    let Some(text) = text.filter(|text| text.len() <= MAX_PARSE_BYTES) else {
        tell(Observation::Unread);
        return;
    };
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    if told.len() >= MOST_TOLD {
        told.clear();
    }
    if told.insert(hasher.finish()) {
        tell(Observation::Text(text));
    }
}

/// The words of a command tag: `INSERT 0 5` is `INSERT`.
fn command(tag: &[u8]) -> String {
    let tag = tag.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(tag);
    let is_count = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let words: Vec<&str> = text.split(' ').take_while(|word| !is_count(word)).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests;
