//! The lints: to-be-signed bytes against the request that they were made for, before anything signs them.
//!
//! They read the bytes with the walker of [`crate::pki`] and state each value anew; from the builders they take nothing.
//! A profile is an exact list: an extension that it does not name is refused, and so is one in another place.

mod leaf;
mod names;
mod values;

pub use leaf::lint_leaf;

use sha2::{Digest as _, Sha256};

use super::{CaSubject, CrossRequest, Finding, IntermediateRequest, Issuer, QcStatements, RootRequest, check_key};
use crate::lint::Severity;
use crate::pki::walk::{self, PRINTABLE_STRING, ParseError, RawExtension, SEQUENCE, Tlv, UTF8_STRING, Walker};
use crate::pki::{AltName, PublicKey, SerialNumber, SignatureAlgorithm, TbsFields, Timestamp, algorithm_identifier_der, oid};
use const_oid::ObjectIdentifier;

/// Compares a root's to-be-signed bytes with the request.
///
/// # Errors
/// Every rule that they break.
pub fn lint_root(tbs: &[u8], expected: &RootRequest) -> Result<(), Vec<Finding>> {
    let mut report = Report::default();
    let fields = Expected {
        serial: expected.serial,
        algorithm: expected.algorithm,
        issuer: None,
        subject: ca_subject(&expected.subject),
        subject_der: None,
        validity: (expected.not_before, expected.not_after),
        public_key: &expected.public_key,
    };
    if let Some(extensions) = fields.compare(tbs, &mut report) {
        // No pathLenConstraint; the authority key identifier may be left out where issuer and subject are one (§4.2.1.1).
        let shape = [Rule::basic_constraints(&[1, 1, 0xff]), Rule::key_usage(1, 0x06), Rule::subject_key_identifier(&expected.public_key)];
        compare_extensions(&extensions, &shape, &mut report);
    }
    report.result()
}

/// Compares an intermediate's to-be-signed bytes with the request.
///
/// # Errors
/// Every rule that they break.
pub fn lint_intermediate(tbs: &[u8], expected: &IntermediateRequest, issuer: &Issuer) -> Result<(), Vec<Finding>> {
    let mut report = Report::default();
    let fields = Expected {
        serial: expected.serial,
        algorithm: issuer.signature_algorithm(),
        issuer: Some(issuer),
        subject: ca_subject(&expected.subject),
        subject_der: None,
        validity: (expected.not_before, expected.not_after),
        public_key: &expected.public_key,
    };
    if let Some(extensions) = fields.compare(tbs, &mut report) {
        let shape = [
            Rule::basic_constraints(&[1, 1, 0xff, 2, 1, 0]),
            Rule::key_usage(1, 0x06),
            Rule::subject_key_identifier(&expected.public_key),
            Rule::authority_key_identifier(issuer),
            Rule::information_access(&[(oid::ACCESS_CA_ISSUERS, &expected.urls.issuer)]),
            Rule::distribution_point(&expected.urls.crl),
            Rule::new(
                oid::NAME_CONSTRAINTS,
                true,
                "name-constraints",
                "RFC 5280 §4.2.1.10",
                Value::Constraints(expected.permitted.clone()),
            ),
        ];
        compare_extensions(&extensions, &shape, &mut report);
    }
    report.result()
}

/// Compares a cross-certificate's to-be-signed bytes with the request.
///
/// # Errors
/// Every rule that they break.
pub fn lint_cross(tbs: &[u8], expected: &CrossRequest, issuer: &Issuer) -> Result<(), Vec<Finding>> {
    let mut report = Report::default();
    let fields = Expected {
        serial: expected.serial,
        algorithm: issuer.signature_algorithm(),
        issuer: Some(issuer),
        subject: Vec::new(),
        subject_der: Some(expected.subject.subject_der()),
        validity: (expected.not_before, expected.not_after),
        public_key: expected.subject.public_key(),
    };
    if let Some(extensions) = fields.compare(tbs, &mut report) {
        let own = expected.subject.key_identifier().unwrap_or_default().to_vec();
        let shape = [
            Rule::basic_constraints(&[1, 1, 0xff, 2, 1, expected.path_len & 0x7f]),
            Rule::key_usage(1, 0x06),
            Rule::new(
                oid::SUBJECT_KEY_IDENTIFIER,
                false,
                "subject-key-identifier",
                "RFC 5280 §4.2.1.2: that of the CA's own certificate",
                Value::KeyIdentifier(own),
            ),
            Rule::authority_key_identifier(issuer),
            Rule::information_access(&[(oid::ACCESS_CA_ISSUERS, &expected.urls.issuer)]),
            Rule::distribution_point(&expected.urls.crl),
            Rule::new(
                oid::NAME_CONSTRAINTS,
                true,
                "name-constraints",
                "RFC 5280 §4.2.1.10",
                Value::Constraints(expected.permitted.clone()),
            ),
        ];
        compare_extensions(&extensions, &shape, &mut report);
    }
    report.result()
}

