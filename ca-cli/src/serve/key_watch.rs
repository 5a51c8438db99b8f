//! Whether the authority keys can be used: asked at a bounded rate, told to the loops, to readiness and to `ca status`.
//!
//! A key store may be sealed until holders unseal its credential, or its device may be away. Nothing is recorded and no
//! serial is spent meanwhile: the loops wait here, and go on by themselves. What a start checks of a key store is checked
//! as soon as it can be, before the first signature. A device's own log is followed here too: while it can't be put on
//! record, nothing is signed.

use std::sync::Arc;
use std::time::Duration;

use ca_core::lifecycle::{FollowedLog, Worker};
use ca_core::model::{Authority, AuthorityName};
use ca_core::policy::{Policy, Unlock};
use ca_core::ports::{KeyDevice, KeyInfo, KeyStoreError};
use ca_keystore::keyholder::Keyholder;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::compose::list_error;
use crate::config::Config;
use crate::exit::{Exit, configuration, failure};

/// How often it is asked, while it can be used and while it cannot: a YubiHSM 2 signs about ten times a second, and its
/// log has 62 places.
const USABLE: Duration = Duration::from_secs(1);
const WAITING: Duration = Duration::from_millis(500);

/// What is known of the key store.
#[derive(Clone)]
pub(super) struct KeyWatch(watch::Receiver<Option<String>>);

impl KeyWatch {
    /// Why the keys can't be used now; none: they can.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Returns once the keys can be used.
    pub(super) async fn usable(&mut self) {
        if self.0.wait_for(Option::is_none).await.is_err() {
            // Whoever asked is gone: the process stops.
            std::future::pending::<()>().await;
        }
    }
}

/// Asks the key store.
pub(super) struct KeyWatcher {
    keys: Arc<dyn KeyDevice>,
    said: watch::Sender<Option<String>>,
    /// What must hold before the first signature; none once it does.
    demands: Option<Demands>,
    log: FollowedLog,
}

impl KeyWatcher {
    /// Lists the keys, which opens them where that needs no more than what is here. What may come later is no error.
    ///
    /// # Errors
    /// When waiting would not help: a wrong secret, a damaged file, a key that is missing, a policy that wants the keys
    /// attended.
    pub(super) async fn begin(
        config: &Config,
        keys: Arc<dyn KeyDevice>,
        policy: &Policy,
        authorities: &[Authority],
    ) -> anyhow::Result<(Self, KeyWatch)> {
        let demands = Demands { config: config.clone(), attended: attended(policy).cloned(), authorities: authorities.to_vec() };
        demands.of_configuration()?;
        let (demands, trouble) = match keys.list().await {
            Ok(present) => {
                demands.of_store(&present).await?;
                (None, None)
            }
            Err(KeyStoreError::Unavailable(reason)) => {
                tracing::error!(error = reason, "the key store can't be used yet; nothing is signed until it can");
                (Some(demands), Some(reason))
            }
            Err(error) => return Err(list_error(config, error)),
        };
        let (said, receiver) = watch::channel(trouble);
        Ok((Self { keys, said, demands, log: FollowedLog::default() }, KeyWatch(receiver)))
    }

    /// Puts on record what the device logged before this process began. Call it before anything is signed.
    ///
    /// # Errors
    /// When the device or the store does not answer.
    pub(super) async fn begin_log(&mut self, worker: &Worker) -> anyhow::Result<()> {
        if self.said.borrow().is_none() {
            worker.drain_device_log(&*self.keys, &mut self.log).await.map_err(|e| failure(Exit::Temporary, e.to_string()))?;
        }
        Ok(())
    }

    /// Asks for ever.
    pub(super) async fn follow(mut self, worker: Arc<Worker>) {
        loop {
            let waiting = self.said.borrow().is_some();
            tokio::time::sleep(if waiting { WAITING } else { USABLE }).await;
            let trouble = match self.ask().await {
                Some(trouble) => Some(trouble),
                None => worker.drain_device_log(&*self.keys, &mut self.log).await.err().map(|e| e.to_string()),
            };
            self.said.send_if_modified(|before| {
                if *before == trouble {
                    return false;
                }
                match &trouble {
                    Some(error) => tracing::error!(error, "the key store can't be used; nothing is signed until it can"),
                    None => tracing::info!("the key store can be used"),
                }
                before.clone_from(&trouble);
                true
            });
        }
    }

    async fn ask(&mut self) -> Option<String> {
        let keys = Arc::clone(&self.keys);
        // A keyholder or a device may take its time, and the other tasks must not wait for it.
        let health = tokio::task::spawn_blocking(move || Handle::current().block_on(keys.health())).await;
        match health {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(error.to_string()),
            Err(error) => return Some(error.to_string()),
        }
        let Some(demands) = &self.demands else { return None };
        let checked = match self.keys.list().await {
            Ok(present) => demands.of_store(&present).await,
            Err(error) => Err(list_error(&demands.config, error)),
        };
        match checked {
            Ok(()) => {
                self.demands = None;
                None
            }
            Err(error) => Some(format!("{error:#}")),
        }
    }
}

/// What a key store must have and be.
struct Demands {
    config: Config,
    /// The first authority whose key the policy wants attended.
    attended: Option<AuthorityName>,
    authorities: Vec<Authority>,
}

fn attended(policy: &Policy) -> Option<&AuthorityName> {
    policy.authorities.iter().find(|a| a.unlock == Some(Unlock::Attended)).map(|a| &a.name)
}

impl Demands {
    /// A key that the policy wants attended is not opened by a file, nor by what one person types.
    fn of_configuration(&self) -> anyhow::Result<()> {
        match &self.attended {
            Some(name) if self.config.keystore.keyholder().is_none() => Err(failure(
                Exit::Refused,
                format!(
                    "the policy wants the key of `{name}` attended, and [keystore] opens it without its holders (hint: {{ keyholder = \"SOCKET\", credential = \"NAME\" }})"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Every authority's key is there, and what the policy wants attended was unsealed by its holders.
    async fn of_store(&self, present: &[KeyInfo]) -> anyhow::Result<()> {
        for authority in &self.authorities {
            if let Some(label) = authority.key.as_ref().filter(|label| !present.iter().any(|k| k.label == **label)) {
                return Err(configuration(format!(
                    "the key store {} has no key `{label}` of authority `{}` (hint: [keystore] must name the online key store of its ceremony)",
                    self.config.keystore, authority.name
                )));
            }
        }
        let (Some(name), Some((socket, credential))) = (&self.attended, self.config.keystore.keyholder()) else { return Ok(()) };
        let (keyholder, credential) = (Keyholder::at(socket), credential.to_owned());
        let status = tokio::task::spawn_blocking(move || keyholder.status().map(|all| (all, credential))).await?;
        let (all, credential) = status.map_err(|e| failure(Exit::Temporary, e.to_string()))?;
        match all.iter().find(|c| c.name.as_str() == credential) {
            Some(found) if found.unlock == Unlock::Attended => Ok(()),
            _ => Err(failure(
                Exit::Refused,
                format!(
                    "the policy wants the key of `{name}` attended, and the keyholder has `{credential}` host-sealed (hint: deal it to holders: `ca credential reshare`)"
                ),
            )),
        }
    }
}
