//! A CA whose issuing key is on a PKCS#11 token: it issues, notices that the token dies, and goes on when it is back.

use std::process::Command;

use ca_testkit::softhsm::{self, PIN, SoftHsm};

use crate::harness::{block_on, expect_success, succeeds, wait_for};
use crate::key_site::{KeySite, order};

fn keystore(token: &str) -> String {
    format!("kind = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"{token}\"\npin = {{ file = \"pin\" }}\n", softhsm::module().display())
}

#[test]
fn a_dead_token_turns_readiness_red_and_comes_back_without_a_restart() {
    let name = "hardware::a_dead_token_turns_readiness_red_and_comes_back_without_a_restart";
    softhsm::isolated(name, &["root", "online"], |_| {
        let hsm = SoftHsm::current();
        let mut site = KeySite::new(hsm.folder());
        hsm.pin_file();
        for token in ["root", "online"] {
            std::fs::write(site.path(&format!("{token}.toml")), keystore(token)).unwrap();
        }
        site.write_configuration(&keystore("online"));
        // Both keys are on tokens, the root's on another one than the issuing authority's.
        site.rehearse(Vec::new());
        expect_success("ca import", &site.ca(&["import", "rehearsal/bundle"]));
        site.serve();
        let grant = site.ca_json(&["grant", "create", "--service", "payments", "--name", "payments.demo.test"]);
        let account = block_on(site.account(&grant));
        block_on(order(&account, "payments.demo.test")).expect("issued by a key on the token");
        assert_eq!(site.ca_json(&["status"])["keystore_error"], serde_json::Value::Null);

        let away = site.path("away");
        std::fs::rename(hsm.tokens(), &away).unwrap();
        wait_for("readiness to say why it is red", || site.readyz().contains("the key store is not available: the token `online`"));
        assert!(!site.is_ready());
        let status = site.ca_json(&["status"]);
        assert!(status["ready"] == false && status["keystore_error"].as_str().is_some_and(|e| e.contains("hint:")), "{status}");
        let shown = expect_success("ca status", &site.ca(&["status"]));
        assert!(shown.contains("NOT READY"), "{shown}");
        // What needs no authority key goes on.
        let issuer = site.status_url("/a/demo/issuer.cer");
        assert!(succeeds(Command::new("curl").args(["-sf", "-o", "/dev/null", &issuer])), "the issuer's certificate is served");
        site.process_id();

        std::fs::rename(&away, hsm.tokens()).unwrap();
        wait_for("readiness to turn green", || site.is_ready());
        block_on(order(&account, "payments.demo.test")).expect("issued again, by the same process");
        assert_eq!(site.ca_json(&["status"])["ready"], true);

        // Not at the finest level of the log, either (ceremony requirement 15).
        let log = std::fs::read_to_string(site.path("serve.log")).unwrap();
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is at its finest level");
        assert!(!log.contains(PIN), "the PIN is in the log");
        let process = site.process_id();
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{process}/{file}")).unwrap();
            assert!(!bytes.windows(PIN.len()).any(|w| w == PIN.as_bytes()), "the PIN is in the process's {file}");
        }
    });
}
