//! The roots by which what devices attest is judged: the makers' certificates, as the officers signed them.

use serde::{Deserialize, Serialize};

use crate::pki::{pem_decode_all, pem_encode};
use crate::validation::attestation::check_root;

/// The most roots of a format.
const MAX_ROOTS: usize = 20;

/// The formats of attestations that this CA judges.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AttestationFormat {
    /// Managed devices of Apple.
    Apple,
    /// A key's certificate by the token that made it, with a signature by that key.
    Step,
    /// A key certified by a Trusted Platform Module 2.0 (Web Authentication §8.3).
    Tpm,
}

impl AttestationFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Apple, Self::Step, Self::Tpm];

    /// Its name in attestation objects and policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apple => "apple",
            Self::Step => "step",
            Self::Tpm => "tpm",
        }
    }
}

/// Roots by format, each format's as PEM certificates in one text: `attestation = { tpm = """…""" }`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttestationRoots {
    /// Of Apple's devices.
    #[serde(skip_serializing_if = "RootCertificates::is_empty")]
    pub apple: RootCertificates,
    /// Of tokens.
    #[serde(skip_serializing_if = "RootCertificates::is_empty")]
    pub step: RootCertificates,
    /// Of whoever certifies the attestation keys of Trusted Platform Modules.
    #[serde(skip_serializing_if = "RootCertificates::is_empty")]
    pub tpm: RootCertificates,
}

impl AttestationRoots {
    /// Whether no format has any.
    pub const fn is_empty(&self) -> bool {
        self.apple.is_empty() && self.step.is_empty() && self.tpm.is_empty()
    }

    /// Those of a format, DER.
    pub fn of(&self, format: AttestationFormat) -> &[Vec<u8>] {
        match format {
            AttestationFormat::Apple => &self.apple.0,
            AttestationFormat::Step => &self.step.0,
            AttestationFormat::Tpm => &self.tpm.0,
        }
    }
}

/// Root certificates, DER: each one of a CA.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootCertificates(Vec<Vec<u8>>);

impl RootCertificates {
    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<String> for RootCertificates {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let roots = pem_decode_all(&text, "CERTIFICATE").map_err(|e| format!("the attestation roots are not PEM certificates: {e}"))?;
        if !(1..=MAX_ROOTS).contains(&roots.len()) {
            return Err(format!("a format has 1 to {MAX_ROOTS} attestation roots (hint: leave the format out to take none of it)"));
        }
        for (index, der) in roots.iter().enumerate() {
            check_root(der).map_err(|e| format!("attestation root {}: {e}", index + 1))?;
        }
        Ok(Self(roots))
    }
}

impl From<RootCertificates> for String {
    fn from(roots: RootCertificates) -> Self {
        roots.0.iter().map(|der| pem_encode("CERTIFICATE", der)).collect()
    }
}
