//! What a ceremony does: a closed list of kinds, each with what it needs to know.
//!
//! The first ceremony begins a hierarchy; every other continues one, and pins where it continues from.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{CeremonyError, CredentialPlan, KeyPlace};
use crate::model::{AuthorityName, KeyLabel, RevocationReason};
use crate::pki::{SerialNumber, Sha256Digest, Timestamp};
use crate::policy::NamePattern;

/// Where a later ceremony continues from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continues {
    /// The last hash of the previous ceremony's transcript.
    pub transcript: Sha256Digest,
    /// SHA-256 of the root's certificate, DER.
    pub root_certificate: Sha256Digest,
    /// SHA-256 of the previous bundle's `hierarchy.json`.
    pub hierarchy: Sha256Digest,
    /// The version of the policy in force.
    pub policy_version: u64,
    /// Its digest.
    pub policy_sha256: Sha256Digest,
}

/// Another CA that the root signs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossPlan {
    /// Its name here.
    pub authority: AuthorityName,
    /// The label of its key, where that is: it signs the request.
    pub key: KeyLabel,
    /// SHA-256 of its own certificate, DER.
    pub certificate_sha256: Sha256Digest,
    /// How long the cross-certificate lives; less than the root's.
    pub lifetime_days: u32,
    /// How many CAs may stand below it in a path.
    pub path_len: u8,
    /// Names that may stand below it (RFC 5280 §4.2.1.10).
    pub permitted: Vec<NamePattern>,
}

/// A CA certificate to be revoked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokePlan {
    /// Whose certificate.
    pub authority: AuthorityName,
    /// Its serial number.
    pub serial: SerialNumber,
    /// Why.
    pub reason: RevocationReason,
    /// Since when its key is suspected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalidity_date: Option<Timestamp>,
}

/// The list of CA certificates that officers revoked on the running CA.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokedCasPlan {
    /// Its file, as `ca crl revoked-cas --json` printed it; a relative path starts at the plan's folder.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
}

/// A key that exists.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyPlan {
    /// Its label.
    pub key: KeyLabel,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub public_key_sha256: Sha256Digest,
}

/// A wrapped key to be brought back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestorePlan {
    /// Its label.
    pub key: KeyLabel,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub public_key_sha256: Sha256Digest,
    /// SHA-256 of the wrapped key's file, as the backup's transcript has it.
    pub wrapped_sha256: Sha256Digest,
}

/// What a ceremony does.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Acts {
    /// Makes a root, its issuing authorities, its first CRL and the first policy.
    #[default]
    First,
    /// Certifies new issuing authorities, whose keys come as requests from the online side.
    Intermediate {
        /// From where.
        continues: Continues,
        /// 128 random bits in hexadecimal, which the requests repeat.
        nonce: String,
    },
    /// Certifies other CAs as they are.
    CrossSign {
        /// From where.
        continues: Continues,
        /// 128 random bits in hexadecimal, which the requests repeat.
        nonce: String,
        /// Which.
        subject: Vec<CrossPlan>,
    },
    /// Makes the root's next CRL.
    RootCrl {
        /// From where.
        continues: Continues,
        /// What officers revoked on the running CA and goes on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revoked_cas: Option<RevokedCasPlan>,
    },
    /// Revokes CA certificates and makes the root's next CRL, which lists them.
    RevokeCa {
        /// From where.
        continues: Continues,
        /// Which.
        certificate: Vec<RevokePlan>,
    },
    /// Copies keys into the backup device, wrapped.
    Backup {
        /// From where.
        continues: Continues,
        /// Which device has them.
        place: KeyPlace,
        /// The wrapping key, in the devices' own terms.
        wrapping_key: String,
        /// Which.
        key: Vec<KeyPlan>,
    },
    /// Brings wrapped keys into a device.
    Restore {
        /// From where.
        continues: Continues,
        /// Into which device.
        place: KeyPlace,
        /// Which.
        key: Vec<RestorePlan>,
    },
    /// Destroys keys.
    Destroy {
        /// From where.
        continues: Continues,
        /// In which device.
        place: KeyPlace,
        /// Which.
        key: Vec<KeyPlan>,
    },
    /// Puts a policy in force.
    Policy {
        /// From where.
        continues: Continues,
    },
    /// Changes the officers: the plan's roster is the new one, and enough of the standing officers sign the plan.
    Officers {
        /// From where.
        continues: Continues,
    },
    /// Deals what opens devices as shares, deals it again, or puts a fresh one in its place.
    Credentials {
        /// From where; none: before the first ceremony, so that no key is ever made behind a secret that one person knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        continues: Option<Continues>,
        /// Which.
        credential: Vec<CredentialPlan>,
    },
}

impl Acts {
    /// The most things that one ceremony does of a kind.
    pub const MOST: usize = 16;
    /// The names of the kinds, in the order of the documentation.
    pub const KINDS: [&'static str; 11] = [
        "first",
        "intermediate",
        "cross-sign",
        "root-crl",
        "revoke-ca",
        "backup",
        "restore",
        "destroy",
        "policy",
        "officers",
        "credentials",
    ];

