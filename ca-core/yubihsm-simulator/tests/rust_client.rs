//! The `yubihsm` crate drives the simulator unchanged, and meets what the hardware would make it meet.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use ca_yubihsm_simulator::{Fault, LOG_CAPACITY, MAX_OBJECTS, ManualClock, Moment, Options, Simulator};
use yubihsm::asymmetric::Algorithm;
use yubihsm::device::ErrorKind;
use yubihsm::object::{self, Label};
use yubihsm::{AuditOption, Capability, Client, Connector, Credentials, Domain, HttpConfig, authentication, client, command, wrap};

fn start(directory: &Path) -> Simulator {
    Simulator::start(directory, Options::default()).unwrap()
}

fn connector(simulator: &Simulator) -> Connector {
    Connector::http(&HttpConfig { addr: "127.0.0.1".into(), port: simulator.address().port(), timeout_ms: 5000 })
}

fn open(simulator: &Simulator, credentials: Credentials) -> Result<Client, client::Error> {
    Client::open(connector(simulator), credentials, false)
}

fn default(simulator: &Simulator) -> Client {
    open(simulator, Credentials::default()).unwrap()
}

fn label(text: &str) -> Label {
    Label::from_bytes(text.as_bytes()).unwrap()
}

fn credentials(id: object::Id) -> Credentials {
    Credentials::new(id, authentication::Key::from([u8::try_from(id).unwrap(); 32]))
}

/// Makes an authentication key whose value follows from its id, and opens a session with it.
fn role(simulator: &Simulator, id: object::Id, domains: Domain, capabilities: Capability, delegated: Capability) -> Client {
    let key = credentials(id).authentication_key;
    let algorithm = authentication::Algorithm::YubicoAes;
    default(simulator).put_authentication_key(id, label("role"), domains, capabilities, delegated, algorithm, key).unwrap();
    open(simulator, credentials(id)).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, client::Error>, expected: ErrorKind) {
    let error = result.expect_err("the device refuses");
    assert_eq!(error.device_error(), Some(expected), "{error}");
}

fn entries(client: &Client) -> Vec<(u16, command::Code)> {
    client.get_log_entries().unwrap().entries.iter().map(|e| (e.item, e.cmd)).collect()
}

#[test]
fn sessions_keys_and_signatures() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = start(directory.path());
    let client = default(&simulator);
    let info = client.device_info().unwrap();
    assert_eq!((info.major_version, info.minor_version, info.serial_number.to_string().as_str()), (2, 4, "0012345678"));
    assert_eq!(client.echo(vec![7; 1900]).unwrap(), vec![7; 1900]);
    assert_eq!(client.get_pseudo_random(100).unwrap().len(), 100);
    client.blink_device(1).unwrap();

    let made = client.generate_asymmetric_key(5, label("p"), Domain::DOM1, Capability::SIGN_ECDSA, Algorithm::EcP256).unwrap();
    assert_eq!(made, 5);
    let public = client.get_public_key(5).unwrap();
    let signature = client.sign_ecdsa_prehash_raw(5, vec![9; 32]).unwrap();
    let point = [&[4], public.as_slice()].concat();
    aws_lc_rs::signature::ParsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1, &point)
        .unwrap()
        .verify_digest_sig(&aws_lc_rs::digest::Digest::import_less_safe(&[9; 32], &aws_lc_rs::digest::SHA256).unwrap(), &signature)
        .unwrap();

    client.generate_asymmetric_key(6, label("e"), Domain::DOM1, Capability::SIGN_EDDSA, Algorithm::Ed25519).unwrap();
    let signature = client.sign_ed25519(6, b"message".as_slice()).unwrap();
    aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, client.get_public_key(6).unwrap().as_slice())
        .verify(b"message", &signature.to_bytes())
        .unwrap();

    client.generate_asymmetric_key(7, label("q"), Domain::DOM1, Capability::SIGN_ECDSA, Algorithm::EcP384).unwrap();
    assert_eq!(client.get_public_key(7).unwrap().len(), 96);
    client.sign_ecdsa_prehash_raw(7, vec![9; 48]).unwrap();
    refused(client.sign_ecdsa_prehash_raw(7, vec![9; 31]), ErrorKind::WrongLength);
    refused(client.sign_ed25519(7, b"m".as_slice()), ErrorKind::InsufficientPermissions);

    let info = client.get_object_info(5, object::Type::AsymmetricKey).unwrap();
    assert_eq!((info.origin, info.domains, info.capabilities), (object::Origin::Generated, Domain::DOM1, Capability::SIGN_ECDSA));
    assert_eq!(client.list_objects(&[object::Filter::Label(label("p"))]).unwrap().len(), 1);
    let again = client.generate_asymmetric_key(5, label("p"), Domain::DOM1, Capability::SIGN_ECDSA, Algorithm::EcP256);
    refused(again, ErrorKind::ObjectExists);

    drop(simulator);
    let simulator = start(directory.path());
    assert_eq!(default(&simulator).get_public_key(5).unwrap(), public, "keys survive a restart");
}

