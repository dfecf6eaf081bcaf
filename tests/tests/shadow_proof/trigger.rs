//! Triggers that applications have on their tables: what they write, no statement's text says.

use std::fmt::Write as _;

use crate::dice::Dice;
use crate::schema::{Kind, Partitions, Schema, Table};

/// What a trigger does for each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Puts the tenant of the session into a new row that says none.
    FillsTenant,
    /// Puts the tenant of the session into whatever is written.
    ForcesTenant,
    /// Counts a new row in its parent.
    CountsInParent,
    /// Writes a row into another table.
    CopiesInto(usize),
    /// Counts what is left in a row of another table, when a row has gone: perhaps with the one that it referred to.
    CountsRestIn(usize),
    /// Looks something up in another table before a row is written.
    ReadsFrom(usize),
}

/// A trigger of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    pub deed: Deed,
    /// Whether it runs with the rights of the tables' owner, whom no policy binds.
    pub definer: bool,
}

/// The triggers of the table with this index, which may write to tables before it.
pub fn random(dice: &mut Dice, table: &Table, index: usize) -> Vec<Trigger> {
    if !dice.chance(35) {
        return Vec::new();
    }
    let mut deeds = Vec::new();
    // A row does not move to another partition in a trigger.
    if table.partitions != Partitions::ByTenant {
        deeds.extend([Deed::FillsTenant, Deed::ForcesTenant]);
    }
    if table.parent.is_some() {
        deeds.push(Deed::CountsInParent);
    }
    if index > 0 {
        let mut other = || dice.below(index);
        deeds.extend([Deed::CopiesInto(other()), Deed::CountsRestIn(other()), Deed::ReadsFrom(other())]);
    }
    if deeds.is_empty() {
        return Vec::new();
    }
    vec![Trigger { deed: *dice.pick(&deeds), definer: dice.chance(25) }]
}

/// Creates the triggers of the table with this index.
pub fn write(sql: &mut String, schema: &Schema, table: &Table) {
    let (name, tenant) = (table.name, schema.tenant_column);
    for Trigger { deed, definer } in &table.triggers {
        let (when, body) = match deed {
            Deed::FillsTenant => (
                "BEFORE INSERT",
                format!("IF NEW.{tenant} IS NULL THEN NEW.{tenant} := public.current_org(); END IF;"),
            ),
            Deed::ForcesTenant => {
                ("BEFORE INSERT OR UPDATE", format!("NEW.{tenant} := public.current_org();"))
            }
            Deed::CountsInParent => {
                let (parent, _) = table.parent.expect("a child has a parent");
                let parent = schema.tables[parent].name;
                (
                    "AFTER INSERT",
                    format!("UPDATE public.{parent} SET amount = amount + 1 WHERE id = NEW.parent_id;"),
                )
            }
            Deed::CopiesInto(other) => {
                let other = schema.tables[*other].name;
                let row = format!("(NEW.id + 50000, NEW.{tenant}, NEW.owner)");
                (
                    "AFTER INSERT OR UPDATE",
                    format!("INSERT INTO public.{other} (id, {tenant}, owner) VALUES {row};"),
                )
            }
            Deed::CountsRestIn(other) => {
                let other = schema.tables[*other].name;
                let rest = format!("(SELECT count(*) FROM public.{name})");
                ("AFTER DELETE", format!("UPDATE public.{other} SET amount = {rest} WHERE id = OLD.id;"))
            }
            Deed::ReadsFrom(other) => {
                let other = schema.tables[*other].name;
                ("BEFORE INSERT", format!("NEW.amount := (SELECT count(*) FROM public.{other});"))
            }
        };
        let rights = if *definer { " SECURITY DEFINER" } else { "" };
        let _ = writeln!(
            sql,
            "CREATE FUNCTION on_{name}() RETURNS trigger LANGUAGE plpgsql{rights} AS\n  $$ BEGIN {body} RETURN NEW; END $$;"
        );
        let _ = writeln!(
            sql,
            "CREATE TRIGGER of_application {when} ON {name} FOR EACH ROW EXECUTE FUNCTION on_{name}();"
        );
    }
}

impl Table {
    /// Whether a trigger gives a new row without a tenant one.
    pub fn fills_tenant(&self) -> bool {
        let fills = |trigger: &Trigger| matches!(trigger.deed, Deed::FillsTenant | Deed::ForcesTenant);
        self.triggers.iter().any(fills)
    }

    /// Whether its policies can be evaluated beside a write: functions that are VOLATILE, and generated columns, cannot.
    pub fn is_watched(&self) -> bool {
        let expressions = self.policies.iter().flat_map(|policy| [&policy.using, &policy.check]);
        let mut expressions = expressions.flatten();
        expressions.all(|text| !text.contains("is_open()") && !text.contains("doubled"))
    }

    /// The columns that a statement may write.
    pub fn written(&self) -> impl Iterator<Item = &crate::schema::Column> {
        self.columns.iter().filter(|column| column.kind != Kind::Generated)
    }
}
