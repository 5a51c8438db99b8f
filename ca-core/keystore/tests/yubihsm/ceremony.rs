//! The ceremony requirements that this device answers for.

use ca_core::pki::{AttestationError, KeyAlgorithm, check_yubihsm_attestation};
use ca_core::ports::{Attestation, DeviceKind, GenerateKey, KeyAttributes, KeyDevice as _, KeyStore as _, KeyStoreError};
use ca_keystore::yubihsm::{ProvisionError, Role, YubiHsmOptions, provision, retire_ceremony_key};
use ca_yubihsm_simulator::{Fault, Moment};
use yubihsm::object::Type;
use yubihsm::{Capability, Domain};

use crate::bench::{Bench, DEFAULT_KEY, SERIAL, exportable, id, label, make, new_key, value};

const MAKING: &[Role] = &[Role::Ceremony, Role::Signer];

#[tokio::test]
async fn ceremony_17_a_device_that_is_not_freshly_reset_is_refused() {
    let check = |spoil: &dyn Fn(&Bench), expected: &str| {
        let bench = Bench::new();
        spoil(&bench);
        match provision(&bench.plan()) {
            Err(ProvisionError::NotFresh(found)) => {
                assert!(found.iter().any(|f| f.contains(expected)), "`{expected}` is not in {found:?}");
            }
            other => panic!("{expected}: {other:?}"),
        }
        bench.client(DEFAULT_KEY).expect("nothing was changed");
    };
    let factory = |bench: &Bench| bench.client(DEFAULT_KEY).unwrap();
    check(&|bench| bench.simulator.inject(Fault::Plug).unwrap(), "it was started 2 times since the reset");
    check(
        &|bench| {
            let algorithm = yubihsm::asymmetric::Algorithm::EcP256;
            factory(bench).generate_asymmetric_key(7, "x".into(), Domain::DOM3, Capability::SIGN_ECDSA, algorithm).unwrap();
        },
        "it holds the private-key 0x0007 `x`",
    );
    check(&|bench| factory(bench).set_force_audit_option(yubihsm::AuditOption::On).unwrap(), "audit is forced");
    check(&|bench| factory(bench).set_log_index(1).unwrap(), "its log does not begin with a reset");
    check(&|bench| bench.simulator.inject(Fault::FillLog).unwrap(), "its log holds echo");

    let bench = Bench::new();
    assert!(bench.factory_store().unwrap().deviations_from_reset().await.unwrap().is_empty(), "a fresh one has none");
}

#[test]
fn ceremony_18_the_default_key_goes_last_and_a_power_cut_at_any_step_locks_nobody_out() {
    // Set option, put wrap key, put authentication key, delete object: all that provisioning changes.
    let changes = [(0x4f, 23), (0x4c, 1), (0x44, 4), (0x58, 1)];
    for (command, count) in changes {
        for skip in 0..count {
            for moment in [Moment::Before, Moment::After] {
                let bench = Bench::new();
                bench.simulator.inject(Fault::CutPower { moment, command: Some(command), skip }).unwrap();
                let step = format!("{command:#04x}, number {skip}, {moment:?}");
                provision(&bench.plan()).expect_err(&step);
                let default_opens = bench.client(DEFAULT_KEY).is_ok();
                let all_open = Role::ALL.iter().all(|role| bench.client(id(*role)).is_ok());
                assert!(default_opens || all_open, "{step}: nobody can open a session");
                bench.free_sessions();
                if (command, skip, moment) == (0x4f, 0, Moment::Before) {
                    // Nothing was begun, so the second start counts against the device.
                    assert!(matches!(provision(&bench.plan()), Err(ProvisionError::NotFresh(_))), "{step}");
                    bench.client(DEFAULT_KEY).unwrap().reset_device().unwrap();
                }
                let done = provision(&bench.plan()).unwrap_or_else(|e| panic!("{step}, again: {e}"));
                assert_eq!(done.objects.len(), 5, "{step}: {:?}", done.objects);
                assert!(bench.client(DEFAULT_KEY).is_err(), "{step}: the default key is gone");
            }
        }
    }
}

#[test]
fn ceremony_18_a_key_that_its_holder_cannot_open_keeps_the_default_key() {
    let bench = Bench::new();
    // Somebody else's value lies in the auditor's place.
    let algorithm = yubihsm::authentication::Algorithm::YubicoAes;
    let foreign = yubihsm::authentication::Key::from([9; 32]);
    let (log, none) = (Capability::GET_LOG_ENTRIES, Capability::empty());
    let put = bench.client(DEFAULT_KEY).unwrap();
    put.put_authentication_key(id(Role::Auditor), Role::Auditor.label().into(), Domain::DOM1, log, none, algorithm, foreign).unwrap();
    let error = provision(&bench.plan()).unwrap_err().to_string();
    assert!(error.contains("cannot open a session as auditor"), "{error}");
    bench.client(DEFAULT_KEY).expect("the default key still opens sessions");
}

