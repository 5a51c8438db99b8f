//! What surrounds a ceremony's acts: tool, devices, machine, people, evidence, exceptions.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use ca_ceremony::{RunOutcome, add_exception, dispose_exception, note, verify};
use ca_core::ceremony::{Duty, Fact, Role, Transcript, TranscriptEvent, spoken};
use ca_core::pki::{Certificate, Timestamp, sha256};
use ca_core::ports::{Clock as _, DeviceIdentity, DeviceKind, FirmwareVersion, KeyDevice as _, KeyStore as _};
use ca_testkit::OddDevice;
use common::{Ceremony, missing, owed, refused};

fn transcript(ceremony: &Ceremony) -> Transcript {
    Transcript::parse(&std::fs::read_to_string(ceremony.bundle().join("transcript.jsonl")).unwrap()).unwrap()
}

/// A ceremony whose plan is signed.
async fn opened() -> Ceremony {
    let ceremony = Ceremony::new();
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    ceremony
}

#[tokio::test]
async fn ceremony_02_the_plan_is_read_in_words_and_one_changed_byte_is_refused() {
    let ceremony = Ceremony::new();
    let plan = std::fs::read(ceremony.plan()).unwrap();
    let page = common::text(&ceremony.tool(&["run", "plan.toml", "--out", "bundle", "--root-keys", "r", "--online-keys", "o"]));
    let words = common::text(&ceremony.tool(&["words", "plan.toml"]));
    for row in spoken(&sha256(&plan)) {
        assert!(page.contains(&row) && words.contains(&row), "{row}:\n{page}\n{words}");
    }
    assert!(words.contains(&sha256(&plan).to_string()));
    ceremony.sign_plan(&["ana"]);
    assert_eq!(missing(ceremony.bare().await), [("plan.toml".to_owned(), vec!["ana".to_owned()])], "one officer is not enough");
    ceremony.sign_plan(&["bela"]);
    // Any byte: in a number, in a comment-like title, at the end.
    for at in [plan.len() / 4, plan.len() / 2, plan.len() - 2] {
        let mut bad = plan.clone();
        bad[at] = if bad[at] == b'1' { b'2' } else { b'1' };
        std::fs::write(ceremony.plan(), &bad).unwrap();
        assert!(ceremony.bare().await.is_err(), "byte {at} of the given plan");
        std::fs::write(ceremony.bundle().join("plan.toml"), &bad).unwrap();
        assert!(ceremony.bare().await.is_err(), "byte {at} of both");
        std::fs::write(ceremony.bundle().join("plan.toml"), &plan).unwrap();
        std::fs::write(ceremony.plan(), &plan).unwrap();
    }
    assert!(!ceremony.bundle().join("transcript.jsonl").exists(), "nothing was begun");
    owed(ceremony.bare().await);
}

#[tokio::test]
async fn ceremony_04_another_tool_aborts() {
    let ceremony = opened().await;
    *ceremony.machine.tool.lock().unwrap() = sha256(b"another build");
    let error = refused(ceremony.bare().await);
    assert!(error.contains("the running tool has SHA-256") && error.contains("the plan pins 1111"), "{error}");
    assert!(ceremony.keys("root-keys").list().await.unwrap().is_empty());
    // On record with the tool that it was, and as an exception.
    let lines = transcript(&ceremony);
    assert!(lines.events().any(|e| matches!(e, TranscriptEvent::Started { tool_sha256, .. } if *tool_sha256 == sha256(b"another build"))));
    assert!(lines.exceptions().any(|e| e.what.contains("the running tool")));
    *ceremony.machine.tool.lock().unwrap() = ca_core::pki::Sha256Digest([0x11; 32]);
    let verified = ceremony.complete().await;
    assert_eq!(verified.exceptions.len(), 1);
    // A rehearsal that pins its tool means it too.
    let rehearsal = Ceremony::of("rehearsal");
    missing(rehearsal.run().await);
    rehearsal.sign_plan(&["ana", "bela"]);
    *rehearsal.machine.tool.lock().unwrap() = sha256(b"another build");
    refused(rehearsal.bare().await);
}

