//! Which CA this is: the root above an authority whose key the policy names.

use std::collections::BTreeSet;

use crate::model::{Authority, AuthorityName};
use crate::pki::{Certificate, Sha256Digest, sha256};
use crate::policy::Policy;

/// The CA's identity, as statements name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaIdentity {
    /// The root's name here.
    pub name: AuthorityName,
    /// SHA-256 of the root's certificate: that of the default authority, or else of the policy's first one.
    pub sha256: Sha256Digest,
    /// Every root above an authority of the policy; after a change of the root the old one still counts for what was
    /// approved under it, as long as the policy names an authority below it.
    pub roots: BTreeSet<Sha256Digest>,
}

impl CaIdentity {
    /// From the authorities' rows, of which only what the signed policy proves is believed: the policy names an
    /// authority's key, and the root's signature is on that authority's certificate. None: the policy names no
    /// authority whose chain is here.
    pub fn of(authorities: &[Authority], policy: &Policy) -> Option<Self> {
        let named = |authority: &&Authority| policy.authority(&authority.name).is_some();
        let found: Vec<_> = authorities.iter().filter(named).filter_map(|authority| root_of(authority, authorities, policy)).collect();
        let (name, sha256) = found.first()?.clone();
        Some(Self { name, sha256, roots: found.into_iter().map(|(_, digest)| digest).collect() })
    }
}

fn root_of(authority: &Authority, authorities: &[Authority], policy: &Policy) -> Option<(AuthorityName, Sha256Digest)> {
    let certificate = Certificate::from_der(&authority.certificate).ok()?;
    if policy.authority(&authority.name)?.key_sha256 != certificate.public_key().spki_sha256() {
        return None;
    }
    let Some(issuer) = &authority.issuer else {
        certificate.is_signed_by(&certificate).ok()?;
        return Some((authority.name.clone(), sha256(certificate.der())));
    };
    let root = authorities.iter().find(|a| a.name == *issuer)?;
    let root_certificate = Certificate::from_der(&root.certificate).ok()?;
    certificate.is_signed_by(&root_certificate).ok()?;
    Some((root.name.clone(), sha256(root_certificate.der())))
}
