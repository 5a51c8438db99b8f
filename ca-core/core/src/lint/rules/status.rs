//! Key identifiers, and where status and issuer are found: AKI, SKI, distribution points, information access,
//! noRevAvail, ocsp-nocheck.

use crate::lint::certificate::CertificateView;
use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::general_name::GeneralName;
use crate::lint::known;
use crate::lint::rule::{Object, Rule};
use crate::lint::values;
use crate::pki::oid;

const AKI: &str = "tbsCertificate.extensions.authorityKeyIdentifier";
const SKI: &str = "tbsCertificate.extensions.subjectKeyIdentifier";
const CDP: &str = "tbsCertificate.extensions.cRLDistributionPoints";
const AIA: &str = "tbsCertificate.extensions.authorityInfoAccess";
const NO_REV_AVAIL: &str = "tbsCertificate.extensions.noRevAvail";
const NOCHECK: &str = "tbsCertificate.extensions.ocspNoCheck";

fn access<'a>(view: &CertificateView<'a>) -> Vec<(&'a [u8], GeneralName<'a>)> {
    view.value(oid::AUTHORITY_INFO_ACCESS, values::access_descriptions).unwrap_or_default()
}

fn has_ocsp(view: &CertificateView<'_>) -> bool {
    access(view).iter().any(|(method, _)| *method == oid::ACCESS_OCSP.as_bytes())
}

/// What is wrong with a place where clients fetch something.
fn unreachable(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::Uri(uri) if super::alternative::is_absolute(uri) => None,
        _ => Some(format!("{} is no absolute URI", name.shown())),
    }
}

