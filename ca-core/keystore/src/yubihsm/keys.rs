//! Keys: made, found by label, and used.

use async_trait::async_trait;
use aws_lc_rs::digest;
use ca_core::model::KeyLabel;
use ca_core::pki::{DigestAlgorithm, KeyAlgorithm, PublicKey, SignatureAlgorithm, sha256};
use ca_core::ports::{GenerateKey, KeyInfo, KeyStore, KeyStoreError, SignInput};
use yubihsm::asymmetric::Algorithm;
use yubihsm::device::ErrorKind;
use yubihsm::object::{self, Filter, Label, Origin, Type};
use yubihsm::{Capability, Client};

use super::link::{Device, YubiHsmKeyStore};
use super::sessions::{Again, Trouble};

/// The longest message that the device signs whole (Ed25519), in bytes: its message buffer is 2,048 bytes, less what
/// carries the message. Longer certificates and CRLs need an ECDSA key.
pub const MAX_WHOLE_MESSAGE: usize = 2026;

/// How many ids are tried for a new key before its label is said to be in the way.
const ID_TRIES: u8 = 32;

const OTHER_ALGORITHM: &str = "the native store makes ECDSA keys on P-256 and P-384 and Ed25519 keys (hint: for RSA use a pkcs11 key store \
                               with yubihsm_pkcs11)";

/// A key that was found.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) id: object::Id,
    pub(crate) info: KeyInfo,
}

fn device_algorithm(algorithm: KeyAlgorithm) -> Option<(Algorithm, Capability)> {
    match algorithm {
        KeyAlgorithm::P256 => Some((Algorithm::EcP256, Capability::SIGN_ECDSA)),
        KeyAlgorithm::P384 => Some((Algorithm::EcP384, Capability::SIGN_ECDSA)),
        KeyAlgorithm::Ed25519 => Some((Algorithm::Ed25519, Capability::SIGN_EDDSA)),
        KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => None,
    }
}

/// The device's public key as SubjectPublicKeyInfo (RFC 5480 §2, RFC 8410 §4); none for other algorithms.
pub(crate) fn public_key(key: &yubihsm::asymmetric::PublicKey) -> Option<(KeyAlgorithm, PublicKey)> {
    const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
    const P384: &[u8] = b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04";
    const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    let (algorithm, head, length) = match key.algorithm {
        Algorithm::EcP256 => (KeyAlgorithm::P256, P256, 64),
        Algorithm::EcP384 => (KeyAlgorithm::P384, P384, 96),
        Algorithm::Ed25519 => (KeyAlgorithm::Ed25519, ED25519, 32),
        _ => return None,
    };
    (key.len() == length).then(|| (algorithm, PublicKey::from_spki_der([head, key.as_slice()].concat())))
}

/// The label as the device stores it: 40 bytes, padded with zeros.
pub(crate) fn device_label(label: &KeyLabel) -> Result<Label, KeyStoreError> {
    Label::from_bytes(label.as_str().as_bytes()).map_err(|_| KeyStoreError::Unsupported {
        label: label.clone(),
        reason: "its label is longer than the device's 40 bytes (hint: choose a shorter one)".to_owned(),
    })
}

impl Device {
    /// Finds a key by its label.
    pub(crate) fn find(&mut self, label: &KeyLabel) -> Result<Known, KeyStoreError> {
        if let Some(known) = self.known.get(label) {
            return Ok(known.clone());
        }
        let id = self.id_of(label)?.ok_or_else(|| KeyStoreError::NotFound(label.clone()))?;
        let public = self.read(label, |client| client.get_public_key(id))?;
        let (algorithm, public_key) =
            public_key(&public).ok_or_else(|| KeyStoreError::Unsupported { label: label.clone(), reason: OTHER_ALGORITHM.to_owned() })?;
        let known = Known { id, info: KeyInfo { label: label.clone(), algorithm, public_key } };
        self.known.insert(label.clone(), known.clone());
        self.labels.insert(id, label.clone());
        Ok(known)
    }

