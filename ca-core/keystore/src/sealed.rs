//! The sealed file: one secret, encrypted at rest.
//!
//! ```text
//! countersign-sealed/1 LF
//! {"kind":"authority-key","name":"demo","algorithm":"p256","kdf":{"argon2id":{…}},"nonce":"…"} LF
//! base64(AES-256-GCM ciphertext and tag) LF
//! ```
//! The first two lines, as they stand, are the associated data: changing the version, the kind, the name or a
//! parameter makes the file fail to open, and so does a file that was renamed to another key's name. The key is
//! fresh for each file, by its own random salt, either
//! - Argon2id (RFC 9106) over the passphrase: 64 MiB, 3 passes, 1 lane; or
//! - HKDF-SHA256 (RFC 5869) over a 32-byte file key.
//!
//! What a reader accepts is bounded, so that an edited header can neither exhaust memory nor weaken what was written.

use std::fmt;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ca_core::pki::{KeyAlgorithm, Sha256Digest};
use ca_core::ports::Rng;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::files::{create_exclusive, read_private};
use crate::{SealError, Unsealer, random};

const MAGIC: &str = "countersign-sealed/1";
/// RSA-4096 in PKCS#8 is 2.4 KB; in base64 with its header below 4 KB.
const MAX_FILE: usize = 8 * 1024;
const MAX_HEADER: usize = 1024;
const TAG: usize = 16;

const ARGON2_MEMORY_KIB: u32 = 64 * 1024;
const ARGON2_PASSES: u32 = 3;
const ARGON2_LANES: u32 = 1;
// Read bounds: RFC 9106 §4 leaves the choice to the application; the lower one is OWASP's minimum.
const ARGON2_MEMORY_RANGE: std::ops::RangeInclusive<u32> = 19_456..=262_144;
const ARGON2_PASSES_RANGE: std::ops::RangeInclusive<u32> = 2..=8;
const ARGON2_LANES_RANGE: std::ops::RangeInclusive<u32> = 1..=4;

/// What a sealed file holds; a file of one kind never opens as another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An authority's private key.
    AuthorityKey,
    /// A service's private key.
    ServiceKey,
    /// The worker's master key.
    MasterKey,
    /// An authority's private key on its way to a backup store.
    WrappedKey,
    /// One holder's share of a credential.
    CredentialShare,
    /// A whole credential, for hosts that start unattended.
    Credential,
}

/// What the header says about the content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Description {
    /// What the file holds.
    pub kind: Kind,
    /// The key's label, or the credential's name, where the kind has one.
    pub name: Option<String>,
    /// The key's algorithm, for keys.
    pub algorithm: Option<KeyAlgorithm>,
    /// The wrapping key under which the key may leave its store; none: it may not.
    pub exportable_under: Option<String>,
    /// The key was brought in, not made here.
    pub imported: bool,
    /// What it opens, for credentials and shares of them: one of the purposes' names.
    pub purpose: Option<String>,
    /// What it is a share of, for shares.
    pub share: Option<ShareLabel>,
}

/// What a share's file tells without being opened, authenticated with its content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareLabel {
    /// The digest of the set's description.
    pub set: Sha256Digest,
    /// How many shares open it.
    pub threshold: u8,
    /// Its position in the set, from 1.
    pub index: u8,
    /// Its holder.
    pub holder: String,
}

