//! qcStatements: the shape of those that PSD2 certificates carry (ETSI EN 319 412-5, TS 119 495).

use crate::lint::certificate::CertificateView;
use crate::lint::finding::Severity::{Error, Notice};
use crate::lint::known;
use crate::lint::rule::{Object, Rule};
use crate::lint::values::{pair, qc_statements};
use crate::pki::walk::{OID, ParseError, SEQUENCE, UTF8_STRING, Walker};

const FIELD: &str = "tbsCertificate.extensions.qcStatements";
/// 0.4.0.1862.1.6, to which 1 to 3 are added: esign, eseal, web.
const TYPE_ARC: &[u8] = &[0x04, 0x00, 0x8e, 0x46, 0x01, 0x06];
/// 0.4.0.19495.1, to which 1 to 4 are added.
const ROLE_ARC: &[u8] = &[0x04, 0x00, 0x81, 0x98, 0x27, 0x01];
const ROLES: [&[u8]; 4] = [b"PSP_AS", b"PSP_PI", b"PSP_AI", b"PSP_IC"];

fn statement<'a>(view: &CertificateView<'a>, id: const_oid::ObjectIdentifier) -> Option<&'a [u8]> {
    let all = view.value(known::QC_STATEMENTS, qc_statements)?;
    all.into_iter().find(|(found, _)| *found == id.as_bytes()).map(|(_, rest)| rest)
}

/// `SEQUENCE { rolesOfPSP SEQUENCE OF SEQUENCE { OID, UTF8String }, nCAName UTF8String, nCAId UTF8String }`
/// (TS 119 495 §5.1); each role's name is that of its identifier.
fn psd2(value: &[u8]) -> Result<(), ParseError> {
    let mut fields = Walker::single(value, SEQUENCE, "PSD2QcType")?.walk();
    let mut roles = fields.expect(SEQUENCE, "rolesOfPSP")?.walk();
    let mut seen = 0u8;
    if roles.is_empty() {
        return Err(ParseError::Value("rolesOfPSP"));
    }
    while !roles.is_empty() {
        let (id, name) = pair(&mut roles, "RoleOfPSP")?;
        let index = match id.strip_prefix(ROLE_ARC) {
            Some(&[index @ 1..=4]) => index - 1,
            _ => return Err(ParseError::Value("roleOfPspOid")),
        };
        if ROLES[usize::from(index)] != name || seen & 1 << index != 0 {
            return Err(ParseError::Value("roleOfPspName"));
        }
        seen |= 1 << index;
    }
    let (name, id) = (fields.expect(UTF8_STRING, "nCAName")?.content, fields.expect(UTF8_STRING, "nCAId")?.content);
    fields.finish("PSD2QcType")?;
    if !(1..=256).contains(&String::from_utf8_lossy(name).chars().count()) {
        return Err(ParseError::Value("nCAName"));
    }
    // TS 119 495 §5.2.3: country, hyphen, two to eight letters.
    match id {
        [b'A'..=b'Z', b'A'..=b'Z', b'-', rest @ ..] if (2..=8).contains(&rest.len()) && rest.iter().all(u8::is_ascii_uppercase) => Ok(()),
        _ => Err(ParseError::Value("nCAId")),
    }
}

fn qc_type(value: &[u8]) -> Result<(), ParseError> {
    let mut types = Walker::single(value, SEQUENCE, "QcType")?.walk();
    if types.is_empty() {
        return Err(ParseError::Value("QcType"));
    }
    while !types.is_empty() {
        match types.expect(OID, "QcType")?.content.strip_prefix(TYPE_ARC) {
            Some([1..=3]) => {}
            _ => return Err(ParseError::Value("QcType")),
        }
    }
    Ok(())
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::syntax(
        "qc-statements-syntax",
        "RFC 3739 §3.2.6",
        "qcStatements is a list of at least one statement",
        Object::Certificate,
        known::QC_STATEMENTS,
        |value| qc_statements(value).map(|_| ()),
    ),
    Rule::critical(
        "qc-statements-critical",
        "EN 319 412-5 §4.1",
        Error,
        "qcStatements is not critical",
        Object::Certificate,
        (known::QC_STATEMENTS, false),
    ),
    Rule::certificate("qc-statements-repeated", "EN 319 412-5 §4.1", Error, "each statement stands once", |view, hits| {
        let statements = view.value(known::QC_STATEMENTS, qc_statements).unwrap_or_default();
        let different: std::collections::BTreeSet<_> = statements.iter().map(|(id, _)| id).collect();
        hits.require(different.len() == statements.len(), || FIELD.to_owned(), || "a statement stands twice".to_owned());
    }),
    Rule::certificate("qc-type", "EN 319 412-5 §4.2.3", Error, "QcType is a list of esign, eseal or web", |view, hits| {
        if let Some(Err(error)) = statement(view, known::QC_TYPE).map(qc_type) {
            hits.hit(format!("{FIELD}.QcType"), error.to_string());
        }
    }),
    Rule::certificate(
        "psd2-statement",
        "TS 119 495 §5.1, §5.2",
        Error,
        "the PSD2 statement lists roles, each a pair of its identifier and its own name, then the authority's name and identifier",
        |view, hits| {
            if let Some(Err(error)) = statement(view, known::PSD2).map(psd2) {
                hits.hit(format!("{FIELD}.PSD2"), error.to_string());
            }
        },
    ),
    Rule::certificate(
        "qc-compliance",
        "EN 319 412-5 §4.2.1; profiles",
        Notice,
        "QcCompliance is a qualified trust service's to state",
        |view, hits| {
            let holds = statement(view, known::QC_COMPLIANCE).is_none();
            hits.require(holds, || FIELD.to_owned(), || "QcCompliance stands there".to_owned());
        },
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// TS 119 495's reference vector, which open-banking directories accept, and the shape that some tools write instead.
    #[test]
    fn the_reference_vector_is_accepted_and_flattened_roles_are_not() {
        let whole = "306e3013060604008e4601063009060704008e4601060330570606040081982702304d302630110607040081982701020c065053505f5049\
            30110607040081982701030c065053505f41490c1b46696e616e6369616c20436f6e6475637420417574686f726974790c0647422d464341";
        let digits: Vec<u8> = whole.bytes().filter(u8::is_ascii_hexdigit).collect();
        let vector: Vec<u8> = digits.chunks(2).map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap()).collect();
        let statements = qc_statements(&vector).unwrap();
        let value = |id: const_oid::ObjectIdentifier| statements.iter().find(|(found, _)| *found == id.as_bytes()).unwrap().1;
        assert_eq!(qc_type(value(known::QC_TYPE)), Ok(()));
        let good = value(known::PSD2);
        assert_eq!(psd2(good), Ok(()));

        let mut fields = Walker::new(Walker::new(good).next().unwrap().content);
        let mut roles = fields.next().unwrap().walk();
        let mut flat = Vec::new();
        while !roles.is_empty() {
            flat.extend_from_slice(roles.next().unwrap().content);
        }
        let rest = [fields.next().unwrap().whole, fields.next().unwrap().whole];
        let whole = |roles: &[u8]| crate::pki::encode::sequence(&[&crate::pki::encode::sequence(&[roles]), rest[0], rest[1]]);
        assert!(psd2(&whole(&flat)).is_err());
        assert!(psd2(&whole(&[])).is_err());
        for (at, octet) in [(good.len() - 1, b'a'), (good.len() - 4, b'_'), (20, b'x')] {
            let mut changed = good.to_vec();
            changed[at] = octet;
            assert!(psd2(&changed).is_err(), "octet {at}");
        }
    }
}
