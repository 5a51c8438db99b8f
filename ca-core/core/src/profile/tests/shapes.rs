//! What each profile refuses to say, and a counter-example to each rule of its own.

use super::counterexamples::{Pieces, found};
use super::fixtures::*;
use crate::pki::{AltName, DnsName, Identifier, KeyAlgorithm, SpiffeId, UriName, encode, oid};
use crate::profile::*;

/// Requests that the builder refuses, and the lint too when bytes come from elsewhere.
#[track_caller]
fn refused(shape: LeafShape, reason: &str, rule: &str, change: impl Fn(&mut LeafRequest)) {
    let hierarchy = &*HIERARCHY;
    let good = hierarchy.leaf_request(shape);
    let mut request = good.clone();
    change(&mut request);
    assert_ne!(request, good);
    let error = build_leaf(&request, &hierarchy.issuing).unwrap_err().to_string();
    assert!(error.contains(reason), "{reason}: {error}");
    if !rule.is_empty() {
        let tbs = build_leaf(&good, &hierarchy.issuing).unwrap();
        let findings = found(lint_leaf(&tbs, &request, &hierarchy.issuing));
        assert!(findings.contains(&rule), "{rule}: {findings:?}");
    }
}

/// The rules that a changed certificate of this shape breaks.
#[track_caller]
fn changed(request: &LeafRequest, expected: &[&str], change: impl Fn(&mut Pieces)) {
    let hierarchy = &*HIERARCHY;
    let tbs = build_leaf(request, &hierarchy.issuing).unwrap();
    let mut pieces = Pieces::of(&tbs);
    change(&mut pieces);
    assert_ne!(pieces.whole(), tbs);
    assert_eq!(found(lint_leaf(&pieces.whole(), request, &hierarchy.issuing)), expected);
}

#[test]
fn only_spiffe_carries_spiffe_names() {
    let name = AltName::Uri(UriName::parse("spiffe://demo.test/ns/a").unwrap());
    for shape in [LeafShape::Client, LeafShape::Obwac] {
        refused(shape, "only the spiffe profile", "spiffe-id", |r| match &mut r.content {
            LeafContent::Client { names, .. } | LeafContent::Obwac { names, .. } => names.push(name.clone()),
            _ => unreachable!(),
        });
    }
}

#[test]
fn a17_only_client_certificates_name_devices() {
    let device = Identifier::parse("permanent-identifier", "SN-1/1.3.6.1.4.1.55555.1").unwrap();
    let module = Identifier::parse("hardware-module", "SN-1/1.2.3").unwrap();
    for name in [&device, &module] {
        refused(LeafShape::Server, "only the client profile carries", "names", |r| match &mut r.content {
            LeafContent::Server { names, .. } => names.push(name.clone()),
            _ => unreachable!(),
        });
        refused(LeafShape::Obwac, "only the client profile carries", "names", |r| match &mut r.content {
            LeafContent::Obwac { names, .. } => names.push(name.clone().into()),
            _ => unreachable!(),
        });
    }
    let hierarchy = &*HIERARCHY;
    let mut request = hierarchy.leaf_request(LeafShape::Client);
    request.content = LeafContent::Client { common_name: None, names: vec![module.clone().into(), device.clone().into()] };
    let tbs = build_leaf(&request, &hierarchy.issuing).unwrap();
    assert_eq!(found(lint_leaf(&tbs, &request, &hierarchy.issuing)), [] as [&str; 0]);
    // RFC 4043 §2 and RFC 4108 §5, octet by octet.
    let other_name = |kind: &str, value: &[u8]| {
        let kind = encode::oid(kind.parse().unwrap());
        encode::tlv(0xa0, &[kind, encode::tlv(0xa0, value)].concat())
    };
    let assigner = encode::oid("1.3.6.1.4.1.55555.1".parse().unwrap());
    let san = encode::sequence(&[
        &other_name("1.3.6.1.5.5.7.8.3", &encode::sequence(&[&encode::tlv(0x0c, b"SN-1"), &assigner])),
        &other_name("1.3.6.1.5.5.7.8.4", &encode::sequence(&[&encode::oid("1.2.3".parse().unwrap()), &encode::octets(b"SN-1")])),
    ]);
    assert!(tbs.windows(san.len()).any(|window| window == san));
    let another = |value: &[u8]| encode::sequence(&[&other_name("1.3.6.1.5.5.7.8.3", value)]);
    for value in [encode::sequence(&[&encode::tlv(0x0c, b"SN-2")]), encode::sequence(&[&encode::tlv(0x0c, b"SN-1")])] {
        changed(&request, &["subject-alt-name"], |p| p.set(oid::SUBJECT_ALT_NAME, true, &another(&value)));
    }
}

