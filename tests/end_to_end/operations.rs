//! What operators do, and what they are told when it is wrong: cause, remedy, exit code, nothing changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{Demo, block_on, check_refused, expect_success, free_port, program, wait_for};

fn ca(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ca"))
        .arg("--config")
        .arg(config)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("ca runs")
}

fn keygen(file: &Path, arguments: &[&str]) {
    let output =
        Command::new("ssh-keygen").args(["-q", "-f"]).arg(file).args(arguments).output().expect("ssh-keygen runs (package openssh-client)");
    expect_success("ssh-keygen", &output);
}

#[test]
fn statements_need_an_operator_of_the_policy_and_its_bounds() {
    let demo = Demo::start();
    let before = demo.ca_json(&["grant", "list"]).as_array().expect("a list").len();

    let stranger = demo.path("stranger");
    keygen(&stranger, &["-t", "ed25519", "-N", ""]);
    let create = ["grant", "create", "--service", "x", "--name", "demo.test"];
    let key = stranger.display().to_string();
    check_refused("another key", &demo.ca(&[&create[..], &["--operator-key", &key]].concat()), 4, "no operator key");
    check_refused("a name outside", &demo.ca(&["grant", "create", "--service", "x", "--name", "bank.example"]), 4, "not inside the policy");
    check_refused("a profile outside", &demo.ca(&[&create[..], &["--profile", "root"]].concat()), 4, "does not offer");
    check_refused("no confirmation", &demo.ca(&["grant", "revoke", demo.fact("EAB_KID")]), 2, "--yes");
    check_refused("a serial of nobody", &demo.ca(&["cert", "revoke", "0123", "--yes"]), 1, "ever issued");
    assert_eq!(demo.ca_json(&["grant", "list"]).as_array().expect("a list").len(), before, "nothing was changed");
    let trail = String::from_utf8(demo.ca(&["audit", "tail", "-n", "50"]).stdout).expect("text");
    assert!(trail.contains("REFUSED: no operator key"), "refusals are on record: {trail}");

    let created = demo.ca_json(&create);
    let kid = created["kid"].as_str().expect("a kid").to_owned();
    assert!(created["hmac_key"].as_str().is_some_and(|k| k.len() == 43 && !k.starts_with('-')), "{created}");
    expect_success("ca grant revoke", &demo.ca(&["grant", "revoke", &kid, "--yes"]));
    let listed = demo.ca_json(&["grant", "list"]);
    assert!(listed.as_array().expect("a list").iter().any(|g| g["id"] == kid.as_str() && g["status"] == "revoked"), "{listed}");
}

#[test]
fn an_encrypted_operator_key_signs_through_ssh_keygen() {
    let demo = Demo::start();
    let key = demo.path("encrypted");
    std::fs::copy(demo.var().join("rehearsal/operator"), &key).unwrap();
    keygen(&key, &["-p", "-P", "", "-N", "correct horse"]);
    let ask = demo.path("askpass");
    program(&ask, "#!/bin/sh\necho correct horse\n");
    let output = Command::new(env!("CARGO_BIN_EXE_ca"))
        .args(["--config", demo.fact("CA_CONFIG"), "crl", "publish", "--json", "--operator-key"])
        .arg(&key)
        .env("SSH_ASKPASS", &ask)
        .env("SSH_ASKPASS_REQUIRE", "force")
        .output()
        .expect("ca runs");
    let printed = expect_success("ca crl publish", &output);
    assert!(printed.contains("\"number\""), "{printed}");
}

#[test]
fn one_process_owns_the_store_and_ports_stay() {
    let mut demo = Demo::start();
    let config = PathBuf::from(demo.fact("CA_CONFIG"));
    let bundle = demo.var().join("rehearsal/bundle").display().to_string();
    check_refused("import while serving", &ca(&config, &["import", &bundle]), 5, "in use");
    check_refused("a second instance", &ca(&config, &["serve"]), 5, "another process");
    demo.stop();
    check_refused("no instance", &ca(&config, &["status"]), 5, "ca serve");
    let var = demo.var().display().to_string();
    check_refused("another port", &ca(&config, &["demo", "--dir", &var, "--status-port", "1"]), 2, "--status-port");
    expect_success("importing the same again", &ca(&config, &["import", &bundle]));
    demo.launch(&[]);
}

