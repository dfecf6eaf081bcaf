//! Who writes records: gives each its place in the chain, begins files, signs, and removes what need not be kept.

use super::second_place;
use super::store::Store;
use super::terms::Terms;
use crate::clock;
use pgwarden_audit::{Carried, Chain, Checkpoint, Cut, Detail, Life, Moment, Proxy, Record, Timestamp};
use pgwarden_config::Audit;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

/// About how many bytes are written at once.
const BATCH: usize = 1 << 20;

/// Who writes records.
#[derive(Debug)]
pub(super) struct Scribe {
    store: Store,
    chain: Chain,
    carried: Carried,
    /// Records since the last checkpoint.
    unsigned: u64,
    /// What this pgwarden is called.
    instance: String,
    /// What stands in records as their writer, by the database that they are about.
    proxies: BTreeMap<Option<String>, Arc<Proxy>>,
}

impl Scribe {
    /// One that goes on behind the end of a chain.
    pub(super) fn new(
        store: Store,
        (chain, carried): (Chain, Carried),
        unsigned: u64,
        instance: String,
    ) -> Self {
        Self { store, chain, carried, unsigned, instance, proxies: BTreeMap::new() }
    }

    /// The number of the last record.
    pub(super) fn last(&self) -> u64 {
        self.chain.seq()
    }

    /// When that was written.
    pub(super) fn time(&self) -> Timestamp {
        self.chain.time()
    }

    /// What is known at the end of the chain.
    pub(super) fn carried(&self) -> &Carried {
        &self.carried
    }

    /// The configuration is another one: records say so from here on.
    pub(super) fn reloaded(&mut self) {
        self.proxies.clear();
    }

    /// Writes what waits. What was written does not wait any more; what could not be is as it was.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn write(&mut self, waiting: &mut VecDeque<Record>, terms: &Terms) -> io::Result<()> {
        while !waiting.is_empty() {
            self.turn_page(terms)?;
            let room = self.room(&terms.audit);
            let (mut chain, mut lines, mut ends) = (self.chain.clone(), Vec::new(), Vec::new());
            for record in waiting.iter_mut() {
                record.proxy = self.proxy(record.database(), terms);
                record.mode = record.mode.or(Some(terms.mode));
                chain.link(record, moment(), &mut lines);
                ends.push(lines.len());
                if lines.len() >= room.min(BATCH) {
                    break;
                }
            }
            let written = self.store.append(&lines);
            let bytes = written.as_ref().map_or_else(|stopped| stopped.bytes, |()| lines.len());
            let count = ends.partition_point(|end| *end <= bytes);
            for record in waiting.drain(..count) {
                self.chain = Chain::after(&record).unwrap_or_else(|| self.chain.clone());
                self.carried.note(&record);
                self.unsigned += 1;
            }
            written?;
        }
        Ok(())
    }

    /// Sees to it that what was written is on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.store.sync()
    }

    /// Signs the end of the trail, if there is a key, and something to sign.
    pub(super) fn sign(&mut self, terms: &Terms) -> io::Result<()> {
        let Some(signer) = terms.signer.as_ref().filter(|_| self.unsigned > 0) else { return Ok(()) };
        let mut checkpoint = Checkpoint {
            seq: self.chain.seq(),
            hash: self.chain.hash(),
            count: self.unsigned,
            time: clock::timestamp().max(self.chain.time()),
            instance: self.instance.clone(),
            signature: None,
        };
        signer.sign(&mut checkpoint);
        let record = Record::of(Life::Checkpoint).with(Detail::Checkpoint(checkpoint.clone()));
        self.append(record, terms)?;
        self.unsigned = 0;
        if terms.audit.fsync != pgwarden_config::Fsync::Off {
            // Nobody may know of a record that a power failure could still take back.
            self.store.sync()?;
        }
        if let Some(place) = &terms.audit.checkpoints
            && let Err(error) = second_place::keep(place, &checkpoint)
        {
            tracing::warn!(%error, "a checkpoint of the audit trail could not be written to its second place");
        }
        Ok(())
    }

    /// Removes files that need not be kept, and records that first.
    pub(super) fn clear_out(&mut self, terms: &Terms) -> io::Result<()> {
        let Audit { keep_for, keep_bytes, .. } = &terms.audit;
        let old = self.store.outdated((*keep_for, &terms.sinks), *keep_bytes, SystemTime::now())?;
        let Some(last) = old.last() else { return Ok(()) };
        let mut end = None;
        let mut lines = last.lines()?;
        while let Some(line) = lines.next()? {
            end = line.whole().and_then(Record::read).or(end);
        }
        let Some(end) = end else { return Ok(()) };
        let names: Vec<String> = old.iter().map(super::files::TrailFile::name).collect();
        tracing::info!(files = names.join(", "), "files of the audit trail are removed");
        let cut = Cut { files: names, seq: end.seq, hash: end.hash };
        self.append(Record::of(Life::Retention).with(Detail::Retention(cut)), terms)?;
        self.store.sync()?;
        old.iter().try_for_each(|file| fs::remove_file(&file.path))
    }

    /// Begins another file where the one before is long or old enough.
    fn turn_page(&mut self, terms: &Terms) -> io::Result<()> {
        let now = clock::timestamp();
        if let Some((bytes, began)) = self.store.current() {
            let age = u128::try_from(now.0.saturating_sub(began.0)).unwrap_or_default();
            let is_long = usize::try_from(bytes).unwrap_or(usize::MAX) >= terms.audit.segment_bytes;
            if !is_long && age < terms.audit.segment_age.as_micros() {
                return Ok(());
            }
            self.sign(terms)?;
            self.store.sync()?;
        }
        let mut chain = self.chain.clone();
        let (mut line, first) = (Vec::new(), chain.seq() + 1);
        let mut record = Record::of(Life::Segment).with(Detail::Segment(self.carried.clone()));
        record.proxy = self.proxy(None, terms);
        record.mode = Some(terms.mode);
        chain.link(&mut record, moment(), &mut line);
        self.store.begin(first, record.time, &line)?;
        self.chain = chain;
        self.unsigned += 1;
        Ok(())
    }

    /// How much the file may still grow.
    fn room(&self, audit: &Audit) -> usize {
        let bytes = self.store.current().map_or(0, |(bytes, _)| bytes);
        audit.segment_bytes.saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX)).max(1)
    }

    fn append(&mut self, mut record: Record, terms: &Terms) -> io::Result<()> {
        let (mut chain, mut line) = (self.chain.clone(), Vec::new());
        record.proxy = self.proxy(None, terms);
        record.mode = Some(terms.mode);
        chain.link(&mut record, moment(), &mut line);
        self.store.append(&line)?;
        self.chain = chain;
        self.unsigned += 1;
        Ok(())
    }

    fn proxy(&mut self, database: Option<&str>, terms: &Terms) -> Arc<Proxy> {
        let policy_hash = database.and_then(|database| self.carried.policies.get(database));
        let known = self.proxies.get(&database.map(str::to_owned));
        if let Some(proxy) = known.filter(|proxy| proxy.policy_hash.as_ref() == policy_hash) {
            return Arc::clone(proxy);
        }
        let proxy = Arc::new(Proxy {
            instance: self.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config_hash: terms.config_hash.clone(),
            policy_hash: policy_hash.cloned(),
        });
        self.proxies.insert(database.map(str::to_owned), Arc::clone(&proxy));
        proxy
    }
}

fn moment() -> Moment {
    Moment { now: clock::timestamp(), random: rand::random() }
}
