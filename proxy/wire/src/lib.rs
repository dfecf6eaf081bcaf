//! PostgreSQL's frontend/backend protocol, as far as a proxy has to read it.
//!
//! This crate knows frames, limits and the few messages that the hot path touches. It is not a codec for every
//! message: what is only passed on is never decoded. Layouts and limits follow the chapter "Frontend/Backend
//! Protocol" of the PostgreSQL manual (protocol 3.0 and 3.2); where a fact comes from the server's source, the
//! file is named.

mod backend;
mod encode;
mod fields;
mod frame;
mod frontend;
mod proxy_header;
mod startup;

pub use backend::{BackendTag, ErrorFields, Status, parameter_status, tag_of_command};
pub use encode::{Payload, Severity, Writer};
pub use fields::{Fields, Malformed};
pub use frame::{FrameError, HEADER, Header, header};
pub use frontend::{
    BindHead, BindValues, Execute, FrontendTag, FunctionCall, Parse, Target, TargetKind, bind_head,
};
pub use proxy_header::{
    PROXY_HEADER, PROXY_LIMIT, ProxyError, ProxyHead, ProxySource, proxy_head, proxy_source,
};
pub use startup::{
    First, FirstError, PROTOCOL_3_0, PROTOCOL_3_2, STARTUP_LIMIT, Startup, first_packet, first_packet_length,
};
