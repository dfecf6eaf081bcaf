//! Random queries.

use crate::dice::Dice;
use crate::schema::{Column, Kind, Table};
use crate::statement::{Class, Draft, Order};

/// Something to select from, under an alias.
#[derive(Debug, Clone)]
pub struct Source {
    pub relation: String,
    pub alias: String,
    pub columns: Vec<Column>,
    /// The table behind it.
    pub table: usize,
}

impl Source {
    /// The columns of these kinds, qualified.
    pub fn column(&self, kind: Kind) -> Option<String> {
        let found = self.columns.iter().find(|column| column.kind == kind);
        found.map(|column| format!("{}.{}", self.alias, column.name))
    }
}

/// A query and what its rows mean.
#[derive(Debug, Clone)]
pub struct Query {
    pub text: String,
    pub columns: usize,
    pub order: Order,
}

impl Draft<'_> {
    /// A table, a partition or a view.
    pub fn source(&mut self, dice: &mut Dice) -> Source {
        let schema = self.schema;
        if !schema.views.is_empty() && dice.chance(20) {
            let view = dice.pick(&schema.views);
            let (relation, columns) = (view.name.to_owned(), view.columns.clone());
            return Source { relation, alias: self.name(), columns, table: view.base };
        }
        if !schema.partitions.is_empty() && dice.chance(12) {
            // Partitions as tables of their own: what they are asked by name.
            let (table, partition) = dice.pick(&schema.partitions).clone();
            let columns = schema.tables[table].columns.clone();
            return Source { relation: partition, alias: self.name(), columns, table };
        }
        let table = dice.below(schema.tables.len());
        self.table(table)
    }

    /// This table.
    pub fn table(&mut self, table: usize) -> Source {
        let Table { name, columns, .. } = &self.schema.tables[table];
        Source { relation: (*name).to_owned(), alias: self.name(), columns: columns.clone(), table }
    }

    /// A condition about the rows of `source`.
    pub fn condition(&mut self, dice: &mut Dice, source: &Source) -> String {
        let column = |kind| source.column(kind).expect("every source has it");
        match dice.below(13) {
            0 | 1 => {
                let tenant = self.tenant(dice, 70);
                let tenant = self.value(dice, Kind::Tenant, &tenant);
                format!("{} = {tenant}", column(Kind::Tenant))
            }
            2 | 3 => {
                let amount = dice.below(12).to_string();
                let amount = self.value(dice, Kind::Amount, &amount);
                format!("{} {} {amount}", column(Kind::Amount), dice.pick(&["<", ">", ">=", "<>"]))
            }
            4 => {
                let label = *dice.pick(&["red", "green", "blue", "grey"]);
                let label = self.value(dice, Kind::Label, label);
                format!("{} = {label}", column(Kind::Label))
            }
            5 => format!("{}{}", dice.pick(&["", "NOT "]), column(Kind::Shared)),
            6 => {
                let owner = self.owner(dice);
                let owner = self.value(dice, Kind::Owner, &owner);
                format!("{} = {owner}", column(Kind::Owner))
            }
            7 => {
                let ids: Vec<_> = (0..3).map(|_| dice.between(1, 12).to_string()).collect();
                format!("{} IN ({})", column(Kind::Id), ids.join(", "))
            }
            8 => format!("{} IS NOT NULL", column(Kind::Tenant)),
            9 => {
                let (one, other) = (self.plain_condition(dice, source), self.plain_condition(dice, source));
                format!("({one} {} {other})", dice.pick(&["AND", "OR"]))
            }
            _ => self.sub_query_condition(dice, source),
        }
    }

    fn plain_condition(&mut self, dice: &mut Dice, source: &Source) -> String {
        let column = |kind| source.column(kind).expect("every source has it");
        let amount = dice.below(12).to_string();
        let amount = self.value(dice, Kind::Amount, &amount);
        match dice.below(3) {
            0 => format!("{} < {amount}", column(Kind::Amount)),
            1 => format!("{} LIKE '%r%'", column(Kind::Label)),
            _ => format!("{} > {amount}", column(Kind::Id)),
        }
    }

    /// EXISTS, IN and comparisons with what a sub-query returns.
    pub fn sub_query_condition(&mut self, dice: &mut Dice, source: &Source) -> String {
        let inner = self.source(dice);
        let outer = |kind| source.column(kind).expect("every source has it");
        let of = |kind| inner.column(kind).expect("every source has it");
        let from = format!("{} AS {}", inner.relation, inner.alias);
        let amount = dice.below(12).to_string();
        let amount = self.value(dice, Kind::Amount, &amount);
        match dice.below(5) {
            0 => format!(
                "{}EXISTS (SELECT 1 FROM {from} WHERE {} = {} AND {} < {amount})",
                dice.pick(&["", "NOT "]),
                of(Kind::Id),
                outer(Kind::Id),
                of(Kind::Amount)
            ),
            1 => format!(
                "{} IN (SELECT {} FROM {from} WHERE {} > {amount})",
                outer(Kind::Id),
                of(Kind::Id),
                of(Kind::Amount)
            ),
            2 => format!("{} >= (SELECT min({}) FROM {from})", outer(Kind::Amount), of(Kind::Amount)),
            3 => format!("{} NOT IN (SELECT {} FROM {from})", outer(Kind::Owner), of(Kind::Owner)),
            _ => format!(
                "{} = ANY (SELECT {} FROM {from} WHERE {})",
                outer(Kind::Label),
                of(Kind::Label),
                of(Kind::Shared)
            ),
        }
    }

    /// Some conditions, with WHERE in front.
    pub fn filter(&mut self, dice: &mut Dice, source: &Source) -> String {
        let conditions: Vec<_> = (0..dice.below(3)).map(|_| self.condition(dice, source)).collect();
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
    }

    /// A query of this class.
    pub fn query(&mut self, dice: &mut Dice, class: Class) -> Query {
        match class {
            Class::Join => self.join(dice),
            Class::Cte => self.cte(dice),
            Class::Aggregate => self.aggregate(dice),
            Class::SubQuery => self.sub_query(dice),
            Class::SetOperation => self.set_operation(dice),
            Class::Limit => self.limit(dice),
            Class::Window => self.window(dice),
            Class::Function => self.function(dice),
            _ => self.select(dice),
        }
    }

    /// Columns of one source.
    pub fn select(&mut self, dice: &mut Dice) -> Query {
        let source = self.source(dice);
        let (list, columns) = self.list(dice, &source);
        let distinct = *dice.pick(&["", "", "", "DISTINCT "]);
        let filter = self.filter(dice, &source);
        let text = format!("SELECT {distinct}{list} FROM {} AS {}{filter}", source.relation, source.alias);
        ordered(dice, Query { text, columns, order: Order::Any })
    }

    fn list(&mut self, dice: &mut Dice, source: &Source) -> (String, usize) {
        match dice.below(10) {
            0 => (format!("{}.*", source.alias), source.columns.len()),
            1 => ("count(*)".to_owned(), 1),
            2 => (format!("{} AS whole_{}", source.alias, self.number), 1),
            _ => {
                let mut columns = source.columns.clone();
                dice.shuffle(&mut columns);
                columns.truncate(dice.between(1, source.columns.len()));
                let names: Vec<_> =
                    columns.iter().map(|column| format!("{}.{}", source.alias, column.name)).collect();
                (names.join(", "), columns.len())
            }
        }
    }

    fn join(&mut self, dice: &mut Dice) -> Query {
        let (left, right) = (self.source(dice), self.source(dice));
        let kind = *dice.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
        let of = |source: &Source, kind| source.column(kind).expect("every source has it");
        let condition = match (dice.below(4), right.column(Kind::Parent)) {
            (0 | 1, Some(parent)) => format!("{parent} = {}", of(&left, Kind::Id)),
            (2, _) => format!("{} = {}", of(&left, Kind::Tenant), of(&right, Kind::Tenant)),
            _ => format!("{} = {}", of(&left, Kind::Id), of(&right, Kind::Id)),
        };
        let mut list = vec![of(&left, Kind::Id), of(&right, Kind::Id)];
        list.extend(
            [of(&left, Kind::Tenant), of(&right, Kind::Amount)].into_iter().filter(|_| dice.chance(60)),
        );
        let filter = self.filter(dice, &left);
        let mut text = format!(
            "SELECT {} FROM {} AS {} {kind} {} AS {} ON {condition}",
            list.join(", "),
            left.relation,
            left.alias,
            right.relation,
            right.alias
        );
        if dice.chance(25) {
            let colours = self.name();
            text =
                format!("{text} JOIN colours AS {colours} ON {colours}.label = {}", of(&left, Kind::Label));
        }
        ordered(dice, Query { text: text + &filter, columns: list.len(), order: Order::Any })
    }

    fn cte(&mut self, dice: &mut Dice) -> Query {
        let inner = self.source(dice);
        let of = |kind| inner.column(kind).expect("every source has it");
        let (name, outer) = (self.name(), self.source(dice));
        let how = *dice.pick(&["", "MATERIALIZED ", "NOT MATERIALIZED "]);
        let filter = self.filter(dice, &inner);
        let with = format!(
            "WITH {name} AS {how}(SELECT {} AS id, {} AS amount, {} AS label FROM {} AS {}{filter})",
            of(Kind::Id),
            of(Kind::Amount),
            of(Kind::Label),
            inner.relation,
            inner.alias
        );
        let id = outer.column(Kind::Id).expect("every source has it");
        let (text, columns) = match dice.below(3) {
            0 => (format!("{with} SELECT sum(amount), count(*) FROM {name}"), 2),
            1 => (format!("{with} SELECT {name}.label, {name}.id FROM {name}"), 2),
            _ => (
                format!(
                    "{with} SELECT {id}, {name}.amount FROM {} AS {} JOIN {name} ON {name}.id = {id}",
                    outer.relation, outer.alias
                ),
                2,
            ),
        };
        ordered(dice, Query { text, columns, order: Order::Any })
    }

    fn aggregate(&mut self, dice: &mut Dice) -> Query {
        let source = self.source(dice);
        let of = |kind| source.column(kind).expect("every source has it");
        let functions = [
            "count(*)".to_owned(),
            format!("sum({})", of(Kind::Amount)),
            format!("max({})", of(Kind::Label)),
            format!("count(DISTINCT {})", of(Kind::Owner)),
            format!("bool_or({})", of(Kind::Shared)),
            format!("count(*) FILTER (WHERE {} > 4)", of(Kind::Amount)),
            format!("string_agg({}, ',' ORDER BY {})", of(Kind::Label), of(Kind::Id)),
        ];
        let (one, other) = (dice.pick(&functions).clone(), dice.pick(&functions).clone());
        let filter = self.filter(dice, &source);
        let from = format!("FROM {} AS {}{filter}", source.relation, source.alias);
        let (text, columns) = match dice.below(4) {
            0 => (format!("SELECT {one}, {other} {from}"), 2),
            1 => (format!("SELECT {0}, {one} {from} GROUP BY {0}", of(Kind::Tenant)), 2),
            2 => (format!("SELECT {0}, {one} {from} GROUP BY {0} HAVING count(*) > 1", of(Kind::Label)), 2),
            _ => (
                format!(
                    "SELECT {0}, {1}, {one} {from} GROUP BY GROUPING SETS (({0}), ({1}))",
                    of(Kind::Label),
                    of(Kind::Shared)
                ),
                3,
            ),
        };
        ordered(dice, Query { text, columns, order: Order::Any })
    }

    fn sub_query(&mut self, dice: &mut Dice) -> Query {
        let (source, inner) = (self.source(dice), self.source(dice));
        let of = |kind| source.column(kind).expect("every source has it");
        let from = format!("FROM {} AS {}", source.relation, source.alias);
        let inner_id = inner.column(Kind::Id).expect("every source has it");
        let text = match dice.below(3) {
            0 => format!(
                "SELECT {}, (SELECT count(*) FROM {} AS {} WHERE {inner_id} < {}) {from}",
                of(Kind::Id),
                inner.relation,
                inner.alias,
                of(Kind::Id)
            ),
            1 => {
                let condition = self.sub_query_condition(dice, &source);
                format!("SELECT {}, {} {from} WHERE {condition}", of(Kind::Tenant), of(Kind::Label))
            }
            _ => {
                let name = self.name();
                format!(
                    "SELECT {}, {name}.n {from}, LATERAL (SELECT count(*) AS n FROM {} AS {} WHERE {inner_id} > {}) AS {name}",
                    of(Kind::Id),
                    inner.relation,
                    inner.alias,
                    of(Kind::Amount)
                )
            }
        };
        ordered(dice, Query { text, columns: 2, order: Order::Any })
    }

    fn set_operation(&mut self, dice: &mut Dice) -> Query {
        let (left, right) = (self.source(dice), self.source(dice));
        let operation = *dice.pick(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT", "EXCEPT ALL"]);
        let kinds =
            *dice.pick(&[[Kind::Id, Kind::Amount], [Kind::Label, Kind::Tenant], [Kind::Owner, Kind::Shared]]);
        let mut side = |source: &Source| {
            let columns = kinds.map(|kind| source.column(kind).expect("every source has it")).join(", ");
            let filter = self.filter(dice, source);
            format!("SELECT {columns} FROM {} AS {}{filter}", source.relation, source.alias)
        };
        let text = format!("{} {operation} {}", side(&left), side(&right));
        ordered(dice, Query { text, columns: 2, order: Order::Any })
    }

    fn limit(&mut self, dice: &mut Dice) -> Query {
        let source = self.source(dice);
        let of = |kind| source.column(kind).expect("every source has it");
        let list = format!("{}, {}, {}", of(Kind::Amount), of(Kind::Label), of(Kind::Id));
        let filter = self.filter(dice, &source);
        let from = format!("FROM {} AS {}{filter}", source.relation, source.alias);
        let (limit, order) = (dice.between(1, 5), format!("ORDER BY {list}"));
        let (text, order) = match dice.below(6) {
            0 => (format!("SELECT {list} {from} LIMIT {limit}"), Order::Unstable),
            1 => (format!("SELECT DISTINCT ON ({}) {list} {from}", of(Kind::Label)), Order::Unstable),
            2 => (format!("SELECT array_agg({}) {from}", of(Kind::Label)), Order::Unstable),
            3 => (format!("SELECT {list} {from} {order} OFFSET 1 LIMIT {limit}"), Order::Total),
            4 => (format!("SELECT {list} {from} {order} FETCH FIRST {limit} ROWS ONLY"), Order::Total),
            _ => (format!("SELECT {list} {from} {order} LIMIT {limit}"), Order::Total),
        };
        Query { text, columns: 3, order }
    }

    fn window(&mut self, dice: &mut Dice) -> Query {
        let source = self.source(dice);
        let of = |kind| source.column(kind).expect("every source has it");
        let window = format!(
            "(PARTITION BY {} ORDER BY {})",
            of(*dice.pick(&[Kind::Tenant, Kind::Label])),
            of(Kind::Id)
        );
        let function = match dice.below(3) {
            0 => "row_number()".to_owned(),
            1 => format!("sum({})", of(Kind::Amount)),
            _ => format!("lag({})", of(Kind::Label)),
        };
        let filter = self.filter(dice, &source);
        let text = format!(
            "SELECT {}, {function} OVER {window} FROM {} AS {}{filter}",
            of(Kind::Id),
            source.relation,
            source.alias
        );
        ordered(dice, Query { text, columns: 2, order: Order::Any })
    }

    fn function(&mut self, dice: &mut Dice) -> Query {
        let table = dice.pick(&self.schema.tables).name;
        let name = self.name();
        let text = match dice.below(2) {
            0 => format!("SELECT total_{table}() AS {name}"),
            _ => format!("SELECT label AS {name}, total_{table}() FROM colours"),
        };
        ordered(
            dice,
            Query { columns: if text.contains("colours") { 2 } else { 1 }, text, order: Order::Any },
        )
    }
}

/// In half of all cases, with an order that leaves nothing open, sometimes cut off.
fn ordered(dice: &mut Dice, query: Query) -> Query {
    if dice.chance(55) || query.order == Order::Unstable {
        return query;
    }
    let all: Vec<_> = (1..=query.columns).map(|column| column.to_string()).collect();
    let limit = if dice.chance(15) { format!(" LIMIT {}", dice.between(1, 6)) } else { String::new() };
    let text = format!("{} ORDER BY {}{limit}", query.text, all.join(", "));
    Query { text, order: Order::Total, ..query }
}
