//! Every element of an object, judged as DER (X.690 §8 to §11), whatever it means.

use std::fmt;

use super::finding::Report;
use super::rule::{Check, Hits, Rule};
use crate::pki::hex;
use crate::pki::walk::{
    BIT_STRING, BOOLEAN, GENERALIZED_TIME, IA5_STRING, INTEGER, OID, PRINTABLE_STRING, SET, Tlv, UTC_TIME, UTF8_STRING, Walker, read_time,
};

/// Deepest nesting that is followed: what is judged here has less than half of it.
const MAX_DEPTH: usize = 32;

pub(super) const NULL: u8 = 0x05;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const NUMERIC_STRING: u8 = 0x12;
pub(super) const TELETEX_STRING: u8 = 0x14;
pub(super) const VISIBLE_STRING: u8 = 0x1a;
pub(super) const UNIVERSAL_STRING: u8 = 0x1c;
pub(super) const BMP_STRING: u8 = 0x1e;

/// A field's place; a text only where something is found there.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    field: &'p str,
    index: Option<usize>,
    extension: Option<&'p [u8]>,
}

impl<'p> Place<'p> {
    pub(super) const fn of(field: &'p str) -> Self {
        Self { field, index: None, extension: None }
    }

    /// The entry of a list.
    pub(super) const fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }

    /// An extension there.
    pub(super) const fn extension(self, id: &'p [u8]) -> Self {
        Self { extension: Some(id), ..self }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        self.index.map_or(Ok(()), |index| write!(f, "[{index}]"))?;
        self.extension.map_or(Ok(()), |id| write!(f, ".{}", super::known::name(id)))
    }
}

/// An element, and the way to it.
pub(super) struct Element<'a, 'p> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    field: Place<'p>,
    /// The index of the element at each level below the field.
    path: &'p [usize],
}

impl Element<'_, '_> {
    /// `tbsCertificate.subject/1/0`: the field, then the index at each level within it.
    fn place(&self) -> String {
        self.path.iter().fold(self.field.to_string(), |text, index| format!("{text}/{index}"))
    }
}

pub(super) static FORM: Rule = Rule::reading(
    "der-form",
    "X.690 §8.1, §10.1",
    "tags have one octet, lengths are definite and in their shortest form, no element runs past the one around it",
    super::Object::Any,
);
pub(super) static DEPTH: Rule =
    Rule::reading("der-depth", "this linter's bound", "elements are nested less than 32 deep", super::Object::Any);

