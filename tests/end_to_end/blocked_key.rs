//! A key that an operator blocked is never certified: a real order with it is refused, and says why.

use ca_core::pki::{Csr, pem_encode};
use ca_testkit::acme::ClientKey;
use serde_json::json;

use crate::harness::{Demo, block_on, check_refused, expect_success};
use crate::wire::Wire;

const REASON: &str = "found in a repository of the treasury";

fn digest(key: &ClientKey) -> String {
    Csr::from_der(&key.csr(&[], None)).unwrap().public_key().spki_sha256().to_string()
}

#[test]
fn lesson_26_a_key_that_an_operator_blocked_is_never_certified_again() {
    let mut demo = Demo::start();
    let name = demo.fact("DEMO_NAME").to_owned();
    let (blocked, by_file) = (ClientKey::default(), ClientKey::default());
    let block = |more: &[&str]| demo.ca(&[&["key", "block", "--yes"], more].concat());

    // What is wrong is told, and blocks nothing.
    let short = &digest(&blocked)[1..];
    check_refused("a digest of 63 digits", &block(&["--spki-sha256", short, "--reason", REASON]), 2, "64 hexadecimal digits");
    let odd = format!("{}zz", &digest(&blocked)[2..]);
    check_refused("a digest of other letters", &block(&["--spki-sha256", &odd, "--reason", REASON]), 2, "64 hexadecimal digits");
    check_refused("neither file nor digest", &block(&["--reason", REASON]), 2, "--spki-sha256");
    check_refused("no reason", &block(&["--spki-sha256", &digest(&blocked)]), 2, "--reason");
    check_refused("an empty reason", &block(&["--spki-sha256", &digest(&blocked), "--reason", " "]), 1, "a reason has 1 to 500");
    let nothing = demo.path("nothing.pem");
    std::fs::write(&nothing, "no key\n").unwrap();
    check_refused("a file without a key", &block(&[&nothing.display().to_string(), "--reason", REASON]), 1, "no PEM block PUBLIC KEY");
    let stranger = demo.var().join("rehearsal/officers/ana").display().to_string();
    let signed_by_another = block(&["--spki-sha256", &digest(&blocked), "--reason", REASON, "--operator-key", &stranger]);
    check_refused("an officer's key", &signed_by_another, 4, "no operator key");
    assert_eq!(demo.ca_json(&["key", "blocked"]), json!([]));

    let first = demo.ca_json(&["key", "block", "--yes", "--spki-sha256", &digest(&blocked), "--reason", REASON]);
    assert_eq!(first, json!({ "spki_sha256": digest(&blocked), "new": true }));
    let again = expect_success("ca key block", &block(&["--spki-sha256", &digest(&blocked).to_uppercase(), "--reason", "another"]));
    assert!(again.contains("was blocked before; nothing changed"), "{again}");
    let request = demo.path("request.pem");
    std::fs::write(&request, pem_encode("CERTIFICATE REQUEST", &by_file.csr(&[&name], None))).unwrap();
    let told = expect_success("ca key block", &block(&[&request.display().to_string(), "--reason", "lost with a laptop"]));
    assert!(told.contains(&digest(&by_file)) && told.contains("ca cert revoke"), "{told}");

    let check = |demo: &Demo| {
        let listed = demo.ca_json(&["key", "blocked"]);
        let reasons: Vec<_> = listed.as_array().expect("a list").iter().map(|b| (&b["spki_sha256"], &b["block"]["reason"])).collect();
        let expected = [(json!(digest(&by_file)), json!("lost with a laptop")), (json!(digest(&blocked)), json!(REASON))];
        assert!(reasons.iter().copied().eq(expected.iter().map(|(digest, reason)| (digest, reason))), "{listed}");
        let text = expect_success("ca key blocked", &demo.ca(&["key", "blocked"]));
        assert!(text.contains(&digest(&blocked)) && text.contains(REASON), "{text}");
        block_on(async {
            let wire = Wire::to(demo);
            let account = wire.account(demo).await;
            for key in [&blocked, &by_file] {
                let order = wire.order(&account, &name).await;
                let refused = wire.try_finalize(&account, &order, &name, key).await;
                assert_eq!((refused.status, refused.problem().as_str()), (400, "badCSR"), "{}", refused.text);
                assert!(refused.text.contains("the key is blocked (hint: make another key)"), "{}", refused.text);
                assert!(
                    !refused.text.contains("repository") && !refused.text.contains("laptop"),
                    "why is the operators': {}",
                    refused.text
                );
                // The order is ready still: another key is all that it needs.
                let done = wire.finalize(&account, &order, &name, &ClientKey::default()).await;
                assert_eq!(done["status"], "valid", "{done}");
            }
        });
    };
    check(&demo);
    assert!(demo.certificates().iter().all(|c| c["spki_sha256"] != json!(digest(&blocked))));

    // It stands over a restart, and there is no way back: neither a command nor another block with another reason.
    demo.stop();
    demo.launch(&[]);
    check(&demo);
    check_refused("no way back", &demo.ca(&["key", "unblock", &digest(&blocked)]), 2, "unrecognized subcommand");
    let trail = expect_success("ca audit tail", &demo.ca(&["audit", "tail", "-n", "100"]));
    assert!(trail.contains("key.block") && trail.contains(&digest(&blocked)), "{trail}");
}
