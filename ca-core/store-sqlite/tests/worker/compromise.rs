//! A key that is compromised takes every certificate with it (BR 4.9.1.1; ACME requirement A11).

use std::time::Duration;

use ca_core::evidence::statement::Operation;
use ca_core::log::{FollowedRevocations, Leaf, audit_leaf, read_leaf};
use ca_core::model::{
    Actor, AuditEntry, AuditRow, CertificateName, CertificateRecord, FollowedCompromise, OrderStatus, Outcome, ProblemType,
    RevocationReason, RevocationRequest, Revoked, SerialStatus,
};
use ca_core::pki::SerialNumber;
use ca_core::plan::CRL_BATCH;
use ca_core::ports::{AcmeStore as _, AuditStore as _, Clock as _, CompromiseStore as _, StatusStore as _};
use ca_testkit::acme::{self, ClientKey};
use ca_testkit::store::audit;
use serde_json::json;

use crate::desk::{Client, Desk, demo};

const URL: &str = "/acme/revoke-cert";
const COMPROMISED: RevocationReason = RevocationReason::KeyCompromise;

async fn issued(desk: &Desk, client: &Client, key: &ClientKey) -> SerialNumber {
    let id = desk.finalized_with(client, json!({}), &key.csr(&["a.demo.test"], None)).await;
    desk.settle().await;
    desk.order(&id).await.serial.unwrap()
}

async fn say(desk: &Desk, jws: &str, record: &CertificateRecord, actor: Actor) -> Revoked {
    let request = RevocationRequest {
        authority: demo(),
        serial: record.serial,
        reason: COMPROMISED,
        invalidity_date: None,
        actor,
        at: desk.clock.now(),
        correlation: "the first".to_owned(),
    };
    desk.store.revoke_on_request(jws, &request).await.unwrap()
}

/// The key says of itself that it is compromised.
async fn by_key(desk: &Desk, key: &ClientKey, serial: SerialNumber) -> Revoked {
    let record = desk.certificate(serial).await;
    let protected = json!({ "jwk": key.jwk(), "nonce": "bm9uY2U", "url": format!("{}{URL}", acme::BASE) });
    let jws = key.jws(protected, &acme::revocation(&record.der, 1));
    let spki_sha256 = record.spki_sha256;
    say(desk, &jws, &record, Actor::CertificateKey { spki_sha256 }).await
}

async fn by_account(desk: &Desk, client: &Client, serial: SerialNumber) -> Revoked {
    let record = desk.certificate(serial).await;
    let jws = acme::by_account(&client.key, &client.id, URL, &acme::revocation(&record.der, 1));
    say(desk, &jws, &record, Actor::Account { id: client.id.clone() }).await
}

async fn by_operator(desk: &Desk, serial: SerialNumber) {
    let operation = Operation::CertificateRevoke {
        authority: demo(),
        serial,
        reason: COMPROMISED,
        invalidity_date: Some(desk.clock.now().minus(Duration::from_secs(3600))),
    };
    desk.operate(operation).await.unwrap();
}

async fn is_good(desk: &Desk, serial: SerialNumber) -> bool {
    desk.store.status(&demo(), &serial).await.unwrap() == Some(SerialStatus::Good)
}

async fn is_compromised(desk: &Desk, serial: SerialNumber) -> bool {
    matches!(desk.store.status(&demo(), &serial).await.unwrap(), Some(SerialStatus::Revoked { reason: COMPROMISED, .. }))
}

/// What an auditor finds in a trail; two readings of it, from nothing else.
fn audit_of(rows: &[AuditRow]) -> (u64, Vec<String>) {
    let mut auditor = FollowedRevocations::default();
    rows.iter().for_each(|row| auditor.prepare(row));
    rows.iter().for_each(|row| auditor.take(row));
    let report = auditor.finish();
    assert_eq!(report.finding_count, report.findings.len() as u64);
    (report.by_key + report.by_account + report.by_operators, report.findings)
}

async fn audited(desk: &Desk) -> (u64, Vec<String>) {
    audit_of(&desk.store.audit_after(0, 10_000).await.unwrap())
}

