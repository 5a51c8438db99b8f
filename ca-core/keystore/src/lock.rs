//! What credentials open, and how others take their place: a folder of sealed keys, a token, a device.
//!
//! A ceremony opens a store with what its own file says or with credentials that were recombined, and puts fresh ones in
//! their place. Whether a credential opens it is found out by a login of its own, never from one that stands. Deliberately
//! absent: shares, and who may change what.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ca_core::ports::{KeyDevice, KeyStoreError, Rng};
#[cfg(any(feature = "pkcs11", feature = "yubihsm"))]
use zeroize::Zeroizing;

use crate::shares::{Credential, Purpose, ShareError};
use crate::spec::SoftwareSpec;
#[cfg(feature = "yubihsm")]
use crate::yubihsm::{DevicePlan, ProvisionError, YubiHsmKeyStore, factory_key, given_keys, provision};
use crate::{CredentialError, KeyStoreSpec, OpenError, SealError, SoftwareKeyStore, Unsealer, reseal_folder};

/// A credential that was recombined or made, and which of a device's it is.
#[derive(Clone, Debug)]
pub struct Given {
    /// The id of the authentication key, on a YubiHSM 2.
    pub key_id: Option<u16>,
    /// The credential.
    pub credential: Credential,
}

/// What credentials open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lock {
    /// A key store as its file names it.
    Store(KeyStoreSpec),
    /// A YubiHSM 2 from the factory, and what it is to become.
    #[cfg(feature = "yubihsm")]
    Device(Box<DevicePlan>),
}

/// Why a lock was not opened or changed. No variant carries a secret.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The key store was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Sealed files were not sealed anew.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The device was not provisioned.
    #[cfg(feature = "yubihsm")]
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The credential is for something else, or this cannot be changed.
    #[error("{0}")]
    Unfit(String),
}

impl From<KeyStoreError> for LockError {
    fn from(error: KeyStoreError) -> Self {
        Self::Open(error.into())
    }
}

impl From<ShareError> for LockError {
    fn from(error: ShareError) -> Self {
        Self::Unfit(error.to_string())
    }
}

impl LockError {
    /// Whether it was the credential that was refused, so that another one may open it.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Open(OpenError::Store(KeyStoreError::Credential(_) | KeyStoreError::Unseal(_)))
                | Self::Seal(SealError::Unseal(_) | SealError::OtherSecret { .. })
        )
    }

    /// Whether trying again may help.
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Open(OpenError::Store(KeyStoreError::Unavailable(_))) => true,
            #[cfg(feature = "yubihsm")]
            Self::Provision(ProvisionError::Device { source: KeyStoreError::Unavailable(_), .. }) => true,
            _ => false,
        }
    }
}

impl Lock {
    /// The credentials' purpose here.
    pub const fn purpose(&self) -> Purpose {
        match self {
            Self::Store(KeyStoreSpec::Software(_)) => Purpose::SoftwareKey,
            Self::Store(KeyStoreSpec::Pkcs11(_)) => Purpose::Pkcs11Pin,
            Self::Store(KeyStoreSpec::YubiHsm(_)) => Purpose::YubihsmKey,
            #[cfg(feature = "yubihsm")]
            Self::Device(_) => Purpose::YubihsmKey,
        }
    }

    /// Whether it is a device from the factory, until its credentials are changed.
    pub const fn is_from_factory(&self) -> bool {
        !matches!(self, Self::Store(_))
    }

    /// Whether [`Self::change`] can put other credentials in place: not in a YubiHSM 2 that is provisioned, where no key may.
    pub const fn is_changeable(&self) -> bool {
        !matches!(self, Self::Store(KeyStoreSpec::YubiHsm(_)))
    }

    /// Makes relative paths start at `base`.
    pub fn resolve(&mut self, base: &Path) {
        match self {
            Self::Store(spec) => spec.resolve(base),
            #[cfg(feature = "yubihsm")]
            Self::Device(plan) => plan.resolve(base),
        }
    }

    /// Opens the store: without any credentials as its file says (a device from the factory with the key that it comes
    /// with), otherwise with these, each of which must open it. Blocks.
    ///
    /// # Errors
    /// When a credential is refused ([`LockError::is_refusal`]), is for something else, or the store is away.
    pub fn open(&self, what: &str, with: &[Given]) -> Result<Arc<dyn KeyDevice>, LockError> {
        if with.is_empty() {
            return match self {
                Self::Store(spec) => Ok(spec.open(what)?),
                #[cfg(feature = "yubihsm")]
                Self::Device(plan) => Ok(Arc::new(YubiHsmKeyStore::open(plan.options(), vec![factory_key()])?)),
            };
        }
        self.check(with)?;
        match self {
            Self::Store(KeyStoreSpec::Software(spec)) => {
                let store = SoftwareKeyStore::open(&spec.dir, self.unsealer(what, with)?)?;
                store.labels()?.iter().try_for_each(|label| store.held(label).map(drop))?;
                Ok(Arc::new(store))
            }
            #[cfg(feature = "pkcs11")]
            Self::Store(KeyStoreSpec::Pkcs11(spec)) => {
                let pin = self.pin(what, with)?;
                crate::pkcs11::log_in_anew(spec, &pin)?;
                Ok(Arc::new(crate::Pkcs11KeyStore::open(spec, Box::new(crate::credential::Held(pin)))?))
            }
            #[cfg(feature = "yubihsm")]
            Self::Store(KeyStoreSpec::YubiHsm(spec)) => {
                let keys = spec.sources_with(&values(with)?).map_err(no_secret(what))?;
                Ok(Arc::new(YubiHsmKeyStore::open(spec.options(), keys)?))
            }
            #[cfg(feature = "yubihsm")]
            Self::Device(plan) => {
                let provisioning = plan.with_values_of(&values(with)?).map_err(no_secret(what))?;
                Ok(Arc::new(YubiHsmKeyStore::open(plan.options(), given_keys(&provisioning.values()))?))
            }
            #[cfg(not(all(feature = "pkcs11", feature = "yubihsm")))]
            Self::Store(spec) => Ok(spec.open(what)?),
        }
    }