    /// The kind's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Intermediate { .. } => "intermediate",
            Self::CrossSign { .. } => "cross-sign",
            Self::RootCrl { .. } => "root-crl",
            Self::RevokeCa { .. } => "revoke-ca",
            Self::Backup { .. } => "backup",
            Self::Restore { .. } => "restore",
            Self::Destroy { .. } => "destroy",
            Self::Policy { .. } => "policy",
            Self::Officers { .. } => "officers",
            Self::Credentials { .. } => "credentials",
        }
    }

    /// Where it continues from; none: it begins a hierarchy.
    pub const fn continues(&self) -> Option<&Continues> {
        match self {
            Self::First => None,
            Self::Credentials { continues, .. } => continues.as_ref(),
            Self::Intermediate { continues, .. }
            | Self::CrossSign { continues, .. }
            | Self::RootCrl { continues, .. }
            | Self::RevokeCa { continues, .. }
            | Self::Backup { continues, .. }
            | Self::Restore { continues, .. }
            | Self::Destroy { continues, .. }
            | Self::Policy { continues }
            | Self::Officers { continues } => Some(continues),
        }
    }

    /// The nonce that requests must repeat.
    pub fn nonce(&self) -> Option<&str> {
        match self {
            Self::Intermediate { nonce, .. } | Self::CrossSign { nonce, .. } => Some(nonce),
            _ => None,
        }
    }

    /// The devices that it works with.
    pub fn places(&self) -> Vec<KeyPlace> {
        match self {
            Self::First => vec![KeyPlace::Root, KeyPlace::Online],
            Self::Intermediate { .. } | Self::CrossSign { .. } | Self::RootCrl { .. } | Self::RevokeCa { .. } => vec![KeyPlace::Root],
            Self::Backup { place, .. } => vec![*place, KeyPlace::Backup],
            Self::Restore { place, .. } | Self::Destroy { place, .. } => vec![*place],
            Self::Policy { .. } | Self::Officers { .. } => Vec::new(),
            Self::Credentials { credential, .. } => CredentialPlan::places(credential),
        }
    }

    /// Whether it makes a CRL of the root.
    pub const fn makes_crl(&self) -> bool {
        matches!(self, Self::First | Self::RootCrl { .. } | Self::RevokeCa { .. })
    }

    pub(super) fn check(&self, root_lifetime_days: u32) -> Result<(), CeremonyError> {
        let refused = |reason: String| Err(CeremonyError::refused("plan", reason));
        let count = |what: &str, n: usize| {
            if (1..=Self::MOST).contains(&n) { Ok(()) } else { Err(CeremonyError::refused("plan", format!("1 to {} {what}", Self::MOST))) }
        };
        if self.nonce().is_some_and(|n| n.len() != 32 || !n.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))) {
            return refused("acts.nonce is 32 hexadecimal digits, random (hint: openssl rand -hex 16)".to_owned());
        }
        match self {
            Self::First | Self::Intermediate { .. } | Self::RootCrl { .. } | Self::Policy { .. } | Self::Officers { .. } => Ok(()),
            Self::CrossSign { subject, .. } => {
                count("acts.subject", subject.len())?;
                let names: BTreeSet<_> = subject.iter().map(|s| &s.authority).collect();
                if names.len() != subject.len() {
                    return refused("a CA stands twice among acts.subject".to_owned());
                }
                for CrossPlan { authority, lifetime_days, path_len, permitted, .. } in subject {
                    if *lifetime_days == 0 || *lifetime_days >= root_lifetime_days {
                        return refused(format!("`{authority}`: its lifetime_days is at least 1 and less than the root's"));
                    }
                    if *path_len > 3 || permitted.is_empty() {
                        return refused(format!("`{authority}`: path_len is 0 to 3, and `permitted` names what may stand below it"));
                    }
                }
                Ok(())
            }
            Self::RevokeCa { certificate, .. } => {
                count("acts.certificate", certificate.len())?;
                let serials: BTreeSet<_> = certificate.iter().map(|c| c.serial).collect();
                if serials.len() != certificate.len() {
                    return refused("a certificate stands twice among acts.certificate".to_owned());
                }
                // RFC 5280 §5.3.1: a hold may be taken back, and a CA certificate's revocation may not.
                match certificate.iter().find(|c| c.reason == RevocationReason::CertificateHold) {
                    Some(held) => refused(format!("`{}`: a CA certificate is revoked for good, not held", held.authority)),
                    None => Ok(()),
                }
            }
            Self::Backup { place, wrapping_key, key, .. } => {
                count("acts.key", key.len())?;
                distinct(key.iter().map(|k| &k.key))?;
                if *place == KeyPlace::Backup {
                    return refused("acts.place is where the keys are, `root` or `online`; they go to `backup`".to_owned());
                }
                if wrapping_key.is_empty() || wrapping_key.len() > 128 {
                    return refused("acts.wrapping_key has 1 to 128 characters".to_owned());
                }
                Ok(())
            }
            Self::Restore { key, .. } => count("acts.key", key.len()).and_then(|()| distinct(key.iter().map(|k| &k.key))),
            Self::Destroy { key, .. } => count("acts.key", key.len()).and_then(|()| distinct(key.iter().map(|k| &k.key))),
            Self::Credentials { continues, credential } => {
                count("acts.credential", credential.len())?;
                CredentialPlan::check_all(credential, continues.is_none())
            }
        }
    }
}

fn distinct<'a>(labels: impl Iterator<Item = &'a KeyLabel>) -> Result<(), CeremonyError> {
    let mut seen = BTreeSet::new();
    for label in labels {
        if !seen.insert(label) {
            return Err(CeremonyError::refused("plan", format!("the key `{label}` stands twice among acts.key")));
        }
    }
    Ok(())
}
