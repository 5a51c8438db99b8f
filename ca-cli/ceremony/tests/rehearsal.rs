//! Rehearsals, and the commands as a person gives them.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use ca_ceremony::{
    PLAN_TEMPLATE, Rehearsal, RehearsalOptions, SystemClock, SystemMachine, SystemRng, approve_policy_rehearsal, rehearse, verify,
};
use ca_core::ceremony::{CeremonyKind, Plan, spoken};
use ca_core::pki::{Certificate, KeyAlgorithm, Sha256Digest, key_algorithm, sha256};
use ca_core::policy::{OwnCertificate, ProfilePolicy};
use ca_core::ports::Clock as _;
use ca_core::profile::LeafShape;
use ca_keystore::{SoftwareKeyStore, Unsealer};
use common::{ANY_MACHINE, Ceremony, text};
use zeroize::Zeroizing;

async fn rehearsed(dir: &Path) -> Rehearsal {
    rehearsed_with(dir, KeyAlgorithm::P256).await
}

async fn rehearsed_with(dir: &Path, algorithm: KeyAlgorithm) -> Rehearsal {
    let keys = |name: &str| Arc::new(SoftwareKeyStore::open(dir.join(name), Unsealer::FileKey(Zeroizing::new([7; 32]))).unwrap());
    let client = ProfilePolicy::new(LeafShape::Client, 2_592_000);
    let own =
        OwnCertificate { name: "ocsp".to_owned(), shape: "ocsp".to_owned(), names: vec![], key_sha256: sha256(b"ocsp"), lifetime: 604_800 };
    rehearse(RehearsalOptions {
        dir: dir.join("rehearsal"),
        root_keys: keys("root"),
        online_keys: keys("online"),
        machine: Arc::new(SystemMachine::default()),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        organization: "Demo".to_owned(),
        authority: "demo".parse().unwrap(),
        algorithm,
        status_base_url: "http://127.0.0.1:14002".to_owned(),
        permitted: vec!["dns:demo.test".parse().unwrap(), "ip:127.0.0.0/8".parse().unwrap()],
        names: vec!["dns:*.demo.test".parse().unwrap()],
        attestation_roots: Vec::new(),
        profiles: BTreeMap::from([("client".to_owned(), client)]),
        challenge_zones: Vec::new(),
        open_enrolment: None,
        own: vec![own],
        max_per_hour: 1000,
        crl_validity: 3600,
        crl_interval: 600,
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_rehearsal_goes_the_same_way_and_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let first = rehearsed(dir.path()).await;
    assert_eq!(first.verified.roster.kind, CeremonyKind::Rehearsal);
    for authority in &first.verified.authorities {
        let subject = Certificate::from_der(&authority.certificate).unwrap().subject_text().to_owned();
        assert!(subject.contains("CN=REHEARSAL Demo"), "{subject}");
    }
    assert_eq!(first.verified.policy.as_ref().unwrap().operators[0].name, first.operator);
    let public = std::fs::read_to_string(first.operator_key.with_extension("pub")).unwrap();
    assert_eq!(first.verified.policy.as_ref().unwrap().operators[0].key, public.trim());
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&first.operator_key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Again: found done, the very same.
    assert_eq!(rehearsed(dir.path()).await.verified.transcript_head, first.verified.transcript_head);
    assert_eq!(verify(&first.bundle, Some(&first.verified.roster)).unwrap().plan_sha256, first.verified.plan_sha256);
}

#[tokio::test]
async fn a_post_quantum_hierarchy_is_rehearsed_and_verified() {
    for algorithm in [KeyAlgorithm::MlDsa65, KeyAlgorithm::MlDsa87] {
        let dir = tempfile::tempdir().unwrap();
        let made = rehearsed_with(dir.path(), algorithm).await;
        let certificates = made.verified.authorities.iter().map(|a| Certificate::from_der(&a.certificate).unwrap());
        let [root, issuing]: [Certificate; 2] = certificates.collect::<Vec<_>>().try_into().unwrap();
        for certificate in [&root, &issuing] {
            assert_eq!(key_algorithm(certificate.public_key()), Ok(algorithm));
            assert_eq!(certificate.signature_algorithm(), algorithm.signature_algorithm());
            assert_eq!(certificate.is_signed_by(&root), Ok(()));
        }
        // A third party verifies it offline, and the papers say what such keys are.
        let marked = format!("{algorithm} (post-quantum, software only)");
        for (command, of, is_marked) in
            [("verify", "rehearsal/bundle", false), ("script", "rehearsal/plan.toml", true), ("report", "rehearsal/bundle", true)]
        {
            let output = tool(dir.path(), &[command, of]);
            assert!(output.status.success(), "{command}: {}", text(&output));
            assert!(!is_marked || text(&output).contains(&marked), "{command}: {}", text(&output));
        }
    }
}

#[tokio::test]
async fn an_edited_policy_is_approved_when_its_version_grows() {
    let dir = tempfile::tempdir().unwrap();
    let rehearsal = rehearsed(dir.path()).await;
    let folder = dir.path().join("rehearsal");
    let policy = rehearsal.verified.policy_bundle.as_ref().unwrap().policy.clone();
    let approve = |text: &str| approve_policy_rehearsal(&folder, text, &SystemClock, &SystemRng);
    #[track_caller]
    fn check(result: Result<ca_core::ceremony::PolicyBundle, ca_ceremony::Error>, part: &str) {
        let error = result.unwrap_err();
        assert!(error.to_string().contains(part) && error.exit_code() == 4, "{error}");
    }
    check(approve(&policy), "raise `version`");
    let edited = policy.replace("version = 1", "version = 2").replace("max_per_hour = 1000", "max_per_hour = 5");
    let bundle = approve(&edited).unwrap();
    let (approved, people) = bundle.verify(&rehearsal.verified.roster).unwrap();
    assert_eq!((approved.version, approved.authorities[0].max_per_hour, people.len()), (2, 5, 2));
    check(approve(&edited), "raise `version`");
    let key = rehearsal.verified.policy.as_ref().unwrap().authorities[0].key_sha256.to_string();
    check(approve(&edited.replace("version = 2", "version = 3").replace(&key, &sha256(b"x").to_string())), "not this rehearsal's");
    check(approve(&edited.replace("version = 2", "version = 3\nunknown = 1")), "unknown field");
    // The officers of a production ceremony are people: nothing here signs for them.
    let production = Ceremony::new();
    production.complete().await;
    check(approve_policy_rehearsal(production.dir.path(), &edited, &SystemClock, &SystemRng), "not a rehearsal's plan");
}

#[test]
fn the_template_is_a_plan() {
    let plan = Plan::parse(PLAN_TEMPLATE).unwrap();
    assert_eq!((plan.kind(), plan.roster.threshold, plan.issuing.len()), (CeremonyKind::Production, 2, 1));
}

fn tool(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ca-ceremony")).args(args).current_dir(dir).output().unwrap()
}

#[test]
fn ceremony_31_what_is_signed_is_shown_decoded_and_the_approval_covers_its_hash() {
    let ceremony = Ceremony::for_binary("production", ANY_MACHINE);
    let dir = ceremony.dir.path();
    ceremony.secret_file("pass", "correct horse\n");
    let run = || ceremony.tool(&ceremony.run_args());
    let first = run();
    assert_eq!(first.status.code(), Some(5), "{}", text(&first));
    assert!(text(&first).contains("0 of 2 officers signed") && text(&first).contains("ssh-keygen -Y sign -n ceremony@countersign"));
    let shown = text(&tool(dir, &["show", "bundle"]));
    let digest = sha256(&std::fs::read(ceremony.plan()).unwrap());
    assert!(shown.contains(&digest.to_string()) && shown.contains("No statement is prepared yet"), "{shown}");

    ceremony.sign_plan(&["ana", "bela"]);
    assert_eq!(run().status.code(), Some(5));
    let time = SystemClock.now().to_rfc3339();
    for name in ["dora", "ana", "bela", "wim"] {
        let noted = tool(dir, &["note", "bundle", "attendance", name, "--own-clock", &time]);
        assert!(noted.status.success(), "{}", text(&noted));
        ceremony.sign(&dir.join(format!("bundle/records/attendance-{name}.json")), &format!("record-attendance-{name}"), name);
    }
    assert_eq!(run().status.code(), Some(5));
    let shown = text(&tool(dir, &["show", "bundle", "2-bank"]));
    for part in ["CN=Bank Issuing", "constrained to dns:bank.test", "nameConstraints", "agrees: the statement names exactly these bytes"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // What the statement names is the hash of the bytes that are shown, in hexadecimal and in words.
    let statement = std::fs::read(dir.join("bundle/statements/2-bank.json")).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&statement).unwrap();
    let tbs: Sha256Digest = value["operation"]["tbs_sha256"].as_str().unwrap().parse().unwrap();
    for digest in [tbs, sha256(&statement)] {
        assert!(shown.contains(&digest.to_string()), "{shown}");
        assert!(spoken(&digest).iter().all(|row| shown.contains(row)), "{shown}");
    }
    assert_eq!(text(&tool(dir, &["show", "bundle"])).matches("agrees:").count(), 4);
    assert_eq!(tool(dir, &["show", "bundle", "nothing"]).status.code(), Some(4));
    assert_eq!(tool(dir, &["verify", "bundle"]).status.code(), Some(4), "it is not closed");

    ceremony.sign_statements(&["ana", "bela"]);
    ceremony.secret_file("pass", "wrong horse\n");
    let wrong = run();
    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    assert!(text(&wrong).contains("wrong passphrase") && !text(&wrong).contains("horse"), "{}", text(&wrong));
    ceremony.secret_file("pass", "correct horse\n");
    for args in [&["bag", "root-keys", "TB-1"][..], &["media", "bundle-copy", "--file", "plan.toml"], &["custody", "ana", "--bag", "TB-1"]]
    {
        let noted = tool(dir, &[&["note", "bundle"], args].concat());
        assert!(noted.status.success(), "{}", text(&noted));
    }
    ceremony.sign(&dir.join("bundle/records/custody-ana.json"), "record-custody-ana", "ana");
    // The aborted run is an exception, and the ceremony stays open until people decided about it.
    let open = run();
    assert_eq!(open.status.code(), Some(5));
    assert!(text(&open).contains("STEP 6") && text(&open).contains("a run was aborted: cannot unseal"), "{}", text(&open));
    let list = text(&tool(dir, &["exception", "list", "bundle"]));
    let line = list.strip_prefix("line ").unwrap().split(' ').next().unwrap();
    let disposed = tool(dir, &["exception", "dispose", "bundle", line, "mistyped, nothing was used", "--by", "ana,wim"]);
    assert!(disposed.status.success(), "{}", text(&disposed));
    let last = run();
    assert_eq!(last.status.code(), Some(0), "{}", text(&last));
    let report = tool(dir, &["verify", "bundle", "--roster", "bundle/roster.toml", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    assert_eq!((&report["verified"], &report["roster_trusted"], &report["authorities"][1]), (&true.into(), &true.into(), &"bank".into()));
    assert_eq!(report["exceptions"][0]["by"], serde_json::json!(["ana", "wim"]));
    let printed = std::fs::read_to_string(dir.join("bundle/transcript.jsonl")).unwrap();
    assert!(!printed.contains("horse"));
}

#[test]
fn wrong_use_is_told_from_wrong_plans() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(tool(dir.path(), &["run"]).status.code(), Some(2));
    let missing = tool(dir.path(), &["verify", "nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing).contains("nowhere/transcript.jsonl"));
    assert_eq!(text(&tool(dir.path(), &["template"])).trim_end(), PLAN_TEMPLATE.trim_end());
}
