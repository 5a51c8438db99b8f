//! Who may do what: the capabilities of each role's authentication key.

use std::fmt;

use yubihsm::Capability;

/// A role with an authentication key of its own, whose value one person or one set of shares holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Makes keys, attests them and wraps them for backups during a ceremony; its key is deleted at the end.
    Ceremony,
    /// Officer A: brings a wrapped key in, and destroys keys. Cannot sign.
    Custodian,
    /// Officer B, or the worker of an issuing authority: signs. Cannot bring a key in.
    Signer,
    /// Reads the device's log and acknowledges it. Nothing else.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Ceremony, Self::Custodian, Self::Signer, Self::Auditor];

    /// The label of its key.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ceremony => "countersign-ceremony",
            Self::Custodian => "countersign-custodian",
            Self::Signer => "countersign-signer",
            Self::Auditor => "countersign-auditor",
        }
    }

    /// What the key may do.
    pub(crate) fn capabilities(self) -> Capability {
        match self {
            Self::Ceremony => {
                Capability::GENERATE_ASYMMETRIC_KEY
                    | Capability::SIGN_ATTESTATION_CERTIFICATE
                    | Capability::GET_OPAQUE
                    | Capability::EXPORT_WRAPPED
                    | Capability::DELETE_ASYMMETRIC_KEY
                    | Capability::DELETE_AUTHENTICATION_KEY
                    | Capability::GET_OPTION
                    | Capability::GET_LOG_ENTRIES
            }
            Self::Custodian => Capability::IMPORT_WRAPPED | Capability::DELETE_ASYMMETRIC_KEY,
            Self::Signer => Capability::SIGN_ECDSA | Capability::SIGN_EDDSA,
            Self::Auditor => Capability::GET_LOG_ENTRIES,
        }
    }

    /// What keys that it makes may do.
    pub(crate) fn delegated(self) -> Capability {
        match self {
            Self::Ceremony => key_capabilities(),
            _ => Capability::empty(),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ceremony => "ceremony",
            Self::Custodian => "custodian",
            Self::Signer => "signer",
            Self::Auditor => "auditor",
        })
    }
}

/// What an authority's key may be made to do.
pub(crate) fn key_capabilities() -> Capability {
    Capability::SIGN_ECDSA | Capability::SIGN_EDDSA | Capability::EXPORTABLE_UNDER_WRAP
}

/// What no key that stays in the device may do (ceremony requirements, "Layers", 2): make keys of any kind, export, change
/// the device's settings, or reset it. Read the other way round: what a resident key may do at most.
pub(crate) fn resident_capabilities() -> Capability {
    Role::Custodian.capabilities() | Role::Signer.capabilities() | Role::Auditor.capabilities()
}
