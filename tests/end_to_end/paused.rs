//! An account that only fails is paused, over restarts, until an operator lets it go on.

use std::fs;

use ca_core::pki::Csr;
use ca_testkit::acme::{ClientKey, order_payload};
use serde_json::{Value, json};

use crate::harness::{Demo, block_on, expect_success};
use crate::wire::{Account, Reply, Wire};

/// Orders and finalizes with this key; gives the order as it is then.
async fn finalized(wire: &Wire, account: &Account, name: &str, key: &ClientKey) -> Value {
    wire.finalize(account, &wire.order(account, name).await, name, key).await
}

async fn try_order(wire: &Wire, account: &Account, name: &str) -> Reply {
    wire.post(account, "/acme/new-order", &order_payload(&[name])).await
}

#[test]
fn a23_an_account_that_only_fails_is_paused_until_an_operator_lets_it_go_on() {
    let mut demo = Demo::start();
    let name = demo.fact("DEMO_NAME").to_owned();
    // A key that the site's own list has: the worker refuses it, after the order was finalized.
    let bad = ClientKey::default();
    let csr = Csr::from_der(&bad.csr(&[&name], None)).unwrap();
    let list = demo.path("known.txt");
    fs::write(&list, format!("{}\n", csr.public_key().spki_sha256())).unwrap();
    demo.stop();
    let file = demo.var().join("ca.toml");
    let text = fs::read_to_string(&file).unwrap();
    let more = format!("\n[acme.pause]\nfailures = 3\nwithin = \"1h\"\n\n[blocked_keys]\nspki_sha256 = [\"{}\"]\n", list.display());
    fs::write(&file, format!("{text}{more}")).unwrap();
    demo.launch(&[]);

    let (account, other) = block_on(async {
        let wire = Wire::to(&demo);
        let (account, other) = (wire.account(&demo).await, wire.account(&demo).await);
        let fail = async || assert_eq!(finalized(&wire, &account, &name, &bad).await["status"], "invalid");
        fail().await;
        fail().await;
        // A success in between: the row begins anew.
        assert_eq!(finalized(&wire, &account, &name, &ClientKey::default()).await["status"], "valid");
        fail().await;
        fail().await;
        assert_eq!(demo.ca_json(&["account", "list", "--paused"]), json!([]));
        fail().await;
        let refused = try_order(&wire, &account, &name).await;
        assert_eq!((refused.status, refused.problem().as_str()), (403, "unauthorized"), "{}", refused.text);
        assert!(refused.text.contains("ca account resume"), "{}", refused.text);
        assert_eq!(try_order(&wire, &other, &name).await.status, 201);
        (account, other)
    });
    let id = account.kid.rsplit('/').next().unwrap().to_owned();

    demo.stop();
    demo.launch(&[]);
    let paused = demo.ca_json(&["account", "list", "--paused"]);
    assert_eq!((paused.as_array().unwrap().len(), &paused[0]["id"], &paused[0]["failures"]), (1, &json!(id), &json!(3)));
    let shown = expect_success("ca account show", &demo.ca(&["account", "show", &id]));
    assert!(shown.contains("paused   since ") && shown.contains("ca account resume"), "{shown}");
    assert_eq!(demo.ca_json(&["account", "show", &id])["certificates"].as_array().unwrap().len(), 1);
    block_on(async {
        let wire = Wire::to(&demo);
        assert_eq!(try_order(&wire, &account, &name).await.status, 403, "a restart ends no pause");
        assert_eq!(try_order(&wire, &other, &name).await.status, 201);
    });

    assert!(!demo.ca(&["account", "resume", "nosuchaccount"]).status.success());
    let resumed = expect_success("ca account resume", &demo.ca(&["account", "resume", &id]));
    assert!(resumed.contains("goes on"), "{resumed}");
    block_on(async {
        let wire = Wire::to(&demo);
        assert_eq!(finalized(&wire, &account, &name, &ClientKey::default()).await["status"], "valid");
    });
    let trail = expect_success("ca audit tail", &demo.ca(&["audit", "tail", "-n", "200"]));
    for action in ["account.pause", "account.resume"] {
        assert!(trail.lines().any(|line| line.contains(action) && line.contains(&id)), "{action} is on record:\n{trail}");
    }
    assert_eq!(demo.ca_json(&["account", "list", "--paused"]), json!([]));
}