#[test]
fn a_workload_has_one_id_with_a_path() {
    refused(LeafShape::Spiffe, "give it a path", "spiffe-id", |r| {
        r.content = LeafContent::Spiffe { id: SpiffeId::parse("spiffe://demo.test").unwrap(), subject: Subject::default() };
    });
    let request = HIERARCHY.leaf_request(LeafShape::Spiffe);
    let san = |names: &[(u8, &str)]| {
        let names: Vec<_> = names.iter().map(|(tag, text)| encode::tlv(*tag, text.as_bytes())).collect();
        encode::sequence(&[&names.concat()])
    };
    let id = (0x86, "spiffe://demo.test/ns/payments");
    changed(&request, &["subject-alt-name"], |p| p.set(oid::SUBJECT_ALT_NAME, true, &san(&[id, (0x86, "spiffe://demo.test/ns/b")])));
    changed(&request, &["subject-alt-name"], |p| p.set(oid::SUBJECT_ALT_NAME, true, &san(&[id, (0x82, "a.demo.test")])));
    // Critical, because the subject is empty.
    changed(&request, &["subject-alt-name"], |p| p.set(oid::SUBJECT_ALT_NAME, false, &san(&[id])));
    for usage in [[3, 2, 2, 0x84], [3, 2, 1, 0x82], [3, 2, 5, 0xa0]] {
        changed(&request, &["key-usage"], |p| p.set(oid::KEY_USAGE, true, &usage));
    }
    for one in [oid::SERVER_AUTH, oid::CLIENT_AUTH] {
        changed(&request, &["extended-key-usage"], |p| p.set(oid::EXTENDED_KEY_USAGE, false, &encode::sequence(&[&encode::oid(one)])));
    }
}