#[tokio::test]
async fn ceremony_06_nothing_of_a_rehearsal_chains_to_or_counts_in_production() {
    let (production, rehearsal) = (Ceremony::new(), Ceremony::of("rehearsal"));
    let (real, exercise) = (production.complete().await, rehearsal.complete().await);
    let officers = |b: &ca_ceremony::VerifiedBundle| b.roster.officers.iter().map(|o| o.keys.clone()).collect::<Vec<_>>();
    assert_eq!(officers(&real), officers(&exercise), "the same people with the same keys: only the kind differs");
    let certificates = |b: &ca_ceremony::VerifiedBundle| -> Vec<Certificate> {
        b.authorities.iter().map(|a| Certificate::from_der(&a.certificate).unwrap()).collect()
    };
    // Each is marked, has another trust anchor, and no signature of the one verifies under the other.
    for marked in certificates(&exercise) {
        assert!(marked.subject_text().contains("CN=REHEARSAL "), "{}", marked.subject_text());
        for real in certificates(&real) {
            assert!(
                !real.subject_text().contains("REHEARSAL") && marked.is_signed_by(&real).is_err() && real.is_signed_by(&marked).is_err()
            );
        }
    }
    let (root, leaf) = (production.bundle().join("certs/bank-root.pem"), rehearsal.bundle().join("certs/bank.pem"));
    let openssl = std::process::Command::new("openssl")
        .args(["verify", "-attime", "1800000100", "-CAfile"])
        .args([&root, &leaf])
        .output()
        .expect("openssl is installed");
    assert!(!openssl.status.success(), "{}", common::text(&openssl));
    // Whoever trusts the production's roster takes neither the bundle nor its policy.
    let error = verify(&rehearsal.bundle(), Some(&real.roster)).unwrap_err().to_string();
    assert!(error.contains("not those of the trusted roster"), "{error}");
    let error = exercise.policy_bundle.unwrap().verify(&real.roster).unwrap_err().to_string();
    assert!(error.contains("rehearsal@countersign"), "{error}");
    // Nor does what was signed for it count when it is carried over: not on the plan, not under the transcript.
    let again = Ceremony::new();
    missing(again.bare().await);
    again.sign_in("rehearsal@countersign", &again.bundle().join("plan.toml"), "plan", "ana");
    assert!(refused(again.bare().await).contains("rehearsal@countersign"));
    production.sign_in("rehearsal@countersign", &production.bundle().join("transcript.jsonl"), "transcript", "ana");
    assert!(verify(&production.bundle(), None).unwrap_err().to_string().contains("rehearsal@countersign"));
    // And a plan cannot pass as the other kind.
    let posing = Ceremony::of("rehearsal");
    posing.edit_plan("kind = \"rehearsal\"", "kind = \"production\"");
    assert!(refused(posing.bare().await).contains("begin with `REHEARSAL `"));
}

impl Ceremony {
    fn yubihsm(&self, serial: &str, firmware: FirmwareVersion, deviations: &[&str]) -> Arc<OddDevice> {
        let (model, serial) = ("YubiHSM".to_owned(), serial.to_owned());
        let identity = DeviceIdentity { kind: DeviceKind::YubiHsm2, model, serial, firmware: Some(firmware) };
        // A folder of sealed files that says it is another device: what a plan checks is what a device says of itself.
        let mut device = OddDevice::new(self.keys("root-keys"));
        device.identity = Some(identity);
        device.deviations = Some(deviations.iter().map(|d| (*d).to_owned()).collect());
        Arc::new(device)
    }

    /// A plan for a YubiHSM, signed.
    async fn for_yubihsm() -> Self {
        let ceremony = Self::new();
        let serial = ceremony.keys("root-keys").identity().await.unwrap().serial;
        let pinned = "kind = \"yubi-hsm2\"\nserial = \"0007550000\"\nlowest_firmware = \"2.4.0\"";
        ceremony.edit_plan(&format!("kind = \"software\"\nserial = \"{serial}\""), pinned);
        missing(ceremony.run().await);
        ceremony.sign_plan(&["ana", "bela"]);
        ceremony
    }
}

const FIRMWARE: FirmwareVersion = FirmwareVersion(2, 4, 1);

#[tokio::test]
async fn a_plan_for_another_device_makes_nothing() {
    let ceremony = Ceremony::for_yubihsm().await;
    let online = || ceremony.keys("online-keys");
    let run = |root: Arc<OddDevice>| ceremony.with_devices(root, online(), None);
    for (device, part) in [
        (ceremony.yubihsm("0007559999", FIRMWARE, &[]), "serial number `0007559999`"),
        (ceremony.yubihsm("0007550000", FirmwareVersion(2, 3, 2), &[]), "none below 2.4.0"),
    ] {
        let error = refused(run(device).await);
        assert!(error.contains("device of the root keys") && error.contains(part), "{error}");
    }
    assert!(refused(ceremony.bare().await).contains("the plan pins YubiHsm2"), "a folder of files is no YubiHSM");
    assert!(ceremony.keys("root-keys").list().await.unwrap().is_empty());
    owed(run(ceremony.yubihsm("0007550000", FIRMWARE, &[])).await);
    // From here on it stays that one, whatever the plan would accept.
    let other = Ceremony::of("rehearsal");
    let plan = std::fs::read_to_string(other.plan()).unwrap();
    let pin = plan.split("[device.root]").nth(1).unwrap().split("\n\n").next().unwrap();
    other.edit_plan(pin, "");
    other.edit_plan("[device.root]", "");
    missing(other.run().await);
    other.sign_plan(&["ana", "bela"]);
    owed(other.bare().await);
    let error = refused(other.with_devices(other.yubihsm("1", FIRMWARE, &[]), other.keys("online-keys"), None).await);
    assert!(error.contains("this ceremony began with"), "{error}");
}

