//! Keys whose private half is known: lists that a site configures.
//!
//! Two kinds of list are read. One is a text of SHA-256 digests of SubjectPublicKeyInfos. The other is the blocklist of
//! the `badkeys` project (its docs/BLOCKLISTFORMAT.md), which has the Debian weak keys (CVE-2008-0166) and some millions
//! more: sorted entries of 16 octets, of which the first 15 are those of SHA-256 over the key's one number.

use crate::pki::spki::{KeyMaterial, key_material};
use crate::pki::{PublicKey, sha256};

/// How many octets of a digest are compared: two keys that collide in 120 bits are not found by accident.
const PREFIX: usize = 15;
/// Octets of an entry of the badkeys blocklist.
const ENTRY: usize = 16;

type Prefix = [u8; PREFIX];

/// Why a list is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockedKeysError {
    /// Longer than any list is.
    #[error("the list has {0} octets; the most is {most}", most = BlockedKeys::MAX_BYTES)]
    TooLong(usize),
    /// A line that is no digest.
    #[error("line {0} is not a SHA-256 of 30 to 64 hexadecimal digits (hint: a comment begins with `#`)")]
    Line(usize),
    /// Not a badkeys blocklist.
    #[error("it is not a badkeys blocklist: {0} (hint: `badkeys --update-bl` writes one to ~/.cache/badkeys/blocklist.dat)")]
    Blocklist(&'static str),
}

/// Lists of keys that are never certified.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct BlockedKeys {
    /// Of SubjectPublicKeyInfos, sorted.
    spki: Vec<Prefix>,
    /// The badkeys blocklist as it is.
    numbers: Vec<u8>,
}

impl BlockedKeys {
    /// The most octets of a list.
    pub const MAX_BYTES: usize = 256 << 20;

    /// Adds a text of digests of SubjectPublicKeyInfos: one a line, the whole SHA-256 or its first 30 digits or more.
    ///
    /// # Errors
    /// With the first line that is none; nothing is added then.
    pub fn add_text(&mut self, text: &str) -> Result<(), BlockedKeysError> {
        if text.len() > Self::MAX_BYTES {
            return Err(BlockedKeysError::TooLong(text.len()));
        }
        let mut added = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let digest = line.split('#').next().unwrap_or_default().trim();
            if !digest.is_empty() {
                added.push(prefix(digest).ok_or(BlockedKeysError::Line(number + 1))?);
            }
        }
        self.spki.append(&mut added);
        self.spki.sort_unstable();
        self.spki.dedup();
        Ok(())
    }

    /// Takes a badkeys blocklist, in place of one before.
    ///
    /// # Errors
    /// When it is not one: too long, cut off or not sorted.
    pub fn set_blocklist(&mut self, list: Vec<u8>) -> Result<(), BlockedKeysError> {
        if list.len() > Self::MAX_BYTES {
            return Err(BlockedKeysError::TooLong(list.len()));
        }
        let (entries, rest) = list.as_chunks::<ENTRY>();
        if entries.is_empty() || !rest.is_empty() {
            return Err(BlockedKeysError::Blocklist("its length is not a multiple of 16"));
        }
        if !entries.is_sorted_by_key(|entry| &entry[..PREFIX]) {
            return Err(BlockedKeysError::Blocklist("its entries are not sorted"));
        }
        self.numbers = list;
        Ok(())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.spki.len() + self.numbers.len() / ENTRY
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a list has this key.
    pub fn has(&self, key: &PublicKey) -> bool {
        let first = |digest: [u8; 32]| -> Prefix { std::array::from_fn(|i| digest[i]) };
        if self.spki.binary_search(&first(key.spki_sha256().0)).is_ok() {
            return true;
        }
        let wanted = first(sha256(number(key)).0);
        self.numbers.as_chunks::<ENTRY>().0.binary_search_by(|entry| entry[..PREFIX].cmp(&wanted)).is_ok()
    }
}

impl std::fmt::Debug for BlockedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockedKeys({})", self.len())
    }
}

/// The number that badkeys identifies a key by, without leading zeros: the modulus, the point's x, or the octets.
fn number(key: &PublicKey) -> &[u8] {
    let number = match key_material(key) {
        Ok(KeyMaterial::Rsa(modulus, _, _)) => modulus,
        Ok(KeyMaterial::P256(point)) => &point[1..33],
        Ok(KeyMaterial::P384(point)) => &point[1..49],
        Ok(KeyMaterial::Ed25519(octets)) => octets,
        // Hashed as they are.
        Ok(KeyMaterial::MlDsa65(octets)) => return octets,
        Ok(KeyMaterial::MlDsa87(octets)) => return octets,
        Err(_) => &[],
    };
    &number[number.iter().take_while(|octet| **octet == 0).count()..]
}

fn prefix(digits: &str) -> Option<Prefix> {
    let fine = (2 * PREFIX..=64).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let mut prefix = [0; PREFIX];
    for (i, octet) in prefix.iter_mut().enumerate() {
        *octet = u8::from_str_radix(digits.get(2 * i..2 * i + 2).filter(|_| fine)?, 16).ok()?;
    }
    Some(prefix)
}
