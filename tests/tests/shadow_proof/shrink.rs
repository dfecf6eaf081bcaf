//! A failure with as little data as it needs.

use crate::case::Case;
use crate::schema::Kind;

impl Case {
    /// The same case with fewer rows and views, as long as it `fails`.
    pub fn shrink(self, mut fails: impl FnMut(&Case) -> bool) -> Case {
        let mut smallest = self;
        for table in 0..smallest.schema.tables.len() {
            for row in (0..smallest.schema.tables[table].rows.len()).rev() {
                let candidate = smallest.without_row(table, row);
                if fails(&candidate) {
                    smallest = candidate;
                }
            }
        }
        smallest
    }

    /// Nobody refers to the row any more.
    fn without_row(&self, table: usize, row: usize) -> Case {
        let mut case = self.clone();
        let tables = &mut case.schema.tables;
        let removed = tables[table].rows.remove(row);
        let id = tables[table].columns.iter().position(|column| column.kind == Kind::Id);
        let id = &removed[id.expect("every table has an id")];
        for child in tables.iter_mut().filter(|child| child.parent.is_some_and(|(parent, _)| parent == table))
        {
            let parent = child.columns.iter().position(|column| column.kind == Kind::Parent);
            let parent = parent.expect("a child has a column for its parent");
            for row in child.rows.iter_mut().filter(|row| row[parent] == *id) {
                "NULL".clone_into(&mut row[parent]);
            }
        }
        case
    }
}
