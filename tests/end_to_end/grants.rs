//! A grant's limits and its end, as operators set them and services meet them; and what the anchor remembers of grants.

use std::process::Command;

use ca_core::pki::Timestamp;
use instant_acme::{Account, Identifier, NewOrder};
use serde_json::Value;

use crate::harness::{Demo, block_on, expect_success, wait_for};

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

async fn account(demo: &Demo, created: &Value) -> Account {
    demo.account_of(text(created, "kid"), text(created, "hmac_key")).await.expect("the account is accepted")
}

/// An order that must be refused, with what the problem says.
async fn refused(account: &Account, name: &str, kind: &str) -> String {
    let identifiers = [Identifier::Dns(name.to_owned())];
    match account.new_order(&NewOrder::new(&identifiers)).await {
        Err(instant_acme::Error::Api(problem)) => {
            assert!(problem.r#type.as_deref().is_some_and(|t| t.ends_with(kind)), "{problem:?}");
            problem.detail.unwrap_or_default()
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("an order for {name} was taken"),
    }
}

#[test]
fn a14_the_whole_command_makes_a_grant_whose_limits_hold() {
    let demo = Demo::start();
    let command = "grant create --service payments --dns *.demo.test --profile client --max-certs 2/day --from 127.0.0.0/8 \
                   --from ::1 --enrol-by 7d --key-types p256,rsa2048+ --max-lifetime 12h --valid-until 20d";
    let created = demo.ca_json(&command.split_whitespace().collect::<Vec<_>>());
    let limits = &created["grant"]["limits"];
    let expected = serde_json::json!({
        "from": ["127.0.0.0/8", "::1/128"], "max_certificates": "2/day", "keys": ["p256", "rsa2048", "rsa3072", "rsa4096"],
        "max_lifetime": 43_200,
    });
    assert_eq!(limits, &expected);
    let kid = text(&created, "kid");
    block_on(async {
        let account = account(&demo, &created).await;
        for name in ["a.demo.test", "b.demo.test"] {
            demo.issue(&account, name).await.expect("inside the grant");
        }
        let told = refused(&account, "c.demo.test", "rateLimited").await;
        assert!(told.contains("2/day") && told.contains("hint:"), "{told}");

        let shown = demo.ca_json(&["grant", "show", kid]);
        assert_eq!((&shown["used"]["certificates"], &shown["used"]["cap"]), (&2.into(), &"2/day".into()), "{shown}");
        let printed = expect_success("ca grant show", &demo.ca(&["grant", "show", kid]));
        assert!(printed.contains("2 of 2/day") && printed.contains("127.0.0.0/8, ::1/128"), "{printed}");
        let time = |name: &str| Timestamp::parse_rfc3339(text(&shown["certificates"][0], name)).expect("a time");
        assert_eq!(time("not_after").since(time("created_at")).as_secs(), 43_200, "the profile's month is cut to the grant's 12 hours");

        // What is given replaces what was; the rest stays.
        demo.ca_json(&["grant", "update", kid, "--max-certs", "any", "--key-types", "p384"]);
        let identifiers = [Identifier::Dns("c.demo.test".to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.expect("there is room");
        // The client's keys are P-256.
        let bad = order.finalize().await.expect_err("the kind of key is not the grant's");
        assert!(format!("{bad}").contains("badCSR") || format!("{bad:?}").contains("badCSR"), "{bad:?}");
        let updated = demo.ca_json(&["grant", "update", kid, "--key-types", "any", "--from", "10.0.0.0/8"]);
        assert_eq!(updated["grant"]["limits"]["keys"], Value::Null);
        let told = refused(&account, "c.demo.test", "unauthorized").await;
        assert!(told.contains("takes no requests from") && told.contains("--from"), "{told}");
    });
    // A16: its end is told ahead.
    let status = demo.ca_json(&["status"]);
    assert_eq!(status["ending_grants"][0]["id"], kid, "{}", status["ending_grants"]);
    let printed = expect_success("ca status", &demo.ca(&["status"]));
    assert!(printed.contains("payments") && printed.contains("ca grant extend"), "{printed}");
    demo.ca_json(&["grant", "extend", kid, "--valid-until", "365d"]);
    assert_eq!(demo.ca_json(&["status"])["ending_grants"], serde_json::json!([]));

    for (arguments, code, part) in [
        (vec!["--dns", "*.demo.test", "--max-certs", "100/month"], 2, "100/day"),
        (vec!["--dns", "*.demo.test", "--from", "10.0.0.1/8"], 2, "not a network"),
        (vec!["--dns", "*.demo.test", "--key-types", "p256,any"], 2, "stands alone"),
        (vec!["--dns", "*.demo.test", "--max-lifetime", "31d"], 4, "outside the policy"),
        (vec![], 2, "--dns"),
    ] {
        let output = demo.ca(&[&["grant", "create", "--service", "x"], &arguments[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(part), "{arguments:?}: {said}");
    }
}

/// Runs SQL on the stopped instance's database.
fn edit(demo: &Demo, sql: &str) {
    let output = Command::new("sqlite3").arg(demo.var().join("ca.db")).arg(sql).output().expect("sqlite3 runs (package sqlite3)");
    expect_success("sqlite3", &output);
}

#[test]
fn a15_an_earlier_statement_put_back_into_the_database_is_named_and_good_for_nothing() {
    let mut demo = Demo::start();
    let created = demo.ca_json(&["grant", "create", "--service", "shop", "--dns", "shop.demo.test", "--max-accounts", "5"]);
    let kid = text(&created, "kid").to_owned();
    demo.stop();
    edit(&demo, "CREATE TABLE kept AS SELECT * FROM grants");
    demo.launch(&[]);
    // The secret leaked; the operator rotates it.
    let rotated = demo.ca_json(&["grant", "rotate", &kid]);
    expect_success("ca anchor verify", &demo.ca(&["anchor", "verify"]));
    demo.stop();
    let columns = "version, body, max_accounts, statement, signature, status, suspended_at";
    edit(&demo, &format!("UPDATE grants SET ({columns}) = (SELECT {columns} FROM kept WHERE kept.id = grants.id)"));
    demo.launch(&[]);

    let thief = block_on(demo.account_of(&kid, text(&created, "hmac_key")));
    assert!(thief.is_err(), "the leaked secret bound an account");
    let owner = block_on(demo.account_of(&kid, text(&rotated, "hmac_key")));
    assert!(owner.is_err(), "nothing is bound under a grant that was put back");
    wait_for("the alarm to be in the log", || demo.log().contains("of the secret's version 1; the newest"));
    for running in [true, false] {
        if !running {
            demo.stop();
        }
        let output = demo.ca(&["anchor", "verify"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains(&kid) && said.contains("hint:"), "{said}");
    }
    // Everybody else goes on.
    demo.launch(&[]);
    let name = demo.fact("DEMO_NAME").to_owned();
    block_on(async {
        let account = demo.account().await;
        demo.issue(&account, &name).await.expect("another grant");
    });
    // The way out: it ends, and another takes its place.
    expect_success("ca grant revoke", &demo.ca(&["grant", "revoke", &kid, "--yes"]));
}
