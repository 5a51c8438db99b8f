//! Orders that renew themselves (RFC 8739).

use std::time::Duration;

use ca_core::evidence::statement::Operation;
use ca_core::model::{
    BulkChoice, CertificateFilter, CertificateRecord, CertificateState, Grant, GrantLimits, JobId, Order, OrderId, OrderStatus, Problem,
    ProblemType, ReplacementCount, RevocationReason, SerialStatus,
};
use ca_core::pki::{Certificate, SerialNumber, Timestamp};
use ca_core::ports::{AcmeStore as _, CertificateStore as _, Clock as _, JobStore as _, StatusStore as _, StoreError};
use ca_testkit::Fault;
use ca_testkit::acme::ClientKey;
use ca_testkit::store::audit;
use serde_json::json;

use crate::desk::{Client, Desk, demo};

const DAY: u64 = 86_400;

/// A finalized order for certificates of twelve days, until 30 days from now.
pub(crate) async fn star(desk: &Desk, client: &Client) -> OrderId {
    star_with(desk, client, &ClientKey::default()).await
}

async fn star_with(desk: &Desk, client: &Client, key: &ClientKey) -> OrderId {
    let end = desk.clock.now().plus(Duration::from_secs(30 * DAY));
    let terms = json!({ "auto-renewal": { "end-date": end.to_rfc3339(), "lifetime": 12 * DAY } });
    desk.finalized_with(client, terms, &key.csr(&["a.demo.test"], None)).await
}

/// A desk, when it opened, and an order that has its first certificate.
async fn begun() -> (Desk, Timestamp, OrderId) {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let start = desk.clock.now();
    let id = star(&desk, &client).await;
    desk.settle().await;
    (desk, start, id)
}

/// What the order has now.
async fn standing(desk: &Desk, id: &OrderId) -> CertificateRecord {
    desk.certificate(desk.order(id).await.serial.unwrap()).await
}

pub(crate) fn days(desk: &Desk, days: u64) {
    desk.clock.advance(Duration::from_secs(days * DAY));
}

async fn canceled(desk: &Desk, id: &OrderId) -> Order {
    let order = desk.order(id).await;
    assert_eq!((order.status, order.expires), (OrderStatus::Canceled, desk.clock.now()));
    let before = desk.of_order(id).await.len();
    days(desk, 8);
    desk.settle().await;
    assert_eq!(desk.of_order(id).await.len(), before, "no certificate after that");
    order
}

/// Nor does a renewal come by another profile than the order was made for.
#[tokio::test]
async fn a21_an_order_whose_grant_gives_another_profile_by_now_is_canceled() {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    let id = star(&desk, &client).await;
    desk.settle().await;
    assert_eq!(standing(&desk, &id).await.profile, "client");
    let reordered = Grant { profiles: grant.profiles.iter().rev().cloned().collect(), ..grant };
    desk.operate(desk.update_of(&reordered).await).await.unwrap();
    days(&desk, 5);
    desk.settle().await;
    let error = canceled(&desk, &id).await.error.unwrap();
    assert!(error.kind == ProblemType::InvalidProfile && error.detail.contains("`client`"), "{error:?}");
}

fn job(id: &OrderId) -> JobId {
    format!("star.{id}").parse().unwrap()
}

