//! The file: torn, cut off, damaged, held twice, in the wrong place.

use ca_core::anchor::{AnchorOperation, AnchorStatement, LogHead};
use ca_core::ceremony::{CeremonyKind, Officer, Roster};
use ca_core::evidence::sshsig;
use ca_core::model::CrlScope;
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

use super::*;
use crate::exit::code_of;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + seconds)
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn roster() -> Roster {
    let officer = |name: &str, seed| Officer { name: name.to_owned(), keys: vec![key(seed).public_key().to_openssh().unwrap()] };
    let officers = vec![officer("ana", 1), officer("bela", 2), officer("cora", 3)];
    Roster { kind: CeremonyKind::Rehearsal, threshold: 2, officers }
}

fn place(number: u64) -> LogHead {
    LogHead { number, head: sha256(&number.to_be_bytes()) }
}

fn approved(operation: AnchorOperation, log: LogHead, replaces: Option<LogHead>) -> ApprovedAnchor {
    let roster = roster();
    let digest = roster.digest();
    let statement = AnchorStatement {
        format: AnchorStatement::FORMAT.to_owned(),
        operation,
        authority: "root".parse().unwrap(),
        genesis_roster: digest,
        roster_number: 0,
        roster: digest,
        policy_version: 1,
        policy_sha256: sha256(b"policy"),
        log,
        replaces,
        nonce: format!("{:032x}", log.number),
        issued_at: at(0),
        expires_at: at(100_000),
    };
    let bytes = statement.to_bytes();
    let signatures: Vec<String> = [1, 3].map(|s| sshsig::sign(&key(s), roster.kind.namespace(), &bytes).unwrap()).to_vec();
    ApprovedAnchor::verify(operation, &bytes, &signatures, &roster, at(1)).unwrap()
}

fn crl(number: u64) -> AnchorStep {
    AnchorStep::Crl { authority: "demo".parse().unwrap(), scope: CrlScope::FULL, number }
}

fn issue() -> AnchorStep {
    AnchorStep::Issue { authority: "demo".parse().unwrap(), cap: 1000 }
}

struct Place {
    folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self { path: folder.path().join("anchor"), folder }
    }

    async fn create(&self) -> FileAnchor {
        FileAnchor::create(&self.path, &approved(AnchorOperation::Init, place(5), None), &[crl(7)], at(1)).await.unwrap()
    }

    async fn open(&self) -> anyhow::Result<FileAnchor> {
        FileAnchor::open(&self.path).await
    }

    #[track_caller]
    fn refused(&self, opened: anyhow::Result<FileAnchor>, exit: Exit, part: &str) {
        let error = opened.unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains("hint:"), "{error}");
        assert_eq!(code_of(&error), exit, "{error}");
    }
}

#[tokio::test]
async fn what_was_taken_is_there_at_the_next_start() {
    let place = Place::new();
    let anchor = place.create().await;
    assert_eq!(fs::metadata(&place.path).unwrap().mode() & 0o777, 0o600);
    anchor.take(&[issue(), AnchorStep::Log(super::tests::place(9))], at(2)).unwrap();
    anchor.take(&[crl(8), AnchorStep::Stop], at(3)).unwrap();
    anchor.take(&[AnchorStep::Spend { nonce: "n".repeat(32), expires_at: at(500) }], at(3)).unwrap();
    assert!(anchor.take(&[crl(9), crl(8)], at(4)).is_err(), "all or none");
    let state = anchor.state();
    assert_eq!(read(&place.path).unwrap().state, *state, "reading needs no lock");
    drop(anchor);
    let again = place.open().await.unwrap();
    assert_eq!(*again.state(), *state);
    assert_eq!(again.take(&[AnchorStep::Spend { nonce: "n".repeat(32), expires_at: at(500) }], at(5)), Err(AnchorError::Spent));
    assert_eq!(again.take(&[issue()], at(5)), Err(AnchorError::Stopped));
}

#[tokio::test]
async fn a_write_that_was_cut_off_at_any_byte_is_left_out() {
    let place = Place::new();
    let anchor = place.create().await;
    anchor.take(&[crl(8)], at(2)).unwrap();
    let before = fs::read(&place.path).unwrap();
    anchor.take(&[crl(9)], at(3)).unwrap();
    let after = fs::read(&place.path).unwrap();
    drop(anchor);
    let demo = "demo".parse().unwrap();
    for length in before.len()..after.len() {
        fs::write(&place.path, &after[..length]).unwrap();
        let opened = place.open().await.unwrap();
        // All but the newline is a whole line.
        let whole = u64::from(length + 1 == after.len());
        assert_eq!(opened.state().crl_number(&demo, CrlScope::FULL), 8 + whole, "cut at {length}");
        opened.take(&[crl(10)], at(3)).unwrap();
        assert_eq!(read(&place.path).unwrap().state.crl_number(&demo, CrlScope::FULL), 10);
    }
    // A block that was allocated and never written.
    let mut zeros = before.clone();
    zeros.extend(vec![0; after.len() - before.len()]);
    fs::write(&place.path, &zeros).unwrap();
    assert_eq!(place.open().await.unwrap().state().crl_number(&demo, CrlScope::FULL), 8);
}

#[tokio::test]
async fn a_power_cut_before_the_rename_leaves_the_old_file() {
    let place = Place::new();
    let anchor = place.create().await;
    anchor.take(&[crl(8)], at(2)).unwrap();
    let state = anchor.state();
    drop(anchor);
    let whole = fs::read(&place.path).unwrap();
    for length in [0, 10, whole.len()] {
        fs::write(beside(&place.path, ".new"), &whole[..length]).unwrap();
        assert_eq!(*place.open().await.unwrap().state(), *state);
        assert!(!beside(&place.path, ".new").exists());
    }
}