impl Description {
    /// Of something that was made here and stays.
    pub const fn new(kind: Kind, name: Option<String>, algorithm: Option<KeyAlgorithm>) -> Self {
        Self { kind, name, algorithm, exportable_under: None, imported: false, purpose: None, share: None }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    algorithm: Option<KeyAlgorithm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exportable_under: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    imported: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<ShareLabel>,
    kdf: Kdf,
    nonce: Octets<12>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Kdf {
    Argon2id { memory_kib: u32, passes: u32, lanes: u32, salt: Octets<16> },
    HkdfSha256 { salt: Octets<32> },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Octets<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> TryFrom<String> for Octets<N> {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes = STANDARD.decode(text).map_err(|_| "not base64".to_owned())?;
        bytes.try_into().map(Self).map_err(|_| format!("not {N} bytes"))
    }
}

impl<const N: usize> From<Octets<N>> for String {
    fn from(octets: Octets<N>) -> Self {
        STANDARD.encode(octets.0)
    }
}

/// Seals `secret` into a new file: mode 0600, exclusive, durable when this returns.
///
/// # Errors
/// When the file exists ([`SealError::Exists`]) or cannot be written.
pub fn create(path: &Path, description: &Description, secret: &[u8], unsealer: &Unsealer, rng: &dyn Rng) -> Result<(), SealError> {
    create_exclusive(path, seal(path, description, secret, unsealer, rng)?.as_bytes(), rng)
}

/// The text of a sealed file; `path` is for messages.
pub(crate) fn seal(path: &Path, description: &Description, secret: &[u8], unsealer: &Unsealer, rng: &dyn Rng) -> Result<String, SealError> {
    let kdf = match unsealer {
        Unsealer::Passphrase(_) => {
            Kdf::Argon2id { memory_kib: ARGON2_MEMORY_KIB, passes: ARGON2_PASSES, lanes: ARGON2_LANES, salt: Octets(random(rng)) }
        }
        Unsealer::FileKey(_) => Kdf::HkdfSha256 { salt: Octets(random(rng)) },
    };
    let nonce = random::<12>(rng);
    let Description { kind, name, algorithm, exportable_under, imported, purpose, share } = description.clone();
    let header = Header { kind, name, algorithm, exportable_under, imported, purpose, share, kdf, nonce: Octets(nonce) };
    let json = serde_json::to_string(&header).map_err(|_| SealError::Crypto("write a header"))?;
    let head = format!("{MAGIC}\n{json}\n");
    let key = derive(path, &header.kdf, unsealer)?;
    // Room for the tag at once: growing would leave a copy of the secret behind.
    let mut buffer = Zeroizing::new(Vec::with_capacity(secret.len() + TAG));
    buffer.extend_from_slice(secret);
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(head.as_bytes()), &mut *buffer)
        .map_err(|_| SealError::Crypto("encrypt"))?;
    let text = format!("{head}{}\n", STANDARD.encode(buffer.as_slice()));
    if head.len() > MAX_HEADER || text.len() > MAX_FILE {
        return Err(SealError::Crypto("seal a secret of this size"));
    }
    Ok(text)
}

/// Opens a sealed file of this kind (and name), and gives what its header says and its secret.
///
/// # Errors
/// When the file is missing, open to others, malformed, of another kind or name, or does not authenticate.
pub fn open(path: &Path, kind: Kind, name: Option<&str>, unsealer: &Unsealer) -> Result<(Description, Zeroizing<Vec<u8>>), SealError> {
    Sealed::read(path, kind)?.open_named(name, unsealer)
}

/// As [`open`], from the file's bytes; `path` is for messages.
#[cfg(feature = "authority")]
pub(crate) fn unseal(
    path: &Path,
    bytes: &[u8],
    kind: Kind,
    name: Option<&str>,
    unsealer: &Unsealer,
) -> Result<(Description, Zeroizing<Vec<u8>>), SealError> {
    Sealed::parse(path, bytes, kind)?.open_named(name, unsealer)
}

/// A sealed file that was read and not opened yet: what it says of itself is not authenticated.
pub struct Sealed {
    path: PathBuf,
    description: Description,
    /// The lines that are authenticated with the content.
    head: String,
    kdf: Kdf,
    nonce: [u8; 12],
    body: Zeroizing<Vec<u8>>,
}

impl Sealed {
    /// Reads a file of this kind.
    ///
    /// # Errors
    /// When the file is missing, open to others, malformed or of another kind.
    pub fn read(path: &Path, kind: Kind) -> Result<Self, SealError> {
        Self::parse(path, &read_private(path, MAX_FILE)?, kind)
    }

