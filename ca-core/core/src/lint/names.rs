//! Distinguished names (RFC 5280 §4.1.2.4, §4.1.2.6 and appendix A): read, and the rules on them.

use const_oid::ObjectIdentifier;

use super::certificate::CertificateView;
use super::element::{BMP_STRING, NUMERIC_STRING, TELETEX_STRING, UNIVERSAL_STRING, VISIBLE_STRING, quoted, wide_text};
use super::finding::Severity::{Error, Notice, Warning};
use super::known;
use super::rule::{Hits, Rule};
use super::values::attribute;
use crate::pki::oid;
use crate::pki::walk::{IA5_STRING, PRINTABLE_STRING, ParseError, SET, Tlv, UTF8_STRING};

/// Most attributes of one name that are judged.
const MAX_ATTRIBUTES: usize = 256;

const DIRECTORY: &[u8] = &[UTF8_STRING, PRINTABLE_STRING, TELETEX_STRING, BMP_STRING, UNIVERSAL_STRING];
const PRINTABLE: &[u8] = &[PRINTABLE_STRING];
const IA5: &[u8] = &[IA5_STRING];

/// An attribute type that is known: its string types, its most characters, whether one name has it at most once.
struct Known {
    id: ObjectIdentifier,
    name: &'static str,
    tags: &'static [u8],
    most: usize,
    once: bool,
}

const fn known_type(id: ObjectIdentifier, name: &'static str, tags: &'static [u8], most: usize, once: bool) -> Known {
    Known { id, name, tags, most, once }
}

/// RFC 5280 appendix A.1 (ub-…); where it has no bound, X.520's of a DirectoryString that is open stands: 32,768.
const KNOWN: &[Known] = &[
    known_type(oid::COMMON_NAME, "commonName", DIRECTORY, 64, true),
    known_type(known::SURNAME, "surname", DIRECTORY, 32_768, true),
    known_type(known::SERIAL_NUMBER, "serialNumber", PRINTABLE, 64, true),
    known_type(oid::COUNTRY, "countryName", PRINTABLE, 2, true),
    known_type(known::LOCALITY, "localityName", DIRECTORY, 128, true),
    known_type(known::STATE, "stateOrProvinceName", DIRECTORY, 128, true),
    known_type(known::STREET, "streetAddress", DIRECTORY, 128, false),
    known_type(oid::ORGANIZATION, "organizationName", DIRECTORY, 64, false),
    known_type(known::ORGANIZATIONAL_UNIT, "organizationalUnitName", DIRECTORY, 64, false),
    known_type(known::TITLE, "title", DIRECTORY, 64, true),
    known_type(known::BUSINESS_CATEGORY, "businessCategory", DIRECTORY, 128, true),
    known_type(known::POSTAL_CODE, "postalCode", DIRECTORY, 40, true),
    known_type(known::NAME, "name", DIRECTORY, 32_768, true),
    known_type(known::GIVEN_NAME, "givenName", DIRECTORY, 32_768, true),
    known_type(known::INITIALS, "initials", DIRECTORY, 32_768, true),
    known_type(known::GENERATION_QUALIFIER, "generationQualifier", DIRECTORY, 32_768, true),
    known_type(known::DN_QUALIFIER, "dnQualifier", PRINTABLE, 32_768, true),
    known_type(known::PSEUDONYM, "pseudonym", DIRECTORY, 128, true),
    known_type(known::ORGANIZATION_IDENTIFIER, "organizationIdentifier", DIRECTORY, 256, true),
    known_type(known::USER_ID, "userId", DIRECTORY, 256, true),
    known_type(known::DOMAIN_COMPONENT, "domainComponent", IA5, 63, false),
    known_type(known::EMAIL_ADDRESS, "emailAddress", IA5, 255, false),
    known_type(known::JURISDICTION_COUNTRY, "jurisdictionCountry", PRINTABLE, 2, true),
];

/// An attribute, and the index of its RDN.
pub(super) struct Attribute<'a> {
    rdn: usize,
    pub(super) kind: &'a [u8],
    pub(super) value: Tlv<'a>,
}

