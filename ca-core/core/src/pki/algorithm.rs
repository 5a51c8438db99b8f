//! Key and signature algorithms on offer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kind of a key, as plans, policies and configuration name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// ECDSA on P-256.
    #[serde(rename = "p256")]
    P256,
    /// ECDSA on P-384.
    #[serde(rename = "p384")]
    P384,
    /// Ed25519.
    Ed25519,
    /// RSA, 2048 bits.
    Rsa2048,
    /// RSA, 3072 bits.
    Rsa3072,
    /// RSA, 4096 bits.
    Rsa4096,
    /// ML-DSA-65 (FIPS 204, RFC 9881); in software only.
    #[serde(rename = "ml-dsa-65")]
    MlDsa65,
    /// ML-DSA-87 (FIPS 204, RFC 9881); in software only.
    #[serde(rename = "ml-dsa-87")]
    MlDsa87,
}

impl KeyAlgorithm {
    /// Every algorithm, for help texts and conformance suites.
    pub const ALL: [Self; 8] =
        [Self::P256, Self::P384, Self::Ed25519, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::MlDsa65, Self::MlDsa87];

    /// Why no device is asked for a post-quantum key.
    pub const SOFTWARE_ONLY: &'static str = "ML-DSA keys are not yet on hardware: no device that this CA drives makes them (hint: keep the key in a software key store, or choose p384 for a device)";

    /// Whether it resists quantum computers. No device that this CA drives has such keys yet: they live in the software
    /// key store only.
    pub const fn is_post_quantum(self) -> bool {
        matches!(self, Self::MlDsa65 | Self::MlDsa87)
    }

    /// The name with what people must know of such a key.
    pub fn described(self) -> String {
        if self.is_post_quantum() { format!("{self} (post-quantum, software only)") } else { self.to_string() }
    }

    /// The signature algorithm that an authority with such a key uses.
    pub const fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::P256 => SignatureAlgorithm::EcdsaP256Sha256,
            Self::P384 => SignatureAlgorithm::EcdsaP384Sha384,
            Self::Ed25519 => SignatureAlgorithm::Ed25519,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => SignatureAlgorithm::RsaPkcs1Sha256,
            Self::MlDsa65 => SignatureAlgorithm::MlDsa65,
            Self::MlDsa87 => SignatureAlgorithm::MlDsa87,
        }
    }

    /// Whether a signature of such a key may be of this algorithm.
    pub const fn signs_as(self, algorithm: SignatureAlgorithm) -> bool {
        match algorithm {
            SignatureAlgorithm::EcdsaP256Sha256 => matches!(self, Self::P256),
            SignatureAlgorithm::EcdsaP384Sha384 => matches!(self, Self::P384),
            SignatureAlgorithm::Ed25519 => matches!(self, Self::Ed25519),
            SignatureAlgorithm::RsaPkcs1Sha256 | SignatureAlgorithm::RsaPssSha256 => {
                matches!(self, Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
            }
            SignatureAlgorithm::MlDsa65 => matches!(self, Self::MlDsa65),
            SignatureAlgorithm::MlDsa87 => matches!(self, Self::MlDsa87),
        }
    }

    /// The name used in files and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::P384 => "p384",
            Self::Ed25519 => "ed25519",
            Self::Rsa2048 => "rsa2048",
            Self::Rsa3072 => "rsa3072",
            Self::Rsa4096 => "rsa4096",
            Self::MlDsa65 => "ml-dsa-65",
            Self::MlDsa87 => "ml-dsa-87",
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyAlgorithm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|a| a.name() == text).ok_or_else(|| format!("unknown key algorithm `{text}` (one of {})", names()))
    }
}

/// A signature algorithm with its digest, as it stands in certificates and CRLs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignatureAlgorithm {
    /// ecdsa-with-SHA256 on P-256 (RFC 5758 §3.2).
    EcdsaP256Sha256,
    /// ecdsa-with-SHA384 on P-384 (RFC 5758 §3.2).
    EcdsaP384Sha384,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// sha256WithRSAEncryption (RFC 4055 §5).
    RsaPkcs1Sha256,
    /// id-RSASSA-PSS with SHA-256, MGF1 on SHA-256 and a salt of 32 octets (RFC 4055 §3.1). No key has it as its own
    /// algorithm: every RSA key can also sign so.
    RsaPssSha256,
    /// id-ml-dsa-65, pure, with an empty context string (RFC 9881 §3).
    #[serde(rename = "ml-dsa-65")]
    MlDsa65,
    /// id-ml-dsa-87, pure, with an empty context string (RFC 9881 §3).
    #[serde(rename = "ml-dsa-87")]
    MlDsa87,
}

/// The digest that a signature algorithm signs, where it signs one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DigestAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
}

impl SignatureAlgorithm {
    /// The digest that can be signed in place of the message; none for Ed25519 and ML-DSA, which
    /// need the whole message.
    pub const fn digest(self) -> Option<DigestAlgorithm> {
        match self {
            Self::EcdsaP256Sha256 | Self::RsaPkcs1Sha256 | Self::RsaPssSha256 => Some(DigestAlgorithm::Sha256),
            Self::EcdsaP384Sha384 => Some(DigestAlgorithm::Sha384),
            Self::Ed25519 | Self::MlDsa65 | Self::MlDsa87 => None,
        }
    }
}