#[tokio::test]
async fn a21_the_next_certificate_comes_by_half_the_life_of_the_standing_one_until_the_end_date() {
    let mut desk = Desk::open().await;
    let client = desk.account().await;
    let start = desk.clock.now();
    let id = star(&desk, &client).await;
    desk.settle().await;
    let at = |days: u64| start.plus(Duration::from_secs(days * DAY));
    let first = standing(&desk, &id).await;
    assert_eq!((first.not_before, first.not_after), (start.minus(Duration::from_secs(8 * DAY)), at(12)));
    let order = desk.order(&id).await;
    assert_eq!((order.status, order.expires), (OrderStatus::Valid, at(30)), "once valid it lasts until its end date");

    // Due at 7/12 of a life before the end: a second before it, nothing.
    desk.clock.advance(Duration::from_secs(5 * DAY - 1));
    desk.settle().await;
    assert_eq!(standing(&desk, &id).await.serial, first.serial);
    desk.clock.advance(Duration::from_secs(1));
    // A restart goes on.
    desk.restart();
    desk.settle().await;
    let second = standing(&desk, &id).await;
    assert_eq!((second.not_before, second.not_after), (at(4), at(24)));
    assert!(second.not_before <= desk.clock.now(), "already valid when it is published");
    assert_eq!(second.spki_sha256, first.spki_sha256);
    assert_eq!((second.account.as_ref(), second.order.as_ref()), (Some(&client.id), Some(&id)), "it is the subscriber's like the first");
    assert_eq!(second.grant, first.grant);
    Certificate::from_der(&second.der).unwrap().is_signed_by(&desk.issuer).unwrap();
    assert_eq!(desk.store.status(&demo(), &second.serial).await.unwrap(), Some(SerialStatus::Good));
    assert!(desk.audit_has(&["certificate.release", &second.serial.to_string()]).await);

    days(&desk, 12);
    desk.settle().await;
    let last = standing(&desk, &id).await;
    assert_eq!(last.not_after, at(30), "nothing beyond the end date");
    days(&desk, 12);
    desk.settle().await;
    days(&desk, 12);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 3);
    assert_eq!(desk.order(&id).await.status, OrderStatus::Valid, "the status remains");
    let lease = desk.store.lease_jobs(&"w".parse().unwrap(), &"l".parse().unwrap(), at(500), at(501), 100).await.unwrap();
    assert!(lease.iter().all(|leased| leased.id != job(&id)), "and there is no job left");
}

#[tokio::test]
async fn a21_a_failure_comes_back_before_the_standing_certificate_ends() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let id = star(&desk, &client).await;
    desk.settle().await;
    let first = standing(&desk, &id).await;
    // The rest of the schedule first, so that the fault meets the renewal.
    desk.clock.advance(Duration::from_secs(5 * DAY - 1));
    desk.settle().await;
    desk.clock.advance(Duration::from_secs(1));
    desk.keys.fail_once(Fault::FlippedBit);
    desk.worker.tick_jobs().await.unwrap();
    desk.clock.advance(Duration::from_secs(20));
    desk.settle().await;
    let second = standing(&desk, &id).await;
    assert_ne!(second.serial, first.serial);
    let records = desk.of_order(&id).await;
    let abandoned: Vec<_> = records.iter().filter(|r| r.state == CertificateState::Abandoned).collect();
    assert!(records.len() == 3 && abandoned.len() == 1, "{records:?}");
    assert_eq!(abandoned[0].revoked.unwrap().1, RevocationReason::Superseded);
}

#[tokio::test]
async fn a21_a_worker_that_was_away_makes_no_certificate_that_has_ended() {
    let (desk, start, id) = begun().await;
    days(&desk, 25);
    desk.settle().await;
    assert_eq!(standing(&desk, &id).await.not_after, start.plus(Duration::from_secs(30 * DAY)));
    assert_eq!(desk.of_order(&id).await.len(), 2);
}

#[tokio::test]
async fn a21_cancellation_ends_it_and_only_once() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let id = star(&desk, &client).await;
    let entry = || ca_core::model::AuditEntry { at: desk.clock.now(), ..audit("order.cancel") };
    let conflict = |result: Result<Order, StoreError>| assert!(matches!(result, Err(StoreError::Conflict(_))), "{result:?}");
    conflict(desk.store.cancel_order(&id, None, &entry()).await);
    desk.settle().await;
    days(&desk, 1);
    assert_eq!(desk.store.cancel_order(&id, None, &entry()).await.unwrap().status, OrderStatus::Canceled);
    conflict(desk.store.cancel_order(&id, None, &entry()).await);
    canceled(&desk, &id).await;

    let plain = desk.finalized(&client, json!({})).await;
    desk.settle().await;
    conflict(desk.store.cancel_order(&plain, None, &entry()).await);
}

