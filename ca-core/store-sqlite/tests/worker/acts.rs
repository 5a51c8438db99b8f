//! What officers do on the running CA, and what an edited database can't make of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use ca_core::anchor::{AnchorState, AnchorStep, MemoryAnchor};
use ca_core::ceremony::{ActStatement, Roster};
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::{OperatorReply, ProposalRequest, ProposalView, Trusted};
use ca_core::model::{
    BulkChoice, CertificateFilter, LedgerEvent, OrderStatus, Problem, ProblemType, ProposalState, RevocationReason, SerialStatus,
    StoredApproval,
};
use ca_core::pki::{SerialNumber, Timestamp};
use ca_core::plan::CRL_BATCH;
use ca_core::policy::Policy;
use ca_core::ports::{AdminStore as _, Anchor, AnchorError, ApprovalStore as _, Clock as _, StatusStore as _};
use ca_testkit::officers::{officer, roster, signatures};
use serde_json::json;

use crate::desk::{Client, Desk, demo};

const DAY: Duration = Duration::from_secs(86_400);

impl Desk {
    async fn propose(&self, request: ProposalRequest) -> ProposalView {
        self.worker.propose(request, DAY).await.unwrap()
    }

    /// The officers with these keys sign.
    async fn approve(&self, view: &ProposalView, seeds: &[u8]) -> Result<ProposalView, Problem> {
        self.worker.approve(&view.proposal.id, &signatures(seeds, &view.proposal.statement)).await
    }

    async fn put_in_force(&self, policy: &str, seeds: &[u8]) -> ProposalView {
        let view = self.propose(ProposalRequest::PutPolicy { policy: policy.to_owned() }).await;
        self.approve(&view, seeds).await.unwrap()
    }

    async fn change_roster(&self, roster: &Roster, seeds: &[u8]) -> ProposalView {
        let view = self.propose(ProposalRequest::ChangeRoster { roster: roster.clone() }).await;
        self.approve(&view, seeds).await.unwrap()
    }

    async fn issued(&self, client: &Client, count: usize) -> Vec<SerialNumber> {
        let mut serials = Vec::new();
        for _ in 0..count {
            let id = self.finalized(client, json!({})).await;
            self.worker.step_requests().await.unwrap();
            serials.push(self.order(&id).await.serial.unwrap());
        }
        serials
    }

    /// A subscriber's certificate that is not revoked.
    async fn unrevoked(&self) -> SerialNumber {
        let all = self.certificates().await;
        all.iter().find(|c| c.profile == "client" && c.revoked.is_none() && c.order.is_some()).unwrap().serial
    }

    async fn is_revoked(&self, serial: &SerialNumber) -> bool {
        matches!(self.store.status(&demo(), serial).await.unwrap(), Some(SerialStatus::Revoked { .. }))
    }

    fn hold(serial: SerialNumber) -> Operation {
        Operation::CertificateHold { authority: demo(), serial }
    }

    fn policy_text(&self, version: u64) -> String {
        toml_of(&Policy { version, ..self.policy.clone() })
    }
}

fn toml_of(policy: &Policy) -> String {
    // Through JSON, which the policy's types have too: this crate needs no TOML writer.
    let mut out = format!("version = {}\n", policy.version);
    for authority in &policy.authorities {
        out += &format!("[[authority]]\nname = \"{}\"\nkey_sha256 = \"{}\"\n", authority.name, authority.key_sha256);
        out += &format!("names = {}\n", serde_json::to_string(&authority.names).unwrap());
        out += &format!(
            "max_per_hour = {}\ncrl_validity = {}\ncrl_interval = {}\n",
            authority.max_per_hour, authority.crl_validity, authority.crl_interval
        );
        for (name, profile) in &authority.profiles {
            out += &format!("[authority.profile.{name}]\nshape = \"{}\"\nlifetime = {}\n", profile.shape, profile.lifetime);
        }
    }
    for operator in &policy.operators {
        let may = serde_json::to_string(&operator.may).unwrap();
        out += &format!("[[operator]]\nname = \"{}\"\nkey = \"{}\"\nmay = {may}\n", operator.name, operator.key);
    }
    out
}

#[track_caller]
fn refused(result: Result<ProposalView, Problem>, part: &str) {
    let problem = result.unwrap_err();
    assert_eq!(problem.kind, ProblemType::Unauthorized, "{problem:?}");
    assert!(problem.detail.contains(part), "{problem:?}");
}

/// Without bela, with dora (key 105).
fn second_roster() -> Roster {
    let mut next = roster();
    next.officers[1] = officer("dora", &[105]);
    next
}

