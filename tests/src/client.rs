//! tokio-postgres, the driver that the tests themselves use.

use std::fmt::Write as _;

use tokio_postgres::{Client, Error, NoTls};

/// A URL of 127.0.0.1; an empty password is left out.
pub fn url(port: u16, user: &str, password: &str, database: &str) -> String {
    let colon = if password.is_empty() { "" } else { ":" };
    let [user, password, database] = [user, password, database].map(percent_encode);
    format!("postgres://{user}{colon}{password}@127.0.0.1:{port}/{database}")
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// Connects; panics if that fails.
pub async fn connect(url: &str) -> Client {
    try_connect(url).await.unwrap_or_else(|error| panic!("cannot connect to {url}: {}", explain(&error)))
}

/// Connects. The connection lives in a task of the current runtime until the client is dropped.
pub async fn try_connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// An error as one line: `ERROR 42501 message / detail / hint`, or what broke.
pub fn explain(error: &Error) -> String {
    let Some(server) = error.as_db_error() else {
        return format!("{error:?}");
    };
    let mut line = format!("{} {} {}", server.severity(), server.code().code(), server.message());
    for part in [server.detail(), server.hint()].into_iter().flatten() {
        line.push_str(" / ");
        line.push_str(part);
    }
    line
}

/// The SQLSTATE of an error; empty when the server said none.
pub fn sqlstate(error: &Error) -> &str {
    error.code().map_or("", |state| state.code())
}

/// The first column of every row of a simple query, NULL as `None`.
pub async fn column(client: &Client, sql: &str) -> Result<Vec<Option<String>>, Error> {
    use tokio_postgres::SimpleQueryMessage::Row;
    let messages = client.simple_query(sql).await?;
    let rows = messages.iter().filter_map(|message| if let Row(row) = message { Some(row) } else { None });
    Ok(rows.map(|row| row.get(0).map(str::to_owned)).collect())
}