#[tokio::test]
async fn a15_a_revoked_grant_cancels_and_so_does_a_deactivated_account() {
    for end in ["revoke", "revoke suspended", "deactivate"] {
        let desk = Desk::open().await;
        let grant = desk.grant(None).await;
        let (client, other) = (desk.account_of(&grant).await, desk.account().await);
        let (id, kept) = (star(&desk, &client).await, star(&desk, &other).await);
        desk.settle().await;
        days(&desk, 1);
        match end {
            "revoke" => drop(desk.operate(Operation::GrantRevoke { id: grant.id.clone() }).await.unwrap()),
            "revoke suspended" => {
                desk.operate(Operation::GrantSuspend { id: grant.id.clone() }).await.unwrap();
                desk.operate(Operation::GrantRevoke { id: grant.id.clone() }).await.unwrap();
            }
            _ => {
                let entry = ca_core::model::AuditEntry { at: desk.clock.now(), ..audit("account.deactivate") };
                drop(desk.store.deactivate_account(&client.id, &entry).await.unwrap());
            }
        }
        canceled(&desk, &id).await;
        assert_eq!(desk.of_order(&kept).await.len(), 2, "{end}: another's goes on");
    }
}

/// A grant, an account of it, and an order with its first certificate: until the twelfth day, renewed from the fifth on.
async fn under_a_grant() -> (Desk, Grant, OrderId) {
    let desk = Desk::open().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    let id = star(&desk, &client).await;
    desk.settle().await;
    (desk, grant, id)
}

async fn let_it_last(desk: &Desk, grant: &mut Grant, until: Timestamp) {
    grant.valid_until = Some(until);
    desk.operate(desk.update_of(grant).await).await.unwrap();
}

/// The client did nothing and need do nothing: an end that operators forgot to move is no end of its orders.
#[tokio::test]
async fn a16_renewals_rest_while_a_grant_has_expired_and_go_on_when_it_is_extended() {
    let (mut desk, mut grant, id) = under_a_grant().await;
    let start = desk.clock.now();
    let at = |days: u64| start.plus(Duration::from_secs(days * DAY));
    let_it_last(&desk, &mut grant, at(4)).await;
    days(&desk, 5);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 1, "nothing is renewed");
    assert_eq!(desk.order(&id).await.status, OrderStatus::Valid);
    assert!(desk.audit_has(&["order.rest", "refused", id.as_str(), "expired"]).await);
    let now = desk.clock.now();
    assert_eq!(desk.store.numbers(now, now, now).await.unwrap().failing_jobs, 0, "it is the grant's alarm, not the job's");
    // Over the end of the certificate that stands, and over a restart.
    desk.restart();
    days(&desk, 8);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 1);

    let_it_last(&desk, &mut grant, at(20)).await;
    desk.settle().await;
    let second = standing(&desk, &id).await;
    assert_eq!((second.not_before, second.not_after), (at(4), at(24)), "at once, on the order's own dates");
    assert_eq!(desk.of_order(&id).await.len(), 2);
    days(&desk, 8);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 2, "it has ended again");
    let_it_last(&desk, &mut grant, at(500)).await;
    desk.settle().await;
    assert_eq!(standing(&desk, &id).await.not_after, at(30));
    days(&desk, 100);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 3, "nothing beyond the order's own end date");
}

#[tokio::test]
async fn a16_an_order_whose_end_comes_while_its_grant_has_expired_is_over() {
    let (desk, mut grant, id) = under_a_grant().await;
    let start = desk.clock.now();
    let_it_last(&desk, &mut grant, start.plus(Duration::from_secs(4 * DAY))).await;
    days(&desk, 5);
    desk.settle().await;
    days(&desk, 26);
    let_it_last(&desk, &mut grant, start.plus(Duration::from_secs(500 * DAY))).await;
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 1);
    let far = start.plus(Duration::from_secs(400 * DAY));
    let lease = desk.store.lease_jobs(&"w".parse().unwrap(), &"l".parse().unwrap(), far, far, 100).await.unwrap();
    assert!(lease.iter().all(|leased| leased.id != job(&id)), "and there is no job left");
}

#[tokio::test]
async fn a21_renewals_rest_while_a_grant_is_suspended_and_go_on_when_it_is_resumed() {
    let (desk, grant, id) = under_a_grant().await;
    desk.operate(Operation::GrantSuspend { id: grant.id.clone() }).await.unwrap();
    days(&desk, 6);
    desk.settle().await;
    assert_eq!((desk.of_order(&id).await.len(), desk.order(&id).await.status), (1, OrderStatus::Valid));
    assert!(desk.audit_has(&["order.rest", "refused", id.as_str(), "suspended"]).await);
    desk.operate(Operation::GrantResume { id: grant.id.clone() }).await.unwrap();
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 2);
    assert!(!desk.audit_has(&["worker.alarm"]).await, "nobody put anything back");

    desk.operate(Operation::GrantSuspend { id: grant.id.clone() }).await.unwrap();
    days(&desk, 12);
    desk.settle().await;
    desk.operate(Operation::GrantRevoke { id: grant.id.clone() }).await.unwrap();
    assert_eq!(canceled(&desk, &id).await.error, None);
}