    /// The id of the key with this label, asked of the device.
    pub(crate) fn id_of(&mut self, label: &KeyLabel) -> Result<Option<object::Id>, KeyStoreError> {
        let wanted = device_label(label)?;
        let found =
            self.read(label, move |client| client.list_objects(&[Filter::Type(Type::AsymmetricKey), Filter::Label(wanted.clone())]))?;
        match found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.object_id)),
            _ => Err(KeyStoreError::Damaged(format!("{} keys in the device are labelled `{label}`", found.len()))),
        }
    }

    /// A command that any key may send and that changes nothing.
    pub(crate) fn read<T>(
        &mut self,
        label: &KeyLabel,
        command: impl Fn(&Client) -> Result<T, yubihsm::client::Error>,
    ) -> Result<T, KeyStoreError> {
        self.run(label, Capability::empty(), Again::Always, command)
    }

    pub(crate) fn run<T>(
        &mut self,
        label: &KeyLabel,
        capability: Capability,
        again: Again,
        command: impl Fn(&Client) -> Result<T, yubihsm::client::Error>,
    ) -> Result<T, KeyStoreError> {
        self.sessions.run(capability, again, command).map_err(|trouble| {
            if matches!(trouble, Trouble::Device(ErrorKind::ObjectNotFound)) {
                self.known.remove(label);
            }
            self.note(trouble).about(label)
        })
    }

    fn generate(&mut self, request: &GenerateKey) -> Result<KeyInfo, KeyStoreError> {
        let GenerateKey { label, algorithm, exportable_under } = request;
        let unsupported = |reason: String| KeyStoreError::Unsupported { label: label.clone(), reason };
        let other = if algorithm.is_post_quantum() { KeyAlgorithm::SOFTWARE_ONLY } else { OTHER_ALGORITHM };
        let (device_algorithm, mut capabilities) = device_algorithm(*algorithm).ok_or_else(|| unsupported(other.to_owned()))?;
        if let Some(name) = exportable_under {
            capabilities |= Capability::EXPORTABLE_UNDER_WRAP;
            self.check_wrap_key(label, name, capabilities)?;
        }
        if self.id_of(label)?.is_some() {
            return Err(KeyStoreError::Exists(label.clone()));
        }
        let (written, domains) = (device_label(label)?, self.sessions.domains);
        // The id follows from the label, so that of two who make the same label at once the device refuses one.
        for attempt in 0..ID_TRIES {
            let id = id_for(label, attempt);
            let label_bytes = written.clone();
            let made = self.sessions.run(Capability::GENERATE_ASYMMETRIC_KEY, Again::IfNotDone, move |client| {
                client.generate_asymmetric_key(id, label_bytes.clone(), domains, capabilities, device_algorithm)
            });
            match made {
                Ok(_) => {
                    self.assert_made(label, id, capabilities)?;
                    return self.find(label).map(|known| known.info);
                }
                Err(Trouble::Device(ErrorKind::ObjectExists)) if self.id_of(label)?.is_none() => {}
                Err(trouble) => return Err(self.note(trouble).about(label)),
            }
        }
        Err(KeyStoreError::Unavailable(format!("the device has no free id for `{label}` (hint: choose another label)")))
    }

    /// Reads a new key's attributes back (ceremony requirement 19); one that is not as asked for is destroyed again.
    fn assert_made(&mut self, label: &KeyLabel, id: object::Id, capabilities: Capability) -> Result<(), KeyStoreError> {
        let info = self.read(label, move |client| client.get_object_info(id, Type::AsymmetricKey))?;
        let written = device_label(label)?;
        let as_asked = info.capabilities == capabilities
            && info.domains == self.sessions.domains
            && info.origin == Origin::Generated
            && info.label == written;
        if as_asked {
            return Ok(());
        }
        let removed =
            self.run(label, Capability::DELETE_ASYMMETRIC_KEY, Again::Always, move |client| client.delete_object(id, Type::AsymmetricKey));
        let left = removed.map_or_else(|e| format!("; it could not be destroyed: {e}"), |()| "; it was destroyed".to_owned());
        Err(KeyStoreError::Damaged(format!("the device made `{label}` with other attributes than asked for ({info:?}){left}")))
    }

    fn sign(&mut self, label: &KeyLabel, algorithm: SignatureAlgorithm, input: &Input) -> Result<Vec<u8>, KeyStoreError> {
        let unsupported = |reason: String| KeyStoreError::Unsupported { label: label.clone(), reason };
        let Known { id, info } = self.find(label)?;
        if info.algorithm.signature_algorithm() != algorithm {
            return Err(unsupported(format!("it is a {} key and does not sign as {algorithm:?}", info.algorithm)));
        }
        match (algorithm.digest().map(hash), input) {
            (Some(hash), Input::Digest(value)) if value.len() == hash.output_len() => {
                self.run(label, Capability::SIGN_ECDSA, Again::IfNotDone, |client| client.sign_ecdsa_prehash_raw(id, value.as_slice()))
            }
            (Some(_), _) => Err(unsupported("the digest has another length than the algorithm's".to_owned())),
            (None, Input::Whole(message)) if message.len() <= MAX_WHOLE_MESSAGE => self
                .run(label, Capability::SIGN_EDDSA, Again::IfNotDone, |client| client.sign_ed25519(id, message.as_slice()))
                .map(|signature| signature.to_bytes().to_vec()),
            (None, Input::Whole(message)) => Err(unsupported(format!(
                "the device signs at most {MAX_WHOLE_MESSAGE} bytes with Ed25519, and these are {} (hint: use an ECDSA key)",
                message.len()
            ))),
            (None, Input::Digest(_)) => Err(unsupported("Ed25519 signs whole messages, not digests".to_owned())),
        }
    }

    fn list(&mut self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        let entries = self
            .sessions
            .run(Capability::empty(), Again::Always, |client| client.list_objects(&[Filter::Type(Type::AsymmetricKey)]))
            .map_err(|trouble| KeyStoreError::from(self.note(trouble)))?;
        let mut keys = Vec::new();
        for entry in entries {
            let read = |client: &Client| {
                Ok((client.get_object_info(entry.object_id, Type::AsymmetricKey)?, client.get_public_key(entry.object_id)?))
            };
            let (info, public) =
                self.sessions.run(Capability::empty(), Again::Always, read).map_err(|trouble| KeyStoreError::from(self.note(trouble)))?;
            // Others may use the same domain: keys of other kinds, or with labels that no plan can write, are not this store's.
            let label = info.label.try_as_str().ok().and_then(|text| text.parse::<KeyLabel>().ok());
            if let (Some(label), Some((algorithm, public_key))) = (label, public_key(&public)) {
                keys.push(KeyInfo { label, algorithm, public_key });
            }
        }
        keys.sort_by(|a, b| a.label.cmp(&b.label));
        Ok(keys)
    }

    fn health(&mut self) -> Result<(), KeyStoreError> {
        let info = self.sessions.check_each().map_err(|trouble| KeyStoreError::from(self.note(trouble)))?;
        if self.log_is_full && info.log_store_used >= info.log_store_capacity {
            return Err(Trouble::Device(ErrorKind::LogFull).into());
        }
        self.log_is_full = false;
        Ok(())
    }
}

