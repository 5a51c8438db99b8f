//! What the keyholder decides, from values: no process, no socket.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ca_core::pki::Timestamp;
use ca_custody::keyholder::{Audit, AuditEvent, Custody, Peer, Uid};
use ca_keystore::keyholder::{Answer, CredentialStatus, Refusal, Request, Unlock};
use ca_keystore::shares::{Dealing, Purpose, Share};
use ca_testkit::SeededRng;

const OFFICER: Peer = Peer { uid: 1001, pid: 11 };
const OTHER_OFFICER: Peer = Peer { uid: 1002, pid: 12 };
const WORKER: Peer = Peer { uid: 990, pid: 13 };
const STRANGER: Peer = Peer { uid: 4000, pid: 14 };
const ROOT: Peer = Peer { uid: 0, pid: 15 };

/// An audit trail in memory, whose disk can be full.
#[derive(Clone, Default)]
struct Trail(Arc<Mutex<(Vec<AuditEvent>, bool)>>);

impl Audit for Trail {
    fn write(&mut self, events: &[AuditEvent]) -> io::Result<()> {
        let mut trail = self.0.lock().unwrap();
        if trail.1 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        trail.0.extend_from_slice(events);
        Ok(())
    }
}

struct Case {
    custody: Custody<Trail>,
    trail: Trail,
    dealing: Dealing,
    now: Timestamp,
}

fn dealing(name: &str, seed: u64) -> Dealing {
    let holders = ["ana", "bela", "cora"].map(|h| h.parse().unwrap()).to_vec();
    Dealing::of_random(name.parse().unwrap(), Purpose::Pkcs11Pin, 2, holders, Timestamp::from_unix(0), &SeededRng::new(seed)).unwrap()
}

impl Case {
    fn new() -> Self {
        let (trail, dealing) = (Trail::default(), dealing("token", 1));
        let mut custody = Custody::new(vec![Uid(OFFICER.uid), Uid(OTHER_OFFICER.uid)], trail.clone());
        custody.add_attended(dealing.set.clone(), vec![Uid(WORKER.uid)]);
        Self { custody, trail, dealing, now: Timestamp::from_unix(1_800_000_000) }
    }

    fn ask(&mut self, request: Request, peer: Peer) -> Answer {
        self.custody.answer(request, peer, self.now)
    }

    fn give(&mut self, position: usize, peer: Peer) -> Answer {
        let share = self.dealing.shares[position].clone();
        self.ask(Request::Give { share }, peer)
    }

    fn take(&mut self, peer: Peer) -> Answer {
        self.ask(Request::Take { credential: "token".parse().unwrap() }, peer)
    }

    fn seal(&mut self, peer: Peer) -> Answer {
        self.ask(Request::Seal { credential: None }, peer)
    }

