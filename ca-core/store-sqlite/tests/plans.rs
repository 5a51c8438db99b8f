//! No query reads a table that grows from end to end: SQLite's own plan of each committed query says so.

use std::path::Path;
use std::sync::Arc;

use ca_store_sqlite::SqliteStore;
use ca_testkit::SeededRng;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

/// Tables of a few rows, or read by number from one end with a limit; a row of nothing, and a list that was given.
const MAY_SCAN: [&str; 16] = [
    "one",
    "json_each VIRTUAL TABLE INDEX 1:",
    "authorities",
    "cross_certificates",
    "jobs",
    "policies",
    "audit",
    "grants",
    "proposals",
    "roster_changes",
    "revoked_authorities",
    "blocked_keys",
    "compromises",
    "certificate_counts",
    // For a foreign key, and only while one is broken.
    "certificate_names",
    // What a subquery with a LIMIT gave.
    "(subquery-1)",
];

#[tokio::test]
async fn every_lookup_has_an_index() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    SqliteStore::open(&path, Arc::new(SeededRng::new(1))).await.unwrap().close().await;
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.unwrap();

    let (mut plans, mut scans) = (0, Vec::new());
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx")).unwrap() {
        let data: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        let query = data["query"].as_str().unwrap();
        // Several statements may go in one call.
        let explained = query.split(';').map(|statement| format!("EXPLAIN QUERY PLAN {statement}"));
        for explain in explained {
            for row in sqlx::query(AssertSqlSafe(explain)).fetch_all(&mut connection).await.unwrap() {
                let step: String = row.get("detail");
                plans += 1;
                // `SCAN x USING INDEX` walks an index in order, for a query that says LIMIT.
                // What a subquery gives is as bounded as its own steps, which are judged too.
                let bounded = |rest: &str| rest.contains("USING") || rest.starts_with("CONSTANT") || rest.starts_with("(subquery");
                let scanned = step.strip_prefix("SCAN ").filter(|rest| !bounded(rest));
                if scanned.is_some_and(|table| !MAY_SCAN.contains(&table)) {
                    scans.push(format!("{step}\n{query}"));
                }
            }
        }
    }
    assert!(scans.is_empty(), "{}", scans.join("\n\n"));
    assert!(plans > 50, "only {plans} steps were seen");
}
