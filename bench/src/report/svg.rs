//! The plot: a panel per workload, measure and number of clients, a group of bars per protocol, a bar per lane. Hovering a bar in a browser shows its figure.

use std::fmt::Write as _;

use super::scale::{self, Scale};
use crate::matrix::{Cell, Lane, Workload};
use crate::options::Plan;
use crate::results::{CellResult, Figures};

const PANEL_WIDTH: f64 = 430.0;
const PANEL_HEIGHT: f64 = 170.0;
/// Room left of a panel for labels, right of it, above it for its title, below it for protocols.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 18.0;
const ABOVE: f64 = 40.0;
const BELOW: f64 = 34.0;
/// Room for the title and the legend.
const HEADING: f64 = 104.0;

/// What the bars of a row show.
#[derive(Clone, Copy)]
enum Measure {
    Throughput,
    ProxyCpu,
}

/// One plot with its own vertical axis.
#[derive(Clone, Copy)]
struct Panel {
    workload: Workload,
    measure: Measure,
    clients: usize,
}

impl Measure {
    fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Self::Throughput => Some(figures.rate()),
            Self::ProxyCpu => figures.proxy_cpu,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Throughput => "transactions/s",
            Self::ProxyCpu => "proxy CPU, µs/transaction",
        }
    }
}

/// The whole file.
pub fn svg(plan: &Plan, results: &[CellResult]) -> String {
    let rows = rows(results);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(1);
    let width = (columns as f64 * (LEFT + PANEL_WIDTH + RIGHT)).max(1050.0);
    let height = HEADING + rows.len() as f64 * (ABOVE + PANEL_HEIGHT + BELOW);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, 'DejaVu Sans', sans-serif\" font-size=\"13\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    heading(&mut out, plan, results);
    for (index, row) in rows.iter().enumerate() {
        let top = HEADING + index as f64 * (ABOVE + PANEL_HEIGHT + BELOW) + ABOVE;
        for (column, panel) in row.iter().enumerate() {
            let left = column as f64 * (LEFT + PANEL_WIDTH + RIGHT) + LEFT;
            let _ = writeln!(out, "<g transform=\"translate({left} {top})\">");
            panel.draw(&mut out, results);
            out.push_str("</g>\n");
        }
    }
    out.push_str("</svg>\n");
    out
}

/// One row of panels per workload and measure, a panel per number of clients. Where there is only one number of
/// clients, both measures of a workload share a row.
fn rows(results: &[CellResult]) -> Vec<Vec<Panel>> {
    let workloads = distinct(results.iter().map(|result| result.cell.workload));
    let clients = distinct(results.iter().map(|result| result.cell.clients));
    let row = |measure, workload| -> Vec<Panel> {
        let panels = clients.iter().map(|&clients| Panel { workload, measure, clients });
        panels.filter(|panel| panel.values(results).next().is_some()).collect()
    };
    let throughput = workloads.iter().map(|&workload| row(Measure::Throughput, workload));
    let cpu = workloads.iter().map(|&workload| row(Measure::ProxyCpu, workload));
    let rows: Vec<_> = if clients.len() == 1 {
        throughput.zip(cpu).map(|(left, right)| [left, right].concat()).collect()
    } else {
        throughput.chain(cpu).collect()
    };
    rows.into_iter().filter(|row| !row.is_empty()).collect()
}

fn heading(out: &mut String, plan: &Plan, results: &[CellResult]) {
    let rtt = plan.rtt.as_micros();
    let network = if rtt == 0 { "loopback".to_owned() } else { format!("{rtt} µs network round trip") };
    let tls = if plan.tls { ", TLS to clients" } else { "" };
    let _ = writeln!(
        out,
        "<text x=\"24\" y=\"34\" font-size=\"20\" font-weight=\"600\">Tenant-scoped transactions, side by side</text>\n\
         <text x=\"24\" y=\"56\" fill=\"#555\">median of {} × {} s, pool {}, {network}{tls}; \
         more is better for transactions/s, less for CPU</text>",
        plan.rounds,
        plan.duration.as_secs_f64(),
        plan.pool,
    );
    let mut x = 24.0;
    for lane in distinct(results.iter().flat_map(|result| &result.lanes).map(|lane| lane.lane)) {
        let (name, colour) = (lane.name(), colour(lane));
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"74\" width=\"13\" height=\"13\" fill=\"{colour}\"/>\
             <text x=\"{}\" y=\"85\">{name}</text>",
            x + 19.0
        );
        x += 42.0 + 7.6 * name.len() as f64;
    }
}

impl Panel {
    /// The cells shown, one per protocol.
    fn cells(self, results: &[CellResult]) -> impl Iterator<Item = &CellResult> {
        let own = move |cell: &Cell| cell.workload == self.workload && cell.clients == self.clients;
        results.iter().filter(move |result| own(&result.cell))
    }

