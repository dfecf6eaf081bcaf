//! One result as it passes: how many rows, how many of them foreign, and whose.

use super::columns::Plan;
use crate::coverage::Uncovered;
use crate::tenants::{Format, TenantSet};
use pgwarden_session::Formats;
use std::sync::Arc;

/// A row is looked at up to here.
const MOST_OF_A_ROW: usize = 256 * 1024;
/// Tenants that a finding names.
const MOST_NAMED: usize = 5;

/// What a row says in one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    /// NULL: of a row that was not joined, or of nobody's. That cannot be told apart, and counts for nothing.
    Null,
    /// A value.
    Value(&'a [u8]),
    /// More of the row has to be there.
    Missing,
    /// The row is not what its description says.
    Wrong,
}

/// What one table has given to a result.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Share {
    /// Rows of another tenant.
    pub(crate) foreign: u64,
    /// Whose, some of them.
    pub(crate) tenants: Vec<String>,
}

/// One result.
#[derive(Debug)]
pub(crate) struct Result {
    /// What is looked at.
    pub(crate) plan: Arc<Plan>,
    formats: Formats,
    /// Rows so far.
    pub(crate) returned: u64,
    /// By the columns of the plan; what concerns a table stands with the first of its columns.
    pub(crate) shares: Vec<Share>,
    /// Why not all of it was looked at.
    pub(crate) uncovered: Option<Uncovered>,
}

/// What came of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It is the tenant's own, as far as can be told.
    Own,
    /// It is foreign by the column of this place in the plan.
    Foreign(usize),
    /// More of it has to be there.
    More,
    /// Nothing can be told of it, nor of others.
    Blind,
}

/// A value of another tenant, in the column of this place in the plan.
struct Foreign<'a> {
    place: usize,
    value: &'a [u8],
    format: Format,
}

impl Result {
    /// A result of these columns, for a client that may see these tenants' rows.
    pub(crate) fn new(plan: Arc<Plan>, formats: &Formats, uncovered: Option<Uncovered>) -> Self {
        let is_readable =
            plan.columns.iter().all(|column| Format::of(formats, column.index, column.said).is_some());
        let uncovered =
            uncovered.or(plan.uncovered).or_else(|| (!is_readable).then_some(Uncovered::NotDescribed));
        let shares = vec![Share::default(); if uncovered.is_some() { 0 } else { plan.columns.len() }];
        Self { plan, formats: formats.clone(), returned: 0, shares, uncovered }
    }

    /// Whether rows are worth a look.
    pub(crate) fn is_covered(&self) -> bool {
        self.uncovered.is_none()
    }

    /// Looks at a row of `length` bytes, of which these are there. One that was looked at is counted.
    pub(crate) fn look(&mut self, available: &[u8], length: usize, tenants: &TenantSet) -> Sight {
        // Of most rows nothing is found, and nothing is allocated for them.
        let mut found = Vec::new();
        match self.compare(available, length, tenants, &mut found) {
            Ok(true) => (),
            Ok(false) => return Sight::More,
            Err(reason) => return self.give_up(reason),
        }
        self.returned += 1;
        let first = found.first().map(|foreign| foreign.place);
        if first.is_some() {
            self.count(&found);
        }
        first.map_or(Sight::Own, Sight::Foreign)
    }

