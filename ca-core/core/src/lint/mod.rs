//! The linter: certificates, CRLs and OCSP responses, whoever made them, judged against the standards.
//!
//! It reads bytes with the walker of [`crate::pki`] and shares nothing with what builds them. Each [`Rule`] is a small
//! unit with its clause; [`rules`] lists them, and docs/lints.md is that list. The signing path runs it before anything
//! else judges the bytes, and an error stops it ([`crate::issuance`]); what a request must look like byte for byte is
//! [`crate::profile`]'s.
//!
//! Bounds: certificates of 64 KiB, OCSP responses of 256 KiB, CRLs of [`crate::pki::crl::MAX_CRL_LEN`]; 64 extensions,
//! 32 levels, 100 findings. Time is linear in the size, and of a CRL's entries nothing is kept. Deliberately absent: the
//! clock (whether something is valid now), revocation, trust, and policies of others' root programmes.

mod certificate;
mod crl;
mod element;
mod extensions;
mod finding;
mod general_name;
mod known;
mod names;
mod ocsp;
mod rule;
mod rules;
#[cfg(test)]
mod tests;
mod values;

use crate::pki::ParseError;
use certificate::{CertificateView, Chain};
use crl::CrlView;
use ocsp::ResponseView;

pub use certificate::MAX_CERTIFICATE_LEN;
pub use finding::{Finding, Report, Severity};
pub use ocsp::MAX_RESPONSE_LEN;
pub use rule::{Object, Rule};

/// Most certificates of a chain that are looked at.
const MAX_CHAIN: usize = 16;

/// What is known beside the bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Context<'a> {
    /// DER of the certificates above: the direct issuer's first, then its issuer's, at most 16. Rules that need the
    /// issuer are left out where it is not given, or can't be read.
    pub issuers: &'a [&'a [u8]],
    /// DER of the CRL before, of the same issuer and scope: its number must be lower.
    pub previous_crl: Option<&'a [u8]>,
}

/// Every rule, in the order in which they are listed.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    let reading = [&element::FORM, &element::DEPTH];
    let reading_certificates = [&certificate::SIZE, &certificate::STRUCTURE, &certificate::ISSUER];
    reading
        .into_iter()
        .chain(element::RULES)
        .chain(extensions::RULES.iter().copied())
        .chain(reading_certificates)
        .chain(rules::ALL.iter().copied().flatten())
        .chain(crl::READING.iter().copied())
        .chain(crl::RULES)
        .chain(crl::ENTRY_RULES)
        .chain(ocsp::READING.iter().copied())
        .chain(ocsp::RULES)
        .chain(ocsp::RESPONDER_RULES)
}

/// Judges a certificate.
pub fn certificate(der: &[u8], context: &Context<'_>) -> Report {
    judge_certificate(der, CertificateView::from_der, context)
}

/// Judges the to-be-signed part of a certificate: all but its signature.
pub fn to_be_signed_certificate(tbs: &[u8], context: &Context<'_>) -> Report {
    judge_certificate(tbs, CertificateView::from_tbs, context)
}

fn judge_certificate<'a>(
    bytes: &'a [u8],
    read: impl FnOnce(&'a [u8]) -> Result<CertificateView<'a>, ParseError>,
    context: &Context<'_>,
) -> Report {
    let mut report = Report::default();
    if bytes.len() > MAX_CERTIFICATE_LEN {
        certificate::SIZE.hit(&mut report, "", format!("it has {} octets", bytes.len()));
        return report;
    }
    match read(bytes) {
        Ok(view) => {
            let above = views(context, &mut report);
            let chain = above.split_first().map(|(issuer, further)| Chain { issuer, further });
            certificate::judge(&view, chain.as_ref(), &mut report);
        }
        Err(error) => certificate::STRUCTURE.hit(&mut report, "", error.to_string()),
    }
    report
}

/// The issuers, up to the first that can't be read, which is an error: nothing would be judged beside it.
fn views<'a>(context: &Context<'a>, report: &mut Report) -> Vec<CertificateView<'a>> {
    let mut found = Vec::with_capacity(context.issuers.len().min(MAX_CHAIN));
    for (index, der) in context.issuers.iter().enumerate() {
        let view =
            if index < MAX_CHAIN && der.len() <= MAX_CERTIFICATE_LEN { CertificateView::from_der(der) } else { Err(ParseError::TooLarge) };
        match view {
            Ok(view) => found.push(view),
            Err(error) => {
                certificate::ISSUER.hit(report, format!("issuer[{index}]"), error.to_string());
                break;
            }
        }
    }
    found
}

/// Judges a CRL.
pub fn crl(der: &[u8], context: &Context<'_>) -> Report {
    judge_crl(der, CrlView::from_der, context)
}

