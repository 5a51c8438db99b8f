//! Rules: small named units, each with its clause.

use const_oid::ObjectIdentifier;

use super::certificate::{CertificateView, Chain};
use super::crl::{CrlView, Entry};
use super::element::Element;
use super::finding::{Finding, Report, Severity};
use super::ocsp::{Responder, ResponseView};
use crate::pki::walk::ParseError;

/// What a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Object {
    /// Every element of any object.
    Any,
    /// A certificate.
    Certificate,
    /// A CRL, or an entry of one.
    Crl,
    /// An OCSP response.
    OcspResponse,
}

impl Object {
    /// The name in the table of rules.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Certificate => "certificate",
            Self::Crl => "CRL",
            Self::OcspResponse => "OCSP response",
        }
    }
}

/// A rule: what must hold, by which clause, and how it is checked.
pub struct Rule {
    /// The name, in kebab case; unique.
    pub name: &'static str,
    /// The clause that wants it.
    pub clause: &'static str,
    /// What breaking it weighs.
    pub severity: Severity,
    /// What must hold, in a sentence.
    pub says: &'static str,
    pub(super) check: Check,
}

/// How a rule is checked.
pub(super) enum Check {
    /// By the reader of that object: what breaks it can't be read on.
    Reading(Object),
    /// On each element with one of these tags.
    Element(&'static [u8], fn(&Element<'_, '_>, &mut Hits<'_>)),
    /// On a certificate.
    Certificate(fn(&CertificateView<'_>, &mut Hits<'_>)),
    /// On a certificate beside the chain above it, where one is given.
    Issued(fn(&CertificateView<'_>, &Chain<'_>, &mut Hits<'_>)),
    /// On an extension: its value can be read as its type.
    Syntax(Object, ObjectIdentifier, fn(&[u8]) -> Result<(), ParseError>),
    /// On an extension: it is critical, or it is not.
    Critical(Object, ObjectIdentifier, bool),
    /// On a CRL without its entries; the issuer's certificate where one is given.
    Crl(fn(&CrlView<'_>, Option<&CertificateView<'_>>, &mut Hits<'_>)),
    /// On each entry of a CRL.
    Entry(fn(&Entry<'_>, &CrlView<'_>, &mut Hits<'_>)),
    /// On an OCSP response; the issuer's certificate where one is given.
    Response(fn(&ResponseView<'_>, Option<&CertificateView<'_>>, &mut Hits<'_>)),
    /// On an OCSP response and its responder, where a certificate came along or the issuer's is given.
    Responder(fn(&ResponseView<'_>, &Responder<'_>, &mut Hits<'_>)),
}

impl Rule {
    const fn new(name: &'static str, clause: &'static str, severity: Severity, says: &'static str, check: Check) -> Self {
        Self { name, clause, severity, says, check }
    }

    pub(super) const fn reading(name: &'static str, clause: &'static str, says: &'static str, object: Object) -> Self {
        Self::new(name, clause, Severity::Error, says, Check::Reading(object))
    }

    /// As [`Rule::reading`], of something that may well be there.
    pub(super) const fn noticing(name: &'static str, clause: &'static str, says: &'static str, object: Object) -> Self {
        Self::new(name, clause, Severity::Notice, says, Check::Reading(object))
    }

    pub(super) const fn element(
        name: &'static str,
        clause: &'static str,
        says: &'static str,
        tags: &'static [u8],
        check: fn(&Element<'_, '_>, &mut Hits<'_>),
    ) -> Self {
        Self::new(name, clause, Severity::Error, says, Check::Element(tags, check))
    }

    pub(super) const fn certificate(
        name: &'static str,
        clause: &'static str,
        severity: Severity,
        says: &'static str,
        check: fn(&CertificateView<'_>, &mut Hits<'_>),
    ) -> Self {
        Self::new(name, clause, severity, says, Check::Certificate(check))
    }

    pub(super) const fn issued(
        name: &'static str,
        clause: &'static str,
        severity: Severity,
        says: &'static str,
        check: fn(&CertificateView<'_>, &Chain<'_>, &mut Hits<'_>),
    ) -> Self {
        Self::new(name, clause, severity, says, Check::Issued(check))
    }

    pub(super) const fn syntax(
        name: &'static str,
        clause: &'static str,
        says: &'static str,
        object: Object,
        extension: ObjectIdentifier,
        read: fn(&[u8]) -> Result<(), ParseError>,
    ) -> Self {
        Self::new(name, clause, Severity::Error, says, Check::Syntax(object, extension, read))
    }

    pub(super) const fn critical(
        name: &'static str,
        clause: &'static str,
        severity: Severity,
        says: &'static str,
        object: Object,
        (extension, critical): (ObjectIdentifier, bool),
    ) -> Self {
        Self::new(name, clause, severity, says, Check::Critical(object, extension, critical))
    }

    pub(super) const fn crl(
        name: &'static str,
        clause: &'static str,
        severity: Severity,
        says: &'static str,
        check: fn(&CrlView<'_>, Option<&CertificateView<'_>>, &mut Hits<'_>),
    ) -> Self {
        Self::new(name, clause, severity, says, Check::Crl(check))
    }

    pub(super) const fn entry(
        name: &'static str,
        clause: &'static str,
        severity: Severity,
        says: &'static str,
        check: fn(&Entry<'_>, &CrlView<'_>, &mut Hits<'_>),
    ) -> Self {
        Self::new(name, clause, severity, says, Check::Entry(check))
    }

    pub(super) const fn response(
        name: &'static str,
        clause: &'static str,
        severity: Severity,
        says: &'static str,
        check: fn(&ResponseView<'_>, Option<&CertificateView<'_>>, &mut Hits<'_>),
    ) -> Self {
        Self::new(name, clause, severity, says, Check::Response(check))
    }

    pub(super) const fn responder(
        name: &'static str,
        clause: &'static str,
        severity: Severity,
        says: &'static str,
        check: fn(&ResponseView<'_>, &Responder<'_>, &mut Hits<'_>),
    ) -> Self {
        Self::new(name, clause, severity, says, Check::Responder(check))
    }

    /// What it is about.
    pub const fn object(&self) -> Object {
        match self.check {
            Check::Element(..) => Object::Any,
            Check::Certificate(_) | Check::Issued(_) => Object::Certificate,
            Check::Crl(_) | Check::Entry(_) => Object::Crl,
            Check::Response(_) | Check::Responder(_) => Object::OcspResponse,
            Check::Reading(object) | Check::Syntax(object, ..) | Check::Critical(object, ..) => object,
        }
    }

    /// Whether it needs the issuer's certificate beside the object.
    pub const fn needs_issuer(&self) -> bool {
        matches!(self.check, Check::Issued(_))
    }

    /// Writes a finding of this rule into `report`.
    pub(super) fn hit(&self, report: &mut Report, field: impl Into<String>, detail: impl Into<String>) {
        let Self { name, clause, severity, .. } = *self;
        report.add(Finding { rule: name, clause, severity, field: field.into(), detail: detail.into() });
    }
}

/// Where a rule's check puts what it finds.
pub(super) struct Hits<'r> {
    pub(super) rule: &'r Rule,
    pub(super) report: &'r mut Report,
}

impl Hits<'_> {
    pub(super) fn hit(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.rule.hit(self.report, field, detail);
    }

    /// `field` and `detail` are made only where the rule does not hold.
    pub(super) fn require(&mut self, holds: bool, field: impl FnOnce() -> String, detail: impl FnOnce() -> String) {
        if !holds {
            self.hit(field(), detail());
        }
    }
}
