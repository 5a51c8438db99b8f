//! Someone edits the database, inside the policy and outside it, and gets no certificate.

use std::path::PathBuf;
use std::process::Command;

use instant_acme::{Error, Identifier, NewOrder};

use crate::harness::{Demo, block_on, expect_success, patience};

/// Runs SQL on the database while the instance is down.
#[track_caller]
fn edit(demo: &mut Demo, sql: &str) {
    demo.stop();
    let database = database_of(demo);
    let output =
        Command::new("sqlite3").arg(&database).arg(format!("{sql}; SELECT changes();")).output().expect("sqlite3 runs (package sqlite3)");
    let printed = expect_success("sqlite3", &output);
    assert_ne!(printed.trim().lines().last(), Some("0"), "the edit must change a row: {sql}");
    demo.launch(&[]);
}

fn database_of(demo: &Demo) -> PathBuf {
    let found = std::fs::read_dir(demo.var())
        .expect("the state folder")
        .flatten()
        .map(|e| e.path())
        .find(|p| p.extension().is_some_and(|e| e == "db" || e == "sqlite"));
    found.expect("a database in the state folder")
}

/// After the edit an account's order must come to nothing.
#[track_caller]
fn no_certificate_after(sql: &str) {
    let mut demo = Demo::start();
    let name = demo.fact("DEMO_NAME").to_owned();
    block_on(async {
        let account = demo.account().await;
        // The edit waits between the order and its finalization: the strongest place.
        let identifiers = [Identifier::Dns(name.clone())];
        let order = account.new_order(&NewOrder::new(&identifiers)).await.expect("the order is ready");
        let url = order.url().to_owned();
        drop(order);
        let before = released_for_orders(&demo);
        edit(&mut demo, sql);
        let mut order = account.order(url).await.expect("the order is still there");
        // The client asks for what the row now says; the worker reads the evidence.
        let outcome = match order.finalize().await {
            Ok(_) => order.poll_certificate(&patience()).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(outcome.is_err(), "a certificate was issued after: {sql}");
        assert!(!matches!(outcome, Err(Error::Timeout(_))), "the order neither was refused nor ended after: {sql}");
        assert_eq!(released_for_orders(&demo), before, "a certificate is on record after: {sql}");
    });
}

fn released_for_orders(demo: &Demo) -> usize {
    demo.certificates().iter().filter(|c| c["state"] == "released" && !c["order"].is_null()).count()
}

#[test]
fn an_edited_identifier_inside_the_policy_yields_no_certificate() {
    // `localhost` is inside the policy and the grant: only the signed order says otherwise.
    no_certificate_after(r#"UPDATE orders SET identifiers = '[{"type":"dns","value":"localhost"}]'"#);
}

#[test]
fn an_edited_identifier_outside_the_policy_yields_no_certificate() {
    no_certificate_after(r#"UPDATE orders SET identifiers = '[{"type":"dns","value":"bank.example"}]'"#);
}
