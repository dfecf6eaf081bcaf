//! What is pending, and where that is written.

use super::administrator::Administrator;
use super::arguments::Sources;
use super::catalog::{self, Relation};
use super::failure::Failure;
use pgwarden_config::{TenantColumn, ValueFrom};
use pgwarden_shadow::policy::{
    Change, Globals, Helper, Migration, MigrationError, Named, NullTenant, Policy, Standard, Switch, Unread,
    Weight, identifier, isolation, literal, migration, qualified,
};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The setting that holds the tenant, where nobody says which.
const SETTING: &str = "app.current_org_id";

/// The stack of the thread that parses: the grammar recurses.
const STACK: usize = 64 * 1024 * 1024;

/// What is pending for some tables.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// For each table.
    pub(crate) tables: Vec<(Relation, Change)>,
    /// Functions that policies need.
    pub(crate) helpers: Vec<Helper>,
    /// What was left out.
    pub(crate) unread: Vec<Unread>,
    /// Where it comes from, for people.
    pub(crate) source: String,
}

/// Puts together what the arguments name.
///
/// # Errors
/// [`Failure`] when a file, a table or a column cannot be used.
pub(crate) async fn pending(session: &mut Administrator, flags: &Sources) -> Result<Pending, Failure> {
    match &flags.from {
        Some(path) => from_file(session, path, &flags.drops).await,
        None if flags.existing => existing(session).await,
        None => columns(session, &flags.column, flags.setting.clone()).await,
    }
}

async fn from_file(session: &mut Administrator, file: &Path, drops: &[String]) -> Result<Pending, Failure> {
    let shown = file.display().to_string();
    let system = |cause| Failure::System { what: shown.clone(), cause };
    let text = std::fs::read_to_string(file).map_err(system)?;
    let read = parse(text).await?.map_err(|cause| Failure::Migration { path: shown.clone(), cause })?;
    if let Some(one) = read.unread.iter().find(|one| one.weight == Weight::Drops).filter(|_| drops.is_empty())
    {
        return Err(Failure::caller(
            format!("{shown}, line {}: {}", one.line, one.why),
            "Say which with --drops, such as --drops 'permissive_all_*'.",
        ));
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Where the file sets none, names mean what they mean to whoever runs it.
    let path =
        Some(&session.search_path).filter(|path| !path.is_empty()).map_or("''", String::as_str).to_owned();
    let mut changes: BTreeMap<u32, Change> = BTreeMap::new();
    for (named, change) in read.tables {
        let oid = table(session, &named).await?;
        let merged = changes.entry(oid).or_default();
        merged.dropped.extend(change.dropped);
        merged.created.extend(change.created.into_iter().map(|policy| {
            let search_path = policy.search_path.clone().or_else(|| Some(path.clone()));
            Policy { search_path, ..policy }
        }));
        merged.force = change.force.or(merged.force);
    }
    if !drops.is_empty() {
        for oid in with_policies(session, drops).await? {
            changes.entry(oid).or_default();
        }
    }
    let oids: Vec<u32> = changes.keys().copied().collect();
    let mut tables = Vec::new();
    for relation in catalog::relations(session, &oids).await? {
        let mut change = changes.remove(&relation.oid).unwrap_or_default();
        let matches = |name: &str| drops.iter().any(|pattern| fits(pattern, name));
        let more = relation.today.policies.iter().map(|policy| &policy.name).filter(|name| matches(name));
        change.dropped.extend(more.cloned());
        // What is dropped in case it is there, and is not, changes nothing.
        change.dropped.retain(|name| relation.today.policies.iter().any(|policy| policy.name == *name));
        change.dropped.sort_unstable();
        change.dropped.dedup();
        tables.push((relation, change));
    }
    Ok(Pending { tables, helpers: read.helpers, unread: read.unread, source: name })
}

/// Parses where there is room for it.
async fn parse(text: String) -> Result<Result<Migration, MigrationError>, Failure> {
    deep(move || migration(&text)).await
}

/// Runs on a thread with a deep stack.
pub(crate) async fn deep<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let system = |cause| Failure::System { what: "the parser's thread".to_owned(), cause };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || {
        let _unwanted = sender.send(work());
    });
    let _running = thread.map_err(system)?;
    receiver.await.map_err(|_| Failure::Answer("the parser has ended".to_owned()))
}

async fn table(session: &mut Administrator, named: &Named) -> Result<u32, Failure> {
    let name = match &named.schema {
        Some(schema) => format!("{}.{}", identifier(schema), identifier(&named.name)),
        None => identifier(&named.name),
    };
    catalog::find(session, &name, named.search_path.as_deref()).await
}

/// The tables that have a policy of such a name.
async fn with_policies(session: &mut Administrator, drops: &[String]) -> Result<Vec<u32>, Failure> {
    let mut oids = Vec::new();
    for row in session.read("SELECT polrelid, polname FROM pg_policy").await? {
        let [Some(oid), Some(name)] = row.as_slice() else { continue };
        if drops.iter().any(|pattern| fits(pattern, name)) {
            oids.extend(oid.parse::<u32>());
        }
    }
    Ok(oids)
}

/// Whether a name fits a pattern in which * stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|name| {
            (0..=name.len()).any(|at| name.get(at..).is_some_and(|tail| fits(rest, tail)))
        }),
    }
}