#[tokio::test]
async fn a11_every_other_certificate_with_a_compromised_key_is_revoked() {
    let desk = Desk::open().await;
    let (owner, other) = (desk.account().await, desk.account().await);
    let (key, stranger) = (ClientKey::default(), ClientKey::default());
    let expired = issued(&desk, &owner, &key).await;
    desk.clock.advance(Duration::from_secs(31 * 86_400));
    let (first, second, others) = (issued(&desk, &owner, &key).await, issued(&desk, &owner, &key).await, issued(&desk, &other, &key).await);
    let held = issued(&desk, &other, &key).await;
    let unrelated = issued(&desk, &owner, &stranger).await;
    desk.operate(Operation::CertificateHold { authority: demo(), serial: held }).await.unwrap();
    assert_eq!(desk.worker.step_compromises().await.unwrap(), 0);

    assert!(matches!(by_key(&desk, &key, first).await, Revoked::Now { .. }));
    assert!(is_good(&desk, second).await && is_good(&desk, others).await, "the worker's to do");
    // Three certificates, and the key is done with.
    assert_eq!(desk.worker.step_compromises().await.unwrap(), 4);
    for serial in [first, second, others, held] {
        assert!(is_compromised(&desk, serial).await, "{serial}");
    }
    assert!(is_good(&desk, unrelated).await && is_good(&desk, expired).await, "another key, and one that has expired");
    assert_eq!(desk.worker.step_compromises().await.unwrap(), 0);
    assert_eq!(desk.worker.followed_compromises(), 3);

    let cause = CertificateName { authority: demo(), serial: first };
    let record = desk.certificate(others).await;
    assert_eq!((record.follows.as_ref(), desk.certificate(first).await.follows), (Some(&cause), None));
    let trail = desk.store.audit_after(0, 10_000).await.unwrap();
    let entries = trail.iter().filter_map(|row| match read_leaf(&row.leaf) {
        Some(Leaf::Audit(entry)) if entry.action == "certificate.revoke" => Some((row.number, entry)),
        _ => None,
    });
    let entries: Vec<_> = entries.collect();
    let (row, _) = entries.iter().find(|(_, entry)| entry.object == first.to_string()).unwrap();
    let (_, follower) = entries.iter().find(|(_, entry)| entry.object == others.to_string()).unwrap();
    assert_eq!(follower.correlation, "the first");
    assert_eq!(follower.actor, Actor::system("worker"));
    let expected = json!({ "row": row, "cause": cause, "spki_sha256": record.spki_sha256 });
    assert_eq!(follower.detail["follows"], expected);
    assert_eq!(audited(&desk).await, (3, Vec::new()));

    desk.clock.advance(Duration::from_secs(1));
    desk.clock.advance(CRL_BATCH);
    desk.settle().await;
    let crl = desk.crl().await.unwrap();
    for serial in [first, second, others, held] {
        assert!(crl.entries().iter().any(|entry| entry.serial == serial), "{serial} is on the CRL");
    }
    assert!(!crl.entries().iter().any(|entry| entry.serial == unrelated));
}

/// It must happen though the process is killed in between: before the first certificate, and after some.
#[tokio::test]
async fn a11_a_death_in_between_only_puts_the_other_revocations_off() {
    let mut desk = Desk::open().await;
    let (owner, key) = (desk.account().await, ClientKey::default());
    let mut serials = Vec::new();
    for _ in 0..4 {
        serials.push(issued(&desk, &owner, &key).await);
    }
    by_key(&desk, &key, serials[0]).await;
    desk.restart();
    // As much as one transaction of a worker that died after it.
    let to_do = desk.store.compromises(10).await.unwrap().remove(0);
    let some = desk.store.certificates_of_compromise(&to_do, desk.clock.now(), 1).await.unwrap().remove(0);
    let request = RevocationRequest {
        authority: demo(),
        serial: some.serial,
        reason: COMPROMISED,
        invalidity_date: None,
        actor: Actor::system("worker"),
        at: desk.clock.now(),
        correlation: "the first".to_owned(),
    };
    assert_eq!(desk.store.revoke_compromised(&to_do, &[request]).await.unwrap(), 1);
    desk.restart();
    assert_eq!(desk.worker.step_compromises().await.unwrap(), 3, "the two that are left, and the key is done with");
    for serial in serials {
        assert!(is_compromised(&desk, serial).await, "{serial}");
    }
    assert_eq!(audited(&desk).await, (3, Vec::new()));
}

