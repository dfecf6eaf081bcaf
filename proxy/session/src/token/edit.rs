//! What was taken out of a message, and what has to be known of it later.

use crate::queue::Insertions;
use crate::tenancy::{Bearer, Claim, Term};
use std::sync::Arc;

/// What was taken out of the text of a prepared statement.
#[derive(Debug, Clone, Default)]
pub(crate) struct Taken {
    /// The token of its comment, which counts whenever it is bound.
    pub(crate) comment: Option<Arc<[u8]>>,
    /// The token of its SET or `set_config`, which counts when it is executed.
    pub(crate) literal: Option<Arc<[u8]>>,
    /// How many characters in front.
    pub(crate) removed: usize,
}

impl Taken {
    /// Nothing was.
    pub(crate) const NOTHING: Self = Self { comment: None, literal: None, removed: 0 };
}

/// What running a portal tells the tenancy.
#[derive(Debug, Clone)]
pub(crate) enum Showing {
    /// A token.
    Token(TokenShown),
    /// What the client says of itself.
    Claims(Vec<Claim>),
}

/// A token that running a portal shows.
#[derive(Debug, Clone)]
pub(crate) struct TokenShown {
    /// The token; `None` takes back what was shown.
    pub(crate) token: Option<Box<[u8]>>,
    /// For how long.
    pub(crate) term: Term,
    /// How it came.
    pub(crate) bearer: Bearer,
    /// What the client reads in place of the server's value.
    pub(crate) echo: Option<Box<[u8]>>,
}

/// How far a message was searched for tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Searched {
    /// Its comments were.
    #[default]
    Comments,
    /// All of it was.
    Everything,
}

/// What makes a message different from what the client sent.
#[derive(Debug, Default)]
pub(crate) struct Edit {
    pub(crate) taken: Taken,
    /// The value that the client reads, and which of its commands returns it.
    pub(crate) echo: Option<(u32, Box<[u8]>)>,
    pub(crate) showing: Option<Showing>,
    pub(crate) searched: Searched,
}

/// The same of a message that may be as it was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Edits<'a>(Option<&'a Edit>);

impl<'a> Edits<'a> {
    pub(crate) fn of(edit: &'a Edit) -> Self {
        Self(Some(edit))
    }

    /// Whether nobody has looked for a token in its comments.
    pub(crate) fn are_comments_unread(self) -> bool {
        self.0.is_none()
    }

    /// Whether a token may still be in it.
    pub(crate) fn is_token_unread(self) -> bool {
        self.0.is_none_or(|edit| edit.searched == Searched::Comments)
    }

    pub(crate) fn taken(self) -> Taken {
        self.0.map_or(Taken::NOTHING, |edit| edit.taken.clone())
    }

    pub(crate) fn showing(self) -> Option<Box<Showing>> {
        self.0?.showing.clone().map(Box::new)
    }

    /// Whether replies have to be put right.
    pub(crate) fn is_seen_in_replies(self) -> bool {
        self.0.is_some_and(|edit| edit.taken.removed > 0 || edit.echo.is_some())
    }

    /// What the reply queue has to know.
    pub(crate) fn note(self, insertions: &mut Insertions) {
        if let Some(edit) = self.0 {
            insertions.removed = edit.taken.removed;
            insertions.echo.clone_from(&edit.echo);
        }
    }
}
