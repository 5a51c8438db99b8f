//! Key stores: where authority keys live, and the sealed files that keep every secret of this product at rest.
//!
//! - [`SoftwareKeyStore`] (feature `authority`): authority keys as sealed files.
//! - `Pkcs11KeyStore` (feature `pkcs11`): authority keys on a PKCS#11 token.
//! - [`SoftwareServiceKey`]: a key of one of the product's own services, another type in another kind of file.
//! - [`MasterKey`]: the worker's secret that external account bindings are derived from.
//! - [`shares`] (feature `shares`): credentials that only several people together have; [`keyholder`]: how
//!   they are asked of the process that keeps them.
//! - [`Unsealer`] and [`sealed`]: how a file is opened.
//! - [`CredentialSource`], [`CredentialSpec`], [`UnsealSpec`]: where the secrets come from that open files and devices.
//! - [`yubihsm`] (feature `yubihsm`): authority keys on a YubiHSM 2.
//! - [`reseal_folder`] (feature `shares`): every sealed key of a folder under another secret, all of them or none.
//! - [`Lock`] (features `authority` and `shares`): what credentials open, and how others take their place.
//! - [`MeteredKeyStore`] (feature `authority`): tells how long signatures took.
//! - [`KeyStoreSpec`] (feature `authority`): which key store a configuration names.
//!
//! Private keys are made by aws-lc-rs, live in its memory (which it clears), and are on disk only sealed. Files
//! are created exclusively with mode 0600; one that others may read is refused. No function here returns the
//! private half of an authority key.

#[cfg(feature = "shares")]
pub mod keyholder;
pub mod sealed;
#[cfg(feature = "shares")]
pub mod shares;

#[cfg(feature = "authority")]
mod connector;
mod credential;
#[cfg(feature = "authority")]
mod device;
mod error;
mod files;
#[cfg(all(feature = "authority", feature = "shares"))]
mod lock;
mod master;
#[cfg(feature = "authority")]
mod metered;
mod pair;
#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(feature = "shares")]
mod reseal;
mod service;
#[cfg(feature = "authority")]
mod spec;
#[cfg(feature = "authority")]
mod store;
mod unsealer;
#[cfg(feature = "yubihsm")]
pub mod yubihsm;
#[cfg(feature = "authority")]
mod yubihsm_spec;

#[cfg(feature = "authority")]
pub use connector::YubiHsmConnector;
pub use credential::{CredentialError, CredentialSource, CredentialSpec, Opening, UnsealSpec};
pub use error::SealError;
#[cfg(all(feature = "authority", feature = "shares"))]
pub use lock::{Given, Lock, LockError};
pub use master::MasterKey;
#[cfg(feature = "authority")]
pub use metered::{MeteredKeyStore, Stopwatch};
#[cfg(feature = "pkcs11")]
pub use pkcs11::Pkcs11KeyStore;
#[cfg(feature = "shares")]
pub use reseal::reseal_folder;
pub use service::SoftwareServiceKey;
#[cfg(feature = "authority")]
pub use spec::{KeyStoreSpec, OpenError, Pkcs11Spec, SoftwareSpec};
#[cfg(feature = "authority")]
pub use store::SoftwareKeyStore;
pub use unsealer::{Unsealer, file_key_text};
#[cfg(feature = "authority")]
pub use yubihsm_spec::{YubiHsmKeySpec, YubiHsmSpec};

use ca_core::ports::Rng;

/// The operating system's randomness through aws-lc-rs, for the store's own salts and nonces.
#[cfg(feature = "authority")]
struct OsRandom;

#[cfg(feature = "authority")]
impl Rng for OsRandom {
    fn fill(&self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out).expect("the operating system gives random bytes; without them nothing may go on");
    }
}

fn random<const N: usize>(rng: &dyn Rng) -> [u8; N] {
    let mut out = [0u8; N];
    rng.fill(&mut out);
    out
}
