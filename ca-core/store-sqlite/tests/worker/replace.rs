//! Certificates marked for replacement: by an operator's statement, a bounded number at a time, again where it was cut off.

use std::time::Duration;

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{
    BulkChoice, CertificateFilter, CertificateRecord, ExplanationUrl, ProblemType, ReplacementCount, ReplacementReport, RevocationReason,
};
use ca_core::pki::SerialNumber;
use ca_core::policy::{Permission, Policy};
use ca_core::ports::{AuditStore as _, Clock as _};
use ca_testkit::operator::Operator;
use serde_json::json;

use crate::desk::{Client, Desk, demo};

fn listed(serials: &[SerialNumber]) -> BulkChoice {
    BulkChoice { authority: demo(), serials: serials.to_vec(), filter: CertificateFilter::default(), replaced: false }
}

fn filtered(filter: CertificateFilter) -> BulkChoice {
    BulkChoice { authority: demo(), serials: Vec::new(), filter, replaced: false }
}

fn replace(choice: BulkChoice) -> Operation {
    Operation::CertificateReplace { choice, explanation: None }
}

fn undo(choice: BulkChoice) -> Operation {
    Operation::CertificateReplaceUndo { choice }
}

const fn marked(meant: u64, marked: u64) -> OperatorReply {
    OperatorReply::ReplacementMarked { meant, marked }
}

impl Desk {
    async fn certificate_of(&self, client: &Client) -> CertificateRecord {
        let id = self.finalized(client, json!({})).await;
        self.worker.step_requests().await.unwrap();
        self.certificate(self.order(&id).await.serial.unwrap()).await
    }

    async fn report(&self) -> ReplacementReport {
        self.worker.replacement_report(&CertificateFilter::default()).await.unwrap()
    }
}

#[tokio::test]
async fn a20_one_operator_marks_certificates_for_replacement_and_takes_it_back() {
    let desk = Desk::open().await;
    let (one, two) = (desk.account().await, desk.account().await);
    let (first, second, other) = (desk.certificate_of(&one).await, desk.certificate_of(&one).await, desk.certificate_of(&two).await);
    let (serial, now) = (first.serial, desk.clock.now());

    // Who may not revoke may not mark either; nothing is done in part.
    let mut policy = Policy { version: 2, ..desk.policy.clone() };
    policy.operators = vec![
        Operator::new("grants", 1).policy(&[Permission::Grant, Permission::Hold, Permission::Publish, Permission::Stop]),
        Operator::new("revoker", 2).policy(&[Permission::Revoke]),
    ];
    desk.set_policy(policy);
    let refused = desk.operate(replace(listed(&[serial]))).await.unwrap_err();
    assert!(refused.kind == ProblemType::Unauthorized && refused.detail.contains("lacks `revoke`"), "{refused:?}");
    let by = async |operation: Operation| {
        let signed = Operator::new("revoker", 2).sign(operation, &desk.next().to_string(), desk.clock.now());
        desk.worker.apply_statement(&signed).await
    };
    let never = SerialNumber::from_bytes([1; 20]).unwrap();
    assert!(by(replace(listed(&[serial, never]))).await.unwrap_err().detail.contains("never issued"));
    assert!(by(replace(filtered(CertificateFilter::default()))).await.unwrap_err().detail.contains("at least a grant"));
    assert_eq!(desk.certificate(serial).await.marked, None);

    let why: ExplanationUrl = "https://ca.bank.test/incident-7".parse().unwrap();
    let explained = Operation::CertificateReplace { choice: listed(&[serial]), explanation: Some(why.clone()) };
    assert_eq!(by(explained.clone()).await.unwrap(), marked(1, 1));
    let mark = desk.certificate(serial).await.marked.unwrap();
    assert_eq!((mark.at, mark.explanation), (now, Some(why)));
    let parts = ["certificate.replace", "revoker", &serial.to_string(), "incident-7", "\"done\""];
    assert!(desk.audit_has(&parts).await, "who marked what, and why");
    desk.clock.advance(Duration::from_secs(60));
    assert_eq!(by(explained).await.unwrap(), marked(1, 0), "again changes nothing");
    assert_eq!(desk.certificate(serial).await.marked.unwrap().at, now);
    assert_eq!(desk.certificate(serial).await.revoked, None, "nothing stops working");

    // The same ways of choosing as for a revocation.
    let of_one = CertificateFilter { account: Some(one.id.clone()), ..Default::default() };
    assert_eq!(by(replace(filtered(of_one.clone()))).await.unwrap(), marked(2, 1));
    let before = CertificateFilter { issued_before: Some(desk.clock.now()), profile: Some("client".to_owned()), ..Default::default() };
    assert_eq!(by(replace(filtered(before))).await.unwrap(), marked(3, 1));
    assert_eq!(desk.report().await.count, ReplacementCount { marked: 3, to_go: 3, ..Default::default() });

    assert_eq!(by(undo(filtered(of_one.clone()))).await.unwrap(), OperatorReply::ReplacementUnmarked { unmarked: 2 });
    assert_eq!(by(undo(filtered(of_one))).await.unwrap(), OperatorReply::ReplacementUnmarked { unmarked: 0 });
    assert_eq!(by(undo(listed(&[second.serial, never]))).await.unwrap(), OperatorReply::ReplacementUnmarked { unmarked: 0 });
    assert!(desk.certificate(other.serial).await.marked.is_some());
    assert!(desk.audit_has(&["certificate.replace-undo", "revoker", &second.serial.to_string()]).await);
    // All of an authority, and what has ended too.
    desk.clock.advance(Duration::from_secs(40 * 86_400));
    assert!(by(replace(listed(&[serial]))).await.unwrap_err().detail.contains("neither expired nor revoked"));
    assert_eq!(by(undo(filtered(CertificateFilter::default()))).await.unwrap(), OperatorReply::ReplacementUnmarked { unmarked: 1 });
    assert_eq!(desk.report().await, ReplacementReport::default());
}

