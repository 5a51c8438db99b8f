//! Revocation by subscribers: the store believes their signatures, not the front end.

use std::time::Duration;

use ca_core::evidence::statement::Operation;
use ca_core::model::{
    Actor, Authorization, AuthorizationId, AuthorizationStatus, Challenge, ChallengeMethod, KeyAsked, LeaseToken, ProblemType,
    RevocationReason, RevocationRequest, Revoked, TakeUp, ValidationEnd, ValidationRecord, WorkerId,
};
use ca_core::pki::{Identifier, SerialNumber, Timestamp};
use ca_core::ports::{AcmeStore as _, AuditStore as _, CertificateStore as _, Clock as _, StoreError, ValidationStore as _};
use ca_testkit::SeededRng;
use ca_testkit::acme::{self, ClientKey};
use ca_testkit::store::audit;
use serde_json::{Value, json};

use crate::desk::{Client, Desk, demo};

const URL: &str = "/acme/revoke-cert";

/// An authorization for a.demo.test that stands for itself: by a challenge, which is then proven, or by the grant alone.
async fn authorize(desk: &Desk, client: &Client, challenged: bool) {
    let (now, rng, store) = (desk.clock.now(), SeededRng::new(1000 + desk.next()), &desk.store);
    let method = ChallengeMethod::Http01;
    let authorization = Authorization {
        id: AuthorizationId::new(now, &rng),
        account: client.id.clone(),
        authority: demo(),
        order: None,
        identifier: Identifier::from_text("a.demo.test").unwrap(),
        status: if challenged { AuthorizationStatus::Pending } else { AuthorizationStatus::Valid },
        expires: now.plus(Duration::from_secs(3600)),
        challenges: if challenged { vec![Challenge::new(method, &rng)] } else { Vec::new() },
    };
    let id = store.create_authorization(&authorization, now, &audit("authorization.create")).await.unwrap().id;
    if !challenged {
        return;
    }
    let (by, until, entry) = (TakeUp::by(client.thumbprint()), now.plus(Duration::from_secs(60)), audit("authorization.challenge"));
    store.start_challenge(&id, method, &by, now, until, &entry).await.unwrap();
    let (worker, lease) = (WorkerId::random(&rng), LeaseToken::random(&rng));
    store.lease_validations(&worker, &lease, now, until, 10, 10).await.unwrap();
    let record = ValidationRecord {
        account: client.id.clone(),
        authorization: id,
        identifier: authorization.identifier,
        method,
        attempt: 1,
        at: now,
        addresses: Vec::new(),
        answer_sha256: None,
        caa: None,
        problem: None,
        fault: None,
        valid_until: now.plus(Duration::from_secs(1800)),
        attestation: None,
    };
    store.finish_validation(&lease, &record, &ValidationEnd::Decided, &audit("authorization.validate")).await.unwrap();
}

struct Issued {
    serial: SerialNumber,
    payload: Value,
}

async fn issued(desk: &Desk, client: &Client, key: &ClientKey, reason: u8) -> Issued {
    let id = desk.finalized_with(client, json!({}), &key.csr(&["a.demo.test"], None)).await;
    desk.settle().await;
    let serial = desk.order(&id).await.serial.unwrap();
    let der = desk.certificate(serial).await.der;
    Issued { serial, payload: acme::revocation(&der, reason) }
}

async fn revoke(desk: &Desk, jws: &str, serial: SerialNumber, actor: Actor, reason: RevocationReason) -> Result<Revoked, StoreError> {
    let request = RevocationRequest {
        authority: demo(),
        serial,
        reason,
        invalidity_date: None,
        actor,
        at: desk.clock.now(),
        correlation: "x".to_owned(),
    };
    desk.store.revoke_on_request(jws, &request).await
}

fn account(client: &Client) -> Actor {
    Actor::Account { id: client.id.clone() }
}