/// Policies that exist and bind nobody yet: row level security is off, or the application owns the table.
async fn existing(session: &mut Administrator) -> Result<Pending, Failure> {
    let oids = session.texts(
        "SELECT DISTINCT c.oid FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid \
         JOIN pg_roles o ON o.oid = c.relowner WHERE c.relkind IN ('r', 'p') \
         AND (NOT c.relrowsecurity OR (NOT c.relforcerowsecurity AND o.rolcanlogin AND NOT o.rolsuper \
         AND NOT o.rolbypassrls))",
    );
    let oids: Vec<u32> = oids.await?.iter().filter_map(|oid| oid.parse().ok()).collect();
    let relations = catalog::relations(session, &oids).await?;
    let tables = relations.into_iter().map(|relation| (relation, Change::default())).collect();
    Ok(Pending { tables, source: "the policies that exist".to_owned(), ..Pending::default() })
}

/// The standard policies of tenant columns: of those that are named, or of the configuration.
async fn columns(
    session: &mut Administrator,
    named: &[String],
    setting: Option<String>,
) -> Result<Pending, Failure> {
    let (configured, variable, globals) = configured(session);
    let written = match named {
        [] => configured,
        named => named.iter().map(|name| Written::parse(name)).collect(),
    };
    if written.is_empty() {
        return Err(Failure::caller(
            "nothing is named that could be staged",
            "Name a migration with --from, tenant columns with --column or shadow.tenant_columns, or policies that \
             exist with --existing.",
        ));
    }
    let setting = setting.or(variable).unwrap_or_else(|| SETTING.to_owned());
    let mut tables = BTreeMap::new();
    // What is said of one table goes before what is said of all.
    for column in written
        .iter()
        .filter(|one| one.table.is_none())
        .chain(written.iter().filter(|one| one.table.is_some()))
    {
        for (oid, name, kind) in places(session, column).await? {
            let (setting, globals) = (setting.clone(), globals.clone());
            tables.insert(oid, Standard { column: name, kind, setting, globals });
        }
    }
    let oids: Vec<u32> = tables.keys().copied().collect();
    let relations = catalog::relations(session, &oids).await?;
    let changes = relations.into_iter().filter_map(|relation| {
        let change = isolation(tables.get(&relation.oid)?, &relation.today);
        Some((relation, change))
    });
    let names: Vec<String> = written.iter().map(Written::to_string).collect();
    Ok(Pending { tables: changes.collect(), source: names.join(", "), ..Pending::default() })
}

/// What the configuration says: columns, the variable that holds the tenant, and what belongs to everybody.
fn configured(session: &Administrator) -> (Vec<Written>, Option<String>, Globals) {
    let Some(settings) = &session.configured else { return (Vec::new(), None, Globals::default()) };
    let columns = settings.shadow.tenant_columns.iter().map(|column| match column {
        TenantColumn::Anywhere(column) => Written { table: None, column: column.clone() },
        TenantColumn::Of { schema, table, column } => {
            Written { table: Some(qualified(schema, table)), column: column.clone() }
        }
    });
    let mut variables = settings.context.variables.iter();
    let variable = variables.find(|variable| variable.from == ValueFrom::Tenant);
    let null = if settings.shadow.null_is_global { NullTenant::Global } else { NullTenant::Hidden };
    let globals = Globals { tenants: settings.shadow.global_tenants.clone(), null };
    (columns.collect(), variable.map(|variable| variable.name.clone()), globals)
}

/// A tenant column as it is written.
#[derive(Debug)]
struct Written {
    /// The table, as SQL has it; none for every one.
    table: Option<String>,
    /// The column.
    column: String,
}

impl Written {
    fn parse(text: &str) -> Self {
        match text.rsplit_once('.') {
            Some((table, column)) => Self { table: Some(table.to_owned()), column: column.to_owned() },
            None => Self { table: None, column: text.to_owned() },
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            write!(out, "{table}.")?;
        }
        out.write_str(&self.column)
    }
}

/// Table, column and type of each tenant column that `written` means.
async fn places(
    session: &mut Administrator,
    written: &Written,
) -> Result<Vec<(u32, String, String)>, Failure> {
    let table = match &written.table {
        Some(table) => Some(catalog::find(session, table, None).await?),
        None => None,
    };
    let only = table.map_or_else(String::new, |oid| format!(" AND c.oid = {oid}"));
    let query = format!(
        "SELECT c.oid, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c \
         ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE a.attname = {} \
         AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' \
         AND n.nspname NOT IN ('information_schema', 'pgwarden'){only}",
        literal(&written.column)
    );
    let rows = session.read(&query);
    let places: Vec<(u32, String, String)> = rows
        .await?
        .into_iter()
        .filter_map(|row| match row.as_slice() {
            [Some(oid), Some(name), Some(kind)] => Some((oid.parse().ok()?, name.clone(), kind.clone())),
            _ => None,
        })
        .collect();
    match places.is_empty() {
        false => Ok(places),
        true => Err(Failure::caller(
            format!("no table has a column {written}"),
            "Write schema.table.column, or a name.",
        )),
    }
}

/// Whether what is pending binds the owner, because the application is it.
pub(crate) fn force(change: &mut Change, relation: &Relation, owners: &[&str]) {
    let is_owner = owners.contains(&relation.owner.as_str());
    if is_owner && change.force.is_none() && relation.today.forced == Switch::Off {
        change.force = Some(Switch::On);
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(fits("permissive_all_*", "permissive_all_users") && fits("*", "") && fits("*_x", "a_x_x"));
        assert!(!fits("permissive_all_*", "other") && !fits("a", "ab") && !fits("*_x", "a_xy"));
    }
}
