//! Certificates: download, revocation, renewal information, replacement.

use acme_server::CertId;
use ca_core::model::{Actor, AuthorizationCommand, AuthorizationId, ChallengeMethod, ReplacementMark, RevocationReason};
use ca_core::pki::{Certificate, SerialNumber, Timestamp, pem_decode_all, x5t_s256};
use ca_core::ports::Clock as _;
use serde_json::{Value, json};

use crate::client::{Account, Key, b64, csr, order};
use crate::world::World;

/// The leaf of a downloaded chain.
fn leaf(chain: &str) -> Certificate {
    Certificate::from_der(&pem_decode_all(chain, "CERTIFICATE").unwrap()[0]).unwrap()
}

pub(crate) fn cert_id(certificate: &Certificate) -> String {
    let key_identifier = certificate.authority_key_identifier().unwrap().to_vec();
    CertId { key_identifier, serial: certificate.serial() }.to_string()
}

#[tokio::test]
async fn a04_the_chain_is_leaf_and_intermediate_without_the_root_and_links_to_no_more() {
    let world = World::new();
    let (account, other) = (world.account().await, world.account().await);
    let downloaded = account.certificate(&["a.demo.test", "127.0.0.1"]).await;
    assert_eq!(downloaded.is(200).header("content-type"), "application/pem-certificate-chain");
    let up = downloaded.headers.get_all("link").iter().any(|l| l.to_str().unwrap().contains("rel=\"up\""));
    assert!(!up, "the chain is whole: a client that follows `up` would add to it, or fail (RFC 8555 §7.4.2)");
    let chain = pem_decode_all(&downloaded.body, "CERTIFICATE").unwrap();
    let authorities = world.state().authorities.clone();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[1], authorities[0].certificate);
    assert!(leaf(&downloaded.body).is_signed_by(&Certificate::from_der(&chain[1]).unwrap()).is_ok());

    let url = format!("/acme/cert/demo/{}", leaf(&downloaded.body).serial());
    other.post(&url, "").await.is_problem(403, "unauthorized");
    account.post(&url, "{}").await.is_problem(400, "malformed");
    account.post("/acme/cert/demo/7777", "").await.is_problem(404, "malformed");
    account.post("/acme/cert/other/0101", "").await.is_problem(404, "malformed");
    account.post("/acme/cert/demo/zz", "").await.is_problem(404, "malformed");
}

/// What token servers bind to (RFC 8705) stands in the order, once it is valid.
#[tokio::test]
async fn a17_an_order_tells_its_certificate_s_subject_and_thumbprint() {
    let world = World::new();
    let account = world.account().await;
    let names = ["a.demo.test"];
    let ready = account.order(&names).await.is(201).json();
    assert_eq!(ready.get("issued"), None, "nothing is issued yet");
    let valid = account.finalize(&ready, &csr(&names, None)).await.is(200).json();
    let certificate = leaf(&account.post(valid["certificate"].as_str().unwrap(), "").await.body);
    let subject = world.state().certificates[&certificate.serial()].subject.clone();
    let expected = json!({ "serial": certificate.serial(), "subject": subject, "x5t#S256": x5t_s256(certificate.der()) });
    assert_eq!(valid["issued"], expected);
}

fn revocation(certificate: &Certificate, reason: Value) -> String {
    json!({ "certificate": b64(certificate.der()), "reason": reason }).to_string()
}

