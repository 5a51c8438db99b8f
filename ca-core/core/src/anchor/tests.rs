//! No sequence of steps ever goes back, and what officers may lift is only what they signed.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ceremony::quorum::tests::{roster, signed};
use crate::model::{AuthorityName, CrlScope, GrantStatus};
use crate::pki::{Sha256Digest, Timestamp, sha256};
use crate::ports::{Anchor as _, AnchorError};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + seconds)
}

fn digest(n: u64) -> Sha256Digest {
    sha256(&n.to_be_bytes())
}

fn demo() -> AuthorityName {
    "demo".parse().unwrap()
}

fn beginning() -> Beginning {
    let roster = roster().digest();
    let log = LogHead { number: 5, head: digest(5) };
    Beginning { genesis_roster: roster, roster_number: 0, roster, policy_version: 1, policy: digest(1), log, now: at(0) }
}

fn state() -> AnchorState {
    AnchorState::new(beginning())
}

fn spend(nonce: &str, end: i64) -> AnchorStep {
    AnchorStep::Spend { nonce: nonce.to_owned(), expires_at: at(end) }
}

fn crl(number: u64) -> AnchorStep {
    AnchorStep::Crl { authority: demo(), scope: CrlScope::FULL, number }
}

fn log(number: u64) -> AnchorStep {
    AnchorStep::Log(LogHead { number, head: digest(number) })
}

fn policy(version: u64, seed: u64) -> AnchorStep {
    AnchorStep::Policy { version, policy: digest(seed) }
}

