//! What promotion would run into, read from the catalog: the same questions that `pgwarden promote` asks, for the verdict.

use super::administrator::Administrator;
use super::catalog::{self, Relation, StagedTable};
use super::closure::{Graph, UNBOUND};
use super::failure::Failure;
use super::moved::changed;
use super::roles::{self, Acting};
use pgwarden_shadow::policy::{Switch, identifier};
use pgwarden_shadow::verdict::{Ahead, Obstacles};
use std::collections::BTreeSet;

/// Adds what stands in the way of the tables that are staged in this database. Not cancel safe, as every question.
///
/// # Errors
/// [`Failure`] when the server refuses to answer: then nothing is known.
pub(crate) async fn ahead(session: &mut Administrator, known: &mut Ahead) -> Result<(), Failure> {
    let database = session.database.clone();
    let rows = catalog::staged(session).await?;
    if rows.is_empty() {
        known.asked.insert(database);
        return Ok(());
    }
    let view = View::read(session, &rows).await?;
    for row in rows.iter().filter(|row| row.state != "refused") {
        let Some(relation) = view.relations.iter().find(|relation| relation.oid == row.oid) else { continue };
        view.tell(row, relation, known.of(&database, &row.label));
    }
    known.asked.insert(database);
    Ok(())
}

/// What was read, for all tables together.
struct View {
    relations: Vec<Relation>,
    graph: Graph,
    acting: Vec<Acting>,
    /// What is against every table.
    everywhere: Vec<String>,
    /// The number of the table, whether it is a blocker, and what is to be said.
    unbound: Vec<(u32, Weight, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Blocker,
    Note,
}

impl View {
    async fn read(session: &mut Administrator, rows: &[StagedTable]) -> Result<Self, Failure> {
        let oids: Vec<u32> = rows.iter().map(|row| row.oid).collect();
        let relations = catalog::relations(session, &oids).await?;
        let graph = Graph::read(session).await?;
        let mut everywhere = roles::inherited(session).await?;
        let stood_for = session.texts("SELECT acts_as FROM pgwarden.shadow_role ORDER BY acts_as").await?;
        let acting = match stood_for.is_empty() {
            true => Vec::new(),
            false => match roles::acting(session, &stood_for, (&[], &BTreeSet::new())).await {
                Ok(acting) => acting,
                Err(Failure::Caller(told)) => {
                    everywhere.push(told.message);
                    Vec::new()
                }
                Err(failure) => return Err(failure),
            },
        };
        everywhere.extend(acting.iter().filter_map(Acting::bypasses));
        let unbound = unbound(session, &acting).await?;
        Ok(Self { relations, graph, acting, everywhere, unbound })
    }

    fn tell(&self, row: &StagedTable, relation: &Relation, obstacles: &mut Obstacles) {
        obstacles.blockers.extend(self.everywhere.iter().cloned());
        let (blocking, noted) = (Weight::Blocker, Weight::Note);
        for (weight, list) in [(blocking, &mut obstacles.blockers), (noted, &mut obstacles.notes)] {
            let of_table = self.unbound.iter().filter(|one| one.0 == row.oid && one.1 == weight);
            list.extend(of_table.map(|(_, _, text)| text.clone()));
        }
        let others = self.graph.missing(&BTreeSet::from([row.oid]));
        if row.state == "promoted" {
            let without = |other| format!("its policies rely on those of {other}, which are not in force");
            obstacles.blockers.extend(others.into_iter().map(without));
            return;
        }
        obstacles.relies_on.extend(others);
        let unstaged = self.graph.refused(row.oid).into_iter();
        let without = |other| format!("its policies rely on those of {other}, which could not be staged");
        obstacles.blockers.extend(unstaged.map(without));
        obstacles.blockers.extend(changed(row, relation).map(|told| told.message));
        obstacles.blockers.extend(self.graph.recursion(row.oid));
        obstacles.blockers.extend(self.owners(row, relation));
    }

    /// The application's roles that own the table, and would not be bound.
    fn owners(&self, row: &StagedTable, relation: &Relation) -> Vec<String> {
        if row.change.force.unwrap_or(relation.today.forced) == Switch::On {
            return Vec::new();
        }
        let own = self.acting.iter().filter(|acting| acting.acts.contains(&relation.owner));
        let lines = own.filter(|acting| acting.attributes.is_empty()).map(|acting| {
            format!(
                "role \"{}\" owns the table, or has its owner's rights, and row level security will not be forced: \
                 no policy would bind it",
                acting.name
            )
        });
        lines.collect()
    }
}

/// Roles with rights that the policies do not bind. Of those of the application, their attributes and what they own are
/// spoken of elsewhere.
async fn unbound(
    session: &mut Administrator,
    acting: &[Acting],
) -> Result<Vec<(u32, Weight, String)>, Failure> {
    let mut lines = Vec::new();
    for row in session.read(UNBOUND).await? {
        let [_, _, Some(role), Some(why), Some(oid), Some(weight)] = row.as_slice() else { continue };
        let weight = if weight == "blocker" { Weight::Blocker } else { Weight::Note };
        let is_application = acting.iter().any(|one| *role == one.name || *role == identifier(&one.name));
        let is_said = is_application && weight == Weight::Note;
        let Some(oid) = oid.parse().ok().filter(|_| !is_said) else { continue };
        lines.push((oid, weight, format!("role {role} has rights on it, and is not bound: {why}")));
    }
    Ok(lines)
}
