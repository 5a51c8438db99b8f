//! A counter-example to each rule: the bytes of a good certificate with one thing changed.

use super::fixtures::*;
use crate::model::StatusUrls;
use crate::pki::walk::Walker;
use crate::pki::{AltName, KeyAlgorithm, encode, oid};
use crate::profile::*;

/// A TBSCertificate in pieces.
pub(super) struct Pieces {
    /// version, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo.
    pub(super) fields: Vec<Vec<u8>>,
    pub(super) extensions: Vec<Vec<u8>>,
}

fn elements(der: &[u8]) -> Vec<Vec<u8>> {
    let mut walker = Walker::new(der);
    let mut found = Vec::new();
    while !walker.is_empty() {
        found.push(walker.next().unwrap().whole.to_vec());
    }
    found
}

/// The elements within an element.
fn within(der: &[u8]) -> Vec<Vec<u8>> {
    elements(Walker::new(der).next().unwrap().content)
}

fn join(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    encode::tlv(tag, &parts.concat())
}

impl Pieces {
    pub(super) fn of(tbs: &[u8]) -> Self {
        let mut fields = within(tbs);
        let extensions = within(&within(&fields.pop().unwrap())[0]);
        Self { fields, extensions }
    }

    pub(super) fn whole(&self) -> Vec<u8> {
        let extensions = encode::tlv(0xa3, &join(0x30, &self.extensions));
        encode::sequence(&[&self.fields.concat(), &extensions])
    }

    pub(super) fn find(&mut self, id: const_oid::ObjectIdentifier) -> &mut Vec<u8> {
        let id = encode::oid(id);
        self.extensions.iter_mut().find(|e| within(e)[0] == id).unwrap()
    }

    /// The whole extension.
    pub(super) fn clone_of(&self, id: const_oid::ObjectIdentifier) -> Vec<u8> {
        self.extensions.iter().find(|e| within(e)[0] == encode::oid(id)).unwrap().clone()
    }

    pub(super) fn set(&mut self, id: const_oid::ObjectIdentifier, critical: bool, value: &[u8]) {
        *self.find(id) = encode::extension(id, critical, value);
    }

    pub(super) fn value(&mut self, id: const_oid::ObjectIdentifier) -> Vec<u8> {
        let extension = self.find(id).clone();
        Walker::new(within(&extension).last().unwrap()).next().unwrap().content.to_vec()
    }
}

#[track_caller]
pub(super) fn found(result: Result<(), Vec<Finding>>) -> Vec<&'static str> {
    let mut rules: Vec<_> = result.err().unwrap_or_default().iter().map(|f| f.rule).collect();
    rules.dedup();
    rules
}

/// The rules that a changed client certificate breaks.
#[track_caller]
fn check(expected: &[&str], change: impl Fn(&mut Pieces)) {
    let hierarchy = &*HIERARCHY;
    let request = hierarchy.leaf_request(LeafShape::Client);
    let tbs = build_leaf(&request, &hierarchy.issuing).unwrap();
    let mut pieces = Pieces::of(&tbs);
    assert_eq!(pieces.whole(), tbs);
    change(&mut pieces);
    assert_ne!(pieces.whole(), tbs);
    assert_eq!(found(lint_leaf(&pieces.whole(), &request, &hierarchy.issuing)), expected);
}

/// The rules that bytes break which were built for another request.
#[track_caller]
fn check_other(shape: LeafShape, expected: &[&str], change: impl Fn(&mut LeafRequest)) {
    let hierarchy = &*HIERARCHY;
    let request = hierarchy.leaf_request(shape);
    let mut other = request.clone();
    change(&mut other);
    let tbs = build_leaf(&other, &hierarchy.issuing).unwrap();
    assert_eq!(found(lint_leaf(&tbs, &request, &hierarchy.issuing)), expected);
}