#[tokio::test]
async fn lesson_24_a_mass_replacement_goes_on_where_it_was_cut_off() {
    let mut desk = Desk::open().await;
    let client = desk.account().await;
    let issued = desk.certificate_of(&client).await;
    // A thousand of another service, and a disk that is full after some.
    desk.edit(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         INSERT INTO certificates (authority, serial, state, profile, subject, identifiers, spki_sha256, not_before, not_after, crl_partition,
           der, account_id, grant_id, created_at)
         SELECT c.authority, unhex('01' || hex(randomblob(19))), c.state, c.profile, '', c.identifiers, c.spki_sha256, c.not_before,
           c.not_after, 0, c.der, 'fleet', 'fleet', c.created_at
         FROM certificates c, n WHERE c.grant_id IS NOT NULL",
    )
    .await;
    desk.edit(
        "CREATE TRIGGER full BEFORE INSERT ON replacement_marks WHEN (SELECT count(*) FROM replacement_marks) >= 700
         BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
    )
    .await;
    let fleet = || filtered(CertificateFilter { grant: Some("fleet".parse().unwrap()), ..Default::default() });
    let cut_off = desk.operate(replace(fleet())).await.unwrap_err();
    assert!(cut_off.kind == ProblemType::ServerInternal && cut_off.detail.contains("the same command again"), "{cut_off:?}");
    assert_eq!(desk.report().await.count.marked, 500, "whole transactions of 250");
    let rows = desk.store.audit_after(0, 10_000).await.unwrap();
    let rows: Vec<_> = rows.iter().map(|row| String::from_utf8_lossy(&row.leaf)).collect();
    assert_eq!(rows.iter().filter(|row| row.contains("certificate.replace") && row.contains("\"done\"")).count(), 2);

    desk.edit("DROP TRIGGER full").await;
    desk.restart();
    assert_eq!(desk.operate(replace(fleet())).await.unwrap(), marked(1000, 500));
    let report = desk.report().await;
    assert_eq!(report.count, ReplacementCount { marked: 1000, to_go: 1000, ..Default::default() });
    assert_eq!(report.to_go.len(), ReplacementReport::MAX_TO_GO);
    assert_eq!(report.services[0].grant.as_ref().map(|g| g.as_str()), Some("fleet"));
    assert!(report.to_go.iter().all(|c| c.serial != issued.serial));
}

