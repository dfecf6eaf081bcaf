//! Random schemas of applications: tables with a tenant column, what hangs on them, views, partitions, data.

use std::fmt::Write as _;

use pgwarden_tests::Version;

use crate::dice::Dice;
use crate::policy::{self, Policy};
use crate::trigger::{self, Trigger};

/// The type of the tenant column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantType {
    Integer,
    Bigint,
    Text,
    Varchar,
    Uuid,
    Enum,
    Domain,
}

impl TenantType {
    const ALL: [TenantType; 7] = [
        TenantType::Integer,
        TenantType::Bigint,
        TenantType::Text,
        TenantType::Varchar,
        TenantType::Uuid,
        TenantType::Enum,
        TenantType::Domain,
    ];

    /// As SQL writes it.
    pub fn sql(self) -> &'static str {
        match self {
            TenantType::Integer => "integer",
            TenantType::Bigint => "bigint",
            TenantType::Text => "text",
            TenantType::Varchar => "varchar(40)",
            TenantType::Uuid => "uuid",
            TenantType::Enum => "org_kind",
            TenantType::Domain => "org_number",
        }
    }

    /// The kind of a context variable that holds it.
    pub fn context_kind(self) -> &'static str {
        match self {
            TenantType::Integer | TenantType::Bigint | TenantType::Domain => "bigint",
            TenantType::Text | TenantType::Varchar | TenantType::Enum => "text",
            TenantType::Uuid => "uuid",
        }
    }

    /// A tenant as it may stand in a result, as text or binary.
    pub fn encoded(self, tenant: &str) -> Vec<Vec<u8>> {
        let number = || tenant.parse::<i64>().expect("a number");
        let binary = match self {
            TenantType::Integer | TenantType::Domain => {
                i32::try_from(number()).expect("small").to_be_bytes().to_vec()
            }
            TenantType::Bigint => number().to_be_bytes().to_vec(),
            TenantType::Uuid => {
                u128::from_str_radix(&tenant.replace('-', ""), 16).expect("a UUID").to_be_bytes().to_vec()
            }
            TenantType::Text | TenantType::Varchar | TenantType::Enum => tenant.as_bytes().to_vec(),
        };
        vec![tenant.as_bytes().to_vec(), binary]
    }

    fn tenant(self, number: usize) -> String {
        match self {
            TenantType::Integer | TenantType::Domain => (7001 + number).to_string(),
            TenantType::Bigint => (7_000_000_001 + number).to_string(),
            TenantType::Text | TenantType::Varchar | TenantType::Enum => {
                ["north", "south", "east", "west"][number].to_owned()
            }
            TenantType::Uuid => format!("00000000-0000-4000-8000-00000000000{}", number + 1),
        }
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Id,
    Tenant,
    Owner,
    Shared,
    Amount,
    Label,
    Parent,
    /// Computed from the amount.
    Generated,
}

/// A column of a table or view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

/// How a table is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    None,
    ByHashOfId,
    ByTenant,
}

/// A table with a tenant column.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: &'static str,
    /// In the order in which the table has them.
    pub columns: Vec<Column>,
    pub partitions: Partitions,
    /// The table that `parent_id` refers to, and what becomes of the row when that is deleted.
    pub parent: Option<(usize, &'static str)>,
    /// Whether row level security is on today, with a policy that allows all.
    pub secured_today: bool,
    pub null_tenants: bool,
    /// Whether its first column was dropped, so that columns have other numbers than places, and than in partitions.
    pub had_another_column: bool,
    /// How its column is generated that is, if there is one.
    pub generated: &'static str,
    pub policies: Vec<Policy>,
    pub triggers: Vec<Trigger>,
    /// Each with values in the order of `columns`, as literals.
    pub rows: Vec<Vec<String>>,
}

/// A view.
#[derive(Debug, Clone)]
pub struct View {
    pub name: &'static str,
    pub base: usize,
    /// The table that it joins with its base, and takes the amount from.
    pub joined: Option<usize>,
    pub columns: Vec<Column>,
    /// Whether the policies of who asks count, instead of its owner's.
    pub invoker: bool,
    pub filter: &'static str,
}

impl View {
    /// Whether it may be written, and whatever is written is seen in it.
    pub fn is_written(&self) -> bool {
        self.filter.is_empty() && self.joined.is_none()
    }
}