#[tokio::test]
async fn a21_a_grant_that_ends_cancels_what_all_its_accounts_have_and_nothing_else() {
    let desk = Desk::open().await;
    let grant = desk.grant(None).await;
    let (one, two, other) = (desk.account_of(&grant).await, desk.account_of(&grant).await, desk.account().await);
    let gone = [star(&desk, &one).await, star(&desk, &one).await, star(&desk, &two).await];
    let (kept, plain) = (star(&desk, &other).await, desk.finalized(&one, json!({})).await);
    desk.settle().await;
    let expires = desk.order(&plain).await.expires;
    days(&desk, 1);
    desk.operate(Operation::GrantRevoke { id: grant.id.clone() }).await.unwrap();
    for id in &gone {
        let order = desk.order(id).await;
        assert_eq!((order.status, order.expires), (OrderStatus::Canceled, desk.clock.now()));
    }
    assert_eq!(desk.order(&kept).await.status, OrderStatus::Valid);
    let plain = desk.order(&plain).await;
    assert_eq!((plain.status, plain.expires), (OrderStatus::Valid, expires));
    let (far, farther) = (desk.clock.now().plus(Duration::from_secs(500 * DAY)), desk.clock.now().plus(Duration::from_secs(501 * DAY)));
    let left = desk.store.lease_jobs(&"w".parse().unwrap(), &"l".parse().unwrap(), far, farther, 100).await.unwrap();
    let left: Vec<_> = left.into_iter().map(|leased| leased.id).filter(|id| id.as_str().starts_with("star.")).collect();
    assert_eq!(left, [job(&kept)]);
}

/// Rows that say otherwise change nothing: the worker verifies grant, account, names and key each time.
#[tokio::test]
async fn a21_each_certificate_is_judged_anew_from_its_evidence() {
    let check = async |edit: &'static str, cause: &str| {
        let desk = Desk::open().await;
        let client = desk.account().await;
        let id = star(&desk, &client).await;
        desk.settle().await;
        let donor = star_with(&desk, &desk.account().await, &ClientKey::default()).await;
        desk.settle().await;
        assert_ne!(donor, id);
        days(&desk, 5);
        desk.edit(edit).await;
        desk.settle().await;
        assert_eq!(desk.of_order(&id).await.len(), 1, "{cause}");
        assert!(desk.audit_has(&["order.cancel", "refused", id.as_str()]).await, "{cause}");
        let ended = desk.order(&id).await;
        assert_eq!(ended.status, OrderStatus::Canceled, "{cause}");
        let told = ended.error.unwrap().detail;
        assert!(told.contains(cause), "{told}, not {cause}");
    };
    check("UPDATE grants SET statement = replace(statement, '*.demo.test', '*.bank.test') WHERE seq = 1", "could not be verified").await;
    check(
        "UPDATE orders SET finalize_jws = (SELECT finalize_jws FROM orders ORDER BY seq DESC LIMIT 1) WHERE seq = (SELECT min(seq) FROM orders)",
        "another account",
    )
    .await;
    check(
        "UPDATE orders SET serial = (SELECT serial FROM orders ORDER BY seq DESC LIMIT 1) WHERE seq = (SELECT min(seq) FROM orders)",
        "another key",
    )
    .await;
    check("UPDATE certificates SET der = x'3000' WHERE order_id = (SELECT id FROM orders ORDER BY seq LIMIT 1)", "not one of `demo`").await;
}

#[tokio::test]
async fn a21_an_older_record_brings_no_second_certificate() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let id = star(&desk, &client).await;
    desk.settle().await;
    days(&desk, 5);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 2);
    desk.edit(
        "UPDATE orders SET serial = (SELECT serial FROM certificates WHERE order_id IS NOT NULL ORDER BY seq LIMIT 1) WHERE seq = 1;
         UPDATE jobs SET due = 0 WHERE id LIKE 'star.%'",
    )
    .await;
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 2);
    assert!(desk.audit_has(&["worker.alarm", "later certificate"]).await);
    assert_eq!(desk.order(&id).await.status, OrderStatus::Canceled);
}

