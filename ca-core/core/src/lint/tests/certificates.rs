//! Counter-examples to the rules about certificates, but for names.

use super::specimens::*;
use super::{Example, Object, of_extension, rules};
use crate::lint::known;
use crate::pki::encode::{bits, octets, oid as id, sequence, tlv};
use crate::pki::oid;

pub(super) fn good() -> Vec<(&'static str, Certificate)> {
    vec![
        ("root", root()),
        ("issuing", issuing()),
        ("leaf", leaf()),
        ("short-lived", short_lived(&KEYS.leaf.spki)),
        ("short-lived, Ed25519", short_lived(&KEYS.ed25519)),
        ("short-lived, RSA", short_lived(&KEYS.rsa)),
        ("short-lived, ML-DSA-65", short_lived(&ml_dsa(1952))),
        ("responder", responder()),
    ]
}

/// A key of ML-DSA-65's with so many octets.
fn ml_dsa(length: usize) -> Vec<u8> {
    sequence(&[&sequence(&[&id(known::ML_DSA_65)]), &bits(&vec![7; length])])
}

/// P-256's algorithm with these octets of a key.
fn ec(octets: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(&[&id(oid::EC_PUBLIC_KEY), &id(oid::SECP256R1)]), &bits(octets)])
}

fn unknown(critical: bool) -> Ext {
    (policy("1.3.6.1.4.1.55555.9"), critical, vec![5, 0])
}

pub(super) fn examples() -> Vec<Example> {
    let mut all = structure();
    all.extend(keys());
    all.extend(purpose());
    all.extend(extensions_of_leaves());
    all.extend(extensions_of_cas());
    all.extend(chains());
    all.extend(generic());
    all
}

/// Of each rule on an extension's syntax or criticality, in the first specimen that has the extension.
fn generic() -> Vec<Example> {
    let mut found = Vec::new();
    for rule in rules() {
        let Some((Object::Certificate, kind, critical)) = of_extension(rule) else { continue };
        let specimens = [leaf(), issuing(), responder(), short_lived(&KEYS.leaf.spki)];
        let specimen = specimens.into_iter().find(|s| s.extensions.iter().any(|(k, ..)| *k == kind)).unwrap();
        let also: &[_] = if rule.name == "authority-key-identifier-syntax" { &["authority-key-identifier-present"] } else { &[] };
        found.push(Example::of(rule.name, also, specimen, |c| match critical {
            Some(critical) => c.extension(kind).1 = critical,
            None => c.set(kind, vec![1, 1, 0xff]),
        }));
    }
    found
}

