//! The values of extensions, read and compared.

use const_oid::ObjectIdentifier;

use super::{Value, names};
use crate::pki::walk::{OCTET_STRING, OID, ParseError, SEQUENCE, Walker};
use crate::pki::{AltName, read_alt_name};
use crate::profile::QcStatements;

/// uniformResourceIdentifier `[6]` of a GeneralName.
const URI: u8 = 0x86;

impl Value {
    /// Says what is wrong.
    pub(super) fn matches(&self, value: &[u8]) -> Result<(), String> {
        let same = match self {
            Self::Exactly(bytes) => Ok(value == bytes),
            Self::Purposes(expected) => purposes(value).map(|found| found.iter().copied().eq(expected.iter().map(|id| id.as_bytes()))),
            Self::KeyIdentifier(id) => Walker::single(value, OCTET_STRING, "key identifier").map(|found| found.content == id),
            Self::AuthorityKey(id) => authority_key(value).map(|found| found == id),
            Self::Access(expected) => access(value).map(|found| is_access(&found, expected)),
            Self::Point(url) => point(value).map(|found| found == url.as_bytes()),
            Self::Names(expected) => alternative_names(value).map(|found| found == *expected),
            Self::Policies(expected) => policies(value).map(|found| found.iter().copied().eq(expected.iter().map(|id| id.as_bytes()))),
            // Reading takes only the one encoding of each value: equal values are equal bytes.
            Self::Statements(expected) => QcStatements::from_der(value).map(|found| found == *expected),
            Self::Constraints(permitted) => return names::compare_constraints(value, permitted),
        };
        match same {
            Ok(true) => Ok(()),
            Ok(false) => Err("the value is not the one that the request gives".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn purposes(value: &[u8]) -> Result<Vec<&[u8]>, ParseError> {
    let mut list = Walker::single(value, SEQUENCE, "extKeyUsage")?.walk();
    let mut found = Vec::new();
    while !list.is_empty() {
        found.push(list.expect(OID, "KeyPurposeId")?.content);
    }
    Ok(found)
}

fn authority_key(value: &[u8]) -> Result<&[u8], ParseError> {
    let fields = Walker::single(value, SEQUENCE, "authorityKeyIdentifier")?;
    Ok(Walker::single(fields.content, 0x80, "keyIdentifier")?.content)
}

fn access(value: &[u8]) -> Result<Vec<(&[u8], &[u8])>, ParseError> {
    let mut list = Walker::single(value, SEQUENCE, "authorityInfoAccess")?.walk();
    let mut found = Vec::new();
    while !list.is_empty() {
        let mut description = list.expect(SEQUENCE, "AccessDescription")?.walk();
        let method = description.expect(OID, "accessMethod")?.content;
        let location = description.expect(URI, "accessLocation")?.content;
        description.finish("AccessDescription")?;
        found.push((method, location));
    }
    Ok(found)
}

fn is_access(found: &[(&[u8], &[u8])], expected: &[(ObjectIdentifier, String)]) -> bool {
    found.iter().copied().eq(expected.iter().map(|(method, url)| (method.as_bytes(), url.as_bytes())))
}

/// One point: a fullName of one URI, neither reasons nor cRLIssuer.
fn point(value: &[u8]) -> Result<&[u8], ParseError> {
    let points = Walker::single(value, SEQUENCE, "cRLDistributionPoints")?;
    let point = Walker::single(points.content, SEQUENCE, "DistributionPoint")?;
    let name = Walker::single(point.content, 0xa0, "distributionPoint")?;
    let full_name = Walker::single(name.content, 0xa0, "fullName")?;
    Ok(Walker::single(full_name.content, URI, "uniformResourceIdentifier")?.content)
}

/// Policies alone: a qualifier is none of ours (RFC 5280 §4.2.1.4 recommends none).
fn policies(value: &[u8]) -> Result<Vec<&[u8]>, ParseError> {
    let mut list = Walker::single(value, SEQUENCE, "certificatePolicies")?.walk();
    let mut found = Vec::new();
    while !list.is_empty() {
        let information = list.expect(SEQUENCE, "PolicyInformation")?;
        found.push(Walker::single(information.content, OID, "policyIdentifier")?.content);
    }
    Ok(found)
}

/// As they stand: neither sorted nor made unique here.
fn alternative_names(value: &[u8]) -> Result<Vec<AltName>, ParseError> {
    let mut list = Walker::single(value, SEQUENCE, "subjectAltName")?.walk();
    let mut found = Vec::new();
    while !list.is_empty() {
        let element = list.next()?;
        let name = read_alt_name(&element)?.map_err(|_| ParseError::Value("subjectAltName"))?;
        // Reading may fold case; the certificate's own text is to be the folded one.
        let is_as_written = match &name {
            // Read to the octet.
            AltName::Ip(_) | AltName::PermanentIdentifier(_) | AltName::HardwareModule(_) => true,
            AltName::Dns(_) | AltName::Uri(_) | AltName::Email(_) => name.to_string().as_bytes() == element.content,
        };
        if !is_as_written {
            return Err(ParseError::Value("subjectAltName"));
        }
        found.push(name);
    }
    Ok(found)
}