#[tokio::test]
async fn a21_a_new_account_key_leaves_it_and_a_policy_without_it_ends_it() {
    let desk = Desk::open().await;
    let mut client = desk.account().await;
    let id = star(&desk, &client).await;
    desk.settle().await;
    desk.change_key(&mut client).await;
    days(&desk, 5);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 2, "what the old key finalized goes on");

    let mut policy = desk.policy.clone();
    policy.version = 2;
    policy.authorities[0].profiles.get_mut("client").unwrap().star = None;
    desk.set_policy(policy);
    days(&desk, 12);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 2);
    let ended = desk.order(&id).await;
    assert_eq!((ended.status, ended.error.map(|e| e.kind)), (OrderStatus::Canceled, Some(ProblemType::Malformed)));

    let refused = star(&desk, &client).await;
    desk.settle().await;
    assert!(desk.refusal(&refused).await.detail.contains("do not renew themselves"));
}

#[tokio::test]
async fn a21_a_revoked_certificate_or_a_blocked_key_ends_it() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let (revoked, blocked) = (star(&desk, &client).await, star(&desk, &client).await);
    desk.settle().await;
    let revoke = async |id: &OrderId, reason| {
        let serial = desk.order(id).await.serial.unwrap();
        desk.operate(Operation::CertificateRevoke { authority: demo(), serial, reason, invalidity_date: None }).await
    };
    revoke(&revoked, RevocationReason::Superseded).await.unwrap();
    let key = standing(&desk, &blocked).await.spki_sha256;
    desk.operate(Operation::KeyBlock { spki_sha256: key, reason: "found in a repository".to_owned() }).await.unwrap();
    days(&desk, 5);
    desk.settle().await;
    for id in [&revoked, &blocked] {
        assert_eq!(desk.order(id).await.status, OrderStatus::Canceled);
        assert_eq!(desk.of_order(id).await.len(), 1);
    }
    let crl = desk.crl().await.unwrap();
    let serial = desk.of_order(&revoked).await[0].serial;
    assert!(crl.entries().iter().any(|e| e.serial == serial), "on the CRL like others");
    assert_eq!(desk.store.certificate(&demo(), &serial).await.unwrap().unwrap().order, Some(revoked));
}

impl Desk {
    /// Marks what the order has now; gives it.
    async fn mark_standing(&self, id: &OrderId) -> CertificateRecord {
        let record = standing(self, id).await;
        let choice = BulkChoice { authority: demo(), serials: vec![record.serial], filter: CertificateFilter::default(), replaced: false };
        self.operate(Operation::CertificateReplace { choice, explanation: None }).await.unwrap();
        record
    }

    async fn undo_marks(&self, serial: SerialNumber) {
        let choice = BulkChoice { authority: demo(), serials: vec![serial], filter: CertificateFilter::default(), replaced: false };
        self.operate(Operation::CertificateReplaceUndo { choice }).await.unwrap();
    }

    async fn replaced(&self) -> Result<Vec<SerialNumber>, Problem> {
        let filter = CertificateFilter { marked: Some(true), ..Default::default() };
        self.worker.choose(&BulkChoice { authority: demo(), serials: Vec::new(), filter, replaced: true }).await
    }
}

