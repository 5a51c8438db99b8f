//! Counter-examples to the rules about names: distinguished ones, alternative ones.

use const_oid::ObjectIdentifier;

use super::Example;
use super::specimens::*;
use crate::lint::known;
use crate::pki::encode::{oid as id, sequence, tlv};
use crate::pki::oid;

const TELETEX: u8 = 0x14;

pub(super) fn examples() -> Vec<Example> {
    let attribute = |rule, also, attribute| Example::of(rule, also, leaf(), move |c: &mut Certificate| c.subject_with(attribute));
    let subject = |rule, also, subject: Vec<u8>| Example::of(rule, also, leaf(), move |c: &mut Certificate| c.fields[5] = subject);
    let long = "x".repeat(65);
    let rdn = |content: &[u8]| tlv(0x30, &tlv(0x31, content));
    let cn = |text: &str| sequence(&[&id(oid::COMMON_NAME), &tlv(UTF8, text.as_bytes())]);
    let mut all = vec![
        subject("name-syntax", &[], rdn(&[])),
        subject("name-syntax", &[], rdn(&sequence(&[&id(oid::COMMON_NAME)]))),
        Example::of("issuer-name", &["issuer-name-chains"], leaf(), |c| c.fields[3] = vec![0x30, 0]),
        Example::of("subject-of-ca", &["subject-or-alternative-name"], issuing(), |c| c.fields[5] = vec![0x30, 0]),
        subject("subject-or-alternative-name", &[], vec![0x30, 0]),
        attribute("name-string-type", &[], (known::TITLE, IA5, "Dr")),
        attribute("name-string-type", &[], (known::SERIAL_NUMBER, UTF8, "1")),
        attribute("name-string-type", &[], (known::DOMAIN_COMPONENT, UTF8, "test")),
        attribute("name-string-outdated", &[], (known::TITLE, TELETEX, "Dr")),
        attribute("name-length", &[], (known::LOCALITY, UTF8, "")),
        subject("name-length", &[], rdn(&cn(&long))),
        subject("name-country", &[], name(&[(oid::COUNTRY, PRINTABLE, "gb")])),
        subject("name-country", &["name-length"], name(&[(oid::COUNTRY, PRINTABLE, "GBR")])),
        attribute("name-attribute-repeated", &[], (oid::COMMON_NAME, UTF8, "b.bank.test")),
        attribute("name-attribute-repeated", &[], (oid::ORGANIZATION, UTF8, "Bank")),
        attribute("name-whitespace", &[], (known::LOCALITY, UTF8, " London")),
        subject("name-multi-valued", &[], rdn(&[cn("a"), sequence(&[&id(oid::ORGANIZATION), &tlv(UTF8, b"B")])].concat())),
        attribute("subject-email", &[], (known::EMAIL_ADDRESS, IA5, "a@bank.test")),
        attribute("utf8-string", &[], (known::TITLE, UTF8, "\u{7}")),
        attribute("printable-string", &[], (known::TITLE, PRINTABLE, "a@b")),
        attribute("wide-string", &["name-string-outdated"], (known::TITLE, 0x1e, "abc")),
        attribute("numeric-string", &[], (policy("1.2.3"), 0x12, "1a")),
        attribute("ascii-string", &["subject-email"], (known::EMAIL_ADDRESS, IA5, "a\n@bank.test")),
        subject("der-set-order", &["name-multi-valued"], rdn(&[sequence(&[&id(oid::ORGANIZATION), &tlv(UTF8, b"B")]), cn("a")].concat())),
        Example::of("der-primitive", &["name-string-type"], leaf(), |c| {
            c.subject_with((known::TITLE, 0x2c, "\u{c}\u{1}a"));
        }),
        Example::of("utc-time", &[], leaf(), |c| c.fields[4] = sequence(&[&tlv(0x17, b"2611240300Z"), &tlv(0x17, b"261224030000Z")])),
        Example::of("generalized-time", &[], leaf(), |c| {
            c.fields[4] = sequence(&[&tlv(0x17, b"261124030000Z"), &tlv(0x18, b"20501124030000.0Z")]);
        }),
        Example::of("der-integer", &[], leaf(), |c| c.fields[1] = tlv(2, &[&[0][..], &[0x4d; 16]].concat())),
        Example::of("der-boolean", &[], leaf(), |c| {
            let all = extensions(&c.extensions);
            c.raw_extensions = Some(all);
            let raw = c.raw_extensions.as_mut().unwrap();
            let at = raw.windows(3).position(|w| w == [1, 1, 0xff]).unwrap();
            raw[at + 2] = 1;
        }),
        Example::of("der-bit-string", &["key-usage-syntax"], leaf(), |c| c.set(oid::KEY_USAGE, usage(7, &[0xc0]))),
        Example::of("der-null", &["no-rev-avail-syntax"], short_lived(&KEYS.leaf.spki), |c| c.set(known::NO_REV_AVAIL, vec![5, 1, 0])),
        Example::of("der-object-identifier", &[], leaf(), |c| c.set(oid::EXTENDED_KEY_USAGE, tlv(0x30, &tlv(6, &[0x80, 1])))),
    ];
    for (rule, also, name) in alternative() {
        all.push(Example::of(rule, also, short_lived(&KEYS.leaf.spki), |c| {
            c.issuers.clear();
            c.names_with(name);
        }));
    }
    all.push(Example::of("alternative-name-repeated", &[], leaf(), |c| c.names_with(tlv(0x82, b"a.bank.test"))));
    all.push(Example::of("subject-alternative-name-critical", &[], leaf(), |c| c.extension(oid::SUBJECT_ALT_NAME).1 = true));
    all
}

