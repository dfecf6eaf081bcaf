//! The walk over a query's tree behind [`rerun`](crate::rerun()).
//!
//! The tree is walked as a generic one, so that no place in which a query can stand is overlooked.

use crate::relation::ParseError;
use crate::rerun::{Depends, NotAgain};
use pg_query::protobuf::{LimitOption, SelectStmt};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Aggregates that put values together in the order in which they meet them, and lose none.
const GATHERING: [&str; 4] = ["array_agg", "string_agg", "json_agg", "jsonb_agg"];
/// Functions whose result is another when rows are met in another order.
const CHOOSING: [&str; 14] = [
    "any_value",
    "first_value",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "jsonb_object_agg",
    "lag",
    "last_value",
    "lead",
    "mode",
    "nth_value",
    "ntile",
    "row_number",
    "xmlagg",
];
/// Aggregates that add up: floating-point numbers add up to another sum in another order.
const ADDING: [&str; 18] = [
    "avg",
    "corr",
    "covar_pop",
    "covar_samp",
    "regr_avgx",
    "regr_avgy",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var_pop",
    "var_samp",
];
/// Functions that hand on what they get, around gathered values.
const HANDING_ON: [&str; 10] = [
    "coalesce",
    "json_build_array",
    "json_build_object",
    "jsonb_build_array",
    "jsonb_build_object",
    "row_to_json",
    "to_json",
    "to_jsonb",
    "json_strip_nulls",
    "jsonb_strip_nulls",
];
/// `ARRAY_SUBLINK` as the tree has it (`SubLinkType`, one more than in `primnodes.h`).
const ARRAY_SUBLINK: u64 = 7;
/// `FRAMEOPTION_ROWS` of `parsenodes.h`.
const FRAME_ROWS: u64 = 4;

/// What was met so far.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    depends: Option<Depends>,
    pub(crate) sums: Vec<BTreeSet<String>>,
}

/// Whether what is found here comes out of the query as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Around {
    Nothing,
    Something,
}

impl Walk {
    pub(crate) fn depends(&self) -> Depends {
        self.depends.unwrap_or(Depends::Rows)
    }

    /// Looks at a whole query.
    ///
    /// # Errors
    /// [`NotAgain`] when it does more than to read.
    pub(crate) fn look_at(&mut self, select: &SelectStmt) -> Result<(), NotAgain> {
        let cuts = select.limit_count.is_some() || select.limit_offset.is_some();
        let ties = select.limit_option() == LimitOption::WithTies && select.limit_offset.is_none();
        if cuts && !ties {
            self.add(if select.sort_clause.is_empty() { Depends::Plan } else { Depends::Ties });
        }
        let tree =
            serde_json::to_value(select).map_err(|error| ParseError::Syntax { reason: error.to_string() })?;
        let Value::Object(fields) = &tree else { return Err(NotAgain::NoQuery) };
        // The limit of the whole was looked at.
        self.select(fields)?;
        let is_distinct = is_there(fields, "distinct_clause");
        self.fields(fields, if is_distinct { Around::Something } else { Around::Nothing })
    }

    fn add(&mut self, depends: Depends) {
        // A limit behind values that depend on the order themselves is no matter of ties any more.
        let worse = match (self.depends, depends) {
            (Some(Depends::Ties), Depends::Order) | (Some(Depends::Order), Depends::Ties) => Depends::Plan,
            (before, now) => before.map_or(now, |before| before.max(now)),
        };
        self.depends = Some(worse);
    }

