//! The policies of a table whose tenant stands in a column.

use super::definition::{Change, Policy, PolicyCommand, Shape, Table};
use super::quoted::{identifier, literal};

/// Rows that belong to everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Globals {
    /// The tenants whose rows everybody may read.
    pub tenants: Vec<String>,
    /// What is said of rows without a tenant.
    pub null: NullTenant,
}

/// What a row without a tenant is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NullTenant {
    /// Nobody's.
    #[default]
    Hidden,
    /// Everybody's, to read.
    Global,
}

/// A tenant column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standard {
    /// Its name.
    pub column: String,
    /// Its type, as `format_type` writes it with every schema.
    pub kind: String,
    /// The setting that holds the tenant.
    pub setting: String,
    /// What belongs to everybody.
    pub globals: Globals,
}

impl Standard {
    /// What a tenant's own rows satisfy. The sub-select is evaluated once in a statement; a setting that was set once in
    /// a session reads as empty afterwards, not as NULL.
    #[must_use]
    pub fn own(&self) -> String {
        let setting = literal(&self.setting);
        let value = format!(
            "NULLIF(pg_catalog.current_setting({setting}, true), ''::pg_catalog.text)::{}",
            self.kind
        );
        format!("{} = (SELECT {value})", identifier(&self.column))
    }

    /// What rows satisfy that a tenant may read.
    #[must_use]
    pub fn readable(&self) -> String {
        let column = identifier(&self.column);
        let mut readable = self.own();
        if !self.globals.tenants.is_empty() {
            let tenants: Vec<String> = self
                .globals
                .tenants
                .iter()
                .map(|tenant| format!("{}::{}", literal(tenant), self.kind))
                .collect();
            readable = format!("{readable} OR {column} IN ({})", tenants.join(", "));
        }
        if self.globals.null == NullTenant::Global {
            readable = format!("{readable} OR {column} IS NULL");
        }
        readable
    }
}

/// What is pending for such a table: policies that take away whatever is not the tenant's, and one that permits the rest
/// where nothing does so today.
#[must_use]
pub fn isolation(standard: &Standard, today: &Table) -> Change {
    let restrictive = |name: &str, command, using: Option<String>, check: Option<String>| Policy {
        name: name.to_owned(),
        shape: Shape::Restrictive,
        command,
        roles: Vec::new(),
        using,
        check,
        search_path: None,
        comment: None,
    };
    let (own, readable) = (standard.own(), standard.readable());
    let mut created = if own == readable {
        vec![restrictive("tenant_isolation", PolicyCommand::All, Some(own.clone()), Some(own))]
    } else {
        let own = Some(own);
        vec![
            restrictive("tenant_isolation_select", PolicyCommand::Select, Some(readable), None),
            restrictive("tenant_isolation_insert", PolicyCommand::Insert, None, own.clone()),
            restrictive("tenant_isolation_update", PolicyCommand::Update, own.clone(), own.clone()),
            restrictive("tenant_isolation_delete", PolicyCommand::Delete, own, None),
        ]
    };
    if !today.policies.iter().any(|policy| policy.shape == Shape::Permissive) {
        let everything = Some("true".to_owned());
        let mut base = restrictive("tenant_rows", PolicyCommand::All, everything.clone(), everything);
        base.shape = Shape::Permissive;
        created.push(base);
    }
    // A table where this was promoted before has them already.
    created.retain(|policy| !today.policies.iter().any(|other| other.name == policy.name));
    Change { created, ..Change::default() }
}
