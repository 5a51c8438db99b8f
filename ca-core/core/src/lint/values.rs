//! The values of extensions, read as their types: what does not fit the type's definition is an error here, what the
//! type allows and a clause forbids is for the rules.

use super::element::is_integer;
use super::general_name::{self, GeneralName};
use crate::pki::walk::{
    BIT_STRING, BOOLEAN, GENERALIZED_TIME, IA5_STRING, INTEGER, OCTET_STRING, OID, ParseError, SEQUENCE, SET, Tlv, UTF8_STRING, Walker,
    read_time,
};

/// An element of this value alone, with nothing after it, whose content is not empty.
fn list<'a>(value: &'a [u8], what: &'static str) -> Result<Walker<'a>, ParseError> {
    let sequence = Walker::single(value, SEQUENCE, what)?;
    // SIZE (1..MAX)
    if sequence.content.is_empty() { Err(ParseError::Value(what)) } else { Ok(sequence.walk()) }
}

/// RFC 5280 §4.2.1.9.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BasicConstraints {
    pub(super) ca: bool,
    /// Saturates.
    pub(super) path_len: Option<u32>,
}

pub(super) fn basic_constraints(value: &[u8]) -> Result<BasicConstraints, ParseError> {
    let mut fields = Walker::single(value, SEQUENCE, "BasicConstraints")?.walk();
    let ca = match fields.optional(BOOLEAN)? {
        // DER does not encode the default (X.690 §11.5).
        Some(flag) if flag.boolean("cA")? => true,
        Some(_) => return Err(ParseError::Value("cA")),
        None => false,
    };
    let path_len = fields.optional(INTEGER)?.map(|n| unsigned(n.content, "pathLenConstraint")).transpose()?;
    fields.finish("BasicConstraints")?;
    Ok(BasicConstraints { ca, path_len })
}

/// A number that is not negative; above `u32` it saturates.
fn unsigned(content: &[u8], what: &'static str) -> Result<u32, ParseError> {
    if !is_integer(content) || content[0] & 0x80 != 0 {
        return Err(ParseError::Value(what));
    }
    let digits = if content[0] == 0 { &content[1..] } else { content };
    Ok(if digits.len() > 4 { u32::MAX } else { digits.iter().fold(0, |n, b| n << 8 | u32::from(*b)) })
}

/// The bits of a BIT STRING with named bits, which DER writes without trailing zeros (X.690 §11.2.2); at least one is set.
fn bits(content: &[u8], most: usize, what: &'static str) -> Result<u16, ParseError> {
    let wrong = Err(ParseError::Value(what));
    let [unused @ 0..=7, octets @ ..] = content else { return wrong };
    let Some(last) = octets.last() else { return wrong };
    if octets.len() > 2 || last.trailing_zeros() != u32::from(*unused) || octets.len() * 8 - usize::from(*unused) > most {
        return wrong;
    }
    Ok(octets.iter().enumerate().fold(0, |all, (i, octet)| all | u16::from(octet.reverse_bits()) << (8 * i)))
}

pub(super) fn named_bits(value: &[u8]) -> Result<u16, ParseError> {
    bits(Walker::single(value, BIT_STRING, "KeyUsage")?.content, 9, "KeyUsage")
}

pub(super) fn octets(value: &[u8]) -> Result<&[u8], ParseError> {
    let octets = Walker::single(value, OCTET_STRING, "KeyIdentifier")?.content;
    if octets.is_empty() { Err(ParseError::Value("KeyIdentifier")) } else { Ok(octets) }
}

pub(super) fn object_identifiers(value: &[u8]) -> Result<Vec<&[u8]>, ParseError> {
    let mut walker = list(value, "ExtKeyUsageSyntax")?;
    let mut found = Vec::with_capacity(2);
    while !walker.is_empty() {
        found.push(walker.expect(OID, "KeyPurposeId")?.content);
    }
    Ok(found)
}

pub(super) fn null(value: &[u8]) -> Result<(), ParseError> {
    if value == [5, 0] { Ok(()) } else { Err(ParseError::Value("NULL")) }
}

/// RFC 5280 §4.2.1.1.
#[derive(Clone, Default)]
pub(super) struct AuthorityKey<'a> {
    pub(super) key_identifier: Option<&'a [u8]>,
    /// authorityCertIssuer; empty where it is missing.
    pub(super) issuer: Vec<GeneralName<'a>>,
    pub(super) serial: Option<&'a [u8]>,
}

