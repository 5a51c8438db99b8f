//! Whole chains, judged by rustls-webpki and, where they are installed, by OpenSSL and Java.

use super::counterexamples::Pieces;
use super::fixtures::*;
use super::verifiers::*;
use crate::pki::{Certificate, Identifier, KeyAlgorithm, VerifyError, encode, oid};
use crate::profile::*;

fn check_chain(algorithm: KeyAlgorithm) {
    let hierarchy = Hierarchy::new(algorithm, &["dns:*.demo.test", "ip:127.0.0.0/8"]);
    assert_eq!(hierarchy.root.certificate().is_signed_by(hierarchy.root.certificate()), Ok(()));
    assert_eq!(hierarchy.issuing.certificate().is_signed_by(hierarchy.root.certificate()), Ok(()));
    for shape in LeafShape::ALL {
        for subject_cn in [None, Some("a.demo.test".to_owned())] {
            let mut request = hierarchy.leaf_request(shape);
            if shape != LeafShape::Ocsp {
                request.subject_cn = subject_cn;
            }
            let leaf = hierarchy.issue(&request);
            assert_eq!(leaf.is_signed_by(hierarchy.issuing.certificate()), Ok(()));
            assert_eq!(leaf.is_signed_by(hierarchy.root.certificate()), Err(VerifyError::OtherIssuer));
            assert_eq!(webpki_verdict(&leaf, shape, &hierarchy), Ok(()), "{algorithm} {shape:?}");
            if let Some(verdict) = openssl_verdict(&leaf, shape, &hierarchy) {
                assert_eq!(verdict, Ok(()), "{algorithm} {shape:?}");
            }
        }
    }
}

#[test]
fn chains_of_p256_verify() {
    check_chain(KeyAlgorithm::P256);
}

#[test]
fn chains_of_p384_verify() {
    check_chain(KeyAlgorithm::P384);
}

#[test]
fn chains_of_ed25519_verify() {
    check_chain(KeyAlgorithm::Ed25519);
}

#[test]
fn chains_of_rsa_verify() {
    check_chain(KeyAlgorithm::Rsa2048);
}

#[test]
fn a_certificate_reads_back_as_it_was_asked_for() {
    let request = HIERARCHY.leaf_request(LeafShape::Client);
    let leaf = HIERARCHY.issue(&request);
    assert_eq!((leaf.serial(), leaf.not_before(), leaf.not_after()), (request.serial, request.not_before, request.not_after));
    assert_eq!(leaf.identifiers(), names(&["a.demo.test", "b.demo.test", "127.0.0.1"]));
    assert_eq!(leaf.public_key(), &request.public_key);
    assert_eq!(leaf.subject_text(), "");
    assert_eq!(leaf.authority_key_identifier(), HIERARCHY.issuing.certificate().key_identifier());
    assert!(!leaf.is_ca());
    assert_eq!(HIERARCHY.root.certificate().subject_text(), "CN=Demo Root,O=Démo\\, Ltd,C=GB");
    assert!(matches!(Issuer::new(leaf), Err(ProfileError::NotAnIssuer(_))));
}

/// Patterns of an authority, a name, and whether a certificate of that authority may carry it.
const NAMES: [(&[&str], &str, bool); 18] = [
    (&["dns:*.demo.test"], "a.demo.test", true),
    (&["dns:*.demo.test"], "xdemo.test", false),
    (&["dns:*.demo.test"], "demo.example", false),
    (&["dns:*.demo.test"], "10.0.0.1", false),
    (&["dns:*.demo.test"], "::1", false),
    (&["dns:a.*.demo.test", "dns-wildcard:bank.test"], "a.b.demo.test", true),
    (&["dns:a.*.demo.test", "dns-wildcard:bank.test"], "*.bank.test", true),
    (&["ip:10.0.0.0/9"], "10.127.255.255", true),
    (&["ip:10.0.0.0/9"], "10.128.0.0", false),
    (&["ip:10.0.0.0/9"], "::1", false),
    (&["ip:10.0.0.0/9"], "a.demo.test", false),
    (&["ip:::1", "dns:localhost"], "::1", true),
    (&["ip:::1", "dns:localhost"], "::2", false),
    (&["ip:::1", "dns:localhost"], "127.0.0.1", false),
    (&["ip:::1", "dns:localhost"], "localhost", true),
    (&["ip:10.0.0.0/9", "ip:fd00::/8", "dns:localhost"], "10.0.0.1", true),
    (&["ip:10.0.0.0/9", "ip:fd00::/8", "dns:localhost"], "fc00::1", false),
    (&["ip:10.0.0.0/9", "ip:fd00::/8"], "fd00::1", true),
];

/// Names of the forms that no authority issues: beside a good one, they are refused all the same.
const FOREIGN: [(u8, &str); 4] =
    [(0x81, "a@demo.test"), (0x81, "a@b.example"), (0x86, "https://a.demo.test/"), (0x86, "spiffe://demo.test/a")];

