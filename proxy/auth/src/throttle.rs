//! Slowing down who guesses passwords: attempts wait longer the more of them have failed.
//!
//! Failures are counted by address (IPv4 whole, IPv6 by its /64: one subscriber has as many addresses there as it likes)
//! and by user, whether or not there is such a user. What comes behind those that are free waits *before* its proof is
//! looked at, however long ago the last one failed, right ones and wrong ones alike, so that nothing can be told from the time. Attempts from one address take
//! turns, or many connections at once would guess as fast as before; attempts for one user wait for no longer than the
//! longest delay, or strangers could keep the user out.
//!
//! Who has logged in from an address before is not held up there by the failures of others: an application goes on
//! while somebody guesses its password, or a neighbour behind the same address has a wrong one.
//!
//! Memory is bounded: 64 shards with a lock each, of a fixed number of entries, of which the oldest make room. An entry
//! is forgotten a quarter of an hour after it was last touched. Names are kept as keyed hashes only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::crypto::hmac_sha256;

/// How many shards there are; a power of two, at most 256.
const SHARDS: usize = 64;
/// Entries of each kind in a shard, at most.
const CAPACITY: usize = 1_024;
/// How long an entry is kept that nothing touches.
const MEMORY: Duration = Duration::from_secs(900);

/// How patient pgwarden is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Failures that cost nothing.
    pub free: u32,
    /// The delay behind the first that is not free; it doubles with each further one. Zero: there are no delays.
    pub first: Duration,
    /// The longest delay.
    pub most: Duration,
}

/// Somebody who wants to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect<'a> {
    /// The address; clients of unix sockets have none, and count as one.
    pub address: Option<IpAddr>,
    /// The user.
    pub user: &'a str,
}

/// What an attempt has to do first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Now,
    /// To wait that long.
    Later(Duration),
    /// To come again: so many wait before it that its time would run out.
    Never,
}

/// What is known of those who failed, and of those who did not. Times are since any one moment, the same in all calls.
pub struct Throttle {
    patience: RwLock<Patience>,
    key: [u8; 32],
    capacity: usize,
    shards: Vec<Mutex<Shard>>,
}

/// A keyed hash of an address, a user, or both.
type Digest = [u8; 32];

#[derive(Debug, Default)]
struct Shard {
    failures: HashMap<Digest, Failures>,
    /// Addresses with the users that have logged in from there, and when they last did.
    friends: HashMap<Digest, Duration>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Failures {
    count: u32,
    /// When the last attempt that has taken its turn is looked at.
    next: Duration,
    touched: Duration,
}

impl Throttle {
    /// Nobody has failed yet. `key` is random and lives as long as the process.
    #[must_use]
    pub fn new(patience: Patience, key: [u8; 32]) -> Self {
        let (patience, shards) = (RwLock::new(patience), (0..SHARDS).map(|_| Mutex::default()).collect());
        Self { patience, key, capacity: CAPACITY, shards }
    }

    /// Is as patient as that from now on; what has been counted stays.
    pub fn follow(&self, patience: Patience) {
        *self.patience.write().unwrap_or_else(PoisonError::into_inner) = patience;
    }