pub(super) fn authority_key(value: &[u8]) -> Result<AuthorityKey<'_>, ParseError> {
    let mut fields = Walker::single(value, SEQUENCE, "AuthorityKeyIdentifier")?.walk();
    let key_identifier = fields.optional(0x80)?.map(|id| id.content);
    let issuer = fields.optional(0xa1)?.map_or(Ok(Vec::new()), |names| general_name::read_all(names.walk()))?;
    let serial = fields.optional(0x82)?.map(|serial| serial.content);
    fields.finish("AuthorityKeyIdentifier")?;
    if key_identifier.is_some_and(<[u8]>::is_empty) || serial.is_some_and(|s| !is_integer(s)) {
        return Err(ParseError::Value("AuthorityKeyIdentifier"));
    }
    // Both or neither.
    if issuer.is_empty() == serial.is_none() {
        Ok(AuthorityKey { key_identifier, issuer, serial })
    } else {
        Err(ParseError::Value("AuthorityKeyIdentifier"))
    }
}

pub(super) fn general_names(value: &[u8]) -> Result<Vec<GeneralName<'_>>, ParseError> {
    general_name::read_all(list(value, "GeneralNames")?)
}

/// A DistributionPoint, or what an IssuingDistributionPoint shares with one.
#[derive(Clone, Default)]
pub(super) struct Point<'a> {
    /// fullName; empty where the name is relative to the issuer's or missing.
    pub(super) full_name: Vec<GeneralName<'a>>,
    pub(super) is_relative: bool,
    pub(super) has_issuer: bool,
}

/// DistributionPointName, within its `[0]`.
fn point_name<'a>(wrapper: &Tlv<'a>, point: &mut Point<'a>) -> Result<(), ParseError> {
    let mut choice = wrapper.walk();
    let name = choice.next()?;
    choice.finish("DistributionPointName")?;
    match name.tag {
        0xa0 => point.full_name = general_name::read_all(name.walk())?,
        0xa1 => {
            relative_name(&name)?;
            point.is_relative = true;
        }
        _ => return Err(ParseError::Value("DistributionPointName")),
    }
    Ok(())
}

fn relative_name(rdn: &Tlv<'_>) -> Result<(), ParseError> {
    let mut attributes = rdn.walk();
    while !attributes.is_empty() {
        attribute(&mut attributes)?;
    }
    if rdn.content.is_empty() { Err(ParseError::Value("nameRelativeToCRLIssuer")) } else { Ok(()) }
}

pub(super) fn distribution_points(value: &[u8]) -> Result<Vec<Point<'_>>, ParseError> {
    let mut walker = list(value, "CRLDistributionPoints")?;
    let mut found = Vec::with_capacity(1);
    while !walker.is_empty() {
        let mut fields = walker.expect(SEQUENCE, "DistributionPoint")?.walk();
        let mut point = Point::default();
        let name = fields.optional(0xa0)?;
        if let Some(wrapper) = &name {
            point_name(wrapper, &mut point)?;
        }
        if let Some(reasons) = fields.optional(0x81)? {
            bits(reasons.content, 9, "ReasonFlags")?;
        }
        if let Some(issuer) = fields.optional(0xa2)? {
            general_name::read_all(issuer.walk())?;
            point.has_issuer = true;
        }
        fields.finish("DistributionPoint")?;
        // RFC 5280 §4.2.1.13: reasons alone say nothing.
        if name.is_none() && !point.has_issuer {
            return Err(ParseError::Value("DistributionPoint"));
        }
        found.push(point);
    }
    Ok(found)
}

/// RFC 5280 §5.2.5.
#[derive(Clone, Default)]
pub(super) struct IssuingPoint<'a> {
    pub(super) name: Option<Point<'a>>,
    pub(super) only_users: bool,
    pub(super) only_cas: bool,
    pub(super) only_reasons: bool,
    pub(super) is_indirect: bool,
    pub(super) only_attributes: bool,
}

pub(super) fn issuing_point(value: &[u8]) -> Result<IssuingPoint<'_>, ParseError> {
    let mut fields = Walker::single(value, SEQUENCE, "IssuingDistributionPoint")?.walk();
    let mut found = IssuingPoint::default();
    if let Some(wrapper) = fields.optional(0xa0)? {
        let mut point = Point::default();
        point_name(&wrapper, &mut point)?;
        found.name = Some(point);
    }
    let mut flag = |tag| match fields.optional(tag)?.map(|f| f.content) {
        None => Ok(false),
        Some([0xff]) => Ok(true),
        // FALSE is the default, and not encoded.
        Some(_) => Err(ParseError::Value("IssuingDistributionPoint")),
    };
    (found.only_users, found.only_cas) = (flag(0x81)?, flag(0x82)?);
    if let Some(reasons) = fields.optional(0x83)? {
        bits(reasons.content, 9, "onlySomeReasons")?;
        found.only_reasons = true;
    }
    let mut flag = |tag| match fields.optional(tag)?.map(|f| f.content) {
        None => Ok(false),
        Some([0xff]) => Ok(true),
        Some(_) => Err(ParseError::Value("IssuingDistributionPoint")),
    };
    (found.is_indirect, found.only_attributes) = (flag(0x84)?, flag(0x85)?);
    fields.finish("IssuingDistributionPoint")?;
    Ok(found)
}

