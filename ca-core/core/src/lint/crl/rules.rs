//! The rules about a CRL as a whole.

use crate::lint::element::quoted;
use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::general_name::GeneralName;
use crate::lint::known;
use crate::lint::names;
use crate::lint::rule::{Object, Rule};
use crate::lint::rules::chain::{is_algorithm_of, is_verified_here, verifies};
use crate::lint::rules::purpose::CRL_SIGN;
use crate::lint::rules::{fields, is_absolute};
use crate::lint::values;
use crate::pki::oid;
use crate::pki::walk::read_time;

const NUMBER: &str = "tbsCertList.crlExtensions.cRLNumber";
const AKI: &str = "tbsCertList.crlExtensions.authorityKeyIdentifier";
const IDP: &str = "tbsCertList.crlExtensions.issuingDistributionPoint";
const DELTA: &str = "tbsCertList.crlExtensions.deltaCRLIndicator";
const SIGNATURE: &str = "signatureValue";

/// Without a leading zero, numbers of the same length compare as their octets do.
fn is_below(low: &[u8], high: &[u8]) -> bool {
    let digits = |n: &'_ [u8]| n[n.iter().take_while(|b| **b == 0).count()..].to_vec();
    let (low, high) = (digits(low), digits(high));
    (low.len(), low) < (high.len(), high)
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::crl("crl-version", "RFC 5280 §5.1.2.1", Error, "the version is 2 (the value 1)", |view, _, hits| {
        let holds = view.version.as_ref().is_some_and(|v| v.content == [1]);
        hits.require(holds, || "tbsCertList.version".to_owned(), || "it is not".to_owned());
    }),
    Rule::crl(
        "crl-algorithms-equal",
        "RFC 5280 §5.1.1.2",
        Error,
        "the signature algorithm within the signed part is the one outside, byte for byte",
        |view, _, hits| {
            let holds = view.signature.as_ref().is_none_or(|s| s.algorithm.whole == view.algorithm.whole);
            hits.require(holds, || "signatureAlgorithm".to_owned(), || "it is another than tbsCertList.signature".to_owned());
        },
    ),
    Rule::crl(
        "crl-algorithm-unknown",
        "RFC 5280 §5.1.1.2",
        Notice,
        "the signature algorithm is one whose form is judged",
        |view, _, hits| {
            fields::unknown(&view.algorithm, "tbsCertList.signature", hits);
        },
    ),
    Rule::crl(
        "crl-algorithm-parameters",
        "RFC 5758 §3.2; RFC 4055 §3, §5; RFC 8410 §3; RFC 9881 §2",
        Error,
        "the parameters are those of the signature algorithm",
        |view, _, hits| fields::parameters(&view.algorithm, "tbsCertList.signature", hits),
    ),
    Rule::crl(
        "crl-algorithm-broken",
        "RFC 6151 §2; RFC 9155 §1",
        Error,
        "the signature rests on neither MD5 nor SHA-1",
        |view, _, hits| {
            fields::broken(&view.algorithm, "tbsCertList.signature", hits);
        },
    ),
    Rule::crl(
        "crl-signature-value",
        "RFC 5480 appendix A; RFC 8410 §6; RFC 9881 §3",
        Error,
        "the signature is whole octets, in the form and the length of its algorithm",
        |view, _, hits| {
            if let Some(s) = &view.signature {
                fields::signature_value(&s.algorithm, &s.value, SIGNATURE, hits);
            }
        },
    ),
    Rule::crl("crl-issuer-name", "RFC 5280 §5.1.2.3", Error, "the issuer's name can be read and is not empty", |view, _, hits| {
        let detail = match names::read(&view.issuer) {
            Err(error) => error.to_string(),
            Ok(attributes) if attributes.is_empty() => "it is empty".to_owned(),
            Ok(_) => return,
        };
        hits.hit("tbsCertList.issuer", detail);
    }),
    Rule::crl(
        "crl-time-form",
        "RFC 5280 §5.1.2.4, §5.1.2.5",
        Error,
        "times through 2049 are UTCTime, later ones GeneralizedTime",
        |view, _, hits| {
            for (field, time) in [("thisUpdate", Some(&view.this_update)), ("nextUpdate", view.next_update.as_ref())] {
                if let Some(detail) = time.and_then(fields::wrong_form) {
                    hits.hit(format!("tbsCertList.{field}"), detail);
                }
            }
        },
    ),
    Rule::crl("crl-next-update", "RFC 5280 §5.1.2.5", Error, "there is a nextUpdate, later than thisUpdate", |view, _, hits| {
        let next = view.next_update.as_ref().map(|t| read_time(t, "nextUpdate"));
        let holds = match (read_time(&view.this_update, "thisUpdate"), next) {
            (_, None) => false,
            (Ok(this), Some(Ok(next))) => this < next,
            // A time that can't be read is reported as one.
            _ => true,
        };
        hits.require(holds, || "tbsCertList.nextUpdate".to_owned(), || "there is none, or it is not later".to_owned());
    }),
    Rule::crl(
        "crl-list-empty",
        "RFC 5280 §5.1.2.6",
        Error,
        "without revoked certificates revokedCertificates is absent",
        |view, _, hits| {
            let holds = view.entries.is_none_or(|e| !e.is_empty());
            hits.require(holds, || "tbsCertList.revokedCertificates".to_owned(), || "it is there, and empty".to_owned());
        },
    ),
    Rule::crl("crl-number-present", "RFC 5280 §5.2.3", Error, "there is a cRLNumber", |view, _, hits| {
        hits.require(view.extension(oid::CRL_NUMBER).is_some(), || NUMBER.to_owned(), || "there is none".to_owned());
    }),
    Rule::syntax(
        "crl-number-syntax",
        "RFC 5280 §5.2.3",
        "cRLNumber is a number that is not negative",
        Object::Crl,
        oid::CRL_NUMBER,
        |value| values::number(value).map(|_| ()),
    ),
    Rule::critical("crl-number-critical", "RFC 5280 §5.2.3", Error, "cRLNumber is not critical", Object::Crl, (oid::CRL_NUMBER, false)),
    Rule::crl("crl-number-length", "RFC 5280 §5.2.3", Error, "cRLNumber has at most 20 octets", |view, _, hits| {
        let length = view.value(oid::CRL_NUMBER, values::number).map_or(0, <[u8]>::len);
        hits.require(length <= 20, || NUMBER.to_owned(), || format!("it has {length}"));
    }),
    Rule::crl(
        "crl-number-grows",
        "RFC 5280 §5.2.3; lesson 30",
        Error,
        "cRLNumber is above that of the CRL before, whose thisUpdate is not later",
        |view, _, hits| {
            let Some((number, this_update)) = &view.previous else { return };
            if let (Some(before), Some(now)) = (number, view.value(oid::CRL_NUMBER, values::number)) {
                hits.require(is_below(before, now), || NUMBER.to_owned(), || "it is not above the one before".to_owned());
            }
            if let (Ok(before), Ok(now)) = (read_time(this_update, "thisUpdate"), read_time(&view.this_update, "thisUpdate")) {
                hits.require(
                    before <= now,
                    || "tbsCertList.thisUpdate".to_owned(),
                    || format!("{now} is before {before}, that of the CRL before"),
                );
            }
        },
    ),
    Rule::crl(
        "crl-authority-key-present",
        "RFC 5280 §5.2.1",
        Error,
        "there is an authorityKeyIdentifier with a keyIdentifier",
        |view, _, hits| {
            let id = view.authority_key_identifier();
            hits.require(id.is_some(), || AKI.to_owned(), || "there is none".to_owned());
        },
    ),
    Rule::syntax(
        "crl-authority-key-syntax",
        "RFC 5280 §5.2.1",
        "authorityKeyIdentifier has its fields in order, issuer and serial number both or neither",
        Object::Crl,
        oid::AUTHORITY_KEY_IDENTIFIER,
        |value| values::authority_key(value).map(|_| ()),
    ),
    Rule::critical(
        "crl-authority-key-critical",
        "RFC 5280 §5.2.1, §4.2.1.1",
        Error,
        "authorityKeyIdentifier is not critical",
        Object::Crl,
        (oid::AUTHORITY_KEY_IDENTIFIER, false),
    ),
    Rule::syntax(
        "issuing-point-syntax",
        "RFC 5280 §5.2.5",
        "issuingDistributionPoint has its fields in order, and its defaults left out",
        Object::Crl,
        oid::ISSUING_DISTRIBUTION_POINT,
        |value| values::issuing_point(value).map(|_| ()),
    ),
    Rule::critical(
        "issuing-point-critical",
        "RFC 5280 §5.2.5",
        Error,
        "issuingDistributionPoint is critical",
        Object::Crl,
        (oid::ISSUING_DISTRIBUTION_POINT, true),
    ),
    Rule::crl("issuing-point-empty", "RFC 5280 §5.2.5", Error, "issuingDistributionPoint is not empty", |view, _, hits| {
        let holds = view.extension(oid::ISSUING_DISTRIBUTION_POINT).is_none_or(|e| e.value != [0x30, 0]);
        hits.require(holds, || IDP.to_owned(), || "it is".to_owned());
    }),
    Rule::crl(
        "issuing-point-scope",
        "RFC 5280 §5.2.5",
        Error,
        "at most one of onlyContainsUserCerts, onlyContainsCACerts and onlyContainsAttributeCerts is true",
        |view, _, hits| {
            let point = view.value(oid::ISSUING_DISTRIBUTION_POINT, values::issuing_point).unwrap_or_default();
            let set = [point.only_users, point.only_cas, point.only_attributes].into_iter().filter(|flag| *flag).count();
            hits.require(set <= 1, || IDP.to_owned(), || format!("{set} are"));
        },
    ),
    Rule::crl("issuing-point-reasons", "RFC 5280 §5.2.5", Warning, "a CRL covers all reasons", |view, _, hits| {
        let point = view.value(oid::ISSUING_DISTRIBUTION_POINT, values::issuing_point).unwrap_or_default();
        hits.require(!point.only_reasons, || IDP.to_owned(), || "onlySomeReasons stands there".to_owned());
    }),
    Rule::crl("issuing-point-uri", "RFC 5280 §5.2.5", Error, "a URI of the distribution point is absolute", |view, _, hits| {
        let point = view.value(oid::ISSUING_DISTRIBUTION_POINT, values::issuing_point).and_then(|p| p.name).unwrap_or_default();
        for name in point.full_name {
            if let GeneralName::Uri(uri) = name {
                hits.require(is_absolute(uri), || IDP.to_owned(), || format!("it is {}", quoted(uri)));
            }
        }
    }),
    Rule::syntax(
        "delta-indicator-syntax",
        "RFC 5280 §5.2.4",
        "deltaCRLIndicator is a number that is not negative",
        Object::Crl,
        known::DELTA_CRL_INDICATOR,
        |value| values::number(value).map(|_| ()),
    ),
    Rule::critical(
        "delta-indicator-critical",
        "RFC 5280 §5.2.4",
        Error,
        "deltaCRLIndicator is critical",
        Object::Crl,
        (known::DELTA_CRL_INDICATOR, true),
    ),
    Rule::crl(
        "delta-base-number",
        "RFC 5280 §5.2.4",
        Error,
        "a delta CRL's base has a lower cRLNumber than it has itself",
        |view, _, hits| {
            let (base, own) = (view.value(known::DELTA_CRL_INDICATOR, values::number), view.value(oid::CRL_NUMBER, values::number));
            if let (Some(base), Some(own)) = (base, own) {
                hits.require(is_below(base, own), || DELTA.to_owned(), || "the base's is not below its own".to_owned());
            }
        },
    ),
    Rule::crl("delta-freshest", "RFC 5280 §5.2.6", Error, "a delta CRL has no freshestCRL", |view, _, hits| {
        let holds = !view.is_delta() || view.extension(known::FRESHEST_CRL).is_none();
        hits.require(holds, || DELTA.to_owned(), || "freshestCRL stands beside it".to_owned());
    }),
    Rule::syntax(
        "crl-freshest-syntax",
        "RFC 5280 §5.2.6",
        "freshestCRL is a list of points, each with a name or a cRLIssuer",
        Object::Crl,
        known::FRESHEST_CRL,
        |value| values::distribution_points(value).map(|_| ()),
    ),
    Rule::critical(
        "crl-freshest-critical",
        "RFC 5280 §5.2.6",
        Error,
        "freshestCRL is not critical",
        Object::Crl,
        (known::FRESHEST_CRL, false),
    ),
    Rule::syntax(
        "crl-authority-information-syntax",
        "RFC 5280 §5.2.7",
        "authorityInfoAccess is a list of at least one method with its location",
        Object::Crl,
        oid::AUTHORITY_INFO_ACCESS,
        |value| values::access_descriptions(value).map(|_| ()),
    ),
    Rule::critical(
        "crl-authority-information-critical",
        "RFC 5280 §5.2.7",
        Error,
        "authorityInfoAccess is not critical",
        Object::Crl,
        (oid::AUTHORITY_INFO_ACCESS, false),
    ),
    Rule::syntax(
        "crl-issuer-alternative-syntax",
        "RFC 5280 §5.2.2",
        "issuerAltName is a list of at least one GeneralName",
        Object::Crl,
        known::ISSUER_ALT_NAME,
        |value| values::general_names(value).map(|_| ()),
    ),
    Rule::critical(
        "crl-issuer-alternative-critical",
        "RFC 5280 §5.2.2",
        Warning,
        "issuerAltName is not critical",
        Object::Crl,
        (known::ISSUER_ALT_NAME, false),
    ),
    Rule::crl(
        "crl-issuer-chains",
        "RFC 5280 §6.3.3 (b)",
        Error,
        "the issuer's name is the subject of the issuer's certificate, byte for byte",
        |view, issuer, hits| {
            let holds = issuer.is_none_or(|i| i.subject.whole == view.issuer.whole);
            hits.require(holds, || "tbsCertList.issuer".to_owned(), || "it is another".to_owned());
        },
    ),
    Rule::crl(
        "crl-issuer-key-identifier",
        "RFC 5280 §5.2.1",
        Error,
        "the authorityKeyIdentifier is the subjectKeyIdentifier of the issuer's certificate",
        |view, issuer, hits| {
            let named = view.authority_key_identifier();
            let holds = match (named, issuer.and_then(|i| i.key_identifier())) {
                (Some(named), Some(own)) => named == own,
                _ => true,
            };
            hits.require(holds, || AKI.to_owned(), || "it names another key".to_owned());
        },
    ),
    Rule::crl("crl-issuer-key-usage", "RFC 5280 §6.3.3 (f)", Error, "the issuer's keyUsage has cRLSign", |_, issuer, hits| {
        let holds = issuer.and_then(|i| i.key_usage()).is_none_or(|u| u & CRL_SIGN != 0);
        hits.require(holds, String::new, || "cRLSign is not set in the issuer's certificate".to_owned());
    }),
    Rule::crl(
        "crl-algorithm-of-issuer",
        "RFC 5280 §5.1.1.2",
        Error,
        "the signature algorithm is one of the issuer's key",
        |view, issuer, hits| {
            let holds = issuer.is_none_or(|i| is_algorithm_of(&view.algorithm, &i.public_key) != Some(false));
            hits.require(holds, || "tbsCertList.signature".to_owned(), || "the issuer's key is of another kind".to_owned());
        },
    ),
    Rule::crl(
        "crl-signature-verifies",
        "RFC 5280 §6.3.3 (g)",
        Error,
        "the signature verifies with the issuer's key",
        |view, issuer, hits| {
            if let (Some(s), Some(issuer)) = (&view.signature, issuer) {
                let holds = verifies(&issuer.public_key, &s.algorithm, view.tbs.whole, &s.value) != Some(false);
                hits.require(holds, || SIGNATURE.to_owned(), || "it does not verify".to_owned());
            }
        },
    ),
    Rule::crl(
        "crl-signature-not-judged",
        "this linter's bound",
        Notice,
        "the signature is of a kind that is verified here",
        |view, issuer, hits| {
            if let (Some(s), Some(issuer)) = (&view.signature, issuer) {
                let holds = is_verified_here(&issuer.public_key, &s.algorithm);
                hits.require(holds, || SIGNATURE.to_owned(), || "algorithm or key are of another kind".to_owned());
            }
        },
    ),
];
