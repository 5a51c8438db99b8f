//! Credentials dealt in a ceremony: shares go into their holders' files, come back out of them, and open the device.
//!
//! Nothing of a secret is printed or goes on record. What a run that was cut off left is found by looking: shares whose
//! set is described are whole, others were never used; a device takes its new credentials or still the old ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ca_core::ceremony::{Acts, CredentialChange, CredentialPlan, KeyPlace, TranscriptEvent};
use ca_core::model::HolderName;
use ca_core::pki::sha256;
use ca_core::ports::KeyDevice;
use ca_custody::Passphrases;
use ca_custody::credential::{Recipients, create, forget_unfinished, open_some, read_set, reshare, set_file, share_file, verify};
use ca_keystore::shares::{Credential, Share, ShareSet, recombine};
use ca_keystore::{Given, Lock, Unsealer};

use crate::Error;
use crate::custody_check::fits;
use crate::design::Act;
use crate::files::{read, write_new};
use crate::results::set_name;
use crate::run::{OwnPolicy, Run};

pub(crate) fn no_shares() -> Error {
    Error::Missing("a ceremony of the kind credentials deals shares (hint: --shares DIR names the folder that they go to)".to_owned())
}

/// Shares, and what they open.
pub struct Custody {
    /// Where new shares go; each holder takes the own file away afterwards.
    pub shares: PathBuf,
    /// Where holders type, or have, the passphrases of new shares.
    pub passphrases: Passphrases,
    /// Where the shares are that were dealt before, with their sets' descriptions.
    pub previous: Option<PathBuf>,
    /// Where the passphrases of those come from.
    pub previous_passphrases: Passphrases,
    /// What the credentials open.
    pub locks: BTreeMap<KeyPlace, Lock>,
}

/// With what a device was opened.
pub(crate) struct Opened {
    /// The credentials that it had when this run began; none: what its file names.
    with: Vec<Given>,
    /// It has its new ones.
    changed: bool,
    /// What holders gave for new shares in this run.
    unsealers: BTreeMap<HolderName, Unsealer>,
}

impl Run {
    fn custody_options(&self) -> Result<&Custody, Error> {
        self.options.custody.as_ref().ok_or_else(no_shares)
    }

    fn lock(&self, place: KeyPlace) -> Result<&Lock, Error> {
        let name = place.name();
        self.custody_options()?.locks.get(&place).ok_or_else(|| {
            Error::Missing(format!(
                "what the credentials of the {name} key store open is missing (hint: --{name}-keystore FILE; --{name}-device FILE for a YubiHSM 2 from the factory)"
            ))
        })
    }

    fn planned(&self, place: KeyPlace) -> Vec<CredentialPlan> {
        match &self.scene.plan.acts {
            Acts::Credentials { credential, .. } => CredentialPlan::of(credential, place),
            _ => Vec::new(),
        }
    }

    /// Opens the devices whose credentials the ceremony changes, with those that they have now.
    pub(crate) fn unlock(&mut self) -> Result<(), Error> {
        if !matches!(self.scene.plan.acts, Acts::Credentials { .. }) {
            return Ok(());
        }
        for (i, place) in self.scene.plan.acts.places().into_iter().enumerate() {
            let planned = self.planned(place);
            let lock = self.lock(place)?;
            if let Some(other) = planned.iter().find(|c| c.purpose != lock.purpose()) {
                return Err(Error::Missing(format!("`{}` opens a {}, and {lock} wants a {}", other.name, other.purpose, lock.purpose())));
            }
            let fresh = planned.iter().any(|c| c.change.is_fresh());
            // Seen now, and not once the approval is spent.
            if fresh && !lock.is_changeable() {
                let name = place.name();
                return Err(Error::Missing(format!(
                    "the credentials of {lock} are set by provisioning it (hint: --{name}-device FILE names the device plan of one from the factory)"
                )));
            }
            let transcript = self.transcript();
            let handed = transcript.events().any(|e| matches!(e, TranscriptEvent::Handed { place: p } if *p == place));
            let dealt = planned.iter().all(|c| transcript.dealt().any(|(name, _)| *name == c.name));
            let mut opened = Opened { with: Vec::new(), changed: handed || (dealt && !fresh), unsealers: BTreeMap::new() };
            if !opened.changed && dealt && transcript.began(&Act::Credentials(i).name(&self.scene.plan)) > 0 {
                // The device may have been changed right before the run was cut off.
                let new = self.new_credentials(place, &mut opened)?;
                match self.open(place, &new) {
                    Ok(device) => {
                        opened.changed = true;
                        opened.with = new;
                        self.take(place, device, opened);
                        continue;
                    }
                    Err(Error::Lock { source, .. }) if source.is_refusal() => {}
                    Err(e) => return Err(e),
                }
            }
            opened.with = match planned.first().map(|c| c.change) {
                _ if opened.changed => self.new_credentials(place, &mut opened)?,
                Some(CredentialChange::Reshare | CredentialChange::Rotate) => self.old_credentials(place)?,
                _ => Vec::new(),
            };
            let device = self.open(place, &opened.with)?;
            self.take(place, device, opened);
        }
        Ok(())
    }