#[test]
fn capabilities_domains_and_delegation_are_enforced() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = start(directory.path());
    let all = default(&simulator);
    all.generate_asymmetric_key(5, label("one"), Domain::DOM1, Capability::SIGN_ECDSA, Algorithm::EcP256).unwrap();
    all.generate_asymmetric_key(6, label("two"), Domain::DOM2, Capability::SIGN_ECDSA, Algorithm::EcP256).unwrap();

    let signer = role(&simulator, 10, Domain::DOM1, Capability::SIGN_ECDSA, Capability::empty());
    signer.sign_ecdsa_prehash_raw(5, vec![0; 32]).unwrap();
    refused(signer.sign_ecdsa_prehash_raw(6, vec![0; 32]), ErrorKind::ObjectNotFound);
    refused(signer.get_object_info(6, object::Type::AsymmetricKey), ErrorKind::ObjectNotFound);
    refused(signer.delete_object(5, object::Type::AsymmetricKey), ErrorKind::InsufficientPermissions);
    refused(signer.get_log_entries(), ErrorKind::InsufficientPermissions);
    refused(signer.get_pseudo_random(1), ErrorKind::InsufficientPermissions);
    refused(signer.set_force_audit_option(AuditOption::On), ErrorKind::InsufficientPermissions);
    let seen: Vec<_> = signer.list_objects(&[]).unwrap().iter().map(|o| o.object_id).collect();
    assert_eq!(seen, [1, 5, 10], "only what shares a domain is listed");

    let maker = role(&simulator, 11, Domain::DOM1, Capability::GENERATE_ASYMMETRIC_KEY, Capability::SIGN_ECDSA);
    maker.generate_asymmetric_key(20, label("x"), Domain::DOM1, Capability::SIGN_ECDSA, Algorithm::EcP256).unwrap();
    refused(maker.sign_ecdsa_prehash_raw(20, vec![0; 32]), ErrorKind::InsufficientPermissions);
    let beyond = maker.generate_asymmetric_key(21, label("x"), Domain::DOM1, Capability::SIGN_EDDSA, Algorithm::Ed25519);
    refused(beyond, ErrorKind::InsufficientPermissions);
    let elsewhere = maker.generate_asymmetric_key(21, label("x"), Domain::DOM2, Capability::SIGN_ECDSA, Algorithm::EcP256);
    refused(elsewhere, ErrorKind::InsufficientPermissions);
}