#[test]
fn other_requests() {
    use LeafShape::{Client, Ocsp, Server};
    check_other(Client, &["serial"], |r| r.serial = serial(9));
    check_other(Client, &["validity"], |r| r.not_before = at("2026-11-24T03:00:01Z"));
    check_other(Client, &["validity"], |r| r.not_after = at("2026-12-24T03:00:01Z"));
    check_other(Client, &["public-key", "subject-key-identifier"], |r| r.public_key = Key::generate(KeyAlgorithm::P256).public);
    check_other(Client, &["extended-key-usage"], |r| r.content = content(Server));
    check_other(Server, &["extended-key-usage"], |r| r.content = content(Client));
    let client = |common_name: Option<&str>, texts: &[&str]| LeafContent::Client {
        common_name: common_name.map(str::to_owned),
        names: alt_names(texts),
    };
    let three = ["a.demo.test", "b.demo.test", "127.0.0.1"];
    check_other(Client, &["subject", "subject-alt-name"], |r| r.content = client(Some("a.demo.test"), &three));
    check_other(Ocsp, &["subject"], |r| r.content = LeafContent::Ocsp { common_name: "Demo OCSP 2".to_owned() });
    check_other(Client, &["subject-alt-name"], |r| r.content = client(None, &["a.demo.test", "127.0.0.1"]));
    check_other(Client, &["subject-alt-name"], |r| r.content = client(None, &["a.demo.test", "b.demo.test", "c.demo.test", "127.0.0.1"]));
    let with = |change: fn(&mut StatusUrls)| {
        move |r: &mut LeafRequest| {
            let mut urls = urls();
            change(&mut urls);
            r.revocation = Revocation::Published(urls);
        }
    };
    check_other(Client, &["authority-info-access"], with(|urls| urls.ocsp.push('x')));
    check_other(Client, &["authority-info-access"], with(|urls| urls.issuer.push('x')));
    check_other(Client, &["crl-distribution-point"], with(|urls| urls.crl.push('x')));
    let unavailable = |r: &mut LeafRequest| r.revocation = Revocation::NotAvailable { issuer: urls().issuer };
    check_other(Client, &["extension-unknown", "authority-info-access", "crl-distribution-point"], unavailable);
    check_other(Client, &["extension-unknown"], |r| r.policies.push(policy("1.3.6.1.4.1.55555.1")));
}

fn policy(text: &str) -> const_oid::ObjectIdentifier {
    text.parse().unwrap()
}

#[test]
fn other_fields() {
    check(&["structure"], |p| p.fields[0] = vec![0xa0, 3, 2, 1, 1]);
    check(&["structure"], |p| drop(p.fields.remove(0)));
    check(&["structure"], |p| p.fields[1] = vec![2, 1, 0x80]);
    check(&["structure"], |p| p.fields[1] = vec![2, 1, 0]);
    check(&["structure"], |p| p.fields[1] = vec![2, 2, 0, 0x7f]);
    check(&["serial"], |p| p.fields[1] = [&[2, 21, 0, 0xff][..], &[1; 19]].concat());
    check(&["signature-algorithm"], |p| {
        p.fields[2] = crate::pki::algorithm_identifier_der(crate::pki::SignatureAlgorithm::EcdsaP384Sha384)
    });
    // ecdsa-with-SHA256 takes no parameters (RFC 5758 §3.2).
    check(&["signature-algorithm"], |p| p.fields[2] = encode::sequence(&[&encode::oid(oid::ECDSA_WITH_SHA256), &[5, 0]]));
    check(&["issuer"], |p| p.fields[3] = HIERARCHY.root.certificate().subject_der().to_vec());
    check(&["issuer"], |p| {
        // The same text in another string type is another name here.
        let at = p.fields[3].iter().rposition(|b| *b == 0x0c).unwrap();
        p.fields[3][at] = 0x13;
    });
    check(&["validity"], |p| {
        let times = within(&p.fields[4]);
        p.fields[4] = encode::sequence(&[&times[0], &encode::tlv(0x18, b"20261224030000Z")]);
    });
    check(&["validity"], |p| {
        let times = within(&p.fields[4]);
        p.fields[4] = encode::sequence(&[&times[0], &encode::tlv(0x17, b"261224030000+0000")]);
    });
    check(&["subject"], |p| p.fields[5] = p.fields[3].clone());
    check(&["public-key"], |p| {
        let last = p.fields[6].len() - 1;
        p.fields[6][last] ^= 1;
    });
    // Unique identifiers (RFC 5280 §4.1.2.8).
    check(&["structure"], |p| p.fields.push(vec![0x81, 2, 0, 1]));
}

