use super::*;
use crate::log::audit_leaf;
use crate::model::{Actor, IntentContent};
use crate::pki::{Timestamp, sha256};
use crate::ports::DeviceKind;

/// An audit trail in the making, with a device that logs.
struct Trail {
    rows: Vec<AuditRow>,
    device: Vec<DeviceLogEntry>,
    drained: usize,
    answered: u64,
}

impl Trail {
    fn begun() -> Self {
        let mut trail = Self { rows: vec![], device: vec![], drained: 0, answered: 0 };
        trail.begin();
        trail
    }

    /// What each start of a worker writes.
    fn begin(&mut self) {
        self.entry(DEVICE_LOG_BEGIN, "", Outcome::Done, serde_json::to_value(DeviceLogBegin { device: device() }).unwrap());
    }

    /// A ceremony takes what the device has, then acts, and takes what that logged.
    fn ceremony(&mut self, name: &str, signatures: u64) -> Vec<DeviceLogImport> {
        let line = |entries: Vec<DeviceLogEntry>, acts: u64| {
            let acts = if acts > 0 { [("ca".parse().unwrap(), acts)].into() } else { BTreeMap::new() };
            let (source, line) = (sha256(name.as_bytes()), entries_line(&entries));
            DeviceLogImport { device: device(), source, line, entries, acts, unlogged_boots: 0, unlogged_authentications: 0 }
        };
        let before = line(self.device[self.drained..].to_vec(), 0);
        self.drained = self.device.len();
        self.device_does();
        (0..signatures).for_each(|_| self.device_signs(Some("ca")));
        let own = line(self.device[self.drained..].to_vec(), signatures);
        self.drained = self.device.len();
        vec![before, own]
    }

    fn import(&mut self, logs: &[DeviceLogImport]) {
        logs.iter().for_each(|log| self.entry(DEVICE_LOG_IMPORT, "", Outcome::Done, serde_json::to_value(log).unwrap()));
    }

    fn push(&mut self, leaf: Vec<u8>) {
        let before = self.rows.last().map_or(CHAIN_START, |r| r.hash);
        self.rows.push(AuditRow { number: self.rows.len() as u64 + 1, hash: chain(&before, &leaf), leaf });
    }

    fn entry(&mut self, action: &str, correlation: &str, outcome: Outcome, detail: serde_json::Value) {
        let entry = AuditEntry {
            at: Timestamp::from_unix(0),
            actor: Actor::system("worker"),
            action: action.to_owned(),
            authority: None,
            object: "7".to_owned(),
            outcome,
            correlation: correlation.to_owned(),
            detail,
        };
        self.push(audit_leaf(&entry));
    }

    fn intent(&mut self, attempt: &str) {
        let content = crate::model::CrlIntent {
            tbs: vec![],
            scope: crate::model::CrlScope::FULL,
            number: 1,
            this_update: Timestamp::from_unix(0),
            next_update: Timestamp::from_unix(1),
            ledger_number: 0,
        };
        let intent = Intent {
            attempt: attempt.parse().unwrap(),
            authority: "demo".parse().unwrap(),
            key: "ca".parse().unwrap(),
            algorithm: crate::pki::SignatureAlgorithm::EcdsaP256Sha256,
            tbs_sha256: sha256(b""),
            content: IntentContent::Crl(content),
            leaf: vec![],
            origin: crate::model::Origin::Ceremony,
            actor: Actor::system("worker"),
            at: Timestamp::from_unix(0),
        };
        self.push(crate::log::intent_leaf(&intent));
    }

    fn device_does(&mut self) {
        self.device_logs(0x41, None);
    }

    fn device_signs(&mut self, key: Option<&str>) {
        self.device_logs(0x56, key);
    }

    fn device_logs(&mut self, command: u8, key: Option<&str>) {
        let number = self.device.len() as u64 + 1;
        let before = self.device.last().map_or(vec![0; 16], |e| e.raw[16..].to_vec());
        let mut raw = vec![0u8; 16];
        raw[..2].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
        (raw[2], raw[11]) = (command, command | 0x80);
        let digest = sha256(&[raw.clone(), before].concat()).0[..16].to_vec();
        raw.extend(digest);
        let key = key.map(|k| k.parse().unwrap());
        let (is_signature, command) = (command == 0x56, format!("{command:#x}"));
        self.device.push(DeviceLogEntry { number, command, key, is_signature, succeeded: true, raw });
    }

    fn drain_from(&mut self, from: usize) {
        let entries = self.device[from..].to_vec();
        self.drained = self.device.len();
        let answered = [("ca".parse().unwrap(), std::mem::take(&mut self.answered))].into();
        let batch = DeviceLogBatch { entries, answered, unlogged_boots: 0, unlogged_authentications: 0 };
        self.entry(DEVICE_LOG, "", Outcome::Done, serde_json::to_value(batch).unwrap());
    }

    fn drain(&mut self) {
        self.drain_from(self.drained);
    }