/// A fleet with one key on every machine: more than a round takes.
#[tokio::test]
async fn a11_many_certificates_with_one_key_go_in_bounded_steps() {
    let desk = Desk::open().await;
    let (owner, key) = (desk.account().await, ClientKey::default());
    let first = issued(&desk, &owner, &key).await;
    // As if each had been ordered: 1,500 more of the same key.
    desk.edit(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
         INSERT INTO certificates (authority, serial, state, profile, subject, identifiers, spki_sha256, not_before, not_after,
                                   crl_partition, account_id, created_at)
         SELECT authority, unhex(printf('%040x', i)), 'intent', profile, subject, identifiers, spki_sha256, not_before, not_after,
                crl_partition, account_id, created_at FROM certificates, n WHERE profile = 'client'",
    )
    .await;
    by_key(&desk, &key, first).await;
    let mut steps = Vec::new();
    while let done @ 1.. = desk.worker.step_compromises().await.unwrap() {
        steps.push(done);
    }
    assert_eq!(steps, [1024, 477], "a page, and the rest with the key itself");
    assert_eq!(desk.worker.followed_compromises(), 1500);
}

/// ACME requirement A19: what another account says of a key that it shares ends nobody else's certificates.
#[tokio::test]
async fn a11_an_account_s_word_reaches_its_own_certificates_only() {
    let desk = Desk::open().await;
    let (owner, other, key) = (desk.account().await, desk.account().await, ClientKey::default());
    let (first, second, others) = (issued(&desk, &owner, &key).await, issued(&desk, &owner, &key).await, issued(&desk, &other, &key).await);
    by_account(&desk, &owner, first).await;
    assert_eq!(desk.worker.step_compromises().await.unwrap(), 2);
    assert!(is_compromised(&desk, second).await && is_good(&desk, others).await);
    assert_eq!(audited(&desk).await, (1, Vec::new()));

    // The key's own word reaches further, though its certificate is revoked already and the key blocked.
    for _ in 0..2 {
        assert_eq!(by_key(&desk, &key, first).await, Revoked::Already);
    }
    assert_eq!(desk.store.compromises(10).await.unwrap().len(), 1, "once");
    assert_eq!(desk.worker.step_compromises().await.unwrap(), 2);
    assert!(is_compromised(&desk, others).await);
    assert_eq!(by_key(&desk, &key, first).await, Revoked::Already);
    assert_eq!(desk.store.compromises(10).await.unwrap(), [], "nothing is left to do");
    assert_eq!(audited(&desk).await, (2, Vec::new()));
}

#[tokio::test]
async fn a11_an_operator_s_word_reaches_every_certificate_with_its_date() {
    let desk = Desk::open().await;
    let (owner, other, key) = (desk.account().await, desk.account().await, ClientKey::default());
    let (first, others) = (issued(&desk, &owner, &key).await, issued(&desk, &other, &key).await);
    by_operator(&desk, first).await;
    assert_eq!(desk.worker.step_compromises().await.unwrap(), 2);
    assert!(is_compromised(&desk, others).await);
    assert_eq!(audited(&desk).await, (1, Vec::new()));
    desk.clock.advance(Duration::from_secs(1));
    desk.clock.advance(CRL_BATCH);
    desk.settle().await;
    let crl = desk.crl().await.unwrap();
    let dates: Vec<_> = [first, others].map(|s| crl.entries().iter().find(|e| e.serial == s).unwrap().invalidity_date).to_vec();
    assert!(dates[0].is_some() && dates[0] == dates[1], "one key, one date: {dates:?}");
}