pub(super) static RULES: &[Rule] = &[
    Rule::element("der-boolean", "X.690 §8.2, §11.1", "a BOOLEAN is one octet, 0x00 or 0xff", &[BOOLEAN], |e, hits| {
        require(matches!(e.content, [0 | 0xff]), e, hits);
    }),
    Rule::element(
        "der-integer",
        "X.690 §8.3.2",
        "an INTEGER or ENUMERATED has at least one octet and none that could be left out",
        &[INTEGER, ENUMERATED],
        |e, hits| require(is_integer(e.content), e, hits),
    ),
    Rule::element(
        "der-bit-string",
        "X.690 §8.6.2, §11.2",
        "a BIT STRING has at most 7 unused bits, all zero, and none where it is empty",
        &[BIT_STRING],
        |e, hits| require(is_bit_string(e.content), e, hits),
    ),
    Rule::element("der-null", "X.690 §8.8", "a NULL has no content", &[NULL], |e, hits| require(e.content.is_empty(), e, hits)),
    Rule::element(
        "der-object-identifier",
        "X.690 §8.19",
        "each arc of an OBJECT IDENTIFIER is whole and in its shortest form",
        &[OID],
        |e, hits| {
            require(is_object_identifier(e.content), e, hits);
        },
    ),
    Rule::element(
        "der-primitive",
        "X.690 §8.9.1, §8.11.1, §10.2",
        "strings are primitive, SEQUENCE and SET are constructed",
        &[0x10, 0x11, 0x23, 0x24, 0x2c, 0x32, 0x33, 0x34, 0x36, 0x37, 0x38, 0x3a, 0x3c, 0x3e],
        |e, hits| require(false, e, hits),
    ),
    Rule::element(
        "der-set-order",
        "X.690 §11.6",
        "the elements of a SET OF stand in ascending order of their encodings",
        &[SET],
        |e, hits| {
            require(is_ordered(e.content), e, hits);
        },
    ),
    Rule::element(
        "utf8-string",
        "X.690 §8.23.10; RFC 3629",
        "a UTF8String is UTF-8 without control characters",
        &[UTF8_STRING],
        |e, hits| {
            require(std::str::from_utf8(e.content).is_ok_and(|t| !t.chars().any(char::is_control)), e, hits);
        },
    ),
    Rule::element("printable-string", "X.680 §41.4", "a PrintableString keeps to its alphabet", &[PRINTABLE_STRING], |e, hits| {
        require(e.content.iter().all(|b| is_printable(*b)), e, hits);
    }),
    Rule::element("numeric-string", "X.680 §41.2", "a NumericString has digits and spaces", &[NUMERIC_STRING], |e, hits| {
        require(e.content.iter().all(|b| b.is_ascii_digit() || *b == b' '), e, hits);
    }),
    Rule::element(
        "ascii-string",
        "X.680 §41.1",
        "an IA5String or VisibleString has printing ASCII characters",
        &[IA5_STRING, VISIBLE_STRING],
        |e, hits| require(e.content.iter().all(|b| (0x20..0x7f).contains(b)), e, hits),
    ),
    Rule::element(
        "wide-string",
        "X.690 §8.23.7, §8.23.8",
        "a BMPString or UniversalString is a whole number of characters",
        &[BMP_STRING, UNIVERSAL_STRING],
        |e, hits| require(wide_text(e.tag, e.content).is_some(), e, hits),
    ),
    Rule::element(
        "utc-time",
        "RFC 5280 §4.1.2.5.1; X.690 §11.8",
        "a UTCTime is a moment written as YYMMDDHHMMSSZ",
        &[UTC_TIME],
        |e, hits| {
            require(is_time(e), e, hits);
        },
    ),
    Rule::element(
        "generalized-time",
        "RFC 5280 §4.1.2.5.2; X.690 §11.7",
        "a GeneralizedTime is a moment written as YYYYMMDDHHMMSSZ",
        &[GENERALIZED_TIME],
        |e, hits| require(is_time(e), e, hits),
    ),
];

fn require(holds: bool, e: &Element<'_, '_>, hits: &mut Hits<'_>) {
    hits.require(holds, || e.place(), || format!("the element with tag {:#04x} is {}", e.tag, hexadecimal(e.content)));
}

/// At most 16 octets in hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let shown = hex(&bytes[..bytes.len().min(16)]);
    match bytes.len() {
        0 => "empty".to_owned(),
        1..=16 => shown,
        all => format!("{shown}… ({all} octets)"),
    }
}

/// At most 80 characters of text, without what could steer a terminal.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]);
    let clean: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if bytes.len() > 80 { format!("`{clean}…`") } else { format!("`{clean}`") }
}

pub(super) const fn is_integer(content: &[u8]) -> bool {
    !matches!(content, [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..])
}

const fn is_bit_string(content: &[u8]) -> bool {
    match content {
        [0] => true,
        [unused @ 0..=7, .., last] => *last & ((1 << *unused) - 1) == 0,
        _ => false,
    }
}

pub(super) fn is_object_identifier(content: &[u8]) -> bool {
    // An arc begins after an octet without the top bit; 0x80 there is a leading zero.
    let starts_ok = content.iter().zip([0].iter().chain(content)).all(|(octet, before)| before & 0x80 != 0 || *octet != 0x80);
    content.last().is_some_and(|last| last & 0x80 == 0) && starts_ok
}

