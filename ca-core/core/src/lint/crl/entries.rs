//! The entries of a CRL (RFC 5280 §5.3), one after the other. Whether a serial number stands twice is seen where they
//! are in order; otherwise a list of those that fit the bound is sorted.

use const_oid::ObjectIdentifier;

use super::CrlView;
use crate::lint::element::{self, Place, hexadecimal};
use crate::lint::extensions::{EMPTY, Extension, judge_values, read_extensions};
use crate::lint::finding::Report;
use crate::lint::finding::Severity::{Error, Notice};
use crate::lint::known::{self, ENTRY};
use crate::lint::rule::{Check, Hits, Object, Rule};
use crate::lint::rules::fields::wrong_form;
use crate::lint::values;
use crate::pki::oid;
use crate::pki::walk::{INTEGER, ParseError, SEQUENCE, Tlv, Walker, read_time};

const FIELD: &str = "tbsCertList.revokedCertificates";
/// Most entries out of order of which those that stand twice are looked for.
const MAX_UNORDERED: usize = 1 << 16;

pub(super) static STRUCTURE: Rule = Rule::reading(
    "crl-entry-structure",
    "RFC 5280 §5.1",
    "an entry is a serial number, a time and, where there are any, extensions",
    Object::Crl,
);
pub(super) static REPEATED: Rule =
    Rule::reading("crl-entry-repeated", "RFC 5280 §5.1.2.6", "each certificate stands once in a CRL of one issuer", Object::Crl);
pub(super) static ORDER: Rule = Rule::noticing(
    "crl-entry-order",
    "status requirement S7",
    "entries are in ascending order of serial numbers, so that one that stands twice is seen",
    Object::Crl,
);

/// An entry.
pub(in crate::lint) struct Entry<'a> {
    index: usize,
    serial: Tlv<'a>,
    revoked_at: Tlv<'a>,
    has_extensions: bool,
    extensions: Vec<Extension<'a>>,
}

impl<'a> Entry<'a> {
    fn read(element: &Tlv<'a>, index: usize) -> Result<Self, ParseError> {
        let mut fields = element.walk();
        let serial = fields.expect(INTEGER, "userCertificate")?;
        let revoked_at = fields.next()?;
        let list = fields.optional(SEQUENCE)?;
        fields.finish("revokedCertificates")?;
        let extensions = list.as_ref().map_or(Ok(Vec::new()), read_extensions)?;
        Ok(Self { index, serial, revoked_at, has_extensions: list.is_some(), extensions })
    }

    fn place(&self) -> String {
        format!("{FIELD}[{}] (serial {})", self.index, hexadecimal(self.serial.content))
    }

    fn extension(&self, id: ObjectIdentifier) -> Option<&Extension<'a>> {
        self.extensions.iter().find(|e| e.oid == id.as_bytes())
    }

    fn reason(&self) -> Option<u8> {
        self.extension(oid::REASON_CODE).and_then(|e| values::reason(e.value).ok())
    }

    /// The extension can be read, where it is there.
    fn require_syntax(&self, id: ObjectIdentifier, read: fn(&[u8]) -> Result<(), ParseError>, hits: &mut Hits<'_>) {
        if let Some(Err(error)) = self.extension(id).map(|e| read(e.value)) {
            hits.hit(self.place(), error.to_string());
        }
    }

    fn require_critical(&self, id: ObjectIdentifier, critical: bool, hits: &mut Hits<'_>) {
        let holds = self.extension(id).is_none_or(|e| e.critical == critical);
        hits.require(holds, || self.place(), || if critical { "it is not critical" } else { "it is critical" }.to_owned());
    }
}

/// Positive INTEGERs in order: the shorter is the lower.
fn key(serial: &[u8]) -> (usize, &[u8]) {
    (serial.len(), serial)
}

pub(super) fn judge(view: &CrlView<'_>, report: &mut Report) {
    let Some(entries) = view.entries else { return };
    let mut walker = Walker::new(entries);
    let mut last: Option<&[u8]> = None;
    let (mut index, mut is_ordered) = (0, true);
    while !walker.is_empty() {
        let place = Place::of(FIELD).at(index);
        let entry = walker.expect(SEQUENCE, "revokedCertificates").and_then(|element| Entry::read(&element, index));
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return STRUCTURE.hit(report, place.to_string(), error.to_string()),
        };
        element::judge(&entry.serial, place, report);
        element::judge(&entry.revoked_at, place, report);
        judge_values(place, &entry.extensions, ENTRY, report);
        if entry.has_extensions && entry.extensions.is_empty() {
            EMPTY.hit(report, place.to_string(), "the list is empty");
        }
        for rule in ENTRY_RULES {
            if let Check::Entry(check) = rule.check {
                check(&entry, view, &mut Hits { rule, report });
            }
        }
        match last.map(|last| key(last).cmp(&key(entry.serial.content))) {
            Some(std::cmp::Ordering::Equal) if !view.is_indirect() => REPEATED.hit(report, entry.place(), "it stands twice"),
            Some(std::cmp::Ordering::Greater) => is_ordered = false,
            _ => {}
        }
        last = Some(entry.serial.content);
        index += 1;
    }
    if !is_ordered && !view.is_indirect() {
        find_repeated(entries, index, report);
    }
}