/// Fetching it over TLS may need the status that is to be fetched (RFC 5280 §8).
fn needs_tls(name: &GeneralName<'_>) -> bool {
    matches!(name, GeneralName::Uri(uri) if uri.get(..6).is_some_and(|s| s.eq_ignore_ascii_case(b"https:") || s.eq_ignore_ascii_case(b"ldaps:")))
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::syntax(
        "authority-key-identifier-syntax",
        "RFC 5280 §4.2.1.1",
        "authorityKeyIdentifier has its fields in order, issuer and serial number both or neither",
        Object::Certificate,
        oid::AUTHORITY_KEY_IDENTIFIER,
        |value| values::authority_key(value).map(|_| ()),
    ),
    Rule::critical(
        "authority-key-identifier-critical",
        "RFC 5280 §4.2.1.1",
        Error,
        "authorityKeyIdentifier is not critical",
        Object::Certificate,
        (oid::AUTHORITY_KEY_IDENTIFIER, false),
    ),
    Rule::certificate(
        "authority-key-identifier-present",
        "RFC 5280 §4.2.1.1",
        Error,
        "a certificate that is not self-signed has an authorityKeyIdentifier with a keyIdentifier",
        |view, hits| {
            let id = view.authority_key_identifier();
            let is_judged = view.has_extensions && !view.is_self_issued();
            hits.require(id.is_some() || !is_judged, || AKI.to_owned(), || "there is no keyIdentifier".to_owned());
        },
    ),
    Rule::syntax(
        "subject-key-identifier-syntax",
        "RFC 5280 §4.2.1.2",
        "subjectKeyIdentifier is an OCTET STRING that is not empty",
        Object::Certificate,
        oid::SUBJECT_KEY_IDENTIFIER,
        |value| values::octets(value).map(|_| ()),
    ),
    Rule::critical(
        "subject-key-identifier-critical",
        "RFC 5280 §4.2.1.2",
        Error,
        "subjectKeyIdentifier is not critical",
        Object::Certificate,
        (oid::SUBJECT_KEY_IDENTIFIER, false),
    ),
    Rule::certificate("subject-key-identifier-of-ca", "RFC 5280 §4.2.1.2", Error, "a CA has a subjectKeyIdentifier", |view, hits| {
        let holds = !view.is_ca() || view.extension(oid::SUBJECT_KEY_IDENTIFIER).is_some();
        hits.require(holds, || SKI.to_owned(), || "there is none, and cA is true".to_owned());
    }),
    Rule::certificate(
        "subject-key-identifier-present",
        "RFC 5280 §4.2.1.2",
        Notice,
        "a certificate has a subjectKeyIdentifier",
        |view, hits| {
            let holds = view.is_ca() || !view.has_extensions || view.extension(oid::SUBJECT_KEY_IDENTIFIER).is_some();
            hits.require(holds, || SKI.to_owned(), || "there is none".to_owned());
        },
    ),
    Rule::syntax(
        "distribution-points-syntax",
        "RFC 5280 §4.2.1.13",
        "cRLDistributionPoints is a list of points, each with a name or a cRLIssuer",
        Object::Certificate,
        oid::CRL_DISTRIBUTION_POINTS,
        |value| values::distribution_points(value).map(|_| ()),
    ),
    Rule::critical(
        "distribution-points-critical",
        "RFC 5280 §4.2.1.13",
        Warning,
        "cRLDistributionPoints is not critical",
        Object::Certificate,
        (oid::CRL_DISTRIBUTION_POINTS, false),
    ),
    Rule::certificate(
        "distribution-points-uri",
        "RFC 5280 §4.2.1.13",
        Error,
        "a URI of a distribution point is absolute",
        |view, hits| {
            for point in view.value(oid::CRL_DISTRIBUTION_POINTS, values::distribution_points).unwrap_or_default() {
                for name in point.full_name.iter().filter(|n| matches!(n, GeneralName::Uri(_))) {
                    if let Some(detail) = unreachable(name) {
                        hits.hit(CDP, detail);
                    }
                }
            }
        },
    ),
    Rule::syntax(
        "freshest-crl-syntax",
        "RFC 5280 §4.2.1.15",
        "freshestCRL is a list of points, each with a name or a cRLIssuer",
        Object::Certificate,
        known::FRESHEST_CRL,
        |value| values::distribution_points(value).map(|_| ()),
    ),
    Rule::critical(
        "freshest-crl-critical",
        "RFC 5280 §4.2.1.15",
        Error,
        "freshestCRL is not critical",
        Object::Certificate,
        (known::FRESHEST_CRL, false),
    ),
    Rule::syntax(
        "authority-information-syntax",
        "RFC 5280 §4.2.2.1",
        "authorityInfoAccess is a list of at least one method with its location",
        Object::Certificate,
        oid::AUTHORITY_INFO_ACCESS,
        |value| values::access_descriptions(value).map(|_| ()),
    ),
    Rule::critical(
        "authority-information-critical",
        "RFC 5280 §4.2.2.1",
        Error,
        "authorityInfoAccess is not critical",
        Object::Certificate,
        (oid::AUTHORITY_INFO_ACCESS, false),
    ),
    Rule::certificate(
        "authority-information-uri",
        "RFC 5280 §4.2.2.1; RFC 6960 §3.1",
        Error,
        "OCSP and caIssuers are reached at absolute URIs",
        |view, hits| {
            for (method, location) in access(view) {
                let is_judged = method == oid::ACCESS_OCSP.as_bytes()
                    || method == oid::ACCESS_CA_ISSUERS.as_bytes() && matches!(location, GeneralName::Uri(_));
                if let Some(detail) = unreachable(&location).filter(|_| is_judged) {
                    hits.hit(AIA, detail);
                }
            }
        },
    ),
    Rule::certificate(
        "status-over-tls",
        "RFC 5280 §8",
        Warning,
        "CRLs, OCSP and issuers are fetched without TLS, which would need them first",
        |view, hits| {
            let points = view.value(oid::CRL_DISTRIBUTION_POINTS, values::distribution_points).unwrap_or_default();
            let names = points.iter().flat_map(|p| &p.full_name).map(|name| (CDP, *name));
            for (field, name) in names.chain(access(view).into_iter().map(|(_, name)| (AIA, name))).filter(|(_, n)| needs_tls(n)) {
                hits.hit(field, name.shown());
            }
        },
    ),
    Rule::syntax(
        "subject-information-syntax",
        "RFC 5280 §4.2.2.2",
        "subjectInfoAccess is a list of at least one method with its location",
        Object::Certificate,
        known::SUBJECT_INFO_ACCESS,
        |value| values::access_descriptions(value).map(|_| ()),
    ),
    Rule::critical(
        "subject-information-critical",
        "RFC 5280 §4.2.2.2",
        Error,
        "subjectInfoAccess is not critical",
        Object::Certificate,
        (known::SUBJECT_INFO_ACCESS, false),
    ),
    Rule::syntax("no-rev-avail-syntax", "RFC 9608 §2", "noRevAvail is NULL", Object::Certificate, known::NO_REV_AVAIL, values::null),
    Rule::critical(
        "no-rev-avail-critical",
        "RFC 9608 §2",
        Error,
        "noRevAvail is not critical",
        Object::Certificate,
        (known::NO_REV_AVAIL, false),
    ),
    Rule::certificate(
        "no-rev-avail-contradicted",
        "RFC 9608 §3",
        Error,
        "beside noRevAvail there is neither a CRL's place nor an OCSP responder's",
        |view, hits| {
            let other = [oid::CRL_DISTRIBUTION_POINTS, known::FRESHEST_CRL].iter().any(|id| view.extension(*id).is_some());
            let holds = view.extension(known::NO_REV_AVAIL).is_none() || !(other || has_ocsp(view));
            hits.require(holds, || NO_REV_AVAIL.to_owned(), || "the certificate also says where its status is found".to_owned());
        },
    ),
    Rule::certificate("no-rev-avail-of-ca", "RFC 9608 §3", Error, "no CA certificate has noRevAvail", |view, hits| {
        let holds = !view.is_ca() || view.extension(known::NO_REV_AVAIL).is_none();
        hits.require(holds, || NO_REV_AVAIL.to_owned(), || "cA is true".to_owned());
    }),
    Rule::syntax(
        "ocsp-nocheck-syntax",
        "RFC 6960 §4.2.2.2.1",
        "ocsp-nocheck is NULL",
        Object::Certificate,
        oid::OCSP_NOCHECK,
        values::null,
    ),
    Rule::critical(
        "ocsp-nocheck-critical",
        "RFC 6960 §4.2.2.2.1",
        Warning,
        "ocsp-nocheck is not critical",
        Object::Certificate,
        (oid::OCSP_NOCHECK, false),
    ),
    Rule::certificate(
        "ocsp-nocheck-of-responder",
        "RFC 6960 §4.2.2.2.1",
        Error,
        "only a certificate with OCSPSigning has ocsp-nocheck",
        |view, hits| {
            let holds = view.extension(oid::OCSP_NOCHECK).is_none() || view.has_purpose(oid::OCSP_SIGNING);
            hits.require(holds, || NOCHECK.to_owned(), || "OCSPSigning is missing: nobody would check whether it is revoked".to_owned());
        },
    ),
    Rule::certificate(
        "ocsp-responder-status",
        "RFC 6960 §4.2.2.2.1; lesson 21",
        Warning,
        "a certificate with OCSPSigning says how its own status is checked: by ocsp-nocheck, or by a CRL",
        |view, hits| {
            let says = view.extension(oid::OCSP_NOCHECK).is_some() || view.extension(oid::CRL_DISTRIBUTION_POINTS).is_some();
            let holds = says || !view.has_purpose(oid::OCSP_SIGNING) || view.is_ca();
            hits.require(holds, || NOCHECK.to_owned(), || "neither stands there".to_owned());
        },
    ),
];
