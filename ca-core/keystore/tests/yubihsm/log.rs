//! The device's own log (ceremony requirement 35).

use std::fs;
use std::path::PathBuf;

use ca_core::pki::{KeyAlgorithm, SignatureAlgorithm};
use ca_core::ports::{KeyDevice as _, KeyStore as _, SignInput};
use ca_keystore::yubihsm::{DrainError, Drained, JournalLine, LogJournal, LogStart, Role, YubiHsmKeyStore};
use ca_yubihsm_simulator::{Fault, Moment};

use crate::bench::{Bench, id, label, make};

const SET_LOG_INDEX: u8 = 0x67;

fn journal(bench: &Bench) -> PathBuf {
    bench.path().join("journal.jsonl")
}

async fn drain(bench: &Bench, store: &YubiHsmKeyStore) -> Result<Drained, DrainError> {
    LogJournal::open(journal(bench)).unwrap().drain(store, LogStart::AtReset).await
}

fn commands(drained: &Drained) -> Vec<&str> {
    drained.entries.iter().map(|e| e.command.as_str()).collect()
}

async fn sign(store: &YubiHsmKeyStore, name: &str) -> Result<Vec<u8>, ca_core::ports::KeyStoreError> {
    store.sign(&label(name), SignatureAlgorithm::EcdsaP256Sha256, SignInput::Message(b"m")).await
}

#[tokio::test]
async fn ceremony_35_every_use_of_a_key_is_drained_once_and_in_order() {
    let bench = Bench::provisioned();
    let store = bench.store(&[Role::Ceremony, Role::Signer]);
    let auditor = bench.store(&[Role::Auditor]);
    let first = drain(&bench, &auditor).await.unwrap();
    assert_eq!(first.entries[0].command, "reset");
    assert!(commands(&first).contains(&"put-authentication-key") && commands(&first).contains(&"set-option"), "{first:?}");

    make(&store, "root", KeyAlgorithm::P256).await;
    sign(&store, "root").await.unwrap();
    sign(&store, "root").await.unwrap();
    let second = drain(&bench, &auditor).await.unwrap();
    assert_eq!(commands(&second), ["generate-asymmetric-key", "sign-ecdsa", "sign-ecdsa"]);
    let uses: Vec<_> = second.entries.iter().map(|e| (e.is_signature, e.succeeded, e.key.clone())).collect();
    assert_eq!(uses[1], (true, true, Some(label("root"))));
    assert_eq!((drain(&bench, &auditor).await.unwrap().entries.len(), auditor.log().await.unwrap().unwrap().entries.len()), (0, 0));

    // What was refused is on record too.
    let client = bench.client(id(Role::Auditor)).unwrap();
    client.delete_object(2, yubihsm::object::Type::WrapKey).unwrap_err();
    let third = drain(&bench, &auditor).await.unwrap();
    let last = third.entries.last().unwrap();
    assert_eq!((last.command.as_str(), last.succeeded), ("delete-object", false));
    let all: Vec<_> = LogJournal::read(journal(&bench)).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(all.len(), first.entries.len() + second.entries.len() + third.entries.len());
}

#[tokio::test]
async fn ceremony_35_a_signature_by_a_key_that_was_destroyed_since_names_it() {
    let bench = Bench::provisioned();
    let store = bench.store(&[Role::Ceremony, Role::Signer, Role::Auditor]);
    make(&store, "root", KeyAlgorithm::P256).await;
    drain(&bench, &store).await.unwrap();
    sign(&store, "root").await.unwrap();
    store.destroy(&label("root")).await.unwrap();
    let drained = drain(&bench, &store).await.unwrap();
    assert_eq!(commands(&drained), ["sign-ecdsa", "delete-object"]);
    assert_eq!(drained.entries[0].key, Some(label("root")));
}