    /// Whether a device is as it came from the factory, open with the key that it came with.
    pub(crate) fn is_from_factory(&self, place: KeyPlace) -> bool {
        let untouched = self.opened.get(&place).is_some_and(|o| !o.changed && o.with.is_empty());
        untouched && self.lock(place).is_ok_and(Lock::is_from_factory)
    }

    fn take(&mut self, place: KeyPlace, device: Arc<dyn KeyDevice>, opened: Opened) {
        let slot = match place {
            KeyPlace::Root => &mut self.options.root_keys,
            KeyPlace::Online => &mut self.options.online_keys,
            KeyPlace::Backup => &mut self.options.backup_keys,
        };
        *slot = Some(device);
        self.opened.insert(place, opened);
    }

    fn open(&self, place: KeyPlace, with: &[Given]) -> Result<Arc<dyn KeyDevice>, Error> {
        let what = format!("{} key store", place.name());
        self.lock(place)?.open(&what, with).map_err(|source| Error::Lock { what, source })
    }

    /// The credentials that were dealt before, from as many shares as are needed.
    fn old_credentials(&self, place: KeyPlace) -> Result<Vec<Given>, Error> {
        let custody = self.custody_options()?;
        let missing = "shares that were dealt before open it (hint: --old-shares DIR, with their set's description)";
        let folder = custody.previous.as_deref().ok_or_else(|| Error::Missing(missing.to_owned()))?;
        let old = self.planned(place).into_iter().map(|c| {
            let (set, shares) = self.old_shares(&c, folder)?;
            Ok(Given { key_id: c.key_id, credential: credential(&set, &shares)? })
        });
        old.collect()
    }

    fn old_shares(&self, plan: &CredentialPlan, folder: &Path) -> Result<(ShareSet, Vec<Share>), Error> {
        let path = set_file(folder, &plan.name);
        let set = read_set(&path)?;
        if Some(set.id()) != plan.set || *set.credential() != plan.name || set.purpose() != plan.purpose {
            return Err(Error::bundle(&path, format!("it is the set {}, and not the one that the plan names", set.id())));
        }
        let passphrases = &self.custody_options()?.previous_passphrases;
        let shares = open_some(&set, folder, &mut |holder| passphrases.existing(holder))?;
        Ok((set, shares))
    }

    /// The credentials that this ceremony dealt, out of their shares' files.
    fn new_credentials(&self, place: KeyPlace, opened: &mut Opened) -> Result<Vec<Given>, Error> {
        let planned = self.planned(place).into_iter();
        planned
            .map(|c| {
                let (set, shares) = self.new_shares(&c, opened)?;
                Ok(Given { key_id: c.key_id, credential: credential(&set, &shares)? })
            })
            .collect()
    }

    fn new_shares(&self, plan: &CredentialPlan, opened: &mut Opened) -> Result<(ShareSet, Vec<Share>), Error> {
        let transcript = self.transcript();
        let text = transcript.dealt().find(|(name, _)| **name == plan.name).map(|(_, set)| set.to_owned());
        let text = text.ok_or_else(|| Error::Missing(format!("`{}` was not dealt yet", plan.name)))?;
        let set = ShareSet::from_json(&text).map_err(ca_custody::Error::from)?;
        let custody = self.custody_options()?;
        let shares = open_some(&set, &custody.shares, &mut |holder| match opened.unsealers.get(holder) {
            Some(unsealer) => Ok(unsealer.clone()),
            None => {
                let unsealer = custody.passphrases.existing(holder)?;
                opened.unsealers.insert(holder.clone(), unsealer.clone());
                Ok(unsealer)
            }
        })?;
        Ok((set, shares))
    }

