//! What a plan says of the credentials that open devices: whose shares, of how many, and how they come about.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{CeremonyError, KeyPlace};
use crate::model::{CredentialName, CredentialPurpose, HolderName};
use crate::pki::Sha256Digest;

/// How a credential's shares come about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialChange {
    /// A fresh random one takes the place of what opened the device so far, which was not in shares.
    Deal,
    /// The same one is dealt again: to other holders, or with another threshold. The old shares still give it.
    Reshare,
    /// A fresh random one takes its place, and the old shares open nothing any more.
    Rotate,
}

impl CredentialChange {
    /// The name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deal => "deal",
            Self::Reshare => "reshare",
            Self::Rotate => "rotate",
        }
    }

    /// Whether the device gets another credential.
    pub const fn is_fresh(self) -> bool {
        matches!(self, Self::Deal | Self::Rotate)
    }
}

/// A credential that a ceremony deals.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialPlan {
    /// The device that it opens.
    pub place: KeyPlace,
    /// Its name.
    pub name: CredentialName,
    /// What it opens there.
    pub purpose: CredentialPurpose,
    /// The id of the authentication key that it is, on a YubiHSM 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<u16>,
    /// How its shares come about.
    pub change: CredentialChange,
    /// How many holders open it.
    pub threshold: u8,
    /// Who gets a share, by position.
    pub holders: Vec<HolderName>,
    /// The id of the set whose shares there are, for a reshare and a rotation: SHA-256 of its description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Sha256Digest>,
}

impl CredentialPlan {
    /// The most holders of a set.
    pub const MAX_HOLDERS: usize = 16;

    /// The devices that they open, each once.
    pub(super) fn places(all: &[Self]) -> Vec<KeyPlace> {
        let places: BTreeSet<KeyPlace> = all.iter().map(|c| c.place).collect();
        places.into_iter().collect()
    }

    /// Those that open the device of this place, in the plan's order.
    pub fn of(all: &[Self], place: KeyPlace) -> Vec<Self> {
        all.iter().filter(|c| c.place == place).cloned().collect()
    }

    /// Checks those of a plan; `begins`: nothing was before.
    pub(super) fn check_all(all: &[Self], begins: bool) -> Result<(), CeremonyError> {
        for (i, credential) in all.iter().enumerate() {
            let name = &credential.name;
            let refused = |reason: &str| Err(CeremonyError::refused("plan", format!("the credential `{name}`: {reason}")));
            if all[..i].iter().any(|other| other.name == *name) {
                return refused("it stands twice");
            }
            let before = all[..i].iter().filter(|other| other.place == credential.place);
            match (credential.purpose, credential.key_id) {
                (CredentialPurpose::YubihsmKey, None | Some(0 | 1 | 0xffff)) => {
                    return refused("key_id is the id of its authentication key, 2 to 65534");
                }
                (CredentialPurpose::YubihsmKey, id) => {
                    if before.clone().any(|other| other.purpose != credential.purpose || other.key_id == id) {
                        return refused("another credential of the plan opens the same");
                    }
                    // No key that stays may put or change authentication keys, so only provisioning sets one.
                    if credential.change == CredentialChange::Rotate {
                        return refused(
                            "no key in a YubiHSM may change authentication keys (hint: reset it, and have another ceremony deal its credentials and provision it; its keys come back from their backup)",
                        );
                    }
                }
                (_, Some(_)) => return refused("only an authentication key of a YubiHSM has a key_id"),
                (_, None) if before.clone().next().is_some() => return refused("another credential of the plan opens the same"),
                (_, None) => {}
            }
            // A device is given all of its new credentials at once.
            if before.clone().any(|other| other.change != credential.change) {
                return refused("the credentials of one device are dealt, dealt again or rotated together");
            }
            match (credential.change, credential.set) {
                (CredentialChange::Deal, Some(_)) => return refused("it is dealt for the first time, so no `set` of it was before"),
                (CredentialChange::Reshare | CredentialChange::Rotate, None) => {
                    return refused("`set` is the id of the shares that there are (hint: the transcript that dealt them has it)");
                }
                (CredentialChange::Reshare | CredentialChange::Rotate, Some(_)) if begins => {
                    return refused("shares were dealt before, so the plan continues a ceremony (hint: [acts.continues])");
                }
                _ => {}
            }
            let holders = &credential.holders;
            if credential.threshold < 2 {
                return refused("a threshold below 2 is not dual control");
            }
            if holders.len() > Self::MAX_HOLDERS || usize::from(credential.threshold) > holders.len() {
                return refused("its threshold can't be met, or it has more than 16 holders");
            }
            if holders.iter().enumerate().any(|(i, h)| holders[..i].contains(h)) {
                return refused("a holder stands twice: one person, one share");
            }
        }
        Ok(())
    }
}
