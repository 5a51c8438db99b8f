//! The store's face: one thread talks to the device, everyone else queues.

use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use ca_core::model::KeyLabel;
use ca_core::ports::KeyStoreError;
use tokio::sync::{mpsc, oneshot};
use yubihsm::object;

use super::keys::Known;
use super::sessions::{AuthenticationKey, Sessions, Trouble, YubiHsmOptions};

/// How many commands may wait; past it callers wait to queue. The device does about ten signatures a second.
const QUEUE: usize = 64;

type Job = Box<dyn FnOnce(&mut Device) + Send>;

/// What the thread holds.
pub(crate) struct Device {
    pub(crate) sessions: Sessions,
    /// Keys found so far; forgotten whenever the device may have been another meanwhile.
    pub(crate) known: HashMap<KeyLabel, Known>,
    /// Labels by id, of keys that were destroyed too: the log names keys by their ids.
    pub(crate) labels: HashMap<object::Id, KeyLabel>,
    /// The device refused a command for the sake of its log.
    pub(crate) log_is_full: bool,
}

/// A YubiHSM 2 as a key store. It lives on a thread of its own, which ends when the store is dropped.
///
/// A signature that the device may have made before the connection broke is not asked for again: the error is
/// [`KeyStoreError::Unavailable`], and the device's log tells. A driver that stumbles over an answer costs the command, not
/// the process.
pub struct YubiHsmKeyStore {
    jobs: mpsc::Sender<Job>,
    name: String,
}

impl YubiHsmKeyStore {
    /// Opens the store with one or more authentication keys. Blocks.
    ///
    /// # Errors
    /// When a credential is refused, or the device is not the one that is pinned. A device that is away is no error:
    /// [`ca_core::ports::KeyStore::health`] tells.
    pub fn open(options: YubiHsmOptions, keys: Vec<AuthenticationKey>) -> Result<Self, KeyStoreError> {
        let name = format!("YubiHSM 2 with serial number {} at {}", options.serial, options.connector);
        let mut sessions = Sessions::new(options, keys)?;
        sessions.login_all()?;
        let mut device = Device { sessions, known: HashMap::new(), labels: HashMap::new(), log_is_full: false };
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE);
        let serve = move || {
            while let Some(job) = queue.blocking_recv() {
                // The driver panics on some answers that no device gives; then nothing that it holds is trusted.
                if catch_unwind(AssertUnwindSafe(|| job(&mut device))).is_err() {
                    device.sessions.forget();
                    device.known.clear();
                }
            }
        };
        thread::Builder::new()
            .name("yubihsm".to_owned())
            .spawn(serve)
            .map_err(|e| KeyStoreError::Unavailable(format!("no thread for the device: {e}")))?;
        Ok(Self { jobs, name })
    }

    /// Runs on the device's thread.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Device) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let ended = || KeyStoreError::Unavailable("the driver stumbled over an answer of the device; it begins anew".to_owned());
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |device| {
            // Whoever asked may have gone; the command was carried out all the same.
            let _ = answer.send(job(device));
        });
        self.jobs.send(job).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

impl Device {
    /// Notes what an error tells about the device as a whole.
    pub(crate) fn note(&mut self, trouble: Trouble) -> Trouble {
        match &trouble {
            Trouble::Device(yubihsm::device::ErrorKind::LogFull) => self.log_is_full = true,
            Trouble::Away(_) | Trouble::Lost(_) | Trouble::Pinned(_) | Trouble::Credential(_) => self.known.clear(),
            _ => {}
        }
        trouble
    }
}

impl fmt::Debug for YubiHsmKeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "YubiHsmKeyStore({})", self.name)
    }
}