impl Attribute<'_> {
    fn known(&self) -> Option<&'static Known> {
        KNOWN.iter().find(|k| k.id.as_bytes() == self.kind)
    }

    fn name(&self) -> String {
        self.known().map_or_else(|| known::dotted(self.kind), |k| k.name.to_owned())
    }
}

/// The attributes of a Name in their order.
pub(super) fn read<'a>(name: &Tlv<'a>) -> Result<Vec<Attribute<'a>>, ParseError> {
    let mut rdns = name.walk();
    let mut found = Vec::with_capacity(4);
    let mut rdn = 0;
    while !rdns.is_empty() {
        let set = rdns.expect(SET, "RelativeDistinguishedName")?;
        if set.content.is_empty() {
            return Err(ParseError::Value("RelativeDistinguishedName"));
        }
        let mut attributes = set.walk();
        while !attributes.is_empty() {
            let (kind, value) = attribute(&mut attributes)?;
            if found.len() == MAX_ATTRIBUTES {
                return Err(ParseError::TooLarge);
            }
            found.push(Attribute { rdn, kind, value });
        }
        rdn += 1;
    }
    Ok(found)
}

/// The characters of a string of any type; none where it is no string, or malformed.
pub(super) fn text(value: &Tlv<'_>) -> Option<String> {
    match value.tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING | NUMERIC_STRING | VISIBLE_STRING => {
            std::str::from_utf8(value.content).ok().map(str::to_owned)
        }
        // T.61 where it is ASCII; what else its octets mean, implementations never agreed on.
        TELETEX_STRING => value.content.is_ascii().then(|| String::from_utf8_lossy(value.content).into_owned()),
        BMP_STRING | UNIVERSAL_STRING => wide_text(value.tag, value.content),
        _ => None,
    }
}