#[tokio::test]
async fn a21_a_mark_for_replacement_has_the_next_certificate_made_at_once_and_once() {
    let (mut desk, start, id) = begun().await;
    let at = |days: u64| start.plus(Duration::from_secs(days * DAY));
    let times = |record: &CertificateRecord| (record.not_before, record.not_after);

    // The next one would not be valid yet (RFC 8739 §3.5): the same dates once more. One mark, one certificate.
    let first = desk.mark_standing(&id).await;
    desk.settle().await;
    let second = standing(&desk, &id).await;
    assert_ne!(second.serial, first.serial);
    assert_eq!((times(&second), second.spki_sha256), (times(&first), first.spki_sha256));
    assert_eq!((second.marked.clone(), second.order.as_ref(), second.grant.clone()), (None, Some(&id), first.grant));
    Certificate::from_der(&second.der).unwrap().is_signed_by(&desk.issuer).unwrap();
    desk.restart();
    desk.clock.advance(Duration::from_secs(DAY));
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 2);
    assert_eq!(desk.store.status(&demo(), &first.serial).await.unwrap(), Some(SerialStatus::Good), "nothing stops working");

    // It counts as replaced, and can be revoked once the order's hosts have fetched the next one.
    let report = desk.worker.replacement_report(&CertificateFilter::default()).await.unwrap();
    assert_eq!(report.count, ReplacementCount { marked: 1, replaced: 1, fetching: 1, ..Default::default() });
    assert_eq!(report.fetched_by, Some(at(12)));
    assert!(desk.replaced().await.unwrap_err().detail.contains("neither expired nor revoked"));

    // The schedule goes on. A mark that was taken away in time changes nothing.
    days(&desk, 4);
    desk.settle().await;
    let third = standing(&desk, &id).await;
    assert_eq!((desk.clock.now(), times(&third)), (at(5), (at(4), at(24))));
    desk.mark_standing(&id).await;
    desk.undo_marks(third.serial).await;
    desk.settle().await;
    assert_eq!(standing(&desk, &id).await.serial, third.serial);
    desk.mark_standing(&id).await;
    desk.settle().await;
    let fourth = standing(&desk, &id).await;
    assert_eq!(times(&fourth), times(&third));
    days(&desk, 12);
    assert_eq!(desk.replaced().await.unwrap(), [third.serial], "hosts fetch once in twelve days");
    let revoke = Operation::CertificateRevoke {
        authority: demo(),
        serial: third.serial,
        reason: RevocationReason::Superseded,
        invalidity_date: None,
    };
    desk.operate(revoke).await.unwrap();
    desk.settle().await;
    let last = standing(&desk, &id).await;
    assert_eq!((desk.clock.now(), times(&last)), (at(17), (at(16), at(30))), "what was replaced is not missed");

    // The last one has a successor too, to the order's end and not beyond.
    days(&desk, 1);
    desk.mark_standing(&id).await;
    desk.settle().await;
    let instead = standing(&desk, &id).await;
    assert!(instead.serial != last.serial && times(&instead) == times(&last));
    days(&desk, 13);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 6);
}

#[tokio::test]
async fn a21_a_marked_certificate_s_successor_has_the_next_dates_where_they_have_begun() {
    let (desk, start, id) = begun().await;
    let at = |days: u64| start.plus(Duration::from_secs(days * DAY));
    // On the 5th day it would come by itself.
    days(&desk, 4);
    desk.mark_standing(&id).await;
    desk.settle().await;
    let next = standing(&desk, &id).await;
    assert_eq!((next.not_before, next.not_after), (at(4), at(24)), "valid already (RFC 8739 §3.3)");
    days(&desk, 1);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 2);
    days(&desk, 12);
    desk.settle().await;
    assert_eq!((desk.of_order(&id).await.len(), standing(&desk, &id).await.not_after), (3, at(30)));
}

#[tokio::test]
async fn a21_a_failure_leaves_the_mark_s_renewal_for_later_and_a_refusal_ends_the_order() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let (later, refused) = (star(&desk, &client).await, star(&desk, &client).await);
    desk.settle().await;
    let first = desk.mark_standing(&later).await;
    desk.keys.fail_once(Fault::FlippedBit);
    desk.worker.tick_jobs().await.unwrap();
    assert_eq!(standing(&desk, &later).await.serial, first.serial);
    desk.clock.advance(Duration::from_secs(20));
    desk.settle().await;
    let records = desk.of_order(&later).await;
    let released = records.iter().filter(|r| r.state == CertificateState::Released).count();
    assert_eq!((records.len(), released), (3, 2));
    assert_ne!(standing(&desk, &later).await.serial, first.serial);

    // Judged from its evidence and today's policy, like each certificate.
    let mut policy = desk.policy.clone();
    policy.version = 2;
    policy.authorities[0].profiles.get_mut("client").unwrap().star = None;
    desk.set_policy(policy);
    desk.mark_standing(&refused).await;
    desk.settle().await;
    assert_eq!(desk.order(&refused).await.status, OrderStatus::Canceled);
    assert_eq!(desk.of_order(&refused).await.len(), 1);
}

