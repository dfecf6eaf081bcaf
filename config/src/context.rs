//! The context that goes into every transaction.

use std::collections::{BTreeMap, BTreeSet};

use crate::auth::{Auth, Method};
use crate::fixed::{self, Fixed};
use crate::lookup::{self, Lookups, QUERIES};
use crate::mistake::{Fault, Origin};
use crate::reader::{Reader, single};
use crate::role::{self, RoleSettings};
use crate::seal::{self, SealSettings};
use crate::upstream::Upstream;
use crate::variable::{self, ClaimPath, Kind, ValueFrom, Variable};
use crate::word::{Word, words};
use crate::written::{Node, Value};

const VARIABLES: &str = "context.variables";
const MAX_VALUE_BYTES: usize = 8 * 1024;
const MAX_CLAIMS_BYTES: usize = 64 * 1024;

/// What happens to a statement that needs a context when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// It is refused with SQLSTATE 42501 (only recorded in `shadow`).
    Refuse,
    /// It runs with empty values, and row level security answers.
    Empty,
    /// It runs as the default tenant.
    Default,
}

words!(Missing { Refuse = "refuse", Empty = "empty", Default = "default" });

/// What the context consists of and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextSettings {
    /// The variables, in the order in which they were written; names differ even without regard to case.
    pub variables: Vec<Variable>,
    /// Contexts by database user.
    pub fixed: BTreeMap<String, Fixed>,
    /// What happens when there is no context.
    pub missing: Missing,
    /// The default tenant; present exactly when `missing` is [`Missing::Default`].
    pub default_tenant: Option<Fixed>,
    /// The claim that names the tenant.
    pub tenant_claim: Option<ClaimPath>,
    /// The claim that names the user.
    pub user_claim: Option<ClaimPath>,
    /// The role that transactions run as.
    pub role: Option<RoleSettings>,
    /// The longest value of a variable, in bytes.
    pub max_value_bytes: usize,
    /// The longest value of a variable that takes all claims, in bytes.
    pub max_claims_bytes: usize,
    /// How the context is sealed, if it is.
    pub seal: Option<SealSettings>,
    /// What the database is asked about who a client is.
    pub lookups: Lookups,
}

/// A variable and where it was written.
type Placed = (Origin, Variable);

/// Reads `[context]` and checks that every variable can get a value.
pub(crate) fn resolve(reader: &mut Reader<'_>, auth: &Auth, upstream: Option<&Upstream>) -> ContextSettings {
    let placed = variables(reader);
    let default_tenant = default_tenant(reader);
    let mut settings = ContextSettings {
        variables: placed.iter().map(|(_, variable)| variable.clone()).collect(),
        fixed: fixed::resolve(reader),
        missing: missing(reader, default_tenant.as_ref()),
        default_tenant,
        tenant_claim: reader.parse("context.tenant_claim", ClaimPath::parse),
        user_claim: reader.parse("context.user_claim", ClaimPath::parse),
        role: role::resolve(reader),
        max_value_bytes: reader.size("context.max_value_bytes", 1..=1_048_576).unwrap_or(MAX_VALUE_BYTES),
        max_claims_bytes: reader.size("context.max_claims_bytes", 1..=1_048_576).unwrap_or(MAX_CLAIMS_BYTES),
        seal: None,
        lookups: lookup::resolve(reader, upstream),
    };
    settings.seal = seal::resolve(reader, &settings, upstream);
    check_claims(reader, &settings, &placed, auth);
    for (origin, variable) in &placed {
        check_variable(reader, &settings, origin, variable);
    }
    settings
}

fn missing(reader: &mut Reader<'_>, default_tenant: Option<&Fixed>) -> Missing {
    const KEY: &str = "context.missing";
    let written = reader.word::<Missing>(KEY);
    if default_tenant.is_some() && matches!(written, Some(Missing::Refuse | Missing::Empty)) {
        let fault = Fault::new("contradicts context.default_tenant", "\"default\", or no default tenant");
        reader.wrong(KEY, fault);
    }
    if default_tenant.is_none() && written == Some(Missing::Default) && !defaults_are_spoiled(reader) {
        let fault = Fault::new("there is no default tenant", "context.default_tenant as well");
        reader.wrong(KEY, fault);
    }
    let otherwise = if default_tenant.is_some() { Missing::Default } else { Missing::Refuse };
    written.unwrap_or(otherwise)
}

