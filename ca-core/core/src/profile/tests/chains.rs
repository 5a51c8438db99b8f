//! Whole chains, judged by rustls-webpki and, where they are installed, by OpenSSL and Java.

use super::counterexamples::Pieces;
use super::fixtures::*;
use super::verifiers::*;
use crate::lint;
use crate::pki::walk::Walker;
use crate::pki::{Certificate, Identifier, KeyAlgorithm, VerifyError, encode, oid};
use crate::profile::*;

/// Requests of every shape: as they come, and with what may be added.
fn requests(hierarchy: &Hierarchy) -> Vec<LeafRequest> {
    let mut found = Vec::new();
    for shape in LeafShape::ALL {
        let plain = hierarchy.leaf_request(shape);
        if shape != LeafShape::Ocsp {
            let mut more = plain.clone();
            more.policies = vec!["1.3.6.1.4.1.55555.1".parse().unwrap(), "1.3.6.1.4.1.55555.2".parse().unwrap()];
            more.revocation = Revocation::NotAvailable { issuer: urls().issuer };
            match &mut more.content {
                LeafContent::Client { common_name, names } => {
                    *common_name = Some("a.demo.test".to_owned());
                    names.extend(alt_names(&["https://demo.test/a", "ops@demo.test"]));
                }
                LeafContent::Server { common_name, .. } => *common_name = Some("a.demo.test".to_owned()),
                LeafContent::Spiffe { subject, .. } => {
                    let list = [(Attribute::Country, "GB"), (Attribute::Organization, "Démo"), (Attribute::OrganizationalUnit, "a")];
                    *subject = Subject::new(list.into_iter().map(|(a, text)| (a, text.to_owned())).collect()).unwrap();
                }
                LeafContent::Obwac { names, .. } => names.clear(),
                LeafContent::Kubernetes { groups, .. } => groups.clear(),
                LeafContent::Obseal { .. } | LeafContent::Brcac { .. } | LeafContent::Ocsp { .. } => {}
            }
            found.push(more);
        }
        found.push(plain);
    }
    found
}

