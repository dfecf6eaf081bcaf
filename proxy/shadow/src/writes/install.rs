//! The triggers of a table, as a script.
//!
//! Nothing in them depends on the table, so that they are in nobody's way: ALTER TABLE and DROP TABLE go on as if they were
//! not there. A WHEN clause with a column, or a function with a parameter of the table's type, would stop them.

use super::expression::{Bits, Side, both, combined};
use super::{proposed, triggers};
use crate::catalog::{Children, Column, Policy, PolicyCommand, Relation, RelationKind};
use aws_lc_rs::digest;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use thiserror::Error;

const BEGIN: &str = include_str!("begin.sql");
const PROPOSED: &str = include_str!("proposed.sql");
const INSERT: &str = include_str!("insert.sql");
const STATEMENT: &str = include_str!("statement.sql");
const TRIGGERS: &str = include_str!("triggers.sql");
const REMOVE: &str = include_str!("remove.sql");

/// Statements that write so few rows are first asked whether all of them pass, one by one. More are judged by the values that
/// policies read, because many rows often have the same.
const FEW: u32 = 10;

/// What the triggers are to know.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The settings that hold the context.
    pub context: &'a [&'a str],
    /// The most rows of one statement to look at.
    pub rows: u32,
}

/// Why writes to a table cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotInstalled {
    /// Nothing to look for.
    #[error("no policies are staged for it")]
    NothingStaged,
    /// Its rows are no table's.
    #[error("it is no table of this server")]
    NoTable,
    /// The triggers would make writes fail.
    #[error("a partition or a child of it is a foreign table, whose rows no trigger gets")]
    ForeignChildren,
    /// What the trigger sees would not be what the policy sees.
    #[error("the policy {policy} calls {function}, which is VOLATILE")]
    Volatile {
        /// The policy.
        policy: String,
        /// The function.
        function: String,
    },
    /// A trigger gets a row before its generated columns have values, or without them.
    #[error("the policy {policy} reads the generated column {column}")]
    Generated {
        /// The policy.
        policy: String,
        /// The column.
        column: String,
    },
    /// Which one stands for the session cannot be told inside of a trigger.
    #[error("its policies are staged for several roles: {0}")]
    SeveralRoles(String),
    /// The row could become another one behind the look.
    #[error("the trigger {0} comes behind those of pgwarden, by its name")]
    LaterTrigger(String),
}

/// The script that installs the triggers, or makes them anew, and the digest of what they run. It is one transaction's
/// worth; the role that runs it needs the table, the schema `pgwarden`, and the shadow role.
///
/// # Errors
/// [`NotInstalled`] where they would not tell the truth.
pub fn install(table: &Relation, terms: Terms<'_>) -> Result<(String, String), NotInstalled> {
    let role = shadow_role(table)?;
    let policies: Vec<&Policy> =
        table.policies.iter().filter(|policy| policy.binds.iter().any(|bound| bound == role)).collect();
    check(table, &policies)?;
    let keys = keys(table, &policies);
    let mut places = places(table, &policies, &keys, terms);
    let tag = tag(&places);
    let made = |places: &[(&str, String)]| {
        [BEGIN, PROPOSED, INSERT, STATEMENT]
            .map(|template| filled(&template.replace("$body$", &tag), places))
            .concat()
    };
    let digest = hexadecimal(made(&places).as_bytes());
    places.push(("digest", digest.clone()));
    let script = made(&places);
    let events = if table.has_cascades { "INSERT OR UPDATE OR DELETE" } else { "INSERT" };
    let rest = [
        ("table", quoted_name(table)),
        ("oid", table.oid.to_string()),
        ("proposed", quoted(&proposed(table.oid))),
        ("role", quoted(role)),
        ("begin_events", events.to_owned()),
    ];
    Ok((script + &filled(TRIGGERS, &rest), digest))
}

