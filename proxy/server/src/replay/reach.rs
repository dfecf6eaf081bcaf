//! Asks the server about all that a query reaches.

use crate::replay::side::{Row, Side, SideError};
use pgwarden_shadow::replay::{Body, Closure, Hindrance};
use std::collections::BTreeSet;

/// What a query reaches, as far as it matters.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// The tables with a policy for a shadow role, as `schema`, `table`: those that it reads by itself, or by what is in
    /// force today. What only pending policies read says nothing about the tables that they read.
    pub(super) staged: BTreeSet<(String, String)>,
    /// Names of columns that are floating-point numbers.
    pub(super) floats: BTreeSet<String>,
    /// Names of columns that are not.
    pub(super) columns: BTreeSet<String>,
    /// Aggregates that somebody has made: in which order they take values may matter.
    pub(super) aggregates: bool,
    /// What the policies ask that are to be followed.
    policies: Policies,
}

/// Expressions of policies.
#[derive(Debug, Default)]
struct Policies {
    in_force: Vec<String>,
    pending: Vec<String>,
}

/// What is to become of the tables that a text reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    Told,
    Passed,
}

/// Why a query is not run again.
#[derive(Debug)]
pub(super) enum Unreachable {
    /// Something that it reaches.
    Query(Hindrance),
    /// Something that a policy reaches.
    Policy,
    /// The server could not be asked.
    Server(SideError),
}

impl From<SideError> for Unreachable {
    fn from(error: SideError) -> Self {
        Self::Server(error)
    }
}

impl From<Hindrance> for Unreachable {
    fn from(hindrance: Hindrance) -> Self {
        Self::Query(hindrance)
    }
}

/// Follows a query to everything that it reaches, and the policies to what they reach.
///
/// # Errors
/// [`Unreachable`] when it must not run.
pub(super) async fn reach(side: &mut Side, query: &str, shadows: &[String]) -> Result<Reach, Unreachable> {
    let mut reach = Reach::default();
    let mut closure = Closure::default();
    closure.add(query, Body::Sql)?;
    reach.follow(side, (&mut closure, Tables::Told), shadows).await?;
    let [mut today, mut pending] = [Closure::default(), Closure::default()];
    loop {
        let found = std::mem::take(&mut reach.policies);
        if found.in_force.is_empty() && found.pending.is_empty() {
            return Ok(reach);
        }
        reach.behind(side, (&mut today, Tables::Told), (&found.in_force, shadows)).await?;
        reach.behind(side, (&mut pending, Tables::Passed), (&found.pending, shadows)).await?;
    }
}

impl Reach {
    /// Follows policies.
    async fn behind(
        &mut self,
        side: &mut Side,
        (closure, tables): (&mut Closure, Tables),
        (policies, shadows): (&[String], &[String]),
    ) -> Result<(), Unreachable> {
        for policy in policies {
            closure.add(policy, Body::Sql).map_err(|_| Unreachable::Policy)?;
        }
        self.follow(side, (closure, tables), shadows).await.map_err(|error| match error {
            Unreachable::Query(_) => Unreachable::Policy,
            other => other,
        })
    }

