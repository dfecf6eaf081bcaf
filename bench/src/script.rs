//! A transaction as messages: encoded once as far as possible, completed with the keys of each transaction.

use std::io::Write as _;
use std::rc::Rc;

use crate::Result;
use crate::frames::{self, Reply};
use crate::matrix::{Context, Lane, Protocol, Workload};
use crate::schema;
use crate::tokens;

/// Rows that [`Workload::Rows1000`] asks for.
const RANGE: u32 = 1_000;

/// The keys of one transaction.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    account: u32,
    teller: u32,
    branch: u32,
    delta: u32,
    /// A row of all tenants'.
    read: u32,
    /// What no other transaction of the measurement has, from 1 on.
    serial: u32,
}

/// A small generator of keys (xorshift64*); every client has its own seed, and its own serial numbers.
#[derive(Debug)]
pub struct Keys {
    state: u64,
    serial: u32,
    clients: u32,
}

/// What a placeholder stands for.
#[derive(Clone, Copy, Debug)]
enum Value {
    Account,
    Read,
    RangeStart,
    RangeEnd,
    Teller,
    Branch,
    Delta,
    Serial,
    Text(&'static str),
}

/// One statement of a transaction, and what it has to be answered with.
#[derive(Debug)]
struct Statement {
    /// SQL around the placeholders: one more piece than there are values.
    pieces: Vec<&'static str>,
    values: Vec<Value>,
    rows: u32,
    tag: &'static str,
}

/// One round trip: a statement, encoded as far as its keys allow.
#[derive(Debug)]
pub struct Step {
    statement: Statement,
    protocol: Protocol,
    /// Prepared statement name; empty for the unnamed one.
    name: String,
    /// What precedes Bind.
    head: Vec<u8>,
    /// What follows Bind.
    tail: Vec<u8>,
    /// Transaction status afterwards.
    status: u8,
    /// What follows the SQL, by tenant; empty where nothing does.
    comments: Rc<[String]>,
}

/// The round trips of one transaction.
#[derive(Debug)]
pub struct Script {
    steps: Vec<Step>,
}

impl Keys {
    /// A generator of its own for client number `client` of so many.
    pub fn new(client: usize, clients: usize) -> Self {
        let state = (client as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self { state, serial: client as u32 + 1, clients: clients as u32 }
    }

    /// The keys of the next transaction.
    pub fn draw(&mut self) -> Draw {
        let serial = self.serial;
        self.serial += self.clients;
        Draw {
            serial,
            account: self.below(schema::TENANT_ACCOUNTS) + 1,
            teller: self.below(schema::TELLERS) + 1,
            branch: self.below(schema::BRANCHES) + 1,
            delta: self.below(1_000),
            read: self.below(schema::READS) + 1,
        }
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let high = self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        ((high * u64::from(bound)) >> 32) as u32
    }
}

impl Value {
    fn write(self, draw: Draw, out: &mut Vec<u8>) {
        let start = draw.account.min(schema::TENANT_ACCOUNTS - RANGE + 1);
        let number = match self {
            Self::Text(text) => return out.extend_from_slice(text.as_bytes()),
            Self::Account => draw.account,
            Self::Read => draw.read,
            Self::RangeStart => start,
            Self::RangeEnd => start + RANGE - 1,
            Self::Teller => draw.teller,
            Self::Branch => draw.branch,
            Self::Delta => draw.delta,
            Self::Serial => draw.serial,
        };
        // Writing to a vector cannot fail.
        let _ = write!(out, "{number}");
    }
}

impl Statement {
    /// `template` has `?` where a value goes.
    fn new(template: &'static str, values: &[Value], rows: u32, tag: &'static str) -> Self {
        Self { pieces: template.split('?').collect(), values: values.to_vec(), rows, tag }
    }

    /// The SQL with `$1`, `$2` … where values go.
    fn parameterised(&self) -> String {
        let mut sql = String::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                sql.push_str(&format!("${index}"));
            }
            sql.push_str(piece);
        }
        sql
    }

    /// Appends a Query with the values written into the SQL.
    fn query(&self, draw: Draw, comment: &str, out: &mut Vec<u8>) {
        frames::message(out, b'Q', |out| {
            for (index, piece) in self.pieces.iter().enumerate() {
                match index.checked_sub(1).and_then(|before| self.values.get(before)) {
                    Some(Value::Text(text)) => out.extend_from_slice(format!("'{text}'").as_bytes()),
                    Some(value) => value.write(draw, out),
                    None => {}
                }
                out.extend_from_slice(piece.as_bytes());
            }
            out.extend_from_slice(comment.as_bytes());
            out.push(0);
        });
    }

