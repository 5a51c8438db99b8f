//! No query reads a table that grows from end to end: SQLite's own plan of each committed query says so.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

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

/// An empty store's database.
async fn database(folder: &Path) -> SqliteConnection {
    let path = folder.join("store.db");
    SqliteStore::open(&path, Arc::new(SeededRng::new(1))).await.unwrap().close().await;
    SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path)).await.unwrap()
}

/// The committed queries.
fn queries() -> Vec<String> {
    let query = |file: std::io::Result<std::fs::DirEntry>| {
        let data: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        data["query"].as_str().unwrap().to_owned()
    };
    std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".sqlx")).unwrap().map(query).collect()
}

#[tokio::test]
async fn every_lookup_has_an_index() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut connection = database(folder.path()).await;
    let (mut plans, mut scans) = (0, Vec::new());
    for query in queries() {
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

/// Rows that each order writes: neither the check of what they may say nor what is told of them takes a table.
#[tokio::test]
async fn rows_of_an_order_are_written_without_tables_of_their_own() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut connection = database(folder.path()).await;
    let mut seen = 0;
    let tables = ["orders", "requests", "attempts"];
    let inserted = |query: &str| tables.iter().any(|table| query.starts_with(&format!("INSERT INTO {table} ")));
    let updated = |query: &str| tables.iter().any(|table| query.starts_with(&format!("UPDATE {table} SET")));
    let by_key = |query: &str| query.contains("WHERE id = $1") || query.contains("WHERE seq = $1");
    for query in queries().into_iter().filter(|query| inserted(query) || updated(query) && by_key(query)) {
        seen += 1;
        for step in sqlx::query(AssertSqlSafe(format!("EXPLAIN {query}"))).fetch_all(&mut connection).await.unwrap() {
            assert_ne!(step.get::<String, _>("opcode"), "OpenEphemeral", "{query}");
        }
    }
    assert!(seen > 12, "only {seen} were seen");
}
