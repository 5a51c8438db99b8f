//! Profiles whose certificates say more than an order's names: from the officers' policy and the operator's grant.

use std::process::Command;
use std::time::Duration;

use ca_core::evidence::statement::Operation;
use ca_core::model::{CertificateFilter, Grant, OrderId, OrderStatus, ProblemType};
use ca_core::pki::{Certificate, Identifier, pem_encode};
use ca_core::policy::{Policy, ProfilePolicy, SubjectParts};
use ca_core::ports::{CertificateStore as _, Clock as _};
use ca_core::profile::{Attribute, LeafShape, Psd2, Psd2Role};
use ca_testkit::acme::ClientKey;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_RSA_SHA256};
use serde_json::json;

use crate::desk::Desk;

/// The policy with this one profile, `x`, in place of the others.
fn offering(desk: &Desk, profile: ProfilePolicy) -> Policy {
    let mut policy = Policy { version: desk.policy.version + 1, ..desk.policy.clone() };
    let rules = &mut policy.authorities[0];
    rules.names.push("uri:spiffe://demo.test/ns/*".parse().unwrap());
    rules.names.push("email:*@demo.test".parse().unwrap());
    rules.profiles = [("x".to_owned(), profile)].into();
    // As officers would hand it in: what is set here must also parse.
    let text = toml::to_string(&policy).unwrap();
    assert_eq!(Policy::parse(&text).unwrap(), policy);
    policy
}

fn granting(desk: &Desk, parts: &[(Attribute, &str)]) -> Grant {
    let subject = SubjectParts::new(parts.iter().map(|(attribute, text)| (*attribute, (*text).to_owned()))).unwrap();
    Grant { profiles: vec!["x".to_owned()], subject, ..desk.wanted_grant() }
}

/// Issues under the profile and the grant, and has OpenSSL judge the certificate.
async fn issued(desk: &Desk, profile: ProfilePolicy, grant: Grant, csr: &[u8]) -> Certificate {
    desk.set_policy(offering(desk, profile));
    desk.operate(Operation::GrantCreate { grant: grant.clone() }).await.unwrap();
    let client = desk.account_of(&grant).await;
    let first = released(desk, &desk.finalized_with(&client, json!({}), csr).await).await;
    assert!(openssl_accepts(desk, &first));
    // A renewal changes neither the subject nor the names.
    desk.clock.advance(Duration::from_secs(30));
    let second = released(desk, &desk.finalized_with(&client, json!({}), csr).await).await;
    assert_eq!((first.subject_der(), first.alt_names()), (second.subject_der(), second.alt_names()));
    assert_ne!(first.serial(), second.serial());
    first
}

async fn released(desk: &Desk, id: &OrderId) -> Certificate {
    desk.worker.step_requests().await.unwrap();
    let order = desk.order(id).await;
    assert_eq!(order.status, OrderStatus::Valid, "{:?}", order.error);
    let record = desk.certificate(order.serial.unwrap()).await;
    let certificate = Certificate::from_der(&record.der).unwrap();
    certificate.is_signed_by(&desk.issuer).unwrap();
    assert_eq!((record.profile.as_str(), record.subject.as_str()), ("x", certificate.subject_text()));
    certificate
}

fn openssl_accepts(desk: &Desk, certificate: &Certificate) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, certificate: &Certificate| {
        std::fs::write(dir.path().join(name), pem_encode("CERTIFICATE", certificate.der())).unwrap();
    };
    write("ca.pem", &desk.issuer);
    write("leaf.pem", certificate);
    let now = desk.clock.now().unix().to_string();
    let mut openssl = Command::new("openssl");
    openssl.current_dir(dir.path()).args(["verify", "-x509_strict", "-attime", &now, "-CAfile", "ca.pem", "leaf.pem"]);
    match openssl.output() {
        Ok(output) => output.status.success(),
        Err(_) => {
            eprintln!("left out: OpenSSL's verdict: no `openssl` here");
            true
        }
    }
}

fn csr() -> Vec<u8> {
    ClientKey::default().csr(&["a.demo.test"], None)
}

fn names(certificate: &Certificate) -> Vec<String> {
    certificate.alt_names().iter().map(ToString::to_string).collect()
}

fn psd2() -> Option<Psd2> {
    Some(Psd2 {
        roles: vec![Psd2Role::AccountInformation],
        nca_name: "Financial Conduct Authority".to_owned(),
        nca_id: "GB-FCA".to_owned(),
    })
}