fn structure() -> Vec<Example> {
    let algorithm = |kind| sequence(&[&id(kind)]);
    let filler = |length: usize| [&[0][..], &vec![0x5a; length]].concat();
    vec![
        Example::of("der-form", &[], leaf(), |c| c.fields[5] = vec![0x30, 3, 0x31, 0x81, 0]),
        Example::of("der-depth", &["extension-unknown"], leaf(), |c| {
            let deep = (0..40).fold(vec![5, 0], |inner, _| tlv(0x30, &inner));
            c.add(unknown(false).0, false, deep);
        }),
        Example::of("certificate-size", &[], leaf(), |c| c.add(unknown(false).0, false, octets(&vec![0; 65_536]))),
        Example::of("certificate-structure", &[], leaf(), |c| drop(c.fields.remove(2))),
        Example::of("issuer-structure", &[], leaf(), |c| c.issuers = vec![vec![0x30, 0]]),
        Example::of("issuer-structure", &[], leaf(), |c| c.issuers.extend(std::iter::repeat_n(c.issuers[1].clone(), 16))),
        Example::of("extensions-empty", &["key-usage-missing", "subject-key-identifier-present"], root(), |c| {
            c.raw_extensions = Some(vec![0x30, 0])
        }),
        Example::of("extension-default", &[], leaf(), |c| {
            let value = c.extension(oid::EXTENDED_KEY_USAGE).2.clone();
            c.remove(oid::EXTENDED_KEY_USAGE);
            let written = sequence(&[&id(oid::EXTENDED_KEY_USAGE), &[1, 1, 0], &octets(&value)]);
            let content = extensions(&c.extensions);
            let content = crate::pki::walk::Walker::new(&content).next().unwrap().content.to_vec();
            c.raw_extensions = Some(tlv(0x30, &[content, written].concat()));
        }),
        Example::of("extension-repeated", &[], leaf(), |c| c.extensions.push(c.extensions[1].clone())),
        Example::of("extension-unknown-critical", &[], leaf(), |c| c.extensions.push(unknown(true))),
        Example::of("extension-unknown", &[], leaf(), |c| c.extensions.push(unknown(false))),
        // What is known elsewhere is not known here.
        Example::of("extension-unknown-critical", &[], leaf(), |c| c.add(oid::CRL_NUMBER, true, number(1))),
        Example::of("version", &[], leaf(), |c| c.fields[0] = vec![0xa0, 3, 2, 1, 1]),
        Example::of("version", &[], leaf(), |c| c.fields[0] = vec![0xa0, 3, 2, 1, 0]),
        Example::of("version", &[], root(), |c| {
            c.fields[0] = Vec::new();
            c.raw_extensions = Some(Vec::new());
        }),
        Example::of("extensions-present", &[], root(), |c| c.raw_extensions = Some(Vec::new())),
        Example::of("serial-positive", &[], leaf(), |c| c.fields[1] = tlv(2, &[0x80; 16])),
        Example::of("serial-positive", &["serial-entropy"], leaf(), |c| c.fields[1] = tlv(2, &[0])),
        Example::of("serial-length", &[], leaf(), |c| c.fields[1] = tlv(2, &[1; 21])),
        Example::of("serial-entropy", &[], leaf(), |c| c.fields[1] = tlv(2, &[1; 7])),
        Example::of("unique-identifiers", &[], leaf(), |c| c.fields.push(vec![0x81, 2, 0, 1])),
        Example::of("validity-form", &[], leaf(), |c| c.fields[4] = validity("261124030000Z", "20261224030000Z")),
        Example::of("validity-order", &[], leaf(), |c| c.fields[4] = validity("261124030000Z", "251224030000Z")),
        Example::of("signature-algorithms-equal", &["signature-verifies"], leaf(), |c| {
            c.outer_algorithm = Some(algorithm(oid::ECDSA_WITH_SHA384));
        }),
        Example::of("signature-algorithm-unknown", &["signature-not-judged"], leaf(), |c| c.fields[2] = algorithm(policy("1.2.3"))),
        Example::of("signature-algorithm-parameters", &["signature-not-judged"], leaf(), |c| {
            c.fields[2] = sequence(&[&id(oid::ECDSA_WITH_SHA256), &[5, 0]]);
        }),
        Example::of("signature-algorithm-broken", &["signature-not-judged"], leaf(), |c| c.fields[2] = algorithm(known::ECDSA_WITH_SHA1)),
        Example::of("signature-value", &["signature-verifies"], leaf(), |c| c.signature = Some(filler(64))),
        Example::of("signature-value", &["signature-verifies"], leaf(), |c| c.signature = Some(vec![1, 0])),
        Example::of("signature-value", &["signature-algorithm-of-issuer", "signature-verifies"], leaf(), |c| {
            c.fields[2] = algorithm(oid::ED25519);
            c.signature = Some(filler(63));
        }),
    ]
}