#[test]
fn wrong_credentials_and_the_seventeenth_session_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::default();
    let simulator = Simulator::start(directory.path(), Options { clock: clock.clock(), ..Options::default() }).unwrap();
    let wrong = open(&simulator, Credentials::new(1, authentication::Key::from([0; 32]))).map(drop).unwrap_err();
    assert_eq!(*wrong.kind(), client::ErrorKind::AuthenticationError, "{wrong}");
    let unknown = open(&simulator, credentials(9)).map(drop).unwrap_err();
    assert_eq!(*unknown.kind(), client::ErrorKind::AuthenticationError, "{unknown}");

    clock.advance(Duration::from_secs(31));
    let sessions: Vec<_> = (0..16).map(|_| default(&simulator)).collect();
    let error = open(&simulator, Credentials::default()).map(drop).unwrap_err();
    assert!(error.to_string().contains("sessions full"), "{error}");
    clock.advance(Duration::from_secs(29));
    sessions[3].echo(b"still here".as_slice()).unwrap();
    clock.advance(Duration::from_secs(2));
    sessions[3].echo(b"kept by use".as_slice()).unwrap();
    sessions[4].echo(b"idle for 31 s".as_slice()).unwrap_err();
    default(&simulator).echo(b"there is room again".as_slice()).unwrap();
}

#[test]
fn the_log_is_chained_and_forced_audit_stops_the_device() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = start(directory.path());
    let client = default(&simulator);
    assert_eq!(entries(&client), [(1, command::Code::HsmInitialization), (2, command::Code::Unknown)], "after a reset");
    client.generate_asymmetric_key(5, label("p"), Domain::DOM1, Capability::SIGN_ECDSA, Algorithm::EcP256).unwrap();
    client.sign_ecdsa_prehash_raw(5, vec![0; 32]).unwrap();
    assert_eq!(entries(&client).len(), 2, "nothing is logged by default");

    client.set_command_audit_option(command::Code::SignEcdsa, AuditOption::Fix).unwrap();
    client.set_command_audit_option(command::Code::DeleteObject, AuditOption::On).unwrap();
    refused(client.set_command_audit_option(command::Code::SignEcdsa, AuditOption::Off), ErrorKind::InvalidData);
    client.sign_ecdsa_prehash_raw(5, vec![0; 32]).unwrap();
    refused(client.delete_object(77, object::Type::AsymmetricKey), ErrorKind::ObjectNotFound);
    let log = client.get_log_entries().unwrap();
    let (sign, delete) = (&log.entries[2], &log.entries[3]);
    assert_eq!((sign.cmd, sign.session_key, sign.target_key, sign.length), (command::Code::SignEcdsa, 1, 5, 34));
    assert_eq!(
        (delete.cmd, delete.target_key, delete.result),
        (command::Code::DeleteObject, 77, yubihsm::response::Code::DeviceObjectNotFound)
    );

    client.set_force_audit_option(AuditOption::On).unwrap();
    while entries(&client).len() < LOG_CAPACITY {
        client.sign_ecdsa_prehash_raw(5, vec![0; 32]).unwrap();
    }
    refused(client.sign_ecdsa_prehash_raw(5, vec![0; 32]), ErrorKind::LogFull);
    client.echo(b"what is not audited goes on".as_slice()).unwrap();
    drop(simulator);
    let simulator = start(directory.path());
    let client = default(&simulator);
    let log = client.get_log_entries().unwrap();
    assert_eq!((log.unlogged_boot_events, log.entries.len()), (1, LOG_CAPACITY), "there was no room for the boot");
    refused(client.set_log_index(9999), ErrorKind::InvalidData);
    client.set_log_index(log.entries[60].item).unwrap();
    refused(client.set_log_index(3), ErrorKind::InvalidData);
    client.sign_ecdsa_prehash_raw(5, vec![0; 32]).unwrap();
    assert_eq!(entries(&client).len(), 2);
}

#[test]
fn whoever_audits_session_messages_locks_the_device() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = start(directory.path());
    let client = default(&simulator);
    client.set_command_audit_option(command::Code::SessionMessage, AuditOption::On).unwrap();
    client.set_force_audit_option(AuditOption::On).unwrap();
    simulator.inject(Fault::FillLog).unwrap();
    client.get_log_entries().unwrap_err();
    default(&simulator).set_log_index(10).unwrap_err();
}