#[test]
fn nobody_is_certified_for_system_masters() {
    let user = |user: &str, groups: &[&str]| LeafContent::Kubernetes {
        user: user.to_owned(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
    };
    for name in ["system:masters", "System:Masters"] {
        refused(LeafShape::Kubernetes, "system:masters", "kubernetes-masters", |r| r.content = user("a", &["b", name]));
        refused(LeafShape::Kubernetes, "system:masters", "kubernetes-masters", |r| r.content = user(name, &[]));
    }
    refused(LeafShape::Kubernetes, "1 to 64 characters", "subject", |r| r.content = user("", &[]));
    refused(LeafShape::Kubernetes, "1 to 64 characters", "subject", |r| r.content = user("a", &[&"g".repeat(65)]));
    refused(LeafShape::Kubernetes, "at most 32 groups", "subject", |r| r.content = user("a", &["g"; 33]));
    let request = HIERARCHY.leaf_request(LeafShape::Kubernetes);
    let san = encode::extension(oid::SUBJECT_ALT_NAME, false, &encode::sequence(&[&encode::tlv(0x82, b"a.demo.test")]));
    changed(&request, &["extension-unknown"], |p| p.extensions.push(san.clone()));
}

#[test]
fn open_banking_certificates_say_who_and_what_for() {
    let bank = |change: &dyn Fn(&mut OpenBankingSubject, &mut Psd2)| {
        let LeafContent::Obseal { mut subject, mut psd2 } = content(LeafShape::Obseal) else { unreachable!() };
        change(&mut subject, &mut psd2);
        LeafContent::Obseal { subject, psd2 }
    };
    let check = |reason: &str, rule: &str, change: &dyn Fn(&mut OpenBankingSubject, &mut Psd2)| {
        refused(LeafShape::Obseal, reason, rule, |r| r.content = bank(change));
    };
    check("differs from the organization", "organization-identifier", &|s, _| s.organization = s.organization_identifier.clone());
    check("another authority", "subject", &|s, _| s.organization_identifier = "PSDDE-BAFIN-123456".to_owned());
    check("as in PSDGB-FCA-123456", "subject", &|s, _| s.organization_identifier = "123456".to_owned());
    check("two capital letters", "subject", &|s, _| s.country = "gb".to_owned());
    check("1 to 64 characters", "subject", &|s, _| s.common_name.clear());
    check("1 to 64 characters", "subject", &|s, _| s.organization.clear());
    check("at least one role", "qc-statements", &|_, p| p.roles.clear());
    check("as in GB-FCA", "qc-statements", &|_, p| p.nca_id = "GBFCA".to_owned());
    check("1 to 256 characters", "qc-statements", &|_, p| p.nca_name.clear());

    let statements = |qc_type, psd2| QcStatements { qc_type, psd2 }.to_der().unwrap();
    for (shape, other) in [(LeafShape::Obwac, QcType::Seal), (LeafShape::Obseal, QcType::Web)] {
        let request = HIERARCHY.leaf_request(shape);
        changed(&request, &["qc-statements"], |p| p.set(oid::QC_STATEMENTS, false, &statements(other, psd2())));
        changed(&request, &["qc-statements"], |p| drop(p.extensions.pop()));
        changed(&request, &["qc-statements"], |p| {
            let value = p.value(oid::QC_STATEMENTS);
            p.set(oid::QC_STATEMENTS, true, &value);
        });
        changed(&request, &["qc-statements"], |p| {
            let own = if shape == LeafShape::Obwac { QcType::Web } else { QcType::Seal };
            let more = Psd2 { roles: Psd2Role::ALL.to_vec(), ..psd2() };
            p.set(oid::QC_STATEMENTS, false, &statements(own, more));
        });
        // A private CA does not say that it is qualified (0.4.0.1862.1.1).
        changed(&request, &["qc-statements"], |p| {
            let value = p.value(oid::QC_STATEMENTS);
            let compliance = encode::sequence(&[&encode::oid("0.4.0.1862.1.1".parse().unwrap())]);
            let both = crate::pki::walk::Walker::new(&value).next().unwrap().content.to_vec();
            p.set(oid::QC_STATEMENTS, false, &encode::sequence(&[&compliance, &both]));
        });
    }
    // A seal is no client: it has no purposes.
    let client = encode::extension(oid::EXTENDED_KEY_USAGE, false, &encode::sequence(&[&encode::oid(oid::CLIENT_AUTH)]));
    changed(&HIERARCHY.leaf_request(LeafShape::Obseal), &["extension-unknown"], |p| p.extensions.push(client.clone()));
    changed(&HIERARCHY.leaf_request(LeafShape::Obseal), &["key-usage"], |p| p.set(oid::KEY_USAGE, true, &[3, 2, 7, 0x80]));
    changed(&HIERARCHY.leaf_request(LeafShape::Obwac), &["key-usage"], |p| p.set(oid::KEY_USAGE, true, &[3, 2, 6, 0xc0]));
}

#[test]
fn open_finance_clients_are_companies_of_brazil() {
    let company = |change: &dyn Fn(&mut BrcacSubject, &mut Vec<DnsName>)| {
        let LeafContent::Brcac { mut subject, mut names } = content(LeafShape::Brcac) else { unreachable!() };
        change(&mut subject, &mut names);
        LeafContent::Brcac { subject, names }
    };
    let check = |reason: &str, rule: &str, change: &dyn Fn(&mut BrcacSubject, &mut Vec<DnsName>)| {
        refused(LeafShape::Brcac, reason, rule, |r| r.content = company(change));
    };
    check("businessCategory", "subject", &|s, _| s.business_category = "Bank".to_owned());
    check("check digits", "subject", &|s, _| s.cnpj = "11222333000182".to_owned());
    check("check digits", "subject", &|s, _| s.cnpj = "11.222.333/0001-81".to_owned());
    check("OFBBR-", "subject", &|s, _| s.organization_identifier = "PSDGB-FCA-1".to_owned());
    check("OFBBR-", "subject", &|s, _| s.organization_identifier = "OFBBR-".to_owned());
    check("software statement", "subject", &|s, _| s.software_statement = "a b".to_owned());
    check("1 to 128 characters", "subject", &|s, _| s.state.clear());
    check("1 to 128 characters", "subject", &|s, _| s.locality = "x".repeat(129));
    check("not one of", "common-name", &|s, _| s.common_name = DnsName::parse("c.demo.test").unwrap());
    check("not one of", "common-name", &|_, names| names.clear());
    check("no wildcard", "names", &|_, names| names.push(DnsName::parse("*.x.demo.test").unwrap()));
    // keyEncipherment is for RSA.
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519] {
        refused(LeafShape::Brcac, "only an RSA key", "key-usage", |r| r.public_key = Key::generate(algorithm).public);
    }
    changed(&HIERARCHY.leaf_request(LeafShape::Brcac), &["extended-key-usage"], |p| {
        let both = encode::sequence(&[&encode::oid(oid::SERVER_AUTH), &encode::oid(oid::CLIENT_AUTH)]);
        p.set(oid::EXTENDED_KEY_USAGE, false, &both);
    });
    // One string type for each attribute: C as a UTF8String is another name.
    changed(&HIERARCHY.leaf_request(LeafShape::Brcac), &["subject"], |p| {
        let country = [0x06, 0x03, 0x55, 0x04, 0x06, 0x13];
        let at = p.fields[5].windows(6).position(|w| w == country).unwrap();
        p.fields[5][at + 5] = 0x0c;
    });
}