#[track_caller]
fn check(steps: &[AnchorStep], now: i64, expected: Result<(), &str>) {
    let before = state().after(&[crl(7), log(9), policy(2, 2), spend("used", 100)], at(10)).unwrap();
    match (before.after(steps, at(now)), expected) {
        (Ok(_), Ok(())) => {}
        (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
        (found, _) => panic!("{steps:?}: {found:?}"),
    }
}

#[test]
fn what_does_not_follow_is_refused() {
    check(&[crl(8), crl(9), log(12), policy(3, 3)], 11, Ok(()));
    check(&[crl(7)], 11, Err("has signed 7"));
    check(&[policy(1, 1)], 11, Err("has policy version 1"));
    check(&[policy(2, 3)], 11, Err("has policy version 2"));
    check(&[policy(2, 2), log(9)], 11, Ok(()));
    check(&[log(8)], 11, Err("ends at number 8"));
    check(&[AnchorStep::Log(LogHead { number: 9, head: digest(0) })], 11, Err("ends at number 9"));
    check(&[AnchorStep::Roster { number: 2, roster: digest(2) }], 11, Err("one in between is missing"));
    check(&[AnchorStep::Roster { number: 1, roster: digest(2) }, AnchorStep::Roster { number: 0, roster: digest(0) }], 11, Err("number 0"));
    check(&[spend("used", 100)], 11, Err("used before"));
    check(&[spend("new", 100), spend("new", 100)], 11, Err("used before"));
    check(&[spend("late", 11)], 11, Err("ended at"));
    check(&[spend("", 100)], 11, Err("1 to 128"));
    check(&[spend(&"n".repeat(129), 100)], 11, Err("1 to 128"));
    check(&[], -290, Ok(()));
    check(&[], -291, Err("the clock says"));
    let issue = || AnchorStep::Issue { authority: demo(), cap: 2 };
    check(&[issue(), issue()], 11, Ok(()));
    check(&[issue(), issue(), issue()], 11, Err("has issued the 2 certificates an hour"));
    check(&[AnchorStep::Stop, issue()], 11, Err("stopped"));
    check(&[AnchorStep::Stop, crl(8), AnchorStep::Resume, issue()], 11, Ok(()));
    check(&[AnchorStep::Issued { authority: demo(), minutes: vec![(at(0).unix() / 60, 2)] }, issue()], 11, Err("has issued the 2"));
    check(&[AnchorStep::Issued { authority: demo(), minutes: vec![(0, 1); 62] }], 11, Err("62 minutes"));
}

#[test]
fn all_steps_or_none() {
    let anchor = MemoryAnchor::new(state());
    let before = anchor.state();
    assert!(anchor.take(&[crl(8), AnchorStep::Stop, log(1)], at(1)).is_err());
    assert_eq!(anchor.state(), before);
    anchor.take(&[crl(8), AnchorStep::Stop], at(1)).unwrap();
    assert!(anchor.state().is_stopped());
    assert_eq!(anchor.state().crl_number(&demo(), CrlScope::FULL), 8);
}

#[test]
fn spent_approvals_are_bounded_and_forgotten_when_they_end() {
    let steps: Vec<AnchorStep> = (0..AnchorState::MAX_SPENT as i64).map(|n| spend(&format!("n{n}"), 100 + n)).collect();
    let full = state().after(&steps, at(1)).unwrap();
    assert!(full.after(&[spend("more", 9000)], at(1)).unwrap_err().to_string().contains("wait until some do"));
    let later = full.after(&[spend("more", 9000)], at(200)).unwrap();
    assert_eq!(later.spent(), AnchorState::MAX_SPENT - 101 + 1);
    // Forgotten, yet not to be shown again, whatever the clock says.
    assert!(later.after(&[spend("n0", 100)], at(0)).unwrap_err().to_string().contains("ended at"));
}

fn statement(operation: AnchorOperation, replaces: Option<LogHead>) -> AnchorStatement {
    let b = beginning();
    AnchorStatement {
        format: AnchorStatement::FORMAT.to_owned(),
        operation,
        authority: "root".parse().unwrap(),
        genesis_roster: b.genesis_roster,
        roster_number: 0,
        roster: b.roster,
        policy_version: 1,
        policy_sha256: b.policy,
        log: LogHead { number: 3, head: digest(3) },
        replaces,
        nonce: "ab".repeat(16),
        issued_at: at(50),
        expires_at: at(5000),
    }
}

fn approve(statement: &AnchorStatement, seeds: &[u8], now: i64) -> Result<ApprovedAnchor, crate::ceremony::CeremonyError> {
    let bytes = statement.to_bytes();
    let signatures = signed(seeds, "ceremony@countersign", &bytes);
    ApprovedAnchor::verify(statement.operation, &bytes, &signatures, &roster(), at(now))
}

#[test]
fn a_new_anchor_is_signed_by_enough_officers() {
    let init = statement(AnchorOperation::Init, None);
    let approved = approve(&init, &[1, 3], 60).unwrap();
    assert_eq!(approved.officers(), ["ana", "bela"]);
    let begun = approved.begin(at(60)).unwrap();
    assert_eq!((begun.log(), begun.policy()), (init.log, (1, digest(1))));
    assert!(begun.is_spent(&init.nonce), "one approval makes one anchor");

    assert!(approve(&init, &[1, 2], 60).unwrap_err().to_string().contains("1 of 2 officers"), "two keys of one person");
    assert!(approve(&init, &[1, 3], 5000).unwrap_err().to_string().contains("ended at"));
    assert!(
        approve(&AnchorStatement { roster: digest(9), ..init.clone() }, &[1, 3], 60).unwrap_err().to_string().contains("another roster")
    );
    let bytes = init.to_bytes();
    let signatures = signed(&[1, 3], "ceremony@countersign", &bytes);
    let other = ApprovedAnchor::verify(AnchorOperation::AcceptRestore, &bytes, &signatures, &roster(), at(60));
    assert!(other.unwrap_err().to_string().contains("another act"));
    let mut edited = bytes;
    edited.push(b' ');
    assert!(ApprovedAnchor::verify(AnchorOperation::Init, &edited, &signatures, &roster(), at(60)).is_err());
}

#[test]
fn an_accepted_restore_moves_the_log_and_nothing_else() {
    let mut before = state().after(&[crl(7), log(9), policy(2, 2), AnchorStep::Stop, spend("used", 9000)], at(40)).unwrap();
    // A clock that was wrong once has moved the latest time years ahead, and a short-lived approval is forgotten.
    before = before.after(&[spend("short", 4000)], at(40)).unwrap();
    before = before.after(&[], at(4500)).unwrap();
    let accept = statement(AnchorOperation::AcceptRestore, Some(before.log()));
    let approved = approve(&accept, &[3, 4], 60).unwrap();
    assert!(approved.begin(at(60)).is_err(), "it makes no new anchor");
    let after = before.accept_restore(&approved, at(60)).unwrap();
    assert_eq!((after.log(), after.latest()), (accept.log, at(60)));
    assert_eq!((after.policy(), after.crl_number(&demo(), CrlScope::FULL), after.is_stopped()), ((2, digest(2)), 7, true));
    assert!(after.is_spent("used"));
    // The clock was set back four thousand seconds: what was forgotten meanwhile is still not taken.
    assert!(after.after(&[spend("short", 4000)], at(61)).unwrap_err().to_string().contains("ended at"));
    assert!(after.after(&[policy(1, 1)], at(61)).is_err());
    assert!(after.after(&[crl(7)], at(61)).is_err());

    let again = after.accept_restore(&approved, at(62)).unwrap_err();
    assert!(again.to_string().contains("gives up another record"), "{again}");
    let back = after.after(&[log(9)], at(62)).unwrap();
    assert_eq!(back.accept_restore(&approved, at(63)), Err(AnchorError::Spent));
    let elsewhere = AnchorState::new(Beginning { roster_number: 1, ..beginning() });
    assert!(elsewhere.accept_restore(&approved, at(60)).unwrap_err().to_string().contains("another roster"));
}

fn any_step() -> impl Strategy<Value = AnchorStep> {
    prop_oneof![
        (0..6u64, 0..3u64).prop_map(|(number, seed)| AnchorStep::Roster { number, roster: digest(seed) }),
        (0..6u64, 0..3u64).prop_map(|(version, seed)| policy(version, seed)),
        (0..6u8, 0..8000i64).prop_map(|(nonce, end)| spend(&format!("n{nonce}"), end)),
        Just(AnchorStep::Stop),
        (0..3u8, 1..4u32, 0..4u64, 0..5u64).prop_map(|(id, version, statement, before)| AnchorStep::Grant {
            id: format!("g{id}").parse().unwrap(),
            place: GrantPlace { version, statement: digest(statement), replaces: before.checked_sub(1).map(digest), issued_at: at(0) },
        }),
        (0..3u8, any::<bool>()).prop_map(|(id, revoked)| AnchorStep::GrantStatus {
            id: format!("g{id}").parse().unwrap(),
            status: if revoked { GrantStatus::Revoked } else { GrantStatus::Suspended },
        }),
        Just(AnchorStep::Resume),
        Just(AnchorStep::Issue { authority: demo(), cap: 4 }),
        (0..70i64, 0..6u32).prop_map(|(m, count)| AnchorStep::Issued { authority: demo(), minutes: vec![(at(m * 60).unix() / 60, count)] }),
        (0..12u64).prop_map(crl),
        (0..12u64, 0..12u64).prop_map(|(number, head)| AnchorStep::Log(LogHead { number, head: digest(head) })),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_steps_goes_back(rounds in prop::collection::vec((prop::collection::vec(any_step(), 0..4), -400i64..900), 1..60)) {
        let (mut state, mut now) = (state(), 0);
        let mut spent = BTreeSet::new();
        let mut issued: Vec<i64> = Vec::new();
        for (steps, later) in rounds {
            now += later;
            let Ok(next) = state.after(&steps, at(now)) else { continue };
            prop_assert!(next.roster().0 >= state.roster().0);
            prop_assert!(next.roster().0 > state.roster().0 || next.roster() == state.roster());
            prop_assert!(next.policy().0 > state.policy().0 || next.policy() == state.policy());
            prop_assert!(next.log().number > state.log().number || next.log() == state.log());
            prop_assert!(next.crl_number(&demo(), CrlScope::FULL) >= state.crl_number(&demo(), CrlScope::FULL));
            for id in ["g0", "g1", "g2"].map(|id| id.parse().unwrap()) {
                let Some(before) = state.grant(&id) else { continue };
                let after = next.grant(&id);
                prop_assert!(after.is_some_and(|after| after.version >= before.version));
                prop_assert!(before.status != GrantStatus::Revoked || after == Some(before));
            }
            prop_assert!(next.latest() >= state.latest());
            prop_assert!(at(now).plus(AnchorState::CLOCK_TOLERANCE) >= next.latest());
            let resumed = steps.contains(&AnchorStep::Resume);
            prop_assert!(next.is_stopped() || resumed || !state.is_stopped());
            for step in &steps {
                match step {
                    AnchorStep::Spend { nonce, expires_at } => {
                        prop_assert!(spent.insert((nonce.clone(), *expires_at)), "one approval, one act");
                    }
                    AnchorStep::Issue { .. } => issued.push(now),
                    _ => {}
                }
            }
            // An hour of the latest time: what a clock, set back a little, brings into its own hour again had left that one.
            let within = issued.iter().filter(|then| at(**then + 3540) > next.latest()).count();
            prop_assert!(within <= 4, "{within} in an hour");
            state = next;
        }
    }

    #[test]
    fn the_stored_form_reads_back(steps in prop::collection::vec(any_step(), 0..40)) {
        let mut state = state();
        for step in steps {
            let text = serde_json::to_string(&step).unwrap();
            prop_assert_eq!(&serde_json::from_str::<AnchorStep>(&text).unwrap(), &step);
            state = state.after(&[step], at(1)).unwrap_or(state);
        }
        let text = serde_json::to_string(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<AnchorState>(&text).unwrap(), state);
    }
}

#[test]
fn rates_count_over_an_hour_and_no_more() {
    let issue = [AnchorStep::Issue { authority: demo(), cap: 1 }];
    let once = state().after(&issue, at(0)).unwrap();
    let Err(AnchorError::RateLimited { wait, .. }) = once.after(&issue, at(1)) else { panic!("the cap holds") };
    assert!(wait <= Duration::from_secs(3600));
    assert!(once.after(&issue, at(1).plus(wait)).is_ok());
    // A clock that is set back a little finds the hour as the latest time left it.
    let two = [AnchorStep::Issue { authority: demo(), cap: 2 }];
    let back = once.after(&two, at(3600)).unwrap().after(&two, at(3540)).unwrap();
    assert!(matches!(back.after(&two, at(3540)), Err(AnchorError::RateLimited { .. })));
}
