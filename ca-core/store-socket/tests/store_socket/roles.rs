//! What each role may say, and what becomes of everything else.

use std::sync::Arc;

use ca_core::log::{Leaf, read_leaf};
use ca_core::model::{Actor, AuthorityName, CrlScope, OrderId, RevocationReason, RevocationRequest};
use ca_core::pki::{SerialNumber, sha256};
use ca_core::ports::{AuditStore as _, CertificateStore as _, StoreError};
use ca_store_socket::{Command, Peers, Role, SocketStore};
use ca_store_sqlite::SqliteStore;
use ca_testkit::SeededRng;
use ca_testkit::store::{at, audit};
use tempfile::TempDir;

use crate::owner::{Owner, alone, own_uid};
use crate::raw::Raw;

async fn store(folder: &TempDir) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(folder.path().join("store.db"), Arc::new(SeededRng::new(1))).await.unwrap())
}

/// The roles' commands, with an honest entry where there is one. A test compares the list with the type.
fn commands() -> Vec<(Command, &'static [Role])> {
    let entry = |action: &str| {
        let mut entry = audit(action);
        entry.actor = Actor::Anonymous;
        entry
    };
    let (account, order): (_, OrderId) = ("account-1".parse().unwrap(), "order-1".parse().unwrap());
    let authority: AuthorityName = "demo".parse().unwrap();
    let serial = SerialNumber::from_der_integer(&[1]).unwrap();
    let new_account = ca_core::model::NewAccount {
        account: ca_core::model::Account {
            id: ca_core::model::AccountId::from_evidence("x"),
            status: ca_core::model::AccountStatus::Pending,
            jwk: "{}".to_owned(),
            thumbprint: "x".to_owned(),
            contact: Vec::new(),
            terms_of_service_agreed: true,
            grant: "grant-1".parse().unwrap(),
            created_at: at(0),
        },
        jws: "x".to_owned(),
    };
    let new_order = ca_core::model::NewOrder {
        order: ca_core::model::Order {
            id: order.clone(),
            account: new_account.account.id.clone(),
            authority: authority.clone(),
            profile: "client".to_owned(),
            identifiers: Vec::new(),
            authorizations: Vec::new(),
            status: ca_core::model::OrderStatus::Ready,
            expires: at(100),
            not_before: None,
            not_after: None,
            error: None,
            serial: None,
            auto_renewal: None,
            replaces: None,
            created_at: at(0),
        },
        authorizations: Vec::new(),
        jws: "x".to_owned(),
    };
    let revocation = RevocationRequest {
        authority: authority.clone(),
        serial,
        reason: RevocationReason::Superseded,
        invalidity_date: None,
        actor: Actor::CertificateKey { spki_sha256: sha256(b"key") },
        at: at(0),
        correlation: "x".to_owned(),
    };
    let authorization = ca_core::model::Authorization {
        id: "z".parse().unwrap(),
        account: new_account.account.id.clone(),
        authority: authority.clone(),
        order: None,
        identifier: ca_core::pki::Identifier::from_text("a.demo.test").unwrap(),
        status: ca_core::model::AuthorizationStatus::Valid,
        expires: at(100),
        challenges: Vec::new(),
    };
    let record = ca_core::model::ValidationRecord {
        account: new_account.account.id.clone(),
        authorization: authorization.id.clone(),
        identifier: authorization.identifier.clone(),
        method: ca_core::model::ChallengeMethod::Http01,
        attempt: 1,
        at: at(0),
        addresses: Vec::new(),
        answer_sha256: None,
        caa: None,
        attestation: None,
        problem: None,
        fault: None,
        valid_until: at(100),
    };
    let mut validated = entry("authorization.validate");
    validated.actor = Actor::system("validation");
    let text = || "x".to_owned();
    const ACME: &[Role] = &[Role::Acme];
    const RESPONDER: &[Role] = &[Role::Responder];
    vec![
        (Command::QueueAccount { account: new_account, audit: entry("account.request") }, ACME),
        (Command::Account { id: account }, ACME),
        (Command::AccountByKey { thumbprint: text() }, ACME),
        (Command::UpdateContact { id: "a".parse().unwrap(), contact: Vec::new(), audit: entry("account.update") }, ACME),
        (Command::DeactivateAccount { id: "a".parse().unwrap(), audit: entry("account.deactivate") }, ACME),
        (
            Command::ChangeKey {
                id: "a".parse().unwrap(),
                old_thumbprint: text(),
                jwk: text(),
                thumbprint: text(),
                jws: text(),
                audit: entry("account.key-change"),
            },
            ACME,
        ),
        (Command::Grant { id: "g".parse().unwrap() }, ACME),
        (Command::GrantUse { id: "g".parse().unwrap(), since: at(0), at_most: 1 }, ACME),
        (Command::CreateOrder { order: new_order, audit: entry("order.create") }, ACME),
        (Command::Order { id: order.clone() }, ACME),
        (Command::OrdersOf { account: "a".parse().unwrap(), cursor: None, now: at(0), limit: 1 }, ACME),
        (Command::Authorization { id: "z".parse().unwrap() }, ACME),
        (Command::AuthorizationsOf { order: order.clone() }, ACME),
        (Command::DeactivateAuthorization { id: "z".parse().unwrap(), audit: entry("authorization.deactivate") }, ACME),
        (Command::CreateAuthorization { authorization, now: at(0), audit: entry("authorization.create") }, ACME),
        (
            Command::StartChallenge {
                id: "z".parse().unwrap(),
                method: ca_core::model::ChallengeMethod::Http01,
                by: ca_core::model::TakeUp::by(text()),
                now: at(0),
                deadline: at(60),
                audit: entry("authorization.challenge"),
            },
            ACME,
        ),
        (
            Command::LeaseValidations {
                worker: "w".parse().unwrap(),
                lease: "l".parse().unwrap(),
                now: at(0),
                until: at(60),
                limit: 1,
                share: 1,
            },
            ACME,
        ),
        (
            Command::FinishValidation {
                lease: "l".parse().unwrap(),
                record,
                end: ca_core::model::ValidationEnd::Decided,
                audit: validated,
            },
            ACME,
        ),
        (Command::AwaitValidations { at_most_ms: 0 }, ACME),
        (Command::Standing { account: "a".parse().unwrap(), identifiers: Vec::new(), since: at(0) }, ACME),
        (Command::TakeShares { wanted: Vec::new(), now: at(0) }, ACME),
        (
            Command::PauseAccount {
                id: "a".parse().unwrap(),
                audit: ca_core::model::AuditEntry { actor: Actor::system("limits"), ..entry("account.pause") },
            },
            ACME,
        ),
        (
            Command::QueueFinalize { order: order.clone(), thumbprint: text(), jws: text(), now: at(0), audit: entry("order.finalize") },
            ACME,
        ),
        (Command::CancelOrder { id: order, problem: None, audit: entry("order.cancel") }, ACME),
        (Command::AwaitRequest { id: "r".parse().unwrap(), at_most_ms: 0 }, ACME),
        (Command::RevokeOnRequest { jws: text(), request: revocation }, ACME),
        (Command::OldestWait { now: at(0) }, ACME),
        (Command::Policy, ACME),
        (Command::Authorities, &Role::ALL),
        (Command::CrossCertificates, ACME),
        (Command::Certificate { authority: authority.clone(), serial }, ACME),
        (Command::NewestForKey { authority: authority.clone(), profile: text(), spki_sha256: sha256(b"key") }, &Role::ALL),
        (Command::KeyUses { asked: Vec::new() }, ACME),
        (Command::Status { authority: authority.clone(), serial }, RESPONDER),
        (Command::LedgerHead { authority: authority.clone() }, RESPONDER),
        (Command::LedgerAfter { authority: authority.clone(), number: 0, limit: 1 }, RESPONDER),
        (Command::AwaitLedger { at_most_ms: 0 }, RESPONDER),
        (Command::CurrentCrl { authority, scope: CrlScope::FULL, have: None }, RESPONDER),
    ]
}

