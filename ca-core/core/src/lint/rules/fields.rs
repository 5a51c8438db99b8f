//! The fields before the extensions (RFC 5280 §4.1), and the signature around them.

use super::algorithm::{self, Parameters};
use crate::lint::certificate::CertificateView;
use crate::lint::element::hexadecimal;
use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::known;
use crate::lint::rule::{Hits, Rule};
use crate::pki::Timestamp;
use crate::pki::walk::{GENERALIZED_TIME, INTEGER, Tlv, UTC_TIME, read_time};

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::certificate(
        "version",
        "RFC 5280 §4.1.2.1",
        Error,
        "the version is 3 (the value 2) where there are extensions, and there are",
        |view, hits| {
            let detail = match view.version {
                None => "it is 1, the default: a certificate without extensions names neither its use nor its issuer's key",
                Some([INTEGER, 1, 0]) => "version 1 is the default, and written out (X.690 §11.5)",
                Some([INTEGER, 1, 2]) => return,
                Some(_) => "it is not 3",
            };
            hits.hit("tbsCertificate.version", detail);
        },
    ),
    Rule::certificate("extensions-present", "RFC 5280 §4.1.2.9", Error, "a certificate of version 3 has extensions", |view, hits| {
        let holds = view.has_extensions || view.version != Some(&[INTEGER, 1, 2]);
        hits.require(holds, || "tbsCertificate.extensions".to_owned(), || "there are none".to_owned());
    }),
    Rule::certificate("serial-positive", "RFC 5280 §4.1.2.2", Error, "the serial number is above zero", |view, hits| {
        let holds = view.serial.content.first().is_some_and(|first| first & 0x80 == 0) && view.serial.content != [0];
        hits.require(holds, || "tbsCertificate.serialNumber".to_owned(), || format!("it is {}", hexadecimal(view.serial.content)));
    }),
    Rule::certificate("serial-length", "RFC 5280 §4.1.2.2", Error, "the serial number has at most 20 octets", |view, hits| {
        let length = view.serial.content.len();
        hits.require(length <= 20, || "tbsCertificate.serialNumber".to_owned(), || format!("it has {length} octets"));
    }),
    Rule::certificate(
        "serial-entropy",
        "BR 7.1; lesson 20",
        Warning,
        "the serial number is long enough for 64 random bits",
        |view, hits| {
            let length = view.serial.content.len();
            hits.require(length >= 8, || "tbsCertificate.serialNumber".to_owned(), || format!("it has {length} octets"));
        },
    ),
    Rule::certificate(
        "unique-identifiers",
        "RFC 5280 §4.1.2.8",
        Error,
        "there are neither issuerUniqueID nor subjectUniqueID",
        |view, hits| {
            hits.require(!view.has_unique_identifiers, || "tbsCertificate".to_owned(), || "a unique identifier stands there".to_owned());
        },
    ),
    Rule::certificate(
        "validity-form",
        "RFC 5280 §4.1.2.5",
        Error,
        "times through 2049 are UTCTime, later ones GeneralizedTime",
        |view, hits| {
            for (field, time) in [("notBefore", &view.not_before), ("notAfter", &view.not_after)] {
                if let Some(detail) = wrong_form(time) {
                    hits.hit(format!("tbsCertificate.validity.{field}"), detail);
                }
            }
        },
    ),
    Rule::certificate("validity-order", "RFC 5280 §4.1.2.5", Error, "the validity does not end before it begins", |view, hits| {
        if let Some((from, to)) = validity(view)
            && to < from
        {
            hits.hit("tbsCertificate.validity", format!("it begins at {from} and ends at {to}"));
        }
    }),
    Rule::certificate(
        "signature-algorithms-equal",
        "RFC 5280 §4.1.1.2",
        Error,
        "the signature algorithm within the signed part is the one outside, byte for byte",
        |view, hits| {
            let holds = view.signature.as_ref().is_none_or(|s| s.algorithm.whole == view.algorithm.whole);
            hits.require(holds, || "signatureAlgorithm".to_owned(), || "it is another than tbsCertificate.signature".to_owned());
        },
    ),
    Rule::certificate(
        "signature-algorithm-unknown",
        "RFC 5280 §4.1.1.2",
        Notice,
        "the signature algorithm is one whose form is judged",
        |view, hits| unknown(&view.algorithm, "tbsCertificate.signature", hits),
    ),
    Rule::certificate(
        "signature-algorithm-parameters",
        "RFC 5758 §3.2; RFC 4055 §3, §5; RFC 8410 §3; RFC 9881 §2",
        Error,
        "the parameters are those of the signature algorithm: NULL with RSA PKCS#1, its structure with RSA-PSS, otherwise none",
        |view, hits| parameters(&view.algorithm, "tbsCertificate.signature", hits),
    ),
    Rule::certificate(
        "signature-algorithm-broken",
        "RFC 6151 §2; RFC 9155 §1",
        Error,
        "the signature rests on neither MD5 nor SHA-1",
        |view, hits| broken(&view.algorithm, "tbsCertificate.signature", hits),
    ),
    Rule::certificate(
        "signature-value",
        "RFC 5480 appendix A; RFC 8410 §6; RFC 9881 §3",
        Error,
        "the signature is whole octets, in the form and the length of its algorithm",
        |view, hits| {
            if let Some(signature) = &view.signature {
                signature_value(&signature.algorithm, &signature.value, "signatureValue", hits);
            }
        },
    ),
];