#[test]
fn other_extensions() {
    let unknown = const_oid::ObjectIdentifier::new_unwrap("2.5.29.32");
    check(&["extension-unknown"], |p| p.extensions.push(encode::extension(unknown, false, &[0x30, 0])));
    check(&["extension-unknown"], |p| p.extensions.insert(0, encode::extension(oid::NAME_CONSTRAINTS, true, &[0x30, 0])));
    check(&["extension-unknown"], |p| p.extensions.push(encode::extension(oid::OCSP_NOCHECK, false, &[5, 0])));
    check(&["extension-order"], |p| p.extensions.swap(0, 1));
    check(&["extensions"], |p| p.extensions.push(p.extensions[0].clone()));
    check(&["extensions"], |p| p.extensions.clear());
    for (id, rule) in [
        (oid::BASIC_CONSTRAINTS, "basic-constraints"),
        (oid::KEY_USAGE, "key-usage"),
        (oid::EXTENDED_KEY_USAGE, "extended-key-usage"),
        (oid::SUBJECT_KEY_IDENTIFIER, "subject-key-identifier"),
        (oid::AUTHORITY_KEY_IDENTIFIER, "authority-key-identifier"),
        (oid::AUTHORITY_INFO_ACCESS, "authority-info-access"),
        (oid::CRL_DISTRIBUTION_POINTS, "crl-distribution-point"),
        (oid::SUBJECT_ALT_NAME, "subject-alt-name"),
    ] {
        check(&[rule], |p| p.extensions.retain(|e| within(e)[0] != encode::oid(id)));
        check(&[rule], |p| {
            let (is_critical, value) = (within(p.find(id)).len() == 3, p.value(id));
            p.set(id, !is_critical, &value);
        });
        check(&[rule], |p| {
            let (is_critical, value) = (within(p.find(id)).len() == 3, p.value(id));
            p.set(id, is_critical, &[&value[..], &[0]].concat());
        });
        check(&["extensions"], |p| {
            // A critical FALSE, which DER leaves out.
            let value = p.value(id);
            *p.find(id) = encode::sequence(&[&encode::oid(id), &[1, 1, 0], &encode::octets(&value)]);
        });
    }
}