    /// Collects what is foreign in a row. `Ok(false)`: more of it has to be there.
    fn compare<'a>(
        &self,
        available: &'a [u8],
        length: usize,
        tenants: &TenantSet,
        found: &mut Vec<Foreign<'a>>,
    ) -> std::result::Result<bool, Uncovered> {
        let mut walk = Walk::new(available);
        for (place, column) in self.plan.columns.iter().enumerate() {
            let format = Format::of(&self.formats, column.index, column.said).unwrap_or(Format::Text);
            match walk.cell(column.index) {
                Cell::Null => (),
                Cell::Value(value) => match tenants.holds(value, column.kind, format) {
                    Some(true) => (),
                    Some(false) => found.push(Foreign { place, value, format }),
                    None => return Err(Uncovered::Type),
                },
                Cell::Missing if available.len() >= length => return Err(Uncovered::Unread),
                Cell::Missing if available.len() >= MOST_OF_A_ROW => return Err(Uncovered::Dropped),
                Cell::Missing => return Ok(false),
                Cell::Wrong => return Err(Uncovered::Unread),
            }
        }
        Ok(true)
    }

    fn count(&mut self, found: &[Foreign<'_>]) {
        let Self { plan, shares, .. } = self;
        let mut counted = Vec::new();
        for Foreign { place, value, format } in found {
            let kind = plan.columns.get(*place).map(|column| column.kind);
            let owner = plan.first_of_its_table(*place);
            let (Some(share), Some(kind)) = (shares.get_mut(owner), kind) else { continue };
            if !counted.contains(&owner) {
                // A table that is joined with itself gives a row once.
                share.foreign += 1;
                counted.push(owner);
            }
            if share.tenants.len() < MOST_NAMED {
                let tenant = kind.show(value, *format);
                if !share.tenants.contains(&tenant) {
                    share.tenants.push(tenant);
                }
            }
        }
    }

    fn give_up(&mut self, reason: Uncovered) -> Sight {
        self.uncovered = Some(reason);
        Sight::Blind
    }
}

/// Goes through a row once; columns are asked for in their order.
struct Walk<'a> {
    row: &'a [u8],
    /// How many columns there are; `None` where not even that is there.
    count: Option<usize>,
    next: usize,
    at: usize,
}

impl<'a> Walk<'a> {
    fn new(row: &'a [u8]) -> Self {
        let count = row.first_chunk().map(|bytes| usize::from(u16::from_be_bytes(*bytes)));
        Self { row, count, next: 0, at: 2 }
    }

    fn cell(&mut self, index: usize) -> Cell<'a> {
        match self.count {
            None => return Cell::Missing,
            Some(count) if index >= count => return Cell::Wrong,
            Some(_) => (),
        }
        loop {
            let Some(bytes) = self.row.get(self.at..).and_then(|rest| rest.first_chunk()) else {
                return Cell::Missing;
            };
            let begin = self.at + size_of::<i32>();
            let length = i32::from_be_bytes(*bytes);
            let end = begin + usize::try_from(length).unwrap_or_default();
            if self.next < index {
                (self.next, self.at) = (self.next + 1, end);
                continue;
            }
            return match length {
                -1 => Cell::Null,
                ..-1 => Cell::Wrong,
                _ => self.row.get(begin..end).map_or(Cell::Missing, Cell::Value),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Option<&str>]) -> Vec<u8> {
        let mut row = u16::try_from(cells.len()).expect("few").to_be_bytes().to_vec();
        for cell in cells {
            match cell {
                Some(text) => {
                    row.extend(i32::try_from(text.len()).expect("short").to_be_bytes());
                    row.extend_from_slice(text.as_bytes());
                }
                None => row.extend((-1_i32).to_be_bytes()),
            }
        }
        row
    }

    #[test]
    fn a_cell_is_found_as_soon_as_it_is_there() {
        let row = row(&[Some("abc"), None, Some("x"), Some("long one")]);
        assert_eq!(Walk::new(&row).cell(0), Cell::Value(b"abc"));
        assert_eq!(Walk::new(&row).cell(1), Cell::Null);
        assert_eq!(Walk::new(&row).cell(3), Cell::Value(b"long one"));
        assert_eq!(Walk::new(&row).cell(4), Cell::Wrong);
        let mut walk = Walk::new(&row);
        assert_eq!([walk.cell(0), walk.cell(2)], [Cell::Value(b"abc"), Cell::Value(b"x")]);
        for cut in 0..row.len() {
            let expected = if cut >= 9 { Cell::Value(b"abc".as_slice()) } else { Cell::Missing };
            assert_eq!(Walk::new(&row[..cut]).cell(0), expected, "cut at {cut}");
        }
    }

    #[test]
    fn lengths_that_lie_are_wrong_or_wait_for_ever() {
        assert_eq!(Walk::new(b"\0\x01\xff\xff\xff\xfe").cell(0), Cell::Wrong);
        assert_eq!(Walk::new(b"\0\x01\x7f\xff\xff\xffab").cell(0), Cell::Missing);
        assert_eq!(Walk::new(b"\0\x02\x7f\xff\xff\xffab").cell(1), Cell::Missing);
    }
}
