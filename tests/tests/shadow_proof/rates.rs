//! How often pgwarden was right.

use std::collections::BTreeMap;
use std::fmt;

/// What is said about a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// With the policies it would do something else.
    Differs,
    /// It was looked at, and would do the same.
    Clean,
    /// It could not be told, for this reason.
    NotEvaluated(String),
    /// Nothing: that must not be.
    Silent,
}

/// What is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    Differs,
    Same,
    /// Either is right: the statement leaves it to the plan.
    Open,
    /// It fails already, so that nothing comes of it that could differ.
    Fails,
}

/// The rates of one detector, or of all together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    pub true_positives: usize,
    pub false_positives: usize,
    pub true_negatives: usize,
    pub false_negatives: usize,
    pub open: usize,
    pub fails: usize,
    pub silent: usize,
    /// By reason: of those that differ, of those that do not.
    pub not_evaluated: BTreeMap<String, (usize, usize)>,
}

impl Rates {
    /// Counts one statement; true when it was wrong.
    pub fn count(&mut self, truth: Truth, said: &Said) -> bool {
        match (truth, said) {
            (Truth::Fails, _) => self.fails += 1,
            (_, Said::Silent) => {
                self.silent += 1;
                return true;
            }
            (Truth::Differs, Said::Differs) => self.true_positives += 1,
            (Truth::Same, Said::Clean) => self.true_negatives += 1,
            (Truth::Open, Said::Differs | Said::Clean) => self.open += 1,
            (_, Said::NotEvaluated(reason)) => {
                let (differs, same) = self.not_evaluated.entry(reason.clone()).or_default();
                *if truth == Truth::Differs { differs } else { same } += 1;
            }
            (Truth::Same, Said::Differs) => {
                self.false_positives += 1;
                return true;
            }
            (Truth::Differs, Said::Clean) => {
                self.false_negatives += 1;
                return true;
            }
        }
        false
    }

    /// Counts what was counted elsewhere, too.
    pub fn add(&mut self, other: &Rates) {
        for (mine, theirs) in self.counts_mut().into_iter().zip(other.counts()) {
            *mine += theirs;
        }
        for (reason, (differs, same)) in &other.not_evaluated {
            let mine = self.not_evaluated.entry(reason.clone()).or_default();
            *mine = (mine.0 + differs, mine.1 + same);
        }
    }

    /// Found, clean, false positives, false negatives, silent, open, failing.
    pub fn counts(&self) -> [usize; 7] {
        self.clone().counts_mut().map(|count| *count)
    }

    fn counts_mut(&mut self) -> [&mut usize; 7] {
        let Rates { true_positives, false_positives, true_negatives, false_negatives, .. } = self;
        let (open, fails, silent) = (&mut self.open, &mut self.fails, &mut self.silent);
        [true_positives, true_negatives, false_positives, false_negatives, silent, open, fails]
    }

    /// How many statements were judged, rightly or wrongly.
    pub fn judged(&self) -> usize {
        self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
    }

    /// How many were not.
    pub fn unjudged(&self) -> usize {
        self.not_evaluated.values().map(|(differs, same)| differs + same).sum()
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:>6} found  {:>6} clean  {:>4} false positives  {:>4} false negatives  {:>4} silent  {:>4} open  {:>4} failing  {:>6} not evaluated",
            self.true_positives,
            self.true_negatives,
            self.false_positives,
            self.false_negatives,
            self.silent,
            self.open,
            self.fails,
            self.unjudged()
        )?;
        for (reason, (differs, same)) in &self.not_evaluated {
            write!(formatter, "\n{:>14} {reason}: {differs} that differ, {same} that do not", "")?;
        }
        Ok(())
    }
}
