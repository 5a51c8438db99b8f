//! Who signed a response, and whether that one may (RFC 6960 §4.2.2.2).

use super::ResponseView;
use crate::lint::certificate::CertificateView;
use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::rule::Rule;
use crate::lint::rules::chain::{is_algorithm_of, is_verified_here, verifies};
use crate::lint::rules::fields::validity;
use crate::lint::rules::purpose::DIGITAL_SIGNATURE;
use crate::pki::ocsp::HashAlgorithm;
use crate::pki::oid;
use crate::pki::walk::{BIT_STRING, OCTET_STRING, ParseError, SEQUENCE, Walker, read_time};

/// What a ResponderID says.
pub(super) enum ResponderId<'a> {
    Name(&'a [u8]),
    /// SHA-1 of the key.
    Key(&'a [u8]),
}

impl<'a> ResponderId<'a> {
    pub(super) fn read(view: &ResponseView<'a>) -> Option<Result<Self, ParseError>> {
        let id = view.data.as_ref()?.responder;
        Some(match id.tag {
            0xa1 => Walker::single(id.content, SEQUENCE, "byName").map(|name| Self::Name(name.whole)),
            0xa2 => Walker::single(id.content, OCTET_STRING, "byKey").map(|hash| Self::Key(hash.content)),
            found => Err(ParseError::Tag { what: "responderID", expected: 0xa2, found }),
        })
    }

    fn is(&self, certificate: &CertificateView<'_>) -> bool {
        match self {
            Self::Name(name) => *name == certificate.subject.whole,
            Self::Key(hash) => key_octets(certificate).is_some_and(|key| HashAlgorithm::Sha1.digest(key) == *hash),
        }
    }
}

/// The octets of the key, without its algorithm and the count of unused bits.
pub(super) fn key_octets<'a>(certificate: &CertificateView<'a>) -> Option<&'a [u8]> {
    let mut fields = certificate.public_key.walk();
    fields.next().ok()?;
    fields.expect(BIT_STRING, "subjectPublicKey").ok()?.bit_string_octets("subjectPublicKey").ok()
}

/// The certificates that a responder is looked for among.
pub(in crate::lint) struct Responder<'a> {
    /// The one that the response names.
    certificate: Option<&'a CertificateView<'a>>,
    issuer: Option<&'a CertificateView<'a>>,
}

impl<'a> Responder<'a> {
    /// None without any certificate.
    pub(super) fn of(
        view: &ResponseView<'_>,
        certificates: &'a [CertificateView<'a>],
        issuer: Option<&'a CertificateView<'a>>,
    ) -> Option<Self> {
        let id = ResponderId::read(view)?.ok()?;
        if view.signature.is_none() || (certificates.is_empty() && issuer.is_none()) {
            return None;
        }
        let certificate = certificates.iter().chain(issuer).find(|c| id.is(c));
        Some(Self { certificate, issuer })
    }

    /// The certificate, where it is not the issuer's own.
    fn delegated(&self) -> Option<&'a CertificateView<'a>> {
        self.certificate.filter(|c| self.issuer.is_none_or(|i| i.tbs.whole != c.tbs.whole))
    }
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::responder(
        "ocsp-responder-named",
        "RFC 6960 §4.2.2.3",
        Error,
        "the responder is the issuer, or its certificate came along",
        |_, responder, hits| {
            hits.require(responder.certificate.is_some(), || "tbsResponseData.responderID".to_owned(), || "it names neither".to_owned());
        },
    ),
    Rule::responder(
        "ocsp-responder-purpose",
        "RFC 6960 §4.2.2.2",
        Error,
        "a delegated responder's certificate has OCSPSigning",
        |_, responder, hits| {
            // Without the issuer a CA certificate may be the issuer's own.
            let delegated = responder.delegated().filter(|c| responder.issuer.is_some() || !c.is_ca());
            let holds = delegated.is_none_or(|c| c.has_purpose(oid::OCSP_SIGNING));
            hits.require(holds, || "certs".to_owned(), || "it has not".to_owned());
        },
    ),
    Rule::responder(
        "ocsp-responder-key-usage",
        "RFC 5280 §4.2.1.3",
        Error,
        "the responder's keyUsage has digitalSignature or nonRepudiation",
        |_, responder, hits| {
            let usage = responder.delegated().and_then(CertificateView::key_usage);
            hits.require(usage.is_none_or(|u| u & (DIGITAL_SIGNATURE | 2) != 0), || "certs".to_owned(), || "it has neither".to_owned());
        },
    ),
    Rule::responder(
        "ocsp-responder-issued",
        "RFC 6960 §4.2.2.2",
        Error,
        "a delegated responder's certificate is issued directly by the issuer of the certificates asked about",
        |_, responder, hits| {
            let (Some(certificate), Some(issuer)) = (responder.delegated(), responder.issuer) else { return };
            let Some(s) = &certificate.signature else { return };
            let holds = certificate.issuer.whole == issuer.subject.whole
                && verifies(&issuer.public_key, &s.algorithm, certificate.tbs.whole, &s.value) != Some(false);
            hits.require(holds, || "certs".to_owned(), || "it is another's".to_owned());
        },
    ),
    Rule::responder(
        "ocsp-responder-validity",
        "RFC 6960 §4.2.2.1; status requirement S17",
        Warning,
        "no answer outlives the responder's certificate",
        |view, responder, hits| {
            let Some((from, to)) = responder.delegated().and_then(validity) else { return };
            let Some(data) = &view.data else { return };
            let ends = data.answers.iter().filter_map(|a| read_time(a.next_update.as_ref()?, "nextUpdate").ok());
            let last = ends.chain(read_time(&data.produced_at, "producedAt")).max();
            let holds = last.is_none_or(|last| last <= to) && read_time(&data.produced_at, "producedAt").map_or(true, |at| from <= at);
            hits.require(holds, || "tbsResponseData".to_owned(), || format!("the certificate is valid from {from} to {to}"));
        },
    ),
    Rule::responder(
        "ocsp-algorithm-of-responder",
        "RFC 6960 §4.2.1",
        Error,
        "the signature algorithm is one of the responder's key",
        |view, responder, hits| {
            let (Some(certificate), Some(s)) = (responder.certificate, &view.signature) else { return };
            let holds = is_algorithm_of(&s.algorithm, &certificate.public_key) != Some(false);
            hits.require(holds, || "signatureAlgorithm".to_owned(), || "the key is of another kind".to_owned());
        },
    ),
    Rule::responder(
        "ocsp-signature-verifies",
        "RFC 6960 §3.2",
        Error,
        "the signature verifies with the responder's key",
        |view, responder, hits| {
            let (Some(certificate), Some(s), Some(data)) = (responder.certificate, &view.signature, &view.data) else { return };
            let holds = verifies(&certificate.public_key, &s.algorithm, data.whole.whole, &s.value) != Some(false);
            hits.require(holds, || "signature".to_owned(), || "it does not verify".to_owned());
        },
    ),
    Rule::responder(
        "ocsp-signature-not-judged",
        "this linter's bound",
        Notice,
        "the signature is of a kind that is verified here",
        |view, responder, hits| {
            let (Some(certificate), Some(s)) = (responder.certificate, &view.signature) else { return };
            let holds = is_verified_here(&certificate.public_key, &s.algorithm);
            hits.require(holds, || "signature".to_owned(), || "algorithm or key are of another kind".to_owned());
        },
    ),
];
