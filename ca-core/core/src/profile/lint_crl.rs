//! To-be-signed CRLs compared with what was asked for: re-read by another DER library than the one that wrote them.
//! Anything that is not named here is refused; what the standards want of any CRL is [`crate::lint`]'s.

use der::Decode as _;
use der::asn1::AnyRef;

use super::Finding;
use crate::lint::Severity;
use crate::pki::crl::{CrlHeader, CrlParseError, RawEntry, RawTbs, distribution_point, key_identifier};
use crate::pki::verify::signature_algorithm_of;
use crate::pki::{SerialNumber, oid};

/// At most this many findings are collected: a CRL may have a million entries that are all wrong in the same way.
const MAX_FINDINGS: usize = 20;

/// Judges `tbs` against the header that it was built from.
///
/// # Errors
/// What is wrong, at most 20 findings.
pub fn lint_crl(tbs: &[u8], header: &CrlHeader) -> Result<(), Vec<Finding>> {
    let mut lint = Lint(Vec::new());
    match RawTbs::from_der(tbs) {
        Ok(raw) => {
            lint.fields(&raw, header);
            lint.extensions(&raw, header);
            lint.entries(&raw);
        }
        Err(e) => lint.add("crl-form", "RFC 5280 §5.1", e.to_string()),
    }
    if lint.0.is_empty() { Ok(()) } else { Err(lint.0) }
}

struct Lint(Vec<Finding>);

impl Lint {
    fn add(&mut self, rule: &'static str, clause: &'static str, detail: impl Into<String>) {
        if self.0.len() < MAX_FINDINGS {
            self.0.push(Finding { rule, clause, severity: Severity::Error, field: String::new(), detail: detail.into() });
        }
    }

    fn require(&mut self, holds: bool, rule: &'static str, clause: &'static str, detail: &str) {
        if !holds {
            self.add(rule, clause, detail);
        }
    }

    fn fields(&mut self, raw: &RawTbs<'_>, header: &CrlHeader) {
        let algorithm = AnyRef::from_der(raw.algorithm).ok().and_then(|a| signature_algorithm_of(&a));
        self.require(algorithm == Some(header.algorithm), "crl-algorithm", "RFC 5280 §5.1.2.2", "another algorithm than the key's");
        self.require(raw.issuer == header.issuer_der, "crl-issuer", "RFC 5280 §5.1.2.3", "the issuer is not the authority's subject");
        for (name, at, expected) in
            [("thisUpdate", raw.this_update, header.this_update), ("nextUpdate", raw.next_update, header.next_update)]
        {
            if at != expected {
                self.add("crl-time", "RFC 5280 §5.1.2.4", format!("{name} is {at}, not {expected}"));
            }
        }
    }

    fn extensions(&mut self, raw: &RawTbs<'_>, header: &CrlHeader) {
        let expected_count = if header.partition_url.is_some() { 3 } else { 2 };
        self.require(raw.extensions.len() == expected_count, "crl-extensions", "RFC 5280 §5.2", "other extensions than expected");
        let find = |id| raw.extensions.iter().find(|e| e.oid == id);

        match find(oid::AUTHORITY_KEY_IDENTIFIER) {
            Some(e) => {
                let same = key_identifier(e.value.as_bytes()).is_ok_and(|id| id == header.issuer_key_id);
                self.require(same, "crl-aki", "RFC 5280 §5.2.1", "it is not exactly the issuer's subject key identifier");
            }
            None => self.add("crl-aki", "RFC 5280 §5.2.1", "there is no authority key identifier"),
        }
        match find(oid::CRL_NUMBER) {
            Some(e) => {
                let same = u64::from_der(e.value.as_bytes()) == Ok(header.number);
                self.require(same, "crl-number", "RFC 5280 §5.2.3", "it is not the number that was allocated");
            }
            None => self.add("crl-number", "RFC 5280 §5.2.3", "there is no cRLNumber"),
        }
        match (find(oid::ISSUING_DISTRIBUTION_POINT), &header.partition_url) {
            (None, None) => {}
            (Some(e), Some(url)) => {
                let same = distribution_point(e.value.as_bytes()).is_ok_and(|found| found == url);
                self.require(same, "crl-idp", "RFC 5280 §5.2.5", "it is not exactly the partition's URL");
            }
            (Some(_), None) => self.add("crl-idp", "RFC 5280 §5.2.5", "an issuing distribution point that was not asked for"),
            (None, Some(_)) => self.add("crl-idp", "RFC 5280 §5.2.5", "the issuing distribution point is missing"),
        }
    }

    fn entries(&mut self, raw: &RawTbs<'_>) {
        let mut last: Option<SerialNumber> = None;
        let entries = match raw.entries() {
            Ok(entries) => entries,
            Err(e) => return self.add("crl-entry-form", "RFC 5280 §5.1.2.6", e.to_string()),
        };
        for entry in entries {
            match entry.and_then(|entry| self.entry(&entry).map(|()| entry)) {
                Ok(entry) => {
                    if last.is_some_and(|last| last >= entry.serial) {
                        self.add("crl-order", "status requirement S5", format!("{} is out of order or there twice", entry.serial));
                    }
                    last = Some(entry.serial);
                }
                Err(e) => self.add("crl-entry-form", "RFC 5280 §5.1.2.6", e.to_string()),
            }
        }
    }

    fn entry(&mut self, entry: &RawEntry<'_>) -> Result<(), CrlParseError> {
        entry.read()?;
        for extension in entry.extensions.iter().flatten() {
            if !matches!(extension.oid, oid::REASON_CODE | oid::INVALIDITY_DATE) {
                self.add("crl-entry-extensions", "status requirement S6", format!("{}: {} is not asked for", entry.serial, extension.oid));
            }
        }
        Ok(())
    }
}
