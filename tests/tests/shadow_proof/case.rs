//! A schema with its statements, and what a person needs to see a failure again.

use pgwarden_tests::{Server, Version};

use crate::dice::Dice;
use crate::policy;
use crate::schema::Schema;
use crate::statement::Statement;
use crate::truth::{Outcome, load};
use crate::writes;

/// A random schema and random statements for it.
#[derive(Debug, Clone)]
pub struct Case {
    pub seed: u64,
    pub version: Version,
    pub schema: Schema,
    pub statements: Vec<Statement>,
}

impl Case {
    /// The case of this number.
    pub fn random(seed: u64, version: Version, statements: usize) -> Case {
        let mut dice = Dice::new(seed);
        let schema = Schema::random(&mut dice, version);
        let mut made: Vec<Statement> = Vec::new();
        while made.len() < statements {
            let statement = writes::random(&mut dice, &schema, made.len(), version);
            // Each has a fingerprint of its own, by which the trail tells it from the others.
            if made.iter().all(|other| letters(&other.text) != letters(&statement.text)) {
                made.push(statement);
            }
        }
        Case { seed, version, schema, statements: made }
    }

    /// Creates a database with the schema as it is today.
    pub fn create(&self, server: &Server, database: &str) {
        server.psql(&format!("CREATE DATABASE {database}"));
        load(server, database, &self.schema.today());
    }

    /// Creates a database like another one, and runs a script there.
    pub fn copy(&self, server: &Server, from: &str, to: &str, script: &str) {
        server.psql(&format!("CREATE DATABASE {to} TEMPLATE {from}"));
        load(server, to, script);
    }

    /// For psql: the schema, the policies, and the statement in the context that it had.
    pub fn script(&self, statement: &Statement) -> String {
        format!(
            "-- case {}, statement {}, PostgreSQL {}\nCREATE ROLE owner; CREATE ROLE app LOGIN; CREATE ROLE auditor;\n{}\
             -- the policies in force:\n{}-- staged:\n{}\
             BEGIN;\nSET LOCAL ROLE app;\n{};\n{}SELECT * FROM unnest(proof.snapshot());\nROLLBACK;\n",
            self.seed,
            statement.number,
            self.version,
            self.schema.today(),
            self.schema.migration(),
            commented(&policy::staging(&self.schema, self.version, "shadow")),
            self.context(statement),
            statement.script(),
        )
    }

    /// What somebody needs who looks for the reason.
    pub fn describe(&self, statement: &Statement, outcomes: &[(&str, &Outcome)]) -> String {
        let mut text = self.script(statement);
        for (name, outcome) in outcomes {
            text.push_str(&commented(&format!("{name}: {outcome}\n")));
        }
        text
    }
}

/// What is left of a text in any notation.
pub fn letters(text: &str) -> String {
    let letters = text.chars().filter(|letter| letter.is_alphanumeric() || *letter == ',');
    letters.flat_map(char::to_lowercase).collect()
}

fn commented(text: &str) -> String {
    text.lines().map(|line| format!("-- {line}\n")).collect()
}

/// The roles of all cases on a server.
pub fn create_roles(server: &Server) {
    server.psql("CREATE ROLE owner; CREATE ROLE app LOGIN; CREATE ROLE auditor;");
}
