//! Officers act on the running CA, with the commands and with real `ssh-keygen`; an edited database makes nothing of it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::anchor::{copy_in, copy_out};
use crate::harness::{Demo, block_on, check_refused, expect_success, wait_for};

/// A demonstration whose officers' keys are at hand.
struct Board {
    demo: Demo,
}

impl Board {
    fn start() -> Self {
        Self { demo: Demo::start() }
    }

    fn key(&self, officer: &str) -> PathBuf {
        self.demo.var().join("rehearsal/officers").join(officer)
    }

    /// A key of someone who is not an officer yet.
    fn new_key(&self, name: &str) -> PathBuf {
        let file = self.demo.path(name);
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&file).output();
        expect_success("ssh-keygen", &made.expect("ssh-keygen runs (package openssh-client)"));
        file
    }

    /// Runs a command that proposes, and gives the proposal's id.
    #[track_caller]
    fn propose(&self, arguments: &[&str]) -> String {
        let proposed = self.demo.ca_json(arguments);
        assert_eq!(proposed["state"], "pending", "{proposed}");
        proposed["id"].as_str().expect("an id").to_owned()
    }

    fn sign_with(&self, id: &str, key: &std::path::Path) -> Output {
        self.demo.ca(&["approve", "sign", id, "--key", &key.display().to_string(), "--submit", "--json"])
    }

    #[track_caller]
    fn sign(&self, id: &str, officer: &str) -> serde_json::Value {
        serde_json::from_str(&expect_success("ca approve sign", &self.sign_with(id, &self.key(officer)))).expect("JSON")
    }

    /// Both of the officers who are needed.
    #[track_caller]
    fn approve(&self, id: &str) {
        assert_eq!(self.sign(id, "ana")["state"], "pending");
        assert_eq!(self.sign(id, "cora")["state"], "done");
    }

    fn sql(&self, text: &str) -> String {
        let output = Command::new("sqlite3").arg(self.demo.var().join("ca.db")).arg(text).output();
        expect_success("sqlite3", &output.expect("sqlite3 runs (package sqlite3)"))
    }

    fn trail(&self) -> String {
        String::from_utf8(self.demo.ca(&["audit", "tail", "-n", "300", "--json"]).stdout).expect("text")
    }
}

fn edited_policy(board: &Board, version: u64) -> String {
    let text = expect_success("ca policy show", &board.demo.ca(&["policy", "show"]));
    let current = text.lines().find(|l| l.starts_with("version = ")).expect("a version").to_owned();
    let file = board.demo.path(&format!("policy-{version}.toml"));
    std::fs::write(
        &file,
        text.replacen(&current, &format!("version = {version}"), 1).replacen("\nlifetime = 60\n", "\nlifetime = 90\n", 1),
    )
    .unwrap();
    file.display().to_string()
}

