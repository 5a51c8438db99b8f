//! The rules about what a response says.

use std::collections::BTreeSet;

use super::responder::{ResponderId, key_octets};
use super::{Answer, ResponseView};
use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::known;
use crate::lint::rule::{Hits, Object, Rule};
use crate::lint::rules::fields;
use crate::lint::values;
use crate::pki::Timestamp;
use crate::pki::ocsp::{HashAlgorithm, MAX_NONCE_LEN};
use crate::pki::walk::{GENERALIZED_TIME, OCTET_STRING, ParseError, Tlv, Walker, read_time};

const DATA: &str = "tbsResponseData";

/// Runs `check` on every answer.
fn each(view: &ResponseView<'_>, hits: &mut Hits<'_>, field: &str, check: impl Fn(&Answer<'_>) -> Option<String>) {
    for (index, answer) in view.data.iter().flat_map(|d| &d.answers).enumerate() {
        if let Some(detail) = check(answer) {
            hits.hit(format!("{DATA}.responses[{index}].{field}"), detail);
        }
    }
}

/// certStatus.
enum Status {
    Good,
    /// When, and why where it is said.
    Revoked(Timestamp, Option<u8>),
    Unknown,
}

fn status(element: &Tlv<'_>) -> Result<Status, ParseError> {
    match (element.tag, element.content) {
        (0x80, []) => Ok(Status::Good),
        (0x82, []) => Ok(Status::Unknown),
        (0xa1, _) => {
            let mut fields = element.walk();
            let at = read_time(&fields.expect(GENERALIZED_TIME, "revocationTime")?, "revocationTime")?;
            let reason = fields.optional(0xa0)?.map(|wrapper| values::reason(wrapper.content)).transpose()?;
            fields.finish("revoked")?;
            Ok(Status::Revoked(at, reason))
        }
        _ => Err(ParseError::Value("certStatus")),
    }
}

/// The hash of a CertID, and the octets that it gives.
fn hash(identifier: &Tlv<'_>) -> Option<(HashAlgorithm, usize)> {
    let mut fields = identifier.walk();
    let id = fields.expect(crate::pki::walk::OID, "hashAlgorithm").ok()?;
    if !matches!(identifier.content[id.whole.len()..], [] | [5, 0]) {
        return None;
    }
    [
        (known::SHA1, HashAlgorithm::Sha1, 20),
        (known::SHA256, HashAlgorithm::Sha256, 32),
        (known::SHA384, HashAlgorithm::Sha384, 48),
        (known::SHA512, HashAlgorithm::Sha512, 64),
    ]
    .into_iter()
    .find(|(known, ..)| known.as_bytes() == id.content)
    .map(|(_, hash, length)| (hash, length))
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::response(
        "ocsp-status",
        "RFC 6960 §4.2.1",
        Error,
        "the status is one of those defined; with successful there are response bytes, otherwise none",
        |view, _, hits| {
            let Some(status) = &view.status else { return };
            let holds = match status.content {
                [0] => view.kind.is_some(),
                [1..=3 | 5 | 6] => view.kind.is_none(),
                _ => false,
            };
            hits.require(holds, || "responseStatus".to_owned(), || "it is another, or does not fit what follows".to_owned());
        },
    ),
    Rule::response("ocsp-type", "RFC 6960 §4.2.1", Error, "the response is a basic one", |view, _, hits| {
        let holds = view.kind.is_none_or(|kind| kind == known::OCSP_BASIC.as_bytes());
        hits.require(holds, || "responseBytes".to_owned(), || "it is of another type, which is not judged".to_owned());
    }),
    Rule::response("ocsp-version", "RFC 6960 §4.2.1; X.690 §11.5", Error, "the version is 1, which is left out", |view, _, hits| {
        let holds = view.data.as_ref().is_none_or(|d| d.version.is_none());
        hits.require(holds, || format!("{DATA}.version"), || "it stands there".to_owned());
    }),
    Rule::response(
        "ocsp-responder-id",
        "RFC 6960 §4.2.1",
        Error,
        "the responder is a name, or the SHA-1 of a key in 20 octets",
        |view, _, hits| {
            let detail = match ResponderId::read(view) {
                None | Some(Ok(ResponderId::Name(_))) => return,
                Some(Ok(ResponderId::Key(hash))) if hash.len() == 20 => return,
                Some(Ok(ResponderId::Key(hash))) => format!("the hash has {} octets", hash.len()),
                Some(Err(error)) => error.to_string(),
            };
            hits.hit(format!("{DATA}.responderID"), detail);
        },
    ),
    Rule::response("ocsp-answers", "RFC 6960 §4.2.1", Error, "there is an answer", |view, _, hits| {
        let holds = view.data.as_ref().is_none_or(|d| !d.answers.is_empty());
        hits.require(holds, || format!("{DATA}.responses"), || "there is none".to_owned());
    }),
    Rule::response("ocsp-answer-repeated", "RFC 6960 §4.2.1", Warning, "each certificate is answered once", |view, _, hits| {
        let answers = view.data.as_ref().map_or(&[][..], |d| &d.answers);
        let different: BTreeSet<_> = answers.iter().map(|a| (a.hash.whole, a.name_hash, a.key_hash, a.serial.content)).collect();
        hits.require(different.len() == answers.len(), || format!("{DATA}.responses"), || "a CertID stands twice".to_owned());
    }),
    Rule::response(
        "ocsp-cert-id",
        "RFC 6960 §4.1.1; RFC 5019 §2.1.1; RFC 9919",
        Error,
        "a CertID that is answered as good or revoked has a SHA-1 or SHA-2 hash, and two digests of its length",
        |view, _, hits| {
            each(view, hits, "certID", |a| match hash(&a.hash) {
                // What a client asked is echoed, whatever it is.
                _ if matches!(status(&a.status), Ok(Status::Unknown)) => None,
                None => Some("the hash algorithm is another, or has parameters".to_owned()),
                Some((_, length)) if a.name_hash.len() != length || a.key_hash.len() != length => {
                    Some(format!("the digests have {} and {} octets, not {length}", a.name_hash.len(), a.key_hash.len()))
                }
                Some(_) => None,
            });
        },
    ),
    Rule::response(
        "ocsp-cert-id-serial",
        "RFC 6960 §4.1.1; RFC 5280 §4.1.2.2",
        Warning,
        "the serial number asked about is one that a CA may use",
        |view, _, hits| {
            each(view, hits, "certID.serialNumber", |a| {
                let content = a.serial.content;
                let holds = content.len() <= 20 && content != [0] && content.first().is_some_and(|b| b & 0x80 == 0);
                (!holds).then(|| "it is zero, negative or longer than 20 octets".to_owned())
            });
        },
    ),
    Rule::response(
        "ocsp-cert-id-issuer",
        "RFC 6960 §4.2.2.2",
        Error,
        "what is answered as good or revoked is the issuer's",
        |view, issuer, hits| {
            let Some((issuer, key)) = issuer.and_then(|i| Some((i, key_octets(i)?))) else { return };
            each(view, hits, "certID", |a| {
                let (hash, _) = hash(&a.hash)?;
                let is_own = hash.digest(issuer.subject.whole) == a.name_hash && hash.digest(key) == a.key_hash;
                (!is_own && !matches!(status(&a.status), Ok(Status::Unknown))).then(|| "it is another issuer's".to_owned())
            });
        },
    ),
    Rule::response(
        "ocsp-cert-status",
        "RFC 6960 §4.2.1",
        Error,
        "a status is good or unknown, which are NULL, or revoked with its time and perhaps a reason",
        |view, _, hits| each(view, hits, "certStatus", |a| status(&a.status).err().map(|error| error.to_string())),
    ),
    Rule::response(
        "ocsp-reason",
        "RFC 6960 §4.2.1; RFC 5280 §5.3.1",
        Warning,
        "a reason is neither unspecified (0), which is left out, nor removeFromCRL (8)",
        |view, _, hits| {
            each(view, hits, "certStatus", |a| match status(&a.status) {
                Ok(Status::Revoked(_, Some(reason @ (0 | 8)))) => Some(format!("it is {reason}")),
                _ => None,
            });
        },
    ),
    Rule::response("ocsp-revocation-time", "RFC 6960 §4.2.1", Notice, "no revocation is later than producedAt", |view, _, hits| {
        let Some(produced) = view.data.as_ref().and_then(|d| read_time(&d.produced_at, "producedAt").ok()) else { return };
        each(view, hits, "certStatus", |a| match status(&a.status) {
            Ok(Status::Revoked(at, _)) if at > produced => Some(format!("{at} is after {produced}")),
            _ => None,
        });
    }),
    Rule::response("ocsp-this-update", "RFC 6960 §4.2.2.1", Error, "thisUpdate is not later than producedAt", |view, _, hits| {
        let Some(produced) = view.data.as_ref().and_then(|d| read_time(&d.produced_at, "producedAt").ok()) else { return };
        each(view, hits, "thisUpdate", |a| {
            let this = read_time(&a.this_update, "thisUpdate").ok()?;
            (this > produced).then(|| format!("{this} is after {produced}"))
        });
    }),
    Rule::response("ocsp-next-update", "RFC 6960 §4.2.2.1", Error, "nextUpdate is later than thisUpdate", |view, _, hits| {
        each(view, hits, "nextUpdate", |a| {
            let next = read_time(a.next_update.as_ref()?, "nextUpdate").ok()?;
            let this = read_time(&a.this_update, "thisUpdate").ok()?;
            (next <= this).then(|| format!("{next} is not after {this}"))
        });
    }),
    Rule::response("ocsp-next-update-present", "RFC 5019 §2.2.4", Warning, "there is a nextUpdate", |view, _, hits| {
        each(view, hits, "nextUpdate", |a| a.next_update.is_none().then(|| "there is none: clients can't keep the answer".to_owned()));
    }),
    Rule::syntax(
        "ocsp-nonce-syntax",
        "RFC 9654 §2.1",
        "the nonce is an OCTET STRING of 1 to 128 octets",
        Object::OcspResponse,
        known::OCSP_NONCE,
        |value| {
            let nonce = Walker::single(value, OCTET_STRING, "nonce")?.content;
            if (1..=MAX_NONCE_LEN).contains(&nonce.len()) { Ok(()) } else { Err(ParseError::Value("nonce")) }
        },
    ),
    Rule::syntax(
        "ocsp-extended-revoke-syntax",
        "RFC 6960 §4.4.8",
        "extendedRevoke is NULL",
        Object::OcspResponse,
        known::OCSP_EXTENDED_REVOKE,
        values::null,
    ),
    Rule::critical(
        "ocsp-extended-revoke-critical",
        "RFC 6960 §4.4.8",
        Error,
        "extendedRevoke is not critical",
        Object::OcspResponse,
        (known::OCSP_EXTENDED_REVOKE, false),
    ),
    Rule::response(
        "ocsp-never-issued",
        "RFC 6960 §2.2, §4.4.8",
        Error,
        "a hold since 1970-01-01, which means never issued, goes with extendedRevoke",
        |view, _, hits| {
            let explained = view.data.as_ref().is_some_and(|d| d.extension(known::OCSP_EXTENDED_REVOKE).is_some());
            each(view, hits, "certStatus", |a| match status(&a.status) {
                Ok(Status::Revoked(at, Some(6))) if at == Timestamp::from_unix(0) && !explained => {
                    Some("extendedRevoke is missing".to_owned())
                }
                _ => None,
            });
        },
    ),
    Rule::syntax(
        "ocsp-archive-cutoff-syntax",
        "RFC 6960 §4.4.4",
        "archiveCutoff is a GeneralizedTime",
        Object::OcspResponse,
        known::OCSP_ARCHIVE_CUTOFF,
        values::generalized_time,
    ),
    Rule::syntax(
        "ocsp-crl-references-syntax",
        "RFC 6960 §4.4.2",
        "crlReferences are a URL, a number and a time, any of them",
        Object::OcspResponse,
        known::OCSP_CRL_REFERENCES,
        values::crl_references,
    ),
    Rule::response(
        "ocsp-algorithm-unknown",
        "RFC 6960 §4.2.1",
        Notice,
        "the signature algorithm is one whose form is judged",
        |view, _, hits| view.signature.iter().for_each(|s| fields::unknown(&s.algorithm, "signatureAlgorithm", hits)),
    ),
    Rule::response(
        "ocsp-algorithm-parameters",
        "RFC 5758 §3.2; RFC 4055 §3, §5; RFC 8410 §3; RFC 9881 §2",
        Error,
        "the parameters are those of the signature algorithm",
        |view, _, hits| view.signature.iter().for_each(|s| fields::parameters(&s.algorithm, "signatureAlgorithm", hits)),
    ),
    Rule::response(
        "ocsp-algorithm-broken",
        "RFC 6151 §2; RFC 9155 §1",
        Error,
        "the signature rests on neither MD5 nor SHA-1",
        |view, _, hits| view.signature.iter().for_each(|s| fields::broken(&s.algorithm, "signatureAlgorithm", hits)),
    ),
    Rule::response(
        "ocsp-signature-value",
        "RFC 5480 appendix A; RFC 8410 §6; RFC 9881 §3",
        Error,
        "the signature is whole octets, in the form and the length of its algorithm",
        |view, _, hits| view.signature.iter().for_each(|s| fields::signature_value(&s.algorithm, &s.value, "signature", hits)),
    ),
];