#[test]
fn wrapped_keys_move_to_another_device() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (start(first.path()), start(second.path()));
    let (from, to) = (default(&one), default(&two));
    let signing = Capability::SIGN_ECDSA | Capability::EXPORTABLE_UNDER_WRAP;
    let wrapping = Capability::EXPORT_WRAPPED | Capability::IMPORT_WRAPPED;
    for client in [&from, &to] {
        client.put_wrap_key(2, label("w"), Domain::all(), wrapping, signing, wrap::Algorithm::Aes256Ccm, vec![5; 32]).unwrap();
    }
    from.generate_asymmetric_key(5, label("moves"), Domain::DOM1, signing, Algorithm::EcP256).unwrap();
    from.generate_asymmetric_key(6, label("stays"), Domain::DOM1, Capability::SIGN_ECDSA, Algorithm::EcP256).unwrap();
    let stays = from.export_wrapped(2, object::Type::AsymmetricKey, 6);
    refused(stays, ErrorKind::InsufficientPermissions);

    let wrapped = from.export_wrapped(2, object::Type::AsymmetricKey, 5).unwrap();
    let mut damaged = wrapped.clone();
    damaged.ciphertext[20] ^= 1;
    refused(to.import_wrapped(2, damaged), ErrorKind::InvalidData);
    to.import_wrapped(2, wrapped.clone()).unwrap();
    assert_eq!(to.get_public_key(5).unwrap(), from.get_public_key(5).unwrap());
    assert_eq!(to.get_object_info(5, object::Type::AsymmetricKey).unwrap().origin, object::Origin::WrappedGenerated);
    refused(to.import_wrapped(2, wrapped), ErrorKind::ObjectExists);
}

#[test]
fn storage_ends_at_256_objects() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = start(directory.path());
    let client = default(&simulator);
    let storage = client.get_storage_info().unwrap();
    assert_eq!((usize::from(storage.total_records), storage.free_records), (MAX_OBJECTS, 255));
    simulator.inject(Fault::FillStorage).unwrap();
    let full = client.generate_asymmetric_key(0, label("p"), Domain::DOM1, Capability::SIGN_ECDSA, Algorithm::EcP256);
    refused(full, ErrorKind::StorageFailed);
    client.reset_device().unwrap();
    assert_eq!(default(&simulator).get_storage_info().unwrap().free_records, 255, "a reset frees everything");
}

#[test]
fn a_power_cut_leaves_all_of_a_command_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = start(directory.path());
    for (moment, survives) in [(Moment::Before, false), (Moment::After, true)] {
        let client = default(&simulator);
        simulator.inject(Fault::CutPower { moment, command: Some(0x46), skip: 0 }).unwrap();
        client.echo(b"passes".as_slice()).unwrap();
        client.generate_asymmetric_key(5, label("p"), Domain::DOM1, Capability::SIGN_ECDSA, Algorithm::EcP256).unwrap_err();
        let after = default(&simulator);
        assert_eq!(after.get_public_key(5).is_ok(), survives, "{moment:?}");
        assert_eq!(entries(&after).last().unwrap().1, command::Code::Unknown, "the boot is logged");
    }
}

#[test]
fn the_connector_fails_on_demand() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = start(directory.path());
    let client = default(&simulator);
    simulator.inject(Fault::HttpErrors(1)).unwrap();
    client.echo(b"503".as_slice()).unwrap_err();
    let client = default(&simulator);
    simulator.inject(Fault::DropSessions).unwrap();
    client.echo(b"gone".as_slice()).unwrap_err();
    simulator.inject(Fault::Unplug).unwrap();
    open(&simulator, Credentials::default()).map(drop).unwrap_err();
    simulator.inject(Fault::Plug).unwrap();
    default(&simulator).echo(b"back".as_slice()).unwrap();
}
