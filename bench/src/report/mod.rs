//! The report: a table on standard output, a CSV file, an SVG plot.

mod csv;
mod goals;
mod scale;
mod svg;
mod table;

use std::fs;
use std::path::Path;

use crate::Result;
use crate::options::Plan;
use crate::results::CellResult;

pub use goals::goals;
pub use table::table;

/// Writes the CSV file and the plot, and says where.
pub fn write_files(plan: &Plan, results: &[CellResult]) -> Result<()> {
    write(&plan.csv, &csv::csv(results))?;
    write(&plan.svg, &svg::svg(plan, results))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |error| format!("cannot write {}: {error}", path.display());
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    fs::write(path, text).map_err(failed)?;
    eprintln!("wrote {}", path.canonicalize().unwrap_or_else(|_| path.to_owned()).display());
    Ok(())
}
