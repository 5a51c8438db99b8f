//! A root that signs as RSASSA-PSS, because its plan says so, end to end; OpenSSL is the judge.

use std::sync::Arc;

use ca_ceremony::{VerifiedBundle, verify};
use ca_core::pki::SignatureAlgorithm;
use ca_core::pki::crl::Crl;
use ca_core::pki::{Certificate, pem_encode};
use ca_core::ports::KeyDevice;

use crate::common::Ceremony;
use crate::common::devices::Devices;
use crate::support::openssl;

fn planned() -> Ceremony {
    let ceremony = Ceremony::quick();
    ceremony.edit_plan("algorithm = \"p384\"", "algorithm = \"rsa3072\"\nsignature = \"rsa-pss-sha256\"");
    ceremony
}

fn judge(ceremony: &Ceremony, verified: &VerifiedBundle) {
    let pss = SignatureAlgorithm::RsaPssSha256;
    let certificates: Vec<Certificate> = verified.authorities.iter().map(|a| Certificate::from_der(&a.certificate).unwrap()).collect();
    assert!(certificates.iter().all(|c| c.signature_algorithm() == pss), "the root's and what it signed");
    let bundle = ceremony.bundle();
    std::fs::write(bundle.join("../root.pem"), pem_encode("CERTIFICATE", &verified.authorities[0].certificate)).unwrap();
    let text = openssl(&bundle, &["x509", "-in", "../root.pem", "-noout", "-text"]);
    assert!(text.contains("rsassaPss") && text.contains("Salt Length: 0x20"), "{text}");
    // With the root's CRL, which it signed the same way.
    openssl(&bundle, &["crl", "-inform", "DER", "-in", "crls/bank-root.crl", "-out", "../root.crl"]);
    let args = ["verify", "-x509_strict", "-crl_check", "-attime", "1800000100", "-CAfile", "../root.pem", "-CRLfile", "../root.crl"];
    let text = openssl(&bundle, &[args.as_slice(), &["certs/bank.pem"]].concat());
    assert!(text.contains("certs/bank.pem: OK"), "{text}");
    assert_eq!(Crl::from_der(&verified.crls[0].der).unwrap().entries().len(), 0);
}

#[tokio::test]
async fn a_root_of_sealed_files_signs_as_pss_where_its_plan_says_so() {
    let mut ceremony = planned();
    let verified = ceremony.complete().await;
    judge(&ceremony, &verified);
    let shown = crate::common::text(&ceremony.tool(&["show", "bundle", "1-root"]));
    assert!(shown.contains("RSASSA-PSS") && shown.contains("agrees"), "{shown}");
    // A later ceremony goes on the same way; a plan that says otherwise is for another root.
    ceremony.next("crl", "[acts]\nkind = \"root-crl\"\n", &["root"]);
    let next = ceremony.complete().await;
    let crl = Crl::from_der(&next.crls[0].der).unwrap();
    crl.is_signed_by(verified.hierarchy.as_ref().unwrap().root()).unwrap();
    ceremony.next("otherwise", "[acts]\nkind = \"root-crl\"\n", &["root"]);
    ceremony.edit_plan("signature = \"rsa-pss-sha256\"\n", "");
    crate::common::missing(ceremony.run().await);
    ceremony.sign_plan(&["ana", "bela"]);
    let error = crate::common::refused(ceremony.run().await);
    assert!(error.contains("its root is not the one that [root] describes"), "{error}");
    verify(&ceremony.dir.path().join("crl"), None).unwrap();
}

#[cfg(feature = "pkcs11")]
#[test]
fn a_root_on_a_token_signs_as_pss_where_its_plan_says_so() {
    use ca_testkit::softhsm;

    softhsm::isolated("pss::a_root_on_a_token_signs_as_pss_where_its_plan_says_so", &["root"], |hsm| {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
            let ceremony = planned();
            let root = crate::common::devices::token(hsm, "root");
            ceremony.pin("root", &*root).await;
            let online: Arc<dyn KeyDevice> = ceremony.keys("online-keys");
            let verified = ceremony.complete_on(&Devices { root: Some(root), online: Some(online), backup: None }).await;
            judge(&ceremony, &verified);
        });
    });
}