#[test]
fn other_values() {
    check(&["basic-constraints"], |p| p.set(oid::BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0xff]));
    check(&["basic-constraints"], |p| p.set(oid::BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0]));
    check(&["key-usage"], |p| p.set(oid::KEY_USAGE, true, &[3, 2, 1, 0x06]));
    check(&["key-usage"], |p| p.set(oid::KEY_USAGE, true, &[3, 2, 5, 0xa0]));
    check(&["key-usage"], |p| p.set(oid::KEY_USAGE, true, &[3, 2, 0, 0x80]));
    let any = const_oid::ObjectIdentifier::new_unwrap("2.5.29.37.0");
    check(&["extended-key-usage"], |p| p.set(oid::EXTENDED_KEY_USAGE, false, &encode::sequence(&[&encode::oid(any)])));
    check(&["extended-key-usage"], |p| {
        let both = encode::sequence(&[&encode::oid(oid::CLIENT_AUTH), &encode::oid(oid::SERVER_AUTH)]);
        p.set(oid::EXTENDED_KEY_USAGE, false, &both);
    });
    // An empty one panicked a CA once (lesson 16).
    check(&["extended-key-usage"], |p| p.set(oid::EXTENDED_KEY_USAGE, false, &[0x30, 0]));
    check(&["subject-key-identifier"], |p| p.set(oid::SUBJECT_KEY_IDENTIFIER, false, &encode::octets(&[7; 20])));
    check(&["authority-key-identifier"], |p| {
        let other = HIERARCHY.root.certificate().key_identifier().unwrap().to_vec();
        p.set(oid::AUTHORITY_KEY_IDENTIFIER, false, &encode::sequence(&[&encode::tlv(0x80, &other)]));
    });
    check(&["authority-key-identifier"], |p| {
        let value = p.value(oid::AUTHORITY_KEY_IDENTIFIER);
        let more = encode::sequence(&[&within(&value)[0], &encode::tlv(0x82, &[1])]);
        p.set(oid::AUTHORITY_KEY_IDENTIFIER, false, &more);
    });
    check(&["authority-info-access"], |p| {
        let mut list = within(&p.value(oid::AUTHORITY_INFO_ACCESS));
        list.reverse();
        p.set(oid::AUTHORITY_INFO_ACCESS, false, &join(0x30, &list));
    });
    check(&["crl-distribution-point"], |p| {
        let points = within(&p.value(oid::CRL_DISTRIBUTION_POINTS));
        p.set(oid::CRL_DISTRIBUTION_POINTS, false, &join(0x30, &[points[0].clone(), points[0].clone()]));
    });
    check(&["crl-distribution-point"], |p| {
        // With reasons.
        let points = within(&p.value(oid::CRL_DISTRIBUTION_POINTS));
        let point = encode::sequence(&[&within(&points[0])[0], &[0x81, 2, 1, 6]]);
        p.set(oid::CRL_DISTRIBUTION_POINTS, false, &encode::sequence(&[&point]));
    });
    let san = |change: fn(&mut Vec<Vec<u8>>)| {
        move |p: &mut Pieces| {
            let mut list = within(&p.value(oid::SUBJECT_ALT_NAME));
            change(&mut list);
            p.set(oid::SUBJECT_ALT_NAME, true, &join(0x30, &list));
        }
    };
    check(&["subject-alt-name"], san(|list| list.swap(0, 1)));
    check(&["subject-alt-name"], san(|list| list.push(list[0].clone())));
    check(&["subject-alt-name"], san(|list| list[0][2] = b'A'));
    check(&["subject-alt-name"], san(|list| list.clear()));
    check(&["subject-alt-name"], san(|list| list.push(encode::tlv(0x86, b"spiffe://demo.test/a"))));
    check(&["subject-alt-name"], san(|list| list.push(encode::tlv(0x81, b"admin@demo.test"))));
    check(&["subject-alt-name"], san(|list| list[2] = encode::tlv(0x87, &[127, 0, 0])));
    check(&["subject-alt-name"], san(|list| list[2] = encode::tlv(0x82, b"127.0.0.1")));
}

#[test]
fn other_responders() {
    let hierarchy = &*HIERARCHY;
    let request = hierarchy.leaf_request(LeafShape::Ocsp);
    let tbs = build_leaf(&request, &hierarchy.issuing).unwrap();
    let check = |expected: &[&str], change: &dyn Fn(&mut Pieces)| {
        let mut pieces = Pieces::of(&tbs);
        change(&mut pieces);
        assert_eq!(found(lint_leaf(&pieces.whole(), &request, &hierarchy.issuing)), expected);
    };
    check(&[], &|_| ());
    check(&["ocsp-nocheck"], &|p| drop(p.extensions.pop()));
    check(&["ocsp-nocheck"], &|p| p.set(oid::OCSP_NOCHECK, true, &[5, 0]));
    check(&["ocsp-nocheck"], &|p| p.set(oid::OCSP_NOCHECK, false, &[]));
    let client = Pieces::of(&build_leaf(&hierarchy.leaf_request(LeafShape::Client), &hierarchy.issuing).unwrap());
    for extra in &client.extensions[5..] {
        check(&["extension-unknown"], &|p| p.extensions.push(extra.clone()));
    }
}