#[tokio::test]
async fn a19_an_account_revokes_its_own_certificate_and_a_pattern_that_covers_it_no_other() {
    let world = World::new();
    let (account, other) = (world.account().await, world.account().await);
    let certificate = leaf(&account.certificate(&["a.demo.test"]).await.body);
    let url = "/acme/revoke-cert";
    // The same grant covers the name for the other account too: a pattern match authorizes nothing (A19).
    other.certificate(&["a.demo.test"]).await.is(200);
    other.post(url, &revocation(&certificate, json!(1))).await.is_problem(403, "unauthorized");
    for reason in [json!(2), json!(6), json!(7), json!(9), json!(256), json!(-1), json!("1")] {
        account.post(url, &revocation(&certificate, reason)).await.is_problem(400, "badRevocationReason");
    }
    account.post(url, "{}").await.is_problem(400, "malformed");
    account.post(url, &json!({ "certificate": "AAAA" }).to_string()).await.is_problem(400, "malformed");
    assert!(world.state().revocations.is_empty());

    account.post(url, &revocation(&certificate, json!(4))).await.is(200);
    account.post(url, &revocation(&certificate, json!(4))).await.is_problem(400, "alreadyRevoked");
    let revoked = world.state().revocations.clone();
    assert_eq!(revoked.len(), 1);
    assert_eq!((revoked[0].serial, revoked[0].reason), (certificate.serial(), RevocationReason::Superseded));
    assert!(matches!(&revoked[0].actor, Actor::Account { id } if account.kid.ends_with(id.as_str())));
}

#[tokio::test]
async fn a11_revocation_by_the_certificates_own_key() {
    let world = World::new();
    let account = world.account().await;
    let certificate = leaf(&account.certificate(&["a.demo.test"]).await.body);
    let payload = revocation(&certificate, json!(1));
    world.post(&Key::new(), None, "/acme/revoke-cert", &payload).await.is_problem(403, "unauthorized");
    world.post(&Key::of(&world.leaf_key), None, "/acme/revoke-cert", &payload).await.is(200);
    let revoked = world.state().revocations.clone();
    let expected = Actor::CertificateKey { spki_sha256: certificate.public_key().spki_sha256() };
    assert_eq!((&revoked[0].actor, revoked[0].reason), (&expected, RevocationReason::KeyCompromise));
}

/// RFC 8555 §7.6: "an account that holds authorizations for all of the identifiers in the certificate", by challenges.
#[tokio::test]
async fn a11_revocation_by_an_account_that_has_proven_each_identifier() {
    let world = World::with(|c| c.authorities[0].rules.challenge_zones = vec![crate::challenges::zone(&[ChallengeMethod::Http01], &[])]);
    let granted = |names: &[&str]| world.grant(|g| g.grant.names = names.iter().map(|n| n.parse().unwrap()).collect());
    granted(&["dns:*.demo.test", "dns:*.dmz.test"]);
    let (owner, other) = (world.account().await, world.account().await);
    let certificate = leaf(&owner.certificate(&["x.dmz.test"]).await.body);
    let wider = leaf(&owner.certificate(&["x.dmz.test", "y.dmz.test"]).await.body);
    let url = "/acme/revoke-cert";
    // A19: the same grant, and an authorization that rests on nothing but its pattern.
    other.post("/acme/new-authz", &json!({ "identifier": { "type": "dns", "value": "x.dmz.test" } }).to_string()).await.is(201);
    other.post(url, &revocation(&certificate, json!(1))).await.is_problem(403, "unauthorized");

    granted(&["dns:*.demo.test"]);
    let open = other.open("x.dmz.test", ChallengeMethod::Http01).await;
    other.post(url, &revocation(&certificate, json!(1))).await.is_problem(403, "unauthorized");
    let id: AuthorizationId = open.authorization.rsplit('/').next().unwrap().parse().unwrap();
    {
        let (now, mut state) = (Timestamp::from_unix(world.now()), world.state());
        let started = state.authorizations[&id].clone().apply(AuthorizationCommand::Start(ChallengeMethod::Http01), now).unwrap();
        let until = now.plus(std::time::Duration::from_secs(600));
        let proven = started.apply(AuthorizationCommand::Prove(ChallengeMethod::Http01, until), now).unwrap();
        state.authorizations.insert(id, proven);
    }
    other.post(url, &revocation(&wider, json!(1))).await.is_problem(403, "unauthorized");
    assert!(world.state().revocations.is_empty());
    other.post(url, &revocation(&certificate, json!(1))).await.is(200);
    assert!(matches!(&world.state().revocations[0].actor, Actor::Account { id } if other.kid.ends_with(id.as_str())));
}

