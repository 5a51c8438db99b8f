//! A key's backup, its destruction and its return, as ceremonies on devices: a real SoftHSM2 token, a simulated YubiHSM 2.

use std::path::Path;
use std::sync::Arc;

use ca_core::ceremony::{KeyPlace, Transcript, TranscriptEvent};
use ca_core::model::KeyLabel;
use ca_core::pki::{pem_encode, sha256};
use ca_core::ports::{KeyDevice, KeyStoreError};
use ca_keystore::yubihsm::{AuthenticationKey, NewKey, NewWrapKey, Provisioning, Role, YubiHsmKeyStore, YubiHsmOptions, provision};
use ca_keystore::{CredentialError, CredentialSource};
use ca_testkit::softhsm;
use ca_yubihsm_simulator::{Fault, Options, Simulator};
use zeroize::Zeroizing;

use crate::common::Ceremony;
use crate::common::devices::{Devices, token};

const WRAPPING: &str = "backup-2026";

/// Runs all three, one after the other, and then signs with what came back.
async fn there_and_back(mut ceremony: Ceremony, root: Arc<dyn KeyDevice>, backup: Arc<dyn KeyDevice>) {
    let label: KeyLabel = "bank-root-2026".parse().unwrap();
    ceremony.edit_plan("next_ceremony_days = 330\n", &format!("next_ceremony_days = 330\nwrapping_key = \"{WRAPPING}\"\n"));
    ceremony.pin("root", &*root).await;
    let online: Arc<dyn KeyDevice> = ceremony.keys("online-keys");
    let devices = Devices { root: Some(Arc::clone(&root)), online: Some(online), backup: Some(Arc::clone(&backup)) };
    ceremony.complete_on(&devices).await;
    let made = root.describe(&label).await.unwrap().public_key;
    let key = format!("[[acts.key]]\nkey = \"{label}\"\npublic_key_sha256 = \"{}\"\n", made.spki_sha256());

    // The copy, and its test signature.
    ceremony.next("backup", &format!("[acts]\nkind = \"backup\"\nplace = \"root\"\nwrapping_key = \"{WRAPPING}\"\n{key}"), &[]);
    ceremony.pin("root", &*root).await;
    ceremony.pin("backup", &*backup).await;
    ceremony.complete_on(&devices).await;
    assert_eq!(backup.describe(&label).await.unwrap().public_key, made);
    assert!(!backup.attributes(&label).await.unwrap().made_inside, "it is a copy");
    let wrapped = std::fs::read(ceremony.dir.path().join(format!("wrapped/{label}.wrapped.json"))).unwrap();
    let bundle = ceremony.bundle();
    assert!(bundle.join(format!("artefacts/1-{label}.txt")).exists());

    // The key goes, and the lists from before and after say so.
    ceremony.next("destroy", &format!("[acts]\nkind = \"destroy\"\nplace = \"root\"\n{key}"), &[]);
    ceremony.pin("root", &*root).await;
    ceremony.complete_on(&devices).await;
    assert!(matches!(root.describe(&label).await, Err(KeyStoreError::NotFound(_))));
    let lists = inventories(&ceremony.bundle(), KeyPlace::Root, &label);
    assert!(lists.len() == 2 && lists[0] > 0 && lists[1] == 0, "{lists:?}");

    // The copy comes back into the same device.
    let restore = format!("[acts]\nkind = \"restore\"\nplace = \"root\"\n{key}wrapped_sha256 = \"{}\"\n", sha256(&wrapped));
    ceremony.next("restore", &restore, &[]);
    ceremony.pin("root", &*root).await;
    ceremony.complete_on(&devices).await;
    assert_eq!(root.describe(&label).await.unwrap().public_key, made);
    ceremony.next("crl", "[acts]\nkind = \"root-crl\"\n", &[]);
    ceremony.pin("root", &*root).await;
    let verified = ceremony.complete_on(&devices).await;
    assert_eq!(verified.crls.len(), 1, "it signs the root's next CRL");
    let before = ["bundle", "backup", "destroy", "restore"].map(|b| ceremony.dir.path().join(b));
    ca_ceremony::verify_chain(&before, &ceremony.bundle(), None).unwrap();
}

/// How many objects of this label each listing of a device has.
fn inventories(bundle: &Path, place: KeyPlace, label: &KeyLabel) -> Vec<usize> {
    let text = std::fs::read_to_string(bundle.join("transcript.jsonl")).unwrap();
    let count = |e: &TranscriptEvent| match e {
        TranscriptEvent::Inventory { place: p, objects, .. } if *p == place => {
            Some(objects.iter().filter(|o| o.label == label.as_str()).count())
        }
        _ => None,
    };
    Transcript::parse(&text).unwrap().events().filter_map(count).collect()
}

#[test]
fn ceremony_40_a_key_on_a_token_is_backed_up_destroyed_and_brought_back() {
    let name = "devices::ceremony_40_a_key_on_a_token_is_backed_up_destroyed_and_brought_back";
    softhsm::isolated(name, &["root", "spare"], |hsm| {
        softhsm::share_wrapping_key(&["root", "spare"], WRAPPING);
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(there_and_back(
            Ceremony::quick(),
            token(hsm, "root"),
            token(hsm, "spare"),
        ));
    });
}

struct Known([u8; 32]);

impl CredentialSource for Known {
    fn credential(&self, _name: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        Ok(Zeroizing::new(self.0.to_vec()))
    }
}

/// A provisioned device, and a store with the keys of all its people.
fn device(dir: &Path, serial: u32) -> (Simulator, Arc<dyn KeyDevice>) {
    let state = dir.join(format!("device-{serial}"));
    std::fs::create_dir(&state).unwrap();
    let simulator = Simulator::start(&state, Options { serial: Some(serial), durable: false, ..Options::default() }).unwrap();
    let options = || YubiHsmOptions::new(simulator.address(), serial.to_string());
    let value = |id: u16| sha256(format!("{serial} {id}").as_bytes()).0;
    let new = |id: u16| NewKey { id, value: Zeroizing::new(value(id)) };
    provision(&Provisioning {
        options: options(),
        ceremony: new(10),
        custodian: new(11),
        signer: new(12),
        auditor: new(13),
        // Both devices have the same one.
        wrap_key: Some(NewWrapKey { id: 2, label: WRAPPING.to_owned(), value: Zeroizing::new(sha256(b"wrap").0) }),
    })
    .unwrap();
    simulator.inject(Fault::DropSessions).unwrap();
    let keys = (10..).take(Role::ALL.len()).map(|id| AuthenticationKey { id, source: Box::new(Known(value(id))), name: String::new() });
    let store: Arc<dyn KeyDevice> = Arc::new(YubiHsmKeyStore::open(options(), keys.collect()).unwrap());
    (simulator, store)
}

#[tokio::test]
async fn ceremony_40_a_key_in_a_yubihsm_is_backed_up_destroyed_and_brought_back() {
    let ceremony = Ceremony::quick();
    let (first, root) = device(ceremony.dir.path(), 1_000_001);
    let (_second, backup) = device(ceremony.dir.path(), 1_000_002);
    let maker = pem_encode("CERTIFICATE", &first.attestation_root());
    ceremony.edit_plan("approval_days = 30", &format!("approval_days = 30\nattestation_roots = [\"\"\"{maker}\"\"\"]"));
    there_and_back(ceremony, root, backup).await;
}
