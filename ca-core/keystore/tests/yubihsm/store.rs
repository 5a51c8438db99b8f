//! The contract of every key store, and what goes wrong with this one.

use std::sync::Arc;

use ca_core::pki::{KeyAlgorithm, SignatureAlgorithm, verify_signature};
use ca_core::ports::{DeviceKind, FirmwareVersion, GenerateKey, KeyDevice, KeyStore, KeyStoreError, SignInput};
use ca_keystore::yubihsm::{MAX_WHOLE_MESSAGE, Role, YubiHsmOptions};
use ca_testkit::key_device::{self, Offers};
use ca_testkit::key_store::conformance_within;
use ca_yubihsm_simulator::Fault;
use yubihsm::{Capability, Domain};

use crate::bench::{Bench, DEFAULT_KEY, OLD, id, label, make, value};

const SIGNING: &[Role] = &[Role::Signer, Role::Ceremony];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    // As from the factory, where no full log stops the suite's many signatures.
    let bench = Bench::new();
    let open = || -> Arc<dyn KeyStore> {
        bench.free_sessions();
        Arc::new(bench.factory_store().unwrap())
    };
    conformance_within(open, &[KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519], MAX_WHOLE_MESSAGE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_device_suite() {
    let algorithms = [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519];
    let offers = Offers { kind: DeviceKind::YubiHsm2, algorithms: &algorithms, wrapping_key: "backup", attests: true, logs: true };
    let (bench, spare) = (Bench::new(), Bench::new());
    for bench in [&bench, &spare] {
        let (wrapping, carried) = (
            Capability::EXPORT_WRAPPED | Capability::IMPORT_WRAPPED,
            Capability::SIGN_ECDSA | Capability::SIGN_EDDSA | Capability::EXPORTABLE_UNDER_WRAP,
        );
        let algorithm = yubihsm::wrap::Algorithm::Aes256Ccm;
        let factory = bench.client(DEFAULT_KEY).unwrap();
        factory.put_wrap_key(2, "backup".into(), Domain::all(), wrapping, carried, algorithm, value(2).to_vec()).unwrap();
    }
    let open = || -> Arc<dyn KeyDevice> {
        bench.free_sessions();
        Arc::new(bench.factory_store().unwrap())
    };
    key_device::conformance(open, offers).await;
    key_device::backups(&bench.factory_store().unwrap(), &spare.factory_store().unwrap(), offers).await;
}

#[tokio::test]
async fn ed25519_signs_as_much_as_a_message_carries() {
    let bench = Bench::provisioned();
    let store = bench.store(SIGNING);
    let info = make(&store, "ed", KeyAlgorithm::Ed25519).await;
    let longest = vec![7; MAX_WHOLE_MESSAGE];
    let signature = store.sign(&label("ed"), SignatureAlgorithm::Ed25519, SignInput::Message(&longest)).await.unwrap();
    verify_signature(&info.public_key, SignatureAlgorithm::Ed25519, &longest, &signature).unwrap();
}

/// What a store says that is opened with other options or another credential.
fn refused(bench: &Bench, options: YubiHsmOptions, credential: Vec<u8>) -> String {
    bench.open_with(options, &[(id(Role::Signer), credential)]).expect_err("the store does not open").to_string()
}

#[tokio::test]
async fn another_device_or_credential_is_refused_when_opened() {
    let bench = Bench::provisioned();
    let right = value(id(Role::Signer)).to_vec();
    let check = |change: &dyn Fn(&mut YubiHsmOptions), credential: &[u8], expected: &str| {
        let mut options = bench.options();
        change(&mut options);
        let error = refused(&bench, options, credential.to_vec());
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
        bench.free_sessions();
    };
    check(&|o| o.serial = "87654321".into(), &right, "the device has the serial number 12345678, and 87654321 is pinned (hint: plug in");
    check(&|o| o.minimum_firmware = FirmwareVersion(2, 5, 0), &right, "firmware 2.4.1, and at least 2.5.0 is wanted");
    check(&|o| o.domains = vec![1, 7], &right, "in the domains [1], and [1, 7] are configured");
    check(&|o| o.domains = vec![17], &right, "invalid domain: 17");
    check(&|o| o.domains.clear(), &right, "no domain is named");
    check(&|o| o.connector = "192.0.2.1:12345".parse().unwrap(), &right, "is not on loopback");
    check(&|_| (), &[7; 32], "the device refuses the credential");
    check(&|_| (), b"a password", "32 bytes or 64 hexadecimal digits (hint: authentication keys are random, never passwords)");
    let hexadecimal: String = right.iter().map(|b| format!("{b:02x}")).collect();
    bench.open_with(bench.options(), &[(id(Role::Signer), hexadecimal.into_bytes())]).expect("hexadecimal opens too");
}

#[tokio::test]
async fn firmware_that_leaks_keys_is_refused() {
    let bench = Bench::at(tempfile::tempdir().unwrap(), None, Some([OLD.0, OLD.1, OLD.2]));
    let error = bench.factory_store().expect_err("refused").to_string();
    assert!(error.contains("CVE-2024-45678"), "{error}");
    let known = YubiHsmOptions { minimum_firmware: OLD, ..bench.options() };
    let value = yubihsm::authentication::Key::derive_from_password(b"password").as_secret_slice().to_vec();
    bench.open_with(known, &[(DEFAULT_KEY, value)]).expect("a plan may say otherwise");
}

#[tokio::test]
async fn a_device_that_is_away_comes_back_without_a_restart() {
    let bench = Bench::provisioned();
    bench.simulator.inject(Fault::Unplug).unwrap();
    let store = bench.store(SIGNING);
    let error = store.health().await.expect_err("red").to_string();
    assert!(error.contains("is yubihsm-connector running at 127.0.0.1:"), "{error}");
    bench.simulator.inject(Fault::Plug).unwrap();
    store.health().await.expect("green");
    make(&store, "online", KeyAlgorithm::P256).await;
    bench.simulator.inject(Fault::Unplug).unwrap();
    let sign = || async { store.sign(&label("online"), SignatureAlgorithm::EcdsaP256Sha256, SignInput::Message(b"m")).await };
    assert!(matches!(sign().await, Err(KeyStoreError::Unavailable(_))));
    bench.simulator.inject(Fault::Plug).unwrap();
    sign().await.expect("it signs again");
    bench.simulator.inject(Fault::HttpErrors(1)).unwrap();
    store.health().await.expect("reading is tried twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_lost_under_load_cost_no_signature() {
    const SIGNATURES: usize = 40;
    let bench = Bench::provisioned();
    let store = bench.store(SIGNING);
    make(&store, "online", KeyAlgorithm::P256).await;
    let before = signatures_logged(&bench).await;
    let mut tasks = Vec::new();
    for number in 0..SIGNATURES {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            store.sign(&label("online"), SignatureAlgorithm::EcdsaP256Sha256, SignInput::Message(&number.to_be_bytes())).await
        }));
        if number % 8 == 0 {
            bench.simulator.inject(Fault::DropSessions).unwrap();
        }
    }
    for task in tasks {
        task.await.unwrap().expect("each is signed");
    }
    let after = signatures_logged(&bench).await;
    assert_eq!(after - before, SIGNATURES, "none was asked for twice");
}