/// The script that takes the triggers away. The table need not be there any more.
#[must_use]
pub fn remove(oid: u32, table: Option<&Relation>) -> String {
    let mut script = String::new();
    if let Some(table) = table {
        for name in triggers(oid) {
            let _fits =
                writeln!(script, "DROP TRIGGER IF EXISTS {} ON {};", quoted(&name), quoted_name(table));
        }
    }
    script + &REMOVE.replace("{oid}", &oid.to_string())
}

/// The template with what stands in its places. What was put in is not looked at again: an expression may hold braces.
fn filled(template: &str, places: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        let place = behind
            .split_once('}')
            .and_then(|(name, after)| Some((places.iter().find(|(place, _)| *place == name)?, after)));
        rest = match place {
            Some(((_, text), after)) => {
                filled.push_str(text);
                after
            }
            None => {
                filled.push('{');
                behind
            }
        };
    }
    filled + rest
}

/// Dollar quotes for the functions' bodies that nothing within them can end: a policy may hold any text.
fn tag(places: &[(&str, String)]) -> String {
    let mut tag = "pgwarden".to_owned();
    while places.iter().any(|(_, text)| text.contains(&tag)) {
        tag.push('_');
    }
    format!("${tag}$")
}

/// The role that the staged policies name.
fn shadow_role(table: &Relation) -> Result<&str, NotInstalled> {
    let staged = table.policies.iter().filter(|policy| policy.is_staged());
    let roles: BTreeSet<&str> = staged
        .flat_map(|policy| policy.roles.iter().filter(|role| policy.binds.contains(role)))
        .map(String::as_str)
        .collect();
    let mut listed = roles.iter();
    match (listed.next(), listed.next()) {
        (None, _) => Err(NotInstalled::NothingStaged),
        (Some(role), None) => Ok(role),
        _ => Err(NotInstalled::SeveralRoles(roles.into_iter().collect::<Vec<_>>().join(", "))),
    }
}

fn check(table: &Relation, policies: &[&Policy]) -> Result<(), NotInstalled> {
    if !matches!(table.kind, RelationKind::Table | RelationKind::Partitioned) {
        return Err(NotInstalled::NoTable);
    }
    if table.children == Children::Foreign {
        return Err(NotInstalled::ForeignChildren);
    }
    if let Some(name) = &table.later_trigger {
        return Err(NotInstalled::LaterTrigger(name.clone()));
    }
    for policy in policies {
        if let Some(function) = policy.volatile_function() {
            return Err(NotInstalled::Volatile {
                policy: policy.name.clone(),
                function: function.to_owned(),
            });
        }
        let read = |column: &&Column| policy.columns.contains(&column.number) && !column.generated.is_empty();
        if let Some(column) = table.columns.iter().find(read) {
            return Err(NotInstalled::Generated { policy: policy.name.clone(), column: column.name.clone() });
        }
    }
    Ok(())
}

/// The columns that the policies read, and the one that says whose a row is: rows that are alike in these are judged once.
fn keys<'a>(table: &'a Relation, policies: &[&Policy]) -> Vec<&'a Column> {
    let read = |number: i16| policies.iter().any(|policy| policy.columns.contains(&number));
    table.columns.iter().filter(|column| read(column.number) || Some(column.number) == table.tenant).collect()
}

/// What stands in the places of the templates.
fn places(
    table: &Relation,
    policies: &[&Policy],
    keys: &[&Column],
    terms: Terms<'_>,
) -> Vec<(&'static str, String)> {
    let blank = |name: &&str| format!("coalesce(pg_catalog.current_setting('{name}', true), '') = ''");
    let no_context: Vec<String> = terms.context.iter().map(blank).collect();
    let no_context = if no_context.is_empty() { "false".to_owned() } else { no_context.join(" AND ") };
    let mut places = vec![
        ("oid", table.oid.to_string()),
        ("label", quoted(&table.name)),
        ("path", path(&table.schema)),
        ("rows", terms.rows.to_string()),
        ("few", terms.rows.min(FEW).to_string()),
        ("cascades", table.has_cascades.to_string()),
        ("no_context", no_context),
    ];
    places.extend(rules(policies));
    places.extend(lists(keys));
    places.extend(tenants(table, keys));
    places
}