#[tokio::test]
async fn ceremony_17_a_device_that_is_not_as_freshly_reset_is_refused_where_the_plan_says_new() {
    let ceremony = Ceremony::for_yubihsm().await;
    let run = |deviations: &[&str]| {
        ceremony.with_devices(ceremony.yubihsm("0007550000", FIRMWARE, deviations), ceremony.keys("online-keys"), None)
    };
    for deviation in ["3 boots in its log since the reset", "a log entry that is not of this ceremony", "an authentication key 2"] {
        let error = refused(run(&[deviation]).await);
        assert!(error.contains("the plan says that it is new, and it is not") && error.contains(deviation), "{error}");
        assert!(ceremony.keys("root-keys").list().await.unwrap().is_empty());
    }
    owed(run(&[]).await);
    // What was there is on record, and verified again.
    let seen =
        transcript(&ceremony).events().filter(|e| matches!(e, TranscriptEvent::Device { deviations, .. } if deviations.is_empty())).count();
    assert_eq!(seen, 2);
}

#[tokio::test]
async fn ceremony_12_custodians_acknowledgements_are_stored_under_their_own_signature() {
    let ceremony = opened().await;
    ceremony.run().await.unwrap();
    ceremony.sign_statements(&["ana", "bela"]);
    let duties = owed(ceremony.bare().await);
    assert!(duties.contains(&Duty::Acknowledge { name: "ana".to_owned(), holds: "the root key store".to_owned() }), "{duties:?}");
    let custody = |name: &str| Fact::Custody { name: name.to_owned(), holds: "the root key store".to_owned(), bag: "TB-7".to_owned() };
    assert!(note(&ceremony.bundle(), custody("bela"), None, ceremony.clock.as_ref()).unwrap_err().to_string().contains("no such custody"));
    note(&ceremony.bundle(), custody("ana"), None, ceremony.clock.as_ref()).unwrap();
    let rest: Vec<Duty> = duties.into_iter().filter(|d| matches!(d, Duty::Bag { .. } | Duty::Media { .. })).collect();
    ceremony.fulfil(&rest);
    let sign = Duty::Sign { record: "custody-ana".to_owned(), who: "ana".to_owned() };
    assert_eq!(owed(ceremony.bare().await), [sign], "unsigned it is nobody's word");
    // Nobody signs for somebody else.
    let file = ceremony.bundle().join("records/custody-ana.json");
    ceremony.sign(&file, "record-custody-ana", "bela");
    let error = refused(ceremony.bare().await);
    assert!(error.contains("is the word of `ana`"), "{error}");
    std::fs::remove_file(ceremony.bundle().join("sigs/record-custody-ana.bela.sig")).unwrap();
    ceremony.sign(&file, "record-custody-ana", "ana");
    ceremony.complete().await;
    assert!(std::fs::read_to_string(&file).unwrap().contains("TB-7"));
    // It belongs to the bundle: without it, or with another number, nothing verifies.
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("TB-7", "TB-8")).unwrap();
    assert!(verify(&ceremony.bundle(), None).unwrap_err().to_string().contains("custody-ana.json"));
}