#[test]
fn wrong_keys_bundles_and_policies_stop_the_start() {
    let mut demo = Demo::start();
    let config = PathBuf::from(demo.fact("CA_CONFIG"));
    demo.stop();
    expect_success("ca config check", &ca(&config, &["config", "check"]));

    // The wrong secret for the authority keys.
    let (right, other) = (demo.var().join("keys/authority.key"), demo.var().join("keys/service.key"));
    let kept = std::fs::read(&right).unwrap();
    std::fs::write(&right, std::fs::read(other).unwrap()).unwrap();
    check_refused("a wrong file key", &ca(&config, &["serve"]), 3, "unseal");
    assert_eq!(ca(&config, &["config", "check"]).status.code(), Some(3));
    std::fs::write(&right, kept).unwrap();

    // One byte of the signed plan.
    let bundle = demo.path("bundle");
    expect_success("cp", &Command::new("cp").arg("-r").arg(demo.var().join("rehearsal/bundle")).arg(&bundle).output().unwrap());
    let plan = bundle.join("plan.toml");
    let text = std::fs::read_to_string(&plan).unwrap();
    std::fs::write(&plan, text.replacen("Rehearsal of", "Rehearsal Of", 1)).unwrap();
    check_refused("a changed plan", &ca(&config, &["import", &bundle.display().to_string()]), 4, "refused");

    // The stored policy, widened by someone who edits the database.
    let database = demo.var().join("ca.db");
    let sql = |text: &str| {
        expect_success("sqlite3", &Command::new("sqlite3").arg(&database).arg(text).output().expect("sqlite3 runs (package sqlite3)"))
    };
    let changed = sql("UPDATE policies SET bundle = replace(bundle, 'dns:localhost', 'dns:evil.test'); SELECT changes();");
    assert_eq!(changed.trim(), "1");
    check_refused("an edited policy", &ca(&config, &["serve"]), 4, "refused");
    sql("UPDATE policies SET bundle = replace(bundle, 'dns:evil.test', 'dns:localhost');");
    demo.launch(&[]);
}

#[test]
fn the_officers_of_a_rehearsal_approve_an_edited_policy() {
    let mut demo = Demo::start();
    let config = PathBuf::from(demo.fact("CA_CONFIG"));
    assert_eq!(demo.ca_json(&["status"])["policy"]["version"], 1);
    let edited = demo.path("policy.toml");
    let text = std::fs::read_to_string(demo.var().join("rehearsal/bundle/policy.toml")).unwrap();
    std::fs::write(&edited, text.replacen("version = 1", "version = 2", 1).replacen("lifetime = 60", "lifetime = 90", 1)).unwrap();
    let approve = ["rehearsal", "approve", &edited.display().to_string()].map(str::to_owned);
    let approve: Vec<&str> = approve.iter().map(String::as_str).collect();
    check_refused("while serving", &ca(&config, &approve), 5, "in use");
    demo.stop();
    expect_success("ca rehearsal approve", &ca(&config, &approve));
    check_refused("the same version again", &ca(&config, &approve), 4, "version");
    demo.launch(&[]);
    assert_eq!(demo.ca_json(&["status"])["policy"]["version"], 2);
}

#[test]
fn one_page_tells_the_numbers_of_worker_acme_server_and_responder() {
    let mut demo = Demo::start();
    demo.stop();
    let port = free_port();
    let config = demo.var().join("ca.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\n[metrics]\nlisten = [\"127.0.0.1:{port}\"]\n")).unwrap();
    demo.launch(&[]);
    block_on(async {
        let account = demo.account().await;
        demo.issue(&account, demo.fact("DEMO_NAME")).await.expect("a certificate");
    });
    let expected = [
        "countersign_certificates{authority=\"demo\",state=\"released\"} 3",
        "countersign_keys_usable 1",
        "countersign_record_sound 1",
        "countersign_issuance_stopped 0",
        "countersign_worker_queue_requests 0",
        "countersign_jobs_failing 0",
        "countersign_acme_steps_total{step=\"download\"} 1",
        "countersign_store_up 1",
        "countersign_status_ready 1",
    ];
    // Gauges tell the moment: the last job of the start may still be under way.
    let mut page = String::new();
    wait_for("the page to tell this", || {
        let got = Command::new("curl").args(["-sf", &format!("http://127.0.0.1:{port}/metrics")]).output().expect("curl runs");
        page = String::from_utf8_lossy(&got.stdout).into_owned();
        let missing: Vec<_> = expected.iter().filter(|expected| !page.lines().any(|line| line == **expected)).collect();
        println!("not there yet: {missing:?}");
        missing.is_empty()
    });
    for begun in [
        "countersign_signature_seconds_count{key=",
        "countersign_crl_published_validity_seconds{authority=\"demo\"}",
        "countersign_authority_validity_seconds{authority=\"demo-root\"}",
        "countersign_own_certificate_validity_seconds{authority=\"demo\",name=\"ocsp\"}",
    ] {
        assert!(page.contains(begun), "{begun}\n{page}");
    }
    let names: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut distinct = names.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), names.len(), "no metric stands twice: {names:?}");
}