fn keys() -> Vec<Example> {
    let spki = |spki: Vec<u8>| move |c: &mut Certificate| c.fields[6] = spki;
    let leaf = || short_lived(&KEYS.leaf.spki);
    let rsa_like = |parameters: &[u8]| sequence(&[&sequence(&[&id(oid::RSA_ENCRYPTION), parameters]), &bits(&[0x30, 6, 2, 1, 3, 2, 1, 3])]);
    vec![
        Example::of("key-structure", &[], leaf(), spki(sequence(&[&sequence(&[&id(oid::ED25519)])]))),
        Example::of("key-unknown", &[], leaf(), spki(sequence(&[&sequence(&[&id(policy("1.2.3"))]), &bits(&[1])]))),
        Example::of("key-parameters", &["key-rsa-exponent-small", "key-rsa-size"], leaf(), spki(rsa_like(&[]))),
        Example::of("key-parameters", &[], leaf(), spki(sequence(&[&sequence(&[&id(oid::ED25519), &[5, 0]]), &bits(&[1; 32])]))),
        Example::of(
            "key-parameters",
            &["key-unknown"],
            leaf(),
            spki(sequence(&[&sequence(&[&id(oid::EC_PUBLIC_KEY), &[5, 0]]), &bits(&[4; 65])])),
        ),
        Example::of("key-bits", &[], leaf(), spki(ec(&[4; 64]))),
        Example::of("key-bits", &[], leaf(), spki(ec(&[0]))),
        Example::of("key-bits", &[], leaf(), spki(ml_dsa(1953))),
        Example::of("key-bits", &[], leaf(), spki(sequence(&[&sequence(&[&id(oid::RSA_ENCRYPTION), &[5, 0]]), &bits(&[0x30, 0])]))),
        Example::of("key-point-compressed", &[], leaf(), spki(ec(&[2; 33]))),
        Example::of("key-rsa-size", &[], leaf(), spki(rsa(&[0xff; 255], &[1, 0, 1]))),
        Example::of("key-rsa-exponent", &[], leaf(), spki(rsa(&[0xff; 256], &[1, 0, 0]))),
        Example::of("key-rsa-exponent", &["key-rsa-exponent-small"], leaf(), spki(rsa(&[0xff; 256], &[1]))),
        Example::of("key-rsa-exponent-small", &[], leaf(), spki(rsa(&[0xff; 256], &[3]))),
    ]
}

fn purpose() -> Vec<Example> {
    let any = known::ANY_EXTENDED_KEY_USAGE;
    vec![
        Example::of("basic-constraints-critical", &[], issuing(), |c| c.extension(oid::BASIC_CONSTRAINTS).1 = false),
        // FALSE is the default.
        Example::of("basic-constraints-syntax", &[], leaf(), |c| c.set(oid::BASIC_CONSTRAINTS, vec![0x30, 3, 1, 1, 0])),
        Example::of("path-length-of-leaf", &[], leaf(), |c| c.set(oid::BASIC_CONSTRAINTS, vec![0x30, 3, 2, 1, 0])),
        Example::of("key-usage-syntax", &[], leaf(), |c| c.set(oid::KEY_USAGE, usage(0, &[0x80]))),
        Example::of("key-usage-syntax", &[], leaf(), |c| c.set(oid::KEY_USAGE, usage(0, &[]))),
        Example::of("key-usage-syntax", &[], leaf(), |c| c.set(oid::KEY_USAGE, usage(6, &[0x80, 0x40]))),
        Example::of("key-usage-of-ca", &[], root(), |c| c.remove(oid::KEY_USAGE)),
        Example::of("key-usage-of-ca", &[], root(), |c| c.set(oid::KEY_USAGE, usage(1, &[0x02]))),
        Example::of("key-usage-cert-sign", &[], leaf(), |c| c.set(oid::KEY_USAGE, usage(2, &[0x84]))),
        Example::of("key-usage-only", &[], leaf(), |c| c.set(oid::KEY_USAGE, usage(0, &[0x81]))),
        Example::of("key-usage-of-key", &[], leaf(), |c| c.set(oid::KEY_USAGE, usage(5, &[0xa0]))),
        Example::of("key-usage-of-key", &[], short_lived(&KEYS.ed25519), |c| c.set(oid::KEY_USAGE, usage(3, &[0x88]))),
        Example::of("key-usage-of-key", &[], short_lived(&KEYS.rsa), |c| c.set(oid::KEY_USAGE, usage(3, &[0x88]))),
        Example::of("key-usage-of-key", &[], short_lived(&ml_dsa(1952)), |c| c.set(oid::KEY_USAGE, usage(5, &[0xa0]))),
        Example::of("key-usage-missing", &[], leaf(), |c| c.remove(oid::KEY_USAGE)),
        Example::of("extended-key-usage-syntax", &[], leaf(), |c| c.set(oid::EXTENDED_KEY_USAGE, vec![0x30, 0])),
        Example::of("extended-key-usage-repeated", &[], leaf(), |c| {
            c.set(oid::EXTENDED_KEY_USAGE, purposes(&[oid::CLIENT_AUTH, oid::CLIENT_AUTH]));
        }),
        Example::of("extended-key-usage-any", &[], leaf(), |c| c.set(oid::EXTENDED_KEY_USAGE, purposes(&[any]))),
        Example::of("extended-key-usage-ocsp-ca", &[], root(), |c| c.add(oid::EXTENDED_KEY_USAGE, false, purposes(&[oid::OCSP_SIGNING]))),
        Example::of("extended-key-usage-ocsp-alone", &[], responder(), |c| {
            c.set(oid::EXTENDED_KEY_USAGE, purposes(&[oid::OCSP_SIGNING, oid::CLIENT_AUTH]));
        }),
        Example::of("extended-key-usage-consistent", &[], leaf(), |c| c.set(oid::KEY_USAGE, usage(6, &[0x40]))),
    ]
}