#[test]
fn the_sweep_leaves_no_command_out() {
    let told = serde_json::from_str::<Command>("\"no-such-command\"").unwrap_err().to_string();
    let known: Vec<&str> = told.split_once("expected one of").unwrap().1.split('`').skip(1).step_by(2).collect();
    let swept: Vec<&str> = commands().iter().map(|(command, _)| command.name()).collect();
    assert_eq!(swept, known);
}

#[tokio::test]
async fn every_command_of_every_role_is_allowed_or_refused_on_record() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder).await;
    for role in Role::ALL {
        let owner = Owner::start(folder.path().join("s.sock"), store.clone(), alone(folder.path(), role));
        let mut refused = 0;
        for (command, roles) in commands() {
            assert_eq!(command.is_for(role), roles.contains(&role), "{} for {role}", command.name());
            // A connection each: one that sent something forbidden ends.
            let (mut raw, greeting) = Raw::connect(&owner.path).await;
            assert!(greeting.contains("welcome") && greeting.contains(&role.to_string()), "{greeting}");
            raw.send(5, &serde_json::to_vec(&command).unwrap()).await;
            let answer = raw.receive().await.unwrap();
            let is_refused = answer.contains("\"refused\"");
            assert_eq!(is_refused, !roles.contains(&role), "{} for {role}: {answer}", command.name());
            if is_refused {
                refused += 1;
                assert_eq!(raw.receive().await, None, "the connection ends");
                // Each is to be on record, so each comes after the last one's row is old.
                owner.clock.advance(std::time::Duration::from_secs(60));
            }
            assert_eq!(owner.refusals.commands(), refused);
        }
        assert!(refused > 0);
        owner.stop().await;
        let rows = store.audit_after(0, 1000).await.unwrap();
        let of_role = |leaf: Option<Leaf>| matches!(leaf, Some(Leaf::Audit(entry)) if entry.action == "store.refuse" && entry.object == role.to_string());
        let on_record = rows.iter().filter(|row| of_role(read_leaf(&row.leaf))).count();
        assert_eq!(on_record as u64, refused, "each refusal of {role} is in the audit trail");
    }
}

