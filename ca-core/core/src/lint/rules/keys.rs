//! The subject's public key (RFC 5480, RFC 4055, RFC 8410, RFC 9881). Whether its numbers are sound is
//! [`crate::profile::check_key`]'s to say.

use super::algorithm::{Key, KeyKind};
use crate::lint::certificate::CertificateView;
use crate::lint::element::hexadecimal;
use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::known;
use crate::lint::rule::Rule;
use crate::pki::oid;

const FIELD: &str = "tbsCertificate.subjectPublicKeyInfo";

fn key<'a>(view: &CertificateView<'a>) -> Option<(Key<'a>, KeyKind)> {
    let key = Key::read(&view.public_key)?;
    let kind = key.kind()?;
    Some((key, kind))
}

fn field() -> String {
    FIELD.to_owned()
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::certificate("key-structure", "RFC 5280 §4.1.2.7", Error, "the key is a SubjectPublicKeyInfo", |view, hits| {
        hits.require(Key::read(&view.public_key).is_some(), field, || "it is none".to_owned());
    }),
    Rule::certificate("key-unknown", "RFC 5280 §4.1.2.7", Notice, "the key is of a kind whose form is judged", |view, hits| {
        if let Some(key) = Key::read(&view.public_key).filter(|k| k.kind().is_none()) {
            hits.hit(FIELD, format!("{} with the parameters {}", known::dotted(key.id), hexadecimal(key.parameters)));
        }
    }),
    Rule::certificate(
        "key-parameters",
        "RFC 4055 §1.2; RFC 5480 §2.1.1; RFC 8410 §3; RFC 9881 §4",
        Error,
        "the key's parameters are those of its kind: NULL for RSA, a named curve for EC, otherwise none",
        |view, hits| {
            let Some(key) = Key::read(&view.public_key) else { return };
            let holds = match key.kind() {
                // An RSASSA-PSS key may have its own.
                Some(KeyKind::Rsa) => key.id != oid::RSA_ENCRYPTION.as_bytes() || key.parameters == [5, 0],
                Some(KeyKind::Octets(_)) => key.parameters.is_empty(),
                Some(KeyKind::Ec(_)) => true,
                // implicitCurve is NULL, specifiedCurve a SEQUENCE.
                None => key.id != oid::EC_PUBLIC_KEY.as_bytes() || key.parameters.first() == Some(&crate::pki::walk::OID),
            };
            hits.require(holds, field, || format!("{} has the parameters {}", known::dotted(key.id), hexadecimal(key.parameters)));
        },
    ),
    Rule::certificate(
        "key-bits",
        "RFC 5480 §2.2; RFC 8017 appendix A.1.1; RFC 8410 §4; RFC 9881 §4",
        Error,
        "the key's octets have the form and the length of its kind",
        |view, hits| {
            let Some((key, kind)) = key(view) else { return };
            let holds = match (kind, key.bits) {
                (KeyKind::Rsa, _) => key.rsa().is_some(),
                (KeyKind::Ec(width), [0, 4, point @ ..]) => point.len() == 2 * width,
                (KeyKind::Ec(width), [0, 2 | 3, point @ ..]) => point.len() == width,
                (KeyKind::Octets(length), [0, octets @ ..]) => octets.len() == length,
                _ => false,
            };
            hits.require(holds, field, || format!("{} octets are no such key", key.bits.len().saturating_sub(1)));
        },
    ),
    Rule::certificate("key-point-compressed", "RFC 5480 §2.2", Warning, "a point is in uncompressed form", |view, hits| {
        let holds = !matches!(key(view), Some((Key { bits: [0, 2 | 3, ..], .. }, KeyKind::Ec(_))));
        hits.require(holds, field, || "many clients read no compressed points".to_owned());
    }),
    Rule::certificate("key-rsa-size", "BR 6.1.5", Error, "an RSA modulus has at least 2048 bits", |view, hits| {
        if let Some((modulus, _)) = key(view).and_then(|(key, _)| key.rsa()) {
            let bits = 8 * modulus.len() - modulus.first().map_or(0, |b| b.leading_zeros() as usize);
            hits.require(bits >= 2048, field, || format!("it has {bits} bits"));
        }
    }),
    Rule::certificate("key-rsa-exponent", "RFC 8017 §3.1", Error, "an RSA exponent is odd and at least 3", |view, hits| {
        if let Some((_, exponent)) = key(view).and_then(|(key, _)| key.rsa()) {
            let holds = exponent.last().is_some_and(|last| last & 1 == 1) && exponent != [1];
            hits.require(holds, field, || format!("it is {}", hexadecimal(exponent)));
        }
    }),
    Rule::certificate("key-rsa-exponent-small", "BR 6.1.6", Warning, "an RSA exponent is at least 65537", |view, hits| {
        if let Some((_, exponent)) = key(view).and_then(|(key, _)| key.rsa()) {
            hits.require(exponent.len() > 2, field, || format!("it is {}", hexadecimal(exponent)));
        }
    }),
];