fn defaults_are_spoiled(reader: &Reader<'_>) -> bool {
    reader.is_spoiled("context.default_tenant") || reader.is_spoiled("context.default_user")
}

fn default_tenant(reader: &mut Reader<'_>) -> Option<Fixed> {
    let fixed =
        Fixed { tenant: reader.text("context.default_tenant"), user: reader.text("context.default_user") };
    (fixed != Fixed::default()).then_some(fixed)
}

fn variables(reader: &mut Reader<'_>) -> Vec<Placed> {
    let Some(node) = reader.node(VARIABLES) else { return Vec::new() };
    let mut placed = Vec::new();
    match &node.value {
        Value::Text(_) => {
            for read in single(node).map_or_else(|fault| vec![Err(fault)], variable::parse_list) {
                let variable = reader.keep(read, &node.origin, VARIABLES);
                placed.extend(variable.map(|variable| (node.origin.clone(), variable)));
            }
        }
        Value::List(items) => {
            for item in items {
                let read = from_table(item);
                let variable = reader.keep(read, &item.origin, VARIABLES);
                placed.extend(variable.map(|variable| (item.origin.clone(), variable)));
            }
        }
        Value::Table(_) => from_tree(reader, "", node, &mut placed),
    }
    let mut seen = BTreeSet::new();
    for (origin, variable) in &placed {
        if !seen.insert(variable.name.to_ascii_lowercase()) {
            let problem = format!("{:?} is given twice", variable.name);
            reader.wrong_at(origin.clone(), VARIABLES, Fault::new(problem, "each variable once"));
        }
    }
    placed
}

/// Reads one `[[context.variables]]`.
fn from_table(node: &Node) -> Result<Variable, Fault> {
    const SHAPE: &str = "a table with name, from and kind";
    let Value::Table(fields) = &node.value else {
        return Err(Fault::new("is not a table", SHAPE));
    };
    let (mut name, mut from, mut kind) = (None, None, None);
    for (field, _, value) in fields {
        match field.as_str() {
            "name" => name = Some(single(value)?),
            "from" => from = Some(single(value)?),
            "kind" => kind = Some(Kind::from_word(single(value)?)?),
            _ => return Err(Fault::new(format!("unknown key {field:?}"), SHAPE)),
        }
    }
    match (name, from) {
        (Some(name), Some(from)) => Variable::new(name, from, kind),
        _ => Err(Fault::new("has no name or no source", SHAPE)),
    }
}

/// Reads `[context.variables]`, where dots in names may have become tables of their own.
fn from_tree(reader: &mut Reader<'_>, prefix: &str, node: &Node, placed: &mut Vec<Placed>) {
    let Value::Table(fields) = &node.value else {
        let read = single(node).and_then(|source| Variable::new(prefix, source, None));
        let variable = reader.keep(read, &node.origin, VARIABLES);
        placed.extend(variable.map(|variable| (node.origin.clone(), variable)));
        return;
    };
    for (name, _, value) in fields {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        from_tree(reader, &path, value, placed);
    }
}

/// Claims exist only where a token does.
fn check_claims(reader: &mut Reader<'_>, settings: &ContextSettings, placed: &[Placed], auth: &Auth) {
    let role_claim = settings.role.as_ref().and_then(|role| role.claim.clone());
    const EXPECTED: &str = "auth.method = \"jwt\"";
    let is_spoiled = reader.is_spoiled("auth.method") || reader.is_spoiled("auth.rules");
    let may_come_later = auth.jwt.is_some() && !settings.lookups.carriers.is_empty();
    if is_spoiled || may_come_later || auth.methods().any(Method::takes_token) {
        return;
    }
    for (origin, variable) in placed {
        if matches!(variable.from, ValueFrom::Claim(_) | ValueFrom::Claims) {
            let problem = format!("{} takes a claim, but clients bring no token", variable.name);
            reader.wrong_at(origin.clone(), VARIABLES, Fault::new(problem, EXPECTED));
        }
    }
    for (key, claim) in [
        ("context.tenant_claim", &settings.tenant_claim),
        ("context.user_claim", &settings.user_claim),
        ("context.role_claim", &role_claim),
    ] {
        if claim.is_some() {
            reader.wrong(key, Fault::new("clients bring no token", EXPECTED));
        }
    }
}