#[tokio::test]
async fn ceremony_19_keys_are_made_inside_and_their_attributes_read_back() {
    let bench = Bench::provisioned();
    let store = bench.store(MAKING);
    make(&store, "online", KeyAlgorithm::P256).await;
    let expected = KeyAttributes {
        made_inside: true,
        sensitive: true,
        extractable: false,
        wrap_with_trusted_only: false,
        capabilities: vec!["sign-ecdsa".to_owned()],
        domains: vec![1],
    };
    assert_eq!(store.attributes(&label("online")).await.unwrap(), expected);
    store.generate(exportable("root", KeyAlgorithm::Ed25519)).await.unwrap();
    let capabilities = vec!["sign-eddsa".to_owned(), "exportable-under-wrap".to_owned()];
    let expected = KeyAttributes { extractable: true, wrap_with_trusted_only: true, capabilities, ..expected };
    assert_eq!(store.attributes(&label("root")).await.unwrap(), expected);

    let elsewhere = GenerateKey { exportable_under: Some("no-such".to_owned()), ..GenerateKey::new(label("x"), KeyAlgorithm::P256) };
    let error = store.generate(elsewhere).await.unwrap_err().to_string();
    assert!(error.contains("0 wrap keys in the device are labelled `no-such`"), "{error}");
    let identity = store.identity().await.unwrap();
    assert_eq!(
        (identity.kind, identity.serial.as_str(), identity.firmware.unwrap().to_string()),
        (DeviceKind::YubiHsm2, SERIAL, "2.4.1".into())
    );
}

#[tokio::test]
async fn ceremony_20_a_label_that_exists_is_refused_and_its_key_stays() {
    let bench = Bench::provisioned();
    let store = bench.store(MAKING);
    let made = make(&store, "root", KeyAlgorithm::P256).await;
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::Ed25519] {
        let again = store.generate(GenerateKey::new(label("root"), algorithm)).await;
        assert!(matches!(again, Err(KeyStoreError::Exists(l)) if l == label("root")));
    }
    assert_eq!(store.list().await.unwrap(), [made]);
}

#[tokio::test]
async fn ceremony_21_the_attestation_proves_chain_origin_and_serial() {
    let bench = Bench::provisioned();
    let store = bench.store(MAKING);
    let made = make(&store, "root", KeyAlgorithm::P384).await;
    let attestation = store.attest(&label("root")).await.unwrap().expect("this device attests");
    let maker = [bench.simulator.attestation_root()];
    let claims = check_yubihsm_attestation(&attestation, &made.public_key, &maker).unwrap();
    assert_eq!((claims.serial.as_str(), claims.firmware.to_string().as_str(), claims.label.as_str()), (SERIAL, "2.4.1", "root"));
    assert_eq!((claims.domains, claims.capabilities), (1, Capability::SIGN_ECDSA.bits()));

    let other = Bench::new();
    let foreign = check_yubihsm_attestation(&attestation, &made.public_key, &[other.simulator.attestation_root()]);
    assert_eq!(foreign, Err(AttestationError::NotByMaker));
    let another = make(&store, "another", KeyAlgorithm::P384).await;
    assert_eq!(check_yubihsm_attestation(&attestation, &another.public_key, &maker), Err(AttestationError::OtherKey));
    let mut forged = attestation.clone();
    let at = forged.chain[0].len() - 1;
    forged.chain[0][at] ^= 1;
    assert!(matches!(check_yubihsm_attestation(&forged, &made.public_key, &maker), Err(AttestationError::NotByDevice(_))));
    let halved = Attestation { chain: attestation.chain[..1].to_vec() };
    assert_eq!(check_yubihsm_attestation(&halved, &made.public_key, &maker), Err(AttestationError::Form));
}

#[tokio::test]
async fn ceremony_21_a_key_that_came_in_from_outside_is_not_attested_as_made_inside() {
    let bench = Bench::new();
    let algorithm = yubihsm::asymmetric::Algorithm::EcP256;
    let factory = bench.client(DEFAULT_KEY).unwrap();
    factory.put_asymmetric_key(5, "brought".into(), Domain::DOM1, Capability::SIGN_ECDSA, algorithm, value(5).to_vec()).unwrap();
    let store = bench.factory_store().unwrap();
    let error = store.attest(&label("brought")).await.unwrap_err().to_string();
    assert!(error.contains("the key was not made inside a device (its origin is 0x02)"), "{error}");
    assert!(!store.attributes(&label("brought")).await.unwrap().made_inside);
}