    async fn follow(
        &mut self,
        side: &mut Side,
        (closure, tables): (&mut Closure, Tables),
        shadows: &[String],
    ) -> Result<(), Unreachable> {
        let shadows = array(shadows);
        while let Some(round) = closure.round()? {
            let asked = [array(&round.names), array(&round.called), array(&round.operators)];
            let [names, called, operators] = &asked;
            for row in side.ask(QUESTION, &[names, called, operators, &shadows]).await? {
                self.take(row, (closure, tables))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, row: Row, (closure, tables): (&mut Closure, Tables)) -> Result<(), Hindrance> {
        let mut fields = row.into_iter().map(Option::unwrap_or_default);
        let kind = fields.next().unwrap_or_default();
        let (text, more) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        match kind.as_str() {
            "table" if tables == Tables::Told => _ = self.staged.insert((text, more)),
            "table" => (),
            "float" => _ = self.floats.insert(text),
            "column" => _ = self.columns.insert(text),
            "aggregate" => self.aggregates = true,
            "in force" => self.policies.in_force.push(text),
            "pending" => self.policies.pending.push(text),
            "sql" | "view" => closure.add(&text, Body::Sql)?,
            "plpgsql" => closure.add(&text, Body::Procedural)?,
            "volatile" => return Err(Hindrance::Volatile),
            "role" => return Err(Hindrance::Role),
            "catalog" => return Err(Hindrance::Catalog),
            "foreign" => return Err(Hindrance::Foreign),
            "temporary" => return Err(Hindrance::Temporary),
            _ => return Err(Hindrance::Unread),
        }
        Ok(())
    }
}

/// An array of texts, as the server reads one.
pub(super) fn array<T: AsRef<str>>(values: &[T]) -> String {
    let quoted = values
        .iter()
        .map(|value| format!("\"{}\"", value.as_ref().replace('\\', "\\\\").replace('"', "\\\"")));
    format!("{{{}}}", quoted.collect::<Vec<_>>().join(","))
}

/// `$1` names, `$2` names that are called, `$3` operators, `$4` shadow roles. Whatever has such a name counts, in any
/// schema. A function of one row may be called like a column (`row.function`). What is in the server from the beginning
/// (an OID below 16384) has no body that would have to be read.
const QUESTION: &str = "
WITH functions AS (
    SELECT p.* FROM pg_proc p WHERE p.prokind <> 'p' AND p.proname = ANY ($2::name[])
    UNION SELECT p.* FROM pg_proc p JOIN pg_type t ON t.oid = p.proargtypes[0]
        WHERE p.prokind <> 'p' AND p.pronargs = 1 AND t.typtype IN ('c', 'p') AND p.proname = ANY ($1::name[])
    UNION SELECT p.* FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode WHERE o.oprname = ANY ($3::name[])
    UNION SELECT p.* FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc WHERE c.castfunc >= 16384
    UNION SELECT p.* FROM pg_proc a JOIN pg_aggregate g ON g.aggfnoid = a.oid
        JOIN pg_proc p ON p.oid IN (g.aggtransfn, g.aggfinalfn, g.aggcombinefn)
        WHERE a.proname = ANY ($2::name[]) AND a.oid >= 16384
), relations AS (
    SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = ANY ($1::name[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
)
SELECT DISTINCT 'volatile', NULL::text, NULL::text FROM functions WHERE provolatile = 'v'
UNION ALL SELECT DISTINCT 'role', NULL, NULL FROM functions f, unnest(f.proconfig) setting
    WHERE setting ~ '^(role|session_authorization)='
UNION ALL SELECT DISTINCT 'aggregate', NULL, NULL FROM functions WHERE prokind = 'a' AND oid >= 16384
UNION ALL SELECT CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN l.lanname ELSE 'unread' END,
    coalesce(pg_get_function_sqlbody(f.oid), f.prosrc), NULL
    FROM functions f JOIN pg_language l ON l.oid = f.prolang
    WHERE f.oid >= 16384 AND f.prokind <> 'a' AND l.lanname NOT IN ('internal', 'c')
UNION ALL SELECT CASE WHEN nspname = 'pg_catalog' THEN 'catalog' WHEN relpersistence = 't' THEN 'temporary'
    WHEN relkind = 'f' THEN 'foreign' ELSE 'view' END, CASE WHEN relkind = 'v' THEN pg_get_viewdef(oid) END, NULL
    FROM relations WHERE nspname <> 'information_schema'
    AND (nspname = 'pg_catalog' OR relpersistence = 't' OR relkind IN ('f', 'v'))
UNION ALL SELECT CASE WHEN p.polroles <@ ARRAY(SELECT s.oid FROM pg_roles s WHERE s.rolname = ANY ($4::name[]))
    THEN 'pending' ELSE 'in force' END, e.text, NULL FROM relations r JOIN pg_policy p ON p.polrelid = r.oid,
    LATERAL (SELECT pg_get_expr(p.polqual, p.polrelid)) e(text)
    WHERE r.relrowsecurity AND p.polcmd IN ('*', 'r') AND e.text IS NOT NULL
UNION ALL SELECT DISTINCT 'table', r.nspname::text, r.relname::text FROM relations r JOIN pg_policy p ON p.polrelid = r.oid
    WHERE r.relrowsecurity AND EXISTS (SELECT FROM pg_roles s WHERE s.oid = ANY (p.polroles) AND s.rolname = ANY ($4::name[]))
UNION ALL SELECT DISTINCT CASE WHEN a.atttypid IN (700, 701, 1021, 1022) THEN 'float' ELSE 'column' END, a.attname::text, NULL
    FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY ($1::name[])";