    fn issue(&mut self, attempt: &str) {
        self.intent(attempt);
        self.device_signs(Some("ca"));
        self.answered += 1;
        self.entry("certificate.release", attempt, Outcome::Done, serde_json::Value::Null);
    }

    fn result(&self) -> Reconciliation {
        let mut reconciler = Reconciler::default();
        self.rows.iter().for_each(|row| reconciler.take(row).unwrap());
        reconciler.finish()
    }
}

fn device() -> DeviceIdentity {
    DeviceIdentity { kind: DeviceKind::YubiHsm2, model: "simulated".to_owned(), serial: "7".to_owned(), firmware: None }
}

fn entries_line(entries: &[DeviceLogEntry]) -> u64 {
    entries.last().map_or(0, |e| e.number)
}

#[track_caller]
fn check(trail: &Trail, expected: &[&str]) {
    let result = trail.result();
    assert_eq!(result.findings.len(), expected.len(), "{:#?}", result.findings);
    for (finding, part) in result.findings.iter().zip(expected) {
        assert!(finding.contains(part), "{finding}: {part}");
    }
}

#[test]
fn recorded_signatures_are_clean() {
    let mut trail = Trail::begun();
    trail.issue("a1");
    trail.drain();
    trail.issue("a2");
    // This one's signature is read before its release is on record.
    trail.intent("a3");
    trail.device_signs(Some("ca"));
    trail.drain();
    trail.entry("crl.release", "a3", Outcome::Done, serde_json::Value::Null);
    trail.drain();
    check(&trail, &[]);
    let account = trail.result().keys[&"ca".parse().unwrap()];
    assert_eq!(account, KeyAccount { signatures: 3, intended: 3, signed: 3, ceremonies: 0, unexplained: 0, missing: 0 });
    assert_eq!(trail.result().devices["7"], 3);
}

#[test]
fn a_signature_behind_the_back_is_found() {
    let mut trail = Trail::begun();
    trail.issue("a1");
    trail.device_signs(Some("ca"));
    trail.drain();
    check(&trail, &["signed with `ca` 1 times more"]);
    // A later intent does not explain it.
    trail.issue("a2");
    trail.drain();
    check(&trail, &["signed with `ca` 1 times more"]);
    trail.device_signs(None);
    trail.drain();
    check(&trail, &["signed with `ca` 1 times more", "not the CA's"]);
}

#[test]
fn an_abandoned_attempt_may_have_been_signed() {
    let mut trail = Trail::begun();
    trail.intent("a1");
    trail.device_signs(Some("ca"));
    trail.entry("certificate.abandon", "a1", Outcome::Done, serde_json::Value::Null);
    trail.drain();
    check(&trail, &[]);
    assert_eq!(trail.result().keys[&"ca".parse().unwrap()].surplus(), 1);
}

#[test]
fn a_log_with_a_gap_or_less_than_the_record_is_found() {
    let mut trail = Trail::begun();
    trail.issue("a1");
    trail.drain();
    trail.issue("a2");
    trail.issue("a3");
    trail.drain_from(2);
    check(&trail, &["does not follow", "lacks 1 signatures with `ca`"]);
    // A later signature does not hide it, and says nothing new.
    trail.issue("a4");
    trail.drain();
    check(&trail, &["does not follow", "lacks 1 signatures with `ca`"]);
}

#[test]
fn a_drain_that_was_repeated_counts_once() {
    let mut trail = Trail::begun();
    trail.issue("a1");
    trail.drain();
    trail.issue("a2");
    trail.drain_from(0);
    check(&trail, &[]);
    assert_eq!(trail.result().keys[&"ca".parse().unwrap()].signatures, 2);
}

#[test]
fn the_chain_is_checked_first() {
    let mut trail = Trail::begun();
    trail.issue("a1");
    let take = |rows: &[AuditRow]| {
        let mut reconciler = Reconciler::default();
        rows.iter().try_for_each(|row| reconciler.take(row))
    };
    assert_eq!(take(&trail.rows[1..]), Err(ChainError::Gap { after: 0, found: 2 }));
    trail.rows[1].leaf.push(b' ');
    assert_eq!(take(&trail.rows), Err(ChainError::Hash(2)));
}

/// A worker has signed; then a ceremony on its device takes what is there and signs once.
fn with_a_ceremony() -> (Trail, Vec<DeviceLogImport>) {
    let mut trail = Trail::begun();
    trail.issue("a1");
    trail.drain();
    // The worker stops before it drains this one.
    trail.issue("a2");
    let ceremony = trail.ceremony("one", 1);
    (trail, ceremony)
}

/// A worker starts again and signs.
fn goes_on(trail: &mut Trail, attempt: &str) {
    trail.begin();
    trail.answered = 0;
    trail.device_does();
    trail.drain();
    trail.issue(attempt);
    trail.drain();
}

