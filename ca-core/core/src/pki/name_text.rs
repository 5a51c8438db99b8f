//! Distinguished names as text (RFC 4514).

use const_oid::ObjectIdentifier;

use super::walk::{self, ParseError, SEQUENCE, SET, Tlv, Walker};
use super::{hex, oid};

/// The attribute types that RFC 4514 §3 gives a name to; any other is written in dotted form with its value in
/// hexadecimal, which is what a token server compares (RFC 8705 §2.1.2).
const NAMES: [(ObjectIdentifier, &str); 9] = [
    (oid::COMMON_NAME, "CN"),
    (oid::LOCALITY, "L"),
    (oid::STATE, "ST"),
    (oid::ORGANIZATION, "O"),
    (oid::ORGANIZATIONAL_UNIT, "OU"),
    (oid::COUNTRY, "C"),
    (oid::STREET, "STREET"),
    (oid::DOMAIN_COMPONENT, "DC"),
    (oid::USER_ID, "UID"),
];

/// The text of a name, the last RDN first; empty for an empty name.
pub(crate) fn name_text(name: &Tlv<'_>) -> Result<String, ParseError> {
    let mut rdns = Vec::new();
    let mut sets = name.walk();
    while !sets.is_empty() {
        let mut attributes = sets.expect(SET, "relative distinguished name")?.walk();
        let mut texts = Vec::new();
        while !attributes.is_empty() {
            texts.push(attribute(attributes.expect(SEQUENCE, "attribute")?.walk())?);
        }
        if texts.is_empty() {
            return Err(ParseError::Value("relative distinguished name"));
        }
        rdns.push(texts.join("+"));
    }
    rdns.reverse();
    Ok(rdns.join(","))
}

fn attribute(mut pair: Walker<'_>) -> Result<String, ParseError> {
    let kind = pair.expect(walk::OID, "attribute type")?;
    let value = pair.next()?;
    pair.finish("attribute")?;
    let is_text = matches!(value.tag, walk::UTF8_STRING | walk::PRINTABLE_STRING | walk::IA5_STRING);
    let name = NAMES.iter().find(|(id, _)| id.as_bytes() == kind.content).map(|(_, name)| *name);
    if let (Some(name), true) = (name, is_text) {
        let text = std::str::from_utf8(value.content).map_err(|_| ParseError::Value("attribute value"))?;
        return Ok(format!("{name}={}", escaped(text)));
    }
    let id = ObjectIdentifier::from_bytes(kind.content).map_err(|_| ParseError::Value("attribute type"))?;
    let digits = hex(value.whole);
    Ok(format!("{id}=#{digits}"))
}

/// RFC 4514 §2.4; controls too, so that a name stays on one line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let last = text.chars().count().saturating_sub(1);
    for (i, c) in text.chars().enumerate() {
        match c {
            ' ' if i == 0 || i == last => out.push_str("\\ "),
            '#' if i == 0 => out.push_str("\\#"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii_control() => out.push_str(&format!("\\{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::encode;

    #[track_caller]
    fn check(rdns: &[&[(ObjectIdentifier, u8, &str)]], expected: &str) {
        let pair =
            |(id, tag, text): &(ObjectIdentifier, u8, &str)| encode::sequence(&[&encode::oid(*id), &encode::tlv(*tag, text.as_bytes())]);
        let sets: Vec<_> = rdns.iter().map(|rdn| encode::tlv(SET, &rdn.iter().map(pair).collect::<Vec<_>>().concat())).collect();
        let der = encode::tlv(SEQUENCE, &sets.concat());
        assert_eq!(name_text(&Walker::new(&der).next().unwrap()).as_deref(), Ok(expected));
    }

    #[test]
    fn names_are_written_as_rfc_4514_has_it() {
        use walk::{PRINTABLE_STRING as P, UTF8_STRING as U};
        check(&[], "");
        check(
            &[&[(oid::COUNTRY, P, "GB")], &[(oid::ORGANIZATION, U, "Démo, Ltd")], &[(oid::COMMON_NAME, U, "a")]],
            "CN=a,O=Démo\\, Ltd,C=GB",
        );
        check(&[&[(oid::COMMON_NAME, U, " #a+b\"\\;<> ")]], "CN=\\ #a\\+b\\\"\\\\\\;\\<\\>\\ ");
        check(&[&[(oid::COMMON_NAME, U, "#a\n")]], "CN=\\#a\\0a");
        check(&[&[(oid::COMMON_NAME, U, "a"), (oid::ORGANIZATION, U, "b")]], "CN=a+O=b");
        check(&[&[(oid::USER_ID, U, "u")], &[(oid::STATE, U, "SP")], &[(oid::LOCALITY, U, "x")]], "L=x,ST=SP,UID=u");
        // Without a name in RFC 4514 §3: the dotted form, and the value's DER.
        check(&[&[(oid::ORGANIZATION_IDENTIFIER, U, "PSD")]], "2.5.4.97=#0c03505344");
        check(&[&[(oid::JURISDICTION_COUNTRY, P, "BR")]], "1.3.6.1.4.1.311.60.2.1.3=#13024252");
        // A string type that is no text here.
        check(&[&[(oid::COMMON_NAME, 0x1e, "\0a")]], "2.5.4.3=#1e020061");
    }
}
