//! Opens what the configuration names: a wrong file stops the start here, with its remedy, before anything listens.

use std::path::Path;
use std::sync::Arc;

use ca_core::ceremony::Roster;
use ca_core::model::AuthorityName;
use ca_core::pki::PublicKey;
use ca_core::ports::{KeyDevice, KeyInfo, KeyStore, KeyStoreError, ServiceKey};
use ca_keystore::{MasterKey, SealError, SoftwareServiceKey};
use ca_service::service_key::{open, read_public, unsealer};

use crate::config::Config;
use crate::exit::{Exit, configuration, failure};

/// The keys of this CA's own services.
pub(crate) struct ServiceKeys {
    pub(crate) master: MasterKey,
    pub(crate) server: Option<SoftwareServiceKey>,
    pub(crate) ocsp: Vec<(AuthorityName, Arc<SoftwareServiceKey>)>,
    /// The public halves of those that other processes hold.
    pub(crate) elsewhere: Vec<PublicKey>,
}

impl ServiceKeys {
    /// Every public half, for the worker: it issues own certificates for these only.
    pub(crate) fn public_keys(&self) -> Vec<PublicKey> {
        let ocsp = self.ocsp.iter().map(|(_, key)| key.public_key());
        self.server.iter().map(ServiceKey::public_key).chain(ocsp).chain(&self.elsewhere).cloned().collect()
    }
}

/// The officers whose approval counts.
pub(crate) fn read_roster(config: &Config) -> anyhow::Result<Roster> {
    let path = &config.trust.roster;
    let wrong = |e: &dyn std::fmt::Display| {
        configuration(format!(
            "the trusted roster {}: {e} (hint: copy roster.toml out of the ceremony's bundle, and compare its digest with the officers')",
            path.display()
        ))
    };
    let text = read_bounded(path, Roster::MAX_BYTES).map_err(|e| wrong(&e))?;
    Roster::parse(&text).map_err(|e| wrong(&e))
}

/// Reads a file of which at most one byte more than `max` is taken, for a parser that knows the bound.
pub(crate) fn read_bounded(path: &Path, max: usize) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(max as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// The authority keys; none is used yet.
pub(crate) fn open_key_store(config: &Config) -> anyhow::Result<Arc<dyn KeyDevice>> {
    let opened = config.keystore.open("authority keys");
    opened.map_err(|e| configuration(format!("the key store {}: {e}", config.keystore)))
}

/// Unseals every authority key, so that a wrong secret is found now and not at the first order.
pub(crate) async fn list_keys(config: &Config, keys: &dyn KeyStore) -> anyhow::Result<Vec<KeyInfo>> {
    keys.list().await.map_err(|e| list_error(config, e))
}

/// Why the authority keys could not be listed.
pub(crate) fn list_error(config: &Config, error: KeyStoreError) -> anyhow::Error {
    let shown = &config.keystore;
    match error {
        KeyStoreError::Unseal(_) => {
            configuration(format!("the key store {shown}: {error} (hint: keystore.unseal must name the secret that the ceremony used)"))
        }
        KeyStoreError::Unavailable(_) => failure(Exit::Temporary, format!("the key store {shown}: {error}")),
        other => configuration(format!("the key store {shown}: {other}")),
    }
}

/// The keys of this CA's own services that this process holds.
pub(crate) fn open_service_keys(config: &Config) -> anyhow::Result<ServiceKeys> {
    let section = &config.service_keys;
    let unsealer = unsealer(&section.unseal)?;
    let wrong =
        |e: SealError| configuration(format!("the master key: {e} (hint: service_keys in the configuration names it and what opens it)"));
    let ocsp = section.ocsp.iter().map(|(authority, path)| Ok((authority.clone(), Arc::new(open(path, &unsealer)?))));
    Ok(ServiceKeys {
        master: MasterKey::open(&section.master, &unsealer).map_err(wrong)?,
        server: section.server.as_ref().map(|path| open(path, &unsealer)).transpose()?,
        ocsp: ocsp.collect::<anyhow::Result<_>>()?,
        elsewhere: section.public.iter().map(|path| read_public(path)).collect::<anyhow::Result<_>>()?,
    })
}
