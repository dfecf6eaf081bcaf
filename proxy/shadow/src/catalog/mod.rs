//! What is known of a database's tables: which column says whose a row is, and which policies there are.
//!
//! A [`Catalog`] is one look at the database, whole and never changed; the next look makes another one. It holds names and
//! definitions, no rows.

mod digest;
mod function;
mod look;
mod origin;
mod policy;

pub use digest::PolicyDigest;
pub(crate) use function::{Act, Function};
pub use look::{LOOK, Unreadable};
pub use policy::{Policy, PolicyCommand};

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// Tables of one database, as they were at one moment.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    relations: HashMap<u32, Arc<Relation>>,
    names: HashMap<(String, String), u32>,
    has_tenants: bool,
    functions: HashMap<String, Vec<Function>>,
    /// The roles that stand for the application when policies are tried (`pgwarden_shadow`, `pgwarden_shadow_2` …).
    pub shadow_roles: Vec<String>,
    /// Who is a member of the roles that policies name, in a form to be compared.
    pub memberships: Vec<String>,
    /// Of all policies, staged and in force, as 64 hexadecimal digits; empty before the first look.
    pub policy_hash: String,
}

/// A table, view or materialised view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// Its OID.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
    /// The topmost partitioned table, for a partition.
    pub root: Option<u32>,
    /// Whether policies are in force.
    pub row_security: RowSecurity,
    /// The columns, by number.
    pub columns: Vec<Column>,
    /// Which of them says whose a row is.
    pub tenant: Option<i16>,
    /// The policies, by name.
    pub policies: Vec<Policy>,
    /// For a view: the tables' columns that its columns show, resolved through other views.
    pub origins: Vec<Origin>,
    /// Whether writes are looked at.
    pub writes: Triggers,
    /// A trigger that may change a row behind those of pgwarden's.
    pub later_trigger: Option<String>,
    /// What else runs when it is written to.
    pub besides: Besides,
    /// Whether referential actions write to it (ON DELETE CASCADE, SET NULL …).
    pub has_cascades: bool,
    /// Where the rows of its partitions and children are.
    pub children: Children,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum RelationKind {
    /// An ordinary table, or a partition.
    #[serde(rename = "r")]
    Table,
    /// A partitioned table.
    #[serde(rename = "p")]
    Partitioned,
    /// A view.
    #[serde(rename = "v")]
    View,
    /// A materialised view.
    #[serde(rename = "m")]
    MaterializedView,
    /// A foreign table.
    #[serde(rename = "f")]
    Foreign,
}

/// Whether policies are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowSecurity {
    /// They are not.
    Off,
    /// They are, but not for the table's owner.
    On,
    /// They are, for the owner as well.
    Forced,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Column {
    /// Its number (`attnum`).
    pub number: i16,
    /// Its name.
    pub name: String,
    /// The OID of its type.
    #[serde(rename = "type")]
    pub type_oid: u32,
    /// The OID of the type below, for a domain; else the same.
    #[serde(rename = "base")]
    pub base_oid: u32,
    /// The type's name as it may stand in a declaration, without modifiers.
    pub type_name: String,
    /// `pg_type.typtype`: `b`ase, `e`num, `d`omain …
    pub category: char,
    /// `pg_attribute.attgenerated`: empty, `s`tored or `v`irtual.
    pub generated: String,
}

/// What runs when a table is written to, besides the statement.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Besides {
    /// The functions of triggers that are not pgwarden's, of defaults, and of constraints.
    pub calls: Vec<String>,
    /// Whether there are rules, which make another statement of one that names the table.
    pub rules: bool,
    /// The tables whose rows take rows of this one with them, or change them (ON DELETE CASCADE, SET NULL …).
    pub follows: Vec<u32>,
}

/// Where the rows of partitions and children are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Children {
    /// Here, or there are none.
    Here,
    /// Some are kept elsewhere: then nothing can be told of a statement's rows.
    Foreign,
}

/// A column of a view that shows a column of a table as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The number of the view's column.
    pub column: i16,
    /// The table.
    pub table: u32,
    /// The number of the table's column.
    pub number: i16,
}