#[tokio::test]
async fn ceremony_14_two_people_confirm_the_clock_and_a_jump_is_logged() {
    let ceremony = opened().await;
    owed(ceremony.bare().await);
    let (bundle, clock) = (ceremony.bundle(), ceremony.clock.as_ref());
    let attend = |name: &str, role, own_clock: Option<Timestamp>| {
        note(&bundle, Fact::Attendance { name: name.to_owned(), role, own_clock }, None, clock)
    };
    let wrong = attend("dora", Role::Administrator, Some(clock.now().plus(Duration::from_secs(3600)))).unwrap_err().to_string();
    assert!(wrong.contains("3600 seconds apart"), "{wrong}");
    attend("dora", Role::Administrator, Some(clock.now())).unwrap();
    for (name, role) in [("ana", Role::Officer), ("bela", Role::Officer), ("wim", Role::Witness)] {
        attend(name, role, None).unwrap();
    }
    assert!(owed(ceremony.bare().await).contains(&Duty::ConfirmClock { missing: 1 }), "one person is not two");
    let fact = Fact::Attendance { name: "wim".to_owned(), role: Role::Witness, own_clock: Some(clock.now()) };
    note(&bundle, fact, Some("the watch was forgotten"), clock).unwrap();
    assert!(!owed(ceremony.bare().await).iter().any(|d| matches!(d, Duty::ConfirmClock { .. })));
    ceremony.run().await.unwrap();

    // The wall clock jumps by an hour, and the monotonic one does not.
    clock.advance(Duration::from_secs(3600));
    ceremony.machine.facts.lock().unwrap().boot = "boot-2".to_owned();
    let jumps =
        || transcript(&ceremony).exceptions().filter(|e| e.what.contains("the clock")).map(|e| e.what.to_owned()).collect::<Vec<_>>();
    ceremony.run().await.unwrap();
    assert_eq!(jumps().len(), 0, "another boot counts from zero");
    clock.advance(Duration::from_secs(3600));
    ceremony.machine.facts.lock().unwrap().boot = "boot-3".to_owned();
    ceremony.run().await.unwrap();
    clock.set(clock.now().minus(Duration::from_secs(60)));
    ceremony.run().await.unwrap();
    assert!(jumps()[0].contains("went back by 60 seconds"), "{:?}", jumps());
    // Within one boot: half an hour more on the wall than the monotonic clock counted.
    let before = jumps().len();
    ceremony.machine.facts.lock().unwrap().uptime = 10_000;
    ceremony.run().await.unwrap();
    assert!(jumps().len() == before + 1 && jumps()[before].contains("jumped by 10000 seconds"), "{:?}", jumps());
    ceremony.sign_statements(&["ana", "bela"]);
    assert_eq!(ceremony.complete().await.exceptions.len(), before + 2, "and the attendance that was written again");
}

#[tokio::test]
async fn ceremony_36_bags_media_and_attendance_are_mandatory() {
    let ceremony = opened().await;
    let duties = owed(ceremony.bare().await);
    let attend = |role, missing, of: &[&str]| Duty::Attend { role, missing, of: of.iter().map(|n| (*n).to_owned()).collect() };
    let expected =
        [attend(Role::Administrator, 1, &["dora"]), attend(Role::Officer, 2, &["ana", "bela", "cora"]), attend(Role::Witness, 1, &["wim"])];
    assert_eq!(duties, expected);
    assert!(ceremony.keys("root-keys").list().await.unwrap().is_empty(), "no key before everybody is there");
    ceremony.run().await.unwrap();
    ceremony.sign_statements(&["ana", "bela"]);
    let duties = owed(ceremony.bare().await);
    assert_eq!(duties.len(), 3, "{duties:?}");
    for without in 0..3 {
        let ceremony = opened().await;
        ceremony.run().await.unwrap();
        ceremony.sign_statements(&["ana", "bela"]);
        let mut duties = owed(ceremony.bare().await);
        let left = duties.remove(without);
        ceremony.fulfil(&duties);
        let again = owed(ceremony.bare().await);
        assert!(again.contains(&left) && !transcript(&ceremony).is_closed(), "{again:?}");
    }
    ceremony.complete().await;
    let again = Fact::Bag { what: "root-keys".to_owned(), id: "TB-2".to_owned() };
    let error = note(&ceremony.bundle(), again, Some("late"), ceremony.clock.as_ref()).unwrap_err().to_string();
    assert!(error.contains("the ceremony is closed"), "{error}");
}