/// What was found so far.
#[derive(Default)]
struct Report(Vec<Finding>);

impl Report {
    fn check(&mut self, holds: bool, rule: &'static str, clause: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Finding { rule, clause, severity: Severity::Error, field: String::new(), detail: detail() });
        }
    }

    fn read<T>(&mut self, what: Result<T, ParseError>, rule: &'static str, clause: &'static str) -> Option<T> {
        what.map_err(|error| self.check(false, rule, clause, || error.to_string())).ok()
    }

    fn result(self) -> Result<(), Vec<Finding>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

/// Attribute, string type and text of each RDN.
type Subject<'a> = Vec<(ObjectIdentifier, u8, &'a str)>;

fn ca_subject(subject: &CaSubject) -> Subject<'_> {
    let country = subject.country.iter().map(|c| (oid::COUNTRY, PRINTABLE_STRING, c.as_str()));
    let rest =
        [(oid::ORGANIZATION, UTF8_STRING, subject.organization.as_str()), (oid::COMMON_NAME, UTF8_STRING, subject.common_name.as_str())];
    country.chain(rest).collect()
}

/// The fields before the extensions.
struct Expected<'a> {
    serial: SerialNumber,
    algorithm: SignatureAlgorithm,
    /// None for a root.
    issuer: Option<&'a Issuer>,
    subject: Subject<'a>,
    /// Of a cross-certificate: the other CA's name, byte for byte, in place of `subject`.
    subject_der: Option<&'a [u8]>,
    validity: (Timestamp, Timestamp),
    public_key: &'a PublicKey,
}

impl Expected<'_> {
    /// The extensions, where the bytes are a TBSCertificate at all.
    fn compare<'t>(&self, tbs: &'t [u8], report: &mut Report) -> Option<Vec<RawExtension<'t>>> {
        let fields = Walker::single(tbs, SEQUENCE, "tbsCertificate").and_then(|tbs| TbsFields::read(&tbs));
        let fields = report.read(fields, "structure", "RFC 5280 §4.1: version 3, without unique identifiers, in DER")?;

        let serial = fields.serial.content;
        let is_expected = SerialNumber::from_der_integer(serial) == Ok(self.serial);
        report.check(
            is_expected && serial.len() <= 20,
            "serial",
            "RFC 5280 §4.1.2.2: positive, 20 octets at most, the reserved one",
            || format!("the serial number is {serial:02x?}, reserved is {}", self.serial),
        );
        report.check(is_algorithm(&fields.algorithm, self.algorithm), "signature-algorithm", "RFC 5280 §4.1.2.3", || {
            format!("the inner algorithm is not {:?}", self.algorithm)
        });
        let issuer = self.issuer.map_or(fields.subject.whole, |i| i.certificate().subject_der());
        report.check(fields.issuer.whole == issuer, "issuer", "RFC 5280 §4.1.2.4: byte for byte the issuer's subject", || {
            "the issuer's name is another".to_owned()
        });
        let (not_before, not_after) = self.validity;
        for (element, at) in [(&fields.not_before, not_before), (&fields.not_after, not_after)] {
            report.check(is_time(element, at), "validity", "RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime after", || {
                format!("a time is not {at} in its form")
            });
        }
        report.check(not_before < not_after, "validity", "RFC 5280 §4.1.2.5", || "it ends before it begins".to_owned());
        let same = if let Some(der) = self.subject_der {
            fields.subject.whole == der
        } else {
            let subject =
                report.read(read_name(&fields.subject), "subject", "RFC 5280 §4.1.2.6: one attribute in each RDN").unwrap_or_default();
            let expected: Vec<_> = self.subject.iter().map(|(oid, tag, text)| (oid.as_bytes(), *tag, text.as_bytes())).collect();
            subject == expected
        };
        report.check(same, "subject", "profiles; RFC 5280 §4.1.2.6", || "the subject is not the one requested".to_owned());

        report.check(
            fields.public_key.whole == self.public_key.spki_der(),
            "public-key",
            "RFC 5280 §4.1.2.7: the key whose possession was proven",
            || "the SubjectPublicKeyInfo is another".to_owned(),
        );
        if let Err(error) = check_key(self.public_key) {
            report.check(false, "public-key", "BR 6.1.1.3", || error.to_string());
        }
        if let Some(above) = self.issuer.map(Issuer::certificate) {
            report.check(above.public_key() != self.public_key, "public-key", "profiles", || "it is the issuer's own key".to_owned());
            report.check(not_after <= above.not_after(), "validity", "lesson 31: within the issuer's", || {
                format!("it ends at {not_after}, the issuer at {}", above.not_after())
            });
        }
        let Some(extensions) = fields.extensions else {
            report.check(false, "extensions", "RFC 5280 §4.1.2.9", || "there are none".to_owned());
            return None;
        };
        report.read(walk::read_extensions(&extensions), "extensions", "RFC 5280 §4.2: each once, in DER")
    }
}

