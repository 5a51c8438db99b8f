//! A ceremony whose keys are made on PKCS#11 tokens, by the commands as a person gives them, on real SoftHSM2.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![cfg(feature = "pkcs11")]

#[allow(dead_code, reason = "each test file uses a part of it")]
mod common;

use std::path::Path;
use std::process::{Command, Output};

use ca_testkit::softhsm::{self, PIN, SoftHsm};
use common::Ceremony;

fn key_store_file(dir: &Path, hsm: &SoftHsm, token: &str, pin: &Path) {
    let module = softhsm::module();
    let text = format!(
        "kind = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"{token}\"\npin = {{ file = \"{}\" }}\nsessions = 1\n",
        module.display(),
        pin.display()
    );
    std::fs::write(dir.join(format!("{token}.toml")), text).unwrap();
    assert!(hsm.conf().is_file());
}

struct Run<'a> {
    dir: &'a Path,
    hsm: &'a SoftHsm,
}

impl Run<'_> {
    fn tool(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (name, conf) = self.hsm.environment();
        let output: Output =
            Command::new(env!("CARGO_BIN_EXE_ca-ceremony")).args(arguments).current_dir(self.dir).env(name, conf).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!text.contains(PIN), "no PIN is printed: {text}");
        (output.status.code(), text)
    }

    fn run(&self) -> (Option<i32>, String) {
        self.tool(&["run", "plan.toml", "--out", "bundle", "--root-keystore", "root.toml", "--online-keystore", "online.toml"])
    }
}

#[test]
fn a_ceremony_makes_its_keys_on_tokens() {
    let hsm = SoftHsm::new();
    hsm.add_token("root");
    hsm.add_token("online");
    let ceremony = Ceremony::new();
    let dir = ceremony.dir.path();
    key_store_file(dir, &hsm, "root", &hsm.pin_file());
    key_store_file(dir, &hsm, "online", &hsm.secret_file("wrong", "canary-wrong"));
    let run = Run { dir, hsm: &hsm };

    assert_eq!(run.run().0, Some(5), "the plan waits for signatures");
    ceremony.sign_plan(&["ana", "bela"]);
    let (code, text) = run.run();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("CKR_PIN_INCORRECT") && !text.contains("canary"), "{text}");
    key_store_file(dir, &hsm, "online", &hsm.pin_file());
    assert_eq!(run.run().0, Some(5), "the statements wait for signatures");
    let shown = hsm.pkcs11_tool("root", &["--list-objects", "--type", "privkey"]);
    assert!(shown.contains("bank-root-2026") && shown.contains("never extractable, local") && !shown.contains("bank-2026\n"), "{shown}");

    // Power fails at the token between the two runs.
    std::fs::rename(hsm.tokens(), hsm.folder().join("away")).unwrap();
    ceremony.sign_statements(&["ana", "bela"]);
    let (code, text) = run.run();
    assert_eq!(code, Some(5), "try again: {text}");
    assert!(text.contains("hint:"), "{text}");
    std::fs::rename(hsm.folder().join("away"), hsm.tokens()).unwrap();
    let (code, text) = run.run();
    assert_eq!(code, Some(0), "{text}");
    let (code, report) = run.tool(&["verify", "bundle", "--roster", "bundle/roster.toml"]);
    assert_eq!(code, Some(0), "{report}");

    // Only the token has the keys.
    assert!(!dir.join("root-keys").exists() && !dir.join("online-keys").exists());
    let transcript = std::fs::read_to_string(dir.join("bundle/transcript.jsonl")).unwrap();
    assert!(!transcript.contains(PIN));
}

#[test]
fn ceremony_20_a_foreign_key_on_the_token_stops_it() {
    let hsm = SoftHsm::new();
    hsm.add_token("root");
    hsm.add_token("online");
    let ceremony = Ceremony::new();
    let dir = ceremony.dir.path();
    key_store_file(dir, &hsm, "root", &hsm.pin_file());
    key_store_file(dir, &hsm, "online", &hsm.pin_file());
    let run = Run { dir, hsm: &hsm };
    assert_eq!(run.run().0, Some(5));
    ceremony.sign_plan(&["ana", "bela"]);
    hsm.pkcs11_tool("root", &["--keypairgen", "--key-type", "EC:secp384r1", "--label", "bank-root-2026"]);
    let (code, text) = run.run();
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("exists already") && text.contains("hint:"), "{text}");
}

#[test]
fn key_store_files_are_checked() {
    let hsm = SoftHsm::new();
    let ceremony = Ceremony::new();
    let run = Run { dir: ceremony.dir.path(), hsm: &hsm };
    let check = |root: &str, code: i32, expected: &str| {
        std::fs::write(ceremony.dir.path().join("root.toml"), root).unwrap();
        let (got, text) = run.run();
        assert!(got == Some(code) && text.contains(expected), "{code} `{expected}`: {got:?} {text}");
    };
    check("kind = \"tpm\"\n", 4, "\"tpm\"");
    check("kind = \"pkcs11\"\nmodule = \"m.so\"\ntoken = \"t\"\npin = \"terminal\"\nspare = 1\n", 4, "spare");
    check("kind = \"pkcs11\"\nmodule = \"m.so\"\ntoken = \"t\"\npin = { file = \"absent\" }\n", 1, "absent");
    hsm.pin_file();
    let pin = hsm.folder().join("pin");
    check(
        &format!("kind = \"pkcs11\"\nmodule = \"m.so\"\ntoken = \"t\"\npin = {{ file = \"{}\" }}\n", pin.display()),
        5,
        "hint: `module` names",
    );
    let (code, text) = run.tool(&["run", "plan.toml", "--out", "bundle", "--root-keystore", "root.toml"]);
    assert_eq!(code, Some(2), "{text}");
}