/// Judges the to-be-signed part of a CRL: all but its signature.
pub fn to_be_signed_crl(tbs: &[u8], context: &Context<'_>) -> Report {
    judge_crl(tbs, CrlView::from_tbs, context)
}

fn judge_crl<'a>(bytes: &'a [u8], read: impl FnOnce(&'a [u8]) -> Result<CrlView<'a>, ParseError>, context: &Context<'a>) -> Report {
    let mut report = Report::default();
    if bytes.len() > crl::MAX_LEN {
        crl::SIZE.hit(&mut report, "", format!("it has {} octets", bytes.len()));
        return report;
    }
    match read(bytes) {
        Ok(mut view) => {
            view.set_previous(context.previous_crl);
            crl::judge(&view, views(context, &mut report).first(), &mut report);
        }
        Err(error) => crl::STRUCTURE.hit(&mut report, "", error.to_string()),
    }
    report
}

/// Judges an OCSP response.
pub fn ocsp_response(der: &[u8], context: &Context<'_>) -> Report {
    judge_response(der, ResponseView::from_der, context)
}

/// Judges the to-be-signed part of an OCSP response, its ResponseData.
pub fn response_data(data: &[u8], context: &Context<'_>) -> Report {
    judge_response(data, ResponseView::from_data, context)
}

fn judge_response<'a>(
    bytes: &'a [u8],
    read: impl FnOnce(&'a [u8]) -> Result<ResponseView<'a>, ParseError>,
    context: &Context<'_>,
) -> Report {
    let mut report = Report::default();
    if bytes.len() > MAX_RESPONSE_LEN {
        ocsp::SIZE.hit(&mut report, "", format!("it has {} octets", bytes.len()));
        return report;
    }
    match read(bytes) {
        Ok(view) => ocsp::judge(&view, views(context, &mut report).first(), &mut report),
        Err(error) => ocsp::STRUCTURE.hit(&mut report, "", error.to_string()),
    }
    report
}

/// The certificates among `among` that stand above an object by their names, and by their key identifiers where there are
/// any: the direct issuer first. Whether they signed anything is not looked at.
pub fn find_issuers<'a>(object: &[u8], among: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let views: Vec<_> = among.iter().filter_map(|der| Some((*der, CertificateView::from_der(der).ok()?))).collect();
    let (mut name, mut key) = match recognize(object) {
        Some(Object::Certificate) => match CertificateView::from_der(object) {
            Ok(view) if !view.is_self_signed() => (view.issuer.whole.to_vec(), view.authority_key_identifier().map(<[u8]>::to_vec)),
            _ => return Vec::new(),
        },
        Some(Object::Crl) => match CrlView::from_der(object) {
            Ok(view) => view.issuer_and_key(),
            Err(_) => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let mut found: Vec<&[u8]> = Vec::new();
    while found.len() < MAX_CHAIN {
        let is_above = |view: &CertificateView<'_>| {
            view.subject.whole == name && key.as_ref().is_none_or(|key| view.key_identifier().is_none_or(|own| own == key))
        };
        let Some((der, view)) = views.iter().find(|(der, view)| is_above(view) && *der != object && !found.contains(der)) else { break };
        found.push(der);
        if view.is_self_signed() {
            break;
        }
        (name, key) = (view.issuer.whole.to_vec(), view.authority_key_identifier().map(<[u8]>::to_vec));
    }
    found
}

/// Which of the three kinds of object bytes are, by their outer shape alone; none for anything else.
pub fn recognize(der: &[u8]) -> Option<Object> {
    use crate::pki::walk::{SEQUENCE, Walker};
    let mut outer = Walker::new(der).expect_long(SEQUENCE, "object").ok()?.walk();
    if outer.peek() == Some(element::ENUMERATED) {
        return Some(Object::OcspResponse);
    }
    let mut tbs = outer.expect_long(SEQUENCE, "to-be-signed part").ok()?.walk();
    // A certificate begins with [0] version or, in version 1, serialNumber and then signature, issuer and validity; a CRL
    // with a version or none, then signature, issuer and a time.
    if tbs.peek() == Some(0xa0) {
        return Some(Object::Certificate);
    }
    tbs.optional(crate::pki::walk::INTEGER).ok()?;
    tbs.expect(SEQUENCE, "signature").ok()?;
    tbs.expect(SEQUENCE, "issuer").ok()?;
    match tbs.peek()? {
        SEQUENCE => Some(Object::Certificate),
        crate::pki::walk::UTC_TIME | crate::pki::walk::GENERALIZED_TIME => Some(Object::Crl),
        _ => None,
    }
}