fn extensions_of_leaves() -> Vec<Example> {
    let access = |method, location: &[u8]| sequence(&[&sequence(&[&id(method), location])]);
    vec![
        Example::of("authority-key-identifier-present", &[], leaf(), |c| c.remove(oid::AUTHORITY_KEY_IDENTIFIER)),
        Example::of("authority-key-identifier-syntax", &["authority-key-identifier-present"], leaf(), |c| {
            // A serial number without its issuer.
            c.set(oid::AUTHORITY_KEY_IDENTIFIER, sequence(&[&[0x80, 1, 1], &[0x82, 1, 1]]));
        }),
        Example::of("subject-key-identifier-syntax", &[], leaf(), |c| c.set(oid::SUBJECT_KEY_IDENTIFIER, vec![4, 0])),
        Example::of("subject-key-identifier-of-ca", &[], root(), |c| c.remove(oid::SUBJECT_KEY_IDENTIFIER)),
        Example::of("subject-key-identifier-present", &[], leaf(), |c| c.remove(oid::SUBJECT_KEY_IDENTIFIER)),
        Example::of("distribution-points-syntax", &[], leaf(), |c| c.set(oid::CRL_DISTRIBUTION_POINTS, sequence(&[&[0x30, 0]]))),
        // onlySomeReasons alone says nothing of a place.
        Example::of("distribution-points-syntax", &[], leaf(), |c| {
            c.set(oid::CRL_DISTRIBUTION_POINTS, sequence(&[&sequence(&[&tlv(0x81, &[6, 0x40])])]));
        }),
        Example::of("distribution-points-uri", &[], leaf(), |c| c.set(oid::CRL_DISTRIBUTION_POINTS, points(&uri("/1.crl")))),
        Example::of("authority-information-uri", &[], leaf(), |c| {
            c.set(oid::AUTHORITY_INFO_ACCESS, access(oid::ACCESS_OCSP, &tlv(0x82, b"pki.bank.test")));
        }),
        Example::of("status-over-tls", &[], leaf(), |c| c.set(oid::CRL_DISTRIBUTION_POINTS, points(&uri("https://pki.bank.test/1.crl")))),
        Example::of("status-over-tls", &[], leaf(), |c| {
            c.set(oid::AUTHORITY_INFO_ACCESS, access(oid::ACCESS_OCSP, &uri("HTTPS://pki.bank.test/ocsp")));
        }),
        Example::of("no-rev-avail-contradicted", &[], short_lived(&KEYS.leaf.spki), |c| {
            c.add(oid::AUTHORITY_INFO_ACCESS, false, access(oid::ACCESS_OCSP, &uri("http://pki.bank.test/ocsp")));
        }),
        Example::of("no-rev-avail-contradicted", &[], leaf(), |c| c.add(known::NO_REV_AVAIL, false, vec![5, 0])),
        Example::of("no-rev-avail-of-ca", &[], root(), |c| c.add(known::NO_REV_AVAIL, false, vec![5, 0])),
        Example::of("ocsp-nocheck-of-responder", &[], leaf(), |c| c.add(oid::OCSP_NOCHECK, false, vec![5, 0])),
        Example::of("ocsp-responder-status", &[], responder(), |c| c.remove(oid::OCSP_NOCHECK)),
        Example::of("qc-statements-repeated", &[], leaf(), |c| {
            let value = c.extension(known::QC_STATEMENTS).2.clone();
            let content = crate::pki::walk::Walker::new(&value).next().unwrap().content;
            c.set(known::QC_STATEMENTS, tlv(0x30, &[content, content].concat()));
        }),
        Example::of("qc-type", &[], leaf(), |c| {
            let statement = sequence(&[&id(known::QC_TYPE), &sequence(&[&id(policy("0.4.0.1862.1.6.4"))])]);
            c.set(known::QC_STATEMENTS, sequence(&[&statement]));
        }),
        Example::of("psd2-statement", &[], leaf(), |c| {
            let statement = sequence(&[&id(known::PSD2), &sequence(&[&[0x30, 0], &tlv(UTF8, b"FCA"), &tlv(UTF8, b"GB-FCA")])]);
            c.set(known::QC_STATEMENTS, sequence(&[&statement]));
        }),
        Example::of("qc-compliance", &[], leaf(), |c| c.set(known::QC_STATEMENTS, sequence(&[&sequence(&[&id(known::QC_COMPLIANCE)])]))),
    ]
}