#[tokio::test]
async fn ceremony_37_an_exception_without_disposition_keeps_the_ceremony_open() {
    let ceremony = opened().await;
    ceremony.run().await.unwrap();
    let (bundle, clock) = (ceremony.bundle(), ceremony.clock.as_ref());
    // Each kind: an interruption that people note, something written again, an aborted run.
    let noted = add_exception(&bundle, "fire alarm, the room was left for ten minutes", clock).unwrap();
    let bag = |id: &str| Fact::Bag { what: "root-keys".to_owned(), id: id.to_owned() };
    note(&bundle, bag("TB-1"), None, clock).unwrap();
    let error = note(&bundle, bag("TB-2"), None, clock).unwrap_err().to_string();
    assert!(error.contains("on record already") && error.contains("--again"), "{error}");
    note(&bundle, bag("TB-2"), Some("a digit was misread"), clock).unwrap();
    ceremony.sign(&ceremony.statements()[0].0, "1-root", "mallory");
    refused(ceremony.bare().await);
    std::fs::remove_file(bundle.join("sigs/1-root.mallory.sig")).unwrap();

    ceremony.sign_statements(&["ana", "bela"]);
    let lines: Vec<u64> = transcript(&ceremony).exceptions().map(|e| e.line).collect();
    assert_eq!((lines.len(), lines[0]), (3, noted));
    let duties = owed(ceremony.bare().await);
    let open: Vec<u64> = duties.iter().filter_map(|d| if let Duty::Dispose { line, .. } = d { Some(*line) } else { None }).collect();
    assert_eq!(open, lines);
    let rest: Vec<Duty> = duties.into_iter().filter(|d| !matches!(d, Duty::Dispose { .. })).collect();
    ceremony.fulfil(&rest);
    let dispose = |line: u64, by: &[&str]| {
        dispose_exception(&bundle, line, "harmless", &by.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), clock)
    };
    for (by, part) in [(&["ana"][..], "an officer and a witness"), (&["dora", "wim"], "an officer"), (&["cora", "wim"], "not in the room")]
    {
        let error = dispose(noted, by).unwrap_err().to_string();
        assert!(error.contains(part), "{by:?}: {error}");
    }
    assert!(dispose(1, &["ana", "wim"]).unwrap_err().to_string().contains("line 1 is no exception"));
    for (i, line) in lines.iter().enumerate() {
        let left = owed(ceremony.bare().await).into_iter().filter(|d| matches!(d, Duty::Dispose { .. })).count();
        assert_eq!(left, lines.len() - i);
        dispose(*line, &["ana", "wim"]).unwrap();
    }
    assert!(dispose(noted, &["ana", "wim"]).unwrap_err().to_string().contains("has one already"));
    ceremony.fulfil(&match ceremony.bare().await.unwrap() {
        RunOutcome::NeedsPeople(duties) => duties,
        _ => vec![],
    });
    let verified = ceremony.complete().await;
    assert_eq!(verified.exceptions.iter().map(|e| e.line).collect::<Vec<_>>(), lines);
    assert!(verified.exceptions.iter().all(|e| e.disposition == "harmless" && e.by == ["ana", "wim"]));
    assert!(verified.exceptions[1].what.contains("a digit was misread") && verified.exceptions[2].what.contains("a run was aborted"));
    assert!(std::fs::read_to_string(bundle.join("records/bag-root-keys_2.json")).unwrap().contains("TB-2"));
}

#[tokio::test]
async fn ceremony_34_the_transcript_is_chained_cosigned_and_verified_by_a_command() {
    let ceremony = Ceremony::for_binary("production", common::ANY_MACHINE);
    ceremony.secret_file("pass", "correct horse\n");
    ceremony.complete_by_binary();
    let verify = |args: &[&str]| ceremony.tool(&[&["verify", "bundle", "--roster", "bundle/roster.toml"], args].concat());
    let report = common::text(&verify(&[]));
    assert!(report.contains("co-signed by officers 2 (ana, bela), witnesses 1 (wim): enough"), "{report}");
    let transcript = std::fs::read(ceremony.bundle().join("transcript.jsonl")).unwrap();
    assert!(spoken(&sha256(&transcript)).iter().all(|row| report.contains(row)), "{report}");
    // One line less, one signature less.
    let sig = ceremony.bundle().join("sigs/transcript.wim.sig");
    std::fs::remove_file(&sig).unwrap();
    let report = common::text(&verify(&[]));
    assert!(report.contains("NOT ENOUGH"), "{report}");
    let strict = verify(&["--require-cosigned"]);
    assert_eq!(strict.status.code(), Some(4), "{}", common::text(&strict));
    ceremony.cosign(&["wim"]);
    let lines: Vec<&[u8]> = transcript.split_inclusive(|b| *b == b'\n').collect();
    for left_out in [1, lines.len() / 2, lines.len() - 2] {
        let bad: Vec<u8> = lines.iter().enumerate().filter(|(i, _)| *i != left_out).flat_map(|(_, l)| l.to_vec()).collect();
        std::fs::write(ceremony.bundle().join("transcript.jsonl"), bad).unwrap();
        let output = verify(&[]);
        assert_eq!(output.status.code(), Some(4), "{}", common::text(&output));
        assert!(common::text(&output).contains("does not follow the line before"), "{}", common::text(&output));
    }
}