fn check_chain(algorithm: KeyAlgorithm) {
    let hierarchy = Hierarchy::new(algorithm, &OPEN);
    assert_eq!(hierarchy.root.certificate().is_signed_by(hierarchy.root.certificate()), Ok(()));
    assert_eq!(hierarchy.issuing.certificate().is_signed_by(hierarchy.root.certificate()), Ok(()));
    for request in requests(&hierarchy) {
        let shape = request.shape();
        let leaf = hierarchy.issue(&request);
        assert_eq!(leaf.is_signed_by(hierarchy.issuing.certificate()), Ok(()));
        assert_eq!(leaf.is_signed_by(hierarchy.root.certificate()), Err(VerifyError::OtherIssuer));
        assert_eq!(webpki_verdict(&leaf, shape, &hierarchy), Ok(()), "{algorithm} {shape:?}");
        // OpenSSL knows ML-DSA since 3.5.
        if !algorithm.is_post_quantum()
            && let Some(verdict) = openssl_verdict(&leaf, shape, &hierarchy)
        {
            assert_eq!(verdict, Ok(()), "{algorithm} {shape:?}");
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
fn chains_of_ml_dsa_verify() {
    check_chain(KeyAlgorithm::MlDsa65);
    check_chain(KeyAlgorithm::MlDsa87);
}

#[test]
fn key_usages_of_ml_dsa_keys_are_held() {
    // RFC 9881 §5: none of keyEncipherment, dataEncipherment, keyAgreement, encipherOnly, decipherOnly.
    let hierarchy = Hierarchy::new(KeyAlgorithm::MlDsa65, &OPEN);
    for shape in LeafShape::ALL {
        let mut request = hierarchy.leaf_request(shape);
        request.public_key = hierarchy.leaf_key.public.clone();
        if shape == LeafShape::Brcac {
            assert!(matches!(build_leaf(&request, &hierarchy.issuing), Err(ProfileError::KeyUsage(_))), "it has keyEncipherment");
            continue;
        }
        for usage in [&[3, 2, 5, 0xa0][..], &[3, 2, 4, 0x90], &[3, 2, 3, 0x88], &[3, 2, 0, 0x81], &[3, 3, 7, 0x80, 0x80], &[3, 2, 5, 0x20]]
        {
            let tbs = build_leaf(&request, &hierarchy.issuing).unwrap();
            let mut pieces = Pieces::of(&tbs);
            pieces.set(oid::KEY_USAGE, true, usage);
            let findings = lint_leaf(&pieces.whole(), &request, &hierarchy.issuing).unwrap_err();
            assert!(findings.iter().any(|f| f.rule == "key-usage"), "{shape:?} {usage:02x?}: {findings:?}");
        }
    }
}

#[test]
fn a_certificate_reads_back_as_it_was_asked_for() {
    let mut request = HIERARCHY.leaf_request(LeafShape::Client);
    if let LeafContent::Client { names, .. } = &mut request.content {
        names.extend(alt_names(&["ops@demo.test", "https://demo.test/a"]));
    }
    let leaf = HIERARCHY.issue(&request);
    assert_eq!((leaf.serial(), leaf.not_before(), leaf.not_after()), (request.serial, request.not_before, request.not_after));
    assert_eq!(leaf.identifiers(), names(&["a.demo.test", "b.demo.test", "127.0.0.1"]));
    assert_eq!(leaf.alt_names(), alt_names(&["a.demo.test", "b.demo.test", "127.0.0.1", "https://demo.test/a", "ops@demo.test"]));
    assert_eq!(leaf.public_key(), &request.public_key);
    assert_eq!(leaf.subject_text(), "");
    assert_eq!(leaf.authority_key_identifier(), HIERARCHY.issuing.certificate().key_identifier());
    assert!(!leaf.is_ca());
    assert_eq!(HIERARCHY.root.certificate().subject_text(), "CN=Demo Root,O=Démo\\, Ltd,C=GB");
    assert!(matches!(Issuer::new(leaf), Err(ProfileError::NotAnIssuer(_))));
}

/// Patterns of an authority, a name, and whether a certificate of that authority may carry it.
const NAMES: [(&[&str], &str, bool); 23] = [
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
    // A form that the authority has is open: the policy limits it. The others stay closed.
    (&["dns:localhost", "uri:https://bank.test/*"], "https://bank.test/a", true),
    (&["dns:localhost", "uri:https://bank.test/*"], "ops@bank.test", false),
    (&["email:*@bank.test"], "ops@bank.test", true),
    (&["email:*@bank.test"], "bank.test", false),
    (&["email:*@bank.test"], "https://bank.test/a", false),
];

/// Names of forms that the authority does not issue: beside a good one, they are refused all the same.
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
    request.content = LeafContent::Client { common_name: None, names: alt_names(&[name]) };
    let tbs = build_leaf(&request, &hierarchy.issuing).unwrap();
    assert_eq!(lint_leaf(&tbs, &request, &hierarchy.issuing), Ok(()));
    let above = [hierarchy.issuing.certificate().der()];
    let report = lint::to_be_signed_certificate(&tbs, &lint::Context { issuers: &above, previous_crl: None });
    let found: Vec<_> = report.refuse_errors().err().unwrap_or_default().iter().map(|f| f.rule).collect();
    assert_eq!(found, if allowed { vec![] } else { vec!["issuer-name-constraints"] }, "{permitted:?} {name}");
    Case { what: format!("{permitted:?} {name}"), leaf: hierarchy.issuing_key.certify(&tbs), hierarchy, allowed }
}

/// A leaf with this name and one that the authority may give, made by hand: the profile has no such leaf.
fn foreign(permitted: &[&str], good: &str, (tag, text): (u8, &str)) -> Case {
    let hierarchy = Hierarchy::new(KeyAlgorithm::P256, permitted);
    let mut request = hierarchy.leaf_request(LeafShape::Client);
    request.content = LeafContent::Client { common_name: None, names: alt_names(&[good]) };
    let good = match &names(&[good])[0] {
        Identifier::Dns(name) => encode::tlv(0x82, name.as_str().as_bytes()),
        Identifier::Ip(std::net::IpAddr::V4(address)) => encode::tlv(0x87, &address.octets()),
        Identifier::Ip(std::net::IpAddr::V6(address)) => encode::tlv(0x87, &address.octets()),
        other => panic!("{other} is no case here"),
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

/// RFC 8705: tokens are bound to the subject's text or to the thumbprint. A renewal changes nothing but the times, the
/// serial number and perhaps the key.
#[test]
fn subjects_stay_as_they_are_over_renewals() {
    for first in requests(&HIERARCHY) {
        let mut renewed = LeafRequest { serial: serial(77), not_after: at("2026-12-25T03:00:00Z"), ..first.clone() };
        if let LeafContent::Client { names, .. } = &mut renewed.content {
            names.reverse();
        }
        let (one, two) = (HIERARCHY.issue(&first), HIERARCHY.issue(&renewed));
        assert_eq!(one.subject_der(), two.subject_der());
        assert_eq!(one.subject_text(), two.subject_text());
        assert_eq!(one.alt_names(), two.alt_names());
    }
}

/// As a directory or a token server compares them: attributes, order and string types, once and for all.
#[test]
fn subjects_have_their_order_and_string_types() {
    let check = |shape, text: &str, expected: &[(&str, u8, &str)]| {
        let leaf = HIERARCHY.issue(&HIERARCHY.leaf_request(shape));
        assert_eq!(leaf.subject_text(), text);
        let mut rdns = Walker::single(leaf.subject_der(), 0x30, "subject").unwrap().walk();
        let mut found = Vec::new();
        while !rdns.is_empty() {
            let mut pair = Walker::single(rdns.expect(0x31, "RDN").unwrap().content, 0x30, "attribute").unwrap().walk();
            let id = const_oid::ObjectIdentifier::from_bytes(pair.next().unwrap().content).unwrap().to_string();
            let value = pair.next().unwrap();
            found.push((id, value.tag, String::from_utf8(value.content.to_vec()).unwrap()));
        }
        let expected: Vec<_> = expected.iter().map(|(id, tag, text)| ((*id).to_owned(), *tag, (*text).to_owned())).collect();
        assert_eq!(found, expected);
    };
    // 0x0c is a UTF8String, 0x13 a PrintableString.
    check(LeafShape::Client, "", &[]);
    check(
        LeafShape::Kubernetes,
        "CN=payments,O=auditors,O=deployers",
        &[("2.5.4.10", 0x0c, "deployers"), ("2.5.4.10", 0x0c, "auditors"), ("2.5.4.3", 0x0c, "payments")],
    );
    let bank = [
        ("2.5.4.6", 0x13, "GB"),
        ("2.5.4.10", 0x0c, "Démo Bank plc"),
        ("2.5.4.97", 0x0c, "PSDGB-FCA-123456"),
        ("2.5.4.3", 0x0c, "0015800001HQQrZAAX"),
    ];
    let text = "CN=0015800001HQQrZAAX,2.5.4.97=#0c1050534447422d4643412d313233343536,O=Démo Bank plc,C=GB";
    check(LeafShape::Obwac, text, &bank);
    check(LeafShape::Obseal, text, &bank);
    check(
        LeafShape::Brcac,
        "CN=a.demo.test,UID=d7384bd0-842f-43c5-be02-9d2b2d5efc2c,\
         2.5.4.97=#0c2a4f464242522d34623735646232652d613063302d343335392d613037372d363834653838666136393563,L=São Paulo,ST=SP,\
         O=Banco Demo S.A.,C=BR,2.5.4.5=#130e3131323232333333303030313831,1.3.6.1.4.1.311.60.2.1.3=#13024252,\
         2.5.4.15=#0c1450726976617465204f7267616e697a6174696f6e",
        &[
            ("2.5.4.15", 0x0c, "Private Organization"),
            ("1.3.6.1.4.1.311.60.2.1.3", 0x13, "BR"),
            ("2.5.4.5", 0x13, "11222333000181"),
            ("2.5.4.6", 0x13, "BR"),
            ("2.5.4.10", 0x0c, "Banco Demo S.A."),
            ("2.5.4.8", 0x0c, "SP"),
            ("2.5.4.7", 0x0c, "São Paulo"),
            ("2.5.4.97", 0x0c, "OFBBR-4b75db2e-a0c0-4359-a077-684e88fa695c"),
            ("0.9.2342.19200300.100.1.1", 0x0c, "d7384bd0-842f-43c5-be02-9d2b2d5efc2c"),
            ("2.5.4.3", 0x0c, "a.demo.test"),
        ],
    );
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
        let value = hierarchy.issuing.certificate().der();
        value.windows(14).filter(|w| w[1] == 12 && &w[2..] == b"none.invalid").map(|w| w[0]).collect::<Vec<_>>()
    };
    assert_eq!(closed(&["dns:*.demo.test"]), [0x81, 0x86]);
    assert_eq!(closed(&["dns:*.demo.test", "uri:spiffe://demo.test/*"]), [0x81]);
    assert_eq!(closed(&["dns:*.demo.test", "email:*@demo.test"]), [0x86]);
    assert_eq!(closed(&["uri:spiffe://demo.test/*"]), [0x82, 0x81]);
}
