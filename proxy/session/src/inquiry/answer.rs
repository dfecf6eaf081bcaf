//! The answer: pins whose cause is gone end, and settings are carried by value from now on.

use crate::engine::Engine;
use crate::inquiry::{Causes, Inquiry};
use crate::output::Output;
use crate::pins::{Change, Pin};
use crate::queue::{Entry, Fate, Purpose};
use crate::settings::Profile;
use crate::tenancy::Tenancy;
use pgwarden_wire::{Fields, Malformed};
use std::sync::Arc;

/// Settings that a client carries at most; with more it is pinned.
const MOST_CARRIED: usize = 64;

/// The longest value that is carried; with a longer one the client is pinned.
const LONGEST_CARRIED: usize = 4096;

impl<T: Tenancy> Engine<T> {
    /// The row has come.
    pub(crate) fn inquiry_answered(&mut self, payload: &[u8]) {
        if let Some(Entry::Await(_, Fate::Own(Purpose::Inquiry(inquiry)))) = self.queue.front_mut() {
            inquiry.answer = read_row(payload).ok();
        }
    }

    /// Everything about the question has come. Where the server would not answer, what was asked stays in doubt until
    /// the next transaction is over.
    pub(crate) fn conclude(&mut self, inquiry: &Inquiry, out: &mut Output) {
        let row =
            inquiry.answer.as_ref().filter(|row| row.len() == inquiry.pins.len() + inquiry.settings.len());
        let Some(row) = row else { return self.stay_in_doubt(inquiry) };
        let (causes, values) = row.split_at_checked(inquiry.pins.len()).unwrap_or_default();
        for (pin, there) in inquiry.pins.iter().zip(causes) {
            if there.as_deref() == Some(b"f") && !self.doubts.made.contains(*pin) {
                self.pins.remove(*pin);
            }
        }
        if !inquiry.settings.is_empty() {
            self.carry(&inquiry.settings, values, out);
        }
    }

    fn stay_in_doubt(&mut self, inquiry: &Inquiry) {
        for (name, change) in &inquiry.settings {
            self.doubts.settings.entry(name.clone()).or_insert(*change);
        }
        self.doubts.error();
        if !inquiry.pins.is_empty() {
            self.doubts.causes = Causes::InDoubt;
        }
    }

    fn carry(&mut self, settings: &[(Box<str>, Change)], values: &[Option<Box<[u8]>>], out: &mut Output) {
        let Some(backend) = &mut self.lease else { return };
        let mut here = Profile::clone(&backend.profile);
        let mut mine = Profile::clone(&self.profile);
        here.reads_lists_on(backend.capabilities.vehicle);
        mine.reads_lists_on(backend.capabilities.vehicle);
        let is_utf8 = mine.reported.value("client_encoding") == Some("UTF8");
        let mut portable = true;
        for ((name, change), value) in settings.iter().zip(values) {
            let portable_text = |value| {
                let text = std::str::from_utf8(value).ok().filter(|text| is_utf8 || text.is_ascii());
                text.filter(|text| text.len() <= LONGEST_CARRIED)
            };
            // NULL: there is no such setting, or it is as it was on a fresh backend; where the client may not set it, to
            // set or reset it would be an error, and on this backend the next client's.
            let Ok(text) = value.as_deref().map(|value| portable_text(value).ok_or(())).transpose() else {
                portable = false;
                continue;
            };
            let began_with = self.initial.carried.value(name).filter(|_| *change == Change::Reset);
            here.carried.put(name, text);
            mine.carried.put(name, began_with.or(text));
        }
        if !portable || mine.carried.iter().count() > MOST_CARRIED {
            self.pins.insert(Pin::Setting);
        }
        let same = here == mine;
        self.profile = Arc::new(mine);
        backend.profile = if same { Arc::clone(&self.profile) } else { Arc::new(here) };
        if !same && !self.pins.is_empty() {
            self.bring_along(out);
        }
    }
}

/// The columns of a DataRow.
fn read_row(payload: &[u8]) -> Result<Vec<Option<Box<[u8]>>>, Malformed> {
    let mut fields = Fields::new(payload);
    let count = fields.int16()?;
    let mut row = Vec::new();
    for _ in 0..count {
        let length = fields.int32()?;
        row.push(match usize::try_from(length) {
            Ok(length) => Some(fields.bytes(length)?.into()),
            Err(_) => None,
        });
    }
    Ok(row)
}