/// A schema with its data.
#[derive(Debug, Clone)]
pub struct Schema {
    pub tenant_type: TenantType,
    pub tenant_column: &'static str,
    pub tenants: Vec<String>,
    /// Name and index of the tenant.
    pub users: Vec<(String, usize)>,
    pub tables: Vec<Table>,
    pub views: Vec<View>,
    /// Rows of `members`: user and tenant, as literals.
    pub members: Vec<(String, String)>,
    /// Tables that may be asked by their partitions.
    pub partitions: Vec<(usize, String)>,
}

impl Schema {
    /// A schema for servers of this version.
    pub fn random(dice: &mut Dice, version: Version) -> Schema {
        let tenant_type = *dice.pick(&TenantType::ALL);
        let tenants: Vec<_> = (0..dice.between(2, 4)).map(|number| tenant_type.tenant(number)).collect();
        let users = (0..tenants.len() * 2).map(|number| (format!("u{number}"), number / 2)).collect();
        let tenant_column = *dice.pick(&["org_id", "tenant", "account", "\"orgId\""]);
        let mut schema = Schema {
            tenant_type,
            tenant_column,
            tenants,
            users,
            tables: Vec::new(),
            views: Vec::new(),
            members: Vec::new(),
            partitions: Vec::new(),
        };
        schema.add_members(dice);
        for number in 0..dice.between(1, 3) {
            let table = schema.table(dice, number, version);
            schema.tables.push(table);
            let policies = policy::random(dice, &schema, number);
            schema.tables[number].policies = policies;
            let triggers = trigger::random(dice, &schema.tables[number], number);
            schema.tables[number].triggers = triggers;
        }
        schema.add_views(dice, version);
        schema
    }

    fn add_members(&mut self, dice: &mut Dice) {
        for (user, tenant) in &self.users {
            self.members.push((quoted(user), quoted(&self.tenants[*tenant])));
            // Some work for two organisations.
            let other = dice.below(self.tenants.len());
            if other != *tenant && dice.chance(25) {
                self.members.push((quoted(user), quoted(&self.tenants[other])));
            }
        }
    }

    fn table(&self, dice: &mut Dice, number: usize, version: Version) -> Table {
        let mut columns: Vec<_> = [
            ("id", Kind::Id),
            (self.tenant_column, Kind::Tenant),
            ("owner", Kind::Owner),
            ("shared", Kind::Shared),
            ("amount", Kind::Amount),
            ("label", Kind::Label),
        ]
        .into_iter()
        .map(|(name, kind)| Column { name, kind })
        .collect();
        let referable = |table: &Table| table.partitions != Partitions::ByTenant;
        let parents: Vec<_> = (0..number).filter(|&parent| referable(&self.tables[parent])).collect();
        let mut parent = None;
        if !parents.is_empty() && dice.chance(75) {
            columns.push(Column { name: "parent_id", kind: Kind::Parent });
            parent =
                Some((*dice.pick(&parents), *dice.pick(&["CASCADE", "SET NULL", "NO ACTION", "RESTRICT"])));
        }
        let mut generated = "";
        if dice.chance(25) {
            columns.push(Column { name: "doubled", kind: Kind::Generated });
            generated = if version >= Version(18) && dice.chance(40) { "VIRTUAL" } else { "STORED" };
        }
        dice.shuffle(&mut columns);
        let partitions = *dice.pick(&[
            Partitions::None,
            Partitions::None,
            Partitions::None,
            Partitions::ByHashOfId,
            Partitions::ByTenant,
        ]);
        let mut table = Table {
            name: ["items", "orders", "notes"][number],
            columns,
            partitions,
            parent,
            secured_today: dice.chance(50),
            null_tenants: partitions != Partitions::ByTenant && dice.chance(30),
            had_another_column: dice.chance(30),
            generated,
            policies: Vec::new(),
            triggers: Vec::new(),
            rows: Vec::new(),
        };
        for id in 1..=dice.between(5, 14) {
            let row = table.columns.iter().map(|column| self.value(dice, &table, column.kind, id)).collect();
            table.rows.push(row);
        }
        table
    }

    fn value(&self, dice: &mut Dice, table: &Table, kind: Kind, id: usize) -> String {
        match kind {
            Kind::Id => id.to_string(),
            Kind::Tenant if table.null_tenants && dice.chance(15) => "NULL".to_owned(),
            Kind::Tenant => quoted(dice.pick(&self.tenants)),
            Kind::Owner => quoted(&dice.pick(&self.users).0),
            Kind::Shared => (*dice.pick(&["true", "false", "false"])).to_owned(),
            Kind::Amount => dice.below(12).to_string(),
            Kind::Label => quoted(dice.pick(&["red", "green", "blue", "grey"])),
            Kind::Parent if dice.chance(15) => "NULL".to_owned(),
            Kind::Parent => {
                let parent = table.parent.map_or(0, |(parent, _)| parent);
                dice.between(1, self.tables[parent].rows.len()).to_string()
            }
            Kind::Generated => "DEFAULT".to_owned(),
        }
    }

