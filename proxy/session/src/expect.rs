//! Which replies belong to which message that was sent.

use pgwarden_wire::BackendTag;

/// Which replies the server owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Parse,
    Bind,
    Close,
    DescribeStatement,
    DescribePortal,
    Execute,
    /// The context's own messages, until so many CloseComplete have been read.
    Injection(u32),
    /// A whole simple query, until ReadyForQuery.
    Query,
    /// A whole function call, until ReadyForQuery.
    FunctionCall,
    Sync,
}

/// What a reply does to the entry in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It belongs to the entry, and more will come.
    Part,
    /// It completes the entry.
    Last,
    /// It does not belong to the entry.
    Stray,
}

impl Expect {
    /// What a reply does to an entry that expects this.
    pub(crate) fn progress(self, tag: BackendTag) -> Progress {
        use BackendTag as B;
        use Progress::{Last, Part, Stray};
        match (self, tag) {
            (Self::Parse, B::ParseComplete)
            | (Self::Bind, B::BindComplete)
            | (Self::Close, B::CloseComplete) => Last,
            (Self::DescribeStatement, B::ParameterDescription) => Part,
            (Self::DescribeStatement | Self::DescribePortal, B::RowDescription | B::NoData) => Last,
            (Self::Execute, B::CommandComplete | B::EmptyQueryResponse | B::PortalSuspended) => Last,
            (Self::Injection(_), B::ParseComplete | B::BindComplete | B::DataRow | B::CommandComplete) => {
                Part
            }
            (Self::Injection(_), B::CloseComplete) => Last,
            (Self::Query, B::RowDescription | B::CommandComplete | B::EmptyQueryResponse)
            | (Self::FunctionCall, B::FunctionCallResponse) => Part,
            (
                Self::Execute | Self::Query,
                B::DataRow
                | B::CopyData
                | B::CopyInResponse
                | B::CopyOutResponse
                | B::CopyBothResponse
                | B::CopyDone,
            ) => Part,
            (Self::Query | Self::FunctionCall | Self::Sync, B::ReadyForQuery) => Last,
            _ => Stray,
        }
    }

    /// Whether an error makes the server skip everything up to the next Sync.
    pub(crate) fn is_extended(self) -> bool {
        !matches!(self, Self::Query | Self::FunctionCall | Self::Sync)
    }
}
