//! What shadow mode may cost, and whether it does: each detector beside the same pgwarden without it.

use crate::matrix::{Lane, Workload};
use crate::results::CellResult;
use crate::trail::Totals;

/// The least findings per second that are to be recorded.
const FINDINGS: f64 = 5_000.0;
/// The most microseconds that triggers may add to a statement.
const TRIGGERS: f64 = 30.0;
/// By how much two runs of the same thing differ on a quiet machine: at the median, and at the 99th percentile.
const NOISE: [f64; 2] = [1.05, 1.15];

/// One goal, and what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// What is asked for.
    pub what: String,
    /// What was measured, with its unit.
    pub measured: String,
    /// What it has to be.
    pub target: String,
    /// Whether it is.
    pub met: bool,
}

/// All goals that something was measured for.
pub fn all(results: &[CellResult], trails: &Totals) -> Vec<Goal> {
    let mut goals: Vec<Goal> = results.iter().flat_map(of_cell).collect();
    let has = |lane| move |result: &&CellResult| result.figures(lane).is_some();
    if results.iter().any(|result| has(Lane::PgwardenReplay)(&result)) {
        goals.push(Goal {
            what: "replay: executions that were run again".to_owned(),
            measured: trails.replayed.to_string(),
            target: "some".to_owned(),
            met: trails.replayed > 0,
        });
    }
    if let Some(run) = run(results) {
        goals.push(Goal {
            what: "trail: findings recorded".to_owned(),
            measured: trails.foreign.to_string(),
            target: format!("{run}, one for each statement"),
            met: trails.foreign == run,
        });
    }
    goals
}

/// Findings in the trail and statements that ran, where these are not the same.
pub fn lost(results: &[CellResult], trails: &Totals) -> Option<(u64, u64)> {
    run(results).filter(|&run| run != trails.foreign).map(|run| (trails.foreign, run))
}

/// The statements that had to be found.
fn run(results: &[CellResult]) -> Option<u64> {
    let foreign = results.iter().filter(|result| result.cell.workload == Workload::Foreign);
    let figures = foreign.filter_map(|result| result.figures(Lane::PgwardenTrail));
    figures.map(|figures| figures.completed).reduce(|sum, more| sum + more)
}

fn of_cell(result: &CellResult) -> Vec<Goal> {
    let ratio = |name: &str, lane, base, least: f64| {
        result.ratio(lane, base).map(|ratio| Goal {
            what: format!("{name}: {}", result.cell),
            measured: format!("{ratio:.3} × the throughput"),
            target: format!("≥ {least:.2} ×"),
            met: ratio >= least,
        })
    };
    let rows = |least| ratio("rows", Lane::PgwardenRows, Lane::PgwardenShadow, least);
    let goals = match result.cell.workload {
        Workload::Tenants1000 => vec![rows(0.95)],
        Workload::Rows1000 => vec![rows(0.99)],
        Workload::Read => vec![rows(0.99), replay(result, 0), replay(result, 1)],
        Workload::Insert | Workload::Update | Workload::Delete => vec![triggers(result)],
        Workload::Foreign => {
            vec![ratio("trail", Lane::PgwardenTrail, Lane::PgwardenStaged, 0.95), findings(result)]
        }
        Workload::Tpcb | Workload::Connect => Vec::new(),
    };
    goals.into_iter().flatten().collect()
}

/// The client's latency with replay beside that without.
fn replay(result: &CellResult, percentile: usize) -> Option<Goal> {
    let (ratio, more) = result.slower(Lane::PgwardenReplay, Lane::PgwardenStaged, percentile)?;
    let (name, most) = (["p50", "p99"][percentile], NOISE[percentile]);
    Some(Goal {
        what: format!("replay, {name}: {}", result.cell),
        measured: format!("{ratio:.3} × ({more:+.1} µs)"),
        target: format!("≤ {most:.2} × (noise)"),
        met: ratio <= most,
    })
}

/// What triggers add, where nobody else writes.
fn triggers(result: &CellResult) -> Option<Goal> {
    let (_, more) = result.slower(Lane::PgwardenWrites, Lane::PgwardenStaged, 0)?;
    (result.cell.clients == 1).then(|| Goal {
        what: format!("triggers: {}", result.cell),
        measured: format!("{more:+.1} µs for each statement"),
        target: format!("≤ {TRIGGERS:.0} µs"),
        met: more <= TRIGGERS,
    })
}

fn findings(result: &CellResult) -> Option<Goal> {
    let rate = result.figures(Lane::PgwardenTrail)?.rate();
    Some(Goal {
        what: format!("trail: {}", result.cell),
        measured: format!("{rate:.0} findings/s"),
        target: format!("≥ {FINDINGS:.0} findings/s"),
        met: rate >= FINDINGS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Cell, Protocol};
    use crate::results::LaneResult;
    use crate::results::tests::figures;

    fn cell(workload: Workload, clients: usize, lanes: [(Lane, &[f64]); 2]) -> CellResult {
        let lanes = lanes.map(|(lane, rates)| LaneResult { lane, figures: Some(figures(rates)) });
        CellResult { cell: Cell { workload, protocol: Protocol::Prepared, clients }, lanes: lanes.into() }
    }

    #[test]
    fn a_detector_is_compared_with_the_same_pgwarden_without_it() {
        let lanes = [(Lane::PgwardenShadow, &[100.0, 100.0][..]), (Lane::PgwardenRows, &[96.0, 97.0])];
        let goals = |workload| all(&[cell(workload, 16, lanes)], &Totals::default());
        assert!(goals(Workload::Tenants1000)[0].met);
        assert!(!goals(Workload::Rows1000)[0].met);
        assert_eq!(goals(Workload::Tpcb), []);
    }

    #[test]
    fn triggers_cost_what_a_statement_takes_longer() {
        let lanes = [(Lane::PgwardenStaged, &[10_000.0][..]), (Lane::PgwardenWrites, &[8_000.0])];
        let goal = all(&[cell(Workload::Update, 1, lanes)], &Totals::default()).remove(0);
        assert_eq!((goal.measured.as_str(), goal.met), ("+25.0 µs for each statement", true));
        assert_eq!(all(&[cell(Workload::Update, 16, lanes)], &Totals::default()), []);
    }

    #[test]
    fn a_trail_that_misses_one_is_not_exact() {
        let lanes = [(Lane::PgwardenStaged, &[6_000.0][..]), (Lane::PgwardenTrail, &[6_000.0])];
        let results = [cell(Workload::Foreign, 64, lanes)];
        assert_eq!(lost(&results, &Totals { foreign: 1, replayed: 0 }), None);
        assert_eq!(lost(&results, &Totals::default()), Some((0, 1)));
    }
}
