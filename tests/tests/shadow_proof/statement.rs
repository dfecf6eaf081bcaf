//! A statement, how it is sent, and whom it acts for.

use std::fmt::Write as _;

use pgwarden_tests::Frontend;

use crate::dice::Dice;
use crate::schema::{Kind, Schema, quoted};

/// What a statement is a case of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Select,
    Join,
    Cte,
    Aggregate,
    SubQuery,
    SetOperation,
    Limit,
    Window,
    Function,
    Locking,
    CopyTo,
    Fetch,
    CopyFrom,
    Insert,
    InsertSelect,
    OnConflict,
    Update,
    UpdateFrom,
    Delete,
    DeleteUsing,
    Merge,
    WritingCte,
    Truncate,
}

impl Class {
    /// Whether statements of this class write.
    pub fn writes(self) -> bool {
        matches!(
            self,
            Class::CopyFrom
                | Class::Insert
                | Class::InsertSelect
                | Class::OnConflict
                | Class::Update
                | Class::UpdateFrom
                | Class::Delete
                | Class::DeleteUsing
                | Class::Merge
                | Class::WritingCte
                | Class::Truncate
        )
    }
}

/// What the order of rows says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The statement puts them in one.
    Total,
    /// Nothing.
    Any,
    /// The rows themselves depend on the plan.
    Unstable,
}

/// How a statement is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    /// Parse, Bind, Describe, Execute; results as text or binary.
    Extended {
        result_format: u16,
    },
    /// Prepared and described by a name; then bound and executed, as drivers do that keep statements.
    Named {
        result_format: u16,
    },
    /// The rows are asked for in portions.
    Portions {
        result_format: u16,
    },
}

/// A bound value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub type_oid: u32,
    pub value: Option<String>,
}

/// A statement of a client.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Names in it end with this number, so that no other one of the case has its fingerprint.
    pub number: usize,
    pub class: Class,
    pub text: String,
    pub parameters: Vec<Parameter>,
    pub protocol: Protocol,
    pub order: Order,
    /// What fetches the rows, where the text declares a cursor.
    pub fetches: Vec<String>,
    /// For COPY FROM.
    pub copy_data: Option<String>,
    /// The user of the schema for whom it runs; `None` without a context.
    pub user: Option<usize>,
}

impl Statement {
    /// What the client sends, each when the one before is answered.
    pub fn messages(&self) -> Vec<Frontend> {
        let types: Vec<_> = self.parameters.iter().map(|parameter| parameter.type_oid).collect();
        let new = Frontend::new;
        match self.protocol {
            Protocol::Simple => {
                let fetches = self.fetches.iter().map(|text| new().query(text));
                std::iter::once(self.simple()).chain(fetches).collect()
            }
            Protocol::Extended { result_format } => {
                let parsed = new().parse("", &self.text, &types);
                vec![self.bind(parsed, "", result_format).describe_portal("").execute("", 0).sync()]
            }
            Protocol::Portions { result_format } => {
                let bound = self.bind(new().parse("", &self.text, &types), "", result_format);
                vec![bound.describe_portal("").execute("", 2).execute("", 3).execute("", 0).sync()]
            }
            Protocol::Named { result_format } => {
                let name = format!("s{}", self.number);
                let parsed = new().parse(&name, &self.text, &types).describe_statement(&name).sync();
                vec![parsed, self.bind(new(), &name, result_format).execute("", 0).sync()]
            }
        }
    }

    fn bind(&self, messages: Frontend, statement: &str, result_format: u16) -> Frontend {
        let values = self.parameters.iter().map(|parameter| parameter.value.as_deref().map(str::as_bytes));
        let values: Vec<_> = values.collect();
        messages.bind_formats("", statement, &[], &values, &[result_format])
    }

    /// Whether what it writes depends on rows that it reads elsewhere, or in the same table a second time.
    pub fn reads_elsewhere(&self) -> bool {
        let own = usize::from(self.class == Class::WritingCte);
        let joins = matches!(self.class, Class::UpdateFrom | Class::DeleteUsing | Class::Merge);
        let calls = self.text.contains("total_");
        self.class.writes() && (joins || calls || self.text.matches("SELECT ").count() > own)
    }

    fn simple(&self) -> Frontend {
        let messages = Frontend::new().query(&self.text);
        match &self.copy_data {
            Some(data) => messages.copy_data(data.as_bytes()).copy_done(),
            None => messages,
        }
    }