    /// Appends a Bind of the statement `name` to the unnamed portal, values and results in text format.
    fn bind(&self, name: &str, draw: Draw, out: &mut Vec<u8>) {
        frames::message(out, b'B', |out| {
            frames::string(out, "");
            frames::string(out, name);
            out.extend_from_slice(&0_u16.to_be_bytes());
            out.extend_from_slice(&(self.values.len() as u16).to_be_bytes());
            for value in &self.values {
                let start = out.len();
                out.extend_from_slice(&[0; 4]);
                value.write(draw, out);
                let length = (out.len() - start - 4) as u32;
                out[start..start + 4].copy_from_slice(&length.to_be_bytes());
            }
            out.extend_from_slice(&0_u16.to_be_bytes());
        });
    }
}

impl Step {
    fn new(statement: Statement, protocol: Protocol, number: usize, status: u8) -> Self {
        let name = if protocol == Protocol::Prepared { format!("s{number}") } else { String::new() };
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        if protocol == Protocol::Extended {
            frames::parse(&mut head, "", &statement.parameterised());
            frames::message(&mut tail, b'D', |out| frames::string(out, "P"));
        }
        frames::message(&mut tail, b'E', |out| out.extend_from_slice(&[0; 5]));
        frames::sync(&mut tail);
        Self { statement, protocol, name, head, tail, status, comments: Rc::default() }
    }

    /// Replaces `out` by the request for these keys.
    pub fn encode(&self, draw: Draw, out: &mut Vec<u8>) {
        out.clear();
        if self.protocol == Protocol::Simple {
            return self.statement.query(draw, self.comment(draw), out);
        }
        match self.comment(draw) {
            "" => out.extend_from_slice(&self.head),
            comment => frames::parse(out, "", &(self.statement.parameterised() + comment)),
        }
        self.statement.bind(&self.name, draw, out);
        out.extend_from_slice(&self.tail);
    }

    /// The token of the tenant that the row belongs to.
    fn comment(&self, draw: Draw) -> &str {
        let tenants = self.comments.len().max(1);
        self.comments.get((draw.read as usize - 1) % tenants).map_or("", String::as_str)
    }

    /// Refuses a reply that is not exactly what the statement has to be answered with.
    pub fn check(&self, reply: &Reply) -> Result<()> {
        let Statement { rows, tag, .. } = self.statement;
        let same = reply.rows == rows && reply.tag == tag.as_bytes() && reply.completions == 1;
        if same && reply.status == self.status {
            return Ok(());
        }
        let got = String::from_utf8_lossy(&reply.tag);
        Err(format!(
            "expected {rows} rows, {tag}, status {}; got {} rows, {} completions, {got}, status {}",
            char::from(self.status),
            reply.rows,
            reply.completions,
            char::from(reply.status),
        )
        .into())
    }
}

impl Script {
    /// The round trips of one transaction of `workload`, as the application in front of `lane` sends them.
    pub fn new(workload: Workload, protocol: Protocol, lane: Lane) -> Result<Self> {
        let context = lane.context();
        let (own, comments) = match context {
            Context::Tokens(tenants) => (vec![read_of(tenants)], tokens::comments(tenants)?),
            _ if workload.is_of_shadow() => (vec![of_shadow(workload, lane)], Rc::default()),
            _ => (statements(workload), Rc::default()),
        };
        let application = context == Context::Application;
        let mut all = Vec::new();
        if application || workload == Workload::Tpcb {
            all.push(Statement::new("BEGIN", &[], 0, "BEGIN"));
        }
        if application {
            all.push(set_context());
        }
        all.extend(own);
        let block = all.len() > 1;
        if block {
            all.push(Statement::new("COMMIT", &[], 0, "COMMIT"));
        }
        let last = all.len() - 1;
        let status = |index: usize| if index == last { b'I' } else { b'T' };
        let numbered = all.into_iter().enumerate();
        let step = |(index, statement)| Step {
            comments: Rc::clone(&comments),
            ..Step::new(statement, protocol, index, status(index))
        };
        Ok(Self { steps: numbered.map(step).collect() })
    }

    /// The round trips, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// One request that prepares every named statement, and asks what it returns, as drivers do; empty unless the protocol
    /// is [`Protocol::Prepared`].
    pub fn preparation(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for step in self.steps.iter().filter(|step| !step.name.is_empty()) {
            frames::parse(&mut out, &step.name, &step.statement.parameterised());
            frames::message(&mut out, b'D', |out| frames::string(out, &format!("S{}", step.name)));
        }
        if !out.is_empty() {
            frames::sync(&mut out);
        }
        out
    }
}

/// What an application without a proxy sends to set the context.
fn set_context() -> Statement {
    Statement::new(
        "SELECT set_config('app.current_org_id', ?, true), set_config('app.current_user_id', ?, true)",
        &[Value::Text(schema::TENANT), Value::Text(schema::USER)],
        1,
        "SELECT 1",
    )
}