#[tokio::test]
async fn lesson_14_a_certificate_that_was_not_issued_here_is_not_revoked() {
    let (world, elsewhere) = (World::new(), World::new());
    let account = world.account().await;
    account.certificate(&["a.demo.test"]).await;
    let foreign = leaf(&elsewhere.account().await.certificate(&["a.demo.test"]).await.body);
    account.post("/acme/revoke-cert", &revocation(&foreign, json!(0))).await.is_problem(404, "malformed");
    // A known issuer's, with a signature that is not the recorded one's.
    let mut forged = leaf(&account.certificate(&["b.demo.test"]).await.body).der().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    let payload = json!({ "certificate": b64(&forged) }).to_string();
    account.post("/acme/revoke-cert", &payload).await.is_problem(404, "malformed");
}

#[tokio::test]
async fn a20_renewal_information_is_anyones_to_ask() {
    let why = "https://ca.test/why";
    let world = World::with(|c| c.explanation_url = Some(why.to_owned()));
    let account = world.account().await;
    let certificate = leaf(&account.certificate(&["a.demo.test"]).await.body);
    let path = format!("/acme/renewal-info/{}", cert_id(&certificate));
    assert_eq!(world.get(&path).await.is(200).json().get("explanationURL"), None, "a usual window needs no explanation");
    let answer = world.get(&path).await;
    let window = answer.is(200).json()["suggestedWindow"].clone();
    assert!(answer.header("retry-after").parse::<u64>().unwrap() > 0);
    assert!(window["start"].as_str() < window["end"].as_str());
    assert_eq!(world.get(&path).await.json()["suggestedWindow"], window, "the jitter is the certificate's own");

    account.post("/acme/revoke-cert", &revocation(&certificate, json!(1))).await.is(200);
    let past = world.get(&path).await.is(200).json();
    assert!(past["suggestedWindow"]["end"].as_str().unwrap() < "2026-11-24T00:00:00Z");
    assert_eq!(past["explanationURL"], why);
    assert!(world.get(&path).await.header("retry-after").parse::<u64>().unwrap() > 0, "Retry-After always");

    let key_identifier = certificate.authority_key_identifier().unwrap().to_vec();
    let unknown = CertId { key_identifier, serial: SerialNumber::from_der_integer(&[9, 9]).unwrap() };
    let foreign = CertId { key_identifier: vec![1; 20], serial: certificate.serial() };
    for id in [unknown.to_string(), foreign.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".into(), "x".into(), "%ff.AQ".into()] {
        world.get(&format!("/acme/renewal-info/{id}")).await.is_problem(404, "malformed");
    }
}

#[tokio::test]
async fn a20_marked_for_replacement_the_window_has_passed_and_says_why() {
    let (usual, own) = ("https://ca.test/why", "https://ca.test/incident-7");
    let world = World::with(|c| c.explanation_url = Some(usual.to_owned()));
    let account = world.account().await;
    let (first, other) = (account.certificate(&["a.demo.test"]).await, account.certificate(&["b.demo.test"]).await);
    let (first, other) = (leaf(&first.body), leaf(&other.body));
    let info = async |certificate: &Certificate| {
        let answer = world.get(&format!("/acme/renewal-info/{}", cert_id(certificate))).await;
        (answer.is(200).json(), answer.header("retry-after").to_owned())
    };
    let (before, retry_after) = info(&first).await;
    let usual_window = before["suggestedWindow"].clone();
    assert_eq!(before.get("explanationURL"), None);

    let now = world.clock.now();
    world.store.mark(&first.serial(), Some(ReplacementMark { at: now, explanation: None }));
    let (marked, after) = info(&first).await;
    assert!(marked["suggestedWindow"]["end"].as_str().unwrap() < now.to_rfc3339().as_str(), "{marked}");
    assert_eq!((&marked["explanationURL"], after), (&json!(usual), retry_after));
    assert_eq!(info(&other).await.0.get("explanationURL"), None, "nobody else's");

    world.store.mark(&first.serial(), Some(ReplacementMark { at: now, explanation: Some(own.parse().unwrap()) }));
    assert_eq!(info(&first).await.0["explanationURL"], own, "the operator's own says more");
    // Renewed at once: one order says what it replaces, and is the only one.
    let mut payload = order(&["a.demo.test"]);
    payload["replaces"] = json!(cert_id(&first));
    let renewal = account.post("/acme/new-order", &payload.to_string()).await;
    account.finalize(&renewal.is(201).json(), &crate::client::csr(&["a.demo.test"], None)).await.is(200);
    let (replaced, _) = info(&first).await;
    assert!(replaced["suggestedWindow"]["end"].as_str().unwrap() < now.to_rfc3339().as_str());
    account.post("/acme/revoke-cert", &revocation(&first, json!(4))).await.is(200);
    assert_eq!(info(&first).await.0["explanationURL"], own, "revoked for what it was marked for");

    world.store.mark(&other.serial(), Some(ReplacementMark { at: now, explanation: None }));
    world.store.mark(&other.serial(), None);
    assert!(info(&other).await.0["suggestedWindow"]["start"].as_str() > Some(now.to_rfc3339().as_str()), "as usual again");
    assert!(usual_window["start"].as_str() > Some(now.to_rfc3339().as_str()));
}