    /// The statement as psql would run it.
    pub fn script(&self) -> String {
        let mut script = String::new();
        let text = self.text.trim_end();
        if let Some(data) = &self.copy_data {
            let _ = write!(script, "{text};\n{data}\\.\n");
            return script;
        }
        if self.parameters.is_empty() {
            let _ = writeln!(script, "{text};");
            for fetch in &self.fetches {
                let _ = writeln!(script, "{fetch};");
            }
            return script;
        }
        let values = self
            .parameters
            .iter()
            .map(|parameter| parameter.value.as_deref().map_or("NULL".to_owned(), quoted));
        let values: Vec<_> = values.collect();
        let types: Vec<_> = self.parameters.iter().map(|parameter| type_name(parameter.type_oid)).collect();
        let _ = writeln!(script, "PREPARE s({}) AS {text};", types.join(", "));
        let _ = writeln!(script, "EXECUTE s({});", values.join(", "));
        script
    }
}

fn type_name(oid: u32) -> &'static str {
    match oid {
        16 => "boolean",
        20 => "bigint",
        23 => "integer",
        2950 => "uuid",
        0 => "unknown",
        _ => "text",
    }
}

/// Text with its parameters, while it is written.
#[derive(Debug)]
pub struct Draft<'a> {
    pub schema: &'a Schema,
    /// Names end with it.
    pub number: usize,
    /// Whom it is for; decides which values are own ones.
    pub user: Option<usize>,
    extended: bool,
    pub parameters: Vec<Parameter>,
    names: usize,
}

impl<'a> Draft<'a> {
    /// Nothing written yet.
    pub fn new(schema: &'a Schema, number: usize, user: Option<usize>, extended: bool) -> Draft<'a> {
        Draft { schema, number, user, extended, parameters: Vec::new(), names: 0 }
    }

    /// A name that no other statement has.
    pub fn name(&mut self) -> String {
        self.names += 1;
        let letter = char::from(b'a' + u8::try_from(self.names % 26).expect("below 26"));
        format!("{letter}{}_{}", self.names, self.number)
    }

    /// A value as a literal, or as a parameter.
    pub fn value(&mut self, dice: &mut Dice, kind: Kind, value: &str) -> String {
        if !self.extended || dice.chance(25) {
            return match kind {
                Kind::Id | Kind::Amount | Kind::Shared | Kind::Parent | Kind::Generated => value.to_owned(),
                Kind::Tenant | Kind::Owner | Kind::Label => quoted(value),
            };
        }
        let type_oid = self.type_oid(kind);
        self.parameters.push(Parameter { type_oid, value: Some(value.to_owned()) });
        let place = self.parameters.len();
        if type_oid == 0 {
            format!("${place}::{}", self.schema.tenant_type.sql())
        } else {
            format!("${place}")
        }
    }

    fn type_oid(&self, kind: Kind) -> u32 {
        use crate::schema::TenantType;
        match kind {
            Kind::Id | Kind::Amount | Kind::Parent | Kind::Generated => 23,
            Kind::Shared => 16,
            Kind::Owner | Kind::Label => 25,
            Kind::Tenant => match self.schema.tenant_type {
                TenantType::Integer => 23,
                // Types of the application have no number that is known beforehand.
                TenantType::Enum | TenantType::Domain => 0,
                TenantType::Bigint => 20,
                TenantType::Text | TenantType::Varchar => 25,
                TenantType::Uuid => 2950,
            },
        }
    }

    /// The tenant that the statement acts for, or any.
    pub fn own_tenant(&self, dice: &mut Dice) -> String {
        let tenants = &self.schema.tenants;
        self.user
            .map_or_else(|| dice.pick(tenants).clone(), |user| tenants[self.schema.users[user].1].clone())
    }

    /// A tenant: the own one in so many of a hundred cases, else any.
    pub fn tenant(&self, dice: &mut Dice, own: usize) -> String {
        if dice.chance(own) { self.own_tenant(dice) } else { dice.pick(&self.schema.tenants).clone() }
    }

    /// The user that the statement acts for, or any.
    pub fn owner(&self, dice: &mut Dice) -> String {
        let users = &self.schema.users;
        let user = self.user.filter(|_| dice.chance(60)).unwrap_or_else(|| dice.below(users.len()));
        users[user].0.clone()
    }
}