    /// Every bar's value.
    fn values(self, results: &[CellResult]) -> impl Iterator<Item = f64> {
        let figures =
            self.cells(results).flat_map(|cell| &cell.lanes).filter_map(|lane| lane.figures.as_ref());
        figures.filter_map(move |figures| self.measure.of(figures))
    }

    fn draw(self, out: &mut String, results: &[CellResult]) {
        let cells: Vec<&CellResult> = self.cells(results).collect();
        let scale = Scale::up_to(self.values(results).fold(0.0, f64::max));
        let (title, clients) = (self.workload.title(), self.clients);
        let plural = if clients == 1 { "" } else { "s" };
        let _ =
            writeln!(out, "<text y=\"-14\" font-weight=\"600\">{title} · {clients} client{plural}</text>");
        axis(out, self.measure, scale);
        let group = PANEL_WIDTH / cells.len().max(1) as f64;
        for (index, cell) in cells.iter().enumerate() {
            bars(out, self.measure, cell, scale, index as f64 * group, group);
        }
        let _ = writeln!(
            out,
            "<line x1=\"0\" x2=\"{PANEL_WIDTH}\" y1=\"{PANEL_HEIGHT}\" y2=\"{PANEL_HEIGHT}\" stroke=\"#444\"/>"
        );
    }
}

/// Grid lines, tick labels, and the unit written upwards.
fn axis(out: &mut String, measure: Measure, scale: Scale) {
    for tick in scale.ticks() {
        let y = PANEL_HEIGHT * (1.0 - tick / scale.top);
        let _ = writeln!(
            out,
            "<line x1=\"0\" x2=\"{PANEL_WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e3e3e3\"/>\
             <text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"12\" fill=\"#555\">{}</text>",
            y + 4.0,
            scale::label(tick)
        );
    }
    let _ = writeln!(
        out,
        "<text transform=\"translate(-56 {}) rotate(-90)\" text-anchor=\"middle\" font-size=\"12\" \
         fill=\"#555\">{}</text>",
        PANEL_HEIGHT / 2.0,
        measure.unit()
    );
}

/// The bars of one protocol; a lane without a figure leaves its place empty, with a dash.
fn bars(out: &mut String, measure: Measure, cell: &CellResult, scale: Scale, left: f64, group: f64) {
    let place = (group - 24.0) / cell.lanes.len().max(1) as f64;
    let width = (place - 2.0).clamp(2.0, 34.0);
    for (index, lane) in cell.lanes.iter().enumerate() {
        let x = left + 12.0 + index as f64 * place + (place - width) / 2.0;
        let Some(value) = lane.figures.as_ref().and_then(|figures| measure.of(figures)) else {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#999\">–</text>",
                x + width / 2.0,
                PANEL_HEIGHT - 4.0
            );
            continue;
        };
        let height = PANEL_HEIGHT * value / scale.top;
        let _ = writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{}\">\
             <title>{}: {value:.1} {}</title></rect>",
            PANEL_HEIGHT - height,
            colour(lane.lane),
            lane.lane.name(),
            measure.unit()
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        left + group / 2.0,
        PANEL_HEIGHT + 19.0,
        cell.cell.protocol.name()
    );
}

/// Greys without a proxy, one hue per proxy, the darker shade where the context is set per transaction.
fn colour(lane: Lane) -> &'static str {
    match lane {
        Lane::Direct => "#c4c4c4",
        Lane::DirectApp => "#7d7d7d",
        Lane::Relay => "#e0c36a",
        Lane::Pgbouncer => "#9cc4e4",
        Lane::PgbouncerApp => "#3b7fb6",
        Lane::PgwardenPassthrough => "#f2a58a",
        Lane::PgwardenInject => "#c8401f",
        Lane::PgwardenSeal => "#7a1f6b",
        Lane::PgwardenShadow => "#6f9e5a",
        Lane::PgwardenRows => "#2f6b2a",
        Lane::PgwardenStaged => "#9db8a0",
        Lane::PgwardenReplay => "#4f86a8",
        Lane::PgwardenWrites => "#a8834f",
        Lane::PgwardenTrail => "#8c4fa8",
        Lane::PgwardenTokens1 => "#b79fd8",
        Lane::PgwardenTokens1000 => "#8a63c2",
        Lane::PgwardenTokens100000 => "#5b3396",
    }
}

fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut kept = Vec::new();
    for value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::options::Cli;

    #[test]
    fn the_plot_names_every_lane_and_opens_and_closes_every_element() {
        let plan = Plan::from_options(Cli::try_parse_from(["pgwarden-bench"]).unwrap().options);
        let text = svg(&plan, &[crate::results::tests::cell()]);
        for name in ["direct-app", "pgbouncer-app", "pgwarden-inject", "transactions/s", "prepared"] {
            assert!(text.contains(name), "{name}");
        }
        for element in ["text", "g", "svg", "title"] {
            let opened = text.matches(&format!("<{element}")).count();
            let closed = text.matches(&format!("</{element}>")).count();
            assert!(opened >= closed && closed > 0, "{element}");
        }
    }
}
