//! How much a write is looked at.

use crate::effective::Page;
use crate::reader::Reader;

const ROWS: u32 = 10_000;

/// How much a write is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowWrites {
    /// The most rows of one statement that are looked at; what is behind them is counted as not looked at.
    pub rows: u32,
}

impl ShadowWrites {
    /// As the file would say it.
    pub(crate) fn show(self, page: &mut Page) {
        page.section("shadow.writes");
        page.bare("rows", self.rows);
    }
}

/// Reads `[shadow.writes]`.
pub(crate) fn resolve(reader: &mut Reader<'_>) -> ShadowWrites {
    ShadowWrites { rows: reader.number("shadow.writes.rows", 1..=100_000_000).unwrap_or(ROWS) }
}