#[test]
fn a_policy_is_in_force_once_enough_officers_signed() {
    let mut board = Board::start();
    let policy = edited_policy(&board, 2);
    let diff = expect_success("ca policy diff", &board.demo.ca(&["policy", "diff", &policy]));
    assert!(diff.contains("+ authority.demo.profile.short.lifetime = 90") && diff.contains("+ version = 2"), "{diff}");

    let id = board.propose(&["policy", "propose", &policy]);
    let shown = expect_success("ca approve show", &board.demo.ca(&["approve", "show", &id]));
    assert!(shown.contains("put policy version 2 in force") && shown.contains("+ authority.demo.profile.short.lifetime = 90"), "{shown}");

    // On a machine of the officer's own: the statement goes there, the signature comes back.
    let folder = board.demo.path("").display().to_string();
    let told = expect_success("ca approve sign", &board.demo.ca(&["approve", "sign", &id, "--dir", &folder]));
    let file = board.demo.path(&format!("{id}.statement"));
    assert!(told.contains(&format!("ssh-keygen -Y sign -n rehearsal@countersign -f KEY {}", file.display())), "{told}");
    let signed = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "rehearsal@countersign", "-f"])
        .arg(board.key("ana"))
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .expect("ssh-keygen runs");
    expect_success("ssh-keygen -Y sign", &signed);
    let signature = format!("{}.sig", file.display());
    let submitted = expect_success("ca approve submit", &board.demo.ca(&["approve", "submit", &id, &signature]));
    assert!(submitted.contains("1 of 2") && submitted.contains("1 more"), "{submitted}");
    // The same person again is the same person.
    assert_eq!(board.demo.ca_json(&["approve", "submit", &id, &signature, &signature])["state"], "pending");
    assert_eq!(board.demo.ca_json(&["status"])["policy"]["version"], 1);
    // For another purpose, and by nobody.
    let stranger = board.new_key("stranger");
    check_refused("a stranger", &board.sign_with(&id, &stranger), 4, "none of the officers");
    let other = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "ceremony@countersign", "-f"])
        .arg(board.key("cora"))
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    std::fs::write(board.demo.path("production.sig"), other.stdout).unwrap();
    let production = board.demo.path("production.sig").display().to_string();
    check_refused("a production signature", &board.demo.ca(&["approve", "submit", &id, &production]), 4, "namespace");

    assert_eq!(board.sign(&id, "cora")["state"], "done");
    let status = board.demo.ca_json(&["status"]);
    assert_eq!((&status["policy"]["version"], &status["policy"]["officers"]), (&2.into(), &serde_json::json!(["ana", "cora"])));
    check_refused("the same again", &board.sign_with(&id, &board.key("bela")), 4, "nothing to sign");
    check_refused("replayed", &board.demo.ca(&["approve", "submit", &id, &signature]), 4, "one approval allows one act");
    let trail = board.trail();
    assert!(trail.contains("policy.put") && trail.contains("approval.submit") && trail.contains("none of the officers"), "{trail}");

    // Clients are told without a restart.
    let directory = || {
        let url = board.demo.fact("ACME_DIRECTORY").to_owned();
        let fetched = Command::new("curl").args(["-sf", "--cacert", board.demo.fact("CA_BUNDLE"), &url]).output().expect("curl runs");
        String::from_utf8_lossy(&fetched.stdout).into_owned()
    };
    wait_for("the directory to offer the new policy", || directory().contains("live 90 s"));

    board.demo.stop();
    board.demo.launch(&[]);
    assert_eq!(board.demo.ca_json(&["status"])["policy"]["version"], 2, "the next start verifies it");
}

#[test]
fn officers_come_and_go_by_their_own_signatures() {
    let mut board = Board::start();
    let pending = board.propose(&["policy", "propose", &edited_policy(&board, 2)]);
    board.sign(&pending, "bela");

    let dora = board.new_key("dora");
    let public = format!("{}.pub", dora.display());
    let enrol = board.propose(&["officer", "enrol", "dora", "--key", &public]);
    let shown = expect_success("ca approve show", &board.demo.ca(&["approve", "show", &enrol]));
    assert!(shown.contains("+ dora SHA256:") && shown.contains("2 of 4 must sign"), "{shown}");
    check_refused("dora for herself", &board.sign_with(&enrol, &dora), 4, "none of the officers");
    board.approve(&enrol);
    let remove = board.propose(&["officer", "remove", "bela"]);
    board.approve(&remove);
    let listed = board.demo.ca_json(&["officer", "list"]);
    let names: Vec<_> = listed["officers"].as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
    assert_eq!((names, &listed["number"]), (vec!["ana", "cora", "dora"], &2.into()));
    assert_eq!(board.demo.ca(&["officer", "threshold", "4"]).status.code(), Some(1), "it can't be met");
    assert_eq!(board.demo.ca(&["officer", "remove", "bela"]).status.code(), Some(1));

    // What bela signed is void, and bela signs nothing more.
    check_refused("a void proposal", &board.sign_with(&pending, &board.key("cora")), 4, "nothing to sign");
    let again = board.propose(&["policy", "propose", &edited_policy(&board, 2)]);
    check_refused("a removed officer", &board.sign_with(&again, &board.key("bela")), 4, "none of the officers");
    assert_eq!(board.sign(&again, "ana")["state"], "pending");
    expect_success("dora signs", &board.sign_with(&again, &dora));
    assert_eq!(board.demo.ca_json(&["status"])["policy"]["version"], 2);

    board.demo.stop();
    // The chain is verified from the first roster on.
    let run = |board: &Board| board.demo.ca(&["serve"]);
    board.sql("CREATE TABLE kept AS SELECT * FROM roster_changes");
    for edit in [
        "UPDATE roster_changes SET document = replace(document, 'name = \\\"cora\\\"', 'name = \\\"carl\\\"') WHERE number = 1",
        "DELETE FROM roster_changes WHERE number = 1",
        // Bela is back: and the policy that dora signed has no quorum.
        "DELETE FROM roster_changes",
    ] {
        let changed = board.sql(&format!("{edit}; SELECT changes();"));
        assert_ne!(changed.trim(), "0", "{edit}");
        check_refused(edit, &run(&board), 4, "refused");
        board.sql("DELETE FROM roster_changes; INSERT INTO roster_changes SELECT * FROM kept");
    }
    board.sql("DROP TABLE kept");
    board.demo.launch(&[]);
    assert_eq!(board.demo.ca_json(&["officer", "list"])["number"], 2);
}

