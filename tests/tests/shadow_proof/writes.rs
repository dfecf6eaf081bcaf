//! Random statements that write.

use pgwarden_tests::Version;

use crate::dice::Dice;
use crate::reads::Source;
use crate::schema::{Column, Kind, Partitions, Schema, Table};
use crate::statement::{Class, Draft, Order, Protocol, Statement};

const READS: [Class; 12] = [
    Class::Select,
    Class::Join,
    Class::Cte,
    Class::Aggregate,
    Class::SubQuery,
    Class::SetOperation,
    Class::Limit,
    Class::Window,
    Class::Function,
    Class::Locking,
    Class::CopyTo,
    Class::Fetch,
];

const WRITES: [Class; 28] = [
    Class::Insert,
    Class::Insert,
    Class::Insert,
    Class::Insert,
    Class::Insert,
    Class::InsertSelect,
    Class::InsertSelect,
    Class::OnConflict,
    Class::OnConflict,
    Class::OnConflict,
    Class::OnConflict,
    Class::Update,
    Class::Update,
    Class::Update,
    Class::Update,
    Class::Update,
    Class::UpdateFrom,
    Class::UpdateFrom,
    Class::Delete,
    Class::Delete,
    Class::Delete,
    Class::Delete,
    Class::DeleteUsing,
    Class::Merge,
    Class::Merge,
    Class::WritingCte,
    Class::CopyFrom,
    Class::Truncate,
];

/// A statement, for a schema on a server of this version.
pub fn random(dice: &mut Dice, schema: &Schema, number: usize, version: Version) -> Statement {
    let mut class = if dice.chance(50) { *dice.pick(&READS) } else { *dice.pick(&WRITES) };
    if class == Class::Merge && version < Version(15) {
        class = Class::UpdateFrom;
    }
    let user = Some(dice.below(schema.users.len())).filter(|_| dice.chance(94));
    // No plan has parameters for these, and their results are text.
    let is_plain = matches!(class, Class::CopyTo | Class::CopyFrom | Class::Fetch | Class::Truncate);
    let result_format = *dice.pick(&[0, 1]);
    let protocol = match dice.below(8) {
        _ if is_plain => Protocol::Simple,
        0..=3 => Protocol::Simple,
        4 | 5 => Protocol::Extended { result_format },
        6 if !class.writes() => Protocol::Portions { result_format },
        _ => Protocol::Named { result_format },
    };
    let mut draft = Draft::new(schema, number, user, protocol != Protocol::Simple);
    let Written { text, order, fetches, copy_data } = draft.statement(dice, class, version);
    let parameters = draft.parameters;
    Statement { number, class, text, parameters, protocol, order, fetches, copy_data, user }
}

/// What a statement says, and how it goes on.
struct Written {
    text: String,
    order: Order,
    fetches: Vec<String>,
    copy_data: Option<String>,
}

impl Written {
    fn new(text: String, order: Order) -> Written {
        Written { text, order, fetches: Vec::new(), copy_data: None }
    }
}