#[tokio::test]
async fn lesson_24_an_operator_sees_who_has_renewed_before_revoking() {
    let desk = Desk::open().await;
    let (quick, slow) = (desk.account().await, desk.account().await);
    let (first, second) = (desk.certificate_of(&quick).await, desk.certificate_of(&slow).await);
    let held = desk.certificate_of(&slow).await;
    desk.clock.advance(Duration::from_secs(60));
    let all = CertificateFilter { issued_before: Some(desk.clock.now()), profile: Some("client".to_owned()), ..Default::default() };
    assert_eq!(desk.operate(replace(filtered(all))).await.unwrap(), marked(3, 3));
    desk.clock.advance(Duration::from_secs(60));
    desk.certificate_of(&quick).await;
    let revoke = |serial| Operation::CertificateRevoke {
        authority: demo(),
        serial,
        reason: RevocationReason::CessationOfOperation,
        invalidity_date: None,
    };
    desk.operate(revoke(held.serial)).await.unwrap();

    let report = desk.report().await;
    assert_eq!(report.count, ReplacementCount { marked: 3, replaced: 1, to_go: 1, ended: 1, revoked: 1, ..Default::default() });
    assert_eq!(report.to_go.iter().map(|c| c.serial).collect::<Vec<_>>(), [second.serial]);
    assert_eq!(report.services.iter().map(|s| s.grant.clone()).collect::<Vec<_>>(), [second.grant, first.grant.clone()]);
    assert_eq!(report.services.iter().map(|s| s.count.to_go).collect::<Vec<_>>(), [1, 0]);

    // What is marked is what is revoked: the exact list of the marked ones.
    let choice = filtered(CertificateFilter { marked: Some(true), ..Default::default() });
    let mut chosen = desk.worker.choose(&choice).await.unwrap();
    chosen.sort_unstable();
    let mut expected = vec![first.serial, second.serial];
    expected.sort_unstable();
    assert_eq!(chosen, expected);
    let safe = BulkChoice { replaced: true, ..choice };
    assert_eq!(desk.worker.choose(&safe).await.unwrap(), [first.serial], "revoking these stops nobody");
    let of_quick = CertificateFilter { grant: first.grant, ..Default::default() };
    assert_eq!(desk.worker.replacement_report(&of_quick).await.unwrap().count.marked, 1);
}

/// The client renewed once, for an hour, and went back to what it had.
#[tokio::test]
async fn lesson_24_a_successor_that_has_expired_makes_no_revocation_safe() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let first = desk.certificate_of(&client).await;
    assert_eq!(desk.operate(replace(listed(&[first.serial]))).await.unwrap(), marked(1, 1));
    desk.clock.advance(Duration::from_secs(60));
    let end = desk.clock.now().plus(Duration::from_secs(3600));
    let id = desk.finalized(&client, json!({ "notAfter": end.to_rfc3339() })).await;
    desk.worker.step_requests().await.unwrap();
    assert_eq!(desk.certificate(desk.order(&id).await.serial.unwrap()).await.not_after, end);
    let safe = BulkChoice { replaced: true, ..filtered(CertificateFilter { marked: Some(true), ..Default::default() }) };
    assert_eq!(desk.worker.choose_any(&safe).await.unwrap(), [first.serial]);

    desk.clock.set(end);
    assert_eq!(desk.worker.choose_any(&safe).await.unwrap(), []);
    assert_eq!(desk.report().await.count, ReplacementCount { marked: 1, to_go: 1, ..Default::default() });
}

#[tokio::test]
async fn lesson_24_the_ca_renews_its_own_marked_certificates_at_once() {
    let desk = Desk::open().await;
    desk.settle().await;
    let own = desk.certificates().await;
    assert_eq!(own.len(), 2, "the responder's and the front end's");
    let serials: Vec<_> = own.iter().map(|c| c.serial).collect();
    assert_eq!(desk.operate(replace(listed(&serials))).await.unwrap(), marked(2, 2));
    assert_eq!(desk.report().await.count.to_go, 2);
    desk.settle().await;
    let report = desk.report().await;
    assert_eq!(report.count, ReplacementCount { marked: 2, replaced: 2, ..Default::default() });
    assert_eq!((desk.certificates().await.len(), report.services[0].grant.as_ref()), (4, None), "once, not again and again");
}