    fn add_views(&mut self, dice: &mut Dice, version: Version) {
        for name in ["shown", "listed"] {
            if dice.chance(55) {
                let base = dice.below(self.tables.len());
                let mut columns = self.tables[base].columns.clone();
                dice.shuffle(&mut columns);
                let invoker = version >= Version(15) && dice.chance(60);
                let joined = dice.chance(30).then(|| dice.below(self.tables.len()));
                let filter = *dice.pick(&["", " WHERE b.amount < 9", " WHERE b.label <> 'grey'"]);
                self.views.push(View { name, base, joined, columns, invoker, filter });
            }
        }
        for (number, table) in self.tables.iter().enumerate() {
            if table.partitions != Partitions::None {
                let partition = format!("{}_1", table.name);
                self.partitions.push((number, partition));
            }
        }
    }

    /// The DDL and the data, as they are today. The roles exist.
    pub fn today(&self) -> String {
        let mut sql = self.beginning();
        for table in &self.tables {
            self.write_table(&mut sql, table);
        }
        for view in &self.views {
            self.write_view(&mut sql, view);
        }
        for table in &self.tables {
            let name = table.name;
            let _ = writeln!(
                sql,
                "CREATE FUNCTION total_{name}() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT sum(amount) FROM public.{name}';"
            );
        }
        for table in &self.tables {
            trigger::write(&mut sql, self, table);
        }
        sql.push_str(
            "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO app;\n",
        );
        sql.push_str("RESET ROLE;\n");
        sql.push_str(&self.snapshot());
        sql
    }

    /// Who is who, and the functions that policies use.
    fn beginning(&self) -> String {
        let kind = self.tenant_type.sql();
        let mut sql = format!(
            "GRANT ALL ON SCHEMA public TO owner;
GRANT USAGE ON SCHEMA public TO app;
SET ROLE owner;
CREATE TYPE org_kind AS ENUM ('west', 'north', 'east', 'south');
CREATE DOMAIN org_number AS integer;
CREATE FUNCTION current_org() RETURNS {kind} LANGUAGE sql STABLE AS
  $$ SELECT nullif(current_setting('app.org', true), '')::{kind} $$;
CREATE FUNCTION current_who() RETURNS text LANGUAGE plpgsql STABLE AS
  $$ BEGIN RETURN current_setting('app.who', true); END $$;
CREATE TABLE members (who text NOT NULL, org {kind} NOT NULL, PRIMARY KEY (who, org));
CREATE FUNCTION is_member(asked {kind}) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER
  SET search_path = public, pg_temp AS
  $$ SELECT EXISTS (SELECT 1 FROM members m WHERE m.org = asked AND m.who = current_setting('app.who', true)) $$;
CREATE FUNCTION is_open() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$ BEGIN RETURN true; END $$;
CREATE TABLE colours (label text PRIMARY KEY, warm boolean NOT NULL);
INSERT INTO colours VALUES ('red', true), ('green', false), ('blue', false);\n"
        );
        let members: Vec<_> =
            self.members.iter().map(|(user, tenant)| format!("({user}, {tenant})")).collect();
        let _ = writeln!(sql, "INSERT INTO members VALUES {};", members.join(", "));
        sql
    }

