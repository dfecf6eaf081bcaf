//! A list of users and their secrets, in the format of PgBouncer's `userlist.txt`.

use std::collections::HashMap;

use zeroize::Zeroizing;

use crate::secret::{Secret, SecretError};

/// Users and their secrets, by name.
///
/// One user per line: `"name" "secret"`. A double quote inside a name or a secret is doubled. Lines
/// that start with `;` or `#` and blank lines say nothing. As in PgBouncer, what follows the second
/// field after white space is ignored, and `""` as the secret names a user who has no password (one
/// who logs in by certificate, for example).
#[derive(Debug, Clone, Default)]
pub struct UserList {
    users: HashMap<String, Entry>,
}

/// What is wrong with a user list, and where; never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserListError {
    /// A line is not of the form `"name" "secret"`.
    #[error("line {line}: {expected}")]
    Syntax {
        /// The line, counted from 1.
        line: usize,
        /// What was expected there.
        expected: &'static str,
    },
    /// A name appears twice.
    #[error("line {line}: this user is already defined on line {first}")]
    Duplicate {
        /// The line of the second appearance, counted from 1.
        line: usize,
        /// The line of the first appearance, counted from 1.
        first: usize,
    },
    /// A secret is no usable secret.
    #[error("line {line}: {source}")]
    Secret {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with the secret.
        source: SecretError,
    },
}

#[derive(Debug, Clone)]
struct Entry {
    line: usize,
    secret: Option<Secret>,
}

impl UserList {
    /// Reads the whole text of a user list.
    ///
    /// # Errors
    /// The first [`UserListError`] in the text; a list with an error is refused as a whole.
    pub fn parse(text: &str) -> Result<UserList, UserListError> {
        let mut list = UserList::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, content) in (1..).zip(text.lines()) {
            let content = content.trim();
            if !content.is_empty() && !content.starts_with([';', '#']) {
                list.add(line, content)?;
            }
        }
        Ok(list)
    }

    /// The secret of a user; none both for an unknown user and for one without a password.
    #[must_use]
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.users.get(name)?.secret.as_ref()
    }

    /// Whether the user is in the list, with or without a password.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    /// The users that have a secret, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.users.iter().filter_map(|(name, entry)| Some((name.as_str(), entry.secret.as_ref()?)))
    }

    /// The number of users in the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether the list names nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn add(&mut self, line: usize, content: &str) -> Result<(), UserListError> {
        let syntax = |expected| UserListError::Syntax { line, expected };
        let (name, rest) = quoted(content).map_err(syntax)?;
        if name.is_empty() {
            return Err(syntax("the user name is empty"));
        }
        if name.contains('\0') {
            return Err(syntax("the user name contains a zero byte"));
        }
        let (secret, _ignored) = quoted(rest).map_err(syntax)?;
        let secret = match Secret::parse(&secret) {
            Ok(secret) => Some(secret),
            Err(SecretError::Empty) => None,
            Err(source) => return Err(UserListError::Secret { line, source }),
        };
        match self.users.insert(name.as_str().to_owned(), Entry { line, secret }) {
            None => Ok(()),
            Some(first) => Err(UserListError::Duplicate { line, first: first.line }),
        }
    }
}

/// Reads one quoted field; returns it and what follows, which starts after white space or is empty.
fn quoted(text: &str) -> Result<(Zeroizing<String>, &str), &'static str> {
    let mut rest = text
        .trim_start()
        .strip_prefix('"')
        .ok_or("two fields in double quotes are expected: \"user\" \"secret\"")?;
    let mut field = Zeroizing::new(String::with_capacity(rest.len()));
    loop {
        let (part, after) = rest.split_once('"').ok_or("a double quote is not closed")?;
        field.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None if after.is_empty() || after.starts_with(char::is_whitespace) => return Ok((field, after)),
            None => return Err("a field goes on after its closing quote; a quote inside a field is doubled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn password(list: &UserList, name: &str) -> String {
        match list.secret(name) {
            Some(Secret::Clear(password)) => password.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_is_read_as_pgbouncer_reads_it() {
        let text = "\u{feff}; a comment\n# another\n\n  \"alice\"\t\"secret\"  \r\n\
            \"bob \"\"the builder\"\"\" \"pa\"\"ss;# word \" ignored \"more\"\n\
            \"carol\" \"md5900150983cd24fb0d6963f7d28e17f72\"\n\"dave\" \"\"\n";
        let list = UserList::parse(text).unwrap();
        assert_eq!(list.len(), 4);
        assert_eq!(password(&list, "alice"), "secret");
        assert_eq!(password(&list, "bob \"the builder\""), "pa\"ss;# word ");
        assert!(matches!(list.secret("carol"), Some(Secret::Md5(_))));
        assert!(list.contains("dave") && list.secret("dave").is_none());
        assert!(!list.contains("eve") && list.secret("eve").is_none());
        assert!(!list.contains("Alice"));
        assert_eq!(list.iter().count(), 3);
        assert!(!list.is_empty() && UserList::parse("; nobody").unwrap().is_empty());
    }

    #[test]
    fn errors_name_the_line_and_no_secret() {
        let error = |text: &str| UserList::parse(text).unwrap_err();
        for text in [
            "alice hunter2",
            "\"alice\"",
            "\"alice\" hunter2",
            "\"alice\" \"hunter2",
            "\"alice\" \"hun\"ter2\"",
            "\"alice\"\"hunter2\"",
            "\"\" \"hunter2\"",
            "\"a\0\" \"hunter2\"",
            "\"",
            "\"alice\"x \"hunter2\"",
        ] {
            let error = error(&format!("; comment\n\n{text}\n"));
            assert!(matches!(error, UserListError::Syntax { line: 3, .. }), "{text}: {error}");
            assert!(!error.to_string().contains("hunter"), "{error}");
        }
        let twice = error("\"a\" \"1\"\n\"b\" \"2\"\n\"a\" \"3\"");
        assert_eq!(twice, UserListError::Duplicate { line: 3, first: 1 });
        assert_eq!(twice.to_string(), "line 3: this user is already defined on line 1");
        let scram = error("\n\"a\" \"SCRAM-SHA-256$hunter\"");
        assert_eq!(scram, UserListError::Secret { line: 2, source: SecretError::MalformedScram });
        assert!(!scram.to_string().contains("hunter"));
    }

    proptest! {
        #[test]
        fn what_is_quoted_comes_back(name in "[^\0\r\n]{1,20}", secret in "[^\0\r\n]{1,20}") {
            let quote = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
            let list = UserList::parse(&format!("{} {}", quote(&name), quote(&secret))).unwrap();
            prop_assert_eq!(password(&list, &name), secret);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[\"; #a\\n\\t\\PC]{0,60}") {
            let _ = UserList::parse(&text);
        }
    }
}
