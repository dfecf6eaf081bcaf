//! The settings under which a query ran, for running it again: without them it may read other tables, or print another
//! time.

use crate::replay::reach::array;
use crate::replay::side::{Side, SideError};
use pgwarden_shadow::replay::Candidate;

/// What is not taken over: what pgwarden sets itself, what decides who asks, and what bounds the replay.
const OWN: [&str; 16] = [
    "application_name",
    "client_min_messages",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "lock_timeout",
    "role",
    "session_authorization",
    "statement_timeout",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "transaction_timeout",
    "is_superuser",
];

/// `$1` is the login, `$2` the names and `$3` the values of what the session has set. What was said of the login in this
/// database goes before what was said of it anywhere, and that before what was said of the database (`process_settings`
/// in `postinit.c`). Nobody but a superuser could set the others, and nothing needs them.
const QUESTION: &str = "
WITH said AS (
    SELECT lower(split_part(entry, '=', 1)) AS name, substr(entry, strpos(entry, '=') + 1) AS value,
        (setrole <> 0)::int * 2 + (setdatabase <> 0)::int AS rank
    FROM pg_db_role_setting, unnest(setconfig) entry
    WHERE setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = $1))
    AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    UNION ALL SELECT lower(name), value, 4 FROM unnest($2::text[], $3::text[]) given(name, value)
    UNION ALL SELECT 'search_path', current_setting('search_path'), -1
)
SELECT DISTINCT ON (said.name) said.name, said.value FROM said LEFT JOIN pg_settings s ON lower(s.name) = said.name
WHERE coalesce(s.context = 'user', strpos(said.name, '.') > 0) AND said.name <> ALL ($4::text[])
ORDER BY said.name, rank DESC";

/// Applies them for the transaction. `"$user"` is the application's role in every run: as the shadow role it would be
/// another schema.
const APPLY: &str = "
SELECT set_config(name, CASE name WHEN 'search_path'
    THEN regexp_replace(value, '\"\\$user\"|\\$user', replace(quote_ident($3), '\\', '\\\\'), 'g') ELSE value END, true)
FROM unnest($1::text[], $2::text[]) given(name, value)";

/// The settings of one session, and the role to which `$user` stands.
#[derive(Debug)]
pub(super) struct Mirror {
    names: String,
    values: String,
    role: String,
}

impl Mirror {
    /// Finds out what they are.
    ///
    /// # Errors
    /// [`SideError`] when the server cannot be asked.
    pub(super) async fn of(side: &mut Side, candidate: &Candidate) -> Result<Self, SideError> {
        let names: Vec<&str> = candidate.settings.iter().map(|(name, _)| name.as_str()).collect();
        let values: Vec<&str> = candidate.settings.iter().map(|(_, value)| value.as_str()).collect();
        let login: &str = &candidate.site.role;
        let asked = [login, &array(&names), &array(&values), &array(&OWN)];
        let mut found: (Vec<String>, Vec<String>) = Default::default();
        for row in side.ask(QUESTION, &asked).await? {
            let mut row = row.into_iter().flatten();
            if let (Some(name), Some(value)) = (row.next(), row.next()) {
                found.0.push(name);
                found.1.push(value);
            }
        }
        let role = candidate.role().to_owned();
        Ok(Self { names: array(&found.0), values: array(&found.1), role })
    }

    /// Sets them until the transaction, or its savepoint, ends.
    ///
    /// # Errors
    /// [`SideError::Refused`] when one cannot be set.
    pub(super) async fn apply(&self, side: &mut Side) -> Result<(), SideError> {
        side.ask(APPLY, &[&self.names, &self.values, &self.role]).await.map(|_| ())
    }
}
