//! The example platform: the schema, policies and rows of `deploy/examples/platform/*.sql`.

use std::path::PathBuf;

use tokio_postgres::Client;

use crate::version::root;

/// The files in the order of their names, as (name, SQL).
pub fn files() -> Vec<(String, String)> {
    let folder = root().join("deploy/examples/platform");
    let listing = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    paths.sort();
    assert!(!paths.is_empty(), "no .sql file in {}", folder.display());
    paths.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sql = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {name}: {error}"));
    (name, sql)
}

/// Runs all files; `client` needs the rights of a superuser.
pub async fn load(client: &Client) {
    for (name, sql) in files() {
        if let Err(error) = client.batch_execute(&sql).await {
            panic!(
                "{name}: {:?}",
                error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
            );
        }
    }
}