#[tokio::test]
async fn a11_the_store_revokes_for_the_owner_and_for_who_has_proven_each_name_only() {
    let desk = Desk::open().await;
    let (owner, other) = (desk.account().await, desk.account().await);
    let (first, second) = (issued(&desk, &owner, &ClientKey::default(), 4).await, issued(&desk, &owner, &ClientKey::default(), 4).await);
    let by = |client: &Client, issued: &Issued| acme::by_account(&client.key, &client.id, URL, &issued.payload);
    let superseded = RevocationReason::Superseded;
    let refused = async |jws: &str, actor: Actor, reason| {
        let result = revoke(&desk, jws, first.serial, actor, reason).await;
        assert!(matches!(result, Err(StoreError::Conflict(_))), "{result:?}");
    };
    refused(&by(&other, &first), account(&other), superseded).await;
    // Whatever the front end says of a request: another's, for another certificate, with another reason, or none at all.
    refused(&by(&other, &first), account(&owner), superseded).await;
    refused(&by(&owner, &second), account(&owner), superseded).await;
    refused(&by(&owner, &first), account(&owner), RevocationReason::KeyCompromise).await;
    refused(&acme::by_account(&owner.key, &owner.id, "/acme/new-order", &first.payload), account(&owner), superseded).await;
    refused("{}", account(&owner), superseded).await;
    // A19: a grant's pattern authorizes nothing.
    authorize(&desk, &other, false).await;
    refused(&by(&other, &first), account(&other), superseded).await;

    let jws = by(&owner, &first);
    assert!(matches!(revoke(&desk, &jws, first.serial, account(&owner), superseded).await.unwrap(), Revoked::Now { .. }));
    assert_eq!(revoke(&desk, &jws, first.serial, account(&owner), superseded).await.unwrap(), Revoked::Already);
    let signature = serde_json::from_str::<Value>(&jws).unwrap()["signature"].as_str().unwrap().to_owned();
    assert!(desk.audit_has(&["certificate.revoke", &first.serial.to_string(), &signature]).await, "the request itself is on record");

    authorize(&desk, &other, true).await;
    let proven = by(&other, &second);
    assert!(matches!(revoke(&desk, &proven, second.serial, account(&other), superseded).await.unwrap(), Revoked::Now { .. }));
}

/// Who has the front end's process revokes in nobody's name: it can't give an account a key of its own.
#[tokio::test]
async fn a11_a_front_end_that_was_taken_over_revokes_by_no_key_of_its_own() {
    let desk = Desk::open().await;
    let (owner, thief) = (desk.account().await, ClientKey::default());
    let issued = issued(&desk, &owner, &ClientKey::default(), 1).await;
    let (new, entry) = (thief.account_key(), audit("account.key-change"));
    for jws in ["{}".to_owned(), acme::key_change(&thief, &thief, &owner.id)] {
        let changed = desk.store.change_key(&owner.id, &owner.thumbprint(), &new.canonical(), &new.thumbprint(), &jws, &entry).await;
        assert!(matches!(changed, Err(StoreError::Conflict(_))), "{changed:?}");
    }
    let forged = acme::by_account(&thief, &owner.id, URL, &issued.payload);
    let revoked = revoke(&desk, &forged, issued.serial, account(&owner), RevocationReason::KeyCompromise).await;
    assert!(matches!(revoked, Err(StoreError::Conflict(_))), "{revoked:?}");
    let record = desk.certificate(issued.serial).await;
    assert_eq!(record.revoked, None);
    assert_eq!(desk.store.key_use(KeyAsked::whether_blocked(record.spki_sha256)).await.unwrap().block, None);
}

#[tokio::test]
async fn a11_key_compromise_by_the_key_itself_blocks_that_key_for_good() {
    let desk = Desk::open().await;
    let (owner, key, stranger) = (desk.account().await, ClientKey::default(), ClientKey::default());
    let issued = issued(&desk, &owner, &key, 1).await;
    let by_key =
        |key: &ClientKey| key.jws(json!({ "jwk": key.jwk(), "nonce": "bm9uY2U", "url": format!("{}{URL}", acme::BASE) }), &issued.payload);
    let actor = Actor::CertificateKey { spki_sha256: desk.certificate(issued.serial).await.spki_sha256 };
    let compromised = RevocationReason::KeyCompromise;
    let forged = revoke(&desk, &by_key(&stranger), issued.serial, actor.clone(), compromised).await;
    assert!(matches!(forged, Err(StoreError::Conflict(_))), "{forged:?}");
    assert!(matches!(revoke(&desk, &by_key(&key), issued.serial, actor, compromised).await.unwrap(), Revoked::Now { .. }));

    desk.clock.advance(Duration::from_secs(35 * 86_400));
    let other = desk.account().await;
    desk.clock.advance(Duration::from_secs(1));
    let again = desk.finalized_with(&other, json!({}), &key.csr(&["a.demo.test"], None)).await;
    desk.worker.step_requests().await.unwrap();
    let refusal = desk.refusal(&again).await;
    assert!(refusal.kind == ProblemType::BadCsr && refusal.detail.contains("blocked"), "{refusal:?}");
}