#[tokio::test]
async fn ceremony_35_entries_are_durable_here_before_the_device_forgets_them() {
    for moment in [Moment::Before, Moment::After] {
        let bench = Bench::provisioned();
        let auditor = bench.store(&[Role::Auditor]);
        bench.simulator.inject(Fault::CutPower { moment, command: Some(SET_LOG_INDEX), skip: 0 }).unwrap();
        drain(&bench, &auditor).await.expect_err("the power went away");
        let recorded = LogJournal::read(journal(&bench)).unwrap().count();
        assert!(recorded > 30, "{moment:?}: the entries were recorded first");
        let again = drain(&bench, &auditor).await.unwrap();
        assert_eq!(commands(&again).iter().filter(|c| **c == "boot").count(), 1, "{moment:?}: the start after the cut, and nothing twice");
        assert!(!commands(&again).contains(&"set-option"), "{moment:?}: {again:?}");
    }
}

#[tokio::test]
async fn ceremony_35_a_line_cut_off_by_a_power_cut_here_is_fetched_again() {
    let bench = Bench::provisioned();
    let auditor = bench.store(&[Role::Auditor]);
    bench.simulator.inject(Fault::CutPower { moment: Moment::Before, command: Some(SET_LOG_INDEX), skip: 0 }).unwrap();
    drain(&bench, &auditor).await.unwrap_err();
    let text = fs::read(journal(&bench)).unwrap();
    fs::write(journal(&bench), &text[..text.len() - 40]).unwrap();
    let again = drain(&bench, &auditor).await.unwrap();
    assert!(commands(&again).len() > 2 && commands(&again).contains(&"boot"), "{again:?}");
    assert!(LogJournal::read(journal(&bench)).unwrap().all(|line| line.is_ok()), "the journal is whole");
}

