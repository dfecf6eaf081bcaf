//! How a look at the database becomes a [`Catalog`].

use super::origin;
use super::{
    Besides, Catalog, Children, Column, Function, Origin, Policy, Relation, RelationKind, RowSecurity,
    TenantRule, Triggers,
};
use crate::writes;
use aws_lc_rs::digest;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use thiserror::Error;

/// The question. `$1` is the hash of the document that is known already; the row is the hash of the document as it is
/// now, and the document, unless it is that one. It wants a `search_path` of `pg_catalog, pg_temp`, so that names in
/// expressions come with their schemas.
pub const LOOK: &str = include_str!("look.sql");

/// The document cannot be read.
#[derive(Debug, Error)]
#[error("what the server says of its tables cannot be read: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Document {
    shadow: Vec<String>,
    functions: Vec<Function>,
    memberships: Vec<String>,
    relations: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    oid: u32,
    schema: String,
    name: String,
    kind: RelationKind,
    row_security: RowSecurity,
    root: Option<u32>,
    columns: Vec<Column>,
    policies: Vec<Policy>,
    triggers: Vec<Trigger>,
    children: Children,
    cascades: bool,
    besides: Besides,
    definition: Option<String>,
}

#[derive(Deserialize)]
struct Trigger {
    name: String,
    enabled: char,
    events: u16,
    own: bool,
    digest: Option<String>,
}

impl Catalog {
    /// Reads the document that [`LOOK`] answers with.
    ///
    /// # Errors
    /// [`Unreadable`] when it is none.
    pub fn read(document: &str, rules: &[TenantRule]) -> Result<Self, Unreadable> {
        let Document { shadow, functions, memberships, relations } = serde_json::from_str(document)?;
        let shown: HashMap<u32, Vec<Origin>> = relations
            .iter()
            .filter_map(|found| Some((found.oid, origin::of_definition(found.definition.as_deref()?))))
            .collect();
        let policy_hash = hash(&relations);
        let mut catalog = Self { shadow_roles: shadow, memberships, policy_hash, ..Self::default() };
        for function in functions {
            catalog.functions.entry(function.name.clone()).or_default().push(function);
        }
        for found in relations {
            let origins = origin::resolved(found.oid, &shown);
            let relation = found.relation(rules, origins);
            catalog.names.insert((relation.schema.clone(), relation.name.clone()), relation.oid);
            catalog.has_tenants |= relation.tenant.is_some();
            catalog.relations.insert(relation.oid, Arc::new(relation));
        }
        Ok(catalog)
    }
}

impl Found {
    fn relation(self, rules: &[TenantRule], origins: Vec<Origin>) -> Relation {
        Relation {
            tenant: self.tenant(rules),
            writes: triggers(self.oid, &self.triggers),
            later_trigger: later(self.oid, &self.triggers),
            has_cascades: self.cascades,
            besides: self.besides,
            row_security: self.row_security,
            oid: self.oid,
            schema: self.schema,
            name: self.name,
            kind: self.kind,
            root: self.root,
            columns: self.columns,
            policies: self.policies,
            origins,
            children: self.children,
        }
    }

    fn tenant(&self, rules: &[TenantRule]) -> Option<i16> {
        if !matches!(self.kind, RelationKind::Table | RelationKind::Partitioned) {
            return None;
        }
        let number = |name: &str| Some(self.columns.iter().find(|column| column.name == name)?.number);
        let own = rules.iter().find_map(|rule| match rule {
            TenantRule::Of { schema, table, column } if *schema == self.schema && *table == self.name => {
                number(column)
            }
            _ => None,
        });
        own.or_else(|| {
            rules.iter().find_map(|rule| match rule {
                TenantRule::Anywhere(column) => number(column),
                TenantRule::Of { .. } => None,
            })
        })
    }
}

/// Enabled is `O`: fires except for a replica. `A` would fire for a replica as well, which nobody asked for, and is as good.
fn triggers(table: u32, found: &[Trigger]) -> Triggers {
    let names = writes::triggers(table);
    let own = |name: &String| found.iter().find(|trigger| trigger.own && trigger.name == *name);
    let ours: Vec<&Trigger> = names.iter().filter_map(own).collect();
    if ours.len() < names.len() {
        return Triggers::Missing;
    }
    if ours.iter().any(|trigger| !matches!(trigger.enabled, 'O' | 'A')) {
        return Triggers::Disabled;
    }
    Triggers::Installed(ours.iter().find_map(|trigger| trigger.digest.clone()).unwrap_or_default())
}