    fn patience(&self) -> Patience {
        *self.patience.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// When an attempt is looked at that cannot wait longer than `limit`; it takes its turn.
    #[must_use]
    pub fn turn(&self, suspect: &Suspect<'_>, now: Duration, limit: Duration) -> Turn {
        let patience = self.patience();
        if patience.first.is_zero() || self.is_friend(suspect, now) {
            return Turn::Now;
        }
        let of_user = self.place(&self.user(suspect), now, patience.most);
        match self.place_within(&self.address(suspect), now, limit) {
            None => Turn::Never,
            Some(of_address) => match of_address.max(of_user) {
                Duration::ZERO => Turn::Now,
                wait => Turn::Later(wait),
            },
        }
    }

    /// A proof was wrong.
    pub fn failed(&self, suspect: &Suspect<'_>, now: Duration) {
        for digest in [self.address(suspect), self.user(suspect)] {
            let mut shard = self.shard(&digest);
            self.make_room(&mut shard.failures, &digest, now, |entry| entry.touched);
            let entry = shard.failures.entry(digest).or_default();
            if now.saturating_sub(entry.touched) >= MEMORY {
                *entry = Failures::default();
            }
            entry.count = entry.count.saturating_add(1);
            entry.touched = now;
        }
        let pair = self.pair(suspect);
        self.shard(&pair).friends.remove(&pair);
    }

    /// A proof was right: what was counted against the address and the user is forgotten.
    pub fn succeeded(&self, suspect: &Suspect<'_>, now: Duration) {
        for digest in [self.address(suspect), self.user(suspect)] {
            self.shard(&digest).failures.remove(&digest);
        }
        let pair = self.pair(suspect);
        let mut shard = self.shard(&pair);
        self.make_room(&mut shard.friends, &pair, now, |seen| *seen);
        shard.friends.insert(pair, now);
    }

    fn is_friend(&self, suspect: &Suspect<'_>, now: Duration) -> bool {
        let pair = self.pair(suspect);
        self.shard(&pair).friends.get(&pair).is_some_and(|seen| now.saturating_sub(*seen) < MEMORY)
    }

    /// How long to wait where nobody waits longer than `most`.
    fn place(&self, digest: &Digest, now: Duration, most: Duration) -> Duration {
        let mut shard = self.shard(digest);
        let Some((entry, delay)) = self.remembered(&mut shard, digest, now) else { return Duration::ZERO };
        let wait = entry.next.saturating_sub(now).saturating_add(delay).min(most);
        entry.next = now + wait;
        wait
    }

    /// How long to wait; nothing, and no turn is taken, where that is over `limit`.
    fn place_within(&self, digest: &Digest, now: Duration, limit: Duration) -> Option<Duration> {
        let mut shard = self.shard(digest);
        let Some((entry, delay)) = self.remembered(&mut shard, digest, now) else {
            return Some(Duration::ZERO);
        };
        let wait = entry.next.saturating_sub(now).saturating_add(delay);
        if wait > limit {
            return None;
        }
        entry.next = now + wait;
        Some(wait)
    }

    /// What is held against somebody, with the delay that it costs; an entry that is too old is dropped.
    fn remembered<'a>(
        &self,
        shard: &'a mut Shard,
        digest: &Digest,
        now: Duration,
    ) -> Option<(&'a mut Failures, Duration)> {
        let entry = shard.failures.get_mut(digest)?;
        if now.saturating_sub(entry.touched) >= MEMORY {
            *entry = Failures { touched: entry.touched, ..Failures::default() };
        }
        let delay = self.patience().delay(entry.count);
        (!delay.is_zero()).then_some((entry, delay))
    }

    /// Sees to it that one more entry has room: what is too old goes, then the oldest.
    fn make_room<V>(
        &self,
        entries: &mut HashMap<Digest, V>,
        digest: &Digest,
        now: Duration,
        touched: impl Fn(&V) -> Duration,
    ) {
        if entries.len() < self.capacity || entries.contains_key(digest) {
            return;
        }
        entries.retain(|_, entry| now.saturating_sub(touched(entry)) < MEMORY);
        if entries.len() < self.capacity {
            return;
        }
        let oldest = entries.iter().min_by_key(|(_, entry)| touched(entry)).map(|(digest, _)| *digest);
        if let Some(oldest) = oldest {
            entries.remove(&oldest);
        }
    }

    fn address(&self, suspect: &Suspect<'_>) -> Digest {
        hmac_sha256(&self.key, &[b"address\0", &prefix(suspect.address)])
    }

    fn user(&self, suspect: &Suspect<'_>) -> Digest {
        hmac_sha256(&self.key, &[b"user\0", suspect.user.as_bytes()])
    }

    fn pair(&self, suspect: &Suspect<'_>) -> Digest {
        let prefix = prefix(suspect.address);
        let length = u8::try_from(prefix.len()).unwrap_or(u8::MAX);
        hmac_sha256(&self.key, &[b"pair\0", &[length], &prefix, suspect.user.as_bytes()])
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        let [first, ..] = *digest;
        let index = usize::from(first) % SHARDS;
        #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Patience {
    /// What an attempt costs behind so many failures.
    fn delay(&self, failures: u32) -> Duration {
        match failures.checked_sub(self.free) {
            None | Some(0) => Duration::ZERO,
            Some(over) => {
                let factor = 1_u32.checked_shl(over - 1).unwrap_or(u32::MAX);
                self.first.saturating_mul(factor).min(self.most)
            }
        }
    }
}

impl std::fmt::Debug for Throttle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Throttle").field("patience", &self.patience()).finish_non_exhaustive()
    }
}

/// What counts as one address.
fn prefix(address: Option<IpAddr>) -> Vec<u8> {
    match address.map(|address| address.to_canonical()) {
        None => Vec::new(),
        Some(IpAddr::V4(address)) => address.octets().to_vec(),
        Some(IpAddr::V6(address)) => address.octets().into_iter().take(8).collect(),
    }
}

#[cfg(test)]
mod tests;
