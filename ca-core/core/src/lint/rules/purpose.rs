//! What the key may be used for: basicConstraints, keyUsage, extKeyUsage.

use const_oid::ObjectIdentifier;

use super::algorithm::{Key, KeyKind};
use crate::lint::certificate::CertificateView;
use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::known;
use crate::lint::rule::{Object, Rule};
use crate::lint::values::{basic_constraints, named_bits, object_identifiers};
use crate::pki::oid;

pub(in crate::lint) const DIGITAL_SIGNATURE: u16 = 1;
const NON_REPUDIATION: u16 = 1 << 1;
const KEY_ENCIPHERMENT: u16 = 1 << 2;
const DATA_ENCIPHERMENT: u16 = 1 << 3;
const KEY_AGREEMENT: u16 = 1 << 4;
pub(in crate::lint) const KEY_CERT_SIGN: u16 = 1 << 5;
pub(in crate::lint) const CRL_SIGN: u16 = 1 << 6;
const ONLY: u16 = 1 << 7 | 1 << 8;

const SIGNING: u16 = DIGITAL_SIGNATURE | NON_REPUDIATION | KEY_CERT_SIGN | CRL_SIGN;

const BASIC: &str = "tbsCertificate.extensions.basicConstraints";
const USAGE: &str = "tbsCertificate.extensions.keyUsage";
const PURPOSE: &str = "tbsCertificate.extensions.extKeyUsage";

/// The bits that a kind of key can have.
fn possible(view: &CertificateView<'_>) -> Option<u16> {
    let key = Key::read(&view.public_key)?;
    Some(match key.kind()? {
        KeyKind::Rsa if key.id == oid::RSA_ENCRYPTION.as_bytes() => SIGNING | KEY_ENCIPHERMENT | DATA_ENCIPHERMENT,
        KeyKind::Ec(_) => SIGNING | KEY_AGREEMENT | ONLY,
        KeyKind::Rsa | KeyKind::Octets(_) => SIGNING,
    })
}

