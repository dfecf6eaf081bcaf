//! Policies of the usual shapes, the migration that puts them in force, and the staged form that pgwarden claims to be
//! equal: restrictive policies for a role that the application never has.

use std::fmt::Write as _;

use pgwarden_tests::Version;

use crate::dice::Dice;
use crate::schema::{Schema, Table};

/// The command that a policy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    All,
    Select,
    Insert,
    Update,
    Delete,
}

impl Command {
    fn sql(self) -> &'static str {
        match self {
            Command::All => "ALL",
            Command::Select => "SELECT",
            Command::Insert => "INSERT",
            Command::Update => "UPDATE",
            Command::Delete => "DELETE",
        }
    }
}

/// A policy of the migration.
#[derive(Debug, Clone)]
pub struct Policy {
    pub name: String,
    pub command: Command,
    pub restrictive: bool,
    /// `PUBLIC`, `app` or `auditor`, which is nobody's role here.
    pub role: &'static str,
    pub using: Option<String>,
    pub check: Option<String>,
}

impl Policy {
    fn new(command: Command, using: Option<&str>, check: Option<&str>) -> Policy {
        let (using, check) = (using.map(str::to_owned), check.map(str::to_owned));
        Policy { name: String::new(), command, restrictive: false, role: "PUBLIC", using, check }
    }

    fn restrictive(self) -> Policy {
        Policy { restrictive: true, ..self }
    }

    fn is_for(&self, command: Command) -> bool {
        self.role != "auditor" && (self.command == command || self.command == Command::All)
    }

    fn create(&self, table: &str) -> String {
        let kind = if self.restrictive { " AS RESTRICTIVE" } else { "" };
        let mut sql = format!("CREATE POLICY {} ON {table}{kind}", self.name);
        if self.command != Command::All {
            let _ = write!(sql, " FOR {}", self.command.sql());
        }
        if self.role != "PUBLIC" {
            let _ = write!(sql, " TO {}", self.role);
        }
        if let Some(using) = &self.using {
            let _ = write!(sql, " USING ({using})");
        }
        if let Some(check) = &self.check {
            let _ = write!(sql, " WITH CHECK ({check})");
        }
        sql.push(';');
        sql
    }
}

/// The shapes that policies of a table come in.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// The tenant's rows for everything.
    Plain,
    /// The same, with another rule for what is written.
    OtherCheck,
    PerCommand,
    /// Read and insert: nothing else was thought of.
    ReadAndInsert,
    SeveralPermissive,
    WithRestrictive,
    RoleLists,
    /// Forgets the application.
    OthersAlone,
    /// Says nothing of what is read: so nothing is.
    WritesAlone,
}

/// Policies for the table with this index, which may look at tables before it.
pub fn random(dice: &mut Dice, schema: &Schema, index: usize) -> Vec<Policy> {
    let shapes = [
        Shape::Plain,
        Shape::Plain,
        Shape::Plain,
        Shape::OtherCheck,
        Shape::PerCommand,
        Shape::PerCommand,
        Shape::ReadAndInsert,
        Shape::SeveralPermissive,
        Shape::WithRestrictive,
        Shape::RoleLists,
        Shape::WritesAlone,
        if dice.chance(30) { Shape::OthersAlone } else { Shape::RoleLists },
    ];
    let own = predicate(dice, schema, index);
    let simple = equality(dice, schema, "");
    let small = format!("{simple} AND amount < 10");
    let (own, simple) = (Some(own.as_str()), Some(simple.as_str()));
    let mut policies = match *dice.pick(&shapes) {
        Shape::Plain => vec![Policy::new(Command::All, own, None)],
        Shape::OtherCheck => vec![Policy::new(Command::All, own, simple)],
        Shape::PerCommand => vec![
            Policy::new(Command::Select, own, None),
            Policy::new(Command::Insert, None, simple),
            Policy::new(Command::Update, simple, if dice.chance(50) { own } else { None }),
            Policy::new(Command::Delete, Some(&small), None),
        ],
        Shape::ReadAndInsert => {
            vec![Policy::new(Command::Select, own, None), Policy::new(Command::Insert, None, simple)]
        }
        Shape::SeveralPermissive => vec![
            Policy::new(Command::All, simple, None),
            Policy::new(Command::Select, Some("shared"), None),
            Policy::new(Command::Update, Some("owner = current_setting('app.who', true)"), simple),
        ],
        Shape::WithRestrictive => vec![
            Policy::new(Command::All, own, None),
            Policy::new(Command::All, Some("label <> 'grey'"), None).restrictive(),
            Policy::new(Command::Update, None, Some("amount < 15")).restrictive(),
        ],
        Shape::WritesAlone => {
            vec![Policy::new(Command::All, None, own), Policy::new(Command::Select, simple, None)]
        }
        Shape::RoleLists => {
            let for_app = Policy { role: "app", ..Policy::new(Command::All, own, None) };
            let for_others = Policy { role: "auditor", ..Policy::new(Command::Select, Some("true"), None) };
            vec![for_app, for_others]
        }
        Shape::OthersAlone => vec![Policy { role: "auditor", ..Policy::new(Command::All, simple, None) }],
    };
    for (number, policy) in policies.iter_mut().enumerate() {
        policy.name = format!("p{number}");
    }
    policies
}