fn extensions_of_cas() -> Vec<Example> {
    let one = || id(policy("1.3.6.1.4.1.55555.1"));
    let any = || id(known::ANY_POLICY);
    let qualified = |policy: Vec<u8>, kind: Vec<u8>, qualifier: Vec<u8>| {
        sequence(&[&sequence(&[&policy, &sequence(&[&sequence(&[&kind, &qualifier])])])])
    };
    let notice = |content: Vec<u8>| qualified(one(), id(known::USER_NOTICE), sequence(&[&content]));
    let constraints = |base: Vec<u8>| sequence(&[&tlv(0xa0, &sequence(&[&base]))]);
    let policies = known::CERTIFICATE_POLICIES;
    let mut all = vec![
        Example::of("policies-repeated", &[], leaf(), |c| c.set(policies, sequence(&[&sequence(&[&one()]), &sequence(&[&one()])]))),
        Example::of("policies-qualifier", &[], issuing(), |c| c.set(policies, qualified(any(), id(policy("1.2.3")), vec![5, 0]))),
        Example::of("policies-qualifier", &[], leaf(), |c| c.set(policies, qualified(one(), id(known::CPS), tlv(UTF8, b"http://a")))),
        Example::of("policies-notice-text", &[], leaf(), |c| c.set(policies, notice(tlv(IA5, b"a")))),
        Example::of("policies-notice-text", &[], leaf(), |c| c.set(policies, notice(tlv(UTF8, &[b'a'; 201])))),
        Example::of("policies-notice-reference", &[], leaf(), |c| {
            c.set(policies, notice(sequence(&[&tlv(UTF8, b"a"), &sequence(&[&[2, 1, 1]])])));
        }),
        Example::of("policy-any-in-leaf", &[], leaf(), |c| c.set(policies, sequence(&[&sequence(&[&any()])]))),
        Example::of("policy-mappings-any", &["policy-mappings-asserted"], issuing(), |c| {
            c.set(known::POLICY_MAPPINGS, sequence(&[&sequence(&[&any(), &one()])]));
        }),
        Example::of("policy-mappings-asserted", &[], issuing(), |c| {
            c.set(known::POLICY_MAPPINGS, sequence(&[&sequence(&[&id(policy("1.2.3")), &one()])]));
        }),
        Example::of("policy-constraints-empty", &[], issuing(), |c| c.set(known::POLICY_CONSTRAINTS, vec![0x30, 0])),
        Example::of("policy-mappings-of-ca", &[], leaf(), |c| {
            c.add(known::POLICY_MAPPINGS, true, sequence(&[&sequence(&[&one(), &id(policy("1.2.3"))])]));
        }),
        Example::of("policy-constraints-of-ca", &[], leaf(), |c| c.add(known::POLICY_CONSTRAINTS, true, vec![0x30, 3, 0x80, 1, 0])),
        Example::of("inhibit-any-policy-of-ca", &[], leaf(), |c| c.add(known::INHIBIT_ANY_POLICY, true, vec![2, 1, 0])),
        Example::of("name-constraints-of-ca", &[], leaf(), |c| c.add(oid::NAME_CONSTRAINTS, true, constraints(tlv(0x82, b"a")))),
        Example::of("name-constraints-syntax", &[], issuing(), |c| c.set(oid::NAME_CONSTRAINTS, vec![0x30, 0])),
        Example::of("name-constraints-syntax", &[], issuing(), |c| c.set(oid::NAME_CONSTRAINTS, vec![0x30, 2, 0xa0, 0])),
        Example::of("name-constraints-range", &[], issuing(), |c| {
            c.set(oid::NAME_CONSTRAINTS, constraints([tlv(0x82, b"a"), vec![0x80, 1, 0]].concat()));
        }),
        Example::of("name-constraints-range", &[], issuing(), |c| {
            c.set(oid::NAME_CONSTRAINTS, constraints([tlv(0x82, b"a"), vec![0x81, 1, 5]].concat()));
        }),
    ];
    for (rule, base) in [
        ("name-constraints-address", tlv(0x87, &[10, 0, 0, 0])),
        ("name-constraints-address", tlv(0x87, &[10, 0, 0, 0, 255, 0, 255, 0])),
        ("name-constraints-address", tlv(0x87, &[10, 0, 0, 0, 255, 0xf1, 0, 0])),
        ("name-constraints-address-bits", tlv(0x87, &[10, 0, 0, 1, 255, 0, 0, 0])),
        ("name-constraints-dns", tlv(0x82, b".bank.test")),
        ("name-constraints-dns", tlv(0x82, b"*.bank.test")),
        ("name-constraints-host", uri("http://bank.test")),
        ("name-constraints-host", tlv(0x81, b"a@")),
        ("name-constraints-directory", tlv(0xa4, &[0x30, 2, 5, 0])),
        ("name-constraints-form", tlv(0x88, &[0x2a, 3])),
        ("name-constraints-form", tlv(0xa0, &id(policy("1.2.3")))),
    ] {
        all.push(Example::of(rule, &[], issuing(), |c| c.set(oid::NAME_CONSTRAINTS, constraints(base))));
    }
    all
}