/// Whoever edits the database gets no revocation explained by a compromise that nobody told of.
#[tokio::test]
async fn a11_a_compromise_without_its_evidence_revokes_nothing() {
    const INSERT: &str = "INSERT INTO compromises (spki_sha256, cause, audit_row, account_id)
         SELECT spki_sha256, seq, (SELECT max(number) FROM audit), NULL FROM certificates WHERE profile = 'client' ORDER BY seq LIMIT 1";
    let desk = Desk::open().await;
    let (owner, other, key) = (desk.account().await, desk.account().await, ClientKey::default());
    let (first, others) = (issued(&desk, &owner, &key).await, issued(&desk, &other, &key).await);
    let lost = issued(&desk, &owner, &ClientKey::default()).await;
    let refused = async |why: &str| {
        // It is refused, and to do no more.
        assert_eq!(desk.worker.step_compromises().await.unwrap(), 1, "{why}");
        assert!(desk.audit_has(&["worker.alarm", why]).await, "{why}");
        assert!(desk.audit_has(&["key.follow", "refused", why]).await, "{why}");
        assert_eq!(desk.store.compromises(10).await.unwrap(), [], "{why}");
        assert!(is_good(&desk, others).await, "{why}");
    };
    desk.edit(INSERT).await;
    refused("no revocation for keyCompromise").await;
    // The row is about another certificate, of another key.
    by_operator(&desk, lost).await;
    desk.edit(INSERT).await;
    refused("is about another certificate").await;
    // An account's word, widened to everyone.
    by_account(&desk, &owner, first).await;
    desk.edit(INSERT).await;
    refused("on another word than its row says").await;
    // A certificate whose row was given the key.
    let third = issued(&desk, &other, &ClientKey::default()).await;
    let fourth = ClientKey::default();
    let fifth = issued(&desk, &owner, &fourth).await;
    desk.edit("UPDATE certificates SET spki_sha256 = (SELECT spki_sha256 FROM certificates ORDER BY seq DESC LIMIT 1) WHERE seq = (SELECT seq FROM certificates ORDER BY seq DESC LIMIT 1 OFFSET 1)").await;
    by_key(&desk, &fourth, fifth).await;
    refused("has another key than its record says").await;
    assert!(is_good(&desk, third).await);
}

/// The account's key was changed before the worker came to it: then nothing shows who said so.
#[tokio::test]
async fn a11_an_account_s_word_that_can_be_verified_no_more_is_an_alarm() {
    let desk = Desk::open().await;
    let (mut owner, key) = (desk.account().await, ClientKey::default());
    let (first, second) = (issued(&desk, &owner, &key).await, issued(&desk, &owner, &key).await);
    by_account(&desk, &owner, first).await;
    desk.change_key(&mut owner).await;
    assert_eq!(desk.worker.step_compromises().await.unwrap(), 1);
    assert!(is_good(&desk, second).await);
    assert!(desk.audit_has(&["worker.alarm", "is not signed by the key of account"]).await);
}

/// An order that renews itself ends at once, with the reason, as its certificate does.
#[tokio::test]
async fn a11_an_order_that_renews_itself_ends_with_its_key() {
    let desk = Desk::open().await;
    let (owner, other, key) = (desk.account().await, desk.account().await, ClientKey::default());
    let end = desk.clock.now().plus(Duration::from_secs(30 * 86_400));
    let terms = json!({ "auto-renewal": { "end-date": end.to_rfc3339(), "lifetime": 12 * 86_400 } });
    let id = desk.finalized_with(&owner, terms, &key.csr(&["a.demo.test"], None)).await;
    desk.settle().await;
    let standing = desk.order(&id).await.serial.unwrap();
    let first = issued(&desk, &other, &key).await;
    by_key(&desk, &key, first).await;
    desk.worker.step_compromises().await.unwrap();
    assert!(is_compromised(&desk, standing).await);
    desk.settle().await;
    let order = desk.order(&id).await;
    assert_eq!((order.status, order.expires), (OrderStatus::Canceled, desk.clock.now()));
    let problem = order.error.unwrap();
    assert!(problem.kind == ProblemType::Unauthorized && problem.detail.contains("was revoked"), "{problem:?}");
}

