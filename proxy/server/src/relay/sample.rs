//! How long pgwarden itself takes, measured in some of the wake-ups.
//!
//! An interval takes two looks at a clock, which would cost each wake-up more than counting it is worth. So one wake-up
//! in [`EVERY`] of each worker and direction is measured, and the others pay for a decrement of a number of their own.

use std::time::{Duration, Instant};

/// One in so many. A prime: conversations repeat themselves, and their length must not decide which part of them is
/// always measured, or never.
const EVERY: u8 = 61;

/// Says which wake-ups are measured; each worker has one for each direction.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    skip: u8,
}

/// A wake-up that is measured, or is not.
#[derive(Debug)]
pub(crate) struct Sample(Option<Instant>);

impl Sampler {
    /// Bytes were read.
    pub(super) fn begin(&mut self) -> Sample {
        match self.skip.checked_sub(1) {
            Some(rest) => {
                self.skip = rest;
                Sample(None)
            }
            None => {
                self.skip = EVERY - 1;
                Sample(Some(Instant::now()))
            }
        }
    }
}

impl Sample {
    /// What they led to was written.
    pub(super) fn end(self, record: impl FnOnce(Duration)) {
        if let Some(started) = self.0 {
            record(started.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_so_many_is_measured_the_first_included() {
        let mut sampler = Sampler::default();
        let mut measured = Vec::new();
        for number in 0..200 {
            sampler.begin().end(|_| measured.push(number));
        }
        assert_eq!(measured, [0, 61, 122, 183]);
    }
}
