//! Everything that this CA can issue, made from fresh keys, for other implementations to judge.
//!
//! A specimen is built, linted and assembled by the very functions that the signing path calls; only the key is one in
//! memory. [`Specimens::make`] makes every profile with every key asked for under an authority of every key asked for, with
//! the CRLs and OCSP answers that go with them; [`broken`] makes what an implementation that looks must refuse.

pub mod broken;
mod certificates;
mod content;
mod key;
mod status;

use std::sync::Arc;

use ca_core::pki::ocsp::HashAlgorithm;
use ca_core::pki::{KeyAlgorithm, SerialNumber, Timestamp};

pub use content::content;
pub use key::Key;

/// Something that this CA signed.
#[derive(Clone, Debug)]
pub struct Specimen {
    /// Unique and fit for a path: `p256/client-rsa2048` is a client's certificate with an RSA key under a P-256 authority.
    pub name: String,
    /// What it is: the profile of a certificate, `crl` or `ocsp-response`.
    pub profile: &'static str,
    /// The subject's key; of a CRL or an answer, the signer's.
    pub key: KeyAlgorithm,
    /// Its DER.
    pub der: Vec<u8>,
    /// What signed it.
    pub chain: Arc<Chain>,
    /// What can be asked of it.
    pub kind: Kind,
}

/// The kinds of signed objects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A certificate.
    Certificate {
        /// What its holder uses it for.
        purpose: Purpose,
        /// Whether its authority's CRL lists it.
        is_revoked: bool,
    },
    /// A CRL of the chain's first authority.
    Crl,
    /// An OCSP answer about a certificate of the chain's first authority.
    OcspResponse {
        /// About which.
        serial: SerialNumber,
        /// The hash by which its issuer is named.
        hash: HashAlgorithm,
        /// `good`, `revoked` or `unknown`.
        says: &'static str,
        /// The request that it answers.
        request: Vec<u8>,
    },
}

/// What a certificate is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// TLS clients.
    Client,
    /// TLS servers.
    Server,
    /// Both ends of mutual TLS.
    ClientAndServer,
    /// Anything else that no TLS library asks for.
    Other,
    /// Issuing: it is a CA's certificate.
    Issuing,
}

/// The authorities above a specimen, each with its current CRL.
#[derive(Debug)]
pub struct Chain {
    /// Unique and fit for a path.
    pub name: String,
    /// Certificates, from the direct issuer to the root.
    pub certificates: Vec<Vec<u8>>,
    /// The CRL of each of them, in the same order.
    pub crls: Vec<Vec<u8>>,
}

/// Which specimens to make.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Keys of authorities: a hierarchy is made for each.
    pub authorities: &'a [KeyAlgorithm],
    /// Keys of subjects: every profile is made with each, below each authority.
    pub subjects: &'a [KeyAlgorithm],
}

/// Makes every specimen of the selection, valid at `now`.
pub fn make(selection: Selection<'_>, now: Timestamp) -> Vec<Specimen> {
    // One key for each kind: no two specimens of an authority need differ in it.
    let subjects: Vec<Key> = selection.subjects.iter().map(|a| Key::generate(*a)).collect();
    let partner = certificates::Partner::new(now);
    let mut all = Vec::new();
    for algorithm in selection.authorities {
        let hierarchy = certificates::Hierarchy::new(algorithm.name(), *algorithm, now);
        hierarchy.authorities(&mut all);
        hierarchy.cross(&partner, &mut all);
        hierarchy.leaves(&subjects, &mut all);
        status::crls(&hierarchy, &mut all);
        status::answers(&hierarchy, &subjects, &mut all);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ca_core::pki::{Certificate, crl::Crl, ocsp::BasicResponse};

    use super::*;

    #[test]
    fn specimens_read_back_and_chain() {
        let now = Timestamp::from_unix(1_795_478_400);
        let algorithms = [KeyAlgorithm::P256, KeyAlgorithm::Rsa2048];
        let all = make(Selection { authorities: &algorithms, subjects: &algorithms }, now);
        let names: HashSet<_> = all.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "each name stands once");
        for specimen in &all {
            let signer = Certificate::from_der(&specimen.chain.certificates[0]).unwrap();
            match &specimen.kind {
                Kind::Certificate { .. } => Certificate::from_der(&specimen.der).unwrap().is_signed_by(&signer).unwrap(),
                Kind::Crl => Crl::from_der(&specimen.der).unwrap().is_signed_by(&signer).unwrap(),
                Kind::OcspResponse { .. } => {
                    let answer = BasicResponse::from_der(&specimen.der).unwrap();
                    let responder = Certificate::from_der(&answer.certificates[0]).unwrap();
                    responder.is_signed_by(&signer).unwrap();
                    answer.is_signed_by(responder.public_key()).unwrap();
                }
            }
        }
        for shape in ca_core::profile::LeafShape::ALL {
            for key in algorithms {
                let found = all.iter().filter(|s| s.profile == shape.as_str() && s.key == key).count();
                let wanted = if shape.takes_key(key) { algorithms.len() } else { 0 };
                assert!(found >= wanted, "{} with a {key} key stands under each authority", shape.as_str());
            }
        }
        assert!(!broken::make(now).is_empty());
    }
}
