//! One client and its backend as state machines, without sockets, clock or randomness.
//!
//! [`Engine`] takes bytes from both sides and says which bytes leave on which side. In between are the reply queue
//! (who gets the answer to each message), the transaction as far as it can be told, prepared statements that
//! backends share, and the injection of the tenant context in front of what needs it.

mod backend;
mod carrier;
mod client;
mod command;
mod cut;
mod deallocate;
mod description;
mod engine;
mod expect;
mod extended;
mod failure;
mod fault;
mod inject;
mod inquiry;
mod insertion;
mod limits;
mod named;
mod names;
mod output;
mod overseer;
mod oversight;
mod parse;
mod pins;
mod portals;
mod queue;
mod reading;
mod refusal;
mod refuse;
mod reply;
mod role;
mod seal;
mod sequence;
mod settings;
mod shelf;
mod simple;
mod state;
mod statement;
mod tenancy;
mod token;
mod transaction;
mod values;

pub use backend::{Backend, Capabilities, Health, Route};
pub use carrier::{Carrier, SimpleForm, Vehicle};
pub use client::Taken;
pub use engine::{Activity, Engine, Options, PinPolicy, Pooling, Reassert, Stop};
pub use fault::{Fault, Faults};
pub use limits::Limits;
pub use output::{Output, Segments};
pub use overseer::{
    Bound, Description, Formats, Interest, Look, MOST_LOOKED_AT, Notice, Overseer, Sent, Ticket,
};
pub use pins::Pin;
pub use reading::Unread;
pub use refusal::{Refusal, SessionError};
pub use seal::{Process, SEAL_LENGTH, Seal, Sealer, Sealing};
pub use settings::{Profile, Settings, bring_along};
pub use statement::{Interner, Statement};
pub use tenancy::{Bearer, Claim, End, Moment, Place, Ruling, Shown, Subject, Tenancy, Term};
