//! The worker with its keys in a YubiHSM 2, simulated: the device's own log against the record.

use std::sync::Arc;
use std::time::Duration;

use ca_core::lifecycle::{FollowedLog, reconcile};
use ca_core::model::OrderStatus;
use ca_core::ports::{KeyDevice, KeyStore};
use ca_keystore::yubihsm::{AuthenticationKey, NewKey, Provisioning, YubiHsmKeyStore, YubiHsmOptions, provision};
use ca_keystore::{CredentialError, CredentialSource};
use ca_yubihsm_simulator::{Fault, Options, Simulator};
use serde_json::json;
use tempfile::TempDir;
use yubihsm::object::{Filter, Type};
use yubihsm::{Client, Connector, Credentials, HttpConfig, authentication};
use zeroize::Zeroizing;

use crate::desk::Desk;

const ALARM: &str = "worker.alarm";
const SIGNER: u16 = 12;

/// The values of the device's authentication keys, by their ids.
struct Values;

fn value(id: u16) -> [u8; 32] {
    ca_core::pki::sha256(&id.to_be_bytes()).0
}

impl CredentialSource for Values {
    fn credential(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        Ok(Zeroizing::new(value(name.parse().unwrap()).to_vec()))
    }
}

/// A provisioned device with the keys of a CA, its log drained so far.
async fn begun(simulator: &Simulator) -> (Desk, Arc<YubiHsmKeyStore>, FollowedLog) {
    let options = YubiHsmOptions::new(simulator.address(), "12345678");
    let key = |id| NewKey { id, value: Zeroizing::new(value(id)) };
    let (ceremony, custodian, signer, auditor) = (key(10), key(11), key(SIGNER), key(13));
    provision(&Provisioning { options: options.clone(), ceremony, custodian, signer, auditor, wrap_key: None }).unwrap();
    let keys = [10, SIGNER, 13].map(|id| AuthenticationKey { id, source: Box::new(Values), name: id.to_string() });
    let device = Arc::new(YubiHsmKeyStore::open(options, keys.into()).unwrap());
    drain(&device).await;
    let desk = Desk::over(TempDir::new().unwrap(), Arc::clone(&device) as Arc<dyn KeyStore>).await;
    drain(&device).await;
    let mut followed = FollowedLog::default();
    desk.worker.drain_device_log(&*device, &mut followed).await.unwrap();
    (desk, device, followed)
}

/// As a ceremony does, which records what it drains in its transcript.
async fn drain(device: &YubiHsmKeyStore) {
    let log = device.log().await.unwrap().unwrap();
    device.acknowledge_log(log.entries.last().unwrap().number).await.unwrap();
}

/// Somebody has the signer's credential and uses it without the CA.
fn sign_behind_the_back(simulator: &Simulator) {
    let config = HttpConfig { addr: "127.0.0.1".into(), port: simulator.address().port(), timeout_ms: 5000 };
    let credentials = Credentials::new(SIGNER, authentication::Key::from(value(SIGNER)));
    let client = Client::open(Connector::http(&config), credentials, false).unwrap();
    let key = client.list_objects(&[Filter::Type(Type::AsymmetricKey), Filter::Label("ca".into())]).unwrap()[0].object_id;
    client.sign_ecdsa_prehash_raw(key, vec![7; 32]).unwrap();
}

fn simulator(folder: &TempDir) -> Simulator {
    Simulator::start(folder.path(), Options { durable: false, ..Options::default() }).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ceremony_35_the_devices_log_matches_the_record_and_shows_a_signature_behind_the_back() {
    let folder = TempDir::new().unwrap();
    let simulator = simulator(&folder);
    let (desk, device, mut followed) = begun(&simulator).await;
    desk.settle().await;
    let client = desk.account().await;
    desk.finalized(&client, json!({})).await;
    desk.settle().await;
    assert!(desk.worker.drain_device_log(&*device, &mut followed).await.unwrap() > 0);
    let result = reconcile(&*desk.store).await.unwrap().unwrap();
    assert!(result.is_clean(), "{:?}", result.findings);
    let account = result.keys[&"ca".parse().unwrap()];
    assert_eq!(account.signatures, account.intended, "{account:?}");
    assert!(!desk.audit_has(&[ALARM]).await);

    sign_behind_the_back(&simulator);
    desk.worker.drain_device_log(&*device, &mut followed).await.unwrap();
    assert!(desk.audit_has(&[ALARM, "1 times more than this CA asked", "behind its back"]).await);
    assert_eq!(reconcile(&*desk.store).await.unwrap().unwrap().finding_count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_log_holds_the_worker_until_it_drains() {
    let folder = TempDir::new().unwrap();
    let simulator = simulator(&folder);
    let (desk, device, mut followed) = begun(&simulator).await;
    desk.settle().await;
    desk.worker.drain_device_log(&*device, &mut followed).await.unwrap();
    let client = desk.account().await;
    let order = desk.finalized(&client, json!({})).await;
    simulator.inject(Fault::FillLog).unwrap();
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.order(&order).await.status, OrderStatus::Processing, "a passing failure");
    assert!(device.health().await.unwrap_err().to_string().contains("log is full"), "readiness says why");

    desk.worker.drain_device_log(&*device, &mut followed).await.unwrap();
    device.health().await.expect("green again");
    desk.clock.advance(Duration::from_secs(61));
    desk.settle().await;
    assert_eq!(desk.order(&order).await.status, OrderStatus::Valid);
    desk.worker.drain_device_log(&*device, &mut followed).await.unwrap();
    let result = reconcile(&*desk.store).await.unwrap().unwrap();
    assert!(result.is_clean(), "an attempt that the device refused is no signature: {:?}", result.findings);
}
