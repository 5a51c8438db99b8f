//! An account that only fails is paused, over restarts, until an operator lets it go on.

use std::fs;
use std::time::Duration;

use ca_testkit::acme::{ClientKey, order_payload};
use serde_json::{Value, json};

use crate::harness::{Demo, PATIENCE, block_on, expect_success};
use crate::wire::{Account, Reply, Wire};
use crate::zone::Zone;

/// Orders and finalizes; gives the order as it is then.
async fn finalized(wire: &Wire, account: &Account, name: &str) -> Value {
    wire.finalize(account, &wire.order(account, name).await, name, &ClientKey::default()).await
}

/// Orders a name in the zone and has it validated by http-01, where nobody listens.
async fn fail(wire: &Wire, account: &Account) {
    let order = try_order(wire, account, &format!("nobody.{}", Zone::NAME)).await;
    assert_eq!(order.status, 201, "{}", order.text);
    let url = order.header("location").unwrap().to_owned();
    let authorization = wire.post(account, order.json()["authorizations"][0].as_str().unwrap(), &Value::Null).await.json();
    let challenges = authorization["challenges"].as_array().unwrap();
    let challenge = challenges.iter().find(|challenge| challenge["type"] == "http-01").unwrap();
    assert_eq!(wire.post(account, challenge["url"].as_str().unwrap(), &json!({})).await.status, 200);
    let refused = async {
        while wire.post(account, &url, &Value::Null).await.json()["status"] != "invalid" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.expect("the validation fails");
}

async fn try_order(wire: &Wire, account: &Account, name: &str) -> Reply {
    wire.post(account, "/acme/new-order", &order_payload(&[name])).await
}

#[test]
fn a23_an_account_that_only_fails_is_paused_until_an_operator_lets_it_go_on() {
    let mut demo = Demo::start();
    let name = demo.fact("DEMO_NAME").to_owned();
    let _zone = Zone::open(&mut demo, "");
    demo.stop();
    let file = demo.var().join("ca.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n[acme.pause]\nfailures = 3\nwithin = \"1h\"\n")).unwrap();
    demo.launch(&[]);

    let (account, other) = block_on(async {
        let wire = Wire::to(&demo);
        let (account, other) = (wire.account(&demo).await, wire.account(&demo).await);
        fail(&wire, &account).await;
        fail(&wire, &account).await;
        // A success in between: the row begins anew.
        assert_eq!(finalized(&wire, &account, &name).await["status"], "valid");
        fail(&wire, &account).await;
        fail(&wire, &account).await;
        assert_eq!(demo.ca_json(&["account", "list", "--paused"]), json!([]));
        fail(&wire, &account).await;
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
        assert_eq!(finalized(&wire, &account, &name).await["status"], "valid");
    });
    let trail = expect_success("ca audit tail", &demo.ca(&["audit", "tail", "-n", "200"]));
    for action in ["account.pause", "account.resume"] {
        assert!(trail.lines().any(|line| line.contains(action) && line.contains(&id)), "{action} is on record:\n{trail}");
    }
    assert_eq!(demo.ca_json(&["account", "list", "--paused"]), json!([]));
}
