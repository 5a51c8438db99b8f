//! A ceremony whose keys are made on PKCS#11 tokens, by the commands as a person gives them, on real SoftHSM2.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![cfg(feature = "pkcs11")]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use ca_testkit::softhsm::{self, PIN, SoftHsm};
use common::{ANY_MACHINE, Ceremony};

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

    /// The binary, with the exit code that is expected.
    fn expect(&self, arguments: &[&str], code: i32) {
        let (got, text) = self.tool(arguments);
        assert_eq!(got, Some(code), "{arguments:?}: {text}");
    }

    /// The plan pins the tokens as the tool prints them.
    fn pin_tokens(&self, ceremony: &Ceremony) {
        ceremony.pin_devices(&mut |arguments| {
            let (code, table) = self.tool(arguments);
            assert!(code == Some(0) && table.contains("kind = \"pkcs11\"") && table.contains("before = \"new\""), "{table}");
            table
        });
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
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    let dir = ceremony.dir.path();
    key_store_file(dir, &hsm, "root", &hsm.pin_file());
    key_store_file(dir, &hsm, "online", &hsm.pin_file());
    let run = Run { dir, hsm: &hsm };
    run.pin_tokens(&ceremony);
    key_store_file(dir, &hsm, "online", &hsm.secret_file("wrong", "canary-wrong"));

    assert_eq!(run.run().0, Some(5), "the plan waits for signatures");
    ceremony.sign_plan(&["ana", "bela"]);
    let (code, text) = run.run();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("CKR_PIN_INCORRECT") && !text.contains("canary"), "{text}");
    key_store_file(dir, &hsm, "online", &hsm.pin_file());
    assert_eq!(run.run().0, Some(5), "people come in");
    ceremony.attend_by_binary(&mut |arguments, code| run.expect(arguments, code));
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
    ceremony.note_by_binary(&mut |arguments, code| run.expect(arguments, code));
    let (_, list) = run.tool(&["exception", "list", "bundle"]);
    let lines: Vec<&str> = list.lines().filter_map(|l| l.strip_prefix("line ")?.split(' ').next()).collect();
    assert_eq!(lines.len(), 2, "the wrong PIN and the token that was away: {list}");
    for line in lines {
        run.expect(&["exception", "dispose", "bundle", line, "nothing was done with it", "--by", "ana,wim"], 0);
    }
    let (code, text) = run.run();
    assert_eq!(code, Some(0), "{text}");
    let (code, report) = run.tool(&["verify", "bundle", "--roster", "bundle/roster.toml"]);
    assert_eq!(code, Some(0), "{report}");

    // Only the token has the keys.
    for folder in ["root-keys", "online-keys"] {
        assert!(std::fs::read_dir(dir.join(folder)).unwrap().all(|e| e.unwrap().file_name() == "serial"), "{folder} holds no key");
    }
    let transcript = std::fs::read_to_string(dir.join("bundle/transcript.jsonl")).unwrap();
    assert!(!transcript.contains(PIN));
}

#[test]
fn ceremony_20_a_foreign_key_on_the_token_stops_it() {
    let hsm = SoftHsm::new();
    hsm.add_token("root");
    hsm.add_token("online");
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    let dir = ceremony.dir.path();
    key_store_file(dir, &hsm, "root", &hsm.pin_file());
    key_store_file(dir, &hsm, "online", &hsm.pin_file());
    let run = Run { dir, hsm: &hsm };
    run.pin_tokens(&ceremony);
    assert_eq!(run.run().0, Some(5));
    ceremony.sign_plan(&["ana", "bela"]);
    // Once the tokens are on record as the plan wants them, somebody makes a key.
    assert_eq!(run.run().0, Some(5));
    ceremony.attend_by_binary(&mut |arguments, code| run.expect(arguments, code));
    hsm.pkcs11_tool("root", &["--keypairgen", "--key-type", "EC:secp384r1", "--label", "bank-root-2026"]);
    let (code, text) = run.run();
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("exists already") && text.contains("hint:"), "{text}");
}

#[test]
fn key_store_files_are_checked() {
    let hsm = SoftHsm::new();
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    let run = Run { dir: ceremony.dir.path(), hsm: &hsm };
    // No key store is opened before the plan is signed: only then its file is read.
    std::fs::write(ceremony.dir.path().join("root.toml"), "kind = \"tpm\"\n").unwrap();
    let (code, text) = run.run();
    assert!(code == Some(5) && text.contains("0 of 2 officers signed"), "{text}");
    ceremony.sign_plan(&["ana", "bela"]);
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
    let (code, text) = run.tool(&["run", "plan.toml", "--out", "bundle", "--root-keystore", "root.toml", "--root-keys", "r"]);
    assert_eq!(code, Some(2), "{text}");
}

/// An authority's key is made on a token when its certificate is asked for, and the key store file is judged first.
#[test]
fn a_request_is_made_on_a_token_and_its_key_store_file_is_checked() {
    let hsm = SoftHsm::new();
    hsm.add_token("online");
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    let dir = ceremony.dir.path();
    let plan = ca_ceremony::plan_template("intermediate");
    std::fs::write(dir.join("b.toml"), &plan).unwrap();
    let parsed = ca_core::ceremony::Plan::parse(&plan).unwrap();
    let (authority, label) = (parsed.issuing[0].authority.to_string(), parsed.issuing[0].key.to_string());
    let run = Run { dir, hsm: &hsm };
    let request = ["request", "b.toml", "--authority", &authority, "--keystore", "online.toml", "--out", "request"];
    let check = |text: &str, code: i32, expected: &str| {
        std::fs::write(dir.join("online.toml"), text).unwrap();
        let (got, said) = run.tool(&request);
        assert!(got == Some(code) && said.contains(expected), "{code} `{expected}`: {got:?} {said}");
        assert!(!dir.join("request").join(format!("{authority}.request.json")).exists());
    };
    check("kind = \"tpm\"\n", 4, "\"tpm\"");
    check("kind = \"pkcs11\"\nmodule = \"m.so\"\npin = \"terminal\"\n", 4, "needs `token`");
    check("kind = \"pkcs11\"\nmodule = \"m.so\"\ntoken = \"t\"\npin = { file = \"absent\" }\n", 1, "absent");
    check(&format!("# {}\n", "x".repeat(65 * 1024)), 4, "at most 65536 bytes");
    key_store_file(dir, &hsm, "online", &hsm.secret_file("wrong", "canary-wrong"));
    let (code, text) = run.tool(&request);
    assert!(code == Some(1) && text.contains("CKR_PIN_INCORRECT"), "{code:?} {text}");
    let (code, text) = run.tool(&[&request[..], &["--keys", "folder"]].concat());
    assert_eq!(code, Some(2), "{text}");

    key_store_file(dir, &hsm, "online", &hsm.pin_file());
    let (code, text) = run.tool(&request);
    assert!(code == Some(0) && text.contains(&format!("Request for `{authority}`")), "{text}");
    let shown = hsm.pkcs11_tool("online", &["--list-objects", "--type", "privkey"]);
    assert!(shown.contains(&label) && shown.contains("never extractable, local"), "{shown}");
}