/// The bits of which a purpose wants at least one (RFC 5280 §4.2.1.12).
const CONSISTENT: &[(ObjectIdentifier, &str, u16)] = &[
    (oid::SERVER_AUTH, "serverAuth", DIGITAL_SIGNATURE | KEY_ENCIPHERMENT | KEY_AGREEMENT),
    (oid::CLIENT_AUTH, "clientAuth", DIGITAL_SIGNATURE | KEY_AGREEMENT),
    (known::CODE_SIGNING, "codeSigning", DIGITAL_SIGNATURE),
    (known::EMAIL_PROTECTION, "emailProtection", DIGITAL_SIGNATURE | NON_REPUDIATION | KEY_ENCIPHERMENT | KEY_AGREEMENT),
    (known::TIME_STAMPING, "timeStamping", DIGITAL_SIGNATURE | NON_REPUDIATION),
    (oid::OCSP_SIGNING, "OCSPSigning", DIGITAL_SIGNATURE | NON_REPUDIATION),
];

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::syntax(
        "basic-constraints-syntax",
        "RFC 5280 §4.2.1.9",
        "basicConstraints is a BasicConstraints whose defaults are left out",
        Object::Certificate,
        oid::BASIC_CONSTRAINTS,
        |value| basic_constraints(value).map(|_| ()),
    ),
    Rule::certificate("basic-constraints-critical", "RFC 5280 §4.2.1.9", Error, "a CA's basicConstraints are critical", |view, hits| {
        let critical = view.extension(oid::BASIC_CONSTRAINTS).is_none_or(|e| e.critical);
        hits.require(critical || !view.is_ca(), || BASIC.to_owned(), || "cA is true, and the extension is not critical".to_owned());
    }),
    Rule::certificate(
        "path-length-of-leaf",
        "RFC 5280 §4.2.1.9",
        Error,
        "only where cA is true there is a pathLenConstraint",
        |view, hits| {
            let holds = view.basic_constraints().is_none_or(|b| b.ca || b.path_len.is_none());
            hits.require(holds, || BASIC.to_owned(), || "it has a pathLenConstraint, and cA is false".to_owned());
        },
    ),
    Rule::syntax(
        "key-usage-syntax",
        "RFC 5280 §4.2.1.3",
        "keyUsage is a BIT STRING of 9 named bits at most, one of them set, without trailing zeros (X.690 §11.2.2)",
        Object::Certificate,
        oid::KEY_USAGE,
        |value| named_bits(value).map(|_| ()),
    ),
    Rule::critical("key-usage-critical", "RFC 5280 §4.2.1.3", Warning, "keyUsage is critical", Object::Certificate, (oid::KEY_USAGE, true)),
    Rule::certificate("key-usage-of-ca", "RFC 5280 §4.2.1.3, §4.2.1.9", Error, "a CA has a keyUsage with keyCertSign", |view, hits| {
        let usage = view.key_usage();
        let holds = !view.is_ca() || usage.is_some_and(|u| u & KEY_CERT_SIGN != 0);
        hits.require(
            holds,
            || USAGE.to_owned(),
            || {
                let what = if usage.is_some() { "keyCertSign is not set" } else { "there is none" };
                format!("cA is true, and {what}")
            },
        );
    }),
    Rule::certificate("key-usage-cert-sign", "RFC 5280 §4.2.1.3", Error, "only a CA has keyCertSign", |view, hits| {
        let holds = view.is_ca() || view.key_usage().is_none_or(|u| u & KEY_CERT_SIGN == 0);
        hits.require(holds, || USAGE.to_owned(), || "keyCertSign is set, and cA is not true".to_owned());
    }),
    Rule::certificate("key-usage-only", "RFC 5280 §4.2.1.3", Error, "encipherOnly and decipherOnly go with keyAgreement", |view, hits| {
        let holds = view.key_usage().is_none_or(|u| u & ONLY == 0 || u & KEY_AGREEMENT != 0);
        hits.require(holds, || USAGE.to_owned(), || "one is set without keyAgreement".to_owned());
    }),
    Rule::certificate(
        "key-usage-of-key",
        "RFC 4055 §1.2; RFC 8813 §3; RFC 9295 §3; RFC 9881 §5",
        Error,
        "keyUsage has only what the kind of key can do",
        |view, hits| {
            if let (Some(possible), Some(usage)) = (possible(view), view.key_usage()) {
                hits.require(
                    usage & !possible == 0,
                    || USAGE.to_owned(),
                    || format!("the bits {} are set, which a key of this kind can't serve", bit_list(usage & !possible)),
                );
            }
        },
    ),
    Rule::certificate("key-usage-missing", "RFC 5280 §4.2.1.3", Notice, "there is a keyUsage", |view, hits| {
        let holds = view.extension(oid::KEY_USAGE).is_some() || view.is_ca() || !view.has_extensions;
        hits.require(holds, || USAGE.to_owned(), || "without one the key may be used for anything".to_owned());
    }),
    Rule::syntax(
        "extended-key-usage-syntax",
        "RFC 5280 §4.2.1.12",
        "extKeyUsage is a list of at least one purpose",
        Object::Certificate,
        oid::EXTENDED_KEY_USAGE,
        |value| object_identifiers(value).map(|_| ()),
    ),
    Rule::certificate("extended-key-usage-repeated", "RFC 5280 §4.2.1.12", Warning, "each purpose stands once", |view, hits| {
        let purposes = view.value(oid::EXTENDED_KEY_USAGE, object_identifiers).unwrap_or_default();
        let count = purposes.len();
        let different: std::collections::BTreeSet<_> = purposes.into_iter().collect();
        hits.require(different.len() == count, || PURPOSE.to_owned(), || "a purpose stands twice".to_owned());
    }),
    Rule::certificate(
        "extended-key-usage-any",
        "RFC 5280 §4.2.1.12; profiles",
        Warning,
        "no certificate has anyExtendedKeyUsage",
        |view, hits| {
            let holds = !view.has_purpose(known::ANY_EXTENDED_KEY_USAGE);
            hits.require(holds, || PURPOSE.to_owned(), || "anyExtendedKeyUsage stands there".to_owned());
        },
    ),
    Rule::certificate("extended-key-usage-ocsp-ca", "lesson 21", Error, "no CA certificate has OCSPSigning", |view, hits| {
        let holds = !(view.is_ca() && view.has_purpose(oid::OCSP_SIGNING));
        hits.require(
            holds,
            || PURPOSE.to_owned(),
            || "cA is true, and OCSPSigning stands there: its key could answer for its issuer".to_owned(),
        );
    }),
    Rule::certificate(
        "extended-key-usage-ocsp-alone",
        "RFC 6960 §4.2.2.2; profiles",
        Warning,
        "OCSPSigning stands alone",
        |view, hits| {
            let purposes = view.value(oid::EXTENDED_KEY_USAGE, object_identifiers).unwrap_or_default();
            let holds = purposes.len() < 2 || !purposes.contains(&oid::OCSP_SIGNING.as_bytes());
            hits.require(holds, || PURPOSE.to_owned(), || "other purposes stand beside it".to_owned());
        },
    ),
    Rule::certificate(
        "extended-key-usage-consistent",
        "RFC 5280 §4.2.1.12",
        Error,
        "for each purpose keyUsage has a bit that serves it, where the certificate is no CA's",
        |view, hits| {
            let Some(usage) = view.key_usage().filter(|_| !view.is_ca()) else { return };
            let purposes = view.value(oid::EXTENDED_KEY_USAGE, object_identifiers).unwrap_or_default();
            for (_, name, bits) in CONSISTENT.iter().filter(|(id, ..)| purposes.contains(&id.as_bytes())) {
                hits.require(
                    usage & bits != 0,
                    || PURPOSE.to_owned(),
                    || format!("keyUsage has none of the bits {}, which {name} wants", bit_list(*bits)),
                );
            }
        },
    ),
];

fn bit_list(bits: u16) -> String {
    let set: Vec<_> = (0..9).filter(|i| bits & 1 << i != 0).map(|i: u16| i.to_string()).collect();
    set.join(", ")
}
