//! The columns of a result, and which of them say whose a row is.

use crate::catalog::{Catalog, Relation};
use crate::coverage::Uncovered;
use crate::rows::may_show_foreign;
use crate::tenants::ValueKind;
use pgwarden_wire::{Fields, Malformed};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a column comes from, as RowDescription says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    /// The table; 0 for what comes from none.
    table: u32,
    /// The column's number in it; 0 for a whole row.
    number: i16,
    /// The format, where it is known with the description.
    format: i16,
}

/// The columns of a result. What they mean is found out once for each state of the catalog.
#[derive(Debug)]
pub(crate) struct Columns {
    sources: Option<Box<[Source]>>,
    plan: Mutex<Option<Arc<Plan>>>,
}

/// A column that says whose a row is.
#[derive(Debug)]
pub(crate) struct TenantColumn {
    /// Its place in the result.
    pub(crate) index: usize,
    /// What its values are.
    pub(crate) kind: ValueKind,
    /// The format that the description says.
    pub(crate) said: i16,
    /// The table that it is the tenant column of.
    pub(crate) relation: Arc<Relation>,
}

/// What is looked at in a result.
#[derive(Debug)]
pub(crate) struct Plan {
    catalog: Arc<Catalog>,
    /// In the order of the result.
    pub(crate) columns: Box<[TenantColumn]>,
    /// The tables of those columns.
    pub(crate) tables: Arc<[String]>,
    /// Why nothing is looked at, if that is so.
    pub(crate) uncovered: Option<Uncovered>,
}

impl Plan {
    /// The first of the columns that are of the same table.
    pub(crate) fn first_of_its_table(&self, place: usize) -> usize {
        let table = self.columns.get(place).map(|column| column.relation.oid);
        self.columns.iter().position(|one| Some(one.relation.oid) == table).unwrap_or(place)
    }
}

impl Columns {
    /// Reads the payload of a RowDescription; one that is malformed has columns of which nothing is known.
    pub(crate) fn read(description: &[u8]) -> Self {
        Self { sources: sources(description).ok(), plan: Mutex::default() }
    }

    /// What is to be looked at, by this catalog.
    pub(crate) fn plan(&self, catalog: &Arc<Catalog>) -> Arc<Plan> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        match &*plan {
            Some(known) if Arc::ptr_eq(&known.catalog, catalog) => Arc::clone(known),
            _ => Arc::clone(plan.insert(Arc::new(self.plan_by(catalog)))),
        }
    }

    fn plan_by(&self, catalog: &Arc<Catalog>) -> Plan {
        let (mut columns, mut reason) = (Vec::new(), None);
        for (index, source) in self.sources.iter().flatten().enumerate() {
            let Some((relation, column)) = catalog.tenant_column(source.table, source.number) else {
                continue;
            };
            match ValueKind::of(column.base_oid, column.category) {
                Some(_) if may_show_foreign(relation) => reason = Some(Uncovered::Policy),
                Some(kind) => columns.push(TenantColumn {
                    index,
                    kind,
                    said: source.format,
                    relation: Arc::clone(relation),
                }),
                None => reason = Some(Uncovered::Type),
            }
        }
        let mut tables: Vec<String> = columns.iter().map(|column| column.relation.full_name()).collect();
        tables.sort_unstable();
        tables.dedup();
        let uncovered = if columns.is_empty() { reason.or_else(|| Some(self.reason())) } else { None };
        Plan { catalog: Arc::clone(catalog), columns: columns.into(), tables: tables.into(), uncovered }
    }

    fn reason(&self) -> Uncovered {
        let Some(sources) = &self.sources else { return Uncovered::Unread };
        if sources.iter().any(|source| source.table != 0 && source.number == 0) {
            Uncovered::WholeRows
        } else if sources.iter().all(|source| source.table == 0) {
            Uncovered::ComputedColumns
        } else {
            Uncovered::NoTenantColumn
        }
    }
}

/// The fields of a RowDescription: per column a name, the table (4 bytes), the number (2), the type (4), its length (2),
/// its modifier (4) and the format (2).
fn sources(description: &[u8]) -> Result<Box<[Source]>, Malformed> {
    let mut fields = Fields::new(description);
    let count = usize::try_from(fields.int16()?).map_err(|_| Malformed)?;
    let mut sources = Vec::new();
    for _ in 0..count {
        let _name = fields.string()?;
        let (table, number) = (u32::from_be_bytes(fields.array()?), fields.int16()?);
        let _type_length_modifier = fields.array::<10>()?;
        sources.push(Source { table, number, format: fields.int16()? });
    }
    fields.end()?;
    Ok(sources.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_to_its_end_or_not_at_all() {
        let mut description = vec![0, 2];
        for (name, table, number) in [("org_id", 16_384_u32, 2_i16), ("count", 0, 0)] {
            description.extend_from_slice(name.as_bytes());
            description.push(0);
            description.extend(table.to_be_bytes());
            description.extend(number.to_be_bytes());
            description.extend([0; 10]);
            description.extend([0, 1]);
        }
        let found = sources(&description).expect("well-formed");
        assert_eq!(found[0], Source { table: 16_384, number: 2, format: 1 });
        assert_eq!(found[1], Source { table: 0, number: 0, format: 1 });
        for cut in 0..description.len() {
            assert_eq!(sources(&description[..cut]), Err(Malformed), "cut at {cut}");
        }
        assert_eq!(sources(b"\xff\xff"), Err(Malformed));
        assert_eq!(Columns::read(b"").reason(), Uncovered::Unread);
    }
}
