//! `pgwarden stage` and its like on a database of a server, and what comes of it.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use crate::client::sqlstate;
use crate::directory::Directory;
use crate::{Exit, Pgwarden, Server, client, psql};
use tokio_postgres::{Client, SimpleQueryMessage};

/// The policies of all tables, staged ones left out, with all that belongs to them.
const POLICIES: &str = "SELECT c.oid::regclass, c.relrowsecurity, c.relforcerowsecurity, \
     (SELECT string_agg(concat_ws(' ', p.policyname, p.permissive, p.roles::text, p.cmd, p.qual, '/', p.with_check, \
     obj_description(q.oid, 'pg_policy')), E'\\n' ORDER BY p.policyname) FROM pg_policies p JOIN pg_policy q \
     ON q.polname = p.policyname AND q.polrelid = c.oid \
     WHERE p.schemaname = n.nspname AND p.tablename = c.relname AND p.policyname !~ '^pgwarden_') \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgwarden') ORDER BY 1";

/// A database in which something is staged.
#[derive(Debug)]
pub struct Staging<'a> {
    /// Its server.
    pub server: &'a Server,
    /// Its name.
    pub database: String,
    files: Directory,
}

impl<'a> Staging<'a> {
    /// A database of that name, made by this SQL.
    #[track_caller]
    pub fn new(server: &'a Server, database: &str, sql: &str) -> Staging<'a> {
        server.psql(&format!("CREATE DATABASE {database}"));
        let staging = Staging { server, database: database.to_owned(), files: Directory::create("staging") };
        staging.sql(sql);
        staging
    }

    /// Another one, as this one is now.
    #[track_caller]
    pub fn copy(&self, database: &str) -> Staging<'a> {
        self.server.psql(&format!("CREATE DATABASE {database} TEMPLATE {}", self.database));
        Staging { server: self.server, database: database.to_owned(), files: Directory::create("staging") }
    }

    /// Its URL for a user.
    pub fn url(&self, user: &str) -> String {
        self.server.url_for(user, "", &self.database)
    }

    /// Runs SQL as superuser, each statement by itself; the rows come back.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        let file = self.file("run.sql", sql);
        let output = psql(&self.url("postgres"), &["-f", &file.to_string_lossy()]);
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        said(&output)
    }

    /// A file with this text.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }

    /// A command with `--url` of the superuser and these arguments.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Exit {
        self.run_as("postgres", arguments)
    }

    /// A command with `--url` of that user.
    #[track_caller]
    pub fn run_as(&self, user: &str, arguments: &[&str]) -> Exit {
        let url = self.url(user);
        let (command, rest) = arguments.split_first().expect("a command");
        Pgwarden::builder().run(&[&[*command, "--url", url.as_str()], rest].concat())
    }

    /// A command that has to succeed; what it says.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        let exit = self.run(arguments);
        assert!(exit.status.success(), "{arguments:?}: {}", exit.stderr);
        exit.stderr
    }

    /// A command that has to end with this code, and to say this.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], code: i32, says: &str) -> String {
        let exit = self.run(arguments);
        assert_eq!(exit.status.code(), Some(code), "{arguments:?}: {}", exit.stderr);
        assert!(exit.stderr.contains(says), "{says:?} is not in\n{}", exit.stderr);
        exit.stderr
    }

    /// Stages a migration with these further arguments; what is said.
    #[track_caller]
    pub fn migrate(&self, migration: &str, arguments: &[&str]) -> Exit {
        let file = self.file("migration.sql", migration);
        self.run(&[&["stage", "--from", &file.to_string_lossy()], arguments].concat())
    }

    /// The policies of all tables, without those that were staged.
    #[track_caller]
    pub fn policies(&self) -> String {
        self.sql(POLICIES)
    }

    /// A connection of the superuser.
    pub async fn connect(&self) -> Client {
        client::connect(&self.url("postgres")).await
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// What a statement answers to a role with a context, in a transaction that is rolled back: rows and their number, or the
/// SQLSTATE.
pub async fn probe(client: &Client, role: &str, context: &[(&str, &str)], statement: &str) -> String {
    let mut begin = format!("BEGIN; SET LOCAL ROLE {role}");
    for (name, value) in context {
        begin.push_str(&format!("; SET LOCAL {name} = '{value}'"));
    }
    client.batch_execute(&begin).await.unwrap_or_else(|error| panic!("{begin}: {}", client::explain(&error)));
    let answer = match client.simple_query(statement).await {
        Ok(messages) => messages.iter().filter_map(shown).collect::<Vec<_>>().join("\n"),
        Err(error) => sqlstate(&error).to_owned(),
    };
    client.batch_execute("ROLLBACK").await.expect("a transaction can be rolled back");
    answer
}

fn shown(message: &SimpleQueryMessage) -> Option<String> {
    match message {
        SimpleQueryMessage::Row(row) => {
            let values = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL"));
            Some(values.collect::<Vec<_>>().join("|"))
        }
        SimpleQueryMessage::CommandComplete(count) => Some(format!("{count} rows")),
        _ => None,
    }
}