#[tokio::test]
async fn a20_an_order_replaces_a_certificate_of_its_account_once() {
    let world = World::new();
    let (account, other) = (world.account().await, world.account().await);
    let certificate = leaf(&account.certificate(&["a.demo.test", "b.demo.test"]).await.body);
    let id = cert_id(&certificate);
    let replace = async |account: &Account<'_>, names: &[&str], id: &str| {
        let mut payload = order(names);
        payload["replaces"] = json!(id);
        account.post("/acme/new-order", &payload.to_string()).await
    };
    // What cert-manager looks for before it orders again without it: this type, and the member's name in the detail.
    for (account, name, id) in [
        (&other, "a.demo.test", id.as_str()),
        (&account, "c.demo.test", &id),
        (&account, "a.demo.test", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"),
        (&account, "a.demo.test", "x"),
    ] {
        let refused = replace(account, &[name], id).await;
        let detail = refused.is_problem(400, "malformed").json()["detail"].to_string();
        assert!(detail.contains("`replaces`"), "{detail}");
    }

    let first = replace(&account, &["a.demo.test"], &id).await;
    assert_eq!(first.is(201).json()["replaces"], id);
    // The same again is the same order; another one is a conflict.
    let again = replace(&account, &["a.demo.test"], &id).await;
    assert_eq!(again.is(201).header("location"), first.header("location"));
    replace(&account, &["b.demo.test"], &id).await.is_problem(409, "alreadyReplaced");
    account.finalize(&first.json(), &crate::client::csr(&["a.demo.test"], None)).await.is(200);
    replace(&account, &["a.demo.test"], &id).await.is_problem(409, "alreadyReplaced");
}

#[tokio::test]
async fn a20_an_order_that_became_invalid_replaces_nothing_any_more() {
    let world = World::new();
    let account = world.account().await;
    let certificate = leaf(&account.certificate(&["a.demo.test"]).await.body);
    let id = cert_id(&certificate);
    let replace = async || {
        let mut payload = order(&["a.demo.test"]);
        payload["replaces"] = json!(id);
        payload["notAfter"] = json!(world.clock.now().plus(std::time::Duration::from_secs(3600)).to_rfc3339());
        account.post("/acme/new-order", &payload.to_string()).await
    };
    let first = replace().await;
    let window = world.get(&format!("/acme/renewal-info/{id}")).await.is(200).json()["suggestedWindow"]["end"].clone();
    assert!(window.as_str().unwrap() < "2026-11-24T00:00:00Z", "superseded: a window in the past");
    // A pending or ready one with other times is another order.
    world.clock.advance(std::time::Duration::from_secs(1));
    replace().await.is_problem(409, "alreadyReplaced");
    let authorization = first.is(201).json()["authorizations"][0].as_str().unwrap().to_owned();
    account.post(&authorization, r#"{"status":"deactivated"}"#).await.is(200);
    assert_eq!(account.post(first.header("location"), "").await.json()["status"], "invalid");
    let second = replace().await;
    assert_eq!(second.is(201).json()["status"], "ready");
    // One that lapsed is invalid too.
    world.clock.advance(std::time::Duration::from_secs(86_400));
    replace().await.is(201);
}