#[tokio::test]
async fn a17_a_workload_s_id_comes_from_the_template_and_the_order_only_authorizes() {
    let desk = Desk::open().await;
    let template = Some("spiffe://demo.test/ns/{service}".parse().unwrap());
    let profile = ProfilePolicy { uri: template, ..ProfilePolicy::new(LeafShape::Spiffe, 3600) };
    let certificate = issued(&desk, profile, granting(&desk, &[]), &csr()).await;
    assert_eq!(names(&certificate), ["spiffe://demo.test/ns/payments"]);
    assert_eq!(certificate.identifiers(), [] as [Identifier; 0]);
    assert_eq!(certificate.subject_text(), "");
}

#[tokio::test]
async fn a17_a_user_of_kubernetes_is_the_grant_s() {
    let desk = Desk::open().await;
    let parts = [(Attribute::CommonName, "payments"), (Attribute::Organization, "deployers")];
    let certificate = issued(&desk, ProfilePolicy::new(LeafShape::Kubernetes, 3600), granting(&desk, &parts), &csr()).await;
    assert_eq!(certificate.subject_text(), "CN=payments,O=deployers");
    assert_eq!(names(&certificate), [] as [&str; 0]);
}

#[tokio::test]
async fn a17_open_banking_certificates_are_issued_with_their_roles() {
    let parts = [
        (Attribute::OrganizationIdentifier, "PSDGB-FCA-123456"),
        (Attribute::CommonName, "0015800001HQQrZAAX"),
        (Attribute::Country, "GB"),
    ];
    for (shape, expected) in [(LeafShape::Obwac, vec!["a.demo.test", "ops@demo.test"]), (LeafShape::Obseal, vec![])] {
        let desk = Desk::open().await;
        let fixed = SubjectParts::new([(Attribute::Organization, "Bank plc".to_owned())]).unwrap();
        let policies = vec!["1.3.6.1.4.1.55555.1".parse().unwrap()];
        let profile = ProfilePolicy { psd2: psd2(), subject: fixed, policies, ..ProfilePolicy::new(shape, 3600) };
        let mut grant = granting(&desk, &parts);
        if shape == LeafShape::Obwac {
            grant.emails.push("ops@demo.test".to_owned().try_into().unwrap());
        }
        let certificate = issued(&desk, profile, grant, &csr()).await;
        assert_eq!(certificate.subject_text(), "CN=0015800001HQQrZAAX,2.5.4.97=#0c1050534447422d4643412d313233343536,O=Bank plc,C=GB");
        assert_eq!(names(&certificate), expected);
        // id-etsi-psd2-qcStatement and the role, and the policy.
        for part in [&[0x06, 0x06, 0x04, 0x00, 0x81, 0x98, 0x27, 0x02][..], b"PSP_AI", &[0x2b, 6, 1, 4, 1, 0x83, 0xb2, 0x03, 1]] {
            assert!(certificate.der().windows(part.len()).any(|w| w == part), "{shape}: {part:02x?}");
        }
    }
}