/// The method and the place of each AccessDescription.
pub(super) fn access_descriptions(value: &[u8]) -> Result<Vec<(&[u8], GeneralName<'_>)>, ParseError> {
    let mut walker = list(value, "AuthorityInfoAccessSyntax")?;
    let mut found = Vec::with_capacity(2);
    while !walker.is_empty() {
        let mut fields = walker.expect(SEQUENCE, "AccessDescription")?.walk();
        let method = fields.expect(OID, "accessMethod")?.content;
        let location = GeneralName::read(&fields.next()?)?;
        fields.finish("AccessDescription")?;
        found.push((method, location));
    }
    Ok(found)
}

/// A policy and its qualifiers: the identifier of each, and its value.
pub(super) struct Policy<'a> {
    pub(super) id: &'a [u8],
    pub(super) qualifiers: Vec<(&'a [u8], Tlv<'a>)>,
}

pub(super) fn policies(value: &[u8]) -> Result<Vec<Policy<'_>>, ParseError> {
    let mut walker = list(value, "CertificatePolicies")?;
    let mut found = Vec::with_capacity(1);
    while !walker.is_empty() {
        let mut fields = walker.expect(SEQUENCE, "PolicyInformation")?.walk();
        let id = fields.expect(OID, "policyIdentifier")?.content;
        let mut qualifiers = Vec::new();
        if let Some(sequence) = fields.optional(SEQUENCE)? {
            let mut each = list(sequence.whole, "policyQualifiers")?;
            while !each.is_empty() {
                let mut pair = each.expect(SEQUENCE, "PolicyQualifierInfo")?.walk();
                let kind = pair.expect(OID, "policyQualifierId")?.content;
                let qualifier = pair.next()?;
                pair.finish("PolicyQualifierInfo")?;
                qualifiers.push((kind, qualifier));
            }
        }
        fields.finish("PolicyInformation")?;
        found.push(Policy { id, qualifiers });
    }
    Ok(found)
}

/// Pairs of policies.
pub(super) fn policy_mappings(value: &[u8]) -> Result<Vec<[&[u8]; 2]>, ParseError> {
    let mut walker = list(value, "PolicyMappings")?;
    let mut found = Vec::new();
    while !walker.is_empty() {
        let mut pair = walker.expect(SEQUENCE, "PolicyMapping")?.walk();
        found.push([pair.expect(OID, "issuerDomainPolicy")?.content, pair.expect(OID, "subjectDomainPolicy")?.content]);
        pair.finish("PolicyMapping")?;
    }
    Ok(found)
}

/// An empty sequence is its own rule's.
pub(super) fn policy_constraints(value: &[u8]) -> Result<[Option<u32>; 2], ParseError> {
    let mut fields = Walker::single(value, SEQUENCE, "PolicyConstraints")?.walk();
    let mut found = [None; 2];
    for (tag, place) in [0x80, 0x81].into_iter().zip(&mut found) {
        *place = fields.optional(tag)?.map(|n| unsigned(n.content, "SkipCerts")).transpose()?;
    }
    fields.finish("PolicyConstraints")?;
    Ok(found)
}

pub(super) fn skip_certs(value: &[u8]) -> Result<u32, ParseError> {
    unsigned(Walker::single(value, INTEGER, "SkipCerts")?.content, "SkipCerts")
}

/// Base and whether minimum or maximum stand beside it.
pub(super) struct Subtree<'a> {
    pub(super) base: GeneralName<'a>,
    pub(super) has_range: bool,
}

