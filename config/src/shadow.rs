//! What shadow mode looks at: which columns say whose a row is, and who looks at the catalog.

use crate::effective::Page;
use crate::mistake::Fault;
use crate::reader::Reader;
use crate::shadow_observer::{self, ShadowObserver};
use crate::shadow_replay::{self, ShadowReplay};
use crate::shadow_rows::{self, ShadowRows};
use crate::shadow_writes::{self, ShadowWrites};
use crate::syntax;
use crate::upstream::Upstream;

const TENANT_COLUMNS: &str = "shadow.tenant_columns";

/// A column that says whose a row is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantColumn {
    /// The column of this name in each ordinary or partitioned table that has one.
    Anywhere(String),
    /// One column of one table.
    Of {
        /// The schema.
        schema: String,
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

/// What shadow mode looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadow {
    /// The columns that say whose a row is. What is said of one table goes before what is said of all.
    pub tenant_columns: Vec<TenantColumn>,
    /// Tenants whose rows everybody may see.
    pub global_tenants: Vec<String>,
    /// Whether everybody may see rows without a tenant.
    pub null_is_global: bool,
    /// Who looks at the catalog; nobody where nothing is said about shadow mode.
    pub observer: Option<ShadowObserver>,
    /// What is done about rows on their way to clients.
    pub rows: ShadowRows,
    /// How much a write is looked at.
    pub writes: ShadowWrites,
    /// How many queries are run again.
    pub replay: ShadowReplay,
}

impl Shadow {
    /// As the file would say it.
    pub(crate) fn show(&self, page: &mut Page) {
        page.section("shadow");
        page.list("tenant_columns", self.tenant_columns.iter().map(TenantColumn::written));
        page.list("global_tenants", self.global_tenants.iter().cloned());
        page.bare("null_is_global", self.null_is_global);
        if let Some(observer) = &self.observer {
            observer.show(page);
        }
        self.rows.show(page);
        self.writes.show(page);
        self.replay.show(page);
    }
}

impl TenantColumn {
    /// `column`, or `schema.table.column`; a name with capitals or dots stands in double quotes.
    fn parse(text: &str) -> Result<Self, Fault> {
        let wrong = || {
            Fault::new(
                format!("{text:?} is no column"),
                "column, or schema.table.column; names with capitals or dots in double quotes",
            )
        };
        let parts = syntax::split(text, '.').map_err(|_| wrong())?;
        let names: Option<Vec<String>> = parts.iter().map(|part| name(part)).collect();
        match names.ok_or_else(wrong)?.as_slice() {
            [column] => Ok(Self::Anywhere(column.clone())),
            [schema, table, column] => {
                Ok(Self::Of { schema: schema.clone(), table: table.clone(), column: column.clone() })
            }
            _ => Err(wrong()),
        }
    }

    fn written(&self) -> String {
        let quoted = |name: &String| format!("\"{}\"", name.replace('"', "\"\""));
        match self {
            Self::Anywhere(column) => quoted(column),
            Self::Of { schema, table, column } => [schema, table, column].map(quoted).join("."),
        }
    }
}

/// Reads `[shadow]`.
pub(crate) fn resolve(reader: &mut Reader<'_>, upstream: Option<&Upstream>) -> Shadow {
    let tenant_columns: Vec<TenantColumn> = reader
        .items(TENANT_COLUMNS)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|item| reader.keep(TenantColumn::parse(&item.text), &item.origin, TENANT_COLUMNS))
        .collect();
    let global_tenants = reader.items("shadow.global_tenants").unwrap_or_default();
    let null_is_global = reader.parse("shadow.null_is_global", truth).unwrap_or(false);
    Shadow {
        observer: shadow_observer::resolve(reader, upstream, !tenant_columns.is_empty()),
        tenant_columns,
        global_tenants: global_tenants.into_iter().map(|item| item.text).collect(),
        null_is_global,
        rows: shadow_rows::resolve(reader),
        writes: shadow_writes::resolve(reader),
        replay: shadow_replay::resolve(reader),
    }
}

/// A name as SQL reads it: folded to lower case unless it is quoted.
fn name(part: &str) -> Option<String> {
    let part = part.trim();
    let name = match part.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?.replace("\"\"", "\""),
        None if part.contains(|c: char| c == '"' || c.is_whitespace()) => return None,
        None => part.to_lowercase(),
    };
    (!name.is_empty() && name.len() < 64).then_some(name)
}

fn truth(text: &str) -> Result<bool, Fault> {
    text.parse().map_err(|_| Fault::new(format!("{text:?} is not known"), "true or false"))
}
