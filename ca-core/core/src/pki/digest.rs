//! SHA-256 digests as values.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// A SHA-256 digest; shown and serialized in lowercase hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Digest(pub [u8; 32]);

/// The SHA-256 digest of `bytes`.
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    let mut out = [0u8; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    Sha256Digest(out)
}

/// The SHA-256 digest of texts, each behind its length, so that no other texts give the same octets; none is copied.
pub(crate) struct Sha256OfParts(digest::Context);

impl Sha256OfParts {
    pub(crate) fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    pub(crate) fn part(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    pub(crate) fn finish(self) -> Sha256Digest {
        let mut out = [0u8; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        Sha256Digest(out)
    }
}

/// Octets in lowercase hexadecimal.
pub fn hex(octets: &[u8]) -> String {
    base16ct::lower::encode_string(octets)
}

/// The thumbprint of a certificate's DER as tokens that are bound to it carry it: `x5t#S256` (RFC 8705 §3.1).
pub fn x5t_s256(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(sha256(der).0)
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0u8; 64];
        f.write_str(base16ct::lower::encode_str(&self.0, &mut digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Sha256Digest {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "a SHA-256 digest is 64 hexadecimal digits";
        let mut out = [0u8; 32];
        let read = base16ct::mixed::decode(text, &mut out).map_err(|_| WRONG)?;
        if read.len() == out.len() { Ok(Self(out)) } else { Err(WRONG) }
    }
}

impl TryFrom<String> for Sha256Digest {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Sha256Digest> for String {
    fn from(digest: Sha256Digest) -> Self {
        hex(&digest.0)
    }
}
