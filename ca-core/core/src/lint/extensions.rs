//! Extensions of any object (RFC 5280 §4.2): how they stand in their list, their values as DER and as their types.

use super::element::{self, Place};
use super::finding::Report;
use super::known;
use super::rule::{Check, Object, Rule};
use crate::pki::walk::{BOOLEAN, OCTET_STRING, OID, ParseError, SEQUENCE, Tlv};

/// Most extensions of one object that are judged.
const MAX_EXTENSIONS: usize = 64;

/// An extension, where it stands in an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extension<'a> {
    /// The content octets of extnID.
    pub(super) oid: &'a [u8],
    pub(super) critical: bool,
    /// Whether `critical` is written out though it is FALSE.
    pub(super) writes_default: bool,
    /// The content of extnValue.
    pub(super) value: &'a [u8],
    /// All of it.
    element: Tlv<'a>,
}

pub(super) static EMPTY: Rule =
    Rule::reading("extensions-empty", "RFC 5280 §4.1", "a list of extensions that is there has at least one", Object::Any);
pub(super) static DEFAULT: Rule = Rule::reading("extension-default", "X.690 §11.5", "critical is left out where it is FALSE", Object::Any);
pub(super) static REPEATED: Rule = Rule::reading("extension-repeated", "RFC 5280 §4.2", "each extension stands once", Object::Any);
pub(super) static UNKNOWN_CRITICAL: Rule =
    Rule::reading("extension-unknown-critical", "RFC 5280 §4.2", "a critical extension is one that is understood", Object::Any);
pub(super) static UNKNOWN: Rule =
    Rule::noticing("extension-unknown", "RFC 5280 §4.2", "an extension is one that is understood", Object::Any);

/// Reads `Extensions`; what stands twice and what DER would leave out is for the rules.
pub(super) fn read_extensions<'a>(sequence: &Tlv<'a>) -> Result<Vec<Extension<'a>>, ParseError> {
    let mut list = sequence.walk();
    let mut found = Vec::with_capacity(8);
    while !list.is_empty() {
        let element = list.expect(SEQUENCE, "extension")?;
        let mut fields = element.walk();
        let oid = fields.expect(OID, "extnID")?.content;
        let flag = fields.optional(BOOLEAN)?;
        let value = fields.expect(OCTET_STRING, "extnValue")?.content;
        fields.finish("extension")?;
        if found.len() == MAX_EXTENSIONS {
            return Err(ParseError::TooLarge);
        }
        let critical = flag.is_some_and(|f| f.content != [0]);
        found.push(Extension { oid, critical, writes_default: flag.is_some() && !critical, value, element });
    }
    Ok(found)
}

/// Judges how extensions stand in their list, and their elements, those within their values too: each of these is the DER
/// of one value.
/// `place` is one of those in [`known`]. False where a value can't be walked.
pub(super) fn judge_values(field: Place<'_>, extensions: &[Extension<'_>], place: u8, report: &mut Report) -> bool {
    let mut whole = true;
    for (index, extension) in extensions.iter().enumerate() {
        let field = field.extension(extension.oid);
        if extension.writes_default {
            DEFAULT.hit(report, field.to_string(), "critical is FALSE, which is the default, and written out");
        }
        if extensions[..index].iter().any(|e| e.oid == extension.oid) {
            REPEATED.hit(report, field.to_string(), "the extension stands twice");
        }
        match (known::is_known(extension.oid, place), extension.critical) {
            (true, _) => {}
            (false, true) => UNKNOWN_CRITICAL.hit(report, field.to_string(), "it is critical, and not understood here"),
            (false, false) => UNKNOWN.hit(report, field.to_string(), "it is not understood here"),
        }
        whole &= element::judge(&extension.element, field, report);
        whole &= element::judge_single(extension.value, field, report);
    }
    whole
}

/// Judges extensions by the rules on their syntax and criticality.
pub(super) fn judge(object: Object, field: Place<'_>, extensions: &[Extension<'_>], report: &mut Report) {
    if extensions.is_empty() {
        EMPTY.hit(report, field.to_string(), "the list is empty");
    }
    for rule in super::rules() {
        match rule.check {
            Check::Syntax(of, id, read) if of == object => {
                for extension in extensions.iter().filter(|e| e.oid == id.as_bytes()) {
                    if let Err(error) = read(extension.value) {
                        rule.hit(report, field.extension(extension.oid).to_string(), error.to_string());
                    }
                }
            }
            Check::Critical(of, id, critical) if of == object => {
                for extension in extensions.iter().filter(|e| e.oid == id.as_bytes() && e.critical != critical) {
                    let detail = if critical { "it is not critical" } else { "it is critical" };
                    rule.hit(report, field.extension(extension.oid).to_string(), detail);
                }
            }
            _ => {}
        }
    }
}

pub(super) static RULES: &[&Rule] = &[&EMPTY, &DEFAULT, &REPEATED, &UNKNOWN_CRITICAL, &UNKNOWN];