fn is_algorithm(identifier: &Tlv<'_>, algorithm: SignatureAlgorithm) -> bool {
    let (oid, parameters): (_, &[u8]) = match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => (oid::ECDSA_WITH_SHA256, &[]),
        SignatureAlgorithm::EcdsaP384Sha384 => (oid::ECDSA_WITH_SHA384, &[]),
        SignatureAlgorithm::Ed25519 => (oid::ED25519, &[]),
        SignatureAlgorithm::RsaPkcs1Sha256 => (oid::SHA256_WITH_RSA, &[5, 0]),
        SignatureAlgorithm::MlDsa65 => (oid::ML_DSA_65, &[]),
        SignatureAlgorithm::MlDsa87 => (oid::ML_DSA_87, &[]),
        // Its parameters are a structure, of which there is one encoding here.
        SignatureAlgorithm::RsaPssSha256 => return identifier.whole == algorithm_identifier_der(algorithm),
    };
    let mut fields = identifier.walk();
    fields
        .expect(walk::OID, "algorithm")
        .is_ok_and(|found| found.content == oid.as_bytes() && identifier.content[found.whole.len()..] == *parameters)
}

fn is_time(element: &Tlv<'_>, at: Timestamp) -> bool {
    let digits: String = at.to_rfc3339().chars().filter(char::is_ascii_digit).collect();
    match digits.get(..4) {
        Some(year) if digits.len() == 14 && ("1950".."2050").contains(&year) => {
            element.tag == walk::UTC_TIME && element.content == format!("{}Z", &digits[2..]).as_bytes()
        }
        _ => element.tag == walk::GENERALIZED_TIME && element.content == format!("{digits}Z").as_bytes(),
    }
}

fn read_name<'a>(name: &Tlv<'a>) -> Result<Vec<(&'a [u8], u8, &'a [u8])>, ParseError> {
    let mut found = Vec::new();
    let mut rdns = name.walk();
    while !rdns.is_empty() {
        let rdn = rdns.expect(walk::SET, "relative distinguished name")?;
        let mut pair = Walker::single(rdn.content, SEQUENCE, "relative distinguished name")?.walk();
        let kind = pair.expect(walk::OID, "attribute type")?;
        let value = pair.next()?;
        pair.finish("attribute")?;
        found.push((kind.content, value.tag, value.content));
    }
    Ok(found)
}

/// What an extension's value must be.
enum Value {
    /// These bytes.
    Exactly(Vec<u8>),
    /// These purposes, in this order.
    Purposes(Vec<ObjectIdentifier>),
    /// This key identifier, in an OCTET STRING of its own.
    KeyIdentifier(Vec<u8>),
    /// This key identifier and nothing else of an authority key identifier.
    AuthorityKey(Vec<u8>),
    /// These methods with these URLs, in this order.
    Access(Vec<(ObjectIdentifier, String)>),
    /// One distribution point with one URL.
    Point(String),
    /// These names, each once, sorted.
    Names(Vec<AltName>),
    /// These policies without qualifiers, in this order.
    Policies(Vec<ObjectIdentifier>),
    /// These statements and no other.
    Statements(QcStatements),
    /// The constraints that follow from these patterns.
    Constraints(Vec<crate::policy::NamePattern>),
}

