//! Sealing a context: one more variable, computed whenever the context is sent, that proves who set the others.
//!
//! This crate only places the seal; what it is made of is the tenant layer's business. Its length never changes, so that
//! nothing else about a message depends on it.

use crate::backend::Backend;
use crate::carrier::Carrier;
use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;

/// How long a seal is, in bytes; all of them are ASCII letters and digits.
pub const SEAL_LENGTH: usize = 105;

/// A seal as it travels.
pub type Seal = [u8; SEAL_LENGTH];

/// The server process that a seal is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// What only this process has: made by the server layer, compared by the readers in the database.
    pub identity: Vec<u8>,
    /// How far the server's clock is ahead of the one of the [`Sealer`], in microseconds.
    pub ahead: i64,
}

/// Makes seals, with a key and a clock.
pub trait Sealer: Debug + Send + Sync {
    /// A seal for variables of this digest on this process. `number` is never used twice there.
    fn seal(&self, process: &Process, number: u64, digest: &[u8; 32]) -> Seal;
}

/// What makes a [`Carrier`] one that is sealed: its last variable is a place for a seal.
#[derive(Debug, Clone)]
pub struct Sealing {
    /// Who makes the seals.
    pub sealer: Arc<dyn Sealer>,
    /// What is sealed: the names and values of all other variables.
    pub digest: [u8; 32],
    /// Where the place for the seal begins in `values`, in `text`, and in the last of `assignments`.
    pub places: [usize; 3],
}

/// Two are the same when they seal the same.
impl PartialEq for Sealing {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.places == other.places
    }
}

impl Eq for Sealing {}

/// A context as it is sent on one backend at one moment.
#[derive(Debug)]
pub(crate) struct Sealed<'a> {
    carrier: &'a Carrier,
    seal: Option<Seal>,
}

impl Carrier {
    /// The context for a backend, sealed if it is to be.
    pub(crate) fn sealed_for(&self, backend: Option<&mut Backend>) -> Sealed<'_> {
        let seal =
            self.sealing.as_ref().zip(backend).and_then(|(sealing, backend)| backend.seal_with(sealing));
        Sealed { carrier: self, seal }
    }
}

impl Deref for Sealed<'_> {
    type Target = Carrier;

    fn deref(&self) -> &Carrier {
        self.carrier
    }
}

impl Sealed<'_> {
    /// What follows the two names in Bind.
    pub(crate) fn values(&self) -> [&[u8]; 3] {
        self.with_seal(&self.carrier.values, |sealing| sealing.places[0])
    }

    /// `SET LOCAL …;` for all variables.
    pub(crate) fn text(&self) -> [&[u8]; 3] {
        self.with_seal(&self.carrier.text, |sealing| sealing.places[1])
    }

    /// `a = E'…'` for one variable after the other.
    pub(crate) fn assignments(&self) -> impl Iterator<Item = [&[u8]; 3]> {
        let last = self.carrier.assignments.len().saturating_sub(1);
        self.carrier.assignments.iter().enumerate().map(move |(index, assignment)| match index == last {
            true => self.with_seal(assignment, |sealing| sealing.places[2]),
            false => [assignment.as_slice(), &[], &[]],
        })
    }

    /// The bytes with the seal in its place.
    fn with_seal<'b>(&'b self, bytes: &'b [u8], place: impl FnOnce(&Sealing) -> usize) -> [&'b [u8]; 3] {
        let (Some(seal), Some(sealing)) = (&self.seal, &self.carrier.sealing) else {
            return [bytes, &[], &[]];
        };
        let (before, rest) = bytes.split_at_checked(place(sealing)).unwrap_or((bytes, &[]));
        [before, seal, rest.get(SEAL_LENGTH..).unwrap_or_default()]
    }
}
