//! A grant's limits and its end, as operators set them and services meet them; and what the anchor remembers of grants.

use std::process::Command;

use ca_core::pki::Timestamp;
use instant_acme::{Account, Identifier, NewOrder};
use serde_json::Value;

use crate::harness::{Demo, block_on, check_refused, expect_success, wait_for};

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

#[test]
fn a14_an_operator_does_not_sign_what_someone_wrote_into_a_grant_s_row() {
    let mut demo = Demo::start();
    let created = demo.ca_json(&["grant", "create", "--service", "shop", "--dns", "shop.demo.test", "--max-accounts", "5"]);
    let kid = text(&created, "kid").to_owned();
    demo.stop();
    edit(
        &demo,
        "UPDATE grants SET body = replace(replace(body, 'shop.demo.test', '*.demo.test'), '\"max_accounts\":5', '\"max_accounts\":500')",
    );
    demo.launch(&[]);
    for arguments in [&["extend", "--valid-until", "365d"][..], &["update", "--max-certs", "9/day"], &["rotate"]] {
        let output = demo.ca(&[&["grant", arguments[0], &kid], &arguments[1..]].concat());
        check_refused("ca grant", &output, 4, "the database was edited");
        check_refused("ca grant", &output, 4, "(hint:");
    }
    check_refused("ca anchor verify", &demo.ca(&["anchor", "verify"]), 4, "something else in its row");
    assert!(demo.log().contains("something else in its row"), "the start says so");
    let shown = expect_success("ca grant show", &demo.ca(&["grant", "show", &kid]));
    assert!(shown.contains("THE DATABASE WAS CHANGED"), "{shown}");
    assert!(text(&demo.ca_json(&["grant", "show", &kid]), "edited").contains(&kid));

    // What was signed is shown, and takes the row's place.
    let output = demo.ca(&["grant", "sign", &kid]);
    check_refused("ca grant sign", &output, 2, "--yes");
    assert!(String::from_utf8_lossy(&output.stderr).contains("  names             dns:shop.demo.test\n"), "{output:?}");
    demo.ca_json(&["grant", "sign", &kid, "--yes"]);
    let shown = demo.ca_json(&["grant", "show", &kid]);
    assert_eq!((&shown["names"], &shown["max_accounts"], &shown["edited"]), (&created["grant"]["names"], &5.into(), &Value::Null));
    let output = demo.ca(&["grant", "extend", &kid, "--valid-until", "365d"]);
    expect_success("ca grant extend", &output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("- issues until      never\n+ issues until      2"), "{said}");
    expect_success("ca anchor verify", &demo.ca(&["anchor", "verify"]));
}

/// Makes an operator's key; gives its file and its public half.
fn key_of(demo: &Demo, name: &str) -> (String, String) {
    let key = demo.path(name);
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&key).output();
    expect_success("ssh-keygen", &made.expect("ssh-keygen runs (package openssh-client)"));
    (key.display().to_string(), std::fs::read_to_string(key.with_extension("pub")).unwrap())
}

#[test]
fn a16_a_colleague_takes_over_the_grants_of_an_operator_who_leaves() {
    let demo = Demo::start();
    let (bela, public) = key_of(&demo, "bela");
    let created = demo.ca_json(&["grant", "create", "--service", "shop", "--dns", "shop.demo.test"]);
    let (kid, ending) =
        (text(&created, "kid").to_owned(), demo.ca_json(&["grant", "create", "--service", "end", "--dns", "end.demo.test"]));
    let listed = demo.ca_json(&["grant", "show", &kid]);
    let name = text(&listed["signed_by"], "operator").to_owned();
    let account = block_on(account(&demo, &created));
    let entry = format!("\n[[operator]]\nname = \"bela\"\nkey = \"{}\"\nmay = [\"grant\"]\n", public.trim());
    let number = demo.ca_json(&["policy", "show"])["version"].as_u64().expect("a version");
    demo.put_in_force(number + 1, |text| text + &entry);

    // One is taken over before, the others after.
    let before = demo.ca_json(&["grant", "sign", text(&ending, "kid"), "--yes", "--operator-key", &bela]);
    assert_eq!(before["signed"], serde_json::json!([text(&ending, "kid")]));
    let grants = || demo.ca_json(&["grant", "list"]).as_array().expect("a list").clone();
    let of = |operator: &str| grants().iter().filter(|g| g["signed_by"]["operator"] == operator).count();
    let (left, all) = (of(&name), grants().len());
    assert_eq!((of("bela"), left), (1, all - 1));

    // The operator is given another key, as to the name's successor.
    let word = |public: &str| public.split_whitespace().nth(1).expect("a public key").to_owned();
    let read = Command::new("ssh-keygen").arg("-y").arg("-f").arg(demo.var().join("rehearsal/operator")).output();
    let (old, new) = (word(&expect_success("ssh-keygen -y", &read.expect("ssh-keygen runs"))), word(&key_of(&demo, "carl").1));
    let gone = |text: String| text.replace(&old, &new);
    let text = expect_success("ca policy show", &demo.ca(&["policy", "show"]));
    let next = demo.path("next.toml");
    std::fs::write(&next, gone(text)).unwrap();
    let told = expect_success("ca policy diff", &demo.ca(&["policy", "diff", &next.display().to_string()]));
    assert!(told.contains(&format!("ca grant sign --signed-by {name}")) && told.contains(&format!("WARNING: {left} grant")), "{told}");
    demo.put_in_force(number + 2, gone);

    let listed = expect_success("ca grant list", &demo.ca(&["grant", "list"]));
    assert!(listed.contains("nobody in the policy"), "{listed}");
    let refused = block_on(demo.issue(&account, "shop.demo.test"));
    assert!(refused.is_err(), "nothing is issued under a grant without a signer");
    let signed = demo.ca_json(&["grant", "sign", "--without-signer", "--yes", "--operator-key", &bela]);
    assert_eq!(signed["signed"].as_array().map(Vec::len), Some(left), "{signed}");
    assert_eq!(of("bela"), all);
    block_on(demo.issue(&account, "shop.demo.test")).expect("the account of before orders");
}