/// Something must say who the tenant or user is, and what the configuration says must fit.
fn check_variable(reader: &mut Reader<'_>, settings: &ContextSettings, origin: &Origin, variable: &Variable) {
    let (word, claim, looked_up) = match &variable.from {
        ValueFrom::Tenant => ("tenant", &settings.tenant_claim, &lookup::NAME_TENANTS[..]),
        ValueFrom::User => ("user", &settings.user_claim, &lookup::NAME_USERS[..]),
        ValueFrom::Literal(value) => {
            if value.len() > settings.max_value_bytes {
                let problem = format!("the value of {} is too long", variable.name);
                let expected = format!("at most {} bytes", settings.max_value_bytes);
                reader.wrong_at(origin.clone(), VARIABLES, Fault::new(problem, expected));
            }
            return;
        }
        ValueFrom::Claim(_) | ValueFrom::Claims => return,
        ValueFrom::Column(_) => {
            if settings.lookups.lookup.is_none() && !reader.is_spoiled("context") {
                let problem = format!("{} takes a column, but nothing is looked up", variable.name);
                let expected = format!("one of {}", QUERIES.join(", "));
                reader.wrong_at(origin.clone(), VARIABLES, Fault::new(problem, expected));
            }
            return;
        }
    };
    let field = |fixed: &Fixed| match variable.from {
        ValueFrom::Tenant => fixed.tenant.clone(),
        _ => fixed.user.clone(),
    };
    let named = settings.fixed.iter().map(|(name, fixed)| (format!("context.fixed.{name}.{word}"), fixed));
    let default = settings.default_tenant.iter().map(|fixed| (format!("context.default_{word}"), fixed));
    let values: Vec<(String, String)> =
        named.chain(default).filter_map(|(key, fixed)| Some((key, field(fixed)?))).collect();
    let mut sources =
        vec!["context.fixed".to_owned(), format!("context.default_{word}"), format!("context.{word}_claim")];
    sources.extend(looked_up.iter().map(|key| (*key).to_owned()));
    let is_looked_up = looked_up.iter().any(|key| reader.is_written(key));
    if values.is_empty()
        && claim.is_none()
        && !is_looked_up
        && !sources.iter().any(|key| reader.is_spoiled(key))
    {
        let problem = format!("nothing says who the {word} of {} is", variable.name);
        let expected = sources.join(", ");
        reader.wrong_at(origin.clone(), VARIABLES, Fault::new(problem, format!("one of {expected}")));
    }
    for (key, value) in values {
        if !variable.kind.accepts(&value) || value.len() > settings.max_value_bytes {
            let problem = format!("{value:?} is not a value for {}", variable.name);
            let expected =
                format!("a {} of at most {} bytes", variable.kind.as_str(), settings.max_value_bytes);
            let place = value_origin(reader, &key);
            reader.wrong_at(place, &key, Fault::new(problem, expected));
        }
    }
}

/// Where a fixed or default value stands; inside `context.fixed`, as near as can be said.
fn value_origin(reader: &Reader<'_>, key: &str) -> Origin {
    let Some(rest) = key.strip_prefix("context.fixed.") else { return reader.origin(key) };
    let Some(node) = reader.node("context.fixed") else { return Origin::Absent };
    let Value::Table(users) = &node.value else { return node.origin.clone() };
    let Some((name, field)) = rest.rsplit_once('.') else { return node.origin.clone() };
    let fields = users.iter().find(|(user, ..)| user == name).map(|(.., node)| &node.value);
    let Some(Value::Table(fields)) = fields else { return node.origin.clone() };
    let value = fields.iter().find(|(known, ..)| known == field);
    value.map_or_else(|| node.origin.clone(), |(.., value)| value.origin.clone())
}