    /// Puts `new` in the place of `old`, or, where that is empty, of what the store's own file says: then `old` opens
    /// nothing any more. When it returns, it is durable and was seen. Blocks.
    ///
    /// # Errors
    /// As [`Self::open`], and where the store's credentials cannot be changed.
    pub fn change(&self, what: &str, old: &[Given], new: &[Given], rng: &dyn Rng) -> Result<(), LockError> {
        self.check(old)?;
        self.check(new)?;
        match self {
            Self::Store(KeyStoreSpec::Software(SoftwareSpec { dir, .. })) => {
                // Opening makes a folder that is not there yet.
                SoftwareKeyStore::open(dir, self.unsealer(what, new)?)?;
                reseal_folder(dir, &self.unsealer(what, old)?, &self.unsealer(what, new)?, rng)?;
                Ok(())
            }
            #[cfg(feature = "pkcs11")]
            Self::Store(KeyStoreSpec::Pkcs11(spec)) => Ok(crate::pkcs11::change_pin(spec, &self.pin(what, old)?, &self.pin(what, new)?)?),
            #[cfg(feature = "yubihsm")]
            Self::Device(plan) => Ok(provision(&plan.with_values_of(&values(new)?).map_err(no_secret(what))?).map(drop)?),
            Self::Store(spec) => Err(LockError::Unfit(format!(
                "the authentication keys of the {spec} are set by provisioning it (hint: name its device plan, --PLACE-device)"
            ))),
        }
    }

    fn check(&self, given: &[Given]) -> Result<(), LockError> {
        let purpose = self.purpose();
        let unfit = |reason: String| Err(LockError::Unfit(reason));
        for Given { key_id, credential } in given {
            if credential.purpose() != purpose {
                return unfit(format!("`{}` opens a {}, and {self} wants a {purpose}", credential.name(), credential.purpose()));
            }
            match (self, key_id) {
                #[cfg(feature = "yubihsm")]
                (Self::Device(plan), Some(id)) if !plan.ids().contains(id) => {
                    return unfit(format!("the device plan has no authentication key {id} for `{}`", credential.name()));
                }
                (_, None) if purpose == Purpose::YubihsmKey => return unfit(format!("`{}` has no key_id", credential.name())),
                _ => {}
            }
        }
        if given.len() > 1 && purpose != Purpose::YubihsmKey {
            return unfit(format!("{self} has one credential, not {}", given.len()));
        }
        Ok(())
    }

    /// What opens the folder: given, or as its file says.
    fn unsealer(&self, what: &str, given: &[Given]) -> Result<Unsealer, LockError> {
        match (self, given) {
            (_, [Given { credential, .. }, ..]) => Ok(credential.unsealer()?),
            (Self::Store(KeyStoreSpec::Software(spec)), []) => Ok(spec.unseal.unsealer(what).map_err(no_secret(what))?),
            _ => Err(LockError::Unfit(format!("{self} is no folder of sealed keys"))),
        }
    }

    #[cfg(feature = "pkcs11")]
    fn pin(&self, what: &str, given: &[Given]) -> Result<Zeroizing<Vec<u8>>, LockError> {
        match (self, given) {
            (_, [Given { credential, .. }, ..]) => Ok(Zeroizing::new(credential.expose().to_vec())),
            (Self::Store(KeyStoreSpec::Pkcs11(spec)), []) => {
                let source = spec.pin.source(&format!("PIN of the {spec}")).map_err(no_secret(what))?;
                Ok(source.credential(spec.pin.name()).map_err(no_secret(what))?)
            }
            _ => Err(LockError::Unfit(format!("{self} is no token"))),
        }
    }
}

fn no_secret(what: &str) -> impl FnOnce(CredentialError) -> OpenError + '_ {
    move |source| OpenError::Credential { what: what.to_owned(), source }
}

/// Values of authentication keys by their ids.
#[cfg(feature = "yubihsm")]
fn values(given: &[Given]) -> Result<Vec<(u16, Zeroizing<[u8; 32]>)>, LockError> {
    let unfit = |g: &Given| LockError::Unfit(format!("`{}` is no authentication key", g.credential.name()));
    let value = |g: &Given| {
        let value = <[u8; 32]>::try_from(g.credential.expose()).map(Zeroizing::new).map_err(|_| unfit(g))?;
        Ok((g.key_id.ok_or_else(|| unfit(g))?, value))
    };
    given.iter().map(value).collect()
}

impl fmt::Display for Lock {
    /// The place, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(spec @ KeyStoreSpec::Software(_)) => write!(f, "the folder {spec}"),
            Self::Store(spec) => write!(f, "the {spec}"),
            #[cfg(feature = "yubihsm")]
            Self::Device(plan) => write!(f, "the YubiHSM 2 with serial number {} at {}", plan.serial, plan.connector),
        }
    }
}
