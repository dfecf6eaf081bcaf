//! A PostgreSQL of few statements, without sockets: enough to know whose context a statement runs under.
//!
//! It follows `postgres.c` and `xact.c` in what a proxy has to get right: implicit transactions, blocks that failed,
//! skipping to the next Sync, COPY, names that are taken. What a statement returns is the context it saw.

mod context;
mod extended;
mod run;

use std::collections::HashMap;

use pgwarden_wire::{Status, Writer};

use context::Context;
pub(crate) use context::{Tenant, is_own};

/// Where the server is between transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Block {
    #[default]
    Outside,
    /// A transaction that nobody has begun: until Sync, or until the end of the string.
    Implicit,
    Inside,
    Failed,
}

/// A bound statement.
#[derive(Debug, Clone)]
struct Portal {
    text: Vec<u8>,
    bound: Vec<u8>,
    has_run: bool,
}

/// What goes on once the client has sent the data of a COPY.
#[derive(Debug)]
enum Copying {
    /// The rest of a simple query's statements.
    Simple(Vec<Vec<u8>>),
    Extended,
}

/// What a statement leads to.
#[derive(Debug)]
enum Outcome {
    Empty,
    Command(&'static str),
    Rows(String),
    CopyOut,
    CopyIn,
}

/// Whose statements run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    /// As whom the client has logged in.
    pub(crate) tenant: Tenant,
    /// Whether it has shown a token or said whom it acts for since then.
    pub(crate) has_shown: bool,
}

/// An error: SQLSTATE and the function that reports it.
type Failure = (&'static str, &'static str);

/// One server process.
#[derive(Debug, Default)]
pub(crate) struct Server {
    /// What it has not read yet.
    pub(crate) input: Vec<u8>,
    /// What has not been delivered yet.
    pub(crate) output: Vec<u8>,
    statements: HashMap<Vec<u8>, Vec<u8>>,
    portals: HashMap<Vec<u8>, Portal>,
    block: Block,
    context: Context,
    copying: Option<Copying>,
    /// Whether other statements run, or have run, in the implicit transaction.
    is_shared: bool,
    skips: bool,
    has_ended: bool,
    is_lenient: bool,
}

impl Server {
    /// One for clients that say anything: it does not look at contexts.
    pub(crate) fn lenient() -> Server {
        Server { is_lenient: true, ..Server::default() }
    }

    /// Reads what is there; whatever runs belongs to `owner`.
    pub(crate) fn run(&mut self, owner: Option<Owner>) {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some((tag, payload, behind)) = split(rest) {
            rest = behind;
            if !self.has_ended {
                self.message(tag, payload, owner);
            }
        }
        self.input = rest.to_vec();
    }

    /// Whether it waits for a client's data.
    pub(crate) fn is_copying(&self) -> bool {
        self.copying.is_some()
    }

    fn message(&mut self, tag: u8, payload: &[u8], owner: Option<Owner>) {
        if self.copying.is_some() {
            return self.message_during_copy(tag, owner);
        }
        match tag {
            b'X' => self.has_ended = true,
            b'S' => self.sync(),
            _ if self.skips => (),
            b'Q' => self.query(strip(payload), owner),
            b'F' => self.function_call(owner),
            b'H' | b'd' | b'c' | b'f' => (),
            _ => {
                if let Err(failure) = self.extended(tag, payload, owner) {
                    self.fail(failure);
                    self.skips = true;
                }
            }
        }
    }

    fn query(&mut self, text: &[u8], owner: Option<Owner>) {
        self.look_for_tokens(text, &[]);
        self.statements.remove(b"".as_slice());
        match run::split(text) {
            None => {
                self.fail(("42601", "scanner_yyerror"));
                self.ready();
            }
            Some(texts) if texts.is_empty() => {
                self.write(|w| {
                    w.message(b'I', |_| ());
                });
                self.end_string();
            }
            Some(texts) => self.string(texts, owner),
        }
    }

    /// Runs what is left of a string of statements.
    fn string(&mut self, texts: Vec<Vec<u8>>, owner: Option<Owner>) {
        let several = texts.len() > 1;
        let mut texts = texts.into_iter();
        while let Some(text) = texts.next() {
            if self.block == Block::Outside && several {
                self.begin(Block::Implicit);
            }
            self.is_shared |= several;
            match self.statement(&text, &[], owner) {
                Err(failure) => {
                    self.fail(failure);
                    break;
                }
                Ok(Outcome::CopyIn) => {
                    self.outcome(&Outcome::CopyIn);
                    self.copying = Some(Copying::Simple(texts.collect()));
                    return;
                }
                Ok(Outcome::Rows(value)) => {
                    self.describe_row();
                    self.outcome(&Outcome::Rows(value));
                }
                Ok(outcome) => self.outcome(&outcome),
            }
        }
        self.end_string();
    }

