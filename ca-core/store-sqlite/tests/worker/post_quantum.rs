//! An authority with an ML-DSA key: the same path, longer signatures.

use ca_core::evidence::statement::Operation;
use ca_core::model::{OrderStatus, ProblemType, RevocationReason};
use ca_core::pki::{Certificate, KeyAlgorithm, key_algorithm};
use ca_core::plan::CRL_BATCH;
use ca_testkit::{Fault, acme};
use serde_json::json;

use crate::desk::{Desk, demo};
use crate::orders::never_released;

const ALGORITHMS: [KeyAlgorithm; 2] = [KeyAlgorithm::MlDsa65, KeyAlgorithm::MlDsa87];

#[tokio::test]
async fn a_post_quantum_authority_issues_and_revokes() {
    for algorithm in ALGORITHMS {
        let desk = Desk::of(algorithm).await;
        let client = desk.account().await;
        // Any kind of key may stand below it that the profile lists.
        for of_leaf in [algorithm, KeyAlgorithm::P256] {
            let (_, csr) = acme::key_and_request(of_leaf, &["a.demo.test"]);
            let id = desk.finalized_with(&client, json!({}), &csr).await;
            desk.settle().await;
            let order = desk.order(&id).await;
            assert_eq!(order.status, OrderStatus::Valid);
            let record = desk.certificate(order.serial.unwrap()).await;
            let certificate = Certificate::from_der(&record.der).unwrap();
            certificate.is_signed_by(&desk.issuer).unwrap();
            assert_eq!(certificate.signature_algorithm(), algorithm.signature_algorithm());
            assert_eq!(key_algorithm(certificate.public_key()), Ok(of_leaf));

            let revoke = Operation::CertificateRevoke {
                authority: demo(),
                serial: certificate.serial(),
                reason: RevocationReason::KeyCompromise,
                invalidity_date: None,
            };
            desk.operate(revoke).await.unwrap();
            desk.clock.advance(CRL_BATCH);
            desk.settle().await;
            // It verifies under the authority's key.
            assert!(desk.crl().await.unwrap().entries().iter().any(|e| e.serial == certificate.serial()));
        }
        let own: Vec<_> = desk.certificates().await.into_iter().filter(|c| c.order.is_none()).collect();
        let responder = own.iter().find(|c| c.profile == "ocsp").expect("the responder has its certificate");
        assert_eq!(key_algorithm(Certificate::from_der(&responder.der).unwrap().public_key()), Ok(algorithm));
    }
}

#[tokio::test]
async fn a_policy_that_does_not_list_the_kind_of_key_issues_nothing_for_it() {
    let desk = Desk::open().await;
    let client = desk.account().await;
    for algorithm in ALGORITHMS {
        let (_, csr) = acme::key_and_request(algorithm, &["a.demo.test"]);
        let id = desk.finalized_with(&client, json!({}), &csr).await;
        desk.settle().await;
        let refusal = desk.refusal(&id).await;
        assert!(refusal.kind == ProblemType::BadCsr && refusal.detail.contains(algorithm.name()), "{refusal:?}");
        assert!(desk.of_order(&id).await.is_empty(), "not even an intent");
    }
}

#[tokio::test]
async fn what_a_post_quantum_key_signs_wrongly_is_never_released() {
    for (algorithm, fault) in ALGORITHMS.into_iter().flat_map(|a| [(a, Fault::OtherBytes), (a, Fault::FlippedBit)]) {
        never_released(&Desk::of(algorithm).await, fault).await;
    }
}
