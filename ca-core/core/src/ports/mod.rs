//! What the core needs from the outside world, as traits.
//!
//! No trait here knows a runtime, a database or a device. Each method states what is durable when it returns and
//! whether it may be called again. The traits for storage are sized by role, so that a process holds only what its
//! role needs: the ACME front end has no way to write a certificate, the responder no way to write at all.

mod anchor;
mod clock;
mod compromise;
mod eab_secrets;
mod key_device;
mod key_store;
mod publisher;
mod replacement;
mod rng;
mod service_key;
mod standing;
mod store;
mod validation;

pub use anchor::{Anchor, AnchorError};
pub use clock::Clock;
pub use compromise::CompromiseStore;
pub use eab_secrets::EabSecrets;
pub use key_device::{
    Attestation, DeviceIdentity, DeviceKind, DeviceLog, DeviceLogEntry, DeviceObject, FirmwareVersion, KeyAttributes, KeyDevice, WrappedKey,
};
pub use key_store::{GenerateKey, KeyInfo, KeyStore, KeyStoreError, SignInput};
pub use publisher::{Publisher, PublisherError};
pub use replacement::ReplacementStore;
pub use rng::Rng;
pub use service_key::{ServiceKey, ServiceKeyError};
pub use standing::{AccountAdminStore, MAX_SHARES, SHARED_SUBJECTS, StandingStore};
pub use store::*;
pub use validation::*;