#[tokio::test]
async fn what_only_the_worker_may_do_cannot_be_said() {
    let folder = TempDir::new().unwrap();
    let store = store(&folder).await;
    let owner = Owner::start(folder.path().join("s.sock"), store.clone(), alone(folder.path(), Role::Acme));
    let forged = |name: &str| format!("{{\"{name}\":{{}}}}").into_bytes();
    let names = [
        "record-intent",
        "complete",
        "abandon",
        "open-intents",
        "lease-requests",
        "accept-account",
        "refuse-request",
        "postpone-request",
        "allocate-crl-number",
        "revoked-entries",
        "ensure-job",
        "lease-jobs",
        "finish-job",
        "fail-job",
        "validations-of",
        "prune",
        "append-audit",
        "audit-after",
        "import-authorities",
        "put-policy",
        "spend-nonce",
        "put-grant",
        "revoke-grant",
        "grants",
        "certificates",
    ];
    for (index, payload) in names.iter().map(|name| forged(name)).chain([b"\0".to_vec(), b"{}".to_vec(), Vec::new()]).enumerate() {
        let (mut raw, _) = Raw::connect(&owner.path).await;
        raw.send(1, &payload).await;
        let answer = raw.receive().await.unwrap();
        assert!(answer.contains("\"refused\"") && answer.contains("not understood"), "{answer}");
        assert_eq!(raw.receive().await, None);
        assert_eq!(owner.refusals.commands(), index as u64 + 1);
    }
    // One row for all of them: a flood of refusals is no flood of rows.
    assert_eq!(store.audit_after(0, 1000).await.unwrap().len(), 1);
    let (mut raw, _) = Raw::connect(&owner.path).await;
    tokio::io::AsyncWriteExt::write_all(&mut raw.0, &[0xff; 13]).await.unwrap();
    assert_eq!(raw.receive().await, None, "a frame that is too long ends the connection");
    owner.stop().await;
}