#[tokio::test]
async fn ceremony_21_the_wrapped_copy_comes_back_as_the_same_key() {
    let (first, second) = (Bench::provisioned(), Bench::provisioned());
    let made = first.store(MAKING).generate(exportable("root", KeyAlgorithm::P256)).await.unwrap();
    let wrapped = first.store(MAKING).export_wrapped(&label("root"), "backup").await.unwrap();
    assert_eq!(wrapped.public_key, made.public_key);

    // On another device, and on the same one after the key was destroyed: absent at rest.
    let custodian = second.store(&[Role::Custodian]);
    assert_eq!(custodian.import_wrapped(&wrapped).await.unwrap(), made);
    assert!(!custodian.attributes(&label("root")).await.unwrap().made_inside, "it is a copy");
    assert!(matches!(custodian.import_wrapped(&wrapped).await, Err(KeyStoreError::Exists(_))));
    let own = first.store(&[Role::Custodian]);
    own.destroy(&label("root")).await.unwrap();
    assert!(matches!(own.describe(&label("root")).await, Err(KeyStoreError::NotFound(_))));
    assert_eq!(own.import_wrapped(&wrapped).await.unwrap(), made);

    own.destroy(&label("root")).await.unwrap();
    let mut changed = wrapped.clone();
    changed.bytes[30] ^= 1;
    let error = own.import_wrapped(&changed).await.unwrap_err().to_string();
    assert!(error.contains("the device's wrapping key does not open it"), "{error}");
    let mut misnamed = wrapped;
    misnamed.label = label("other");
    let error = own.import_wrapped(&misnamed).await.unwrap_err().to_string();
    assert!(error.contains("what it held is not that key") && error.contains("removed again"), "{error}");
    assert!(own.list().await.unwrap().is_empty(), "what came in under another name is gone again");
}

#[tokio::test]
async fn ceremony_40_destruction_shows_in_the_object_lists() {
    let bench = Bench::provisioned();
    make(&bench.store(MAKING), "root", KeyAlgorithm::P256).await;
    let custodian = bench.store(&[Role::Custodian]);
    let before = custodian.inventory().await.unwrap();
    custodian.destroy(&label("root")).await.unwrap();
    let after = custodian.inventory().await.unwrap();
    let gone: Vec<_> = before.iter().filter(|o| !after.contains(o)).map(|o| (o.kind.as_str(), o.label.as_str())).collect();
    assert_eq!((gone.as_slice(), before.len() - after.len()), ([("private-key", "root")].as_slice(), 1));
    assert!(matches!(custodian.destroy(&label("root")).await, Err(KeyStoreError::NotFound(_))));
}

#[test]
fn the_ceremony_key_is_deleted_at_the_end() {
    let bench = Bench::provisioned();
    let other = YubiHsmOptions { serial: "87654321".to_owned(), ..bench.options() };
    let error = retire_ceremony_key(&other, &new_key(Role::Ceremony)).unwrap_err().to_string();
    assert!(error.contains("87654321 is pinned"), "{error}");
    retire_ceremony_key(&bench.options(), &new_key(Role::Ceremony)).unwrap();
    retire_ceremony_key(&bench.options(), &new_key(Role::Ceremony)).expect("again is no error");
    assert!(bench.client(id(Role::Ceremony)).is_err(), "it is gone");
    let left = bench.client(id(Role::Signer)).unwrap().list_objects(&[]).unwrap();
    let keys: Vec<_> = left.iter().filter(|o| o.object_type == Type::AuthenticationKey).map(|o| o.object_id).collect();
    assert_eq!(keys, [11, 12, 13]);
}

#[test]
fn the_ceremony_does_not_end_while_a_key_may_do_more_than_its_role() {
    let bench = Bench::new();
    let algorithm = yubihsm::authentication::Algorithm::YubicoAes;
    let strong = Capability::PUT_AUTHENTICATION_KEY | Capability::EXPORT_WRAPPED;
    let put = |client: yubihsm::Client| {
        client.put_authentication_key(99, "back door".into(), Domain::DOM1, strong, Capability::empty(), algorithm, *value(99))
    };
    // Put in after the plan was carried out but for its last step.
    bench.simulator.inject(Fault::CutPower { moment: Moment::Before, command: Some(0x58), skip: 0 }).unwrap();
    provision(&bench.plan()).unwrap_err();
    put(bench.client(DEFAULT_KEY).unwrap()).unwrap();
    let error = provision(&bench.plan()).unwrap_err().to_string();
    assert!(error.contains("it holds the authentication-key 0x0063 `back door`"), "{error}");
    let error = retire_ceremony_key(&bench.options(), &new_key(Role::Ceremony)).unwrap_err().to_string();
    assert!(error.contains("it may"), "{error}");
}