#[tokio::test]
async fn ceremony_11_nothing_happens_before_enough_people_signed_and_then_at_once() {
    let mut desk = Desk::open().await;
    let client = desk.account().await;
    let view = desk.propose(ProposalRequest::PutPolicy { policy: desk.policy_text(2).replace("2592000", "3600") }).await;
    assert_eq!((view.needed, view.signed_by.len(), view.void.as_deref()), (2, 0, None));
    // Ana's two keys, and her signature twice, are one person.
    let after = desk.approve(&view, &[101, 102, 101]).await.unwrap();
    assert_eq!((after.proposal.state, after.signed_by.as_slice()), (ProposalState::Pending, &["ana".to_owned()][..]));
    assert_eq!(desk.worker.policy().version, 1);
    assert!(desk.audit_has(&["approval.add", "ana", "policy.put"]).await);

    let after = desk.approve(&view, &[104]).await.unwrap();
    assert_eq!((after.proposal.state, after.signed_by.len()), (ProposalState::Done, 2));
    assert!(desk.audit_has(&["policy.put", "ana", "cora", "\"done\""]).await, "with every officer's name");
    assert_eq!(desk.worker.policy().version, 2);
    assert_eq!(desk.anchor.state().policy(), (2, desk.worker.officers().policy_sha256));
    // Without a restart.
    let serial = desk.issued(&client, 1).await[0];
    assert_eq!(desk.certificate(serial).await.not_after, desk.clock.now().plus(Duration::from_secs(3600)));
    // And after one.
    let trusted = desk.restart_from_record().await;
    assert_eq!((trusted.policy.version, trusted.officers.policy_approved_by), (2, vec!["ana".to_owned(), "cora".to_owned()]));
}

/// The worker looks each second for acts to go on with; an officer who signs meanwhile is not sent away.
#[tokio::test]
async fn ceremony_11_the_last_signature_counts_while_the_worker_looks_for_acts() {
    let desk = Desk::open().await;
    let view = desk.propose(ProposalRequest::PutPolicy { policy: desk.policy_text(2) }).await;
    desk.approve(&view, &[101]).await.unwrap();
    // The read may end before the look is asked of it; then it was not under way.
    let mut looks = 0;
    let look = loop {
        let mut look = Box::pin(desk.worker.step_acts());
        if std::future::poll_fn(|context| Poll::Ready(look.as_mut().poll(context).is_pending())).await {
            break look;
        }
        looks += 1;
        assert!(looks < 10_000, "no look was ever under way");
    };
    assert_eq!(desk.approve(&view, &[104]).await.unwrap().proposal.state, ProposalState::Done);
    assert_eq!(look.await.unwrap(), 0);
}

/// A revocation of 2,100 certificates, more than a step takes: it is under way.
async fn long_revocation(desk: &Desk) -> ProposalView {
    desk.edit(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2100)
         INSERT INTO certificates (authority, serial, state, profile, subject, identifiers, spki_sha256, not_before, not_after,
                                   crl_partition, der, created_at)
         SELECT 'demo', unhex(printf('%040x', i)), 'released', 'client', '', '[]', zeroblob(32), 0, 9999999999, 0, x'00', 1 FROM n",
    )
    .await;
    let filter = CertificateFilter { profile: Some("client".to_owned()), ..Default::default() };
    let choice = Box::new(BulkChoice { authority: demo(), serials: vec![], filter, replaced: false });
    let view = desk.propose(ProposalRequest::RevokeBulk { choice, reason: RevocationReason::KeyCompromise }).await;
    let begun = desk.approve(&view, &[101, 104]).await.unwrap();
    assert_eq!(begun.proposal.state, ProposalState::Begun);
    begun
}

#[tokio::test]
async fn a_stop_waits_for_no_act_and_what_waited_for_one_is_done_after_it() {
    let desk = Desk::open().await;
    let bulk = long_revocation(&desk).await;
    let stop = desk.propose(ProposalRequest::Stop { reason: "a key is out".to_owned() }).await;
    let policy = desk.propose(ProposalRequest::PutPolicy { policy: desk.policy_text(2) }).await;
    let state = async |view: &ProposalView| desk.worker.proposal(&view.proposal.id).await.unwrap().unwrap().proposal.state;
    // A withdrawal is sent away while an act is under way; of what is not there, it takes nothing away.
    let is_under_way =
        async || desk.worker.withdraw(&ca_core::model::ProposalId::of("none")).await.unwrap_err().detail.contains("under way");
    let mut step = Box::pin(desk.worker.step_acts());
    loop {
        let polled = std::future::poll_fn(|context| Poll::Ready(step.as_mut().poll(context))).await;
        assert!(polled.is_pending(), "the act never was under way");
        if is_under_way().await {
            break;
        }
    }
    assert_eq!(desk.approve(&stop, &[103]).await.unwrap().proposal.state, ProposalState::Done);
    assert!(desk.anchor.state().is_stopped());
    let waiting = desk.approve(&policy, &[101, 104]).await.unwrap();
    assert_eq!((waiting.proposal.state, waiting.signed_by.len()), (ProposalState::Pending, 2));
    assert!(is_under_way().await, "it was under way all the time");
    assert_eq!(desk.worker.policy().version, 1);

    step.await.unwrap();
    while desk.worker.step_acts().await.unwrap() > 0 {}
    assert_eq!((state(&bulk).await, state(&policy).await), (ProposalState::Done, ProposalState::Done));
    assert_eq!(desk.worker.policy().version, 2);
    assert!(desk.audit_has(&["policy.put", "ana", "cora", "\"done\""]).await);
}

