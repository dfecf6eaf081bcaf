//! Which policies read which other tables: what has to be promoted together, and what would never end.

use super::administrator::Administrator;
use super::failure::Failure;
use pgwarden_shadow::policy::{Called, Switch, Used, Word, role_in, words};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Roles with rights on a promoted table that its policies do not bind, and with rights on a staged one that they will not
/// bind: state, table, role, why, the table's number, and whether it was meant so (`note`), or nobody can know (`blocker`).
pub(crate) const UNBOUND: &str = "SELECT state, relation, role, why, oid::text, \
     CASE WHEN is_listed THEN 'note' ELSE 'blocker' END FROM (SELECT s.state, s.relation::text AS relation, \
     s.relation::oid AS oid, quote_ident(r.rolname) AS role, CASE WHEN r.rolbypassrls THEN 'it has BYPASSRLS' \
     WHEN pg_has_role(r.oid, c.relowner, 'USAGE') AND NOT CASE s.state WHEN 'staged' \
     THEN coalesce((s.change ->> 'force')::boolean, c.relforcerowsecurity) ELSE c.relforcerowsecurity END \
     THEN 'it owns the table, or has the owner''s rights, and row level security is not forced' \
     WHEN NOT b.is_listed AND jsonb_array_length(s.change -> 'created') > 0 \
     THEN CASE s.state WHEN 'staged' THEN 'no pending policy is for it' ELSE 'no promoted policy is for it' END END AS why, \
     b.is_listed OR r.rolbypassrls OR pg_has_role(r.oid, c.relowner, 'USAGE') AS is_listed \
     FROM pgwarden.staged s JOIN pg_class c ON c.oid = s.relation CROSS JOIN LATERAL \
     (SELECT DISTINCT grantee FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner)))) a \
     JOIN pg_roles r ON r.oid = a.grantee CROSS JOIN LATERAL (SELECT EXISTS \
     (SELECT FROM jsonb_array_elements(s.change -> 'created') p \
     WHERE jsonb_array_length(p -> 'roles') = 0 OR EXISTS (SELECT FROM jsonb_array_elements_text(p -> 'roles') l \
     JOIN pg_roles x ON x.rolname = l WHERE pg_has_role(r.oid, x.oid, 'USAGE'))) AS is_listed) b \
     WHERE s.state IN ('staged', 'promoted') AND NOT r.rolsuper \
     AND r.rolname !~ '^pgwarden_shadow') found WHERE why IS NOT NULL ORDER BY 1, 2, 3";

/// A table or view.
#[derive(Debug, Deserialize)]
struct Node {
    oid: u32,
    schema: String,
    name: String,
    owner: String,
    forced: Switch,
    state: Option<String>,
}

/// A function.
#[derive(Debug, Deserialize)]
struct Function {
    oid: u32,
    schema: String,
    name: String,
    owner: String,
    definer: Switch,
    bypasses: Switch,
    volatility: char,
    body: String,
}

/// What reads what, as far as policies are asked on the way.
#[derive(Debug)]
pub(crate) struct Graph {
    tables: BTreeMap<u32, Node>,
    functions: BTreeMap<u32, Function>,
    /// Of policies on a table: the relations and functions that they name.
    policies: BTreeMap<u32, BTreeSet<u32>>,
    views: BTreeMap<u32, BTreeSet<u32>>,
}

