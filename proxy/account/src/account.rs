//! The account of one session.

use crate::witness::Observation;
use pgwarden_sql::Uses;
use std::collections::{BTreeMap, BTreeSet};

/// Tables named at most, read and written each; and kinds of commands.
const MOST_TABLES: usize = 500;
const MOST_COMMANDS: usize = 200;

/// Who a session is, known from its begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// The service.
    pub service: String,
    /// The database user that the client gave.
    pub user: String,
    /// The database.
    pub database: String,
    /// The role on the server.
    pub role: String,
    /// The client's address, or `unix`.
    pub client: String,
    /// The `application_name` that the client gave: what the session is for.
    pub reason: String,
    /// When it began, in seconds since 1970.
    pub began: u64,
}

/// What a session did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Who it is.
    pub party: Party,
    /// When it ended, in seconds since 1970; `None` while it lasts.
    pub ended: Option<u64>,
    /// Transactions that ended, those of a single command included.
    pub transactions: u64,
    /// Commands that were completed.
    pub statements: u64,
    /// The same by kind: the words of the command tag.
    pub commands: BTreeMap<String, u64>,
    /// Commands that failed.
    pub errors: u64,
    /// Tables that texts sent to be run named.
    pub tables: Tables,
    /// Texts whose tables are not known, or not all of them: too long, not PostgreSQL's SQL, `DO`, `CALL` and `EXECUTE`, or
    /// sent while too many others waited.
    pub unread: u64,
}

/// The tables that texts named, as they were written there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// Those that were read from.
    pub read: BTreeSet<String>,
    /// Those that were changed, or whose definition was.
    pub written: BTreeSet<String>,
    /// How often one found no place in the lists.
    pub unlisted: u64,
}

impl Account {
    /// The account of a session that begins.
    #[must_use]
    pub fn new(party: Party) -> Self {
        Self {
            party,
            ended: None,
            transactions: 0,
            statements: 0,
            commands: BTreeMap::new(),
            errors: 0,
            tables: Tables::default(),
            unread: 0,
        }
    }

    /// Adds what a witness has told. Texts count when it is known what they name: [`Account::named`].
    pub fn observed(&mut self, observation: Observation) {
        match observation {
            Observation::Text(_) => (),
            Observation::Unread => self.unread += 1,
            Observation::Error => self.errors += 1,
            Observation::Transaction => self.transactions += 1,
            Observation::Command(command) => {
                self.statements += 1;
                if self.commands.len() < MOST_COMMANDS || self.commands.contains_key(&command) {
                    *self.commands.entry(command).or_default() += 1;
                }
            }
        }
    }

    /// Adds the tables that a text names; `None` where they cannot be known.
    pub fn named(&mut self, uses: Option<&Uses>) {
        let Some(uses) = uses else {
            self.unread += 1;
            return;
        };
        self.unread += u64::from(uses.is_partial);
        let Tables { read, written, unlisted } = &mut self.tables;
        for (names, list) in [(&uses.read, read), (&uses.written, written)] {
            for name in names {
                let name = name.to_string();
                match list.contains(&name) {
                    true => (),
                    false if list.len() < MOST_TABLES => drop(list.insert(name)),
                    false => *unlisted += 1,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgwarden_sql::relation_uses;

    fn account() -> Account {
        let text = || String::new();
        let (service, user, database) = (text(), text(), text());
        let (role, client, reason) = (text(), text(), text());
        Account::new(Party { service, user, database, role, client, reason, began: 0 })
    }

    #[test]
    fn an_account_is_the_sum_of_what_was_told() {
        let mut account = account();
        for command in ["INSERT", "INSERT", "SELECT"] {
            account.observed(Observation::Command(command.to_owned()));
        }
        account.observed(Observation::Error);
        account.observed(Observation::Transaction);
        account.observed(Observation::Unread);
        account.named(relation_uses("INSERT INTO a SELECT * FROM s.b").ok().as_ref());
        account.named(None);
        assert_eq!((account.statements, account.commands["INSERT"], account.commands["SELECT"]), (3, 2, 1));
        assert_eq!((account.errors, account.transactions, account.unread), (1, 1, 2));
        assert_eq!(account.tables.read.iter().collect::<Vec<_>>(), ["s.b"]);
        assert_eq!(account.tables.written.iter().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn an_account_does_not_grow_for_ever() {
        let mut account = account();
        for number in 0..MOST_TABLES + 7 {
            account.named(relation_uses(&format!("SELECT FROM t{number}")).ok().as_ref());
            account.observed(Observation::Command(format!("C{number}")));
        }
        assert_eq!((account.tables.read.len(), account.tables.unlisted), (MOST_TABLES, 7));
        assert_eq!(account.commands.len(), MOST_COMMANDS);
    }
}