/// Revoked because another one came in its place; the key was lost later.
#[tokio::test]
async fn a11_a_key_that_says_so_of_itself_is_blocked_though_its_certificate_was_revoked_before() {
    let desk = Desk::open().await;
    let (owner, key) = (desk.account().await, ClientKey::default());
    let superseded = issued(&desk, &owner, &key, 4).await;
    let compromised = acme::revocation(&desk.certificate(superseded.serial).await.der, 1);
    let by_key = |payload: &Value| key.jws(json!({ "jwk": key.jwk(), "nonce": "bm9uY2U", "url": format!("{}{URL}", acme::BASE) }), payload);
    let spki_sha256 = desk.certificate(superseded.serial).await.spki_sha256;
    let actor = || Actor::CertificateKey { spki_sha256 };
    let (reason, lost) = (RevocationReason::Superseded, RevocationReason::KeyCompromise);
    let serial = superseded.serial;
    assert!(matches!(revoke(&desk, &by_key(&superseded.payload), serial, actor(), reason).await.unwrap(), Revoked::Now { .. }));
    assert_eq!(revoke(&desk, &by_key(&superseded.payload), serial, actor(), reason).await.unwrap(), Revoked::Already);
    let block = async || desk.store.key_use(KeyAsked::whether_blocked(spki_sha256)).await.unwrap().block;
    assert_eq!(block().await, None);
    // An account's word is not the key's.
    let by_owner = acme::by_account(&owner.key, &owner.id, URL, &compromised);
    assert_eq!(revoke(&desk, &by_owner, serial, account(&owner), lost).await.unwrap(), Revoked::Already);
    assert_eq!(block().await, None);

    for _ in 0..2 {
        assert_eq!(revoke(&desk, &by_key(&compromised), serial, actor(), lost).await.unwrap(), Revoked::Already);
    }
    assert!(block().await.is_some_and(|block| block.to_string().contains("it signed that it is compromised")));
    assert!(desk.audit_has(&["key.block", &spki_sha256.to_string(), "certificate-key"]).await);
    desk.clock.advance(Duration::from_secs(1));
    let again = desk.finalized_with(&owner, json!({}), &key.csr(&["a.demo.test"], None)).await;
    desk.worker.step_requests().await.unwrap();
    assert!(desk.refusal(&again).await.detail.contains("the key is blocked"));
}

/// Whoever wrote it: a bad row costs its date, not the authority's CRLs.
#[tokio::test]
async fn s6_rows_with_impossible_times_are_on_the_crl_and_raise_one_alarm() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let mut serials = Vec::new();
    for _ in 0..3 {
        let issued = issued(&desk, &client, &ClientKey::default(), 4).await;
        let jws = acme::by_account(&client.key, &client.id, URL, &issued.payload);
        revoke(&desk, &jws, issued.serial, account(&client), RevocationReason::Superseded).await.unwrap();
        serials.push(issued.serial);
    }
    desk.edit(
        "UPDATE certificates SET revoked_at = -1 WHERE seq = (SELECT min(seq) FROM certificates WHERE revoked_at IS NOT NULL);
         UPDATE certificates SET revoked_at = 253402300800, invalidity_date = -5
           WHERE seq = (SELECT max(seq) FROM certificates WHERE revoked_at IS NOT NULL)",
    )
    .await;
    let alarms = async || {
        let rows = desk.store.audit_after(0, 10_000).await.unwrap();
        rows.iter().filter(|row| String::from_utf8_lossy(&row.leaf).contains("2 revoked certificates are on record with a time")).count()
    };
    let (now, today) = (desk.clock.now(), 86_400);
    for day in 0..2 {
        desk.clock.set(now.plus(Duration::from_secs(10 + day * today)));
        desk.settle().await;
        let crl = desk.crl().await.unwrap();
        let this_update = desk.clock.now().minus(Duration::from_secs(60));
        assert_eq!(crl.this_update(), this_update);
        let entries = crl.entries();
        let dates: Vec<_> = serials.iter().map(|serial| entries.iter().find(|e| e.serial == *serial).unwrap()).collect();
        assert_eq!(dates.iter().map(|e| e.revoked_at).collect::<Vec<_>>(), [Timestamp::EPOCH, now, this_update]);
        assert_eq!(dates[2].invalidity_date, Some(Timestamp::EPOCH));
        assert_eq!(alarms().await, 1, "each CRL tells nothing new");
    }
}

#[tokio::test]
async fn an_invalidity_date_that_no_crl_can_carry_is_refused() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    let serial = issued(&desk, &client, &ClientKey::default(), 4).await.serial;
    for date in [Timestamp::from_unix(-1), desk.clock.now().plus(Duration::from_secs(1))] {
        let operation = Operation::CertificateRevoke {
            authority: demo(),
            serial,
            reason: RevocationReason::KeyCompromise,
            invalidity_date: Some(date),
        };
        assert!(desk.operate(operation).await.unwrap_err().detail.contains("invalidity date"), "{date}");
    }
}
