//! Authority keys on a PKCS#11 token, through any vendor's module.
//!
//! - `module` loads and restarts the shared library, `token` finds the token and logs in, `pool` has the threads and
//!   their sessions;
//! - `keys` makes, finds, uses and destroys key pairs, `device` does what a ceremony asks beyond that, `encode`
//!   translates, `fault` sorts the token's errors by what helps;
//! - `pin` puts another PIN in the place of the user's.
//!
//! Keys are token objects: sensitive, and never extractable unless they were made for a backup. A private key is named
//! by its label, which is unique on the token. Deliberately absent: session keys, imports of keys in the clear, and
//! setting up tokens, which is the vendor's tool's and the security officer's.

mod device;
mod encode;
mod fault;
mod keys;
mod module;
#[cfg(feature = "shares")]
mod pin;
mod pool;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::digest;
use ca_core::model::KeyLabel;
use ca_core::pki::{DigestAlgorithm, SignatureAlgorithm};
use ca_core::ports::{
    Attestation, DeviceIdentity, DeviceLog, DeviceObject, GenerateKey, KeyAttributes, KeyDevice, KeyInfo, KeyStore, KeyStoreError,
    SignInput, WrappedKey,
};

use crate::{CredentialSource, OsRandom, Pkcs11Spec, random};
use fault::Fault;
use keys::Signing;
use module::Module;
#[cfg(feature = "shares")]
pub(crate) use pin::{change_pin, log_in_anew};
use pool::{Again, Link, Pool};
use token::Token;

/// How long a call may take, waiting included: signatures, searches.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long making a key may take: RSA-4096 on a smart card takes minutes.
const MAKING: Duration = Duration::from_secs(300);
/// After which silence a token counts as dead.
const HEALTH: Duration = Duration::from_secs(5);
/// Bytes of device random in a health check.
const HEALTH_RANDOM: u32 = 16;

/// The keys of one token. Calls run on threads of their own and take turns there; a token that went away is found again
/// at the next call.
pub struct Pkcs11KeyStore {
    pool: Pool,
}

impl Pkcs11KeyStore {
    /// Loads the module. The token is looked for at the first call, so that one that is away now may come later.
    ///
    /// # Errors
    /// When there is no such module, others may change it, or it is none.
    pub fn open(spec: &Pkcs11Spec, pin: Box<dyn CredentialSource>) -> Result<Self, KeyStoreError> {
        let module = Module::load(&spec.module)?;
        Ok(Self { pool: Pool::start(&module, Token::new(spec.clone(), pin))? })
    }

    async fn read<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut Link) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        self.pool.run(Again::May, PATIENCE, move |link| work(link)).await
    }
}

#[async_trait]
impl KeyStore for Pkcs11KeyStore {
    async fn generate(&self, request: GenerateKey) -> Result<KeyInfo, KeyStoreError> {
        let id = random(&OsRandom);
        self.pool.run(Again::MustNot, MAKING, move |link| keys::generate(link, &request, id).map_err(|f| f.with_key(&request.label))).await
    }

    async fn describe(&self, label: &KeyLabel) -> Result<KeyInfo, KeyStoreError> {
        let label = label.clone();
        self.read(move |link| keys::describe(link, &label)).await
    }

    async fn list(&self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        self.read(|link| keys::list(link)).await
    }

    async fn sign(&self, label: &KeyLabel, algorithm: SignatureAlgorithm, input: SignInput<'_>) -> Result<Vec<u8>, KeyStoreError> {
        let input =
            prepare(algorithm, input).map_err(|reason| KeyStoreError::Unsupported { label: label.clone(), reason: reason.to_owned() })?;
        let signing = Signing { label: label.clone(), algorithm, input };
        // The caller compares what was signed, so a second signature is as good as the first.
        self.read(move |link| keys::sign(link, &signing).map_err(|f| f.with_key(&signing.label))).await
    }

    async fn health(&self) -> Result<(), KeyStoreError> {
        let check = |link: &mut Link| {
            link.probe()?;
            link.session.generate_random_vec(HEALTH_RANDOM).map(drop).map_err(Fault::of("draw random bytes"))
        };
        self.pool.run(Again::May, HEALTH, check).await
    }
}

#[async_trait]
impl KeyDevice for Pkcs11KeyStore {
    async fn identity(&self) -> Result<DeviceIdentity, KeyStoreError> {
        self.read(|link| device::identity(link)).await
    }

    async fn inventory(&self) -> Result<Vec<DeviceObject>, KeyStoreError> {
        self.read(|link| device::inventory(link)).await
    }

    async fn deviations_from_reset(&self) -> Result<Vec<String>, KeyStoreError> {
        self.read(|link| device::deviations_from_reset(link)).await
    }

    async fn attributes(&self, label: &KeyLabel) -> Result<KeyAttributes, KeyStoreError> {
        let label = label.clone();
        self.read(move |link| keys::attributes(link, &label)).await
    }

    /// None: PKCS#11 has no attestation; vendors' own ones differ.
    async fn attest(&self, _label: &KeyLabel) -> Result<Option<Attestation>, KeyStoreError> {
        Ok(None)
    }

    async fn export_wrapped(&self, label: &KeyLabel, wrapping_key: &str) -> Result<WrappedKey, KeyStoreError> {
        let (label, wrapping) = (label.clone(), wrapping_key.to_owned());
        self.read(move |link| device::export_wrapped(link, &label, &wrapping).map_err(|f| f.with_key(&label))).await
    }

    /// The public half is compared where the token tells it from the private key alone, as for RSA; for other kinds
    /// the test signature of ceremony requirement 25 shows it.
    async fn import_wrapped(&self, wrapped: &WrappedKey) -> Result<KeyInfo, KeyStoreError> {
        let (wrapped, id) = (wrapped.clone(), random(&OsRandom));
        self.pool
            .run(Again::MustNot, PATIENCE, move |link| device::import_wrapped(link, &wrapped, id).map_err(|f| f.with_key(&wrapped.label)))
            .await
    }

    async fn destroy(&self, label: &KeyLabel) -> Result<(), KeyStoreError> {
        let label = label.clone();
        self.pool.run(Again::MustNot, PATIENCE, move |link| keys::destroy(link, &label).map_err(|f| f.with_key(&label))).await
    }

    async fn log(&self) -> Result<Option<DeviceLog>, KeyStoreError> {
        Ok(None)
    }

    async fn acknowledge_log(&self, _number: u64) -> Result<(), KeyStoreError> {
        Err(device::no_log())
    }
}

/// The digest to be signed, or the message where the algorithm has no digest.
fn prepare(algorithm: SignatureAlgorithm, input: SignInput<'_>) -> Result<Vec<u8>, &'static str> {
    match (algorithm.digest(), input) {
        (None, SignInput::Message(message)) => Ok(message.to_vec()),
        (None, SignInput::Digest(_)) => Err("such a key signs whole messages, not digests"),
        (Some(which), SignInput::Message(message)) => {
            let hash = match which {
                DigestAlgorithm::Sha256 => &digest::SHA256,
                DigestAlgorithm::Sha384 => &digest::SHA384,
            };
            Ok(digest::digest(hash, message).as_ref().to_vec())
        }
        (Some(which), SignInput::Digest(digest)) if digest.len() == encode::digest_length(which) => Ok(digest.to_vec()),
        (Some(_), SignInput::Digest(_)) => Err("the digest has another length than the algorithm's"),
    }
}

impl fmt::Debug for Pkcs11KeyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pkcs11KeyStore({})", self.pool.token().spec)
    }
}
