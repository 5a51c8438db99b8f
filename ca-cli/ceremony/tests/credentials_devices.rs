//! Credentials as shares on devices: the PIN of a real SoftHSM2 token, the authentication keys of a simulated YubiHSM 2.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![cfg(all(feature = "pkcs11", feature = "yubihsm"))]

mod common;

use std::path::Path;
use std::sync::Arc;

use ca_ceremony::{RunOutcome, VerifiedBundle, verify};
use ca_core::ceremony::{KeyPlace, Transcript, TranscriptEvent};
use ca_core::ports::{KeyDevice, KeyStoreError};
use ca_keystore::yubihsm::DevicePlan;
use ca_keystore::{CredentialSpec, KeyStoreSpec, Lock, Pkcs11Spec, YubiHsmKeySpec, YubiHsmSpec};
use ca_testkit::softhsm::{self, PIN, SoftHsm};
use ca_yubihsm_simulator::{Fault, Options, Simulator};
use common::custody::{CANARY, Deals, credential};
use common::devices::Devices;
use common::{Ceremony, missing};

const HOLDERS: [&str; 3] = ["ana", "bela", "cora"];

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(future);
}

fn token(pin: CredentialSpec) -> Lock {
    let module = softhsm::module();
    Lock::Store(KeyStoreSpec::Pkcs11(Pkcs11Spec { module, token: Some("root".to_owned()), serial: None, pin, sessions: 1 }))
}

/// The first ceremony, whose root's key is on a device.
async fn first(ceremony: &Ceremony, root: Arc<dyn KeyDevice>) {
    let online: Arc<dyn KeyDevice> = ceremony.keys("online-keys");
    ceremony.complete_on(&Devices { root: Some(root), online: Some(online), backup: None }).await;
}

#[test]
fn ceremony_23_a_tokens_pin_is_dealt_before_its_first_key_dealt_again_and_rotated() {
    softhsm::isolated("ceremony_23_a_tokens_pin_is_dealt_before_its_first_key_dealt_again_and_rotated", &["root"], |hsm| {
        block_on(pins(hsm));
    });
}

async fn pins(hsm: &SoftHsm) {
    let mut ceremony = Ceremony::quick();
    let as_delivered = token(CredentialSpec::File(hsm.pin_file()));
    let refused = |lock: &Lock, with: &[ca_keystore::Given]| {
        let error = lock.open("test", with).map(drop).unwrap_err();
        assert!(error.is_refusal() && error.to_string().contains("CKR_PIN_INCORRECT"), "{error}");
    };
    // Before there is a key, the PIN that the vendor's tool set gives way to one that nobody knows.
    let acts = credential("root", "root-pin", "pkcs11-pin", "deal", &HOLDERS, "");
    ceremony.before_the_first("deal", &acts, &HOLDERS);
    ceremony.pin("root", &*as_delivered.open("test", &[]).unwrap()).await;
    ceremony.deals = Some(Deals { shares: "shares", previous: None, place: KeyPlace::Root, lock: as_delivered.clone() });
    let verified = ceremony.complete().await;
    assert!(verified.authorities.is_empty() && verified.hierarchy.is_none() && !ceremony.bundle().join("hierarchy.json").exists());
    assert_eq!(verified.dealt[0].threshold(), 2);
    let store = as_delivered.open("test", &[]).unwrap();
    assert!(matches!(store.health().await, Err(KeyStoreError::Credential(_))), "the PIN that it came with opens nothing");
    drop(store);
    let dealt = ceremony.given("shares", "root-pin", None);
    let on_record = std::fs::read_to_string(ceremony.bundle().join("transcript.jsonl")).unwrap();
    let pin = std::str::from_utf8(dealt.credential.expose()).unwrap();
    assert!(!on_record.contains(pin) && !on_record.contains(PIN) && !on_record.contains(CANARY));
    let report = common::text(&ceremony.tool(&["verify", "deal"]));
    assert!(
        report.contains("authorities  none") && report.contains("dealt        root-pin (pkcs11-pin): 2 of ana, bela, cora"),
        "{report}"
    );

    // The first ceremony makes its keys behind it.
    ceremony.current.clear();
    let root = as_delivered.open("test", std::slice::from_ref(&dealt)).unwrap();
    ceremony.pin("root", &*root).await;
    let deals = ceremony.deals.take();
    first(&ceremony, root).await;
    ceremony.deals = deals;

    // Dealt again: cora leaves, wim joins. The token is not touched.
    let later = ["ana", "bela", "wim"];
    let named = format!("set = \"{}\"\n", ceremony.set("shares", "root-pin"));
    ceremony.deal("reshare", &credential("root", "root-pin", "pkcs11-pin", "reshare", &later, &named), &later);
    ceremony.pin("root", &*as_delivered.open("test", std::slice::from_ref(&dealt)).unwrap()).await;
    ceremony.deals = Some(Deals { shares: "shares-2", previous: Some("shares"), place: KeyPlace::Root, lock: as_delivered.clone() });
    ceremony.complete().await;
    assert_eq!(ceremony.recombined("shares-2", "root-pin", &["wim", "ana"]).unwrap().expose(), dealt.credential.expose());

    // Rotated, since cora may have kept hers: her old share is worth nothing.
    let named = format!("set = \"{}\"\n", ceremony.set("shares-2", "root-pin"));
    ceremony.deal("rotate", &credential("root", "root-pin", "pkcs11-pin", "rotate", &later, &named), &later);
    ceremony.pin("root", &*as_delivered.open("test", std::slice::from_ref(&dealt)).unwrap()).await;
    ceremony.deals = Some(Deals { shares: "shares-3", previous: Some("shares-2"), place: KeyPlace::Root, lock: as_delivered.clone() });
    missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    missing(ceremony.run().await);
    ceremony.sign_statements(&["ana", "bela"]);
    // The run dies right after the token took the new PIN.
    let handed = {
        let lines = transcript(&ceremony.bundle()).lines().len() as u64;
        // A run writes that it started, that the act is approved and begins, that shares are dealt, and that it was handed.
        lines + 5
    };
    let died = ceremony.observed(Some(common::later::dies_at(handed, ca_ceremony::Moment::Before))).await;
    assert!(died.is_err(), "{died:?}");
    assert!(!transcript(&ceremony.bundle()).events().any(|e| matches!(e, TranscriptEvent::Handed { .. })));
    refused(&as_delivered, std::slice::from_ref(&dealt));
    ceremony.complete().await;
    let fresh = ceremony.given("shares-3", "root-pin", None);
    assert_ne!(fresh.credential.expose(), dealt.credential.expose());
    refused(&as_delivered, &[ceremony.given("shares-2", "root-pin", None)]);
    let root = as_delivered.open("test", &[fresh]).unwrap();
    assert_eq!(root.list().await.unwrap().len(), 1, "the root's key is behind the new PIN");
    ceremony.current = "crl".to_owned();
    verify(&ceremony.dir.path().join("rotate"), None).unwrap();
}