impl Graph {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Administrator::read`].
    pub(crate) async fn read(session: &mut Administrator) -> Result<Self, Failure> {
        let user = "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgwarden')";
        let tables: Vec<Node> = session
            .objects(&format!(
                "SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner, \
                 coalesce((s.change ->> 'force')::boolean, c.relforcerowsecurity) AS forced, s.state AS state \
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pgwarden.staged s \
                 ON s.relation::oid = c.oid WHERE c.relkind IN ('r', 'p', 'v', 'm') AND {user}"
            ))
            .await?;
        let functions: Vec<Function> = session
            .objects(&format!(
                "SELECT p.oid::bigint AS oid, n.nspname AS schema, p.proname AS name, o.rolname AS owner, \
                 p.prosecdef AS definer, (o.rolsuper OR o.rolbypassrls) AS bypasses, p.provolatile AS volatility, \
                 coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS body FROM pg_proc p JOIN pg_namespace n \
                 ON n.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner JOIN pg_language l ON l.oid = p.prolang \
                 WHERE p.prokind = 'f' AND l.lanname IN ('sql', 'plpgsql') AND {user}"
            ))
            .await?;
        let policies = edges(
            session,
            "SELECT DISTINCT p.polrelid, d.refobjid FROM pg_policy p JOIN pg_depend d ON d.classid = 'pg_policy'::regclass \
             AND d.objid = p.oid WHERE d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass) \
             AND d.refobjid <> p.polrelid AND p.polname ^@ 'pgwarden_'",
        );
        let policies = policies.await?;
        let views = edges(
            session,
            "SELECT DISTINCT r.ev_class, d.refobjid FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass \
             AND d.objid = r.oid WHERE d.refclassid IN ('pg_class'::regclass, 'pg_proc'::regclass) \
             AND d.refobjid <> r.ev_class",
        );
        let views = views.await?;
        Ok(Self {
            tables: tables.into_iter().map(|node| (node.oid, node)).collect(),
            functions: functions.into_iter().map(|function| (function.oid, function)).collect(),
            policies,
            views,
        })
    }

    /// The tables that have to be promoted with those of `chosen`: their policies are asked by those of the chosen ones,
    /// which rely on them.
    pub(crate) fn missing(&self, chosen: &BTreeSet<u32>) -> Vec<String> {
        self.others(chosen, "staged")
    }

    /// Tables that the policies of this one ask for theirs, which are pending and could not be staged.
    pub(crate) fn refused(&self, table: u32) -> Vec<String> {
        self.others(&BTreeSet::from([table]), "refused")
    }

    fn others(&self, chosen: &BTreeSet<u32>, state: &str) -> Vec<String> {
        let mut others = BTreeSet::new();
        for oid in chosen {
            for other in self.reached(*oid) {
                let node = self.tables.get(&other).filter(|node| node.state.as_deref() == Some(state));
                others.extend(node.filter(|node| !chosen.contains(&node.oid)).map(Node::label));
            }
        }
        others.into_iter().collect()
    }

    /// Tables whose policies come back to the same table with its policies in force.
    pub(crate) fn recursions(&self) -> Vec<String> {
        self.policies.keys().filter_map(|oid| self.recursion(*oid)).collect()
    }

    /// Whether the policies of a table come back to it.
    pub(crate) fn recursion(&self, oid: u32) -> Option<String> {
        let node = self.tables.get(&oid).filter(|_| self.reached(oid).contains(&oid))?;
        Some(format!(
            "{}: its policies read the table itself with its policies in force, which never ends (42P17, 54001). \
             A SECURITY DEFINER function of an owner who is not bound ends it: leave FORCE away there, or give the \
             function to a role with BYPASSRLS",
            node.label()
        ))
    }

    /// The function that asks who the role is, of those called by these names and of all that they call.
    pub(crate) fn asks_role(&self, called: &[Called]) -> Option<String> {
        let fits = |function: &&Function| {
            let is_named = |one: &Called| {
                one.name == function.name
                    && one.schema.as_ref().is_none_or(|schema| *schema == function.schema)
            };
            called.iter().any(is_named)
        };
        let start = self.functions.values().filter(fits).map(|function| function.oid).collect();
        self.followed(start).into_iter().find_map(|function| {
            let found = words(&function.body).unwrap_or_default();
            let word = role_in(&found, function.definer)?;
            Some(format!("{} in function {}.{}", word, function.schema, function.name))
        })
    }

    /// Functions that have a snapshot of their own.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut lines = BTreeSet::new();
        for oid in self.policies.keys() {
            for function in self.called(*oid) {
                if function.volatility == 'v' {
                    lines.insert(format!(
                        "function {}.{} is VOLATILE, and a policy calls it: it is run for every row, and cannot be \
                         replayed",
                        function.schema, function.name
                    ));
                }
            }
        }
        lines.into_iter().collect()
    }

    /// All functions that the policies of a table call, directly or not.
    fn called(&self, table: u32) -> Vec<&Function> {
        self.followed(self.policies.get(&table).into_iter().flatten().copied().collect())
    }

    /// These functions, and all that they call.
    fn followed(&self, start: Vec<u32>) -> Vec<&Function> {
        let mut seen = BTreeSet::new();
        let mut next = start;
        while let Some(oid) = next.pop() {
            let Some(function) = self.functions.get(&oid) else { continue };
            if seen.insert(oid) {
                next.extend(
                    self.named(&function.body).into_iter().filter(|oid| self.functions.contains_key(oid)),
                );
            }
        }
        seen.iter().filter_map(|oid| self.functions.get(oid)).collect()
    }

    /// The tables that the policies of `table` read with the policies of those in force.
    fn reached(&self, table: u32) -> BTreeSet<u32> {
        let mut reached = BTreeSet::new();
        let mut seen = BTreeSet::new();
        // Who reads: the caller, whom policies bind, or the owner of a function.
        let start = self.policies.get(&table).into_iter().flatten();
        let mut next: Vec<(u32, Option<u32>)> = start.map(|oid| (*oid, None)).collect();
        while let Some((oid, reader)) = next.pop() {
            if !seen.insert((oid, reader)) {
                continue;
            }
            if let Some(function) = self.functions.get(&oid) {
                let reader = if function.definer == Switch::On { Some(oid) } else { reader };
                next.extend(self.named(&function.body).into_iter().map(|oid| (oid, reader)));
            } else if let Some(inside) = self.views.get(&oid) {
                next.extend(inside.iter().map(|oid| (*oid, reader)));
            } else if self.is_bound(oid, reader) {
                reached.insert(oid);
                next.extend(self.policies.get(&oid).into_iter().flatten().map(|oid| (*oid, reader)));
            }
        }
        reached
    }

    /// Whether policies of a table bind the owner of a function; they always bind the caller.
    fn is_bound(&self, table: u32, reader: Option<u32>) -> bool {
        let Some(table) = self.tables.get(&table) else { return false };
        let Some(function) = reader.and_then(|oid| self.functions.get(&oid)) else { return true };
        let is_owner = function.owner == table.owner && table.forced == Switch::Off;
        function.bypasses == Switch::Off && !is_owner
    }

    /// What a body names: every relation and function that it could mean.
    fn named(&self, body: &str) -> BTreeSet<u32> {
        let found = words(body).unwrap_or_default();
        let fits = |word: &Word, schema: &str, name: &str| {
            word.name == name && word.schema.as_deref().is_none_or(|written| written == schema)
        };
        let mut named = BTreeSet::new();
        for word in &found {
            let tables = self.tables.values().filter(|node| fits(word, &node.schema, &node.name));
            let is_call = word.used == Used::Call;
            let functions = self
                .functions
                .values()
                .filter(|function| is_call && fits(word, &function.schema, &function.name));
            named.extend(tables.map(|node| node.oid));
            named.extend(functions.map(|function| function.oid));
        }
        named
    }
}

impl Node {
    fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

async fn edges(session: &mut Administrator, sql: &str) -> Result<BTreeMap<u32, BTreeSet<u32>>, Failure> {
    let mut edges: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for row in session.read(sql).await? {
        let number = |value: &Option<String>| value.as_deref().and_then(|text| text.parse::<u32>().ok());
        if let [Some(from), Some(to)] = row.iter().map(number).collect::<Vec<_>>().as_slice() {
            edges.entry(*from).or_default().insert(*to);
        }
    }
    Ok(edges)
}