#[test]
fn policies_and_missing_revocation_information() {
    let policy = |text: &str| text.parse::<const_oid::ObjectIdentifier>().unwrap();
    let (one, two) = (policy("1.3.6.1.4.1.55555.1"), policy("1.3.6.1.4.1.55555.2"));
    refused(LeafShape::Client, "stands twice", "certificate-policies", |r| r.policies = vec![one, two, one]);
    refused(LeafShape::Client, "anyPolicy", "certificate-policies", |r| r.policies = vec![oid::ANY_POLICY]);
    refused(LeafShape::Client, "more than eight", "certificate-policies", |r| {
        r.policies = (0..9).map(|i| policy(&format!("1.3.6.1.4.1.55555.{i}"))).collect();
    });
    refused(LeafShape::Ocsp, "has none", "ocsp-nocheck", |r| r.policies = vec![one]);
    let unavailable = || Revocation::NotAvailable { issuer: urls().issuer };
    refused(LeafShape::Ocsp, "ocsp-nocheck", "ocsp-nocheck", |r| r.revocation = unavailable());

    let mut request = HIERARCHY.leaf_request(LeafShape::Client);
    request.policies = vec![one, two];
    let information = |id| encode::sequence(&[&encode::oid(id)]);
    let value = |parts: &[Vec<u8>]| encode::sequence(&[&parts.concat()]);
    let rule = &["certificate-policies"][..];
    changed(&request, rule, |p| p.set(oid::CERTIFICATE_POLICIES, false, &value(&[information(two), information(one)])));
    changed(&request, rule, |p| p.set(oid::CERTIFICATE_POLICIES, false, &value(&[information(one)])));
    changed(&request, rule, |p| p.set(oid::CERTIFICATE_POLICIES, true, &value(&[information(one), information(two)])));
    changed(&request, rule, |p| {
        // A user notice without content.
        let qualifier = encode::sequence(&[&encode::oid(policy("1.3.6.1.5.5.7.2.2")), &[0x30, 0]]);
        let qualified = encode::sequence(&[&encode::oid(one), &encode::sequence(&[&qualifier])]);
        p.set(oid::CERTIFICATE_POLICIES, false, &value(&[qualified, information(two)]));
    });

    // RFC 9608 §3: never beside a distribution point or an OCSP URL.
    let checked = Pieces::of(&build_leaf(&HIERARCHY.leaf_request(LeafShape::Client), &HIERARCHY.issuing).unwrap());
    request.revocation = unavailable();
    changed(&request, &["no-rev-avail"], |p| p.set(oid::NO_REV_AVAIL, true, &[5, 0]));
    changed(&request, &["no-rev-avail"], |p| p.set(oid::NO_REV_AVAIL, false, &[]));
    changed(&request, &["no-rev-avail"], |p| {
        let gone = p.clone_of(oid::NO_REV_AVAIL);
        p.extensions.retain(|e| *e != gone);
    });
    let point = |p: &Pieces| p.clone_of(oid::CRL_DISTRIBUTION_POINTS);
    changed(&request, &["extension-unknown"], |p| p.extensions.push(point(&checked)));
    changed(&request, &["authority-info-access"], |p| {
        let value = checked.clone_of(oid::AUTHORITY_INFO_ACCESS);
        *p.find(oid::AUTHORITY_INFO_ACCESS) = value;
    });
}