#[tokio::test]
async fn the_front_end_speaks_for_nobody_but_its_clients() {
    let folder = TempDir::new().unwrap();
    let owner = Owner::start(folder.path().join("s.sock"), store(&folder).await, alone(folder.path(), Role::Acme));
    let foreign = [
        Actor::system("worker"),
        Actor::Officers { names: vec!["ana".to_owned()] },
        Actor::Operator { name: "olga".to_owned(), fingerprint: "x".to_owned() },
    ];
    let mut sent = 0;
    for (command, _) in commands() {
        let mut value = serde_json::to_value(&command).unwrap();
        let name = command.name();
        let Some(fields) = value.get_mut(name).filter(|v| v.get("audit").is_some() || v.get("request").is_some()) else { continue };
        let mut forgeries = Vec::new();
        for actor in &foreign {
            let mut forged = fields.clone();
            let place = if forged.get("audit").is_some() { &mut forged["audit"]["actor"] } else { &mut forged["request"]["actor"] };
            *place = serde_json::to_value(actor).unwrap();
            forgeries.push(forged);
        }
        if fields.get("audit").is_some() {
            for action in ["certificate.intent", "policy.put", "grant.create"] {
                let mut forged = fields.clone();
                forged["audit"]["action"] = action.into();
                forgeries.push(forged);
            }
        }
        for forged in forgeries {
            let (mut raw, _) = Raw::connect(&owner.path).await;
            raw.send(1, serde_json::json!({ name: forged }).to_string().as_bytes()).await;
            let answer = raw.receive().await.unwrap();
            assert!(answer.contains("\"refused\""), "{name}: {answer}");
            assert_eq!(raw.receive().await, None);
            sent += 1;
        }
    }
    assert!(sent > 30, "{sent}");
    assert_eq!(owner.refusals.commands(), sent);
    owner.stop().await;
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let folder = TempDir::new().unwrap();
    let uid = own_uid(folder.path());
    assert!(Peers::new(vec![7, uid], vec![uid]).unwrap_err().contains("both roles"));
    let owner = Owner::start(folder.path().join("s.sock"), store(&folder).await, Peers::new(vec![uid + 1], vec![uid + 2]).unwrap());
    let (mut raw, greeting) = Raw::connect(&owner.path).await;
    assert!(greeting.contains("refused") && greeting.contains(&format!("user {uid} has no role")), "{greeting}");
    assert_eq!(raw.receive().await, None);
    assert_eq!((owner.refusals.peers(), owner.refusals.commands()), (1, 0));
    let client = SocketStore::connect(owner.path.clone(), Role::Acme);
    let error = client.policy().await.unwrap_err().to_string();
    assert!(error.contains("has no role here") && error.contains("hint:"), "{error}");
    owner.stop().await;

    // The wrong role is a mistake in the configuration, and is told as one.
    let owner = Owner::start(folder.path().join("s.sock"), store(&folder).await, alone(folder.path(), Role::Responder));
    let client = SocketStore::connect(owner.path.clone(), Role::Acme);
    let error = client.policy().await.unwrap_err().to_string();
    assert!(error.contains("takes this process for the responder"), "{error}");
    owner.stop().await;
}

#[tokio::test]
async fn a_role_has_a_few_connections_and_leaves_the_other_its_own() {
    let folder = TempDir::new().unwrap();
    let owner = Owner::start(folder.path().join("s.sock"), store(&folder).await, alone(folder.path(), Role::Acme));
    let mut held = Vec::new();
    for _ in 0..8 {
        let (raw, greeting) = Raw::connect(&owner.path).await;
        assert!(greeting.contains("welcome"), "{greeting}");
        held.push(raw);
    }
    let (_, greeting) = Raw::connect(&owner.path).await;
    assert!(greeting.contains("8 connections of this role already"), "{greeting}");
    held.pop();
    let client = SocketStore::connect(owner.path.clone(), Role::Acme);
    client.policy().await.unwrap();
    owner.stop().await;
}

/// A client that sends and does not read costs no more than what may be under way.
#[tokio::test]
async fn what_is_under_way_is_bounded_for_a_client_that_does_not_read() {
    const WAITS: usize = 8192;
    const COMMANDS: usize = 256;
    let folder = TempDir::new().unwrap();
    let owner = Owner::start(folder.path().join("s.sock"), store(&folder).await, alone(folder.path(), Role::Responder));
    let (mut raw, _) = Raw::connect(&owner.path).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let idle = tasks();
    let wait = serde_json::to_vec(&Command::AwaitLedger { at_most_ms: 60_000 }).unwrap();
    let sent = 5 * WAITS as u64;
    let mut sending = Box::pin(async {
        for id in 0..sent {
            raw.send(id, &wait).await;
        }
        raw
    });
    // As far as both sides come by themselves: everything runs in this thread, and nobody reads.
    let (mut seen, mut quiet) = (idle, 0);
    let mut done = None;
    while quiet < 1000 {
        if done.is_none() {
            tokio::select! {
                biased;
                raw = &mut sending => done = Some(raw),
                () = tokio::task::yield_now() => {}
            }
        } else {
            tokio::task::yield_now().await;
        }
        let now = tasks();
        (seen, quiet) = (now.max(seen), if now > seen { 0 } else { quiet + 1 });
    }
    let most = idle + WAITS + COMMANDS;
    assert!(seen > idle + WAITS && seen <= most, "{seen} tasks, and {most} at most");
    assert!(done.is_none(), "the sender is made to wait");
    drop(sending);
    owner.stop().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_believed_is_not_served() {
    let folder = TempDir::new().unwrap();
    let owner = Owner::start(folder.path().join("s.sock"), store(&folder).await, alone(folder.path(), Role::Responder));
    let client = SocketStore::connect(owner.path.clone(), Role::Responder);
    assert_eq!(client.authorities().await.unwrap(), []);
    owner.gate.set(Some("the record went back".to_owned()));
    let error = client.authorities().await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("the record went back")), "{error}");
    owner.gate.set(None);
    assert_eq!(client.authorities().await.unwrap(), []);
    owner.stop().await;
}