#[tokio::test]
async fn ceremony_35_a_gap_is_found_and_nothing_moves() {
    let bench = Bench::provisioned();
    let (store, auditor) = (bench.store(&[Role::Ceremony, Role::Signer]), bench.store(&[Role::Auditor]));
    make(&store, "root", KeyAlgorithm::P256).await;
    drain(&bench, &auditor).await.unwrap();
    // Somebody signs, and acknowledges the entry behind the journal's back.
    sign(&store, "root").await.unwrap();
    let unseen = auditor.log().await.unwrap().unwrap();
    auditor.acknowledge_log(unseen.entries.last().unwrap().number).await.unwrap();
    sign(&store, "root").await.unwrap();
    let error = drain(&bench, &auditor).await.unwrap_err();
    assert!(matches!(error, DrainError::Gap(_)), "{error}");
    assert!(error.to_string().contains("acknowledged its log unseen"), "{error}");
    assert_eq!(auditor.log().await.unwrap().unwrap().entries.len(), 1, "the device still has what it had");

    // A journal that went missing does not begin anew by itself.
    fs::remove_file(journal(&bench)).unwrap();
    assert!(matches!(drain(&bench, &auditor).await, Err(DrainError::Gap(_))));
    let mut accepted = LogJournal::open(journal(&bench)).unwrap();
    assert_eq!(accepted.drain(&*auditor, LogStart::Anywhere).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn ceremony_35_a_journal_goes_on_over_what_a_ceremony_drained() {
    let bench = Bench::provisioned();
    let (store, auditor) = (bench.store(&[Role::Ceremony, Role::Signer]), bench.store(&[Role::Auditor]));
    make(&store, "root", KeyAlgorithm::P256).await;
    drain(&bench, &auditor).await.unwrap();
    // A ceremony puts this into its transcript.
    sign(&store, "root").await.unwrap();
    sign(&store, "root").await.unwrap();
    let taken = auditor.log().await.unwrap().unwrap().entries;
    auditor.acknowledge_log(taken.last().unwrap().number).await.unwrap();
    sign(&store, "root").await.unwrap();
    let error = drain(&bench, &auditor).await.unwrap_err().to_string();
    assert!(error.contains("after a ceremony give its bundle"), "{error}");
    let bridge = |entries: &[ca_core::ports::DeviceLogEntry]| {
        LogJournal::open(journal(&bench)).unwrap().bridge(entries, LogStart::AtReset).map_err(|e| e.to_string())
    };
    assert!(bridge(&taken[1..]).unwrap_err().contains("does not continue the journal"));
    assert_eq!((bridge(&taken), bridge(&taken), bridge(&[])), (Ok(2), Ok(0), Ok(0)));
    assert_eq!(commands(&drain(&bench, &auditor).await.unwrap()), ["sign-ecdsa"]);
    assert!(LogJournal::read(journal(&bench)).unwrap().all(|line| line.is_ok()), "the journal is whole");
}

#[tokio::test]
async fn devices_are_told_what_a_store_may_not_look_at() {
    let bench = Bench::provisioned();
    let found = bench.store(&[Role::Signer, Role::Auditor]).deviations_from_reset().await.unwrap();
    assert!(found.len() == 1 && found[0].contains("set up before"), "{found:?}");
}

#[tokio::test]
async fn ceremony_35_a_changed_line_in_the_journal_is_found() {
    let bench = Bench::provisioned();
    drain(&bench, &bench.store(&[Role::Auditor])).await.unwrap();
    let text = fs::read_to_string(journal(&bench)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = [&lines[..5], &lines[6..]].concat().join("\n") + "\n";
    fs::write(journal(&bench), without).unwrap();
    let error = LogJournal::open(journal(&bench)).expect_err("a line is missing").to_string();
    assert!(error.contains("breaks off between its entries 5 and 7"), "{error}");
    let read: Vec<_> = LogJournal::read(journal(&bench)).unwrap().collect();
    assert!(read.last().unwrap().is_err() && read.len() == 6, "auditors read up to the gap");
}

#[tokio::test]
async fn ceremony_35_a_full_log_stops_the_device_until_it_is_drained() {
    let bench = Bench::provisioned();
    let (store, auditor) = (bench.store(&[Role::Ceremony, Role::Signer]), bench.store(&[Role::Auditor]));
    make(&store, "root", KeyAlgorithm::P256).await;
    bench.simulator.inject(Fault::FillLog).unwrap();
    let error = sign(&store, "root").await.unwrap_err().to_string();
    assert!(error.contains("the device's log is full") && error.contains("hint: drain the log"), "{error}");
    let error = store.health().await.unwrap_err().to_string();
    assert!(error.contains("the device's log is full"), "{error}");
    // The device starts and is logged into meanwhile, and has no room to say so.
    bench.simulator.inject(Fault::Plug).unwrap();
    let drained = drain(&bench, &auditor).await.unwrap();
    assert!(
        drained.unlogged_boots == 1 && drained.unlogged_authentications >= 1,
        "{} {}",
        drained.unlogged_boots,
        drained.unlogged_authentications
    );
    let lines: Vec<_> = LogJournal::read(journal(&bench)).unwrap().map(Result::unwrap).collect();
    assert!(matches!(lines.last(), Some(JournalLine::Unlogged { boots: 1, .. })), "that something went unlogged is on record");
    sign(&store, "root").await.expect("it signs again");
    store.health().await.expect("green again");
}

#[test]
fn ceremony_35_the_audit_settings_are_fixed_and_cannot_lock_the_device() {
    use yubihsm::AuditOption;
    use yubihsm::command::Code;
    let bench = Bench::provisioned();
    let client = bench.client(id(Role::Ceremony)).unwrap();
    let options = client.get_commands_audit_options().unwrap();
    let set = |code| options.iter().find(|o| o.command_type() == code).unwrap().audit_option();
    for code in [
        Code::SignEcdsa,
        Code::SignEddsa,
        Code::ImportWrapped,
        Code::ExportWrapped,
        Code::DeleteObject,
        Code::PutAuthenticationKey,
        Code::SetOption,
    ] {
        assert_eq!(set(code), AuditOption::Fix, "{code:?}");
    }
    for code in [Code::GetLogEntries, Code::SetLogIndex, Code::SessionMessage] {
        assert_eq!(set(code), AuditOption::Off, "{code:?}");
    }
    assert_eq!(client.get_force_audit_option().unwrap(), AuditOption::Fix);
}
