//! The order of measurements: cell by cell, in every round all lanes, each round starting with another lane.

use std::time::Duration;

use crate::Result;
use crate::load::{self, Sample};
use crate::matrix::{Cell, Protocol, Workload};
use crate::options::Plan;
use crate::report;
use crate::results::{CellResult, Figures, LaneResult};
use crate::schema;
use crate::shadow;
use crate::targets::{Prepares, Target, TestBed};

/// Errors shown per measurement; the rest is counted.
const SHOWN: usize = 3;
/// What connecting, disconnecting and clearing up add to a measurement, for the estimate.
const OVERHEAD: Duration = Duration::from_millis(30);

/// Measures every cell and prints each as soon as it is done.
pub async fn measure(plan: &Plan, bed: &TestBed) -> Result<Vec<CellResult>> {
    let served = |&cell: &Cell| bed.targets().iter().filter(|target| target.lane.serves(cell)).count();
    let measurements = plan.cells.iter().map(served).sum::<usize>() * plan.rounds as usize;
    let estimate = (plan.duration + plan.warm_up + OVERHEAD) * measurements as u32;
    eprintln!("{} cells, {measurements} measurements, about {} s", plan.cells.len(), estimate.as_secs() + 1);
    let mut results = Vec::new();
    for &cell in &plan.cells {
        if bed.targets().iter().any(|target| target.lane.serves(cell)) {
            let result = measure_cell(plan, bed, cell).await?;
            print!("{}", report::table(&result));
            results.push(result);
        }
    }
    Ok(results)
}

async fn measure_cell(plan: &Plan, bed: &TestBed, cell: Cell) -> Result<CellResult> {
    let targets: Vec<&Target> = bed.targets().iter().filter(|target| target.lane.serves(cell)).collect();
    let mut samples: Vec<Vec<Sample>> = targets.iter().map(|_| Vec::new()).collect();
    for round in 0..plan.rounds as usize {
        if cell.workload == Workload::Tpcb {
            schema::tidy(bed.database()).await?;
        }
        for turn in 0..targets.len() {
            let index = (turn + round) % targets.len();
            let target = targets[index];
            if can(target, cell) {
                if cell.workload.is_write() {
                    shadow::refill(bed.database()).await?;
                }
                let sample = load::measure(plan, target, cell).await?;
                show_errors(target, cell, &sample);
                samples[index].push(sample);
            }
        }
    }
    let lanes = targets.iter().zip(&samples).map(|(target, samples)| {
        Ok(LaneResult { lane: target.lane, figures: Figures::from_samples(samples)? })
    });
    Ok(CellResult { cell, lanes: lanes.collect::<Result<_>>()? })
}

fn can(target: &Target, cell: Cell) -> bool {
    cell.protocol != Protocol::Prepared || target.prepares == Prepares::Yes
}

fn show_errors(target: &Target, cell: Cell, sample: &Sample) {
    for error in sample.errors.iter().take(SHOWN) {
        eprintln!("error: {cell}, {}: {error}", target.lane.name());
    }
    if sample.errors.len() > SHOWN {
        eprintln!("error: and {} more", sample.errors.len() - SHOWN);
    }
}