#[test]
fn holds_stops_and_revocations_of_many() {
    let board = Board::start();
    let demo = &board.demo;
    let name = demo.fact("DEMO_NAME").to_owned();
    let (account, issued) = block_on(async {
        let account = demo.account().await;
        let mut issued = Vec::new();
        for _ in 0..4 {
            issued.push(demo.issue(&account, &name).await.expect("a certificate"));
        }
        (account, issued)
    });

    // Hold: one operator. Un-hold: the officers.
    let serial = issued[0].serial.as_str();
    expect_success("ca cert hold", &demo.ca(&["cert", "hold", serial]));
    wait_for("OCSP to say revoked", || demo.ocsp(&issued[0].path) == "revoked");
    wait_for("the CRL to list it", || demo.crl_serials().iter().any(|s| s == serial));
    let unhold = board.propose(&["cert", "unhold", serial]);
    board.approve(&unhold);
    wait_for("OCSP to say good", || demo.ocsp(&issued[0].path) == "good");
    wait_for("the CRL to drop it", || demo.crl_serials().is_empty());

    // Stop: one operator. Resume: the officers.
    check_refused("no confirmation", &demo.ca(&["stop", "--reason", "drill"]), 2, "--yes");
    expect_success("ca stop", &demo.ca(&["stop", "--reason", "drill", "--yes"]));
    assert!(expect_success("ca status", &demo.ca(&["status"])).contains("STOPPED"));
    let resume = board.propose(&["resume"]);
    let waiting = block_on(async {
        let identifiers = [instant_acme::Identifier::Dns(name.clone())];
        let mut order = account.new_order(&instant_acme::NewOrder::new(&identifiers)).await.expect("an order");
        order.finalize().await.expect("it waits");
        order.url().to_owned()
    });
    let released = || demo.certificates().iter().filter(|c| c["state"] == "released" && !c["order"].is_null()).count();
    assert_eq!(released(), 4, "nothing is issued");
    board.approve(&resume);
    wait_for("the order to be served", || released() == 5);
    assert!(waiting.contains("/order/"), "{waiting}");

    // Many: one operator up to the policy's count, officers above it.
    let list = demo.path("serials");
    std::fs::write(&list, format!("{}\n{}\n", issued[0].serial, issued[1].serial)).unwrap();
    let listed = list.display().to_string();
    let revoked = demo.ca_json(&["cert", "revoke-bulk", "--list", &listed, "--reason", "superseded", "--yes"]);
    assert_eq!(revoked["revoked"], 2, "{revoked}");
    let grant = demo.fact("EAB_KID").to_owned();
    let bulk = board.propose(&["cert", "revoke-bulk", "--grant", &grant, "--reason", "keyCompromise", "--propose"]);
    let shown = expect_success("ca approve show", &demo.ca(&["approve", "show", &bulk]));
    assert!(shown.contains("revoke 3 certificates of demo (keyCompromise): grant"), "{shown}");
    board.approve(&bulk);
    for one in &issued {
        wait_for("OCSP to say revoked", || demo.ocsp(&one.path) == "revoked");
    }
    wait_for("the CRL to list them", || demo.crl_serials().len() == 5);

    // The CA itself.
    let ca = board.propose(&["cert", "revoke-ca", "demo", "--reason", "caCompromise"]);
    board.approve(&ca);
    let on_list = demo.ca_json(&["crl", "revoked-cas"]);
    assert_eq!((on_list[0]["authority"].as_str(), on_list[0]["reason"].as_str()), (Some("demo"), Some("caCompromise")), "{on_list}");
    assert_eq!(on_list[0]["signatures"].as_array().map(Vec::len), Some(2), "with the evidence");
    assert!(block_on(demo.issue(&account, &name)).is_err(), "it issues no more");
}

