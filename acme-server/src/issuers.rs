//! The instance's authorities, kept in memory: key identifiers for certIDs, chains for downloads, further ones too.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ca_core::model::{Authority, AuthorityName, CrossCertificate};
use ca_core::pki::{Certificate, PublicKey, Timestamp, pem_encode};
use ca_core::ports::CertificateStore;

use crate::alternates::{Alternate, chains};
use crate::problem::Refusal;

/// What is known of authorities is read from the store again not more often than this.
const RELOAD: Duration = Duration::from_secs(5);

/// What downloads, revocations and ARI need of an authority.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) name: AuthorityName,
    /// Its subject key identifier: the AKI of what it issued.
    pub(crate) key_identifier: Vec<u8>,
    /// Its key, which no request may bring.
    pub(crate) public_key: PublicKey,
    /// Its certificate and those above it, without the root, PEM.
    pub(crate) chain: String,
    alternates: Vec<Alternate>,
}

#[derive(Default)]
struct Loaded {
    at: Option<Timestamp>,
    issuers: Vec<Arc<Issuer>>,
}

/// A cache of the authorities.
#[derive(Default)]
pub(crate) struct Issuers(RwLock<Loaded>);

impl Issuers {
    /// The first issuer that matches. Of one that is known only its further chains can change: see [`Issuers::current`].
    pub(crate) async fn find(
        &self,
        store: &(impl CertificateStore + ?Sized),
        now: Timestamp,
        matches: impl Fn(&Issuer) -> bool,
    ) -> Result<Option<Arc<Issuer>>, Refusal> {
        self.get(store, now, matches, true).await
    }

    /// The issuer of this name, its further chains [`RELOAD`] old at most.
    pub(crate) async fn current(
        &self,
        store: &(impl CertificateStore + ?Sized),
        now: Timestamp,
        name: &AuthorityName,
    ) -> Result<Option<Arc<Issuer>>, Refusal> {
        self.get(store, now, |issuer| issuer.name == *name, false).await
    }

    /// The first issuer that matches; `of_any_age` where what was ever read of it will do.
    async fn get(
        &self,
        store: &(impl CertificateStore + ?Sized),
        now: Timestamp,
        matches: impl Fn(&Issuer) -> bool,
        of_any_age: bool,
    ) -> Result<Option<Arc<Issuer>>, Refusal> {
        {
            let loaded = self.0.read().unwrap_or_else(PoisonError::into_inner);
            // After the clock was set back it is of no known age.
            let fresh = loaded.at.is_some_and(|at| at <= now && now.since(at) < RELOAD);
            let found = loaded.issuers.iter().find(|i| matches(i));
            if fresh || (of_any_age && found.is_some()) {
                return Ok(found.cloned());
            }
        }
        let (authorities, crosses) = (store.authorities().await?, store.cross_certificates().await?);
        let issuers: Vec<_> = authorities.iter().filter_map(|a| Issuer::of(a, &authorities, &crosses)).map(Arc::new).collect();
        let found = issuers.iter().find(|i| matches(i)).cloned();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Loaded { at: Some(now), issuers };
        Ok(found)
    }
}

impl Issuer {
    fn of(authority: &Authority, all: &[Authority], crosses: &[CrossCertificate]) -> Option<Self> {
        let certificate = Certificate::from_der(&authority.certificate)
            .inspect_err(|error| tracing::error!(authority = %authority.name, %error, "an authority's certificate does not parse"))
            .ok()?;
        let key_identifier = certificate.key_identifier()?.to_vec();
        let below_a_root = path(authority, all).filter(|a| a.issuer.is_some());
        let chain = below_a_root.map(|a| pem_encode("CERTIFICATE", &a.certificate)).collect();
        let (name, public_key, alternates) = (authority.name.clone(), certificate.public_key().clone(), chains(authority, all, crosses));
        Some(Self { name, key_identifier, public_key, chain, alternates })
    }

    /// Its further chains whose cross-certificates are valid now, the lowest number first.
    pub(crate) fn alternates(&self, now: Timestamp) -> impl Iterator<Item = &Alternate> {
        self.alternates.iter().filter(move |alternate| alternate.not_before <= now && now <= alternate.not_after)
    }
}

/// An authority and those above it, the root last.
pub(crate) fn path<'a>(authority: &'a Authority, all: &'a [Authority]) -> impl Iterator<Item = &'a Authority> {
    let above = |a: &&Authority| a.issuer.as_ref().and_then(|issuer| all.iter().find(|other| other.name == *issuer));
    // Bounded, should rows ever form a circle.
    std::iter::successors(Some(authority), above).take(all.len())
}