#[tokio::test]
async fn a_damaged_byte_anywhere_is_refused() {
    let place = Place::new();
    let anchor = place.create().await;
    anchor.take(&[crl(8)], at(2)).unwrap();
    anchor.take(&[AnchorStep::Stop], at(3)).unwrap();
    drop(anchor);
    let whole = fs::read(&place.path).unwrap();
    for i in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[i] ^= 1;
        fs::write(&place.path, &damaged).unwrap();
        place.refused(place.open().await, Exit::Refused, "is damaged");
    }
    // A line that went missing, and one that moved.
    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    for order in [vec![0, 2], vec![1, 2], vec![0, 2, 1], vec![0, 1, 1]] {
        fs::write(&place.path, order.iter().flat_map(|i| lines[*i].to_vec()).collect::<Vec<u8>>()).unwrap();
        place.refused(place.open().await, Exit::Refused, "is damaged");
    }
    fs::write(&place.path, b"").unwrap();
    place.refused(place.open().await, Exit::Refused, "no first line");
    fs::write(&place.path, &whole).unwrap();
    assert!(place.open().await.unwrap().state().is_stopped());
}

#[tokio::test]
async fn one_process_holds_it_and_it_is_never_replaced() {
    let place = Place::new();
    let anchor = place.create().await;
    place.refused(place.open().await, Exit::Temporary, "is in use");
    drop(anchor);
    let again = FileAnchor::create(&place.path, &approved(AnchorOperation::Init, super::tests::place(5), None), &[], at(1)).await;
    place.refused(again, Exit::Refused, "already");
}

#[tokio::test]
async fn a_missing_or_open_place_is_refused_and_nothing_is_made() {
    let place = Place::new();
    place.refused(place.open().await, Exit::Configuration, "there is no anchor");
    assert!(!place.path.exists());
    let anchor = place.create().await;
    drop(anchor);
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o640)).unwrap();
    place.refused(place.open().await, Exit::Configuration, "others may touch");
    fs::set_permissions(&place.path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
    place.refused(place.open().await, Exit::Configuration, "others may change");
    let nowhere = place.folder.path().join("no/such/anchor");
    place.refused(FileAnchor::open(&nowhere).await, Exit::Configuration, "the folder of the anchor");
}

#[tokio::test]
async fn a_write_that_fails_takes_nothing_and_the_next_begins_a_new_file() {
    let place = Place::new();
    let anchor = place.create().await;
    // A handle that can't be written stands for a full or failing disk.
    let broken = Arc::new(File::open("/dev/null").unwrap());
    anchor.lock().journal.as_mut().unwrap().file = broken;
    let before = anchor.state();
    assert!(matches!(anchor.take(&[crl(8)], at(2)), Err(AnchorError::Unavailable(_))));
    assert_eq!(anchor.state(), before);
    anchor.take(&[crl(8)], at(2)).unwrap();
    assert_eq!(read(&place.path).unwrap().state, *anchor.state());
    // The folder is gone: nothing is taken, and with it back all is well.
    let moved = place.folder.path().with_extension("moved");
    fs::rename(place.folder.path(), &moved).unwrap();
    anchor.lock().journal = None;
    assert!(matches!(anchor.take(&[crl(9)], at(3)), Err(AnchorError::Unavailable(_))));
    fs::rename(&moved, place.folder.path()).unwrap();
    anchor.take(&[crl(9)], at(3)).unwrap();
    drop(anchor);
    assert_eq!(place.open().await.unwrap().state().crl_number(&"demo".parse().unwrap(), CrlScope::FULL), 9);
}

#[tokio::test]
async fn an_idle_worker_does_not_fill_the_file_and_a_busy_one_starts_it_anew() {
    let place = Place::new();
    let anchor = place.create().await;
    anchor.take(&[AnchorStep::Log(super::tests::place(6))], at(2)).unwrap();
    let size = || fs::metadata(&place.path).unwrap().len();
    let begun = size();
    for second in 3..62 {
        anchor.take(&[AnchorStep::Log(super::tests::place(6))], at(second)).unwrap();
    }
    assert_eq!(size(), begun);
    anchor.take(&[AnchorStep::Log(super::tests::place(6))], at(62)).unwrap();
    assert!(size() > begun, "the time is kept now and then");
    anchor.lock().journal.as_mut().unwrap().bytes = COMPACT;
    anchor.take(&[issue()], at(63)).unwrap();
    let text = fs::read_to_string(&place.path).unwrap();
    assert_eq!(text.lines().count(), 2, "the state, and the step");
    anchor.flush().unwrap();
}

#[tokio::test]
async fn an_accepted_restore_is_durable_and_counts_once() {
    let place = Place::new();
    let anchor = place.create().await;
    anchor.take(&[AnchorStep::Log(super::tests::place(9)), crl(8)], at(2)).unwrap();
    let accept = approved(AnchorOperation::AcceptRestore, super::tests::place(3), Some(super::tests::place(9)));
    anchor.accept_restore(&accept, at(3)).unwrap();
    drop(anchor);
    let again = place.open().await.unwrap();
    assert_eq!(again.state().log(), super::tests::place(3));
    assert_eq!(again.state().crl_number(&"demo".parse().unwrap(), CrlScope::FULL), 8);
    assert!(again.accept_restore(&accept, at(4)).is_err());
}
