//! What a device does without signing a certificate: copies go in, keys go out.
//!
//! Each deed is found done or half done by looking at the device, so that a run that was cut off goes on.

use std::path::PathBuf;

use ca_core::ceremony::{Acts, KeyPlace, TranscriptEvent, inventory_digest};
use ca_core::model::KeyLabel;
use ca_core::pki::{PublicKey, Sha256Digest, sha256};
use ca_core::ports::{KeyStoreError, WrappedKey};

use crate::Error;
use crate::design::Act;
use crate::files::{read, write_new};
use crate::run::{OwnPolicy, Run};
use crate::scene::inventory;

impl Run {
    fn wrong(&self, act: Act, reason: impl std::fmt::Display) -> Error {
        Error::issuance(act.name(&self.scene.plan), reason)
    }

    /// The key that an act is about: label and pinned digest.
    fn subject(&self, act: Act) -> Result<(&KeyLabel, Sha256Digest), Error> {
        match (act, &self.scene.plan.acts) {
            (Act::Backup(i), Acts::Backup { key, .. }) | (Act::Destroy(i), Acts::Destroy { key, .. }) => {
                Ok((&key[i].key, key[i].public_key_sha256))
            }
            (Act::Restore(i), Acts::Restore { key, .. }) => Ok((&key[i].key, key[i].public_key_sha256)),
            _ => Err(self.wrong(act, "it is about no key")),
        }
    }

    /// The public key that a device has under a label, where it has one.
    async fn found(&self, place: KeyPlace, label: &KeyLabel) -> Result<Option<PublicKey>, Error> {
        match self.device(place)?.describe(label).await {
            Ok(info) => Ok(Some(info.public_key)),
            Err(KeyStoreError::NotFound(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Before anything is prepared: the key is where it is to come from, and its label is free where it is to go
    /// (requirement 20).
    pub(crate) async fn is_free(&self, act: Act) -> Result<(), Error> {
        let plan = &self.scene.plan;
        let (label, pinned) = self.subject(act)?;
        if self.transcript().began(&act.name(plan)) > 0 {
            return Ok(());
        }
        if self.found(self.scene.target(), label).await?.is_some() {
            return Err(Error::ForeignKey(label.clone()));
        }
        if let Acts::Backup { place, .. } = &plan.acts {
            match self.found(*place, label).await? {
                Some(key) if key.spki_sha256() == pinned => {}
                Some(key) => {
                    return Err(self.wrong(act, format!("the key `{label}` there is {}, and the plan says {pinned}", key.spki_sha256())));
                }
                None => return Err(KeyStoreError::NotFound(label.clone()).into()),
            }
        } else {
            self.wrapped(act)?;
        }
        Ok(())
    }

    fn wrapped_path(&self, label: &KeyLabel) -> Result<PathBuf, Error> {
        let folder = self.options.wrapped.as_ref();
        let folder =
            folder.ok_or_else(|| Error::Missing("wrapped keys are kept in a folder of their own (hint: --wrapped DIR)".to_owned()))?;
        Ok(folder.join(format!("{label}.wrapped.json")))
    }

    /// Reads a wrapped key from its file and judges it against the plan.
    fn wrapped(&self, act: Act) -> Result<WrappedKey, Error> {
        let (label, pinned) = self.subject(act)?;
        let path = self.wrapped_path(label)?;
        let bytes = read(&path)?;
        if let (Act::Restore(i), Acts::Restore { key, .. }) = (act, &self.scene.plan.acts)
            && sha256(&bytes) != key[i].wrapped_sha256
        {
            return Err(Error::bundle(&path, "it is not the wrapped key that the plan pins"));
        }
        let wrapped: WrappedKey = serde_json::from_slice(&bytes).map_err(|e| Error::bundle(&path, e.to_string()))?;
        if wrapped.label != *label || wrapped.public_key.spki_sha256() != pinned {
            return Err(Error::bundle(&path, "it is another key than the plan says"));
        }
        Ok(wrapped)
    }

    /// Brings a wrapped key into its device, for a backup from the device that has it.
    pub(crate) async fn bring_in(&self, act: Act) -> Result<(), Error> {
        let (label, pinned) = self.subject(act)?;
        let place = self.scene.target();
        if let Acts::Backup { place, wrapping_key, .. } = &self.scene.plan.acts {
            let path = self.wrapped_path(label)?;
            if !path.exists() {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
                }
                let wrapped = self.device(*place)?.export_wrapped(label, wrapping_key).await?;
                let bytes = serde_json::to_vec(&wrapped).map_err(|e| self.wrong(act, e))?;
                write_new(&path, &bytes, 0o600)?;
            }
            let sha256 = sha256(&read(&path)?);
            let known = |e: &TranscriptEvent| matches!(e, TranscriptEvent::Wrapped { label: l, .. } if l == label);
            if !self.transcript().events().any(known) {
                self.append(TranscriptEvent::Wrapped { label: label.clone(), sha256 })?;
            }
        }
        let wrapped = self.wrapped(act)?;
        let public_key = match self.found(place, label).await? {
            // A run before brought it in and was cut off.
            Some(key) => key,
            None => self.device(place)?.import_wrapped(&wrapped).await?.public_key,
        };
        if public_key.spki_sha256() != pinned {
            return Err(self.wrong(act, "the copy yields another public key"));
        }
        let known = |e: &TranscriptEvent| matches!(e, TranscriptEvent::Imported { label: l, .. } if l == label);
        if !self.transcript().events().any(known) {
            self.append(TranscriptEvent::Imported { label: label.clone(), place, public_key })?;
        }
        Ok(())
    }

    /// Destroys a key, once the officers' approval over the inventory that has it is verified.
    pub(crate) async fn destroy(&self, act: Act, policy: Option<&OwnPolicy>) -> Result<(), Error> {
        let (label, pinned) = self.subject(act)?;
        let place = self.scene.target();
        let known = |e: &TranscriptEvent| matches!(e, TranscriptEvent::Destroyed { label: l, .. } if l == label);
        if self.transcript().events().any(known) {
            return Ok(());
        }
        let before = self.transcript().began(&act.name(&self.scene.plan)) > 0;
        let found = self.found(place, label).await?;
        match &found {
            Some(key) if key.spki_sha256() != pinned => {
                return Err(self.wrong(act, format!("the key `{label}` is {}, and the plan destroys {pinned}", key.spki_sha256())));
            }
            // Gone already: only a run that was cut off may have done it.
            None if !before => return Err(KeyStoreError::NotFound(label.clone()).into()),
            _ => {}
        }
        self.begin(act, policy)?;
        if found.is_some() {
            self.device(place)?.destroy(label).await?;
        }
        if self.found(place, label).await?.is_some() {
            return Err(self.wrong(act, "the device still has the key"));
        }
        self.append(TranscriptEvent::Destroyed { label: label.clone(), place })
    }

    /// The device holds what the officers were shown.
    pub(crate) async fn still_holds(&self) -> Result<(), Error> {
        let place = self.scene.target();
        let now = inventory_digest(&self.device(place)?.inventory().await?);
        if inventory(&self.transcript(), place, 1) == Some(now) {
            Ok(())
        } else {
            Err(self.wrong(Act::Attest, "the device does not hold what the officers were shown"))
        }
    }
}
