//! A migration that makes a table anew keeps its rows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// The migrations in their order: those before the one with this name, and that one.
fn up_to(name: &str) -> (Vec<PathBuf>, PathBuf) {
    let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).unwrap();
    let mut files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
    files.sort();
    let at = files.iter().position(|file| file.to_str().unwrap().ends_with(name)).unwrap();
    (files[..at].to_vec(), files[at].clone())
}

fn apply(connection: &Connection, migration: &Path) {
    connection.execute_batch(&format!("BEGIN; {} ; COMMIT", std::fs::read_to_string(migration).unwrap())).unwrap();
}

/// Every row of a table, as SQL would write it.
fn rows(connection: &Connection, table: &str) -> Vec<String> {
    let mut columns = connection.prepare(&format!("SELECT name FROM pragma_table_info('{table}') ORDER BY cid")).unwrap();
    let columns: Vec<String> = columns.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let quoted: Vec<_> = columns.iter().map(|column| format!("'{column}=' || quote({column})")).collect();
    let mut rows = connection.prepare(&format!("SELECT {} AS row FROM {table} ORDER BY row", quoted.join(" || "))).unwrap();
    rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

const CERTIFICATE: &str = "INSERT INTO certificates (authority, serial, state, profile, subject, identifiers, spki_sha256, not_before,
    not_after, crl_partition, created_at) VALUES ('a', randomblob(20), 'intent', 'p', 's', '[]', x'00', 0, 1, 0, 0)";

#[test]
fn shorter_checks_keep_the_queue_and_the_counts() {
    let connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    let (before, migration) = up_to("_shorter_checks.sql");
    before.iter().for_each(|file| apply(&connection, file));
    let some = "INSERT INTO authorities (name, kind, certificate, is_default, imported_at) VALUES ('a', 'issuing', x'00', 1, 0);
        INSERT INTO requests (seq, id, account_id, state, not_before, received_at, worker, lease, lease_until, attempts)
            VALUES (7, 'a.x', 'x', 'leased', 1, 2, 'w', 'l', 9, 3);
        INSERT INTO requests (seq, id, account_id, order_id, state, not_before, received_at, problem, ended_at)
            VALUES (9, 'f.o', 'x', 'o', 'refused', 1, 2, '{}', 5)";
    connection.execute_batch(&format!("{some}; {CERTIFICATE}")).unwrap();
    let stood = ["requests", "certificate_counts"].map(|table| rows(&connection, table));
    assert_eq!(stood.each_ref().map(Vec::len), [2, 1]);

    apply(&connection, &migration);
    assert_eq!(["requests", "certificate_counts"].map(|table| rows(&connection, table)), stood);
    // What counts goes on, and what no state is, is refused as before.
    connection.execute_batch(CERTIFICATE).unwrap();
    assert_eq!(rows(&connection, "certificate_counts"), ["authority='a'state='intent'certificates=2"]);
    for refused in [
        "UPDATE requests SET state = 'waiting' WHERE seq = 9",
        "UPDATE requests SET state = NULL WHERE seq = 9",
        "UPDATE requests SET state = 'done' WHERE seq = 7",
        "INSERT INTO certificate_counts (authority, state, certificates) VALUES ('a', 'held', 1)",
    ] {
        assert!(connection.execute_batch(refused).is_err(), "{refused}");
    }
    for allowed in ["queued", "leased", "done", "refused"] {
        let (lease, ended) =
            (if allowed == "leased" { "'l'" } else { "NULL" }, if matches!(allowed, "done" | "refused") { "5" } else { "NULL" });
        let update = format!("UPDATE requests SET state = '{allowed}', lease = {lease}, ended_at = {ended} WHERE seq = 9");
        connection.execute_batch(&update).unwrap_or_else(|error| panic!("{allowed}: {error}"));
    }
}