/// What rows have to pass, and what they count as.
fn rules(policies: &[&Policy]) -> Vec<(&'static str, String)> {
    use PolicyCommand::{Delete, Insert, Select, Update};
    let of = |command, side| combined(policies.iter().copied(), command, side);
    let select = of(Select, Side::Using);
    let (insert, delete) = (of(Insert, Side::Check), of(Delete, Side::Using));
    let (old, new) = (of(Update, Side::Using), of(Update, Side::Check));
    let passes = |own: &str| both(own, &select);
    vec![
        ("insert_passes", passes(&insert)),
        ("update_old_passes", passes(&old)),
        ("update_new_passes", passes(&new)),
        ("delete_passes", passes(&delete)),
        ("insert_mask", Bits::NEW.mask(&insert, &select)),
        ("update_old_mask", Bits::OLD.mask(&old, &select)),
        ("update_new_mask", Bits::NEW.mask(&new, &select)),
        ("delete_mask", Bits::OLD.mask(&delete, &select)),
    ]
}

/// The key columns, in each of the forms that the templates have use for.
fn lists(keys: &[&Column]) -> Vec<(&'static str, String)> {
    let numbered = || (1..).zip(keys.iter().map(|column| quoted(&column.name)));
    let after_comma = |one: &dyn Fn(usize, &str) -> String| {
        numbered().fold(String::new(), |list, (number, name)| list + ", " + &one(number, &name))
    };
    let between = |one: &dyn Fn(usize, &str) -> String| {
        numbered().map(|(number, name)| one(number, &name)).collect::<Vec<_>>().join(", ")
    };
    vec![
        ("old_keys", after_comma(&|number, name| format!("{name} AS \"o{number}\""))),
        ("new_keys", after_comma(&|number, name| format!("{name} AS \"n{number}\""))),
        ("pair_keys", after_comma(&|number, _| format!("\"o{number}\", \"n{number}\""))),
        ("pair_keys_grouped", between(&|number, _| format!("\"o{number}\", \"n{number}\""))),
        ("old_keys_grouped", between(&|number, _| format!("\"o{number}\""))),
        ("proposed_row", between(&|_, name| format!("NEW.{name} AS {name}"))),
        ("old_row", between(&|number, name| format!("\"o{number}\" AS {name}"))),
        ("new_row", between(&|number, name| format!("\"n{number}\" AS {name}"))),
    ]
}

/// Whose a row is, in each of the forms.
fn tenants(table: &Relation, keys: &[&Column]) -> Vec<(&'static str, String)> {
    let position = keys.iter().position(|column| Some(column.number) == table.tenant);
    let text = |letter: &str| {
        position.map_or_else(
            || "NULL::pg_catalog.text".to_owned(),
            |at| format!("\"{letter}{}\"::pg_catalog.text", at + 1),
        )
    };
    let proposed = table.tenant_column().map_or_else(
        || "NULL::pg_catalog.text".to_owned(),
        |column| format!("NEW.{}::pg_catalog.text", quoted(&column.name)),
    );
    vec![
        ("new_tenant", proposed),
        ("pair_tenants", format!("{} AS \"#t\", {} AS \"#u\"", text("o"), text("n"))),
        ("old_tenant", text("o")),
    ]
}

/// Names in expressions come with their schemas; helper functions without a path of their own get the one that they would
/// most likely have.
fn path(schema: &str) -> String {
    let own = if schema == "public" { String::new() } else { format!("{}, ", quoted(schema)) };
    format!("pg_catalog, {own}public, pg_temp")
}

fn quoted_name(table: &Relation) -> String {
    format!("{}.{}", quoted(&table.schema), quoted(&table.name))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn hexadecimal(text: &[u8]) -> String {
    digest::digest(&digest::SHA256, text).as_ref().iter().fold(String::new(), |mut hash, byte| {
        let _fits = write!(hash, "{byte:02x}");
        hash
    })
}