    /// Deals a device's credentials, hands them to it, and proves by recombining that their shares open it.
    pub(crate) async fn deal(&mut self, act: Act, policy: Option<&OwnPolicy>) -> Result<(), Error> {
        let name = act.name(&self.scene.plan);
        let Act::Credentials(i) = act else { return Err(Error::issuance(name, "it deals nothing")) };
        if self.is_done(&name) {
            return Ok(());
        }
        let place = self.scene.plan.acts.places()[i];
        let planned = self.planned(place);
        let mut opened = self.opened.remove(&place).ok_or_else(|| Error::issuance(&name, "its device was not opened"))?;
        self.begin(act, policy)?;
        for credential in &planned {
            self.deal_one(credential, &mut opened)?;
        }
        let new = self.new_credentials(place, &mut opened)?;
        let fresh = planned.iter().any(|c| c.change.is_fresh());
        let what = format!("{} key store", place.name());
        if fresh && !opened.changed {
            let changed = self.lock(place)?.change(&what, &opened.with, &new, self.options.rng.as_ref());
            changed.map_err(|source| Error::Lock { what, source })?;
        }
        let handed = |e: &TranscriptEvent| matches!(e, TranscriptEvent::Handed { place: p } if *p == place);
        if fresh && !self.transcript().events().any(handed) {
            self.append(TranscriptEvent::Handed { place })?;
        }
        // The last word has the device, opened anew with what came out of the shares' files.
        let device = self.open(place, &new)?;
        device.health().await?;
        let identity = device.identity().await?;
        opened.with = new;
        opened.changed = true;
        for credential in &planned {
            let (set, shares) = self.new_shares(credential, &mut opened)?;
            let known = |e: &TranscriptEvent| matches!(e, TranscriptEvent::Recombined { credential: c, .. } if *c == credential.name);
            if !self.transcript().events().any(known) {
                self.append(TranscriptEvent::Recombined {
                    credential: credential.name.clone(),
                    set: set.id(),
                    holders: shares.iter().map(|s| s.holder().clone()).collect(),
                    place,
                    device: identity.clone(),
                })?;
            }
        }
        self.take(place, device, opened);
        self.append(TranscriptEvent::Done { name })
    }

    /// Deals one credential, or finds it dealt; on record once every share was read back and verified.
    fn deal_one(&self, plan: &CredentialPlan, opened: &mut Opened) -> Result<(), Error> {
        let custody = self.custody_options()?;
        let folder = custody.shares.as_path();
        if !self.transcript().dealt().any(|(name, _)| *name == plan.name) {
            let description = set_file(folder, &plan.name);
            let mut unsealers = Vec::new();
            for holder in &plan.holders {
                let unsealer = match opened.unsealers.get(holder) {
                    Some(unsealer) => unsealer.clone(),
                    None if description.exists() => custody.passphrases.existing(holder)?,
                    None => custody.passphrases.new_one(holder)?,
                };
                opened.unsealers.insert(holder.clone(), unsealer.clone());
                unsealers.push((holder.clone(), unsealer));
            }
            let set = if description.exists() {
                // A run before wrote them all and was cut off: they were used for nothing yet.
                self.adopt(plan, &description, &unsealers)?
            } else {
                forget_unfinished(folder, &plan.name, &plan.holders)?;
                self.make(plan, unsealers)?
            };
            let digest = |holder: &HolderName| Ok((holder.clone(), sha256(&read(&share_file(folder, &plan.name, holder))?)));
            let shares = plan.holders.iter().map(digest).collect::<Result<_, Error>>()?;
            self.append(TranscriptEvent::Dealt { credential: plan.name.clone(), set: set.to_json(), shares })?;
        }
        let transcript = self.transcript();
        let text = transcript.dealt().find(|(name, _)| **name == plan.name).map_or("", |(_, set)| set);
        write_new(&self.folder.path(&set_name(&plan.name)), text.as_bytes(), 0o644)
    }

    fn make(&self, plan: &CredentialPlan, holders: Vec<(HolderName, Unsealer)>) -> Result<ShareSet, Error> {
        let custody = self.custody_options()?;
        let (clock, rng) = (self.options.clock.as_ref(), self.options.rng.as_ref());
        let to = Recipients { threshold: plan.threshold, holders, folder: &custody.shares, clock, rng };
        let made = match (plan.change, &custody.previous) {
            (CredentialChange::Reshare, Some(folder)) => {
                let (set, shares) = self.old_shares(plan, folder)?;
                reshare(&set, &shares, &to)?
            }
            // It is handed over once it is on record, out of its shares' files.
            _ => create(plan.name.clone(), plan.purpose, &to, &mut |_| Ok(()))?,
        };
        Ok(made.set)
    }

    fn adopt(&self, plan: &CredentialPlan, path: &Path, unsealers: &[(HolderName, Unsealer)]) -> Result<ShareSet, Error> {
        let set = read_set(path)?;
        fits(plan, &set).map_err(|reason| Error::bundle(path, reason))?;
        let folder = &self.custody_options()?.shares;
        let open = |(holder, unsealer): &(HolderName, Unsealer)| {
            let file = ca_keystore::shares::ShareFile::read(&share_file(folder, &plan.name, holder)).map_err(ca_custody::Error::from)?;
            Ok(file.open(unsealer).map_err(ca_custody::Error::from)?)
        };
        let shares = unsealers.iter().map(open).collect::<Result<Vec<_>, Error>>()?;
        verify(&set, &shares)?;
        Ok(set)
    }
}

fn credential(set: &ShareSet, shares: &[Share]) -> Result<Credential, Error> {
    let secret = recombine(set, shares).map_err(ca_custody::Error::from)?;
    Ok(secret.credential(set.credential(), set.purpose()))
}