fn is_ordered(content: &[u8]) -> bool {
    let mut walker = Walker::new(content);
    let mut last: Option<&[u8]> = None;
    // What can't be walked is reported by its own rule.
    while let Ok(element) = walker.next() {
        // X.690 §11.6 pads the shorter one with zeros; a prefix that is a whole element can't differ from it so.
        if last.is_some_and(|last| last > element.whole) {
            return false;
        }
        last = Some(element.whole);
    }
    true
}

const fn is_printable(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b' ' | b'\'' | b'(' | b')' | b'+' | b',' | b'-' | b'.' | b'/' | b':' | b'=' | b'?')
}

/// The characters of a BMPString or UniversalString.
pub(super) fn wide_text(tag: u8, content: &[u8]) -> Option<String> {
    if tag == BMP_STRING {
        let (units, []) = content.as_chunks::<2>() else { return None };
        // A BMPString has no surrogates, so that decoding UTF-16 is stricter nowhere else.
        return char::decode_utf16(units.iter().map(|u| u16::from_be_bytes(*u)))
            .map(|c| c.ok().filter(|c| (*c as u32) < 0x1_0000))
            .collect();
    }
    let (units, []) = content.as_chunks::<4>() else { return None };
    units.iter().map(|u| char::from_u32(u32::from_be_bytes(*u))).collect()
}

fn is_time(e: &Element<'_, '_>) -> bool {
    let element = Tlv { tag: e.tag, content: e.content, whole: e.content };
    // A leap second can't be told from an error by those who count without them.
    read_time(&element, "time").is_ok() && !e.content.ends_with(b"60Z")
}

/// Judges `root` and everything within it; false where it can't be walked to its end.
pub(super) fn judge(root: &Tlv<'_>, field: Place<'_>, report: &mut Report) -> bool {
    let mut open = [Walker::new(&[]); MAX_DEPTH];
    let mut path = [0; MAX_DEPTH];
    let mut depth = 0;
    judge_one(root, field, &[], report);
    if root.tag & 0x20 != 0 {
        open[0] = root.walk();
        depth = 1;
    }
    while depth > 0 {
        let walker = &mut open[depth - 1];
        if walker.is_empty() {
            depth -= 1;
            if depth > 0 {
                path[depth - 1] += 1;
            }
            continue;
        }
        let element = match walker.next() {
            Ok(element) => element,
            Err(error) => {
                let place = Element { tag: 0, content: &[], field, path: &path[..depth] }.place();
                FORM.hit(report, place, error.to_string());
                return false;
            }
        };
        judge_one(&element, field, &path[..depth], report);
        if element.tag & 0x20 == 0 {
            path[depth - 1] += 1;
        } else if depth == MAX_DEPTH {
            DEPTH.hit(report, field.to_string(), "elements are nested deeper than is followed");
            return false;
        } else {
            (open[depth], path[depth]) = (element.walk(), 0);
            depth += 1;
        }
    }
    true
}

/// Judges the one element that `bytes` must be, and everything within it.
pub(super) fn judge_single(bytes: &[u8], field: Place<'_>, report: &mut Report) -> bool {
    let mut walker = Walker::new(bytes);
    match walker.next() {
        Ok(element) => {
            let ends = walker.is_empty();
            if !ends {
                FORM.hit(report, field.to_string(), "bytes follow where the element ends");
            }
            judge(&element, field, report) && ends
        }
        Err(error) => {
            FORM.hit(report, field.to_string(), error.to_string());
            false
        }
    }
}