/// Whether writes to a table are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Triggers {
    /// There are no triggers of pgwarden's, or not all.
    Missing,
    /// There are, but they do not fire, or not always.
    Disabled,
    /// There are, but with other policies than there are now; the digest is that of what they run.
    Outdated(String),
    /// There are; the digest is that of what they run.
    Installed(String),
}

/// Which columns say whose a row is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRule {
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

impl Catalog {
    /// A relation by its OID.
    #[must_use]
    pub fn relation(&self, oid: u32) -> Option<&Arc<Relation>> {
        self.relations.get(&oid)
    }

    /// A relation by its name.
    #[must_use]
    pub fn named(&self, schema: &str, name: &str) -> Option<&Arc<Relation>> {
        self.relation(*self.names.get(&(schema.to_owned(), name.to_owned()))?)
    }

    /// A relation by a name that may lack its schema: then the one in `public`, or the only one of that name.
    #[must_use]
    pub fn find(&self, schema: Option<&str>, name: &str) -> Option<&Arc<Relation>> {
        if let Some(schema) = schema {
            return self.named(schema, name);
        }
        self.named("public", name).or_else(|| {
            let mut found = self.relations().filter(|relation| relation.name == name);
            let first = found.next();
            first.filter(|_| found.next().is_none())
        })
    }

    /// All relations that a name may stand for, whatever `search_path` says.
    #[must_use]
    pub fn meant(&self, schema: Option<&str>, name: &str) -> Vec<&Arc<Relation>> {
        let is_meant =
            |one: &&Arc<Relation>| one.name == name && schema.is_none_or(|schema| one.schema == schema);
        self.relations().filter(is_meant).collect()
    }

    /// The functions that a name may stand for, whatever schema they are in; none where policies are staged for no table.
    #[must_use]
    pub(crate) fn functions(&self, name: &str) -> &[Function] {
        self.functions.get(name).map_or(&[], Vec::as_slice)
    }

    /// Notes which triggers do not run what they would if they were made now: `made` says the digest of that.
    pub fn outdate(&mut self, made: impl Fn(&Relation) -> Option<String>) {
        for relation in self.relations.values_mut() {
            let Triggers::Installed(digest) = &relation.writes else { continue };
            if made(relation).as_ref() != Some(digest) {
                let outdated = Triggers::Outdated(digest.clone());
                Arc::make_mut(relation).writes = outdated;
            }
        }
    }

    /// Whether any table has a column that says whose a row is.
    #[must_use]
    pub fn has_tenants(&self) -> bool {
        self.has_tenants
    }

    /// All relations, in no order.
    pub fn relations(&self) -> impl Iterator<Item = &Arc<Relation>> {
        self.relations.values()
    }

    /// The tenant column behind a column of a result, as RowDescription names it: that of a table itself, or through a
    /// view. Returns the table with it.
    #[must_use]
    pub fn tenant_column(&self, relation: u32, number: i16) -> Option<(&Arc<Relation>, &Column)> {
        let found = self.relation(relation)?;
        let (table, number) = match found.origins.iter().find(|origin| origin.column == number) {
            Some(origin) => (self.relation(origin.table)?, origin.number),
            None => (found, number),
        };
        let column = table.tenant_column().filter(|column| column.number == number)?;
        Some((table, column))
    }
}

impl Triggers {
    /// Whether they are there and fire, whatever they run.
    #[must_use]
    pub fn are_there(&self) -> bool {
        matches!(self, Self::Outdated(_) | Self::Installed(_))
    }
}

impl Relation {
    /// Whether a query that reads from it may see less once what is staged is in force: a view may show anything.
    #[must_use]
    pub fn may_hide(&self) -> bool {
        self.is_staged() || !matches!(self.kind, RelationKind::Table | RelationKind::Partitioned)
    }

    /// Whether somebody has staged policies for it.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        self.policies.iter().any(|policy| policy.is_staged())
    }

    /// The column that says whose a row is.
    #[must_use]
    pub fn tenant_column(&self) -> Option<&Column> {
        self.columns.iter().find(|column| Some(column.number) == self.tenant)
    }

    /// `schema.name`, as reports have it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}
