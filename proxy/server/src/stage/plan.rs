//! What staging does to one table.

use super::catalog::{Relation, StagedTable, remember};
use super::closure::Graph;
use super::failure::Failure;
use super::roles::ShadowRole;
use super::source::deep;
use pgwarden_shadow::policy::{
    Called, Change, NotStaged, OPEN, Policy, PolicyCommand, Shape, Switch, asked, identifier, literal, staged,
};
use serde_json::json;

/// A table that is to be staged.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    /// The table.
    pub(crate) relation: Relation,
    /// What is pending.
    pub(crate) change: Change,
    /// Where it comes from.
    pub(crate) source: String,
    /// What the migration says besides, and could not be read.
    pub(crate) left_out: Vec<String>,
    /// What has to be done, or why nothing can be.
    pub(crate) work: Result<Work, String>,
}

/// The statements that stage a table.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// The names of the policies.
    pub(crate) names: Vec<String>,
    /// The statements.
    pub(crate) statements: Vec<String>,
}

/// Plans a table.
///
/// # Errors
/// [`Failure::System`] when the parser cannot be run.
pub(crate) async fn plan(
    (relation, change): (Relation, Change),
    (source, left_out): (String, Vec<String>),
    (roles, graph): (&[ShadowRole], Option<&Graph>),
    enable: Switch,
) -> Result<Planned, Failure> {
    if relation.today.enabled == Switch::Off && enable == Switch::Off {
        let work = Err(
            "row level security is off, and to switch it on is not without effect: --enable-rls does it. \
                        The detector of rows needs no policies"
                .to_owned(),
        );
        return Ok(Planned { relation, change, source, left_out, work });
    }
    let (today, pending) = (relation.today.clone(), change.clone());
    let shadows: Vec<_> = roles.iter().map(|role| role.shadow.clone()).collect();
    let policies: Result<Vec<Policy>, NotStaged> = deep(move || {
        let each = shadows.iter().map(|shadow| staged(&today, &pending, shadow));
        each.collect::<Result<Vec<_>, _>>().map(|lists| lists.into_iter().flatten().collect())
    })
    .await?;
    let expressions: Vec<String> = relation
        .today
        .after(&change)
        .into_iter()
        .flat_map(|policy| [policy.using, policy.check])
        .flatten()
        .collect();
    let called = deep(move || {
        let each = expressions.iter().filter_map(|expression| asked(expression).ok());
        each.flat_map(|asked| asked.functions).collect::<Vec<Called>>()
    })
    .await?;
    let asks = graph.and_then(|graph| graph.asks_role(&called));
    let work = match (policies, asks) {
        (Ok(policies), None) => Ok(work(&relation, &policies)),
        (Ok(_), Some(what)) => Err(format!(
            "its policies ask who the role is ({what}): they would not answer the shadow role as the application"
        )),
        (Err(reason), _) => Err(reason.to_string()),
    };
    Ok(Planned { relation, change, source, left_out, work })
}

fn work(relation: &Relation, policies: &[Policy]) -> Work {
    let table = relation.sql();
    let mut statements = Vec::new();
    let mut names: Vec<String> = policies.iter().map(|policy| policy.name.clone()).collect();
    if relation.today.enabled == Switch::Off {
        names.push(OPEN.to_owned());
        let open = Policy {
            name: OPEN.to_owned(),
            shape: Shape::Permissive,
            command: PolicyCommand::All,
            roles: Vec::new(),
            using: Some("true".to_owned()),
            check: Some("true".to_owned()),
            search_path: None,
            comment: Some("pgwarden: keeps the table open to all while something is staged".to_owned()),
        };
        statements.extend(open.create(&table));
    }
    statements.extend(policies.iter().flat_map(|policy| policy.create(&table)));
    if relation.today.enabled == Switch::Off {
        statements.push(format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"));
    }
    names.sort_unstable();
    Work { names, statements }
}

impl Planned {
    /// Whether it is staged like this already.
    pub(crate) fn is_done(&self, before: &[StagedTable]) -> bool {
        let Some(row) = before.iter().find(|row| row.oid == self.relation.oid) else { return false };
        match &self.work {
            Ok(work) => {
                row.state == "staged"
                    && row.sql == self.text(work)
                    && row.today == self.relation.today
                    && row.change == self.change
                    && self.relation.staged == work.names
                    && self.relation.made == row.made
            }
            Err(reason) => row.state == "refused" && row.reason.as_ref() == Some(reason),
        }
    }

    /// The statements of its transaction, behind the lock.
    pub(crate) fn statements(&self) -> Vec<String> {
        let table = self.relation.sql();
        let drop = |name: &String| format!("DROP POLICY IF EXISTS {} ON {table}", identifier(name));
        let mut statements: Vec<String> = self.relation.staged.iter().map(drop).collect();
        if let Ok(work) = &self.work {
            statements.extend(work.statements.iter().cloned());
        }
        statements.push(self.row());
        if self.work.is_ok() {
            statements.push(remember(self.relation.oid));
        }
        statements.push(self.journal());
        statements
    }

    /// The statements, and what was left out: what is remembered to tell whether anything has changed.
    fn text(&self, work: &Work) -> String {
        let left_out = self.left_out.iter().map(|line| format!("\n-- left out: {line}"));
        left_out.fold(work.statements.join(";\n"), |text, line| text + &line)
    }

    /// What is remembered of it.
    fn row(&self) -> String {
        let (state, reason, sql) = match &self.work {
            Ok(work) => ("staged", "NULL".to_owned(), self.text(work)),
            Err(reason) => ("refused", literal(reason), String::new()),
        };
        let values = [
            format!("{}::regclass", self.relation.oid),
            literal(state),
            literal(&self.source),
            reason,
            literal(&json!(self.change).to_string()),
            literal(&json!(self.relation.today).to_string()),
            literal(&sql),
        ];
        format!(
            "INSERT INTO pgwarden.staged (relation, state, source, reason, change, today, sql) VALUES ({}) \
             ON CONFLICT (relation) DO UPDATE SET state = excluded.state, source = excluded.source, \
             reason = excluded.reason, change = excluded.change, today = excluded.today, sql = excluded.sql, \
             at = excluded.at, by_user = excluded.by_user",
            values.join(", ")
        )
    }

    fn journal(&self) -> String {
        let detail = match &self.work {
            Ok(work) => {
                let not_staged: Vec<_> =
                    self.left_out.iter().map(|reason| json!({ "reason": reason })).collect();
                json!({ "state": "staged", "source": self.source, "policies": work.names, "not_staged": not_staged })
            }
            Err(_) => json!({ "state": "refused", "source": self.source }),
        };
        let reason = self.work.as_ref().err().map(String::as_str);
        entry("stage", &[self.relation.label()], reason, &detail)
    }
}

/// The statement that writes the journal, and tells the observers so.
pub(crate) fn entry(
    step: &str,
    tables: &[String],
    reason: Option<&str>,
    detail: &serde_json::Value,
) -> String {
    let tables: Vec<String> = tables.iter().map(|table| literal(table)).collect();
    format!(
        "INSERT INTO pgwarden.journal (step, tables, reason, detail) VALUES ({}, ARRAY[{}]::text[], {}, {});\nNOTIFY pgwarden_shadow",
        literal(step),
        tables.join(", "),
        reason.map_or_else(|| "NULL".to_owned(), literal),
        literal(&detail.to_string())
    )
}