    fn write_table(&self, sql: &mut String, table: &Table) {
        let mut parts: Vec<_> = table.columns.iter().map(|column| self.definition(table, column)).collect();
        if table.had_another_column {
            parts.insert(0, "gone integer".to_owned());
        }
        parts.push(match table.partitions {
            Partitions::ByTenant => format!("PRIMARY KEY (id, {})", self.tenant_column),
            Partitions::None | Partitions::ByHashOfId => "PRIMARY KEY (id)".to_owned(),
        });
        let partitioned = match table.partitions {
            Partitions::None => String::new(),
            Partitions::ByHashOfId => " PARTITION BY HASH (id)".to_owned(),
            Partitions::ByTenant => format!(" PARTITION BY LIST ({})", self.tenant_column),
        };
        let name = table.name;
        let _ = writeln!(sql, "CREATE TABLE {name} (\n  {}){partitioned};", parts.join(",\n  "));
        if table.had_another_column {
            let _ = writeln!(sql, "ALTER TABLE {name} DROP COLUMN gone;");
        }
        match table.partitions {
            Partitions::None => {}
            Partitions::ByHashOfId => {
                for part in 0..2 {
                    let _ = writeln!(
                        sql,
                        "CREATE TABLE {name}_{part} PARTITION OF {name} FOR VALUES WITH (MODULUS 2, REMAINDER {part});"
                    );
                }
            }
            Partitions::ByTenant => {
                let last = quoted(&self.tenants[self.tenants.len() - 1]);
                let _ = writeln!(sql, "CREATE TABLE {name}_0 PARTITION OF {name} FOR VALUES IN ({last});");
                let _ = writeln!(sql, "CREATE TABLE {name}_1 PARTITION OF {name} DEFAULT;");
            }
        }
        if table.secured_today {
            let _ = writeln!(sql, "ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;");
            let _ = writeln!(sql, "CREATE POLICY today ON {name} USING (true) WITH CHECK (true);");
        }
        let rows: Vec<_> = table.rows.iter().map(|row| format!("({})", row.join(", "))).collect();
        if !rows.is_empty() {
            let _ = writeln!(sql, "INSERT INTO {name} VALUES\n  {};", rows.join(",\n  "));
        }
    }

    fn write_view(&self, sql: &mut String, view: &View) {
        let options = if view.invoker { " WITH (security_invoker)" } else { "" };
        let from = |column: &Column| match view.joined {
            Some(_) if column.kind == Kind::Amount => "j.amount".to_owned(),
            _ => format!("b.{}", column.name),
        };
        let names: Vec<_> = view.columns.iter().map(from).collect();
        let join = view.joined.map_or_else(String::new, |joined| {
            format!(" JOIN {} j ON j.id = b.id", self.tables[joined].name)
        });
        let (name, names, base) = (view.name, names.join(", "), self.tables[view.base].name);
        let _ = writeln!(
            sql,
            "CREATE VIEW {name}{options} AS SELECT {names} FROM {base} b{join}{};",
            view.filter
        );
    }

    fn definition(&self, table: &Table, column: &Column) -> String {
        let name = column.name;
        match column.kind {
            Kind::Id => format!("{name} integer NOT NULL"),
            Kind::Tenant => {
                let (kind, null) =
                    (self.tenant_type.sql(), if table.null_tenants { "" } else { " NOT NULL" });
                format!("{name} {kind} DEFAULT current_org(){null}")
            }
            Kind::Owner => format!("{name} text NOT NULL DEFAULT current_who()"),
            Kind::Shared => format!("{name} boolean NOT NULL DEFAULT false"),
            Kind::Amount => format!("{name} integer NOT NULL DEFAULT 1"),
            Kind::Label => format!("{name} text NOT NULL DEFAULT 'red'"),
            Kind::Parent => {
                let (parent, action) = table.parent.expect("a parent column has a parent");
                let parent = self.tables[parent].name;
                format!("{name} integer REFERENCES {parent} (id) ON DELETE {action}")
            }
            Kind::Generated => {
                format!("{name} integer GENERATED ALWAYS AS (amount * 2) {}", table.generated)
            }
        }
    }

    /// What the proof looks at the tables with: all rows, whatever the policies say.
    fn snapshot(&self) -> String {
        let tables: Vec<_> = self.tables.iter().map(|table| table.name).collect();
        let rows = |table: &&str| {
            format!("(SELECT string_agg(r::text, E'\\n' ORDER BY r::text) FROM public.{table} r)")
        };
        let rows: Vec<_> = tables.iter().map(rows).collect();
        format!(
            "CREATE SCHEMA proof;
CREATE FUNCTION proof.snapshot() RETURNS text[] LANGUAGE sql VOLATILE SECURITY DEFINER AS $$ SELECT ARRAY[{}] $$;
GRANT USAGE ON SCHEMA proof TO PUBLIC;\n",
            rows.join(", ")
        )
    }

    /// What the team wants to do: the policies, in force.
    pub fn migration(&self) -> String {
        let mut sql = String::new();
        for table in &self.tables {
            policy::write_migration(&mut sql, table);
        }
        sql
    }
}

/// A string constant.
pub fn quoted(text: impl AsRef<str>) -> String {
    format!("'{}'", text.as_ref().replace('\'', "''"))
}
