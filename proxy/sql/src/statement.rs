//! What [`analyse`](crate::analyse) finds out about a text.

use std::ops::Range;

use smallvec::SmallVec;

use crate::Marks;

/// The statements of one query string, in order, without the empty ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    pub(crate) statements: SmallVec<[Statement; 1]>,
}

impl Script {
    /// All statements; none if the text holds only comments, white space and `;`.
    #[must_use]
    pub fn statements(&self) -> &[Statement] {
        &self.statements
    }

    /// The statement, if there is exactly one.
    #[must_use]
    pub fn single(&self) -> Option<&Statement> {
        match self.statements() {
            [statement] => Some(statement),
            _ => None,
        }
    }
}

/// One statement of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// From the first to the last significant byte, without the `;`.
    pub span: Range<usize>,
    /// What the statement does, from its keywords.
    pub verb: Verb,
    /// What the statement mentions.
    pub marks: Marks,
    /// The parameter that [`Verb::Set`], [`Verb::Reset`] and [`Verb::Show`] name. `None` with one of these verbs means
    /// `SHOW ALL` or a text that PostgreSQL rejects.
    pub setting: Option<Setting>,
}

/// The parameter of a SET, RESET or SHOW.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The name in lower case, parts joined by `.`, without quotes. PostgreSQL ignores the case of parameter names even
    /// in quotes (`guc_name_compare`, `src/backend/utils/misc/guc.c`). Spellings of their own become the parameter:
    /// `SET TIME ZONE` is `timezone`, `SET NAMES` is `client_encoding`, `SET SCHEMA` is `search_path`, `SET XML OPTION` is
    /// `xmloption`.
    pub name: Box<str>,
    /// Whether it is a SET LOCAL.
    pub local: bool,
    /// The text of the value up to the end of the statement; empty if there is none.
    pub value: Range<usize>,
}

/// What a statement does, as far as the session is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END.
    Commit {
        /// AND CHAIN: the next transaction begins at once.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// AND CHAIN: the next transaction begins at once.
        chain: bool,
    },
    /// ROLLBACK TO.
    RollbackTo,
    /// SAVEPOINT.
    Savepoint,
    /// RELEASE.
    Release,
    /// PREPARE TRANSACTION.
    PrepareTransaction,
    /// COMMIT PREPARED.
    CommitPrepared,
    /// ROLLBACK PREPARED.
    RollbackPrepared,
    /// SET of a parameter, except role and session authorization.
    Set,
    /// RESET of a parameter, except role and session authorization.
    Reset,
    /// RESET ALL.
    ResetAll,
    /// SET or RESET of `pgwarden.token`, or a SELECT of nothing but `set_config` of it: see [`crate::token_use`].
    Token,
    /// A SELECT of nothing but `set_config` of other settings: see [`crate::assignments`].
    SetConfig,
    /// SHOW.
    Show,
    /// `SET [LOCAL] TRANSACTION`.
    SetTransaction,
    /// SET SESSION CHARACTERISTICS.
    SetSessionCharacteristics,
    /// SET CONSTRAINTS.
    SetConstraints,
    /// SET ROLE, also when spelled as a parameter (`SET role = x`).
    SetRole,
    /// SET SESSION AUTHORIZATION, also when spelled as a parameter.
    SetSessionAuthorization,
    /// RESET ROLE, RESET SESSION AUTHORIZATION, `SET SESSION AUTHORIZATION DEFAULT`: back to what the login began with.
    ResetIdentity,
    /// DISCARD ALL.
    DiscardAll,
    /// DISCARD PLANS, SEQUENCES or TEMP.
    DiscardOther,
    /// DEALLOCATE.
    Deallocate {
        /// DEALLOCATE ALL.
        all: bool,
    },
    /// PREPARE of a statement.
    Prepare,
    /// EXECUTE.
    ExecutePrepared,
    /// LISTEN.
    Listen,
    /// UNLISTEN.
    Unlisten,
    /// NOTIFY.
    Notify,
    /// LOAD.
    Load,
    /// CHECKPOINT.
    Checkpoint,
    /// ANALYZE.
    Analyze,
    /// LOCK.
    Lock,
    /// DECLARE of a cursor.
    Declare {
        /// WITH HOLD: the cursor outlives the transaction.
        hold: bool,
    },
    /// FETCH.
    Fetch,
    /// MOVE.
    Move,
    /// CLOSE.
    ClosePortal,
    /// CALL.
    Call,
    /// DO.
    Do,
    /// COPY … FROM.
    CopyFrom,
    /// COPY … TO.
    CopyTo,
    /// EXPLAIN of anything.
    Explain,
    /// A statement that cannot run, or may not be able to run, in a transaction block
    /// (`PreventInTransactionBlock` in the PostgreSQL sources).
    Unblockable,
    /// SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE, WITH or a parenthesis.
    Query,
    /// Everything else: DDL and what is not known.
    Other,
}

impl Verb {
    /// Whether the statement begins, ends or divides a transaction.
    #[must_use]
    pub fn controls_transaction(self) -> bool {
        matches!(
            self,
            Self::Begin
                | Self::Commit { .. }
                | Self::Rollback { .. }
                | Self::RollbackTo
                | Self::Savepoint
                | Self::Release
                | Self::PrepareTransaction
                | Self::CommitPrepared
                | Self::RollbackPrepared
        )
    }

    /// The marks that follow from the verb alone.
    pub(crate) fn marks(self) -> Marks {
        match self {
            Self::Do => Marks::BODY,
            Self::Lock | Self::Analyze | Self::CopyFrom | Self::CopyTo | Self::Unblockable | Self::Other => {
                Marks::RELATION
            }
            _ => Marks::empty(),
        }
    }
}