    fn parse(path: &Path, bytes: &[u8], kind: Kind) -> Result<Self, SealError> {
        let damaged = |reason: &str| SealError::damaged(path, reason);
        if bytes.len() > MAX_FILE {
            return Err(damaged(&format!("longer than {MAX_FILE} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("not text"))?;
        let mut lines = text.splitn(3, '\n');
        let (Some(magic), Some(json), Some(body)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(damaged("it ends too early"));
        };
        if magic != MAGIC {
            return Err(damaged("not a sealed file of version 1"));
        }
        if json.len() > MAX_HEADER {
            return Err(damaged("its header is too long"));
        }
        let header: Header = serde_json::from_str(json).map_err(|e| damaged(&format!("its header: {e}")))?;
        if header.kind != kind {
            return Err(damaged(&format!("it holds a {:?}, not a {kind:?}", header.kind)));
        }
        // A truncated file ends without the line's end, or with a body that is no whole base64.
        let body = body.strip_suffix('\n').ok_or_else(|| damaged("it ends too early"))?;
        let body = Zeroizing::new(STANDARD.decode(body).map_err(|_| damaged("its content is not base64"))?);
        let head = text.get(..magic.len() + json.len() + 2).ok_or_else(|| damaged("it ends too early"))?.to_owned();
        let Header { kind, name, algorithm, exportable_under, imported, purpose, share, kdf, nonce } = header;
        let description = Description { kind, name, algorithm, exportable_under, imported, purpose, share };
        Ok(Self { path: path.to_owned(), description, head, kdf, nonce: nonce.0, body })
    }

    /// What the file says of itself.
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// Opens it, which authenticates the description too.
    ///
    /// # Errors
    /// When the secret is of the other sort or wrong, or the file was changed.
    pub fn open(mut self, unsealer: &Unsealer) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let key = derive(&self.path, &self.kdf, unsealer)?;
        let length = key
            .open_in_place(Nonce::assume_unique_for_key(self.nonce), Aad::from(self.head.as_bytes()), &mut self.body)
            .map_err(|_| SealError::Unseal(self.path.clone()))?
            .len();
        self.body.truncate(length);
        Ok(self.body)
    }

    fn open_named(self, name: Option<&str>, unsealer: &Unsealer) -> Result<(Description, Zeroizing<Vec<u8>>), SealError> {
        if self.description.name.as_deref() != name {
            return Err(SealError::damaged(&self.path, "it was sealed under another name"));
        }
        Ok((self.description.clone(), self.open(unsealer)?))
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({}, {:?})", self.path.display(), self.description)
    }
}

fn derive(path: &Path, kdf: &Kdf, unsealer: &Unsealer) -> Result<LessSafeKey, SealError> {
    let mut key = Zeroizing::new([0u8; 32]);
    match (kdf, unsealer) {
        (Kdf::Argon2id { memory_kib, passes, lanes, salt }, Unsealer::Passphrase(passphrase)) => {
            let within =
                ARGON2_MEMORY_RANGE.contains(memory_kib) && ARGON2_PASSES_RANGE.contains(passes) && ARGON2_LANES_RANGE.contains(lanes);
            if !within {
                return Err(SealError::damaged(path, "its Argon2id parameters are out of bounds"));
            }
            let params = Params::new(*memory_kib, *passes, *lanes, Some(32)).map_err(|_| SealError::Crypto("set up Argon2id"))?;
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into(passphrase, &salt.0, key.as_mut_slice())
                .map_err(|_| SealError::Crypto("run Argon2id (hint: it needs 64 MiB of memory)"))?;
        }
        (Kdf::HkdfSha256 { salt }, Unsealer::FileKey(file_key)) => {
            let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt.0).extract(file_key.as_slice());
            prk.expand(&[MAGIC.as_bytes()], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(key.as_mut_slice()))
                .map_err(|_| SealError::Crypto("run HKDF"))?;
        }
        (Kdf::Argon2id { .. }, given) => {
            return Err(SealError::OtherSecret { path: path.to_owned(), sealed_with: "passphrase", given: given.sort() });
        }
        (Kdf::HkdfSha256 { .. }, given) => {
            return Err(SealError::OtherSecret { path: path.to_owned(), sealed_with: "file key", given: given.sort() });
        }
    }
    UnboundKey::new(&AES_256_GCM, key.as_slice()).map(LessSafeKey::new).map_err(|_| SealError::Crypto("set up AES-256-GCM"))
}