#[tokio::test]
async fn a_death_between_the_last_signature_and_the_act_is_made_good() {
    let mut desk = Desk::open().await;
    let policy = desk.propose(ProposalRequest::PutPolicy { policy: desk.policy_text(2) }).await;
    let store = async |desk: &Desk, officer: &str, seed: u8| {
        let signature = signatures(&[seed], &policy.proposal.statement).remove(0);
        let approval = StoredApproval { officer: officer.to_owned(), signature, at: desk.clock.now() };
        desk.store.add_approval(&policy.proposal.id, &approval, &ca_testkit::store::audit("approval.add")).await.unwrap();
    };
    let state = async |desk: &Desk| desk.worker.proposal(&policy.proposal.id).await.unwrap().unwrap().proposal.state;
    // One person, whatever names the rows have.
    store(&desk, "ana", 101).await;
    store(&desk, "cora", 102).await;
    desk.restart();
    assert_eq!((desk.worker.step_acts().await.unwrap(), state(&desk).await), (0, ProposalState::Pending));
    store(&desk, "cora", 104).await;
    desk.restart();
    assert_eq!(desk.worker.step_acts().await.unwrap(), 1);
    assert_eq!((desk.worker.policy().version, state(&desk).await), (2, ProposalState::Done));
    assert!(desk.audit_has(&["policy.put", "ana", "cora", "\"done\""]).await);
    assert_eq!(desk.worker.step_acts().await.unwrap(), 0);

    // Too late is too late.
    let late = desk.propose(ProposalRequest::PutPolicy { policy: desk.policy_text(3) }).await;
    for (officer, seed) in [("ana", 101), ("cora", 104)] {
        let signature = signatures(&[seed], &late.proposal.statement).remove(0);
        let approval = StoredApproval { officer: officer.to_owned(), signature, at: desk.clock.now() };
        desk.store.add_approval(&late.proposal.id, &approval, &ca_testkit::store::audit("approval.add")).await.unwrap();
    }
    desk.clock.advance(DAY);
    assert_eq!((desk.worker.step_acts().await.unwrap(), desk.worker.policy().version), (0, 2));
}

/// An anchor that can't be written while it is full, but for what is small.
struct FullAnchor {
    inner: Arc<MemoryAnchor>,
    is_full: AtomicBool,
}

impl Anchor for FullAnchor {
    fn state(&self) -> Arc<AnchorState> {
        self.inner.state()
    }
    fn take(&self, steps: &[AnchorStep], now: Timestamp) -> Result<(), AnchorError> {
        let is_refused = steps.iter().any(|step| matches!(step, AnchorStep::Policy { .. } | AnchorStep::Roster { .. }));
        if is_refused && self.is_full.load(Ordering::SeqCst) {
            return Err(AnchorError::Unavailable("no space left on device".to_owned()));
        }
        self.inner.take(steps, now)
    }
    fn flush(&self) -> Result<(), AnchorError> {
        self.inner.flush()
    }
}

#[tokio::test]
async fn an_act_that_the_store_has_comes_into_force_once_the_anchor_can_be_written() {
    let mut desk = Desk::open().await;
    let anchor = Arc::new(FullAnchor { inner: Arc::clone(&desk.anchor), is_full: AtomicBool::new(true) });
    desk.restart_on(Arc::clone(&anchor) as _);
    let state = async |desk: &Desk, view: &ProposalView| desk.worker.proposal(&view.proposal.id).await.unwrap().unwrap().proposal.state;

    let policy = desk.put_in_force(&desk.policy_text(2), &[101, 104]).await;
    assert_eq!((policy.proposal.state, desk.worker.policy().version), (ProposalState::Begun, 1));
    // Looked at again and again, it turns no wheel.
    assert_eq!(desk.worker.step_acts().await.unwrap(), 0);
    assert_eq!(state(&desk, &policy).await, ProposalState::Begun);
    anchor.is_full.store(false, Ordering::SeqCst);
    assert_eq!(desk.worker.step_acts().await.unwrap(), 1);
    assert_eq!((state(&desk, &policy).await, desk.worker.policy().version), (ProposalState::Done, 2));
    assert_eq!(desk.anchor.state().policy(), (2, desk.worker.officers().policy_sha256));
    assert_eq!(desk.worker.officers().policy_approved_by, ["ana", "cora"]);

    anchor.is_full.store(true, Ordering::SeqCst);
    let change = desk.change_roster(&second_roster(), &[101, 103]).await;
    assert_eq!((change.proposal.state, desk.worker.officers().chain.number()), (ProposalState::Begun, 0));
    assert_eq!(desk.worker.step_acts().await.unwrap(), 0);
    anchor.is_full.store(false, Ordering::SeqCst);
    assert_eq!(desk.worker.step_acts().await.unwrap(), 1);
    assert_eq!((state(&desk, &change).await, desk.worker.officers().chain.number()), (ProposalState::Done, 1));
    assert_eq!(desk.anchor.state().roster(), (1, second_roster().digest()));
    // As the next start sees it.
    let trusted = desk.restart_from_record().await;
    assert_eq!((trusted.policy.version, trusted.officers.chain.number()), (2, 1));
    assert_eq!(desk.worker.step_acts().await.unwrap(), 0);
}

