//! One cell as an aligned table.

use std::fmt::Write as _;

use crate::matrix::Lane;
use crate::results::{CellResult, LaneResult};

/// What stands where there is no figure.
const ABSENT: &str = "–";

const HEAD: [&str; 11] = [
    "lane",
    "tx/s",
    "±%",
    "×direct-app",
    "×pgb-app",
    "×relay",
    "p50 µs",
    "p95 µs",
    "p99 µs",
    "cpu µs/tx",
    "rss MiB",
];

/// The cell's name, a heading, and one line per lane.
pub fn table(result: &CellResult) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(result.lanes.iter().map(|lane| cells(result, lane)));
    let mut widths = [0; HEAD.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = format!("\n{}\n", result.cell);
    for line in &lines {
        let [name, figures @ ..] = line;
        let _ = write!(text, "  {name:<width$}", width = widths[0]);
        for (figure, width) in figures.iter().zip(&widths[1..]) {
            let _ = write!(text, "  {figure:>width$}");
        }
        text.push('\n');
    }
    text
}

fn cells(result: &CellResult, lane: &LaneResult) -> [String; HEAD.len()] {
    let mut line = [ABSENT; HEAD.len()].map(str::to_owned);
    line[0] = lane.lane.name().to_owned();
    let Some(figures) = &lane.figures else { return line };
    let ratio = |base| optional(result.ratio(lane.lane, base), 2);
    let latency = |share| format!("{:.0}", figures.latency_us(share));
    line[1] = thousands(figures.rate());
    line[2] = optional(figures.spread().map(|spread| spread * 100.0), 1);
    line[3] = ratio(Lane::DirectApp);
    line[4] = ratio(Lane::PgbouncerApp);
    line[5] = ratio(Lane::Relay);
    line[6] = latency(0.5);
    line[7] = latency(0.95);
    line[8] = latency(0.99);
    line[9] = optional(figures.proxy_cpu, 1);
    line[10] = optional(figures.resident.map(|bytes| bytes as f64 / f64::from(1 << 20)), 1);
    if figures.errors > 0 {
        line[0].push_str(&format!(" ({} ERRORS)", figures.errors));
    }
    line
}

fn optional(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| ABSENT.to_owned(), |value| format!("{value:.decimals$}"))
}

/// A whole number with a comma after every three digits.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(thousands(7.0), "7");
        assert_eq!(thousands(46_600.4), "46,600");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
    }

    #[test]
    fn columns_line_up_and_absent_lanes_show_a_dash() {
        let text = table(&crate::results::tests::cell());
        let widths: Vec<usize> = text.lines().skip(2).map(|line| line.chars().count()).collect();
        assert_eq!(widths.len(), 4);
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        assert!(text.contains("pgbouncer-app") && text.contains('–'));
    }
}
