//! From samples to figures: medians over rounds, merged latencies, ratios between lanes.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Result;
use crate::load::Sample;
use crate::matrix::{Cell, Lane};

/// One cell over all lanes that were measured in it.
#[derive(Debug)]
pub struct CellResult {
    /// The cell.
    pub cell: Cell,
    /// One entry per lane, in the order of the report.
    pub lanes: Vec<LaneResult>,
}

/// One lane in one cell.
#[derive(Debug)]
pub struct LaneResult {
    /// The lane.
    pub lane: Lane,
    /// `None` when the lane cannot do what the cell asks for.
    pub figures: Option<Figures>,
}

/// What was measured, over all rounds.
#[derive(Debug)]
pub struct Figures {
    /// Transactions per second, one value per round.
    pub rates: Vec<f64>,
    /// Transactions in all rounds.
    pub transactions: u64,
    /// The same, with those that were not measured.
    pub completed: u64,
    /// Median and 99th percentile of the latency in microseconds, one pair per round.
    pub percentiles: Vec<[f64; 2]>,
    /// Latencies of all rounds, in nanoseconds.
    pub latency: Histogram<u64>,
    /// CPU of the proxy per transaction, in microseconds.
    pub proxy_cpu: Option<f64>,
    /// CPU of the load generator per transaction, in microseconds.
    pub own_cpu: Option<f64>,
    /// The most resident memory of the proxy in any round, in bytes.
    pub resident: Option<u64>,
    /// Errors in all rounds.
    pub errors: u64,
}

impl Figures {
    /// Puts the rounds of one lane together; `None` without any.
    pub fn from_samples(samples: &[Sample]) -> Result<Option<Self>> {
        let Some(first) = samples.first() else { return Ok(None) };
        let mut latency = first.latency.clone();
        for sample in &samples[1..] {
            latency.add(&sample.latency)?;
        }
        let transactions = samples.iter().map(|sample| sample.transactions).sum();
        let per_transaction = |total: Option<Duration>| {
            total.filter(|_| transactions > 0).map(|time| time.as_secs_f64() * 1e6 / transactions as f64)
        };
        Ok(Some(Self {
            rates: samples.iter().map(|s| s.transactions as f64 / s.elapsed.as_secs_f64()).collect(),
            transactions,
            completed: samples.iter().map(|sample| sample.completed).sum(),
            percentiles: samples.iter().map(|sample| percentiles(&sample.latency)).collect(),
            latency,
            proxy_cpu: per_transaction(samples.iter().map(|sample| sample.proxy_cpu).sum()),
            own_cpu: per_transaction(samples.iter().map(|sample| sample.own_cpu).sum()),
            resident: samples.iter().filter_map(|sample| sample.resident).max(),
            errors: samples.iter().map(|sample| sample.errors.len() as u64).sum(),
        }))
    }

    /// Median of the transactions per second.
    pub fn rate(&self) -> f64 {
        median(self.rates.clone())
    }

    /// Half the distance between the best and the worst round, relative to the median; `None` for a single round.
    pub fn spread(&self) -> Option<f64> {
        let best = self.rates.iter().copied().fold(f64::MIN, f64::max);
        let worst = self.rates.iter().copied().fold(f64::MAX, f64::min);
        (self.rates.len() > 1 && self.rate() > 0.0).then(|| (best - worst) / 2.0 / self.rate())
    }

    /// Latency in microseconds that this share of the transactions stayed within.
    pub fn latency_us(&self, share: f64) -> f64 {
        self.latency.value_at_quantile(share) as f64 / 1e3
    }
}

impl CellResult {
    /// The figures of a lane, if it was measured here.
    pub fn figures(&self, lane: Lane) -> Option<&Figures> {
        self.lanes.iter().find(|result| result.lane == lane)?.figures.as_ref()
    }

    /// How many times the transactions of `base` a lane did: the median over rounds of the ratio within a round, so
    /// that a machine that is slow for a while slows both sides.
    pub fn ratio(&self, lane: Lane, base: Lane) -> Option<f64> {
        let pairs = self.figures(lane)?.rates.iter().zip(&self.figures(base)?.rates);
        let ratios: Vec<f64> = pairs.filter(|&(_, &base)| base > 0.0).map(|(own, base)| own / base).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }

    /// How many times the latency of `base` a lane's is, and by how many microseconds it is more: at the median (0) or at the
    /// 99th percentile (1). Both are medians over rounds of what is so within a round.
    pub fn slower(&self, lane: Lane, base: Lane, percentile: usize) -> Option<(f64, f64)> {
        let pairs = self.figures(lane)?.percentiles.iter().zip(&self.figures(base)?.percentiles);
        let pairs: Vec<(f64, f64)> = pairs
            .map(|(own, base)| (own[percentile], base[percentile]))
            .filter(|&(_, base)| base > 0.0)
            .collect();
        let over = |of: fn(&(f64, f64)) -> f64| median(pairs.iter().map(of).collect());
        (!pairs.is_empty()).then(|| (over(|(own, base)| own / base), over(|(own, base)| own - base)))
    }

    /// Errors of all lanes.
    pub fn errors(&self) -> u64 {
        self.lanes.iter().filter_map(|lane| lane.figures.as_ref()).map(|figures| figures.errors).sum()
    }
}

fn percentiles(latency: &Histogram<u64>) -> [f64; 2] {
    [0.5, 0.99].map(|share| latency.value_at_quantile(share) as f64 / 1e3)
}

/// The middle value; the mean of the two middle ones when there is no single one. Zero without values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::matrix::{Protocol, Workload};

    /// Figures with these rates and nothing else.
    pub fn figures(rates: &[f64]) -> Figures {
        let mut latency = Histogram::new_with_max(1_000_000_000, 3).unwrap();
        latency.record(20_000).unwrap();
        let rates = rates.to_vec();
        let (proxy_cpu, own_cpu, resident) = (Some(11.5), Some(8.0), Some(8 << 20));
        let percentiles = rates.iter().map(|rate| [1e6 / rate, 3e6 / rate]).collect();
        Figures {
            rates,
            transactions: 1,
            completed: 1,
            percentiles,
            latency,
            proxy_cpu,
            own_cpu,
            resident,
            errors: 0,
        }
    }

    /// A cell with two measured lanes and one that cannot do it.
    pub fn cell() -> CellResult {
        let result = |lane, figures| LaneResult { lane, figures };
        CellResult {
            cell: Cell { workload: Workload::Read, protocol: Protocol::Prepared, clients: 16 },
            lanes: vec![
                result(Lane::DirectApp, Some(figures(&[100.0, 50.0, 200.0]))),
                result(Lane::PgbouncerApp, None),
                result(Lane::PgwardenInject, Some(figures(&[200.0, 150.0, 400.0]))),
            ],
        }
    }

    #[test]
    fn the_median_ignores_outliers() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 100.0]), 3.0);
    }

    #[test]
    fn latencies_are_compared_within_a_round_as_well() {
        let slower = cell().slower(Lane::DirectApp, Lane::PgwardenInject, 0).unwrap();
        assert_eq!(slower, (2.0, 5_000.0));
        assert_eq!(cell().slower(Lane::DirectApp, Lane::PgbouncerApp, 1), None);
    }

    #[test]
    fn a_ratio_compares_within_a_round() {
        assert_eq!(cell().ratio(Lane::PgwardenInject, Lane::DirectApp), Some(2.0));
        assert_eq!(cell().ratio(Lane::PgwardenInject, Lane::PgbouncerApp), None);
    }
}