    fn value(&mut self, value: &Value, around: Around) -> Result<(), NotAgain> {
        match value {
            Value::Array(values) => values.iter().try_for_each(|value| self.value(value, around)),
            Value::Object(fields) => self.fields(fields, around),
            _ => Ok(()),
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>, around: Around) -> Result<(), NotAgain> {
        for (name, value) in fields {
            let around = match (name.as_str(), value) {
                ("InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt", Value::Object(_)) => {
                    return Err(NotAgain::Effects);
                }
                ("SelectStmt" | "larg" | "rarg", Value::Object(select)) if is_select(select) => {
                    self.inner(select)?;
                    if name == "SelectStmt" && !is_there(select, "distinct_clause") { around } else { Around::Something }
                }
                ("RangeTableSample", Value::Object(_)) => self.chosen(),
                ("FuncCall", Value::Object(call)) => self.call(call, around),
                ("JsonArrayAgg" | "JsonObjectAgg", Value::Object(_)) => self.chosen(),
                ("SubLink", Value::Object(link)) => self.sub_link(link, around),
                ("WindowDef" | "over", Value::Object(window)) => self.window(window),
                // What is compared, computed or subscripted does not come out as it is.
                ("AExpr" | "AIndirection" | "BoolExpr" | "NullTest" | "CaseExpr" | "MinMaxExpr", Value::Object(_))
                | ("where_clause" | "having_clause" | "sort_clause" | "group_clause", _)
                // What stands there may be used in any way.
                | ("from_clause" | "with_clause", _) => Around::Something,
                _ => around,
            };
            self.value(value, around)?;
        }
        Ok(())
    }

    /// A query within the query.
    fn inner(&mut self, select: &Map<String, Value>) -> Result<(), NotAgain> {
        let is_cut = ["limit_count", "limit_offset"].iter().any(|name| is_there(select, name));
        if is_cut {
            self.add(Depends::Plan);
        }
        self.select(select)
    }

    fn select(&mut self, select: &Map<String, Value>) -> Result<(), NotAgain> {
        if is_there(select, "locking_clause") || is_there(select, "into_clause") {
            return Err(NotAgain::Effects);
        }
        // DISTINCT without ON is a list of one empty node.
        let on = select.get("distinct_clause").and_then(Value::as_array).into_iter().flatten();
        if on.into_iter().any(|node| node.get("node").is_some_and(|node| !node.is_null())) {
            self.add(Depends::Plan);
        }
        Ok(())
    }

    fn chosen(&mut self) -> Around {
        self.add(Depends::Plan);
        Around::Something
    }

    /// `ARRAY(SELECT …)` gathers as `array_agg` does.
    fn sub_link(&mut self, link: &Map<String, Value>, around: Around) -> Around {
        if link.get("sub_link_type").and_then(Value::as_u64) == Some(ARRAY_SUBLINK) {
            self.gathered(around);
        }
        around
    }

    fn gathered(&mut self, around: Around) {
        self.add(if around == Around::Nothing { Depends::Order } else { Depends::Plan });
    }

    /// Rows of a frame are counted from an order that may leave some equal.
    fn window(&mut self, window: &Map<String, Value>) -> Around {
        let options = window.get("frame_options").and_then(Value::as_u64).unwrap_or_default();
        if options & FRAME_ROWS != 0 {
            self.add(Depends::Plan);
        }
        Around::Something
    }

    fn call(&mut self, call: &Map<String, Value>, around: Around) -> Around {
        let name = last_name(call);
        if CHOOSING.contains(&name.as_str()) {
            return self.chosen();
        }
        if GATHERING.contains(&name.as_str()) {
            if is_there(call, "over") {
                self.add(Depends::Plan);
            } else if !is_ordered_by_itself(call) {
                self.gathered(if name == "string_agg" && !has_plain_delimiter(call) {
                    Around::Something
                } else {
                    around
                });
            }
            return Around::Something;
        }
        if ADDING.contains(&name.as_str()) {
            let mut names = BTreeSet::new();
            call.get("args").into_iter().for_each(|args| names_in(args, &mut names));
            self.sums.push(names);
        }
        if HANDING_ON.contains(&name.as_str()) { around } else { Around::Something }
    }
}

fn is_select(fields: &Map<String, Value>) -> bool {
    fields.contains_key("locking_clause") && fields.contains_key("limit_option")
}

fn is_there(fields: &Map<String, Value>, name: &str) -> bool {
    match fields.get(name) {
        Some(Value::Array(values)) => !values.is_empty(),
        Some(Value::Null) | None => false,
        Some(_) => true,
    }
}

fn last_name(call: &Map<String, Value>) -> String {
    let parts = call.get("funcname").and_then(Value::as_array);
    let last =
        parts.and_then(|parts| parts.last()).and_then(|part| part.get("node")?.get("String")?.get("sval"));
    last.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Whether the value that is put together is among what it is ordered by: equal ones are then the same.
fn is_ordered_by_itself(call: &Map<String, Value>) -> bool {
    let list = |name: &str| call.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if call.get("agg_distinct").and_then(Value::as_bool) == Some(true) {
        return true;
    }
    let Some(argument) = list("args").first().map(without_places) else { return false };
    let keys = list("agg_order").iter().filter_map(|key| key.get("node")?.get("SortBy")?.get("node"));
    keys.map(without_places).any(|key| key == argument)
}

/// Whether the pieces stay what they are in whatever order they are put together.
fn has_plain_delimiter(call: &Map<String, Value>) -> bool {
    let delimiter = call.get("args").and_then(Value::as_array).and_then(|args| args.get(1));
    let constant =
        delimiter.and_then(|value| value.get("node")?.get("AConst")?.get("val")?.get("Sval")?.get("sval"));
    let is_plain = |text: &str| !text.is_empty() && !text.contains(char::is_alphanumeric);
    constant.and_then(Value::as_str).is_some_and(is_plain)
}

/// The tree without where its nodes stand in the text.
fn without_places(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| *name != "location");
            Value::Object(kept.map(|(name, value)| (name.clone(), without_places(value))).collect())
        }
        Value::Array(values) => Value::Array(values.iter().map(without_places).collect()),
        other => other.clone(),
    }
}

/// Every name in an expression.
fn names_in(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(text)) = fields.get("sval") {
                names.insert(text.clone());
            }
            fields.values().for_each(|value| names_in(value, names));
        }
        Value::Array(values) => values.iter().for_each(|value| names_in(value, names)),
        _ => {}
    }
}