    fn status(&mut self) -> CredentialStatus {
        match self.ask(Request::Status, OFFICER) {
            Answer::Status { credentials } => credentials.into_iter().next().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn unseal(&mut self) {
        self.give(0, OFFICER);
        assert!(matches!(self.give(2, OTHER_OFFICER), Answer::Accepted { missing: 0 }));
    }

    fn events(&self) -> Vec<String> {
        let trail = self.trail.0.lock().unwrap();
        trail.0.iter().map(|e| format!("{} {} {}", e.event, e.holder.as_ref().map_or("-", |h| h.as_str()), e.uid.unwrap_or(0))).collect()
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
    }
}

#[track_caller]
fn check(answer: Answer, expected: Refusal, text: &str) {
    match answer {
        Answer::Refused { why, message } => assert!(why == expected && message.contains(text), "{why:?}: {message}"),
        other => panic!("{other:?} was not refused"),
    }
}

#[test]
fn two_of_three_holders_unseal_and_the_worker_has_it_until_one_person_seals() {
    let mut case = Case::new();
    check(case.take(WORKER), Refusal::Sealed, "needs 2 shares and has 0: 2 more (hint: any of ana, bela, cora)");
    assert!(matches!(case.give(0, OFFICER), Answer::Accepted { missing: 1 }));
    let status = case.status();
    assert_eq!((status.unsealed, status.threshold, status.given.len(), status.given[0].holder.as_str()), (false, 2, 1, "ana"));
    check(case.take(WORKER), Refusal::Sealed, "has 1, of ana: 1 more (hint: any of bela, cora)");
    assert!(matches!(case.give(2, OTHER_OFFICER), Answer::Accepted { missing: 0 }));
    for _ in 0..2 {
        let expected = case.dealing.secret.credential(&"token".parse().unwrap(), Purpose::Pkcs11Pin);
        match case.take(WORKER) {
            Answer::Credential { purpose: Purpose::Pkcs11Pin, unlock: Unlock::Attended, secret } => {
                let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, secret.as_bytes()).unwrap();
                assert_eq!(bytes, expected.expose());
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(case.status().unsealed);
    check(case.give(1, OFFICER), Refusal::Share, "needs no shares now");
    assert!(matches!(case.seal(OTHER_OFFICER), Answer::Sealed { credentials } if credentials.len() == 1));
    check(case.take(WORKER), Refusal::Sealed, "needs 2 shares and has 0");
    assert!(matches!(case.seal(OFFICER), Answer::Sealed { credentials } if credentials.is_empty()));
    assert_eq!(
        case.events(),
        ["share-accepted ana 1001", "share-accepted cora 1002", "unsealed - 0", "given - 990", "given - 990", "sealed - 1002"]
    );
    let trail = serde_json::to_string(&case.trail.0.lock().unwrap().0).unwrap();
    let pin = case.dealing.secret.credential(&"token".parse().unwrap(), Purpose::Pkcs11Pin);
    assert!(!trail.contains(std::str::from_utf8(pin.expose()).unwrap()), "the record has no content");
}

#[test]
fn only_those_who_are_named_may() {
    let mut case = Case::new();
    case.unseal();
    for peer in [OFFICER, STRANGER, ROOT] {
        check(case.take(peer), Refusal::Denied, &format!("user {} may not have the credential `token`", peer.uid));
    }
    for peer in [WORKER, STRANGER, ROOT] {
        check(case.seal(peer), Refusal::Denied, "may not seal");
        check(case.give(0, peer), Refusal::Denied, "may not give shares");
    }
    check(case.ask(Request::Status, STRANGER), Refusal::Denied, "may not ask");
    assert!(case.custody.knows(WORKER.uid) && case.custody.knows(OFFICER.uid) && !case.custody.knows(STRANGER.uid));
    check(case.ask(Request::Take { credential: "other".parse().unwrap() }, WORKER), Refusal::Unknown, "no credential `other`");
    assert_eq!(case.events().iter().filter(|e| e.starts_with("denied")).count(), 10, "each is on record");
    assert!(matches!(case.take(WORKER), Answer::Credential { .. }), "and nothing was lost by it");
}

#[test]
fn a_wrong_share_loses_nothing_and_costs_time() {
    let mut case = Case::new();
    case.give(0, OFFICER);
    let foreign = dealing("token", 2).shares[1].clone();
    let mut json = serde_json::to_value(&case.dealing.shares[1]).unwrap();
    json["secret"] = serde_json::to_value(&case.dealing.shares[2]).unwrap()["secret"].clone();
    let changed: Share = serde_json::from_value(json).unwrap();

    check(case.ask(Request::Give { share: foreign.clone() }, OTHER_OFFICER), Refusal::Share, "the share of `bela` is of another set");
    check(case.ask(Request::Give { share: changed.clone() }, OTHER_OFFICER), Refusal::Later, "try again in 1 s");
    case.wait(1);
    check(case.ask(Request::Give { share: changed }, OTHER_OFFICER), Refusal::Share, "the share of `bela` was changed or damaged");
    check(case.give(1, OTHER_OFFICER), Refusal::Later, "try again in 2 s");
    check(case.give(0, OFFICER), Refusal::Share, "`ana` has given a share already");
    assert_eq!(case.status().given.len(), 1, "the good one is there");
    assert!(matches!(case.give(1, OFFICER), Answer::Accepted { missing: 0 }), "another officer does not wait");

    let mut case = Case::new();
    let mut seconds = 0;
    for _ in 0..10 {
        check(case.ask(Request::Give { share: foreign.clone() }, OFFICER), Refusal::Share, "another set");
        seconds = match case.ask(Request::Give { share: foreign.clone() }, OFFICER) {
            Answer::Refused { why: Refusal::Later, message } => message.split(' ').rev().nth(1).unwrap().parse().unwrap(),
            other => panic!("{other:?}"),
        };
        case.wait(seconds);
    }
    assert_eq!(seconds, 900, "ten in a row wait a quarter of an hour");
}

#[test]
fn shares_do_not_lie_about() {
    let mut case = Case::new();
    case.give(0, OFFICER);
    case.wait(3600);
    assert_eq!(case.status().given.len(), 1);
    case.wait(1);
    assert_eq!(case.status().given.len(), 0);
    assert!(matches!(case.give(1, OFFICER), Answer::Accepted { missing: 1 }));
    assert_eq!(case.events(), ["share-accepted ana 1001", "shares-expired - 0", "share-accepted bela 1001"]);
    assert!(matches!(case.seal(OFFICER), Answer::Sealed { credentials } if credentials.len() == 1), "sealing forgets single shares too");
    assert_eq!(case.status().given.len(), 0);
}

#[test]
fn what_cannot_be_recorded_is_not_done_save_sealing() {
    let full = |case: &Case, full| case.trail.0.lock().unwrap().1 = full;
    let mut case = Case::new();
    full(&case, true);
    check(case.give(0, OFFICER), Refusal::Failed, "nothing was done");
    assert_eq!(case.status().given.len(), 0);
    full(&case, false);
    case.unseal();
    full(&case, true);
    check(case.take(WORKER), Refusal::Failed, "nothing was done");
    check(case.seal(OFFICER), Refusal::Failed, "it is sealed, and that could not be written");
    full(&case, false);
    check(case.take(WORKER), Refusal::Sealed, "sealed");
}

#[test]
fn host_sealed_is_told_apart() {
    let mut case = Case::new();
    let credential = dealing("staging", 5).secret.credential(&"staging".parse().unwrap(), Purpose::YubihsmKey);
    case.custody.add_host_sealed(credential, vec![Uid(WORKER.uid)]);
    let take = Request::Take { credential: "staging".parse().unwrap() };
    assert!(matches!(case.ask(take, WORKER), Answer::Credential { unlock: Unlock::HostSealed, purpose: Purpose::YubihsmKey, .. }));
    case.ask(Request::Seal { credential: Some("staging".parse().unwrap()) }, OFFICER);
    check(case.ask(Request::Take { credential: "staging".parse().unwrap() }, WORKER), Refusal::Sealed, "sealed by hand");
}