#[test]
fn other_authorities() {
    let hierarchy = &*HIERARCHY;
    let request = intermediate_request(&hierarchy.issuing_key, &["dns:*.demo.test", "ip:127.0.0.0/8"]);
    let tbs = build_intermediate(&request, &hierarchy.root).unwrap();
    let check = |expected: &[&str], change: &dyn Fn(&mut Pieces)| {
        let mut pieces = Pieces::of(&tbs);
        change(&mut pieces);
        assert_eq!(found(lint_intermediate(&pieces.whole(), &request, &hierarchy.root)), expected);
    };
    check(&[], &|_| ());
    check(&["basic-constraints"], &|p| p.set(oid::BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 0xff]));
    check(&["basic-constraints"], &|p| p.set(oid::BASIC_CONSTRAINTS, true, &[0x30, 6, 1, 1, 0xff, 2, 1, 1]));
    check(&["key-usage"], &|p| p.set(oid::KEY_USAGE, true, &[3, 2, 7, 0x80]));
    // OCSPSigning on an intermediate (lesson 21).
    let ocsp_signing = encode::sequence(&[&encode::oid(oid::OCSP_SIGNING)]);
    check(&["extension-unknown"], &|p| p.extensions.push(encode::extension(oid::EXTENDED_KEY_USAGE, false, &ocsp_signing)));
    check(&["authority-info-access"], &|p| {
        let list = within(&p.value(oid::AUTHORITY_INFO_ACCESS));
        let location = encode::tlv(0x86, b"http://127.0.0.1:14002/a/root/ocsp");
        let ocsp = encode::sequence(&[&encode::oid(oid::ACCESS_OCSP), &location]);
        p.set(oid::AUTHORITY_INFO_ACCESS, false, &join(0x30, &[ocsp, list[0].clone()]));
    });

    let constraints = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        check(&["name-constraints"], &|p| {
            let mut permitted = within(&within(&p.value(oid::NAME_CONSTRAINTS))[0]);
            change(&mut permitted);
            p.set(oid::NAME_CONSTRAINTS, true, &encode::sequence(&[&join(0xa0, &permitted)]));
        });
    };
    let subtree = |tag: u8, base: &[u8]| encode::sequence(&[&encode::tlv(tag, base)]);
    constraints(&|permitted| permitted.push(subtree(0x82, b"bank.test")));
    constraints(&|permitted| permitted[0] = subtree(0x82, b"test"));
    constraints(&|permitted| permitted[0] = subtree(0x82, b".demo.test"));
    constraints(&|permitted| permitted[0] = encode::sequence(&[&encode::tlv(0x82, b"demo.test"), &[0x80, 1, 0]]));
    constraints(&|permitted| permitted[1] = subtree(0x87, &[127, 0, 0, 0, 0xfe, 0, 0, 0]));
    constraints(&|permitted| permitted[1] = subtree(0x87, &[127, 0, 0, 1, 0xff, 0, 0, 0]));
    constraints(&|permitted| permitted.clear());
    // ::/128 closes IPv6; `none.invalid` closes email and URI.
    assert_eq!(within(&within(&Pieces::of(&tbs).value(oid::NAME_CONSTRAINTS))[0]).len(), 5);
    for i in 0..5 {
        constraints(&|permitted| drop(permitted.remove(i)));
    }
    constraints(&|permitted| permitted[2] = subtree(0x87, &[0; 32]));
    constraints(&|permitted| permitted[3] = subtree(0x81, b""));
    constraints(&|permitted| permitted[4] = subtree(0x86, b".none.invalid"));
    constraints(&|permitted| permitted[4] = subtree(0x86, b"invalid"));
    constraints(&|permitted| permitted.push(subtree(0x82, b"none.invalid")));
    constraints(&|permitted| permitted.push(encode::sequence(&[&encode::tlv(0xa4, &[0x30, 0])])));
    for excluded in [vec![], vec![subtree(0x82, b"a.demo.test")], vec![subtree(0x87, &[0; 32])]] {
        check(&["name-constraints"], &|p| {
            let permitted = within(&p.value(oid::NAME_CONSTRAINTS)).remove(0);
            p.set(oid::NAME_CONSTRAINTS, true, &encode::sequence(&[&permitted, &join(0xa1, &excluded)]));
        });
    }
    check(&["name-constraints"], &|p| {
        let value = p.value(oid::NAME_CONSTRAINTS);
        p.set(oid::NAME_CONSTRAINTS, false, &value);
    });
    check(&["name-constraints"], &|p| drop(p.extensions.pop()));

    // Without any address, both families are excluded.
    let dns_only = intermediate_request(&hierarchy.issuing_key, &["dns:*.demo.test"]);
    let mut pieces = Pieces::of(&build_intermediate(&dns_only, &hierarchy.root).unwrap());
    let both = within(&pieces.value(oid::NAME_CONSTRAINTS));
    let excluded = within(&both[1]);
    assert_eq!(excluded, [subtree(0x87, &[0; 8]), subtree(0x87, &[0; 32])]);
    for kept in [&excluded[..1], &excluded[1..]] {
        pieces.set(oid::NAME_CONSTRAINTS, true, &encode::sequence(&[&both[0], &join(0xa1, kept)]));
        assert_eq!(found(lint_intermediate(&pieces.whole(), &dns_only, &hierarchy.root)), ["name-constraints"]);
    }

    let request = root_request(&hierarchy.root_key);
    let tbs = build_root(&request).unwrap();
    let root = |change: &dyn Fn(&mut Pieces)| {
        let mut pieces = Pieces::of(&tbs);
        change(&mut pieces);
        found(lint_root(&pieces.whole(), &request))
    };
    assert_eq!(root(&|p| p.set(oid::BASIC_CONSTRAINTS, true, &[0x30, 6, 1, 1, 0xff, 2, 1, 1])), ["basic-constraints"]);
    assert_eq!(root(&|p| p.set(oid::BASIC_CONSTRAINTS, true, &[0x30, 0])), ["basic-constraints"]);
    assert_eq!(root(&|p| p.fields[3] = hierarchy.issuing.certificate().subject_der().to_vec()), ["issuer"]);
    assert_eq!(root(&|p| p.fields[5] = hierarchy.issuing.certificate().subject_der().to_vec()), ["issuer", "subject"]);
    assert_eq!(root(&|p| p.extensions.push(encode::extension(oid::EXTENDED_KEY_USAGE, false, &ocsp_signing))), ["extension-unknown"]);
    // Its end in 2056 is a GeneralizedTime; two digits would say 1956.
    assert_eq!(
        root(&|p| {
            let times = within(&p.fields[4]);
            p.fields[4] = encode::sequence(&[&times[0], &encode::tlv(0x17, b"561124000000Z")]);
        }),
        ["validity"]
    );
}

