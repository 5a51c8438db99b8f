//! Further chains of certificates, by the cross-certificates of the authorities above them (RFC 8555 §7.4.2).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use ca_core::model::{Authority, AuthorityName, CrossCertificate};
use ca_core::pki::{Timestamp, pem_encode};
use ca_core::ports::CertificateStore;

use crate::issuers::{RELOAD, path};
use crate::problem::Refusal;

/// A further chain of what an authority issued.
#[derive(Debug)]
pub(crate) struct Alternate {
    /// The number of its cross-certificate: its URLs' last part.
    pub(crate) number: u64,
    /// The last second of its cross-certificate.
    not_after: Timestamp,
    /// Those above the leaf, PEM.
    pub(crate) chain: String,
}

#[derive(Default)]
struct Loaded {
    at: Option<Timestamp>,
    alternates: BTreeMap<AuthorityName, Vec<Arc<Alternate>>>,
}

/// A cache of the further chains, as old as [`RELOAD`] at most. An authority has as many as there are cross-certificates
/// of those above it, [`CrossCertificate::MAX`] at most.
#[derive(Default)]
pub(crate) struct Alternates(RwLock<Loaded>);

impl Alternates {
    /// Those of an authority that have not expired, the lowest number first.
    pub(crate) async fn of(
        &self,
        store: &(impl CertificateStore + ?Sized),
        now: Timestamp,
        authority: &AuthorityName,
    ) -> Result<Vec<Arc<Alternate>>, Refusal> {
        let valid = |loaded: &Loaded| {
            let all = loaded.alternates.get(authority).into_iter().flatten();
            all.filter(|a| now <= a.not_after).cloned().collect()
        };
        {
            let loaded = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if loaded.at.is_some_and(|at| now.since(at) < RELOAD) {
                return Ok(valid(&loaded));
            }
        }
        let crosses = store.cross_certificates().await?;
        let authorities = if crosses.is_empty() { Vec::new() } else { store.authorities().await? };
        let alternates = authorities.iter().map(|a| (a.name.clone(), chains(a, &authorities, &crosses))).collect();
        let loaded = Loaded { at: Some(now), alternates };
        let found = valid(&loaded);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        Ok(found)
    }
}

/// One chain for each cross-certificate of the authority and of those above it: up to the one that is cross-certified as
/// always, and there the cross-certificate.
fn chains(authority: &Authority, all: &[Authority], crosses: &[CrossCertificate]) -> Vec<Arc<Alternate>> {
    let (mut below, mut found) = (String::new(), Vec::new());
    for current in path(authority, all) {
        found.extend(crosses.iter().filter(|cross| cross.authority == current.name).map(|cross| {
            let chain = [&*below, &*pem_encode("CERTIFICATE", &cross.certificate)].concat();
            Arc::new(Alternate { number: cross.number, not_after: cross.not_after, chain })
        }));
        below.push_str(&pem_encode("CERTIFICATE", &current.certificate));
    }
    found.sort_by_key(|alternate| alternate.number);
    found
}
