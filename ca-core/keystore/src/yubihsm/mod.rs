//! Authority keys on a YubiHSM 2, natively, through its connector.
//!
//! - [`YubiHsmKeyStore`]: keys, and the device behind them. It makes and uses ECDSA keys on P-256 and P-384 and Ed25519
//!   keys; RSA on this device goes through its PKCS#11 module.
//! - [`provision`]: from the factory's state to split capabilities, as a [`DevicePlan`] says; [`retire_ceremony_key`] ends a
//!   ceremony.
//! - [`LogJournal`]: keeps the device's log here, durably and without gaps.
//!
//! A session belongs to one authentication key, and what it may do is what that key may do. A store holds one session for
//! each key that it was given, on one thread, and hands each command to a key that has the capability. The driver cannot
//! close a session, and a device has sixteen: open one store and keep it.

mod device;
mod journal;
mod keys;
mod link;
mod log;
mod plan;
mod provision;
mod roles;
mod sessions;

pub use journal::{DrainError, Drained, JournalError, JournalLine, LogJournal, LogStart};
pub use keys::MAX_WHOLE_MESSAGE;
pub use link::YubiHsmKeyStore;
pub use plan::{DevicePlan, PlannedKey, PlannedWrapKey};
#[cfg(feature = "shares")]
pub(crate) use provision::factory_key;
pub use provision::{NewKey, NewWrapKey, ProvisionError, Provisioned, Provisioning, provision, retire_ceremony_key};
pub use roles::Role;
#[cfg(feature = "shares")]
pub(crate) use sessions::given_keys;
pub use sessions::{AuthenticationKey, YubiHsmOptions};