/// No byte is outside of the lints' sight, and none makes them panic.
#[test]
fn every_bit_counts() {
    let hierarchy = &*HIERARCHY;
    let check = |tbs: Vec<u8>, lint: &dyn Fn(&[u8]) -> Result<(), Vec<Finding>>| {
        assert_eq!(lint(&tbs), Ok(()));
        for at in 0..tbs.len() {
            for bit in [0x01, 0x20, 0x80] {
                let mut changed = tbs.clone();
                changed[at] ^= bit;
                assert!(lint(&changed).is_err(), "bit {bit:#x} of octet {at}");
            }
            assert!(lint(&tbs[..at]).is_err());
        }
        assert!(lint(&[&tbs[..], &[0]].concat()).is_err());
    };
    for shape in LeafShape::ALL {
        let request = hierarchy.leaf_request(shape);
        check(build_leaf(&request, &hierarchy.issuing).unwrap(), &|tbs| lint_leaf(tbs, &request, &hierarchy.issuing));
    }
    let request = root_request(&hierarchy.root_key);
    check(build_root(&request).unwrap(), &|tbs| lint_root(tbs, &request));
    let request = intermediate_request(&hierarchy.issuing_key, &["dns:*.demo.test", "ip:127.0.0.0/8"]);
    check(build_intermediate(&request, &hierarchy.root).unwrap(), &|tbs| lint_intermediate(tbs, &request, &hierarchy.root));
}