/// Permitted and excluded subtrees (RFC 5280 §4.2.1.10).
pub(super) fn name_constraints(value: &[u8]) -> Result<[Vec<Subtree<'_>>; 2], ParseError> {
    let mut fields = list(value, "NameConstraints")?;
    let mut read = |tag| -> Result<Vec<Subtree<'_>>, ParseError> {
        let Some(subtrees) = fields.optional(tag)? else { return Ok(Vec::new()) };
        let mut walker = subtrees.walk();
        let mut found = Vec::new();
        while !walker.is_empty() {
            let mut subtree = walker.expect(SEQUENCE, "GeneralSubtree")?.walk();
            let base = GeneralName::read_base(&subtree.next()?)?;
            let has_range = !subtree.is_empty();
            for tag in [0x80, 0x81] {
                subtree.optional(tag)?.map(|n| unsigned(n.content, "BaseDistance")).transpose()?;
            }
            subtree.finish("GeneralSubtree")?;
            found.push(Subtree { base, has_range });
        }
        if found.is_empty() { Err(ParseError::Value("GeneralSubtrees")) } else { Ok(found) }
    };
    let both = [read(0xa0)?, read(0xa1)?];
    fields.finish("NameConstraints")?;
    Ok(both)
}

/// Statements: the identifier of each, and the rest.
pub(super) fn qc_statements(value: &[u8]) -> Result<Vec<(&[u8], &[u8])>, ParseError> {
    let mut walker = list(value, "QCStatements")?;
    let mut found = Vec::new();
    while !walker.is_empty() {
        let statement = walker.expect(SEQUENCE, "QCStatement")?;
        let mut fields = statement.walk();
        let id = fields.expect(OID, "statementId")?;
        if !fields.is_empty() {
            fields.next()?;
        }
        fields.finish("QCStatement")?;
        found.push((id.content, &statement.content[id.whole.len()..]));
    }
    Ok(found)
}

/// TLS extension numbers (RFC 7633 §4).
pub(super) fn tls_features(value: &[u8]) -> Result<(), ParseError> {
    let mut walker = list(value, "Features")?;
    while !walker.is_empty() {
        unsigned(walker.expect(INTEGER, "feature")?.content, "feature")?;
    }
    Ok(())
}

/// Attributes with sets of values (RFC 5280 §4.2.1.8).
pub(super) fn directory_attributes(value: &[u8]) -> Result<(), ParseError> {
    let mut walker = list(value, "SubjectDirectoryAttributes")?;
    while !walker.is_empty() {
        let mut fields = walker.expect(SEQUENCE, "Attribute")?.walk();
        fields.expect(OID, "attribute type")?;
        if fields.expect(SET, "attribute values")?.content.is_empty() {
            return Err(ParseError::Value("attribute values"));
        }
        fields.finish("Attribute")?;
    }
    Ok(())
}

/// cRLNumber and its like: a number that is not negative; its content octets.
pub(super) fn number(value: &[u8]) -> Result<&[u8], ParseError> {
    let content = Walker::single(value, INTEGER, "CRLNumber")?.content;
    unsigned(content, "CRLNumber").map(|_| content)
}

/// ENUMERATED (RFC 5280 §5.3.1).
pub(super) fn reason(value: &[u8]) -> Result<u8, ParseError> {
    match value {
        [0x0a, 1, code @ (0..=6 | 8..=10)] => Ok(*code),
        _ => Err(ParseError::Value("CRLReason")),
    }
}

pub(super) fn generalized_time(value: &[u8]) -> Result<(), ParseError> {
    read_time(&Walker::single(value, GENERALIZED_TIME, "time")?, "time").map(|_| ())
}

/// The type and the value of an attribute of a name.
pub(super) fn attribute<'a>(attributes: &mut Walker<'a>) -> Result<(&'a [u8], Tlv<'a>), ParseError> {
    let mut pair = attributes.expect(SEQUENCE, "AttributeTypeAndValue")?.walk();
    let kind = pair.expect(OID, "attribute type")?.content;
    let value = pair.next()?;
    pair.finish("AttributeTypeAndValue")?;
    Ok((kind, value))
}

/// RFC 6960 §4.4.2: where the CRL can be found, its number, its time.
pub(super) fn crl_references(value: &[u8]) -> Result<(), ParseError> {
    let mut fields = Walker::single(value, SEQUENCE, "CrlID")?.walk();
    for (wrapper, tag) in [(0xa0, IA5_STRING), (0xa1, INTEGER), (0xa2, GENERALIZED_TIME)] {
        if let Some(field) = fields.optional(wrapper)? {
            Walker::single(field.content, tag, "CrlID")?;
        }
    }
    fields.finish("CrlID")
}

/// `SEQUENCE { OID, UTF8String }` and the like: the two contents.
pub(super) fn pair<'a>(walker: &mut Walker<'a>, what: &'static str) -> Result<(&'a [u8], &'a [u8]), ParseError> {
    let mut fields = walker.expect(SEQUENCE, what)?.walk();
    let both = (fields.expect(OID, what)?.content, fields.expect(UTF8_STRING, what)?.content);
    fields.finish(what)?;
    Ok(both)
}