/// A trigger that may change a row behind the one of pgwarden's: BEFORE INSERT FOR EACH ROW (`pg_trigger.h`), with a name
/// that comes later.
fn later(table: u32, found: &[Trigger]) -> Option<String> {
    const BEFORE_INSERT_ROW: u16 = 1 | 2 | 4;
    let own = writes::proposed(table);
    let is_later = |trigger: &&Trigger| {
        trigger.events & BEFORE_INSERT_ROW == BEFORE_INSERT_ROW
            && !trigger.own
            && trigger.name.as_bytes() > own.as_bytes()
    };
    found.iter().find(is_later).map(|trigger| trigger.name.clone())
}

/// The hash of all policies, whatever order the server tells them in.
fn hash(relations: &[Found]) -> String {
    let policies: BTreeMap<_, _> = relations
        .iter()
        .filter(|found| !found.policies.is_empty() || found.row_security != RowSecurity::Off)
        .map(|found| ((&found.schema, &found.name), (found.row_security, &found.policies)))
        .collect();
    let listed: Vec<_> = policies.into_iter().collect();
    let text = serde_json::to_vec(&listed).unwrap_or_default();
    digest::digest(&digest::SHA256, &text).as_ref().iter().fold(String::new(), |mut hash, byte| {
        let _fits = write!(hash, "{byte:02x}");
        hash
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"shadow": ["pgwarden_shadow"], "functions": [], "memberships": [], "relations": [
        {"oid": 1, "schema": "public", "name": "items", "kind": "r", "partition": false, "row_security": "on",
         "root": null, "columns": [
            {"number": 2, "name": "org_id", "type": 2950, "base": 2950, "category": "b",
             "type_name": "uuid", "generated": ""}],
         "policies": [], "triggers": [], "children": "here", "cascades": false,
         "besides": {"calls": [], "rules": false, "follows": []}, "definition": null},
        {"oid": 2, "schema": "public", "name": "v", "kind": "v", "partition": false, "row_security": "off",
         "root": null, "columns": [
            {"number": 1, "name": "org_id", "type": 2950, "base": 2950, "category": "b",
             "type_name": "uuid", "generated": ""}],
         "policies": [], "triggers": [], "children": "here", "cascades": false,
         "besides": {"calls": [], "rules": false, "follows": []}, "definition": "({QUERY :targetList ({TARGETENTRY :resno 1 :resorigtbl 1 :resorigcol 2})})"}]}"#;

    fn rules(column: &str) -> Vec<TenantRule> {
        vec![TenantRule::Anywhere(column.to_owned())]
    }

    #[test]
    fn a_column_of_a_view_is_that_of_the_table_behind_it() {
        let catalog = Catalog::read(DOCUMENT, &rules("org_id")).expect("a document");
        let named = |oid, number| {
            catalog.tenant_column(oid, number).map(|(table, column)| (table.full_name(), column.number))
        };
        assert_eq!(named(1, 2), Some(("public.items".to_owned(), 2)));
        assert_eq!(named(2, 1), Some(("public.items".to_owned(), 2)));
        assert_eq!((named(1, 1), named(2, 2), named(3, 1)), (None, None, None));
        assert!(catalog.named("public", "v").is_some_and(|view| view.tenant.is_none()));
    }

    #[test]
    fn what_is_said_of_one_table_goes_before_what_is_said_of_all() {
        let of = |table: &str| TenantRule::Of {
            schema: "public".to_owned(),
            table: table.to_owned(),
            column: "org_id".to_owned(),
        };
        let tenant = |rules: &[TenantRule]| {
            Catalog::read(DOCUMENT, rules).expect("a document").relation(1).expect("items").tenant
        };
        assert_eq!(tenant(&[TenantRule::Anywhere("name".to_owned()), of("items")]), Some(2));
        assert_eq!(tenant(&[of("others")]), None);
        assert_eq!(tenant(&[]), None);
    }

    #[test]
    fn the_hash_is_that_of_the_policies_alone() {
        let hash = |document: &str| Catalog::read(document, &[]).expect("a document").policy_hash;
        assert_eq!(hash(DOCUMENT), hash(&DOCUMENT.replace("org_id", "tenant")));
        assert_ne!(
            hash(DOCUMENT),
            hash(&DOCUMENT.replacen("\"row_security\": \"on\"", "\"row_security\": \"off\"", 1))
        );
    }
}