/// As people run it, to its end. A device has sixteen sessions; those of a run before end after 30 idle seconds, for which a
/// test does not wait.
async fn complete(ceremony: &Ceremony, simulator: &Simulator) -> VerifiedBundle {
    for _ in 0..12 {
        simulator.inject(Fault::DropSessions).unwrap();
        match ceremony.bare().await.unwrap() {
            RunOutcome::Complete(verified) => return *verified,
            RunOutcome::NeedsSignatures(needed) if needed[0].file.ends_with("plan.toml") => ceremony.sign_plan(&["ana", "bela"]),
            RunOutcome::NeedsSignatures(_) => ceremony.sign_statements(&["ana", "bela"]),
            RunOutcome::NeedsPeople(duties) => ceremony.fulfil(&duties),
        }
    }
    panic!("the ceremony does not end");
}

fn transcript(bundle: &Path) -> Transcript {
    Transcript::parse(&std::fs::read_to_string(bundle.join("transcript.jsonl")).unwrap()).unwrap()
}

/// A device from the factory, and its plan: what is dealt names a keyholder that is not asked here.
fn factory(dir: &Path) -> (Simulator, Box<DevicePlan>) {
    let state = dir.join("device");
    std::fs::create_dir(&state).unwrap();
    let simulator = Simulator::start(&state, Options { serial: Some(1_000_001), durable: false, ..Options::default() }).unwrap();
    let mut text = format!("connector = \"{}\"\nserial = \"1000001\"\n", simulator.address());
    for (id, role) in [(10, "ceremony"), (13, "auditor")] {
        let path = dir.join(role);
        std::fs::write(&path, ca_core::pki::sha256(role.as_bytes()).to_string()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        text += &format!("{role} = {{ id = {id}, credential = {{ file = \"{role}\" }} }}\n");
    }
    for (id, role) in [(11, "custodian"), (12, "signer")] {
        text += &format!("{role} = {{ id = {id}, credential = {{ keyholder = \"/run/none\", credential = \"{role}\" }} }}\n");
    }
    (simulator, Box::new(toml::from_str(&text).unwrap()))
}

#[tokio::test]
async fn ceremony_23_a_yubihsms_authentication_keys_are_dealt_with_its_provisioning_and_dealt_again() {
    let mut ceremony = Ceremony::quick();
    let (simulator, plan) = factory(ceremony.dir.path());
    let lock = Lock::Device(plan.clone());
    let fresh = || simulator.inject(Fault::DropSessions).unwrap();
    let one = |name: &str, id: u16, holders: &[&str], change: &str, rest: &str| {
        credential("root", name, "yubihsm-key", change, holders, &format!("key_id = {id}\n{rest}"))
    };
    let second = one("custodian", 11, &["bela", "cora"], "deal", "");
    let (_, table) = second.split_once("[[acts").unwrap();
    ceremony.before_the_first("deal", &format!("{}[[acts{table}", one("signer", 12, &HOLDERS, "deal", "")), &HOLDERS);
    let resolved = || {
        let mut lock = lock.clone();
        lock.resolve(ceremony.dir.path());
        lock
    };
    let device = resolved().open("test", &[]).unwrap();
    assert!(device.deviations_from_reset().await.unwrap().is_empty());
    ceremony.pin("root", &*device).await;
    ceremony.edit_plan("before = [", "before = \"new\"\n# [");
    drop(device);
    let lock = resolved();
    ceremony.deals = Some(Deals { shares: "shares", previous: None, place: KeyPlace::Root, lock });
    let verified = complete(&ceremony, &simulator).await;
    assert_eq!(verified.dealt.iter().map(|s| s.credential().as_str()).collect::<Vec<_>>(), ["custodian", "signer"]);
    // The device's own log is in the transcript, from its reset on: the keys were put in, once each.
    let logged = transcript(&ceremony.bundle());
    let entries: Vec<String> = logged
        .events()
        .filter_map(|e| if let TranscriptEvent::DeviceLog { entries, .. } = e { Some(entries) } else { None })
        .flatten()
        .map(|e| e.command.clone())
        .collect();
    assert_eq!(entries.iter().filter(|c| *c == "put-authentication-key").count(), 4, "{entries:?}");
    fresh();

    // What opens it: the shares of two holders, each credential its own role; the factory's key nothing.
    let lock = ceremony.deals.as_ref().unwrap().lock.clone();
    assert!(lock.open("test", &[]).map(drop).unwrap_err().is_refusal());
    fresh();
    let signer = ceremony.given("shares", "signer", Some(12));
    let spec = |id: u16, credential: CredentialSpec| YubiHsmKeySpec { id, credential };
    let store = Lock::Store(KeyStoreSpec::YubiHsm(YubiHsmSpec {
        connector: simulator.address().into(),
        serial: "1000001".to_owned(),
        minimum_firmware: plan.minimum_firmware,
        domains: vec![1],
        keys: vec![
            spec(12, CredentialSpec::Keyholder { socket: "/run/none".into(), credential: "signer".to_owned() }),
            spec(13, CredentialSpec::File(ceremony.dir.path().join("auditor"))),
        ],
    }));
    let opened = store.open("test", std::slice::from_ref(&signer)).unwrap();
    opened.health().await.unwrap();
    drop(opened);
    assert!(!store.is_changeable() && lock.is_changeable());
    fresh();

    // The first ceremony makes the root's key in it, with the ceremony's key and the signer's.
    ceremony.current.clear();
    let dealt = [signer.clone(), ceremony.given("shares", "custodian", Some(11))];
    let root = lock.open("test", &dealt).unwrap();
    ceremony.pin("root", &*root).await;
    ceremony.edit_plan(
        "approval_days = 30",
        &format!(
            "approval_days = 30\nattestation_roots = [\"\"\"{}\"\"\"]",
            ca_core::pki::pem_encode("CERTIFICATE", &simulator.attestation_root())
        ),
    );
    first(&ceremony, root).await;
    fresh();

    // Cora leaves: the signer's key is dealt again, to others.
    let later = ["ana", "bela", "wim"];
    let named = format!("set = \"{}\"\n", ceremony.set("shares", "signer"));
    ceremony.deal("reshare", &one("signer", 12, &later, "reshare", &named), &later);
    let device = store.open("test", std::slice::from_ref(&signer)).unwrap();
    ceremony.pin("root", &*device).await;
    drop(device);
    fresh();
    ceremony.deals = Some(Deals { shares: "shares-2", previous: Some("shares"), place: KeyPlace::Root, lock: store });
    let verified = complete(&ceremony, &simulator).await;
    assert_eq!(verified.dealt[0].holders().iter().map(|h| h.as_str()).collect::<Vec<_>>(), later);
    assert_eq!(ceremony.recombined("shares-2", "signer", &["wim", "bela"]).unwrap().expose(), signer.credential.expose());
}