    /// A string ends its transaction, unless it is in a block (before PostgreSQL 18, with which pgwarden sends nothing
    /// in front of a Query).
    fn end_string(&mut self) {
        if self.block == Block::Implicit {
            self.end(true);
        }
        self.ready();
    }

    fn function_call(&mut self, owner: Option<Owner>) {
        if self.block == Block::Failed {
            self.fail(("25P02", ""));
            return self.ready();
        }
        self.observe(owner, "a function call");
        self.write(|w| {
            w.message(b'V', |p| {
                p.int32(-1);
            });
        });
        self.end_string();
    }

    fn message_during_copy(&mut self, tag: u8, owner: Option<Owner>) {
        match (tag, &mut self.copying) {
            (b'd' | b'H' | b'S', _) => (),
            (b'c', Some(copying)) => {
                let copying = std::mem::replace(copying, Copying::Extended);
                self.copying = None;
                self.outcome(&Outcome::Command("COPY 1"));
                if let Copying::Simple(rest) = copying {
                    self.string(rest, owner);
                }
            }
            (b'f', copying) => {
                let copying = copying.take();
                self.fail(("57014", "CopyGetData"));
                if matches!(copying, Some(Copying::Simple(_))) {
                    self.ready();
                } else {
                    self.skips = true;
                }
            }
            // "unexpected message type", in the middle of a message: FATAL.
            _ => {
                self.copying = None;
                self.write(|w| {
                    w.error(pgwarden_wire::Severity::Fatal, "08P01", ["model", "", ""], None);
                });
                self.has_ended = true;
            }
        }
    }

    fn sync(&mut self) {
        self.skips = false;
        if self.block == Block::Implicit {
            self.end(true);
        }
        self.ready();
    }

    fn begin(&mut self, block: Block) {
        self.context.begin();
        self.block = block;
        self.is_shared = false;
    }

    /// The transaction ends, and every portal with it.
    fn end(&mut self, commits: bool) {
        self.context.end(commits);
        self.block = Block::Outside;
        self.portals.clear();
    }

    fn fail(&mut self, (code, routine): Failure) {
        match self.block {
            Block::Inside | Block::Failed => self.block = Block::Failed,
            Block::Outside | Block::Implicit => self.end(false),
        }
        let texts = ["the model says no", "", ""];
        self.write(|w| {
            w.error(pgwarden_wire::Severity::Error, code, texts, Some(routine));
        });
    }

    fn ready(&mut self) {
        let status = match self.block {
            Block::Outside | Block::Implicit => Status::Idle,
            Block::Inside => Status::InBlock,
            Block::Failed => Status::Failed,
        };
        self.write(|w| {
            w.ready(status);
        });
    }

    fn describe_row(&mut self) {
        self.write(|w| {
            w.message(b'T', |p| {
                p.int16(1).string(b"tenant").bytes(&[0; 6]).bytes(&[0, 0, 0, 25, 255, 255]).bytes(&[0; 6]);
            });
        });
    }

    fn outcome(&mut self, outcome: &Outcome) {
        self.write(|w| {
            match outcome {
                Outcome::Empty => w.message(b'I', |_| ()),
                Outcome::Command(tag) => w.message(b'C', |p| {
                    p.string(tag.as_bytes());
                }),
                Outcome::CopyIn => w.message(b'G', |p| {
                    p.byte(0).int16(0);
                }),
                Outcome::CopyOut => w
                    .message(b'H', |p| {
                        p.byte(0).int16(0);
                    })
                    .message(b'd', |p| {
                        p.bytes(b"line\n");
                    })
                    .message(b'c', |_| ())
                    .message(b'C', |p| {
                        p.string(b"COPY 1");
                    }),
                Outcome::Rows(value) => w
                    .message(b'D', |p| {
                        let length = i32::try_from(value.len()).expect("a short value");
                        p.int16(1).int32(length).bytes(value.as_bytes());
                    })
                    .message(b'C', |p| {
                        p.string(b"SELECT 1");
                    }),
            };
        });
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        write(&mut Writer::new(&mut self.output));
    }
}

/// The tag and payload of the first whole message, and what is behind it.
pub(crate) fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
    let (payload, behind) = rest.split_at_checked(usize::try_from(length).ok()?.checked_sub(4)?)?;
    Some((header[0], payload, behind))
}

/// A string without the zero byte behind it.
fn strip(payload: &[u8]) -> &[u8] {
    payload.split(|byte| *byte == 0).next().unwrap_or_default()
}