#[test]
fn an_edited_proposal_or_a_forged_approval_changes_nothing() {
    let mut board = Board::start();
    let id = board.propose(&["policy", "propose", &edited_policy(&board, 2)]);
    board.sign(&id, "ana");
    let unchanged = |board: &Board, what: &str, output: &Output, says: &str| {
        check_refused(what, output, 4, says);
        assert_eq!(board.demo.ca_json(&["status"])["policy"]["version"], 1, "{what}");
        let trail = board.trail();
        let refusal = trail.lines().rev().find(|l| l.contains("approval.submit")).unwrap_or_default();
        assert!(refusal.contains("refused") && refusal.contains(says), "{what} is on record: {refusal}");
    };
    let signature = |board: &Board| {
        let out = board.demo.path("").display().to_string();
        let _ = std::fs::remove_file(board.demo.path(&format!("{id}.cora.sig")));
        let key = board.key("cora").display().to_string();
        expect_success("ca approve sign", &board.demo.ca(&["approve", "sign", &id, "--key", &key, "--dir", &out]));
        board.demo.path(&format!("{id}.cora.sig")).display().to_string()
    };
    let good = signature(&board);
    let submit = |board: &Board| board.demo.ca(&["approve", "submit", &id, &good]);
    let edit = |board: &mut Board, sql: &str| {
        board.demo.stop();
        assert_ne!(board.sql(&format!("{sql}; SELECT changes();")).trim(), "0", "{sql}");
        board.demo.launch(&[]);
    };

    edit(&mut board, "UPDATE proposals SET subject = replace(subject, 'lifetime = 90', 'lifetime = 9000000')");
    let shown = expect_success("ca approve show", &board.demo.ca(&["approve", "show", &id]));
    assert!(shown.contains("Do not sign"), "{shown}");
    check_refused("signing an edited policy", &board.sign_with(&id, &board.key("bela")), 4, "not what was proposed");
    unchanged(&board, "an edited policy", &submit(&board), "not what was proposed");
    edit(&mut board, "UPDATE proposals SET subject = replace(subject, 'lifetime = 9000000', 'lifetime = 90')");
    edit(&mut board, "UPDATE proposals SET statement = replace(statement, '\"version\": 2', '\"version\": 9')");
    unchanged(&board, "an edited statement", &submit(&board), "not what was proposed");
    edit(&mut board, "UPDATE proposals SET statement = replace(statement, '\"version\": 9', '\"version\": 2')");
    // A row that says bela signed, and one that says that it is approved and done.
    edit(&mut board, "INSERT INTO approvals SELECT proposal, 'bela', signature, at FROM approvals");
    let view = board.demo.ca_json(&["approve", "show", &id]);
    assert_eq!(view["signed_by"], serde_json::json!(["ana"]), "{view}");
    edit(&mut board, "UPDATE proposals SET state = 'begun'");
    wait_for("the act to be ended", || board.demo.ca_json(&["approve", "show", &id])["state"] == "ended");
    assert_eq!(board.demo.ca_json(&["status"])["policy"]["version"], 1);
    unchanged(&board, "one that has ended", &submit(&board), "one approval allows one act");
}

