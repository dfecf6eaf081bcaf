//! What leaves in one direction after one step: ranges of the input and bytes of our own, in order, never copied.

use crate::refusal::Refusal;
use pgwarden_wire::{ErrorFields, Severity, Writer};
use std::io::IoSlice;
use std::ops::Range;

/// Where the bytes of one part are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// In the input of the step.
    Input(Range<usize>),
    /// In `own`.
    Own(Range<usize>),
}

/// The bytes for one direction: parts of the step's input, and bytes of our own between them.
#[derive(Debug, Default)]
pub struct Segments {
    parts: Vec<Part>,
    own: Vec<u8>,
    gathered: Vec<u8>,
}

/// Several parts of so many bytes in all are copied into one: that costs less than a vectored write.
const WORTH_GATHERING: usize = 4096;

impl Segments {
    /// Appends a range of the input; ranges that touch become one.
    pub fn input(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        match self.parts.last_mut() {
            Some(Part::Input(last)) if last.end == range.start => last.end = range.end,
            _ => self.parts.push(Part::Input(range)),
        }
    }

    /// Appends messages of our own.
    pub fn write(&mut self, write: impl FnOnce(&mut Writer<'_>)) {
        let start = self.own.len();
        write(&mut Writer::new(&mut self.own));
        self.push_own(start);
    }

    /// Appends bytes of our own.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let start = self.own.len();
        self.own.extend_from_slice(bytes);
        self.push_own(start);
    }

    fn push_own(&mut self, start: usize) {
        let end = self.own.len();
        match self.parts.last_mut() {
            _ if start == end => (),
            Some(Part::Own(last)) => last.end = end,
            _ => self.parts.push(Part::Own(start..end)),
        }
    }

    /// Whether nothing is to leave.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.own.clear();
    }

    /// Everything as one run of bytes, if it is one, or small enough to be copied; `input` is the step's input.
    pub fn whole<'a>(&'a mut self, input: &'a [u8]) -> Option<&'a [u8]> {
        if let [part] = self.parts.as_slice() {
            return Some(self.bytes_of(part, input));
        }
        let length: usize = self.parts.iter().map(|part| self.bytes_of(part, input).len()).sum();
        if length > WORTH_GATHERING {
            return None;
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.clear();
        self.parts.iter().for_each(|part| gathered.extend_from_slice(self.bytes_of(part, input)));
        self.gathered = gathered;
        Some(&self.gathered)
    }

    fn bytes_of<'a>(&'a self, part: &Part, input: &'a [u8]) -> &'a [u8] {
        let found = match part {
            Part::Input(range) => input.get(range.clone()),
            Part::Own(range) => self.own.get(range.clone()),
        };
        found.unwrap_or_default()
    }

    /// The parts as slices for one vectored write; `input` is the step's input.
    pub fn slices<'a>(&'a self, input: &'a [u8], slices: &mut Vec<IoSlice<'a>>) {
        slices.extend(self.parts.iter().map(|part| IoSlice::new(self.bytes_of(part, input))));
    }

    /// Appends everything after the first `skip` bytes to `pending`.
    pub fn copy_after(&self, input: &[u8], skip: usize, pending: &mut Vec<u8>) {
        let mut skip = skip;
        let mut slices = Vec::with_capacity(self.parts.len());
        self.slices(input, &mut slices);
        for slice in slices {
            let rest = slice.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(slice.len());
            pending.extend_from_slice(rest);
        }
    }
}

/// The bytes for both directions, and which errors are among them.
#[derive(Debug, Default)]
pub struct Output {
    /// For the server.
    pub backend: Segments,
    /// For the client.
    pub client: Segments,
    /// The class of SQLSTATE (its first two characters) of each error that the client is told here.
    pub errors: Vec<[u8; 2]>,
}

impl Output {
    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.backend.clear();
        self.client.clear();
        self.errors.clear();
    }

    /// Tells the client an error of pgwarden's own.
    pub(crate) fn refuse(&mut self, refusal: &Refusal) {
        self.client.write(|w| refusal.write(Severity::Error, w));
        self.errors.push(refusal.class());
    }

    /// An error of the server is told to the client.
    pub(crate) fn error_passed(&mut self, payload: &[u8]) {
        let [first, second, ..] = ErrorFields::new(payload).sqlstate();
        self.errors.push([first, second]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ranges_become_one_slice() {
        let mut segments = Segments::default();
        segments.input(0..3);
        segments.input(3..5);
        segments.bytes(b"xy");
        segments.bytes(b"z");
        segments.input(7..8);
        let mut slices = Vec::new();
        segments.slices(b"abcdefgh", &mut slices);
        let found: Vec<&[u8]> = slices.iter().map(|slice| &**slice).collect();
        assert_eq!(found, [b"abcde".as_slice(), b"xyz", b"h"]);
        assert_eq!(segments.whole(b"abcdefgh"), Some(b"abcdexyzh".as_slice()));
    }

    #[test]
    fn what_a_partial_write_left_is_copied() {
        let mut segments = Segments::default();
        segments.input(0..3);
        segments.bytes(b"xyz");
        let mut pending = Vec::new();
        segments.copy_after(b"abc", 4, &mut pending);
        assert_eq!(pending, b"yz");
    }
}