/// An extension of a profile.
struct Rule {
    oid: ObjectIdentifier,
    critical: bool,
    rule: &'static str,
    clause: &'static str,
    value: Value,
}

impl Rule {
    const fn new(oid: ObjectIdentifier, critical: bool, rule: &'static str, clause: &'static str, value: Value) -> Self {
        Self { oid, critical, rule, clause, value }
    }

    fn basic_constraints(content: &[u8]) -> Self {
        let value = [&[SEQUENCE, content.len().to_le_bytes()[0]], content].concat();
        Self::new(oid::BASIC_CONSTRAINTS, true, "basic-constraints", "RFC 5280 §4.2.1.9", Value::Exactly(value))
    }

    fn key_usage(unused: u8, bits: u8) -> Self {
        let value = vec![walk::BIT_STRING, 2, unused, bits];
        Self::new(oid::KEY_USAGE, true, "key-usage", "profiles; RFC 5280 §4.2.1.3", Value::Exactly(value))
    }

    /// Reads the key anew and hashes it with the second library.
    fn subject_key_identifier(key: &PublicKey) -> Self {
        let bits = Walker::single(key.spki_der(), SEQUENCE, "key").and_then(|spki| {
            let mut fields = spki.walk();
            fields.next()?;
            fields.next()?.bit_string_octets("key")
        });
        let digest = Sha256::digest(bits.unwrap_or_default());
        let clause = "RFC 5280 §4.2.1.2; RFC 7093 §2 method 1";
        Self::new(oid::SUBJECT_KEY_IDENTIFIER, false, "subject-key-identifier", clause, Value::KeyIdentifier(digest[..20].to_vec()))
    }

    fn authority_key_identifier(issuer: &Issuer) -> Self {
        let id = issuer.certificate().key_identifier().unwrap_or_default().to_vec();
        Self::new(oid::AUTHORITY_KEY_IDENTIFIER, false, "authority-key-identifier", "RFC 5280 §4.2.1.1", Value::AuthorityKey(id))
    }

    fn information_access(expected: &[(ObjectIdentifier, &str)]) -> Self {
        let value = Value::Access(expected.iter().map(|(method, url)| (*method, (*url).to_owned())).collect());
        Self::new(oid::AUTHORITY_INFO_ACCESS, false, "authority-info-access", "RFC 5280 §4.2.2.1", value)
    }

    fn distribution_point(url: &str) -> Self {
        let value = Value::Point(url.to_owned());
        Self::new(oid::CRL_DISTRIBUTION_POINTS, false, "crl-distribution-point", "RFC 5280 §4.2.1.13", value)
    }
}

fn compare_extensions(found: &[RawExtension<'_>], shape: &[Rule], report: &mut Report) {
    let named: Vec<&[u8]> = shape.iter().map(|rule| rule.oid.as_bytes()).collect();
    for extension in found.iter().filter(|e| !named.contains(&e.oid)) {
        let name = ObjectIdentifier::from_bytes(extension.oid).map_or_else(|_| format!("{:02x?}", extension.oid), |id| id.to_string());
        report.check(false, "extension-unknown", "profiles: what a profile does not name, it refuses", || format!("extension {name}"));
    }
    for rule in shape {
        let Some(extension) = found.iter().find(|e| e.oid == rule.oid.as_bytes()) else {
            report.check(false, rule.rule, rule.clause, || "the extension is missing".to_owned());
            continue;
        };
        report.check(extension.critical == rule.critical, rule.rule, rule.clause, || {
            format!("the extension is {}critical", if extension.critical { "" } else { "not " })
        });
        if let Err(detail) = rule.value.matches(extension.value) {
            report.check(false, rule.rule, rule.clause, || detail);
        }
    }
    let order: Vec<&[u8]> = found.iter().map(|e| e.oid).filter(|id| named.contains(id)).collect();
    let missing = named.iter().any(|id| !order.contains(id));
    report.check(missing || order == named, "extension-order", "profiles", || "the extensions stand in another order".to_owned());
}