fn as_ca(c: &mut Certificate) {
    c.set(oid::BASIC_CONSTRAINTS, vec![0x30, 3, 1, 1, 0xff]);
    c.set(oid::KEY_USAGE, usage(1, &[0x06]));
}

fn chains() -> Vec<Example> {
    // Another CA above, with one thing changed.
    let under = |change: &dyn Fn(&mut Certificate)| {
        let mut ca = issuing();
        change(&mut ca);
        let mut leaf = leaf();
        leaf.issuers[0] = ca.der();
        leaf
    };
    let constrained = |name: Vec<u8>| move |c: &mut Certificate| c.names_with(name);
    let same = |_: &mut Certificate| {};
    vec![
        Example::of("issuer-name-chains", &[], leaf(), |c| c.fields[3] = root_name()),
        Example::of("issuer-name-chains", &[], leaf(), |c| {
            // The same text in another string type.
            c.fields[3] = name(&[(oid::ORGANIZATION, UTF8, "Démo, Ltd"), (oid::COMMON_NAME, PRINTABLE, "Issuing")]);
        }),
        Example::of("issuer-key-identifier", &[], leaf(), |c| c.set(oid::AUTHORITY_KEY_IDENTIFIER, aki(&[1; 20]).2)),
        Example::of("issuer-key-identifier", &[], leaf(), |c| {
            let named = tlv(0xa1, &tlv(0xa4, &issuing_name()));
            c.set(oid::AUTHORITY_KEY_IDENTIFIER, sequence(&[&tlv(0x80, &KEYS.issuing.hash()), &named, &tlv(0x82, &[0x4d; 16])]));
        }),
        Example::of("issuer-is-ca", &[], under(&|c| c.remove(oid::BASIC_CONSTRAINTS)), same),
        Example::of("issuer-key-usage", &[], under(&|c| c.set(oid::KEY_USAGE, usage(1, &[0x02]))), same),
        // A CA below one whose pathLenConstraint is 0, and a leaf below that.
        Example::of("ca-below-path-length", &[], leaf(), as_ca),
        Example::of("issuer-path-length", &[], leaf(), |c| {
            let mut between = leaf();
            as_ca(&mut between);
            between.set(oid::SUBJECT_KEY_IDENTIFIER, ski(&KEYS.issuing.hash()).2);
            between.fields[6] = KEYS.issuing.spki.clone();
            c.fields[3] = between.fields[5].clone();
            c.issuers.insert(0, between.der());
        }),
        Example::of("issuer-name-constraints", &[], leaf(), constrained(tlv(0x82, b"a.other.test"))),
        Example::of("issuer-name-constraints", &[], leaf(), constrained(tlv(0x87, &[11, 0, 0, 1]))),
        Example::of("issuer-name-constraints", &[], leaf(), constrained(tlv(0x87, &[1; 16]))),
        Example::of("issuer-name-constraints", &[], leaf(), constrained(tlv(0x81, b"a@other.test"))),
        Example::of("issuer-name-constraints", &[], leaf(), constrained(uri("urn:a:b"))),
        Example::of("issuer-name-constraints", &[], leaf(), constrained(uri("spiffe://bank.test/a"))),
        Example::of("issuer-name-constraints", &[], leaf(), |c| c.fields[5] = name(&[(oid::COUNTRY, PRINTABLE, "FR")])),
        Example::of("issuer-name-constraints", &["subject-email"], leaf(), |c| {
            let others = [tlv(0x82, b"a.bank.test")];
            c.set(oid::SUBJECT_ALT_NAME, list(&others));
            c.subject_with((known::EMAIL_ADDRESS, IA5, "a@other.test"));
        }),
        // More than is compared: refused, not skipped.
        Example::of(
            "issuer-name-constraints",
            &["alternative-name-repeated"],
            under(&|c| {
                let many = tlv(0x87, &[0; 8]);
                let all: Vec<_> = std::iter::repeat_n(subtree(many), 3000).collect();
                c.set(oid::NAME_CONSTRAINTS, sequence(&[&tlv(0xa0, &all.concat())]));
            }),
            |c| c.set(oid::SUBJECT_ALT_NAME, list(&vec![tlv(0x82, b"a.bank.test"); 100])),
        ),
        Example::of("issuer-validity", &[], leaf(), |c| c.fields[4] = validity("261124030000Z", "20501124030001Z")),
        Example::of("issuer-validity", &[], leaf(), |c| c.fields[4] = validity("261124025959Z", "271124030001Z")),
        Example::of("issuer-purposes", &[], under(&|c| c.add(oid::EXTENDED_KEY_USAGE, false, purposes(&[oid::CLIENT_AUTH]))), same),
        Example::of("issuer-own-key", &[], leaf(), |c| c.fields[6] = KEYS.issuing.spki.clone()),
        Example::of("signature-algorithm-of-issuer", &["signature-verifies"], leaf(), |c| {
            c.fields[2] = RSA_SIGNATURE.to_vec();
            c.signature = Some([&[0][..], &[0x5a; 256]].concat());
        }),
        Example::of("signature-verifies", &[], leaf(), |c| {
            c.signature = Some([&[0][..], &KEYS.leaf.sign(&c.tbs())].concat());
        }),
        Example::of("signature-not-judged", &[], under(&|c| c.fields[6] = ec(&[2; 33])), same),
        Example::of("self-signature-verifies", &[], root(), |c| {
            c.signature = Some([&[0][..], &KEYS.leaf.sign(&c.tbs())].concat());
        }),
    ]
}
