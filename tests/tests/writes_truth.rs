//! What triggers say of random writes, against what PostgreSQL does with the policies in force.

use std::fmt::Write as _;

use pgwarden_shadow::writes::{Effect, Notice};
use pgwarden_sql::doing;
use pgwarden_tests::staged::{SHADOW, install};
use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code};
use pgwarden_tests::{Message, Server, Wire, for_each_version};

/// Each command has a policy of its own, so that none stands for another.
const SCHEMA: &str = "
CREATE TABLE things (id int PRIMARY KEY, org_id uuid, name text);
GRANT ALL ON things TO tenants;
ALTER TABLE things ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION own(uuid) RETURNS boolean LANGUAGE sql STABLE AS
    $$ SELECT $1 = nullif(current_setting('app.current_org_id', true), '')::uuid $$;
CREATE POLICY everything ON things USING (true) WITH CHECK (true);
CREATE POLICY pgwarden_select ON things AS RESTRICTIVE FOR SELECT TO pgwarden_shadow
    USING (own(org_id) OR name = 'shown');
CREATE POLICY pgwarden_insert ON things AS RESTRICTIVE FOR INSERT TO pgwarden_shadow
    WITH CHECK (own(org_id) OR name = 'taken');
CREATE POLICY pgwarden_update ON things AS RESTRICTIVE FOR UPDATE TO pgwarden_shadow
    USING (own(org_id) OR org_id IS NULL) WITH CHECK (own(org_id) AND name <> 'bad');
CREATE POLICY pgwarden_delete ON things AS RESTRICTIVE FOR DELETE TO pgwarden_shadow
    USING (own(org_id) AND id % 2 = 0);
";

/// Statements for each version.
const STATEMENTS: u32 = 300;

/// A source of numbers that is the same each time (`splitmix64`).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("an index")]
    }

    fn org(&mut self) -> String {
        match self.below(4) {
            0 | 1 => format!("'{ACME}'"),
            2 => format!("'{GLOBEX}'"),
            _ => "NULL".to_owned(),
        }
    }

    fn name(&mut self) -> &'static str {
        self.one(&["'shown'", "'taken'", "'bad'", "'plain'"])
    }

    fn condition(&mut self) -> String {
        match self.below(5) {
            0 => String::new(),
            1 => format!(" WHERE id = {}", 1 + self.below(12)),
            2 => format!(" WHERE id > {}", self.below(12)),
            3 => format!(" WHERE name = {}", self.name()),
            _ => format!(" WHERE org_id = '{ACME}'"),
        }
    }

    fn statement(&mut self) -> String {
        let mut sql = match self.below(5) {
            0 | 1 => {
                let rows: Vec<String> = (0..=self.below(3))
                    .map(|row| {
                        format!("({}, {}, {})", 1 + row * 10 + self.below(10), self.org(), self.name())
                    })
                    .collect();
                let conflict = match self.below(5) {
                    0 => String::new(),
                    1 => " ON CONFLICT DO NOTHING".to_owned(),
                    2 => " ON CONFLICT (id) DO NOTHING".to_owned(),
                    3 => format!(" ON CONFLICT (id) DO UPDATE SET name = {}", self.name()),
                    _ => format!(" ON CONFLICT (id) DO UPDATE SET org_id = {}", self.org()),
                };
                format!("INSERT INTO things VALUES {}{conflict}", rows.join(", "))
            }
            2 | 3 => {
                let set = match self.below(4) {
                    0 => format!("name = {}", self.name()),
                    1 => format!("org_id = {}", self.org()),
                    2 => format!("id = id + 100, name = {}", self.name()),
                    _ => format!("org_id = {}, name = {}", self.org(), self.name()),
                };
                format!("UPDATE things SET {set}{}", self.condition())
            }
            _ => format!("DELETE FROM things{}", self.condition()),
        };
        sql.push_str(self.one(&["", "", " RETURNING id", " RETURNING 1"]));
        sql
    }
}

/// How many rows a statement has changed, or its SQLSTATE; and it is undone.
fn undone(wire: &mut Wire, sql: &str) -> (Result<u64, String>, Vec<Message>) {
    wire.query("BEGIN");
    let messages = wire.query(sql);
    wire.query("ROLLBACK");
    let code = error_code(&messages);
    if !code.is_empty() {
        return (Err(code), messages);
    }
    let tag = messages.iter().find(|message| message.tag == b'C').expect("it was completed").command();
    let count = tag.rsplit(' ').next().and_then(|count| count.parse().ok());
    (Ok(count.unwrap_or_else(|| panic!("{sql}: {tag}"))), messages)
}

/// What the triggers' notices come to.
fn effect(sql: &str, messages: &[Message]) -> Effect {
    let writings = doing(sql).expect("SQL").writings;
    let mut sum = Effect::default();
    for message in messages.iter().filter(|message| message.tag == b'N') {
        let Some(notice) = Notice::read(&message.body, "signed") else { continue };
        let notice = notice.unwrap_or_else(|| panic!("{sql}: {message:?}"));
        assert_eq!(notice.failed, None, "{sql}");
        let one = Effect::of(&notice, writings.first());
        sum.refused += one.refused;
        sum.hidden += one.hidden;
        assert_eq!((one.if_it_reads, one.without_context), (0, 0), "{sql}: {message:?}");
    }
    sum
}

fn connection(server: &Server, settings: &[String]) -> Wire {
    let mut wire = Wire::open(server.port(), "postgres", "", "postgres");
    wire.query(&format!("SET app.current_org_id = '{ACME}'"));
    for setting in settings {
        wire.query(setting);
    }
    wire
}

#[test]
fn triggers_say_what_postgresql_does_with_the_policies_in_force() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql(SHADOW);
        server.psql(SCHEMA);
        install(server);
        let mut rows = String::new();
        for (id, org) in (1..=12).zip([ACME, GLOBEX, "", ACME].into_iter().cycle()) {
            let org = if org.is_empty() { "NULL".to_owned() } else { format!("'{org}'") };
            let name = ["shown", "plain", "taken", "plain", "bad"][id % 5];
            let _ = write!(rows, "{}({id}, {org}, '{name}')", if id > 1 { ", " } else { "" });
        }
        server.psql(&format!("INSERT INTO things VALUES {rows}"));
        let signed = ["SET ROLE app", "SET pgwarden.nonce = 'signed'"].map(str::to_owned);
        let mut today = connection(server, &signed);
        let mut enforced = connection(server, &["SET ROLE pgwarden_shadow".to_owned()]);
        let mut numbers = Numbers(7);
        let (mut refused, mut hidden, mut clean) = (0, 0, 0);
        for _ in 0..STATEMENTS {
            let sql = numbers.statement();
            let (Ok(written), messages) = undone(&mut today, &sql) else { continue };
            let effect = effect(&sql, &messages);
            match undone(&mut enforced, &sql).0 {
                Err(code) => {
                    assert_eq!(code, "42501", "{sql}");
                    assert!(effect.refused > 0, "{sql}: refused, and {effect:?}");
                    refused += 1;
                }
                Ok(left) => {
                    assert_eq!(
                        (effect.refused, effect.hidden),
                        (0, written - left),
                        "{sql}: {written}, {left}"
                    );
                    if effect.is_none() { clean += 1 } else { hidden += 1 }
                }
            }
        }
        assert!(
            refused > 20 && hidden > 20 && clean > 20,
            "{refused} refused, {hidden} hidden, {clean} clean"
        );
    });
}
