//! What some kinds of records have to say besides the fields of all.

use crate::checkpoint::Checkpoint;
use crate::record::Record;
use pgwarden_shadow::PolicyDigest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What belongs to a kind of record alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Of `started`: what this pgwarden found.
    Started(Start),
    /// Of `segment`: what readers of this file alone should know.
    Segment(Carried),
    /// Of `checkpoint`.
    Checkpoint(Checkpoint),
    /// Of `retention`: the files up to here are gone.
    Retention(Cut),
    /// Of `dropped`: how many of each kind of record there was no place for.
    Dropped(BTreeMap<String, u64>),
    /// Of `interrupted`.
    Interrupted(Interruption),
    /// Of `torn_tail`.
    TornTail(Tail),
    /// Of `clock_went_back`: by so many microseconds.
    ClockWentBack(u64),
    /// Of `mode_changed`: the word for the mode before, and the one for the mode now; and whose it is, unless it is the
    /// general one.
    ModeChanged(String, String, #[serde(skip_serializing_if = "Option::is_none", default)] Option<String>),
    /// Of `policies_changed`: the database, the hash of all its policies, and digests of those of tables for which something
    /// is staged.
    PoliciesChanged(String, String, #[serde(default)] BTreeMap<String, PolicyDigest>),
}

/// What a pgwarden finds that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// No trail: this is the first record.
    New,
    /// One whose last record says that pgwarden stopped.
    AfterStop,
    /// One that ends in the middle: what was not written yet when that pgwarden ended is lost, at most what happened
    /// within a window.
    AfterCrash,
}

/// What is known at the begin of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// The number of the last row of the journal that was recorded, by database.
    pub journal: BTreeMap<String, i64>,
    /// The hash of all policies, by database.
    pub policies: BTreeMap<String, String>,
}

impl Carried {
    /// Adds what a record says.
    pub fn note(&mut self, record: &Record) {
        if let Some(staging) = &record.staging {
            let last = self.journal.entry(staging.database.clone()).or_insert(staging.id);
            *last = staging.id.max(*last);
        }
        match record.detail.as_deref() {
            Some(Detail::PoliciesChanged(database, hash, _)) => {
                self.policies.insert(database.clone(), hash.clone());
            }
            Some(Detail::Segment(carried)) => self.clone_from(carried),
            _ => (),
        }
    }
}

/// The end of what was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The files.
    pub files: Vec<String>,
    /// The number of the last record that was removed.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

/// A time in which nothing could be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interruption {
    /// For how long, in microseconds.
    pub micros: u64,
    /// What the system said.
    pub error: String,
}

/// What stood behind the last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// The file.
    pub file: String,
    /// How many bytes.
    pub bytes: u64,
    /// How many of them were whole lines. More than none means that somebody has written there, or that the disk has
    /// lost something: they are kept beside the trail.
    pub lines: u64,
}