/// What a row has to be.
fn predicate(dice: &mut Dice, schema: &Schema, index: usize) -> String {
    let table = &schema.tables[index];
    let tenant = schema.tenant_column;
    let equal = equality(dice, schema, "");
    let through_parent = |column: &str, parent: usize| {
        let (child, parent) = (table.name, schema.tables[parent].name);
        let visible = equality(&mut Dice::new(1), schema, "p.");
        format!("EXISTS (SELECT 1 FROM {parent} p WHERE p.id = {child}.{column} AND {visible})")
    };
    match dice.below(14) {
        0..=4 => equal,
        5 => format!(
            "{tenant} IN (SELECT m.org FROM members m WHERE m.who = current_setting('app.who', true))"
        ),
        6 => format!("is_member({tenant})"),
        7 => format!("{equal} AND (shared OR owner = current_who())"),
        8 => format!("shared OR {equal}"),
        9 => format!("{tenant} IS NULL OR {equal}"),
        10 => "owner = (SELECT current_setting('app.who', true))".to_owned(),
        11 if !table.generated.is_empty() => format!("{equal} AND doubled < 18"),
        12 if dice.chance(50) => format!("{equal} AND is_open()"),
        _ => match table.parent {
            Some((parent, _)) => {
                format!("{equal} AND (parent_id IS NULL OR {})", through_parent("parent_id", parent))
            }
            None => equal,
        },
    }
}

/// The tenant's own rows, in one of the ways to say it; columns begin with `prefix`.
fn equality(dice: &mut Dice, schema: &Schema, prefix: &str) -> String {
    let (tenant, kind) = (schema.tenant_column, schema.tenant_type.sql());
    let setting = format!("nullif(current_setting('app.org', true), '')::{kind}");
    match dice.below(3) {
        0 => format!("{prefix}{tenant} = {setting}"),
        1 => format!("{prefix}{tenant} = (SELECT {setting})"),
        _ => format!("{prefix}{tenant} = current_org()"),
    }
}

/// The migration of one table, as its team has written it.
pub fn write_migration(sql: &mut String, table: &Table) {
    let name = table.name;
    let _ = writeln!(sql, "ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;");
    if table.secured_today {
        let _ = writeln!(sql, "DROP POLICY today ON {name};");
    }
    for policy in &table.policies {
        let _ = writeln!(sql, "{}", policy.create(name));
    }
}

/// The staged form, written down from its description and not by pgwarden.
pub fn staging(schema: &Schema, version: Version, role: &'static str) -> String {
    let mut sql = format!("CREATE ROLE {role} NOLOGIN;\n");
    let grant = if version >= Version(16) { " WITH INHERIT TRUE, SET FALSE" } else { "" };
    let _ = writeln!(sql, "GRANT app TO {role}{grant};");
    for table in &schema.tables {
        let name = table.name;
        if !table.secured_today {
            let _ = writeln!(sql, "ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;");
            let _ = writeln!(sql, "CREATE POLICY today ON {name} USING (true) WITH CHECK (true);");
        }
        for command in [Command::Select, Command::Insert, Command::Update, Command::Delete] {
            let _ = writeln!(sql, "{}", staged(&table.policies, command, role).create(name));
        }
        let kept = table.policies.iter().filter(|policy| policy.restrictive);
        for (number, policy) in kept.enumerate() {
            let policy = Policy { name: format!("shadow_also_{number}"), role, ..policy.clone() };
            let _ = writeln!(sql, "{}", policy.create(name));
        }
    }
    sql
}

/// What the permissive policies allow together, as one restrictive policy.
fn staged(policies: &[Policy], command: Command, role: &'static str) -> Policy {
    let permissive: Vec<_> =
        policies.iter().filter(|policy| !policy.restrictive && policy.is_for(command)).collect();
    let any = |expressions: Vec<&String>| {
        let expressions: Vec<_> = expressions.iter().map(|expression| format!("({expression})")).collect();
        if expressions.is_empty() { "false".to_owned() } else { expressions.join(" OR ") }
    };
    let using = any(permissive.iter().filter_map(|policy| policy.using.as_ref()).collect());
    let check =
        any(permissive.iter().filter_map(|policy| policy.check.as_ref().or(policy.using.as_ref())).collect());
    let name = format!("shadow_{}", command.sql().to_lowercase());
    let using = (command != Command::Insert).then_some(using);
    let check = matches!(command, Command::Insert | Command::Update).then_some(check);
    Policy { name, command, restrictive: true, role, using, check }
}