#[test]
fn a_ceremony_is_a_gap_until_its_bundle_is_imported_before_or_after() {
    let (mut trail, ceremony) = with_a_ceremony();
    goes_on(&mut trail, "a3");
    check(&trail, &["has a gap (hint: import the bundle of the ceremony"]);
    trail.import(&ceremony);
    check(&trail, &[]);
    let result = trail.result();
    let account = result.keys[&"ca".parse().unwrap()];
    assert_eq!((account.signatures, account.signed, account.ceremonies, account.missing), (3, 3, 1, 0), "{account:?}");
    let share = &result.ceremonies[0];
    assert_eq!((share.transcript, share.signatures[&"ca".parse().unwrap()]), (sha256(b"one"), 1));
    assert_eq!(result.devices["7"], trail.device.len() as u64);
    // Once more changes nothing, and the worker goes on.
    trail.import(&ceremony);
    goes_on(&mut trail, "a4");
    check(&trail, &[]);

    let (mut trail, ceremony) = with_a_ceremony();
    trail.import(&ceremony);
    goes_on(&mut trail, "a3");
    check(&trail, &[]);
}

#[test]
fn a_signature_behind_the_back_around_a_ceremony_is_found() {
    // Before it, while no worker ran: later attempts that were never signed do not explain it, whenever the bundle comes.
    for late in [false, true] {
        let mut trail = Trail::begun();
        trail.issue("a1");
        trail.drain();
        trail.device_signs(Some("ca"));
        let ceremony = trail.ceremony("one", 1);
        if !late {
            trail.import(&ceremony);
        }
        goes_on(&mut trail, "a2");
        trail.intent("a3");
        trail.entry("certificate.abandon", "a3", Outcome::Done, serde_json::Value::Null);
        if late {
            trail.import(&ceremony);
        }
        check(&trail, &["signed with `ca` 1 times more than was on record"]);
    }
    // After it.
    let (mut trail, ceremony) = with_a_ceremony();
    trail.device_signs(Some("ca"));
    goes_on(&mut trail, "a3");
    trail.import(&ceremony);
    check(&trail, &["signed with `ca` 1 times more than was on record"]);
    // In it, beyond its acts; and with a key that nobody knows.
    for key in [Some("ca"), None] {
        let (mut trail, mut ceremony) = with_a_ceremony();
        let before = trail.device.len();
        trail.device_signs(key);
        ceremony[1].entries.extend(trail.device[before..].to_vec());
        trail.drained = trail.device.len();
        trail.import(&ceremony);
        goes_on(&mut trail, "a3");
        check(
            &trail,
            &[if key.is_some() { "signed with `ca` 1 times more" } else { "1 signatures by the device 7 with a key that is not the CA's" }],
        );
    }
    // An act that did not come to its signature explains no other one.
    let (mut trail, mut ceremony) = with_a_ceremony();
    ceremony[1].acts = [("ca".parse().unwrap(), 2)].into();
    trail.import(&ceremony);
    trail.device_signs(Some("ca"));
    let other = trail.ceremony("two", 0);
    trail.import(&other);
    goes_on(&mut trail, "a3");
    check(&trail, &["signed with `ca` 1 times more"]);
}

#[test]
fn ceremonies_fill_a_gap_in_any_order_and_all_of_them_must() {
    let (mut trail, one) = with_a_ceremony();
    trail.device_does();
    let two = trail.ceremony("two", 2);
    goes_on(&mut trail, "a3");
    trail.import(&two);
    check(&trail, &["has a gap"]);
    trail.import(&one);
    check(&trail, &[]);
    assert_eq!(trail.result().ceremonies.len(), 2);
}

#[test]
fn a_ceremony_before_the_first_worker_is_where_the_log_goes_on() {
    let begin = |unseen: bool| {
        let mut trail = Trail { rows: vec![], device: vec![], drained: 0, answered: 0 };
        trail.device_does();
        let first = trail.ceremony("first", 3);
        trail.import(&first);
        trail.device_does();
        if unseen {
            trail.drained = trail.device.len();
        }
        goes_on(&mut trail, "a1");
        trail
    };
    check(&begin(false), &[]);
    assert!(begin(false).result().ceremonies.is_empty(), "the account begins with the worker");
    check(&begin(true), &["has a gap"]);
}

#[test]
fn a_record_of_entries_that_no_device_wrote_is_a_finding() {
    let (mut trail, mut ceremony) = with_a_ceremony();
    ceremony[1].entries.iter_mut().for_each(|e| e.is_signature = false);
    trail.import(&ceremony[1..]);
    check(&trail, &["or not as a device wrote them"]);
    let (mut trail, mut ceremony) = with_a_ceremony();
    ceremony[1].entries.reverse();
    trail.import(&ceremony[1..]);
    check(&trail, &["or not as a device wrote them"]);
}

#[test]
fn what_a_ceremony_drained_again_is_known() {
    // A worker died between the record and the device's acknowledgement: the ceremony has those entries too.
    let mut trail = Trail::begun();
    trail.issue("a1");
    trail.drain();
    trail.drained = 0;
    let ceremony = trail.ceremony("one", 1);
    trail.import(&ceremony);
    goes_on(&mut trail, "a2");
    check(&trail, &[]);
    assert_eq!(trail.result().keys[&"ca".parse().unwrap()].signatures, 2);
}