impl Draft<'_> {
    fn statement(&mut self, dice: &mut Dice, class: Class, version: Version) -> Written {
        let text = match class {
            Class::CopyFrom => {
                let (text, data) = self.copy_from(dice);
                return Written { copy_data: Some(data), ..Written::new(text, Order::Any) };
            }
            Class::CopyTo => return self.copy_to(dice),
            Class::Fetch => return self.fetch(dice),
            Class::Locking => self.locking(dice),
            Class::Insert => self.insert(dice),
            Class::InsertSelect => self.insert_select(dice),
            Class::OnConflict => self.on_conflict(dice),
            Class::Update => self.update(dice),
            Class::UpdateFrom => self.update_from(dice),
            Class::Delete => self.delete(dice),
            Class::DeleteUsing => self.delete_using(dice),
            Class::Merge => self.merge(dice, version),
            Class::WritingCte => self.writing_cte(dice),
            Class::Truncate => self.truncate(dice),
            read => {
                let query = self.query(dice, read);
                return Written::new(query.text, query.order);
            }
        };
        Written::new(text, Order::Any)
    }

    fn copy_to(&mut self, dice: &mut Dice) -> Written {
        if dice.chance(25) {
            let source = self.source(dice);
            let table = &self.schema.tables[source.table];
            let is_table = source.relation == table.name && table.partitions == Partitions::None;
            let columns = |columns: &[Column]| -> Vec<_> { columns.iter().map(|one| one.name).collect() };
            if is_table {
                // A list of its own, by which the statement is known in the trail.
                let mut listed: Vec<_> = table.written().cloned().collect();
                dice.shuffle(&mut listed);
                let text = format!("COPY {} ({}) TO STDOUT", table.name, columns(&listed).join(", "));
                return Written::new(text, Order::Any);
            }
        }
        let query = self.select(dice);
        Written::new(format!("COPY ({}) TO STDOUT", query.text), query.order)
    }

    fn fetch(&mut self, dice: &mut Dice) -> Written {
        let class =
            *dice.pick(&[Class::Select, Class::Select, Class::Join, Class::Aggregate, Class::SetOperation]);
        let (query, cursor) = (self.query(dice, class), self.name());
        let scroll = *dice.pick(&["", "NO SCROLL "]);
        let portions: &[&str] = match dice.below(3) {
            0 => &["FORWARD 2", "ALL"],
            1 => &["NEXT", "3", "FORWARD ALL"],
            _ => &["ALL"],
        };
        let fetches = portions.iter().map(|portion| format!("FETCH {portion} FROM {cursor}")).collect();
        let text = format!("DECLARE {cursor} {scroll}CURSOR FOR {}", query.text);
        Written { fetches, ..Written::new(text, query.order) }
    }

    fn truncate(&mut self, dice: &mut Dice) -> String {
        let tables = &self.schema.tables;
        let mut names: Vec<_> = tables.iter().map(|table| table.name).collect();
        names.extend(self.schema.partitions.iter().map(|(_, partition)| partition.as_str()));
        dice.shuffle(&mut names);
        names.truncate(dice.between(1, 2));
        let identity = dice.pick(&["", " RESTART IDENTITY", " CONTINUE IDENTITY"]);
        let behaviour = dice.pick(&["", " CASCADE", " CASCADE"]);
        format!("TRUNCATE {}{identity}{behaviour}", names.join(", "))
    }

    fn target(&mut self, dice: &mut Dice) -> Source {
        let schema = self.schema;
        if !schema.partitions.is_empty() && dice.chance(8) {
            let (table, partition) = dice.pick(&schema.partitions).clone();
            return Source { relation: partition, ..self.table(table) };
        }
        let views: Vec<_> = schema.views.iter().filter(|view| view.is_written()).collect();
        if !views.is_empty() && dice.chance(10) {
            let view = *dice.pick(&views);
            let (relation, columns) = (view.name.to_owned(), view.columns.clone());
            return Source { relation, alias: self.name(), columns, table: view.base };
        }
        let table = dice.below(schema.tables.len());
        self.table(table)
    }

    fn locking(&mut self, dice: &mut Dice) -> String {
        let source = self.target(dice);
        let id = source.column(Kind::Id).expect("every source has it");
        let filter = self.filter(dice, &source);
        let strength = dice.pick(&["UPDATE", "SHARE", "NO KEY UPDATE"]);
        format!("SELECT {id} FROM {} AS {}{filter} FOR {strength}", source.relation, source.alias)
    }

    /// Columns and values of new rows; `first_id` is the first one's.
    fn new_rows(
        &mut self,
        dice: &mut Dice,
        source: &Source,
        first_id: usize,
        count: usize,
    ) -> (String, String) {
        let mut columns = source.columns.clone();
        // Some are left to their defaults.
        let schema = self.schema;
        let table = &schema.tables[source.table];
        let by_tenant = table.partitions == Partitions::ByTenant;
        let needed = |kind| kind == Kind::Id || by_tenant && kind == Kind::Tenant;
        columns.retain(|column| column.kind != Kind::Generated);
        columns.retain(|column| needed(column.kind) || dice.chance(75));
        let names: Vec<_> = columns.iter().map(|column| column.name).collect();
        let rows = (0..count).map(|row| {
            let values =
                columns.iter().map(|column| self.new_value(dice, table, column.kind, first_id + row));
            format!("({})", values.collect::<Vec<_>>().join(", "))
        });
        let rows = rows.collect::<Vec<_>>().join(", ");
        (names.join(", "), rows)
    }

    fn new_value(&mut self, dice: &mut Dice, table: &Table, kind: Kind, id: usize) -> String {
        let value = match kind {
            Kind::Id => id.to_string(),
            Kind::Tenant if table.null_tenants && dice.chance(5) => return "NULL".to_owned(),
            Kind::Tenant if table.fills_tenant() && dice.chance(30) => return "NULL".to_owned(),
            Kind::Tenant => self.tenant(dice, 80),
            Kind::Owner => self.owner(dice),
            Kind::Shared => return (*dice.pick(&["true", "false"])).to_owned(),
            Kind::Amount => dice.below(20).to_string(),
            Kind::Label => (*dice.pick(&["red", "green", "blue", "blue", "grey"])).to_owned(),
            Kind::Parent => {
                let parent = table.parent.map_or(0, |(parent, _)| parent);
                dice.between(1, self.schema.tables[parent].rows.len()).to_string()
            }
            Kind::Generated => "DEFAULT".to_owned(),
        };
        self.value(dice, kind, &value)
    }

    fn returning(&mut self, dice: &mut Dice, source: &Source) -> String {
        match dice.below(6) {
            0 => format!(" RETURNING {}.*", source.alias),
            1 => format!(" RETURNING {}", source.column(Kind::Id).expect("every source has it")),
            2 => format!(
                " RETURNING {} AS a, 1 AS one",
                source.column(Kind::Tenant).expect("every source has it")
            ),
            3 => " RETURNING 1".to_owned(),
            _ => String::new(),
        }
    }

    fn insert(&mut self, dice: &mut Dice) -> String {
        let target = self.target(dice);
        let (first, count) = (dice.between(100, 900), dice.between(1, 3));
        let (columns, rows) = self.new_rows(dice, &target, first, count);
        let returning = self.returning(dice, &target);
        format!("INSERT INTO {} AS {} ({columns}) VALUES {rows}{returning}", target.relation, target.alias)
    }

    fn insert_select(&mut self, dice: &mut Dice) -> String {
        let (target, source) = (self.target(dice), self.source(dice));
        let of = |kind| source.column(kind).expect("every source has it");
        let tenant = match dice.below(3) {
            0 => of(Kind::Tenant),
            _ => {
                let tenant = self.tenant(dice, 85);
                let tenant = self.value(dice, Kind::Tenant, &tenant);
                format!("{tenant}::{}", self.schema.tenant_type.sql())
            }
        };
        let filter = self.filter(dice, &source);
        let (shift, conflict) =
            *dice.pick(&[(1000, ""), (0, " ON CONFLICT DO NOTHING"), (6, " ON CONFLICT DO NOTHING")]);
        let returning = self.returning(dice, &target);
        format!(
            "INSERT INTO {} AS {} (id, {}, owner, amount) SELECT {} + {shift}, {tenant}, {}, {} FROM {} AS {}{filter}{conflict}{returning}",
            target.relation,
            target.alias,
            self.schema.tenant_column,
            of(Kind::Id),
            of(Kind::Owner),
            of(Kind::Amount),
            source.relation,
            source.alias
        )
    }

    fn on_conflict(&mut self, dice: &mut Dice) -> String {
        let schema = self.schema;
        let target = loop {
            let target = self.target(dice);
            // A view or a partition has the key of its table; the tables' partitions by tenant another one.
            if schema.tables[target.table].partitions != Partitions::ByTenant || dice.chance(50) {
                break target;
            }
        };
        let key = match schema.tables[target.table].partitions {
            Partitions::ByTenant => format!("id, {}", schema.tenant_column),
            Partitions::None | Partitions::ByHashOfId => "id".to_owned(),
        };
        let (first, count) = (dice.between(1, 16), dice.between(1, 2));
        let (columns, rows) = self.new_rows(dice, &target, first, count);
        let amount = target.column(Kind::Amount).expect("every source has it");
        let action = match dice.below(6) {
            0 => " ON CONFLICT DO NOTHING".to_owned(),
            1 => format!(" ON CONFLICT ({key}) DO NOTHING"),
            2 => format!(" ON CONFLICT ({key}) DO UPDATE SET amount = excluded.amount"),
            3 => format!(" ON CONFLICT ({key}) DO UPDATE SET amount = {amount} + 1, label = excluded.label"),
            4 => format!(" ON CONFLICT ({key}) DO UPDATE SET owner = excluded.owner WHERE {amount} < 8"),
            _ if schema.tables[target.table].partitions == Partitions::ByTenant => {
                " ON CONFLICT DO NOTHING".to_owned()
            }
            _ => format!(" ON CONFLICT ({key}) DO UPDATE SET {0} = excluded.{0}", schema.tenant_column),
        };
        let returning = self.returning(dice, &target);
        format!(
            "INSERT INTO {} AS {} ({columns}) VALUES {rows}{action}{returning}",
            target.relation, target.alias
        )
    }

    fn assignment(&mut self, dice: &mut Dice, target: &Source) -> String {
        let amount = target.column(Kind::Amount).expect("every source has it");
        match dice.below(15) {
            0..=3 => format!("amount = {amount} + 1"),
            4 => {
                // What it reads stands in the function.
                let table = dice.pick(&self.schema.tables).name;
                format!("amount = coalesce(total_{table}(), 0)")
            }
            5 | 6 => "amount = 3".to_owned(),
            7 | 8 => {
                let owner = self.owner(dice);
                format!("owner = {}", self.value(dice, Kind::Owner, &owner))
            }
            9 | 10 => format!("label = '{}', amount = 16", dice.pick(&["red", "grey"])),
            11 | 12 => {
                let tenant = self.tenant(dice, 50);
                format!("{} = {}", self.schema.tenant_column, self.value(dice, Kind::Tenant, &tenant))
            }
            _ => "shared = NOT shared".to_owned(),
        }
    }

    fn update(&mut self, dice: &mut Dice) -> String {
        let target = self.target(dice);
        let mut set = self.assignment(dice, &target);
        if dice.chance(10) {
            let inner = self.source(dice);
            let of = inner.column(Kind::Amount).expect("every source has it");
            set = format!(
                "amount = (SELECT coalesce(max({of}), 0) FROM {} AS {})",
                inner.relation, inner.alias
            );
        }
        let filter = self.own_filter(dice, &target);
        let returning = self.returning(dice, &target);
        format!("UPDATE {} AS {} SET {set}{filter}{returning}", target.relation, target.alias)
    }

    /// Applications mostly name their tenant when they write.
    fn own_filter(&mut self, dice: &mut Dice, target: &Source) -> String {
        let filter = self.filter(dice, target);
        if !dice.chance(50) {
            return filter;
        }
        let tenant = self.own_tenant(dice);
        let tenant = self.value(dice, Kind::Tenant, &tenant);
        let own = format!("{} = {tenant}", target.column(Kind::Tenant).expect("every source has it"));
        match filter.strip_prefix(" WHERE ") {
            Some(rest) => format!(" WHERE {own} AND {rest}"),
            None => format!(" WHERE {own}"),
        }
    }

    fn update_from(&mut self, dice: &mut Dice) -> String {
        let (target, source) = (self.target(dice), self.source(dice));
        let of = |kind| source.column(kind).expect("every source has it");
        let key = target.column(Kind::Parent).filter(|_| dice.chance(60));
        let key = key.or_else(|| target.column(Kind::Id)).expect("every source has it");
        let returning = self.returning(dice, &target);
        let filter = self.own_filter(dice, &target).replacen(" WHERE ", " AND ", 1);
        format!(
            "UPDATE {} AS {} SET amount = {} + 1 FROM {} AS {} WHERE {} = {key}{filter}{returning}",
            target.relation,
            target.alias,
            of(Kind::Amount),
            source.relation,
            source.alias,
            of(Kind::Id)
        )
    }

    fn delete(&mut self, dice: &mut Dice) -> String {
        let target = self.target(dice);
        let filter = self.own_filter(dice, &target);
        let returning = self.returning(dice, &target);
        format!("DELETE FROM {} AS {}{filter}{returning}", target.relation, target.alias)
    }

    fn delete_using(&mut self, dice: &mut Dice) -> String {
        let (target, source) = (self.target(dice), self.source(dice));
        let of = |source: &Source, kind| source.column(kind).expect("every source has it");
        let (id, other) = (of(&target, Kind::Id), of(&source, Kind::Id));
        let filter = self.own_filter(dice, &target).replacen(" WHERE ", " AND ", 1);
        let returning = self.returning(dice, &target);
        format!(
            "DELETE FROM {} AS {} USING {} AS {} WHERE {id} = {other}{filter}{returning}",
            target.relation, target.alias, source.relation, source.alias
        )
    }

    fn merge(&mut self, dice: &mut Dice, version: Version) -> String {
        let (number, mut source) = (dice.below(self.schema.tables.len()), self.source(dice));
        let target = self.table(number);
        if dice.chance(25) {
            // Rows that are in no table.
            source.relation = format!("(VALUES ({}), ({}))", dice.between(1, 14), dice.between(1, 14));
            source.columns = vec![Column { name: "id", kind: Kind::Id }];
            source.alias.push_str(" (id)");
        }
        let of = |source: &Source, kind| {
            let column = source.column(kind).expect("every source has it");
            column.replace(" (id)", "")
        };
        let matched = match dice.below(3) {
            0 => "WHEN MATCHED THEN UPDATE SET amount = 4",
            1 => "WHEN MATCHED THEN DELETE",
            _ => "WHEN MATCHED THEN DO NOTHING",
        };
        let filter = self.own_filter(dice, &target).replacen(" WHERE ", " AND ", 1);
        let missing = if dice.chance(60) {
            let tenant = self.tenant(dice, 80);
            let tenant = self.value(dice, Kind::Tenant, &tenant);
            let kind = self.schema.tenant_type.sql();
            format!(
                " WHEN NOT MATCHED THEN INSERT (id, {}, owner) VALUES ({} + 2000, {tenant}::{kind}, 'u0')",
                self.schema.tenant_column,
                of(&source, Kind::Id)
            )
        } else if version >= Version(17) && dice.chance(50) {
            format!(" WHEN NOT MATCHED BY SOURCE AND {} < 4 THEN DELETE", of(&target, Kind::Amount))
        } else {
            " WHEN NOT MATCHED THEN DO NOTHING".to_owned()
        };
        let returning = match version >= Version(17) && dice.chance(30) {
            true => format!(" RETURNING merge_action(), {}", of(&target, Kind::Id)),
            false => String::new(),
        };
        format!(
            "MERGE INTO {} AS {} USING {} AS {} ON {} = {}{filter} {matched}{missing}{returning}",
            target.relation,
            target.alias,
            source.relation,
            source.alias,
            of(&target, Kind::Id),
            of(&source, Kind::Id)
        )
    }

    fn writing_cte(&mut self, dice: &mut Dice) -> String {
        let name = self.name();
        let target = self.target(dice);
        let id = target.column(Kind::Id).expect("every source has it");
        let filter = self.own_filter(dice, &target);
        let (relation, alias) = (&target.relation, &target.alias);
        match dice.below(3) {
            0 => format!(
                "WITH {name} AS (DELETE FROM {relation} AS {alias}{filter} RETURNING {id}) SELECT count(*) FROM {name}"
            ),
            1 => {
                let set = self.assignment(dice, &target);
                format!(
                    "WITH {name} AS (UPDATE {relation} AS {alias} SET {set}{filter} RETURNING {id}) SELECT * FROM {name}"
                )
            }
            _ => {
                let first = dice.between(100, 900);
                let (columns, rows) = self.new_rows(dice, &target, first, 1);
                format!(
                    "WITH {name} AS (INSERT INTO {relation} AS {alias} ({columns}) VALUES {rows} RETURNING {id} AS id) SELECT id FROM {name}"
                )
            }
        }
    }

    fn copy_from(&mut self, dice: &mut Dice) -> (String, String) {
        let number = dice.below(self.schema.tables.len());
        let table = &self.schema.tables[number];
        let mut columns: Vec<_> =
            table.written().filter(|column| column.kind != Kind::Parent).cloned().collect();
        dice.shuffle(&mut columns);
        let names: Vec<_> = columns.iter().map(|column| column.name).collect();
        let mut data = String::new();
        for row in 0..dice.between(1, 3) {
            let values = columns.iter().map(|column| match column.kind {
                Kind::Id => (500 + row).to_string(),
                Kind::Tenant => self.tenant(dice, 80),
                Kind::Owner => self.owner(dice),
                Kind::Shared => "f".to_owned(),
                Kind::Amount | Kind::Parent | Kind::Generated => dice.below(20).to_string(),
                Kind::Label => "red".to_owned(),
            });
            data.push_str(&values.collect::<Vec<_>>().join("\t"));
            data.push('\n');
        }
        (format!("COPY {} ({}) FROM STDIN", table.name, names.join(", ")), data)
    }
}