#[test]
fn requests_that_no_profile_takes() {
    let hierarchy = &*HIERARCHY;
    let check = |shape: LeafShape, expected: &str, change: &dyn Fn(&mut LeafRequest)| {
        let mut request = hierarchy.leaf_request(shape);
        change(&mut request);
        let error = build_leaf(&request, &hierarchy.issuing).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    };
    let client =
        |common_name: Option<&str>, names: Vec<AltName>| LeafContent::Client { common_name: common_name.map(str::to_owned), names };
    let one = || alt_names(&["a.demo.test"]);
    check(LeafShape::Client, "at least one", &|r| r.content = client(None, vec![]));
    check(LeafShape::Client, "more than 100", &|r| {
        let many = (0..101).map(|i| format!("a{i}.demo.test")).collect::<Vec<_>>();
        r.content = client(None, alt_names(&many.iter().map(String::as_str).collect::<Vec<_>>()));
    });
    check(LeafShape::Client, "not one of", &|r| r.content = client(Some("admin"), one()));
    check(LeafShape::Client, "not one of", &|r| r.content = client(Some("127.0.0.1"), alt_names(&["127.0.0.1"])));
    check(LeafShape::Ocsp, "1 to 64 characters", &|r| r.content = LeafContent::Ocsp { common_name: String::new() });
    check(LeafShape::Ocsp, "1 to 64 characters", &|r| r.content = LeafContent::Ocsp { common_name: "x".repeat(65) });
    check(LeafShape::Client, "issuer's own", &|r| r.public_key = hierarchy.issuing_key.public.clone());
    check(LeafShape::Client, "after the issuer's", &|r| r.not_after = at("2050-01-01T00:00:00Z"));
    check(LeafShape::Client, "empty or outside", &|r| r.not_after = r.not_before);
    check(LeafShape::Client, "empty or outside", &|r| r.not_before = at("1969-12-31T23:59:59Z"));
    for url in ["", "http://", "http:///x", "https://a/x", "http://a/ü", "http://a/ b", "ldap://a", &format!("http://{}", "a".repeat(1024))]
    {
        check(LeafShape::Client, "can't stand", &|r| {
            r.revocation = Revocation::Published(StatusUrls { crl: url.to_owned(), ..urls() });
        });
        check(LeafShape::Client, "can't stand", &|r| r.revocation = Revocation::NotAvailable { issuer: url.to_owned() });
    }
    // The lint refuses these on its own, whatever built the bytes.
    let mut request = hierarchy.leaf_request(LeafShape::Client);
    request.not_after = at("2049-12-31T23:59:59Z").plus(std::time::Duration::from_secs(1));
    let tbs = build_leaf(&hierarchy.leaf_request(LeafShape::Client), &hierarchy.issuing).unwrap();
    assert!(lint_leaf(&tbs, &request, &hierarchy.issuing).unwrap_err().iter().any(|f| f.detail.contains("the issuer at")));

    let mut root = root_request(&hierarchy.root_key);
    root.algorithm = crate::pki::SignatureAlgorithm::Ed25519;
    assert_eq!(build_root(&root), Err(ProfileError::Algorithm));
    for country in ["G", "gb", "GBR", "É!"] {
        let mut root = root_request(&hierarchy.root_key);
        root.subject.country = Some(country.to_owned());
        assert!(matches!(build_root(&root), Err(ProfileError::Subject(_))), "{country}");
    }
    let key = Key::generate(KeyAlgorithm::P256);
    assert!(matches!(build_intermediate(&intermediate_request(&key, &[]), &hierarchy.root), Err(ProfileError::Names(_))));
    let mut same = intermediate_request(&key, &["dns:a.test"]);
    same.subject = root_request(&hierarchy.root_key).subject;
    assert!(matches!(build_intermediate(&same, &hierarchy.root), Err(ProfileError::Subject(_))));
}