#[tokio::test]
async fn ceremony_33_one_approval_allows_one_act() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let serial = desk.issued(&client, 1).await[0];
    desk.operate(Desk::hold(serial)).await.unwrap();
    let view = desk.propose(ProposalRequest::Unhold { authority: demo(), serial }).await;
    desk.approve(&view, &[101, 103]).await.unwrap();
    assert!(!desk.is_revoked(&serial).await);
    desk.operate(Desk::hold(serial)).await.unwrap();
    refused(desk.approve(&view, &[101, 103]).await, "has ended");

    // Someone sets the rows back: what the anchor has spent stays spent.
    desk.edit("UPDATE proposals SET state = 'pending', ended_at = NULL, reason = NULL; DELETE FROM nonces").await;
    refused(desk.approve(&view, &[101]).await, "used before");
    assert!(desk.is_revoked(&serial).await, "nothing happened");
    assert!(desk.audit_has(&["approval.submit", "refused", "used before"]).await);
    desk.edit("UPDATE proposals SET state = 'begun', ended_at = NULL, reason = NULL; DELETE FROM nonces").await;
    desk.worker.step_acts().await.unwrap();
    assert!(desk.is_revoked(&serial).await, "an act that is no revocation is not taken up again");

    // Too late, and for another CA's standing.
    let late = desk.propose(ProposalRequest::Unhold { authority: demo(), serial }).await;
    desk.clock.advance(DAY);
    refused(desk.approve(&late, &[101, 103]).await, "ended at");
    assert!(desk.is_revoked(&serial).await);
}

#[tokio::test]
async fn ceremony_10_a_removed_officers_approvals_are_void() {
    let mut desk = Desk::open().await;
    let policy = desk.propose(ProposalRequest::PutPolicy { policy: desk.policy_text(2) }).await;
    desk.approve(&policy, &[103]).await.unwrap();
    // Bela may vote on it, and is gone with it.
    let change = desk.change_roster(&second_roster(), &[101, 103]).await;
    assert_eq!(change.proposal.state, ProposalState::Done);
    assert_eq!(desk.anchor.state().roster(), (1, second_roster().digest()));
    let view = desk.worker.proposal(&policy.proposal.id).await.unwrap().unwrap();
    assert_eq!(view.proposal.state, ProposalState::Ended, "{:?}", view.proposal.reason);
    // Someone sets the row back: it stands on another roster.
    desk.edit("UPDATE proposals SET state = 'pending', ended_at = NULL, reason = NULL WHERE state = 'ended'").await;
    refused(desk.approve(&policy, &[101]).await, "void");
    assert_eq!(desk.worker.policy().version, 1);
    desk.worker.withdraw(&policy.proposal.id).await.unwrap();

    // A new proposal: bela is nobody, dora is someone.
    let again = desk.propose(ProposalRequest::PutPolicy { policy: desk.policy_text(2) }).await;
    refused(desk.approve(&again, &[103]).await, "none of the officers");
    assert!(desk.audit_has(&["approval.submit", "refused", "none of the officers"]).await);
    desk.approve(&again, &[101, 105]).await.unwrap();
    assert_eq!(desk.worker.policy().version, 2);
    let trusted = desk.restart_from_record().await;
    assert_eq!((trusted.policy.version, trusted.officers.chain.number()), (2, 1));

    // Those who left can't put a policy in force behind the worker, not even with a row for it.
    let mut forged = desk.propose(ProposalRequest::PutPolicy { policy: desk.policy_text(3) }).await.proposal;
    let statement = ActStatement::parse(forged.statement.as_bytes()).unwrap();
    let mut old = statement.clone();
    (old.standing.roster_number, old.standing.roster_sha256) = (0, roster().digest());
    for statement in [statement, old] {
        forged.statement = String::from_utf8(statement.to_bytes()).unwrap();
        let bundle = json!({
            "policy": forged.subject, "statement": forged.statement, "signatures": signatures(&[103, 101], &forged.statement),
        });
        let entry = ca_testkit::store::audit("policy.forged");
        desk.store.put_policy(3, &bundle.to_string(), &entry).await.unwrap();
        let refused = Trusted::read(&*desk.store, roster()).await.unwrap_err().to_string();
        assert!(refused.contains("version 3, is refused"), "{refused}");
        desk.edit("DELETE FROM policies WHERE version = 3").await;
    }
}

