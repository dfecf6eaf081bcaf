//! Tables of text: columns as wide as what stands in them, numbers to the right.

/// The longest text of a cell; what is longer is cut.
const WIDEST: usize = 40;

/// On which side a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table: its first line, and its rows, each with as many cells as there are columns.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty one.
    pub(crate) fn new(columns: &[(&'static str, Side)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One more row. What would move a terminal's cursor is replaced: names of databases are chosen by clients.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| harmless(&cell)).collect());
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, the first of them with the names of the columns.
    pub(crate) fn lines(&self) -> Vec<String> {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let all = || std::iter::once(&names).chain(&self.rows);
        let width = |at: usize| all().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|at| width(at).unwrap_or_default()).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&self.columns).zip(&widths);
            let cells = cells.map(|((cell, (_, side)), &width)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        all().map(line).collect()
    }
}

fn harmless(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut shortened: String = text.chars().take(WIDEST).map(shown).collect();
    if text.chars().nth(WIDEST).is_some() {
        shortened.pop();
        shortened.push('…');
    }
    shortened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let mut table = Table::new(&[("POOL", Side::Left), ("SIZE", Side::Right), ("LOGIN", Side::Left)]);
        table.row(["postgres", "5", "a"].map(str::to_owned));
        table.row(["é", "12345", "bb"].map(str::to_owned));
        assert_eq!(table.lines(), ["POOL       SIZE  LOGIN", "postgres      5  a", "é         12345  bb"]);
    }

    #[test]
    fn no_name_moves_the_cursor_or_fills_the_screen() {
        let mut table = Table::new(&[("DATABASE", Side::Left)]);
        table.row(["\u{1b}[2Jx\r\n".to_owned()]);
        table.row(["y".repeat(1_000)]);
        let lines = table.lines();
        assert_eq!(lines[1], "\u{fffd}[2Jx\u{fffd}\u{fffd}");
        assert_eq!(lines[2], format!("{}…", "y".repeat(WIDEST - 1)));
    }
}