/// Drains the log and counts the signatures in it from the beginning.
async fn signatures_logged(bench: &Bench) -> usize {
    use ca_keystore::yubihsm::{JournalLine, LogJournal, LogStart};
    let path = bench.path().join("journal");
    LogJournal::open(&path).unwrap().drain(&*bench.store(&[Role::Auditor]), LogStart::AtReset).await.unwrap();
    let lines = LogJournal::read(&path).unwrap().map(Result::unwrap);
    lines.filter(|line| matches!(line, JournalLine::Entry(entry) if entry.is_signature && entry.succeeded)).count()
}

#[tokio::test]
async fn what_the_device_cannot_do_is_said() {
    let bench = Bench::provisioned();
    let store = bench.store(SIGNING);
    ca_testkit::key_device::refuses_post_quantum_keys(&*store).await;
    let generate = |name: &str, algorithm| {
        let request = GenerateKey::new(label(name), algorithm);
        let store = Arc::clone(&store);
        async move { store.generate(request).await.expect_err("refused").to_string() }
    };
    let rsa = generate("rsa", KeyAlgorithm::Rsa3072).await;
    assert!(rsa.contains("yubihsm_pkcs11"), "{rsa}");
    let long = generate(&"x".repeat(41), KeyAlgorithm::P256).await;
    assert!(long.contains("longer than the device's 40 bytes"), "{long}");
    bench.simulator.inject(Fault::FillStorage).unwrap();
    let full = generate("one-more", KeyAlgorithm::P256).await;
    assert!(full.contains("the device is full: it holds 256 objects"), "{full}");
    assert!(store.list().await.unwrap().is_empty(), "nothing was half made");
}

#[tokio::test]
async fn a_power_cut_while_a_key_is_made_leaves_a_key_or_none() {
    use ca_yubihsm_simulator::Moment;
    for (moment, name, there) in [(Moment::Before, "a", false), (Moment::After, "b", true)] {
        let bench = Bench::provisioned();
        let store = bench.store(SIGNING);
        bench.simulator.inject(Fault::CutPower { moment, command: Some(0x46), skip: 0 }).unwrap();
        let made = store.generate(GenerateKey::new(label(name), KeyAlgorithm::P256)).await;
        assert!(matches!(made, Err(KeyStoreError::Unavailable(_))), "{made:?}");
        assert_eq!(store.describe(&label(name)).await.is_ok(), there, "{moment:?}");
        if there {
            assert_eq!(store.attributes(&label(name)).await.unwrap().capabilities, ["sign-ecdsa"]);
        }
    }
}
