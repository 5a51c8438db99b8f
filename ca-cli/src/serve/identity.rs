//! The ACME server's own certificate: found in the store by its key, swapped in memory when a newer one is there.

use std::sync::Arc;
use std::time::Duration;

use acme_server::TlsIdentity;
use ca_core::model::{Authority, AuthorityName};
use ca_core::pki::{SerialNumber, Sha256Digest};
use ca_core::ports::{CertificateStore, ServiceKey as _, StoreResult};
use ca_keystore::SoftwareServiceKey;
use ca_store_sqlite::SqliteStore;

/// How often a newer certificate is looked for: far below the life of the shortest one.
const REFRESH: Duration = Duration::from_secs(2);

/// The shape under which the worker records servers' own certificates.
const PROFILE: &str = "server";

/// Keeps a [`TlsIdentity`] up to date.
pub(super) struct ServerCertificate {
    pub(super) identity: Arc<TlsIdentity>,
    key: SoftwareServiceKey,
    authority: AuthorityName,
    spki: Sha256Digest,
    store: SqliteStore,
    current: Option<SerialNumber>,
}

impl ServerCertificate {
    pub(super) fn new(key: SoftwareServiceKey, authority: AuthorityName, store: SqliteStore) -> Self {
        let spki = key.public_key().spki_sha256();
        Self { identity: TlsIdentity::new(), key, authority, spki, store, current: None }
    }

    /// Takes the newest certificate into use. Tells whether there is one.
    pub(super) async fn refresh(&mut self) -> StoreResult<bool> {
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
    pub(super) async fn follow(mut self) {
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