/// A start date ahead: the first certificate begins there, and the schedule counts from it.
#[tokio::test]
async fn a21_a_start_date_is_kept() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let now = desk.clock.now();
    let at = |days: u64| now.plus(Duration::from_secs(days * DAY));
    let terms = json!({ "auto-renewal": {
        "start-date": at(2).to_rfc3339(), "end-date": at(20).to_rfc3339(), "lifetime": 4 * DAY, "lifetime-adjust": 3 * DAY,
    } });
    let id = desk.finalized(&client, terms).await;
    desk.settle().await;
    let times = async |desk: &Desk| -> (Timestamp, Timestamp) {
        let record = standing(desk, &id).await;
        (record.not_before, record.not_after)
    };
    assert_eq!(times(&desk).await, (at(2), at(6)));
    days(&desk, 4);
    desk.settle().await;
    assert_eq!(times(&desk).await, (at(3), at(10)));
}

/// A grant's cap counts renewals too. Where it is spent, the next certificate waits for room, as a new order would.
#[tokio::test]
async fn a21_a_full_cap_puts_the_next_certificate_off_and_does_not_end_the_order() {
    let desk = Desk::open().await;
    let limits = GrantLimits { max_certificates: Some("2/day".parse().unwrap()), ..GrantLimits::default() };
    let grant = Grant { limits, ..desk.wanted_grant() };
    desk.operate(Operation::GrantCreate { grant: grant.clone() }).await.unwrap();
    let client = desk.account_of(&grant).await;
    let id = star(&desk, &client).await;
    desk.settle().await;
    desk.clock.advance(Duration::from_secs(5 * DAY - 3600));
    for _ in 0..2 {
        let other = desk.finalized(&client, json!({})).await;
        desk.settle().await;
        assert_eq!(desk.order(&other).await.status, OrderStatus::Valid);
    }
    desk.clock.advance(Duration::from_secs(3600));
    desk.settle().await;
    assert_eq!((desk.order(&id).await.status, desk.of_order(&id).await.len()), (OrderStatus::Valid, 1));
    assert!(desk.audit_has(&["job.execute", "failed", "2/day"]).await, "and it is on record why");
    days(&desk, 1);
    desk.settle().await;
    assert_eq!((desk.order(&id).await.status, desk.of_order(&id).await.len()), (OrderStatus::Valid, 2));
}

/// What the anchor remembers of a grant counts for renewals as for orders.
#[tokio::test]
async fn a21_a_grant_put_back_in_the_database_renews_nothing() {
    let desk = Desk::open().await;
    desk.settle().await;
    let grant = desk.grant(None).await;
    let client = desk.account_of(&grant).await;
    let id = star(&desk, &client).await;
    desk.settle().await;
    desk.edit(
        "CREATE TABLE kept_grants AS SELECT * FROM grants; CREATE TABLE kept_orders AS SELECT * FROM orders;
         CREATE TABLE kept_accounts AS SELECT * FROM accounts; CREATE TABLE kept_jobs AS SELECT * FROM jobs WHERE id LIKE 'star.%'",
    )
    .await;
    desk.operate(Operation::GrantRevoke { id: grant.id.clone() }).await.unwrap();
    assert_eq!(desk.order(&id).await.status, OrderStatus::Canceled);
    // Whoever edits the database takes all of it back.
    desk.edit(
        "UPDATE grants SET status = (SELECT k.status FROM kept_grants k WHERE k.id = grants.id);
         UPDATE accounts SET status = (SELECT k.status FROM kept_accounts k WHERE k.id = accounts.id);
         UPDATE orders SET expires = (SELECT k.expires FROM kept_orders k WHERE k.id = orders.id);
         UPDATE star_orders SET canceled_at = NULL; INSERT INTO jobs SELECT * FROM kept_jobs",
    )
    .await;
    assert_eq!(desk.order(&id).await.status, OrderStatus::Valid);
    days(&desk, 5);
    desk.settle().await;
    assert_eq!(desk.of_order(&id).await.len(), 1);
    assert!(desk.audit_has(&["worker.alarm", grant.id.as_str(), "seen it revoked"]).await);
    assert_eq!(desk.order(&id).await.status, OrderStatus::Canceled);
}