/// A rule, others that are broken with it, and the name that breaks it.
fn alternative() -> Vec<(&'static str, &'static [&'static str], Vec<u8>)> {
    let mailbox = |text: &str| {
        let kind = id(known::SMTP_UTF8_MAILBOX);
        tlv(0xa0, &[kind, tlv(0xa0, &tlv(UTF8, text.as_bytes()))].concat())
    };
    let mut all: Vec<(&'static str, &'static [&'static str], Vec<u8>)> = Vec::new();
    for text in ["", "a.bank.test.", ".bank.test", "a..test", "a_b.test", "-a.test", "a.*.test", "*a.test", "10.1.2.3", "a b", "ä.test"] {
        all.push(("dns-name", &[], tlv(0x82, text.as_bytes())));
    }
    all.push(("dns-name", &[], tlv(0x82, "a".repeat(64).as_bytes())));
    all.push(("dns-name", &["dns-name-wildcard"], tlv(0x82, b"*.")));
    all.push(("dns-name-wildcard", &[], tlv(0x82, b"*.test")));
    all.push(("dns-name-a-label", &[], tlv(0x82, b"ab--c.test")));
    all.push(("ip-address-length", &[], tlv(0x87, &[1; 8])));
    for text in ["", "a", "//host/x", "1a:b", "http:", "http://a/ b", "http://a/<", "http://a/\u{e4}"] {
        all.push(("uri-absolute", &[], uri(text)));
    }
    for text in ["http://", "http:///x", "http://a_b/", "http://[::1", "http://-a/", "ldaps:///x"] {
        all.push(("uri-host", &[], uri(text)));
    }
    for text in ["", "a", "@b.test", "a@", "a@b_c", "a b@b.test", "a.@b.test", "Name <a@b.test>", "ü@b.test"] {
        all.push(("email-address", &[], tlv(0x81, text.as_bytes())));
    }
    for text in ["a@b.test", "ü@bücher.test", "ü"] {
        all.push(("smtp-utf8-mailbox", &[], mailbox(text)));
    }
    for (kind, rule, values) in devices() {
        for (also, value) in values {
            all.push((rule, also, tlv(0xa0, &[id(kind), tlv(0xa0, &value)].concat())));
        }
    }
    all.push(("directory-name", &[], tlv(0xa4, &[0x30, 0])));
    all.push(("alternative-name-unusual", &[], tlv(0x88, &[0x2a, 3])));
    all.push(("alternative-name-unusual", &[], tlv(0xa5, &tlv(0xa1, &tlv(UTF8, b"a")))));
    all.push(("subject-alternative-name-syntax", &[], tlv(0x89, b"a")));
    all.push(("subject-alternative-name-syntax", &[], tlv(0xa0, &id(policy("1.2.3")))));
    all
}

/// Names of devices that are not of their form.
fn devices() -> [(ObjectIdentifier, &'static str, Vec<(&'static [&'static str], Vec<u8>)>); 3] {
    let (text, kind) = (tlv(UTF8, b"SN-1"), id(policy("1.2.3")));
    let none: &[&str] = &[];
    let valueless: &[&str] = &["permanent-identifier-value"];
    [
        (
            oid::PERMANENT_IDENTIFIER,
            "permanent-identifier",
            vec![
                (none, tlv(UTF8, b"SN-1")),
                (none, sequence(&[&tlv(UTF8, b"")])),
                (&["utf8-string"], sequence(&[&tlv(UTF8, &[0xff])])),
                (none, sequence(&[&text, &kind, &kind])),
                (valueless, sequence(&[&kind, &text])),
                (valueless, sequence(&[&tlv(0x16, b"SN-1")])),
            ],
        ),
        (oid::PERMANENT_IDENTIFIER, "permanent-identifier-value", vec![(none, sequence(&[])), (none, sequence(&[&kind]))]),
        (
            oid::HARDWARE_MODULE_NAME,
            "hardware-module-name",
            vec![
                (none, sequence(&[&kind])),
                (none, sequence(&[&tlv(4, b"1"), &kind])),
                (none, sequence(&[&kind, &text])),
                (none, sequence(&[&kind, &tlv(4, b"1"), &[5, 0]])),
            ],
        ),
    ]
}

/// What looks unusual and is allowed.
#[test]
fn names_that_are_allowed() {
    let allowed = [
        tlv(0x82, b"a"),
        tlv(0x82, b"A.bank.TEST"),
        tlv(0x82, b"1.bank.test"),
        tlv(0x87, &[1; 16]),
        uri("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        uri("https://u:p@a.test:8443/?q=%20#f"),
        uri("https://[2001:db8::1]:8443/"),
        uri("https://10.1.2.3/"),
        uri("ldap:///CN=a,O=b?certificateRevocationList"),
        tlv(0x81, b"\"a b\"@bank.test"),
        tlv(0x81, b"o'neil+x=y@bank.test"),
        tlv(0xa0, &[id(oid::PERMANENT_IDENTIFIER), tlv(0xa0, &sequence(&[&tlv(UTF8, b"SN-1"), &id(policy("1.2.3"))]))].concat()),
        tlv(0xa0, &[id(oid::HARDWARE_MODULE_NAME), tlv(0xa0, &sequence(&[&id(policy("1.2.3")), &tlv(4, b"SN-1")]))].concat()),
    ];
    for name in allowed {
        let example = Example::of("", &[], short_lived(&KEYS.leaf.spki), |c| {
            c.issuers.clear();
            c.names_with(name.clone());
        });
        assert_eq!(example.report.findings(), [], "{}", String::from_utf8_lossy(&name));
    }
}
