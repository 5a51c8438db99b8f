//! A migration that makes a table anew keeps its rows.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use rusqlite::Connection;

/// A database as the migrations before the one with this name leave it, and that one.
fn before(name: &str) -> (Connection, PathBuf) {
    let folder = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations")).unwrap();
    let mut files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
    files.sort();
    let at = files.iter().position(|file| file.to_str().unwrap().ends_with(name)).unwrap();
    let connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    files[..at].iter().for_each(|file| apply(&connection, file));
    (connection, files.swap_remove(at))
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
    let (connection, migration) = before("_shorter_checks.sql");
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

#[test]
fn shorter_checks_of_orders_keep_them_and_what_refers_to_them() {
    let (connection, migration) = before("_shorter_checks_of_orders.sql");
    let some = "INSERT INTO authorities (name, kind, certificate, is_default, imported_at) VALUES ('a', 'issuing', x'00', 1, 0);
        INSERT INTO accounts (id, status, jwk, thumbprint, contact, terms_agreed, grant_id, created_at, jws)
            VALUES ('x', 'valid', '{}', 't', '[]', 1, 'g', 0, 'jws');
        INSERT INTO orders (seq, id, account_id, authority, profile, identifiers, status, expires, not_before, not_after, error, serial,
                            replaces, created_at, jws, finalize_jws, authorizations, finalized_after)
            VALUES (3, 'o3', 'x', 'a', 'p', '[1]', 'valid', 10, 11, 12, '{}', x'01', x'02', 13, 'jws3', 'fin3', '[2]', 4),
                   (5, 'o5', 'x', 'a', 'p', '[2]', 'pending', 20, NULL, NULL, NULL, NULL, NULL, 14, 'jws5', NULL, NULL, NULL);
        INSERT INTO order_authorizations (authorization_id, order_id) VALUES ('z', 'o3'), ('z', 'o5');
        INSERT INTO star_orders (order_id, terms, canceled_at) VALUES ('o3', '{}', 9), ('o5', '{}', NULL);
        INSERT INTO withdrawn_authorizations (order_id, position) VALUES ('o5', 1);
        INSERT INTO attempts (seq, id, authority, key_label, algorithm, tbs_sha256, tbs, serial, request_id, order_id, lease, at, state,
                              ended_at, reason, unreleased)
            VALUES (2, 'a2', 'a', 'k', 'alg', x'03', x'04', x'05', 'f.o3', 'o3', 'l', 15, 'abandoned', 16, 'why', x'06');
        INSERT INTO attempts (seq, id, authority, key_label, algorithm, tbs_sha256, crl_scope, crl_number, this_update, next_update,
                              ledger_number, job_id, at, state)
            VALUES (4, 'a4', 'a', 'k', 'alg', x'07', 1, 2, 3, 4, 5, 'j', 6, 'open')";
    connection.execute_batch(some).unwrap();
    let tables = ["orders", "order_authorizations", "star_orders", "withdrawn_authorizations", "attempts"];
    let stood = tables.map(|table| rows(&connection, table));
    assert_eq!(stood.each_ref().map(Vec::len), [2, 2, 2, 1, 2]);

    apply(&connection, &migration);
    assert_eq!(tables.map(|table| rows(&connection, table)), stood);
    for refused in [
        "UPDATE orders SET status = 'canceled' WHERE seq = 5",
        "UPDATE orders SET status = NULL WHERE seq = 5",
        "UPDATE orders SET status = 'valid' WHERE seq = 5",
        "UPDATE orders SET account_id = 'nobody' WHERE seq = 5",
        "UPDATE orders SET replaces = x'02' WHERE seq = 5",
        "INSERT INTO star_orders (order_id, terms) VALUES ('none', '{}')",
        "UPDATE attempts SET state = 'closed', ended_at = 7 WHERE seq = 4",
        "UPDATE attempts SET reason = 'why' WHERE seq = 4",
        "UPDATE attempts SET authority = 'none' WHERE seq = 4",
        "UPDATE attempts SET crl_scope = 1, crl_number = 2, serial = NULL WHERE seq = 2",
    ] {
        assert!(connection.execute_batch(refused).is_err(), "{refused}");
    }
    for allowed in ["pending", "ready", "processing", "invalid"] {
        let update = format!("UPDATE orders SET status = '{allowed}' WHERE seq = 5");
        connection.execute_batch(&update).unwrap_or_else(|error| panic!("{allowed}: {error}"));
    }
    connection.execute_batch("UPDATE attempts SET state = 'released', ended_at = 7 WHERE seq = 4").unwrap();
    // What refers to an order goes with it.
    connection.execute_batch("DELETE FROM orders WHERE seq = 5").unwrap();
    let left = ["order_authorizations", "star_orders", "withdrawn_authorizations"].map(|table| rows(&connection, table).len());
    assert_eq!(left, [1, 1, 0]);
}