#[test]
fn an_older_copy_knows_neither_the_officers_nor_the_stop_nor_what_was_spent() {
    let mut board = Board::start();
    let account = block_on(board.demo.account());
    let name = board.demo.fact("DEMO_NAME").to_owned();
    let issued = block_on(board.demo.issue(&account, &name)).expect("a certificate");
    expect_success("ca cert hold", &board.demo.ca(&["cert", "hold", &issued.serial]));
    // Signed once, before the copy: it is spent after it.
    let unhold = board.propose(&["cert", "unhold", &issued.serial]);
    board.sign(&unhold, "ana");
    board.demo.stop();
    let older = copy_out(&board.demo, "older");
    board.demo.launch(&[]);

    assert_eq!(board.sign(&unhold, "bela")["state"], "done");
    expect_success("ca cert hold", &board.demo.ca(&["cert", "hold", &issued.serial]));
    let policy = board.propose(&["policy", "propose", &edited_policy(&board, 2)]);
    board.approve(&policy);
    let dora = board.new_key("dora");
    let enrol = board.propose(&["officer", "enrol", "dora", "--key", &format!("{}.pub", dora.display())]);
    board.approve(&enrol);
    let remove = board.propose(&["officer", "remove", "bela"]);
    board.approve(&remove);
    expect_success("ca stop", &board.demo.ca(&["stop", "--reason", "drill", "--yes"]));
    // The copies that the officers keep.
    let keep = |what: &[&str], name: &str| {
        let file = board.demo.path(name);
        std::fs::write(&file, expect_success("a copy", &board.demo.ca(what))).unwrap();
        file.display().to_string()
    };
    let roster = keep(&["officer", "list", "--json"], "officers.json");
    let policy = keep(&["policy", "show", "--json"], "policy.json");
    board.demo.stop();

    copy_in(&board.demo, &older);
    check_refused("an older copy", &board.demo.ca(&["serve"]), 4, "hint:");
    // The newest database is lost. The officers who stand now accept the older one; bela is none of them.
    let statement = board.demo.path("restore.json");
    let shown = statement.display().to_string();
    let write = ["anchor", "statement", "--restore", &shown];
    check_refused("without the roster", &board.demo.ca(&write), 4, "ca officer import");
    // Someone's idea of the officers is not the chain.
    let forged = board.demo.path("forged.json").display().to_string();
    std::fs::write(&forged, std::fs::read_to_string(&roster).unwrap().replace("name = \\\\\\\"dora", "name = \\\\\\\"mallory")).unwrap();
    assert_ne!(std::fs::read_to_string(&forged).unwrap(), std::fs::read_to_string(&roster).unwrap());
    check_refused("a forged roster", &board.demo.ca(&["officer", "import", &forged]), 4, "not the one that the officers signed");
    expect_success("ca officer import", &board.demo.ca(&["officer", "import", &roster]));
    expect_success("ca policy import", &board.demo.ca(&["policy", "import", &policy]));
    expect_success("ca anchor statement", &board.demo.ca(&write));
    let sign = |key: &std::path::Path, name: &str| {
        let signed = Command::new("ssh-keygen")
            .args(["-q", "-Y", "sign", "-n", "rehearsal@countersign", "-f"])
            .arg(key)
            .stdin(std::fs::File::open(&statement).unwrap())
            .output()
            .expect("ssh-keygen runs");
        let file = board.demo.path(name);
        std::fs::write(&file, expect_success("ssh-keygen -Y sign", &signed)).unwrap();
        file.display().to_string()
    };
    let (ana, bela, dora) = (sign(&board.key("ana"), "a.sig"), sign(&board.key("bela"), "b.sig"), sign(&dora, "d.sig"));
    let accept = |by: &str| board.demo.ca(&["anchor", "accept-restore", &shown, "--yes", "--signature", &ana, "--signature", by]);
    check_refused("a removed officer", &accept(&bela), 4, "none of the officers");
    expect_success("ca anchor accept-restore", &accept(&dora));

    board.demo.launch(&[]);
    let status = board.demo.ca_json(&["status"]);
    assert_eq!((&status["policy"]["version"], &status["stopped"]), (&2.into(), &true.into()), "neither goes back: {status}");
    assert_eq!(board.demo.ca_json(&["officer", "list"])["number"], 2);
    // The copy has the un-hold pending with ana's signature; it stands on what is gone, and it is spent.
    check_refused("a spent approval", &board.sign_with(&unhold, &board.key("cora")), 4, "void");
    assert_eq!(board.demo.ocsp(&issued.path), "revoked");
}
