//! What a credential opens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a credential opens.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialPurpose {
    /// A folder of sealed authority keys: a file key of 32 bytes.
    SoftwareKey,
    /// A PKCS#11 token: a PIN of 32 characters `a`-`z` and `2`-`7`, 160 bits. Tokens commonly take 4 to 255, some no
    /// more than 32.
    Pkcs11Pin,
    /// A YubiHSM 2: an authentication key of 32 bytes.
    YubihsmKey,
}

impl CredentialPurpose {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SoftwareKey, Self::Pkcs11Pin, Self::YubihsmKey];

    /// The name in files and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SoftwareKey => "software-key",
            Self::Pkcs11Pin => "pkcs11-pin",
            Self::YubihsmKey => "yubihsm-key",
        }
    }
}

impl fmt::Display for CredentialPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CredentialPurpose {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|p| p.name() == text).ok_or_else(|| format!("`{text}` is not one of {names}"))
    }
}