fn find_repeated(entries: &[u8], count: usize, report: &mut Report) {
    if count > MAX_UNORDERED {
        return ORDER.hit(report, FIELD, format!("{count} entries are not in order; whether one stands twice was not looked for"));
    }
    ORDER.hit(report, FIELD, "the entries are not in order");
    let mut walker = Walker::new(entries);
    let mut serials = Vec::with_capacity(count);
    while let Ok(element) = walker.next() {
        serials.extend(element.walk().next().map(|serial| serial.content));
    }
    serials.sort_unstable();
    for pair in serials.windows(2).filter(|pair| pair[0] == pair[1]) {
        REPEATED.hit(report, FIELD, format!("the serial number {} stands twice", hexadecimal(pair[0])));
    }
}

pub(in crate::lint) static ENTRY_RULES: &[Rule] = &[
    Rule::entry(
        "crl-entry-serial",
        "RFC 5280 §5.1.2.6, §4.1.2.2",
        Error,
        "a serial number is above zero and has at most 20 octets",
        |entry, _, hits| {
            let serial = entry.serial.content;
            let holds = serial.len() <= 20 && serial != [0] && serial.first().is_some_and(|b| b & 0x80 == 0);
            hits.require(holds, || entry.place(), || "it is not".to_owned());
        },
    ),
    Rule::entry(
        "crl-entry-time-form",
        "RFC 5280 §5.1.2.6",
        Error,
        "revocationDate is a UTCTime through 2049, a GeneralizedTime later",
        |entry, _, hits| {
            if let Some(detail) = wrong_form(&entry.revoked_at) {
                hits.hit(entry.place(), detail);
            }
        },
    ),
    Rule::entry("crl-entry-date", "RFC 5280 §5.1.2.6", Notice, "revocationDate is not later than thisUpdate", |entry, view, hits| {
        // Times of one form compare as their text up to 2049; so nothing is parsed for each of millions of entries.
        let same_form = entry.revoked_at.tag == view.this_update.tag && view.this_update.content < b"5".as_slice();
        if same_form && entry.revoked_at.content <= view.this_update.content {
            return;
        }
        if let (Ok(at), Ok(this)) = (read_time(&entry.revoked_at, "revocationDate"), read_time(&view.this_update, "thisUpdate")) {
            hits.require(at <= this, || entry.place(), || format!("{at} is after {this}"));
        }
    }),
    Rule::entry("crl-entry-reason", "RFC 5280 §5.3.1", Error, "reasonCode is an ENUMERATED of one of the reasons", |entry, _, hits| {
        entry.require_syntax(oid::REASON_CODE, |value| values::reason(value).map(|_| ()), hits);
    }),
    Rule::entry("crl-entry-reason-critical", "RFC 5280 §5.3.1", Error, "reasonCode is not critical", |entry, _, hits| {
        entry.require_critical(oid::REASON_CODE, false, hits);
    }),
    Rule::entry(
        "crl-entry-unspecified",
        "RFC 5280 §5.3.1; BR 7.2.2",
        Error,
        "instead of unspecified (0) there is no reasonCode",
        |entry, _, hits| {
            hits.require(entry.reason() != Some(0), || entry.place(), || "unspecified stands there".to_owned());
        },
    ),
    Rule::entry(
        "crl-entry-remove-from-crl",
        "RFC 5280 §5.3.1",
        Error,
        "removeFromCRL (8) stands only in delta CRLs",
        |entry, view, hits| {
            hits.require(entry.reason() != Some(8) || view.is_delta(), || entry.place(), || "it stands in a full CRL".to_owned());
        },
    ),
    Rule::entry("crl-entry-invalidity-date", "RFC 5280 §5.3.2", Error, "invalidityDate is a GeneralizedTime", |entry, _, hits| {
        entry.require_syntax(oid::INVALIDITY_DATE, values::generalized_time, hits);
    }),
    Rule::entry("crl-entry-invalidity-critical", "RFC 5280 §5.3.2", Error, "invalidityDate is not critical", |entry, _, hits| {
        entry.require_critical(oid::INVALIDITY_DATE, false, hits);
    }),
    Rule::entry(
        "crl-entry-issuer",
        "RFC 5280 §5.3.3",
        Error,
        "certificateIssuer is a list of GeneralNames, critical, in an indirect CRL",
        |entry, view, hits| {
            entry.require_syntax(known::CERTIFICATE_ISSUER, |value| values::general_names(value).map(|_| ()), hits);
            entry.require_critical(known::CERTIFICATE_ISSUER, true, hits);
            let holds = entry.extension(known::CERTIFICATE_ISSUER).is_none() || view.is_indirect();
            hits.require(holds, || entry.place(), || "the CRL is not indirect".to_owned());
        },
    ),
];