#[tokio::test]
async fn a17_a_company_of_brazil_has_its_name_from_the_order_and_an_rsa_key() {
    let desk = Desk::open().await;
    let parts = [
        (Attribute::BusinessCategory, "Private Organization"),
        (Attribute::SerialNumber, "11222333000181"),
        (Attribute::Organization, "Banco S.A."),
        (Attribute::State, "SP"),
        (Attribute::Locality, "São Paulo"),
        (Attribute::OrganizationIdentifier, "OFBBR-4b75db2e"),
        (Attribute::UserId, "d7384bd0"),
        (Attribute::CommonName, "a.demo.test"),
    ];
    let mut params = CertificateParams::new(vec!["a.demo.test".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    let rsa = params.serialize_request(&KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap()).unwrap().der().to_vec();
    let grant = granting(&desk, &parts);
    let certificate = issued(&desk, ProfilePolicy::new(LeafShape::Brcac, 3600), grant.clone(), &rsa).await;
    assert!(certificate.subject_text().starts_with("CN=a.demo.test,UID=d7384bd0,"));
    assert_eq!(names(&certificate), ["a.demo.test"]);

    let other = Grant { id: "grant-p256".parse().unwrap(), ..grant };
    desk.operate(Operation::GrantCreate { grant: other.clone() }).await.unwrap();
    let client = desk.account_of(&other).await;
    let refused = desk.finalized_with(&client, json!({}), &csr()).await;
    desk.worker.step_requests().await.unwrap();
    let problem = desk.refusal(&refused).await;
    assert!(problem.kind == ProblemType::BadCsr && problem.detail.contains("certifies no keys of the kind p256"), "{problem:?}");
}

#[tokio::test]
async fn a_profile_that_says_so_has_no_revocation_information_and_bounds_what_orders_ask() {
    let desk = Desk::open().await;
    let bounds = ProfilePolicy {
        no_rev_avail: true,
        min_lifetime: Some(600),
        max_lifetime: Some(7200),
        ..ProfilePolicy::new(LeafShape::Client, 3600)
    };
    let certificate = issued(&desk, bounds, granting(&desk, &[]), &csr()).await;
    // id-ce-noRevAvail, and neither an OCSP URL nor a distribution point (RFC 9608 §3).
    let has = |part: &[u8]| certificate.der().windows(part.len()).any(|w| w == part);
    assert!(has(&[0x06, 3, 0x55, 0x1d, 0x38]) && !has(&[0x06, 3, 0x55, 0x1d, 0x1f]) && !has(&[0x2b, 6, 1, 5, 5, 7, 0x30, 1]));
    assert!(has(&[0x2b, 6, 1, 5, 5, 7, 0x30, 2]), "it says where its issuer is");

    let grant = Grant { id: "grant-2".parse().unwrap(), ..granting(&desk, &[]) };
    desk.operate(Operation::GrantCreate { grant: grant.clone() }).await.unwrap();
    let client = desk.account_of(&grant).await;
    let now = desk.clock.now();
    for (seconds, fits) in [(599, false), (600, true), (7200, true), (7201, false)] {
        let end = now.plus(Duration::from_secs(seconds));
        let id = desk.finalized(&client, json!({ "notAfter": end.to_rfc3339() })).await;
        desk.worker.step_requests().await.unwrap();
        if fits {
            assert_eq!(desk.certificate(desk.order(&id).await.serial.unwrap()).await.not_after, end);
        } else {
            assert!(desk.refusal(&id).await.detail.contains("lifetime"), "{seconds}");
        }
    }
}

#[tokio::test]
async fn a18_a_grant_s_identity_lies_inside_the_policy() {
    let desk = Desk::open().await;
    desk.set_policy(offering(&desk, ProfilePolicy::new(LeafShape::Kubernetes, 3600)));
    let refused = async |parts: &[(Attribute, &str)], reason: &str| {
        let problem = desk.operate(Operation::GrantCreate { grant: granting(&desk, parts) }).await.unwrap_err();
        assert!(problem.detail.contains(reason), "{problem:?}");
        assert!(desk.audit_has(&["grant.create", "refused", reason]).await, "a refusal is on record: {reason}");
    };
    refused(&[], "needs CN").await;
    refused(&[(Attribute::CommonName, "a"), (Attribute::Organization, "system:masters")], "one of Kubernetes' own names").await;
    refused(&[(Attribute::CommonName, "system:admin")], "one of Kubernetes' own names").await;
    refused(&[(Attribute::CommonName, "a"), (Attribute::Locality, "b")], "takes no L").await;
}

/// Lesson 25: a policy that officers narrow holds for grants that were made before.
#[tokio::test]
async fn lesson_25_the_worker_judges_the_grant_anew_for_each_certificate() {
    let desk = Desk::open().await;
    let system = vec!["system:nodes".parse().unwrap()];
    let profile = ProfilePolicy { system_names: system, ..ProfilePolicy::new(LeafShape::Kubernetes, 3600) };
    desk.set_policy(offering(&desk, profile.clone()));
    let grant = granting(&desk, &[(Attribute::CommonName, "a"), (Attribute::Organization, "system:nodes")]);
    desk.operate(Operation::GrantCreate { grant: grant.clone() }).await.unwrap();
    let client = desk.account_of(&grant).await;
    let first = released(&desk, &desk.finalized(&client, json!({})).await).await;
    assert_eq!(first.subject_text(), "CN=a,O=system:nodes");

    let narrower = ProfilePolicy { system_names: vec![], ..profile };
    desk.set_policy(Policy { version: 3, ..offering(&desk, narrower) });
    let id = desk.finalized(&client, json!({})).await;
    desk.worker.step_requests().await.unwrap();
    let problem = desk.refusal(&id).await;
    assert!(problem.kind == ProblemType::Unauthorized && problem.detail.contains("Kubernetes' own names"), "{problem:?}");
}

/// Lesson 28: what a CSR asks for beside its names reaches no certificate, and what it calls itself must be ordered.
#[tokio::test]
async fn lesson_28_a_csr_s_common_name_is_one_of_the_identifiers() {
    let desk = Desk::open().await;
    let parts = [(Attribute::CommonName, "payments")];
    desk.set_policy(offering(&desk, ProfilePolicy::new(LeafShape::Kubernetes, 3600)));
    let grant = granting(&desk, &parts);
    desk.operate(Operation::GrantCreate { grant: grant.clone() }).await.unwrap();
    let client = desk.account_of(&grant).await;
    let key = ClientKey::default();
    let fine = desk.finalized_with(&client, json!({}), &key.csr(&["a.demo.test"], Some("a.demo.test"))).await;
    assert_eq!(released(&desk, &fine).await.subject_text(), "CN=payments", "only the key is the CSR's");
    let admin = desk.finalized_with(&client, json!({}), &ClientKey::default().csr(&["a.demo.test"], Some("admin"))).await;
    desk.worker.step_requests().await.unwrap();
    let problem = desk.refusal(&admin).await;
    assert!(problem.kind == ProblemType::BadCsr && problem.detail.contains("common name"), "{problem:?}");
}

#[tokio::test]
async fn a17_certificates_are_found_by_every_name_that_they_carry() {
    let found = async |desk: &Desk, name: &str| {
        let filter = CertificateFilter { name: Some(name.to_owned()), ..CertificateFilter::default() };
        desk.store.certificates(&filter, None, 10).await.unwrap().len()
    };
    let desk = Desk::open().await;
    let template = Some("spiffe://demo.test/ns/{service}".parse().unwrap());
    issued(&desk, ProfilePolicy { uri: template, ..ProfilePolicy::new(LeafShape::Spiffe, 3600) }, granting(&desk, &[]), &csr()).await;
    assert_eq!(found(&desk, "spiffe://demo.test/ns/payments").await, 2);
    assert_eq!(found(&desk, "spiffe://demo.test/ns/treasury").await, 0);

    let desk = Desk::open().await;
    let mut grant = granting(&desk, &[]);
    grant.emails.push("ops@demo.test".to_owned().try_into().unwrap());
    issued(&desk, ProfilePolicy::new(LeafShape::Client, 3600), grant, &csr()).await;
    assert_eq!((found(&desk, "ops@demo.test").await, found(&desk, "a.demo.test").await, found(&desk, "demo.test").await), (2, 2, 0));
}

#[tokio::test]
async fn a09_a_csr_may_ask_for_the_grants_mailbox_where_its_certificate_carries_it() {
    let desk = Desk::open().await;
    let mut policy = offering(&desk, ProfilePolicy::new(LeafShape::Client, 3600));
    policy.authorities[0].profiles.insert("y".to_owned(), ProfilePolicy::new(LeafShape::Server, 3600));
    desk.set_policy(policy);
    let emails = vec!["ops@demo.test".to_owned().try_into().unwrap()];
    let grant = Grant { profiles: vec!["x".to_owned(), "y".to_owned()], emails, ..desk.wanted_grant() };
    desk.operate(Operation::GrantCreate { grant: grant.clone() }).await.unwrap();
    let client = desk.account_of(&grant).await;
    let csr = |mailbox: &str| {
        let mut params = CertificateParams::new(vec!["a.demo.test".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names.push(rcgen::SanType::Rfc822Name(mailbox.try_into().unwrap()));
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    };
    let certificate = released(&desk, &desk.finalized_with(&client, json!({ "profile": "x" }), &csr("ops@demo.test")).await).await;
    let names: Vec<_> = certificate.alt_names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a.demo.test", "ops@demo.test"]);
    // A server's certificate carries no mailbox; and no certificate another one than the grant's.
    for (profile, mailbox, says) in [("y", "ops@demo.test", "do not carry"), ("x", "root@demo.test", "does not give")] {
        let id = desk.finalized_with(&client, json!({ "profile": profile }), &csr(mailbox)).await;
        desk.settle().await;
        let problem = desk.refusal(&id).await;
        assert!(problem.kind == ProblemType::BadCsr && problem.detail.contains(says), "{problem:?}");
    }
}