#[tokio::test]
async fn ceremony_10_an_edited_roster_row_stops_the_start() {
    let mut desk = Desk::open().await;
    desk.put_in_force(&desk.policy_text(2), &[101, 104]).await;
    desk.change_roster(&second_roster(), &[101, 103]).await;
    let mut third = second_roster();
    third.threshold = 3;
    desk.change_roster(&third, &[101, 105]).await;
    assert_eq!(desk.restart_from_record().await.officers.chain.number(), 2);

    let edits = [
        ("UPDATE roster_changes SET document = replace(document, 'dora', 'bela') WHERE number = 1", "not the one that the officers signed"),
        ("UPDATE roster_changes SET document = replace(document, 'threshold = 3', 'threshold = 2') WHERE number = 2", "not the one"),
        ("DELETE FROM roster_changes WHERE number = 1", "change 1 is missing"),
    ];
    for (edit, part) in edits {
        desk.edit("CREATE TABLE kept AS SELECT * FROM roster_changes").await;
        desk.edit(edit).await;
        let text = Trusted::read(&*desk.store, roster()).await.unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("hint:"), "{edit}: {text}");
        desk.edit("DELETE FROM roster_changes; INSERT INTO roster_changes SELECT * FROM kept; DROP TABLE kept").await;
    }
    // One that is cut off verifies by itself; the anchor knows better.
    desk.edit("DELETE FROM roster_changes WHERE number = 2").await;
    desk.restart_from_record().await;
    let behind = desk.worker.check_record().await.unwrap_err().to_string();
    assert!(behind.contains("roster number 1") && behind.contains("seen number 2"), "{behind}");
    assert!(desk.audit_has(&["worker.alarm", "roster number 1"]).await);
    // Another first roster is another CA.
    let text = Trusted::read(&*desk.store, second_roster()).await.unwrap_err().to_string();
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn an_edited_proposal_and_a_forged_approval_come_to_nothing() {
    let desk = Desk::open().await;
    let view = desk.propose(ProposalRequest::PutPolicy { policy: desk.policy_text(2) }).await;
    desk.approve(&view, &[101]).await.unwrap();
    let unchanged = async |part: &str, result: Result<ProposalView, Problem>| {
        refused(result, part);
        assert_eq!(desk.worker.policy().version, 1);
        assert_eq!(desk.store.policy().await.unwrap(), None);
        assert!(desk.audit_has(&["approval.submit", "refused", part]).await, "{part}");
    };
    // The policy behind the statement.
    desk.edit("UPDATE proposals SET subject = replace(subject, 'dns:localhost', 'dns:evil.test')").await;
    unchanged("its policy is not what was proposed", desk.approve(&view, &[104]).await).await;
    desk.edit("UPDATE proposals SET subject = replace(subject, 'dns:evil.test', 'dns:localhost')").await;
    // The statement itself.
    desk.edit(r#"UPDATE proposals SET statement = replace(statement, '"version": 2', '"version": 3')"#).await;
    unchanged("its statement is not what was proposed", desk.approve(&view, &[104]).await).await;
    desk.edit(r#"UPDATE proposals SET statement = replace(statement, '"version": 3', '"version": 2')"#).await;
    // A signature that someone wrote into the table: ana's again under cora's name, then nonsense.
    desk.edit("INSERT INTO approvals SELECT proposal, 'cora', signature, at FROM approvals").await;
    let after = desk.approve(&view, &[101]).await.unwrap();
    assert_eq!((after.proposal.state, after.signed_by.len()), (ProposalState::Pending, 1), "one person, whatever the row says");
    desk.edit("UPDATE approvals SET signature = 'nonsense' WHERE officer = 'cora'").await;
    unchanged("not an OpenSSH signature", desk.approve(&view, &[103]).await).await;
    // A stranger, and someone's signature over something else.
    unchanged("none of the officers", desk.approve(&view, &[9]).await).await;
    let other = signatures(&[104], "something else");
    unchanged("does not fit these bytes", desk.worker.approve(&view.proposal.id, &other).await).await;
    // Cora herself takes the nonsense's place.
    assert_eq!(desk.approve(&view, &[104]).await.unwrap().proposal.state, ProposalState::Done);
    assert_eq!(desk.worker.policy().version, 2);
}

#[tokio::test]
async fn a_hold_is_an_operators_act_and_its_end_the_officers() {
    let desk = Desk::open().await;
    desk.settle().await;
    let client = desk.account().await;
    let serials = desk.issued(&client, 2).await;
    for serial in &serials {
        desk.operate(Desk::hold(*serial)).await.unwrap();
    }
    desk.clock.advance(CRL_BATCH);
    desk.settle().await;
    let held: Vec<_> = desk.crl().await.unwrap().entries().iter().map(|e| e.reason).collect();
    assert_eq!(held, [RevocationReason::CertificateHold; 2]);

    let view = desk.propose(ProposalRequest::Unhold { authority: demo(), serial: serials[0] }).await;
    desk.approve(&view, &[103, 104]).await.unwrap();
    desk.clock.advance(CRL_BATCH);
    desk.settle().await;
    let crl = desk.crl().await.unwrap();
    assert_eq!(crl.entries().iter().map(|e| e.serial).collect::<Vec<_>>(), [serials[1]]);
    let last = desk.store.ledger_after(&demo(), 0, 100).await.unwrap().pop().unwrap();
    assert_eq!((last.event, last.serial), (LedgerEvent::Unhold, serials[0]), "it left the CRL by its ledger row");
    assert!(desk.audit_has(&["certificate.unhold", "bela", "cora", &serials[0].to_string()]).await);

    // From hold there is a way into a final revocation, and none back from there.
    let since = desk.certificate(serials[1]).await.revoked.unwrap().0;
    let waiting = desk.propose(ProposalRequest::Unhold { authority: demo(), serial: serials[1] }).await;
    desk.clock.advance(Duration::from_secs(60));
    let for_good = Operation::CertificateRevoke {
        authority: demo(),
        serial: serials[1],
        reason: RevocationReason::KeyCompromise,
        invalidity_date: None,
    };
    let reply = desk.operate(for_good).await.unwrap();
    assert!(matches!(reply, OperatorReply::CertificateRevoked { number: Some(_), .. }), "{reply:?}");
    assert_eq!(desk.certificate(serials[1]).await.revoked, Some((since, RevocationReason::KeyCompromise)));
    let problem = desk.approve(&waiting, &[101, 103]).await.unwrap_err();
    assert!(problem.detail.contains("not on hold"), "{problem:?}");
    assert!(desk.is_revoked(&serials[1]).await);
    let problem = desk.worker.propose(ProposalRequest::Unhold { authority: demo(), serial: serials[0] }, DAY).await.unwrap_err();
    assert!(problem.detail.contains("not on hold"), "{problem:?}");
}

#[tokio::test]
async fn one_person_stops_issuance_and_the_officers_let_it_go_on() {
    let desk = Desk::open().await;
    desk.settle().await;
    let client = desk.account().await;
    let stopped = async |desk: &Desk| {
        assert!(desk.anchor.state().is_stopped());
        let id = desk.finalized(&client, json!({})).await;
        let serial = desk.unrevoked().await;
        desk.worker.step_requests().await.unwrap();
        assert_eq!(desk.order(&id).await.status, OrderStatus::Processing, "it waits");
        // What protects relying parties goes on.
        let revoke =
            Operation::CertificateRevoke { authority: demo(), serial, reason: RevocationReason::KeyCompromise, invalidity_date: None };
        let before = desk.crl().await.unwrap().number();
        desk.operate(revoke).await.unwrap();
        desk.clock.advance(CRL_BATCH);
        desk.worker.tick_jobs().await.unwrap();
        assert!(desk.crl().await.unwrap().number() > before);
        id
    };
    desk.issued(&client, 2).await;
    assert_eq!(desk.operate(Operation::IssuanceStop { reason: "a key is out".to_owned() }).await.unwrap(), OperatorReply::Stopped);
    let first = stopped(&desk).await;
    assert!(desk.audit_has(&["issuance.stop", "ops", "a key is out"]).await);

    let resume = desk.propose(ProposalRequest::Resume).await;
    desk.approve(&resume, &[104]).await.unwrap();
    assert!(desk.anchor.state().is_stopped(), "one officer does not let it go on");
    desk.approve(&resume, &[101]).await.unwrap();
    assert!(!desk.anchor.state().is_stopped());
    desk.clock.advance(Duration::from_secs(61));
    desk.settle().await;
    assert_eq!(desk.order(&first).await.status, OrderStatus::Valid);
    let problem = desk.worker.propose(ProposalRequest::Resume, DAY).await.unwrap_err();
    assert!(problem.detail.contains("not stopped"), "{problem:?}");

    // One officer stops too.
    let stop = desk.propose(ProposalRequest::Stop { reason: "drill".to_owned() }).await;
    assert_eq!((stop.needed, desk.approve(&stop, &[103]).await.unwrap().proposal.state), (1, ProposalState::Done));
    stopped(&desk).await;
}

#[tokio::test]
async fn many_certificates_go_by_their_exact_list() {
    let mut desk = Desk::open().await;
    let client = desk.account().await;
    let serials = desk.issued(&client, 5).await;
    let record = desk.certificate(serials[0]).await;
    let choice = |filter: CertificateFilter, serials: &[SerialNumber]| BulkChoice {
        authority: demo(),
        serials: serials.to_vec(),
        filter,
        replaced: false,
    };
    let by_account = || choice(CertificateFilter { account: Some(client.id.clone()), ..Default::default() }, &[]);

    // Each way of choosing finds what it names.
    let finds = async |filter: CertificateFilter, expected: usize| {
        assert_eq!(desk.worker.choose(&choice(filter.clone(), &[])).await.unwrap().len(), expected, "{filter:?}");
    };
    finds(CertificateFilter { grant: record.grant.clone(), ..Default::default() }, 5).await;
    finds(CertificateFilter { spki_sha256: Some(record.spki_sha256), ..Default::default() }, 1).await;
    finds(CertificateFilter { profile: Some("client".to_owned()), issued_from: Some(record.created_at), ..Default::default() }, 5).await;
    let none = CertificateFilter { issued_before: Some(record.created_at), ..Default::default() };
    assert!(desk.worker.choose(&choice(none, &[])).await.unwrap_err().detail.contains("no certificate"));
    assert!(desk.worker.choose(&choice(CertificateFilter::default(), &[])).await.unwrap_err().detail.contains("at least a grant"));
    let strange = SerialNumber::from_bytes([1; 20]).unwrap();
    assert!(desk.worker.choose(&choice(CertificateFilter::default(), &[strange])).await.unwrap_err().detail.contains("never issued"));

    // An operator up to the policy's count, the officers above it.
    desk.set_policy(Policy { version: 2, operator_bulk: 2, ..desk.policy.clone() });
    let bulk = |serials: &[SerialNumber]| Operation::CertificateRevokeBulk {
        authority: demo(),
        serials: serials.to_vec(),
        reason: RevocationReason::Superseded,
    };
    let problem = desk.operate(bulk(&serials[..3])).await.unwrap_err();
    assert!(problem.kind == ProblemType::Unauthorized && problem.detail.contains("1 to 2"), "{problem:?}");
    assert_eq!(desk.operate(bulk(&serials[..2])).await.unwrap(), OperatorReply::BulkRevoked { revoked: 2 });
    assert!(!desk.is_revoked(&serials[2]).await);

    let view = desk.propose(ProposalRequest::RevokeBulk { choice: Box::new(by_account()), reason: RevocationReason::KeyCompromise }).await;
    assert!(view.proposal.statement.contains("\"count\": 3"), "{}", view.proposal.statement);
    let late = desk.issued(&client, 1).await[0];
    // One more on the list than was signed.
    desk.edit("UPDATE proposals SET subject = subject || '7fffffffffffffffffffffffffffffffffffffff' || char(10)").await;
    refused(desk.approve(&view, &[101]).await, "list of serial numbers");
    desk.edit("UPDATE proposals SET subject = replace(subject, '7fffffffffffffffffffffffffffffffffffffff' || char(10), '')").await;
    desk.approve(&view, &[101, 104]).await.unwrap();
    for serial in &serials {
        assert!(desk.is_revoked(serial).await);
    }
    assert!(!desk.is_revoked(&late).await, "the list decides, not the choice");
    assert!(desk.audit_has(&["certificate.revoke", "ana", "cora", &serials[4].to_string()]).await);

    // A death in the middle: the next start goes on, if the anchor says that officers let it begin.
    let view = desk.propose(ProposalRequest::RevokeBulk { choice: Box::new(by_account()), reason: RevocationReason::KeyCompromise }).await;
    desk.edit("UPDATE proposals SET state = 'begun' WHERE state = 'pending'").await;
    desk.restart();
    desk.worker.step_acts().await.unwrap();
    let ended = desk.worker.proposal(&view.proposal.id).await.unwrap().unwrap();
    assert_eq!(ended.proposal.state, ProposalState::Ended, "a row can't begin an act");
    assert!(!desk.is_revoked(&late).await);
    let view = desk.propose(ProposalRequest::RevokeBulk { choice: Box::new(by_account()), reason: RevocationReason::KeyCompromise }).await;
    desk.approve(&view, &[101, 104]).await.unwrap();
    desk.edit("UPDATE certificates SET revoked_at = NULL, revocation_reason = NULL, revoked_number = NULL WHERE seq = (SELECT max(seq) FROM certificates)").await;
    desk.edit("UPDATE proposals SET state = 'begun', progress = 0, ended_at = NULL WHERE seq = (SELECT max(seq) FROM proposals)").await;
    desk.restart();
    desk.worker.step_acts().await.unwrap();
    assert!(desk.is_revoked(&late).await);
    assert_eq!(desk.worker.step_acts().await.unwrap(), 0);
}

#[tokio::test]
async fn proposals_are_bounded() {
    let desk = Desk::open().await;
    for i in 0..64 {
        desk.propose(ProposalRequest::Stop { reason: format!("drill {i}") }).await;
    }
    let full = desk.worker.propose(ProposalRequest::Stop { reason: "one more".to_owned() }, DAY).await.unwrap_err();
    assert!(full.detail.contains("64 proposals wait"), "{full:?}");
    desk.clock.advance(DAY);
    desk.propose(ProposalRequest::Stop { reason: "those have expired".to_owned() }).await;
    let views = desk.worker.proposals(100).await.unwrap();
    assert_eq!(views.iter().filter(|v| v.void.is_none()).count(), 1);
    let long = ProposalRequest::Stop { reason: "x".repeat(501) };
    assert!(desk.worker.propose(long, DAY).await.is_err());
}

#[tokio::test]
async fn ceremony_33_what_no_worker_let_in_does_not_count_though_enough_people_signed_it() {
    // Officers signed, and thought better of it; their signatures lie around. Someone writes the rows.
    let mut desk = Desk::open().await;
    let text = desk.policy_text(2);
    let policy = desk.propose(ProposalRequest::PutPolicy { policy: text }).await.proposal;
    desk.worker.withdraw(&policy.id).await.unwrap();
    let bundle =
        json!({ "policy": policy.subject, "statement": policy.statement, "signatures": signatures(&[101, 104], &policy.statement) });
    desk.store.put_policy(2, &bundle.to_string(), &ca_testkit::store::audit("policy.forged")).await.unwrap();
    let trusted = Trusted::read(&*desk.store, roster()).await.unwrap();
    let refused = trusted.catch_up(&desk.anchor.state(), desk.clock.now()).unwrap_err().to_string();
    assert!(refused.contains("policy version 2") && refused.contains("not used here"), "{refused}");
    desk.edit("DELETE FROM policies").await;

    desk.put_in_force(&desk.policy_text(3), &[101, 104]).await;
    let change = desk.propose(ProposalRequest::ChangeRoster { roster: second_roster() }).await.proposal;
    desk.clock.advance(DAY);
    let document =
        json!({ "roster": change.subject, "statement": change.statement, "signatures": signatures(&[101, 103], &change.statement) });
    desk.store.put_roster_change(1, &document.to_string(), &ca_testkit::store::audit("roster.forged")).await.unwrap();
    let trusted = Trusted::read(&*desk.store, roster()).await.unwrap();
    let refused = trusted.catch_up(&desk.anchor.state(), desk.clock.now()).unwrap_err().to_string();
    assert!(refused.contains("roster number 1") && refused.contains("not used here"), "{refused}");
    desk.edit("DELETE FROM roster_changes").await;
    assert_eq!(desk.restart_from_record().await.policy.version, 3);
}

#[tokio::test]
async fn a_death_between_the_store_and_the_anchor_is_made_good() {
    let mut desk = Desk::open().await;
    let before = desk.anchor.state();
    let policy = desk.put_in_force(&desk.policy_text(2), &[101, 104]).await;
    let change = desk.change_roster(&second_roster(), &[101, 103]).await;
    // An anchor as it was then: the approvals spent, the policy and the roster not taken yet.
    let spent = [policy, change].map(|view| {
        let statement = ActStatement::parse(view.proposal.statement.as_bytes()).unwrap();
        ca_core::anchor::AnchorStep::Spend { nonce: statement.nonce, expires_at: statement.expires_at }
    });
    desk.anchor = std::sync::Arc::new(ca_core::anchor::MemoryAnchor::new(before.after(&spent, desk.clock.now()).unwrap()));
    let trusted = desk.restart_from_record().await;
    assert_eq!((trusted.policy.version, trusted.officers.chain.number()), (2, 1));
    assert_eq!(desk.anchor.state().policy(), (2, trusted.officers.policy_sha256));
    assert_eq!(desk.anchor.state().roster(), (1, second_roster().digest()));
}

#[tokio::test]
async fn ceremony_08_an_officer_is_no_operator() {
    let desk = Desk::open().await;
    let both = |text: String, key: &str| {
        let operator = format!("[[operator]]\nname = \"x\"\nkey = \"{key}\"\nmay = [\"grant\"]\n");
        text + &operator
    };
    let ana = roster().officers[0].keys[1].clone();
    let policy = ProposalRequest::PutPolicy { policy: both(desk.policy_text(2), &ana) };
    let problem = desk.worker.propose(policy, DAY).await.unwrap_err();
    assert!(problem.detail.contains("two people's"), "{problem:?}");
    let mut next = roster();
    next.officers.push(officer("ops", &[1]));
    let problem = desk.worker.propose(ProposalRequest::ChangeRoster { roster: next }, DAY).await.unwrap_err();
    assert!(problem.detail.contains("operator `ops`"), "{problem:?}");
}

#[tokio::test]
async fn a_large_revocation_goes_on_after_a_death() {
    let mut desk = Desk::open().await;
    let begun = long_revocation(&desk).await;
    assert_eq!((begun.proposal.state, begun.proposal.progress), (ProposalState::Begun, 2048));
    // Meanwhile the officers change: what has begun stands on those who signed it.
    desk.change_roster(&second_roster(), &[101, 103]).await;
    desk.restart();
    assert_eq!(desk.worker.step_acts().await.unwrap(), 1);
    let done = desk.worker.proposal(&begun.proposal.id).await.unwrap().unwrap();
    assert_eq!((done.proposal.state, done.proposal.progress), (ProposalState::Done, 2100));
    assert_eq!(desk.store.ledger_head(&demo()).await.unwrap(), 2100, "each of them once");
}