/// A time that can be read and stands in the other form than its year wants.
pub(in crate::lint) fn wrong_form(time: &Tlv<'_>) -> Option<String> {
    if time.tag != UTC_TIME && time.tag != GENERALIZED_TIME {
        return Some(format!("the tag {:#04x} is no time", time.tag));
    }
    let at = read_time(time, "time").ok()?;
    let early = in_utc_range(at);
    (early != (time.tag == UTC_TIME)).then(|| format!("{at} is in the other form"))
}

/// 1950 through 2049.
fn in_utc_range(at: Timestamp) -> bool {
    (-631_152_000..2_524_608_000).contains(&at.unix())
}

pub(in crate::lint) fn validity(view: &CertificateView<'_>) -> Option<(Timestamp, Timestamp)> {
    Some((read_time(&view.not_before, "notBefore").ok()?, read_time(&view.not_after, "notAfter").ok()?))
}

pub(in crate::lint) fn unknown(identifier: &Tlv<'_>, field: &str, hits: &mut Hits<'_>) {
    match algorithm::split(identifier) {
        None => hits.hit(field, "it is no AlgorithmIdentifier"),
        Some((id, _)) if algorithm::of_signature(id).is_none() => {
            hits.hit(field, format!("the algorithm {} is not judged further", known::dotted(id)));
        }
        Some(_) => {}
    }
}

pub(in crate::lint) fn parameters(identifier: &Tlv<'_>, field: &str, hits: &mut Hits<'_>) {
    let Some((id, parameters)) = algorithm::split(identifier) else { return };
    let Some(known) = algorithm::of_signature(id) else { return };
    let holds = match known.parameters {
        Parameters::None => parameters.is_empty(),
        Parameters::Null => parameters == [5, 0],
        Parameters::Pss => algorithm::is_pss(parameters),
    };
    hits.require(holds, || field.to_owned(), || format!("{} has the parameters {}", known.name, hexadecimal(parameters)));
}

pub(in crate::lint) fn broken(identifier: &Tlv<'_>, field: &str, hits: &mut Hits<'_>) {
    let Some((id, parameters)) = algorithm::split(identifier) else { return };
    let Some(known) = algorithm::of_signature(id) else { return };
    // The defaults of RSA-PSS are SHA-1's.
    let holds = !known.broken && (known.parameters != Parameters::Pss || !algorithm::pss_rests_on_sha1(parameters));
    hits.require(holds, || field.to_owned(), || format!("{} rests on a broken digest", known.name));
}

pub(in crate::lint) fn signature_value(identifier: &Tlv<'_>, value: &Tlv<'_>, field: &str, hits: &mut Hits<'_>) {
    let [0, octets @ ..] = value.content else { return hits.hit(field, "it is not a whole number of octets") };
    let Some(known) = algorithm::split(identifier).and_then(|(id, _)| algorithm::of_signature(id)) else { return };
    hits.require(known.value.fits(octets), || field.to_owned(), || format!("{} octets are no signature of {}", octets.len(), known.name));
}
