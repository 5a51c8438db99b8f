//! The server's own certificate: found in the store by its key, swapped in memory when a newer one is there.

use std::sync::Arc;
use std::time::Duration;

use ca_core::model::{Authority, AuthorityName};
use ca_core::pki::{SerialNumber, Sha256Digest};
use ca_core::ports::{CertificateStore, ServiceKey as _, StoreResult};
use ca_keystore::SoftwareServiceKey;

use crate::tls::TlsIdentity;

/// How often a newer certificate is looked for: far below the life of the shortest one.
const REFRESH: Duration = Duration::from_secs(2);

/// The shape under which the worker records servers' own certificates.
const PROFILE: &str = "server";

/// Keeps a [`TlsIdentity`] up to date.
pub struct ServerCertificate {
    /// What handshakes use; nothing until the first certificate is found.
    pub identity: Arc<TlsIdentity>,
    key: SoftwareServiceKey,
    authority: AuthorityName,
    spki: Sha256Digest,
    store: Arc<dyn CertificateStore>,
    current: Option<SerialNumber>,
}

impl ServerCertificate {
    /// Looks in `store` for certificates of `authority` for `key`.
    pub fn new(key: SoftwareServiceKey, authority: AuthorityName, store: Arc<dyn CertificateStore>) -> Self {
        let spki = key.public_key().spki_sha256();
        Self { identity: TlsIdentity::new(), key, authority, spki, store, current: None }
    }

    /// The authority whose certificates are looked for.
    pub const fn authority(&self) -> &AuthorityName {
        &self.authority
    }

    /// Takes the newest certificate into use. Tells whether there is one.
    ///
    /// # Errors
    /// When the store does not answer; the certificate in use stays.
    pub async fn refresh(&mut self) -> StoreResult<bool> {
        let Some(record) = self.store.newest_for_key(&self.authority, PROFILE, &self.spki).await? else {
            return Ok(self.current.is_some());
        };
        if self.current == Some(record.serial) {
            return Ok(true);
        }
        let authorities = self.store.authorities().await?;
        let mut chain = vec![record.der];
        chain.extend(intermediates(&authorities, &self.authority));
        match self.identity.set(&chain, &self.key.pkcs8()) {
            Ok(()) => {
                tracing::info!(serial = %record.serial, until = %record.not_after, "the ACME server uses a new certificate");
                self.current = Some(record.serial);
            }
            Err(error) => tracing::error!(serial = %record.serial, %error, "the server's new certificate is not usable; the old one stays"),
        }
        Ok(self.current.is_some())
    }

    /// Looks for newer ones for ever.
    pub async fn follow(mut self) {
        loop {
            tokio::time::sleep(REFRESH).await;
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "the server's certificate could not be looked up; the current one stays");
            }
        }
    }
}

/// The certificates from `name` up to below the root.
fn intermediates(authorities: &[Authority], name: &AuthorityName) -> Vec<Vec<u8>> {
    let mut chain = Vec::new();
    let mut next = Some(name.clone());
    while let Some(authority) = next.and_then(|n| authorities.iter().find(|a| a.name == n)) {
        if authority.issuer.is_none() || chain.len() == 8 {
            break;
        }
        chain.push(authority.certificate.clone());
        next = authority.issuer.clone();
    }
    chain
}