fn judge_one(element: &Tlv<'_>, field: Place<'_>, path: &[usize], report: &mut Report) {
    let e = Element { tag: element.tag, content: element.content, field, path };
    for rule in RULES {
        if let Check::Element(tags, check) = rule.check
            && tags.contains(&element.tag)
        {
            check(&e, &mut Hits { rule, report });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::encode;

    fn judged(bytes: &[u8]) -> Vec<(&'static str, String)> {
        let mut report = Report::default();
        judge_single(bytes, Place::of("x"), &mut report);
        report.findings().iter().map(|f| (f.rule, f.field.clone())).collect()
    }

    #[track_caller]
    fn check(tag: u8, content: &[u8], expected: &[&str]) {
        let rules: Vec<_> = judged(&encode::tlv(tag, content)).into_iter().map(|(rule, _)| rule).collect();
        assert_eq!(rules, expected, "{tag:#04x} {content:02x?}");
    }

    #[test]
    fn elements_one_by_one() {
        for (tag, good, rule, bad) in [
            (BOOLEAN, &[&[0][..], &[0xff]][..], "der-boolean", &[&[1][..], &[], &[0, 0]][..]),
            (INTEGER, &[&[0], &[0x80], &[0, 0x80], &[0xff, 0x7f]], "der-integer", &[&[], &[0, 0x7f], &[0xff, 0x80]]),
            (ENUMERATED, &[&[1]], "der-integer", &[&[0, 1]]),
            (BIT_STRING, &[&[0], &[0, 1], &[1, 2], &[7, 0x80]], "der-bit-string", &[&[], &[1], &[8, 0], &[1, 1], &[0xff, 0]]),
            (NULL, &[&[]], "der-null", &[&[0]]),
            (
                OID,
                &[&[0x55, 4], &[0x88, 0x37], &[0x2a, 0x80 | 1, 0]],
                "der-object-identifier",
                &[&[], &[0x80, 1], &[0x2a, 0x86], &[0x2a, 0x80, 1]],
            ),
            (UTF8_STRING, &["é".as_bytes(), b""], "utf8-string", &[&[0xff], b"a\0b", b"\x1b[31m"]),
            (PRINTABLE_STRING, &[b"A '()+,-./:=?9"], "printable-string", &[b"a@b", b"a*b", b"a_b", "é".as_bytes()]),
            (NUMERIC_STRING, &[b"1 2"], "numeric-string", &[b"1a"]),
            (IA5_STRING, &[b"a@b"], "ascii-string", &["é".as_bytes(), b"a\n"]),
            (BMP_STRING, &[&[0, 65]], "wide-string", &[&[0], &[0xd8, 0], &[0xd8, 0, 0xdc, 0]]),
            (UNIVERSAL_STRING, &[&[0, 0, 0, 65]], "wide-string", &[&[0, 0, 0], &[0xff, 0, 0, 0]]),
            (UTC_TIME, &[b"261124030000Z"], "utc-time", &[b"2611240300Z", b"261324030000Z", b"261124030060Z", b"261124030000+0100"]),
            (GENERALIZED_TIME, &[b"20501124030000Z"], "generalized-time", &[b"20501124030000.5Z", b"205011240300Z", b"20501124030000"]),
            (0x24, &[], "der-primitive", &[&[4, 0]]),
        ] {
            good.iter().for_each(|content| check(tag, content, &[]));
            bad.iter().for_each(|content| check(tag, content, &[rule]));
        }
        check(SET, &[2, 1, 1, 2, 1, 2], &[]);
        check(SET, &[2, 1, 2, 2, 1, 1], &["der-set-order"]);
    }

    #[test]
    fn places_and_depth() {
        let bad = [0x30, 8, 2, 1, 1, 0x30, 3, 1, 1, 7];
        assert_eq!(judged(&bad), [("der-boolean", "x/1/0".to_owned())]);
        assert_eq!(judged(&[0x30, 4, 2, 1, 1, 2]), [("der-form", "x/1".to_owned())]);
        let nested = |depth: usize| (0..depth).fold(vec![5, 0], |inner, _| encode::tlv(0x30, &inner));
        assert_eq!(judged(&nested(MAX_DEPTH)), []);
        assert_eq!(judged(&nested(MAX_DEPTH + 1)), [("der-depth", "x".to_owned())]);
    }
}