/// An id from 0x0100 to 0xfeff for a label.
fn id_for(label: &KeyLabel, attempt: u8) -> object::Id {
    let hash = sha256(&[label.as_str().as_bytes(), &[0, attempt]].concat()).0;
    0x0100 + u16::from_be_bytes([hash[0], hash[1]]) % 0xfe00
}

const fn hash(algorithm: DigestAlgorithm) -> &'static digest::Algorithm {
    match algorithm {
        DigestAlgorithm::Sha256 => &digest::SHA256,
        DigestAlgorithm::Sha384 => &digest::SHA384,
    }
}

/// What crosses to the device's thread.
enum Input {
    Digest(Vec<u8>),
    Whole(Vec<u8>),
}

#[async_trait]
impl KeyStore for YubiHsmKeyStore {
    async fn generate(&self, request: GenerateKey) -> Result<KeyInfo, KeyStoreError> {
        self.ask(move |device| device.generate(&request)).await
    }

    async fn describe(&self, label: &KeyLabel) -> Result<KeyInfo, KeyStoreError> {
        let label = label.clone();
        self.ask(move |device| {
            device.known.remove(&label);
            device.find(&label).map(|known| known.info)
        })
        .await
    }

    async fn list(&self) -> Result<Vec<KeyInfo>, KeyStoreError> {
        self.ask(Device::list).await
    }

    async fn sign(&self, label: &KeyLabel, algorithm: SignatureAlgorithm, input: SignInput<'_>) -> Result<Vec<u8>, KeyStoreError> {
        let label = label.clone();
        let input = match (input, algorithm.digest()) {
            (SignInput::Digest(value), _) => Input::Digest(value.to_vec()),
            // A long message is hashed by whoever has it, not in the device's queue.
            (SignInput::Message(message), Some(algorithm)) => Input::Digest(digest::digest(hash(algorithm), message).as_ref().to_vec()),
            (SignInput::Message(message), None) => Input::Whole(message.to_vec()),
        };
        self.ask(move |device| device.sign(&label, algorithm, &input)).await
    }

    async fn health(&self) -> Result<(), KeyStoreError> {
        self.ask(Device::health).await
    }
}