/// Runs `check` on every attribute of issuer and subject.
fn each(view: &CertificateView<'_>, hits: &mut Hits<'_>, check: impl Fn(&Attribute<'_>) -> Option<String>) {
    for (field, name) in [("issuer", &view.issuer), ("subject", &view.subject)] {
        for attribute in read(name).unwrap_or_default() {
            if let Some(detail) = check(&attribute) {
                hits.hit(format!("tbsCertificate.{field}.{}", attribute.name()), detail);
            }
        }
    }
}

pub(super) static RULES: &[Rule] = &[
    Rule::certificate(
        "name-syntax",
        "RFC 5280 §4.1.2.4",
        Error,
        "a name is a sequence of sets of attributes, none of them empty, 256 at most",
        |view, hits| {
            for (field, name) in [("issuer", &view.issuer), ("subject", &view.subject)] {
                if let Err(error) = read(name) {
                    hits.hit(format!("tbsCertificate.{field}"), error.to_string());
                }
            }
        },
    ),
    Rule::certificate("issuer-name", "RFC 5280 §4.1.2.4", Error, "the issuer's name is not empty", |view, hits| {
        hits.require(!view.issuer.content.is_empty(), || "tbsCertificate.issuer".to_owned(), || "it is empty".to_owned());
    }),
    Rule::certificate("subject-of-ca", "RFC 5280 §4.1.2.6", Error, "a CA's subject is not empty", |view, hits| {
        let holds = !view.is_ca() || !view.subject.content.is_empty();
        hits.require(holds, || "tbsCertificate.subject".to_owned(), || "it is empty, and cA is true".to_owned());
    }),
    Rule::certificate(
        "subject-or-alternative-name",
        "RFC 5280 §4.1.2.6",
        Error,
        "where the subject is empty, there is a critical subjectAltName",
        |view, hits| {
            let critical = view.extension(oid::SUBJECT_ALT_NAME).is_some_and(|e| e.critical);
            let holds = critical || !view.subject.content.is_empty();
            hits.require(holds, || "tbsCertificate.subject".to_owned(), || "it is empty, and no subjectAltName is critical".to_owned());
        },
    ),
    Rule::certificate(
        "name-string-type",
        "RFC 5280 appendix A.1",
        Error,
        "an attribute that is known has one of its string types",
        |view, hits| {
            each(view, hits, |a| {
                let known = a.known()?;
                (!known.tags.contains(&a.value.tag)).then(|| format!("the string type is {:#04x}", a.value.tag))
            });
        },
    ),
    Rule::certificate(
        "name-string-outdated",
        "RFC 5280 §4.1.2.4",
        Warning,
        "a DirectoryString is a PrintableString or a UTF8String",
        |view, hits| {
            each(view, hits, |a| {
                let outdated = [TELETEX_STRING, BMP_STRING, UNIVERSAL_STRING].contains(&a.value.tag);
                (outdated && a.known().is_some_and(|k| k.tags == DIRECTORY)).then(|| format!("the string type is {:#04x}", a.value.tag))
            });
        },
    ),
    Rule::certificate(
        "name-length",
        "RFC 5280 appendix A.1 (ub-…); X.520",
        Error,
        "an attribute that is known has at least one character, and at most as many as its upper bound",
        |view, hits| {
            each(view, hits, |a| {
                let most = a.known()?.most;
                let count = text(&a.value).map_or(a.value.content.len(), |t| t.chars().count());
                (count == 0 || count > most).then(|| format!("it has {count} characters; 1 to {most} are allowed"))
            });
        },
    ),
    Rule::certificate("name-country", "RFC 5280 appendix A.1; ISO 3166-1", Error, "a country is two capital letters", |view, hits| {
        each(view, hits, |a| {
            let is_country = a.known().is_some_and(|k| k.id == oid::COUNTRY || k.id == known::JURISDICTION_COUNTRY);
            let is_code = matches!(a.value.content, [b'A'..=b'Z', b'A'..=b'Z']);
            (is_country && !is_code).then(|| format!("it is {}", quoted(a.value.content)))
        });
    }),
    Rule::certificate(
        "name-attribute-repeated",
        "X.520",
        Warning,
        "an attribute of one value stands once in a name, and no attribute twice with the same value",
        |view, hits| {
            for (field, name) in [("issuer", &view.issuer), ("subject", &view.subject)] {
                let attributes = read(name).unwrap_or_default();
                for (index, a) in attributes.iter().enumerate() {
                    let once = a.known().is_some_and(|k| k.once);
                    if attributes[..index].iter().any(|b| b.kind == a.kind && (once || b.value == a.value)) {
                        hits.hit(format!("tbsCertificate.{field}.{}", a.name()), "the attribute stands twice");
                    }
                }
            }
        },
    ),
    Rule::certificate(
        "name-whitespace",
        "RFC 4518 §2.6.1",
        Warning,
        "an attribute's value neither begins nor ends with a space",
        |view, hits| {
            each(view, hits, |a| {
                let text = text(&a.value)?;
                (text.trim() != text).then(|| format!("it is {}", quoted(text.as_bytes())))
            });
        },
    ),
    Rule::certificate("name-multi-valued", "X.501 §9.3", Notice, "each relative distinguished name has one attribute", |view, hits| {
        for (field, name) in [("issuer", &view.issuer), ("subject", &view.subject)] {
            if read(name).unwrap_or_default().windows(2).any(|pair| pair[0].rdn == pair[1].rdn) {
                hits.hit(format!("tbsCertificate.{field}"), "a relative distinguished name has several attributes");
            }
        }
    }),
    Rule::certificate(
        "subject-email",
        "RFC 5280 §4.1.2.6",
        Notice,
        "a mailbox stands in the subjectAltName, not in the subject",
        |view, hits| {
            for attribute in read(&view.subject).unwrap_or_default() {
                if attribute.kind == known::EMAIL_ADDRESS.as_bytes() {
                    hits.hit("tbsCertificate.subject.emailAddress", format!("it is {}", quoted(attribute.value.content)));
                }
            }
        },
    ),
];