/// The statements of a workload, without transaction control.
fn statements(workload: Workload) -> Vec<Statement> {
    use Value::{Account, Branch, Delta, RangeEnd, RangeStart, Teller};
    let read = "SELECT balance FROM accounts WHERE id = ?";
    match workload {
        Workload::Read | Workload::Connect => vec![Statement::new(read, &[Account], 1, "SELECT 1")],
        Workload::Rows1000 => vec![Statement::new(
            "SELECT id, balance, name FROM accounts WHERE id BETWEEN ? AND ?",
            &[RangeStart, RangeEnd],
            RANGE,
            "SELECT 1000",
        )],
        Workload::Tenants1000 => vec![Statement::new(
            "SELECT id, org_id, balance, name FROM accounts WHERE id BETWEEN ? AND ?",
            &[RangeStart, RangeEnd],
            RANGE,
            "SELECT 1000",
        )],
        Workload::Tpcb => vec![
            update("UPDATE accounts SET balance = balance + ? WHERE id = ?", Account),
            Statement::new(read, &[Account], 1, "SELECT 1"),
            update("UPDATE tellers SET balance = balance + ? WHERE id = ?", Teller),
            update("UPDATE branches SET balance = balance + ? WHERE id = ?", Branch),
            Statement::new(
                "INSERT INTO history (teller, branch, account, delta) VALUES (?, ?, ?, ?)",
                &[Teller, Branch, Account, Delta],
                0,
                "INSERT 0 1",
            ),
        ],
        Workload::Insert | Workload::Update | Workload::Delete | Workload::Foreign => Vec::new(),
    }
}

/// The statement of a workload whose table is there only where policies are staged; the lane has triggers or has not.
fn of_shadow(workload: Workload, lane: Lane) -> Statement {
    use Value::{Account, Read, Serial, Text};
    let either = |plain, watched| if lane == Lane::PgwardenWrites { watched } else { plain };
    match workload {
        Workload::Insert => {
            let plain = "INSERT INTO plain (org_id, id, balance, name) VALUES (?, 1000000 + ?, 0, 'new')";
            let watched = "INSERT INTO watched (org_id, id, balance, name) VALUES (?, 1000000 + ?, 0, 'new')";
            Statement::new(either(plain, watched), &[Text(schema::TENANT), Serial], 0, "INSERT 0 1")
        }
        Workload::Update => {
            let plain = "UPDATE plain SET balance = balance + ? WHERE id = ?";
            update(either(plain, "UPDATE watched SET balance = balance + ? WHERE id = ?"), Account)
        }
        Workload::Delete => {
            let plain = "DELETE FROM plain WHERE id = ?";
            Statement::new(either(plain, "DELETE FROM watched WHERE id = ?"), &[Serial], 0, "DELETE 1")
        }
        _ => {
            let read = "SELECT id, org_id, balance FROM others WHERE id = ?";
            Statement::new(read, &[Read], 1, "SELECT 1")
        }
    }
}

/// A row of a table that belongs to so many tenants.
fn read_of(tenants: u32) -> Statement {
    let template = match tenants {
        1 => "SELECT balance FROM reads_1 WHERE id = ?",
        1_000 => "SELECT balance FROM reads_1000 WHERE id = ?",
        _ => "SELECT balance FROM reads_100000 WHERE id = ?",
    };
    Statement::new(template, &[Value::Read], 1, "SELECT 1")
}

fn update(template: &'static str, key: Value) -> Statement {
    Statement::new(template, &[Value::Delta, key], 0, "UPDATE 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trips(workload: Workload, lane: Lane) -> usize {
        Script::new(workload, Protocol::Simple, lane).expect("no tokens to sign").steps().len()
    }

    #[test]
    fn setting_the_context_costs_an_application_three_round_trips_or_one_in_a_block() {
        assert_eq!(round_trips(Workload::Read, Lane::PgwardenInject), 1);
        assert_eq!(round_trips(Workload::Read, Lane::DirectApp), 4);
        assert_eq!(round_trips(Workload::Tpcb, Lane::Direct), 7);
        assert_eq!(round_trips(Workload::Tpcb, Lane::DirectApp), 8);
    }

    #[test]
    fn values_are_quoted_in_a_query_and_numbered_in_a_parse() {
        let mut out = Vec::new();
        set_context().query(Keys::new(0, 1).draw(), "", &mut out);
        assert!(String::from_utf8_lossy(&out).contains(&format!("'{}', true", schema::TENANT)));
        assert!(set_context().parameterised().ends_with("'app.current_user_id', $2, true)"));
    }

    #[test]
    fn keys_stay_within_the_tenant() {
        let mut keys = Keys::new(7, 8);
        let accounts: Vec<u32> = (0..10_000).map(|_| keys.draw().account).collect();
        assert!(accounts.iter().all(|key| (1..=schema::TENANT_ACCOUNTS).contains(key)));
        assert!(accounts.iter().any(|&key| key < 100) && accounts.iter().any(|&key| key > 9_900));
    }

    #[test]
    fn no_two_transactions_have_the_same_serial_number() {
        let clients = (0..3).map(|client| Keys::new(client, 3));
        let serials = clients.flat_map(|mut keys| (0..4).map(move |_| keys.draw().serial));
        let mut serials: Vec<u32> = serials.collect();
        serials.sort_unstable();
        assert_eq!(serials, (1..=12).collect::<Vec<_>>());
    }
}
