//! When pgwarden ran, and so could have seen something.

use super::moment::Moment;
use std::collections::BTreeMap;
use std::time::Duration;

/// When each process that wrote a trail ran.
#[derive(Debug, Clone, Default)]
pub(super) struct Runs {
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Clone, Default)]
struct Source {
    ended: Vec<(Moment, Moment)>,
    open: Option<(Moment, Moment)>,
}

impl Runs {
    /// A process has started. What it did before, without saying that it stops, lasted until its last record.
    pub(super) fn started(&mut self, source: &str, at: Moment) {
        let source = self.of(source);
        source.ended.extend(source.open.take());
        source.open = Some((at, at));
    }

    /// It has written something.
    pub(super) fn wrote(&mut self, source: &str, at: Moment) {
        let (begin, end) = *self.of(source).open.get_or_insert((at, at));
        self.of(source).open = Some((begin.min(at), end.max(at)));
    }

    /// It has stopped.
    pub(super) fn stopped(&mut self, source: &str, at: Moment) {
        self.wrote(source, at);
        let source = self.of(source);
        source.ended.extend(source.open.take());
    }

    /// How long any of them ran since a moment: the union of all their runs. Who has not said that it stops ran until its
    /// last record, for there is no telling what was behind.
    pub(super) fn since(&self, begin: Moment) -> Duration {
        let all = self.sources.values().flat_map(|source| source.ended.iter().chain(&source.open));
        let mut spans: Vec<_> =
            all.map(|(from, to)| ((*from).max(begin), *to)).filter(|(from, to)| from < to).collect();
        spans.sort();
        let (mut sum, mut reached) = (Duration::ZERO, begin);
        for (from, to) in spans {
            sum += to.since(from.max(reached));
            reached = reached.max(to);
        }
        sum
    }

    fn of(&mut self, source: &str) -> &mut Source {
        self.sources.entry(source.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Moment {
        Moment::of_seconds(seconds)
    }

    #[test]
    fn only_the_time_in_which_a_process_ran_counts_and_once() {
        let mut runs = Runs::default();
        runs.started("a", at(100));
        runs.wrote("a", at(150));
        runs.stopped("a", at(200));
        runs.started("a", at(300));
        runs.wrote("a", at(400));
        // Killed: what it did behind its last record is not known.
        runs.started("a", at(500));
        runs.wrote("a", at(600));
        runs.started("b", at(150));
        runs.stopped("b", at(350));
        assert_eq!(runs.since(at(0)).as_secs(), 300 + 100);
        assert_eq!(runs.since(at(150)).as_secs(), 250 + 100);
        assert_eq!(runs.since(at(550)).as_secs(), 50);
        assert_eq!(runs.since(at(700)), Duration::ZERO);
        assert_eq!(Runs::default().since(at(0)), Duration::ZERO);
    }
}
