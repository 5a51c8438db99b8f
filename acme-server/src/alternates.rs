//! Further chains of certificates, by the cross-certificates of the authorities above them (RFC 8555 §7.4.2).

use ca_core::model::{Authority, CrossCertificate};
use ca_core::pki::{Certificate, Timestamp, pem_encode};

use crate::issuers::path;

/// A further chain of what an authority issued.
#[derive(Debug)]
pub(crate) struct Alternate {
    /// The number of its cross-certificate: its URLs' last part.
    pub(crate) number: u64,
    /// The first and the last second of its cross-certificate.
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// Those above the leaf, PEM.
    pub(crate) chain: String,
}

/// One chain for each cross-certificate of the authority and of those above it, [`CrossCertificate::MAX`] at most, the
/// lowest number first: up to the one that is cross-certified as always, and there the cross-certificate.
pub(crate) fn chains(authority: &Authority, all: &[Authority], crosses: &[CrossCertificate]) -> Vec<Alternate> {
    let (mut below, mut found) = (String::new(), Vec::new());
    for current in path(authority, all) {
        found.extend(crosses.iter().filter(|cross| cross.authority == current.name).filter_map(|cross| {
            let certificate = Certificate::from_der(&cross.certificate)
                .inspect_err(|error| tracing::error!(number = cross.number, %error, "a cross-certificate does not parse"))
                .ok()?;
            let chain = [&*below, &*pem_encode("CERTIFICATE", &cross.certificate)].concat();
            Some(Alternate { number: cross.number, not_before: certificate.not_before(), not_after: cross.not_after, chain })
        }));
        below.push_str(&pem_encode("CERTIFICATE", &current.certificate));
    }
    found.sort_by_key(|alternate| alternate.number);
    found
}