/// The auditor refuses a revocation that claims to follow from a compromise without one, from the trail alone.
#[tokio::test]
async fn a11_an_auditor_refuses_a_revocation_that_follows_from_nothing() {
    let desk = Desk::open().await;
    let (owner, other, key) = (desk.account().await, desk.account().await, ClientKey::default());
    let expired = issued(&desk, &owner, &key).await;
    desk.clock.advance(Duration::from_secs(31 * 86_400));
    let (first, others) = (issued(&desk, &owner, &key).await, issued(&desk, &other, &key).await);
    let unrelated = issued(&desk, &other, &ClientKey::default()).await;
    by_key(&desk, &key, first).await;
    desk.worker.step_compromises().await.unwrap();
    let rows = desk.store.audit_after(0, 10_000).await.unwrap();
    assert_eq!(audit_of(&rows), (1, Vec::new()));
    let row_of = |serial: SerialNumber| {
        let is_it = |row: &&AuditRow| matches!(read_leaf(&row.leaf), Some(Leaf::Audit(entry)) if entry.action == "certificate.revoke" && entry.object == serial.to_string());
        rows.iter().find(is_it).unwrap().number
    };
    let (cause, follower) = (row_of(first), row_of(others));
    let tampered = |number: u64, change: &dyn Fn(&mut AuditEntry)| {
        let mut rows = rows.clone();
        let row = &mut rows[usize::try_from(number).unwrap() - 1];
        let Some(Leaf::Audit(mut entry)) = read_leaf(&row.leaf) else { panic!("row {number} is an act") };
        change(&mut entry);
        row.leaf = audit_leaf(&entry);
        audit_of(&rows)
    };
    let check = |number: u64, change: &dyn Fn(&mut AuditEntry), expected: &str| {
        let (counted, findings) = tampered(number, change);
        assert!(counted == 0 && findings.len() == 1 && findings[0].contains(expected), "{expected}: {counted}, {findings:?}");
    };
    check(follower, &|e| e.detail["follows"] = json!({ "row": 1 }), "does not parse");
    check(follower, &|e| drop(e.detail.as_object_mut().unwrap().remove("follows")), "names no cause");
    check(follower, &|e| e.actor = Actor::Officers { names: vec!["ana".to_owned()] }, "somebody's own act");
    check(follower, &|e| e.detail["reason"] = json!("superseded"), "for another reason");
    check(follower, &|e| e.detail["follows"]["row"] = json!(follower), "comes after it");
    check(follower, &|e| e.detail["follows"]["row"] = json!(follower + 100), "comes after it");
    check(follower, &|e| e.detail["follows"]["row"] = json!(1), "shows no compromise");
    check(follower, &|e| e.detail["follows"]["cause"]["serial"] = json!(unrelated), "is about certificate");
    check(follower, &|e| e.detail["follows"]["spki_sha256"] = json!("ab".repeat(32)), "has another key");
    check(follower, &|e| e.object = unrelated.to_string(), "it has another key");
    check(follower, &|e| e.object = "77".to_owned(), "no intent of");
    check(follower, &|e| e.object = expired.to_string(), "after its end");
    // The cause without its request, or with another's.
    check(cause, &|e| drop(e.detail.as_object_mut().unwrap().remove("request")), "has no request");
    check(
        cause,
        &|e| e.detail["request"] = json!(e.detail["request"].as_str().unwrap().replace("\"signature\":\"", "\"signature\":\"AA")),
        "does not hold",
    );
    check(cause, &|e| e.actor = Actor::Account { id: owner.id.clone() }, "by an account, and its request by a key");
    check(cause, &|e| e.actor = Actor::Anonymous, "shows no compromise");
    check(cause, &|e| e.detail["reason"] = json!("superseded"), "shows no compromise");
    check(cause, &|e| e.outcome = Outcome::Refused { reason: "no".to_owned() }, "shows no compromise");
    check(cause, &|e| e.object = others.to_string(), "another certificate than its request");

    // An account's word, as if it reached another's certificate.
    let (lost, mine) = (ClientKey::default(), desk.account().await);
    let (own, its) = (issued(&desk, &mine, &lost).await, issued(&desk, &other, &lost).await);
    by_account(&desk, &mine, own).await;
    let row = desk.store.audit_after(0, 10_000).await.unwrap().len() as u64;
    let record = desk.certificate(its).await;
    let name = CertificateName { authority: demo(), serial: own };
    let follows = FollowedCompromise { row, cause: name, spki_sha256: record.spki_sha256 };
    let mut entry = audit("certificate.revoke");
    (entry.actor, entry.authority, entry.object, entry.at) = (Actor::system("worker"), Some(demo()), its.to_string(), desk.clock.now());
    entry.detail = json!({ "reason": "keyCompromise", "follows": follows });
    desk.store.append_audit(&entry).await.unwrap();
    let (counted, findings) = audited(&desk).await;
    assert!(counted == 1 && findings.len() == 1 && findings[0].contains("ends another's certificate"), "{counted} {findings:?}");
}
