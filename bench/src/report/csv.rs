//! All figures as comma-separated values, one line per cell and lane. Absent figures are empty.

use std::fmt::Write as _;

use crate::matrix::{Cell, Lane};
use crate::results::{CellResult, LaneResult};

const HEAD: &str = "workload,protocol,clients,lane,rounds,transactions,errors,tps_median,tps_min,tps_max,\
    ratio_direct_app,ratio_pgbouncer_app,ratio_relay,p50_us,p95_us,p99_us,\
    proxy_cpu_us_per_tx,generator_cpu_us_per_tx,proxy_rss_bytes";

/// The whole file.
pub fn csv(results: &[CellResult]) -> String {
    let mut text = format!("{HEAD}\n");
    for result in results {
        for lane in &result.lanes {
            line(&mut text, result, lane);
        }
    }
    text
}

fn line(text: &mut String, result: &CellResult, lane: &LaneResult) {
    let Cell { workload, protocol, clients } = result.cell;
    let name = lane.lane.name();
    let _ = write!(text, "{},{},{clients},{name},", workload.name(), protocol.name());
    let Some(figures) = &lane.figures else {
        let _ = writeln!(text, "0{}", ",".repeat(14));
        return;
    };
    let least = figures.rates.iter().copied().fold(f64::MAX, f64::min);
    let most = figures.rates.iter().copied().fold(f64::MIN, f64::max);
    let _ = write!(text, "{},{},{},", figures.rates.len(), figures.transactions, figures.errors);
    let _ = write!(text, "{:.1},{least:.1},{most:.1},", figures.rate());
    for base in [Lane::DirectApp, Lane::PgbouncerApp, Lane::Relay] {
        let _ = write!(text, "{},", optional(result.ratio(lane.lane, base)));
    }
    for share in [0.5, 0.95, 0.99] {
        let _ = write!(text, "{:.1},", figures.latency_us(share));
    }
    let resident = figures.resident.map(|bytes| bytes.to_string()).unwrap_or_default();
    let _ = writeln!(text, "{},{},{resident}", optional(figures.proxy_cpu), optional(figures.own_cpu));
}

fn optional(value: Option<f64>) -> String {
    value.map(|value| format!("{value:.3}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_as_many_fields_as_the_heading() {
        let text = csv(&[crate::results::tests::cell()]);
        let fields: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(fields.len(), 4);
        assert!(fields.iter().all(|&count| count == fields[0]), "{text}");
    }
}
