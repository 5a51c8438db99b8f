//! The capability split, shown with the driver alone: what refuses is the device.

use ca_core::pki::{KeyAlgorithm, SignatureAlgorithm};
use ca_core::ports::{KeyDevice as _, KeyStore as _, KeyStoreError, SignInput};
use ca_keystore::yubihsm::{Role, retire_ceremony_key};
use yubihsm::device::ErrorKind;
use yubihsm::object::Type;
use yubihsm::{AuditOption, Capability, Client, Domain, authentication, client, wrap};

use crate::bench::{Bench, exportable, id, label, new_key, value};

/// What a session can try.
type Attempt = (&'static str, fn(&Client, &Material) -> Result<(), client::Error>);

struct Material {
    key: u16,
    wrapped: wrap::Message,
}

const ATTEMPTS: &[Attempt] = &[
    ("sign", |c, m| c.sign_ecdsa_prehash_raw(m.key, vec![1; 32]).map(drop)),
    ("import", |c, m| c.import_wrapped(2, m.wrapped.clone()).map(drop)),
    ("export", |c, m| c.export_wrapped(2, Type::AsymmetricKey, m.key).map(drop)),
    ("destroy", |c, m| c.delete_object(m.key, Type::AsymmetricKey)),
    ("make a key", |c, _| {
        let algorithm = yubihsm::asymmetric::Algorithm::EcP256;
        c.generate_asymmetric_key(0, "x".into(), Domain::DOM1, Capability::SIGN_ECDSA, algorithm).map(drop)
    }),
    ("bring a key in the clear", |c, _| {
        let algorithm = yubihsm::asymmetric::Algorithm::EcP256;
        c.put_asymmetric_key(0, "x".into(), Domain::DOM1, Capability::SIGN_ECDSA, algorithm, vec![1; 32]).map(drop)
    }),
    ("make a wrap key", |c, _| {
        let (can, carries) = (Capability::EXPORT_WRAPPED, Capability::all());
        c.put_wrap_key(0, "x".into(), Domain::DOM1, can, carries, wrap::Algorithm::Aes256Ccm, vec![1; 32]).map(drop)
    }),
    ("make an authentication key", |c, _| {
        let (none, algorithm) = (Capability::empty(), authentication::Algorithm::YubicoAes);
        c.put_authentication_key(0, "x".into(), Domain::DOM1, none, none, algorithm, [1; 32]).map(drop)
    }),
    ("delete an authentication key", |c, _| c.delete_object(13, Type::AuthenticationKey)),
    ("delete the wrap key", |c, _| c.delete_object(2, Type::WrapKey)),
    ("change what is audited", |c, _| c.set_force_audit_option(AuditOption::Off)),
    ("read the log", |c, _| c.get_log_entries().map(drop)),
    ("read an opaque object", |c, _| c.get_opaque(0).map(drop)),
];

#[tokio::test]
async fn no_officer_alone_can_use_bring_in_or_take_out_a_key() {
    let bench = Bench::provisioned();
    let making = bench.store(&[Role::Ceremony]);
    making.generate(exportable("root", KeyAlgorithm::P256)).await.unwrap();
    let wrapped = making.export_wrapped(&label("root"), "backup").await.unwrap();
    retire_ceremony_key(&bench.options(), &new_key(Role::Ceremony)).unwrap();
    bench.free_sessions();

    let find = |client: &Client| client.list_objects(&[yubihsm::object::Filter::Type(Type::AsymmetricKey)]).unwrap()[0].object_id;
    let material =
        Material { key: find(&bench.client(id(Role::Signer)).unwrap()), wrapped: wrap::Message::from_vec(wrapped.bytes).unwrap() };
    let may = [(Role::Signer, vec!["sign"]), (Role::Auditor, vec!["read the log"]), (Role::Custodian, vec!["import", "destroy"])];
    for (role, may) in may {
        // What is refused is logged as well, and there is room for 62 entries.
        let auditor = bench.client(id(Role::Auditor)).unwrap();
        auditor.set_log_index(auditor.get_log_entries().unwrap().entries.last().unwrap().item).unwrap();
        let client = bench.client(id(role)).unwrap();
        for (what, attempt) in ATTEMPTS {
            let result = attempt(&client, &material);
            if may.contains(what) {
                // The key is there, so that bringing it in ends at its id; nothing but that is in the way.
                let error = result.err().and_then(|e| e.device_error());
                assert!(matches!(error, None | Some(ErrorKind::ObjectExists)), "{role} may {what}: {error:?}");
            } else {
                let error = result.expect_err(what);
                assert_eq!(error.device_error(), Some(ErrorKind::InsufficientPermissions), "{role} may not {what}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn two_officers_together_use_a_key_that_is_absent_at_rest() {
    let bench = Bench::provisioned();
    let making = bench.store(&[Role::Ceremony]);
    making.generate(exportable("root", KeyAlgorithm::P256)).await.unwrap();
    let wrapped = making.export_wrapped(&label("root"), "backup").await.unwrap();
    making.destroy(&label("root")).await.unwrap();
    retire_ceremony_key(&bench.options(), &new_key(Role::Ceremony)).unwrap();
    bench.free_sessions();

    let (a, b) = (bench.store(&[Role::Custodian]), bench.store(&[Role::Signer]));
    let sign = || async { b.sign(&label("root"), SignatureAlgorithm::EcdsaP256Sha256, SignInput::Message(b"tbs")).await };
    assert!(matches!(sign().await, Err(KeyStoreError::NotFound(_))), "B alone has nothing to sign with");
    a.import_wrapped(&wrapped).await.unwrap();
    let refused = a.sign(&label("root"), SignatureAlgorithm::EcdsaP256Sha256, SignInput::Message(b"tbs")).await.unwrap_err().to_string();
    assert!(refused.contains("no authentication key that was given can sign-ecdsa"), "{refused}");
    sign().await.expect("both together sign");
    a.destroy(&label("root")).await.unwrap();
    assert!(matches!(sign().await, Err(KeyStoreError::NotFound(_))));
}

#[test]
fn values_that_are_not_random_or_shared_are_refused() {
    let check = |change: &dyn Fn(&mut ca_keystore::yubihsm::Provisioning), expected: &str| {
        let bench = Bench::new();
        let mut plan = bench.plan();
        change(&mut plan);
        let error = ca_keystore::yubihsm::provision(&plan).unwrap_err().to_string();
        assert!(error.contains(expected), "`{expected}` is not in: {error}");
    };
    check(&|plan| plan.signer.value = value(id(Role::Custodian)), "the same id or the same value");
    check(&|plan| plan.signer.id = plan.auditor.id, "the same id or the same value");
    check(&|plan| plan.signer.value = zeroize::Zeroizing::new([0; 32]), "not random");
    check(&|plan| plan.signer.id = 1, "2 to 65534");
}