/// A chain that is right but for the names, and whether it is to stand.
struct Case {
    what: String,
    hierarchy: Hierarchy,
    leaf: Certificate,
    allowed: bool,
}

/// A leaf with this name, signed all the same where the lint refuses it: the verifiers and the lint agree.
fn named(permitted: &[&str], name: &str, allowed: bool) -> Case {
    let hierarchy = Hierarchy::new(KeyAlgorithm::P256, permitted);
    let mut request = hierarchy.leaf_request(LeafShape::Client);
    request.identifiers = names(&[name]);
    let tbs = build_leaf(&request, &hierarchy.issuing).unwrap();
    let lint = lint_leaf(&tbs, &request, &hierarchy.issuing);
    let found: Vec<_> = lint.err().unwrap_or_default().iter().map(|f| f.rule).collect();
    assert_eq!(found, if allowed { vec![] } else { vec!["issuer-name-constraints"] }, "{permitted:?} {name}");
    Case { what: format!("{permitted:?} {name}"), leaf: hierarchy.issuing_key.certify(&tbs), hierarchy, allowed }
}

/// A leaf with this name and one that the authority may give, made by hand: the profile has no such leaf.
fn foreign(permitted: &[&str], good: &str, (tag, text): (u8, &str)) -> Case {
    let hierarchy = Hierarchy::new(KeyAlgorithm::P256, permitted);
    let mut request = hierarchy.leaf_request(LeafShape::Client);
    request.identifiers = names(&[good]);
    let good = match &request.identifiers[0] {
        Identifier::Dns(name) => encode::tlv(0x82, name.as_str().as_bytes()),
        Identifier::Ip(std::net::IpAddr::V4(address)) => encode::tlv(0x87, &address.octets()),
        Identifier::Ip(std::net::IpAddr::V6(address)) => encode::tlv(0x87, &address.octets()),
    };
    let mut pieces = Pieces::of(&build_leaf(&request, &hierarchy.issuing).unwrap());
    pieces.set(oid::SUBJECT_ALT_NAME, true, &encode::sequence(&[&good, &encode::tlv(tag, text.as_bytes())]));
    Case { what: format!("{permitted:?} {text}"), leaf: hierarchy.issuing_key.certify(&pieces.whole()), hierarchy, allowed: false }
}

fn constraint_cases() -> Vec<Case> {
    let mut cases: Vec<_> = NAMES.iter().map(|(permitted, name, allowed)| named(permitted, name, *allowed)).collect();
    for name in FOREIGN {
        cases.push(foreign(&["dns:*.demo.test"], "a.demo.test", name));
        cases.push(foreign(&["ip:10.0.0.0/9"], "10.0.0.1", name));
    }
    cases
}

#[test]
fn name_constraints_hold() {
    for Case { what, hierarchy, leaf, allowed } in constraint_cases() {
        let expected = if allowed { Ok(()) } else { Err(webpki::Error::NameConstraintViolation) };
        assert_eq!(webpki_verdict(&leaf, LeafShape::Client, &hierarchy), expected, "{what}");
        match openssl_verdict(&leaf, LeafShape::Client, &hierarchy) {
            Some(Err(text)) => assert!(!allowed && text.contains("subtree violation"), "{what}: {text}"),
            Some(Ok(())) => assert!(allowed, "{what}"),
            None => (),
        }
    }
}

#[test]
fn name_constraints_hold_in_java() {
    let cases = constraint_cases();
    let Some(verdicts) = java_verdicts(cases.iter().map(|case| (&case.hierarchy, &case.leaf))) else {
        return left_out("Java's verdicts on name constraints: no `java` here that runs source files");
    };
    assert_eq!(verdicts.len(), cases.len());
    for (Case { what, allowed, .. }, verdict) in cases.iter().zip(verdicts) {
        match verdict {
            // The words that say that it judged the names, and did not fail over the certificates.
            Err(text) => assert!(!allowed && text == "INVALID_NAME: name constraints check failed", "{what}: {text}"),
            Ok(()) => assert!(allowed, "{what}"),
        }
    }
}

/// URIs and mailboxes that an authority issues are limited by its policy: that form is left open, the others are closed.
#[test]
fn a_form_that_is_issued_beside_dns_and_ip_is_left_open() {
    let closed = |permitted: &[&str]| {
        let hierarchy = Hierarchy::new(KeyAlgorithm::P256, permitted);
        let value = hierarchy.issuing.certificate().name_constraints().unwrap().to_vec();
        value.windows(9).filter(|w| w[1] == 7 && &w[2..] == b"invalid").map(|w| w[0]).collect::<Vec<_>>()
    };
    assert_eq!(closed(&["dns:*.demo.test"]), [0x81, 0x86]);
    assert_eq!(closed(&["dns:*.demo.test", "uri:spiffe://demo.test/*"]), [0x81]);
    assert_eq!(closed(&["dns:*.demo.test", "email:*@demo.test"]), [0x86]);
    assert_eq!(closed(&["uri:spiffe://demo.test/*"]), [0x82, 0x81]);
}
