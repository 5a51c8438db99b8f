//! Keys and devices of a run: what is made, what came as a request, and what the devices say of it.

use ca_core::ceremony::{Acts, CeremonyError, KeyPlace, TranscriptEvent, check_attestation, check_attributes};
use ca_core::pki::PublicKey;
use ca_core::ports::{GenerateKey, KeyStoreError};
use ca_core::profile::{check_fresh, check_key};

use crate::design::{PlannedKey, planned_keys};
use crate::run::Run;
use crate::scene::{self, Keys};
use crate::{Error, inputs};

impl Run {
    /// Takes requests in. One that was taken in stays; its time counts from then.
    pub(crate) fn requests(&mut self) -> Result<(), Error> {
        for event in inputs::take_requests(&self.folder, &self.scene.plan, &self.options.requests, self.options.clock.now())? {
            let known = |e: &TranscriptEvent| match (e, &event) {
                (TranscriptEvent::RequestTaken { authority: a, .. }, TranscriptEvent::RequestTaken { authority: b, .. }) => a == b,
                _ => false,
            };
            if !self.transcript().events().any(known) {
                self.append(event)?;
            }
        }
        inputs::join_requests(&mut self.scene, &self.folder, &self.journal.transcript())
    }

    /// The devices that the ceremony works with are there, and the root's has the root's key. What those hold whose keys
    /// are copied or destroyed goes on record.
    pub(crate) async fn devices(&self) -> Result<(), Error> {
        let plan = &self.scene.plan;
        for place in plan.acts.places() {
            let device = self.device(place)?;
            device.health().await?;
            let listed = matches!(plan.acts, Acts::Backup { .. } | Acts::Restore { .. } | Acts::Destroy { .. });
            if listed && scene::device(&self.transcript(), place).is_none() {
                self.list(place).await?;
            }
            // Its credentials change whatever it holds: a root's key may be absent at rest.
            let any = matches!(plan.acts, Acts::Credentials { .. });
            if let (Some(base), KeyPlace::Root, false) = (&self.scene.base, place, listed || any) {
                let found = device.describe(&plan.root.key).await?;
                if found.public_key != *base.root().public_key() {
                    let reason = "the key store holds another key than the root's certificate says (hint: is it this root's key store?)";
                    return Err(Error::issuance(format!("key `{}`", plan.root.key), reason));
                }
            }
        }
        Ok(())
    }

    /// Puts on record what a device holds.
    pub(crate) async fn list(&self, place: KeyPlace) -> Result<(), Error> {
        let device = self.device(place)?;
        let (identity, objects) = (device.identity().await?, device.inventory().await?);
        self.append(TranscriptEvent::Inventory { place, device: identity, objects })
    }

    /// Every key of the plan: made now, or found as it was made.
    pub(crate) async fn keys(&mut self) -> Result<(), Error> {
        // All labels are looked at before the first key is made.
        for key in planned_keys(&self.scene.plan) {
            if !self.transcript().key_intended(key.label) && self.find(&key).await?.is_some() {
                return Err(Error::ForeignKey(key.label.clone()));
            }
        }
        let mut keys = Keys::new();
        for key in planned_keys(&self.scene.plan) {
            let public_key = self.key(&key).await?;
            let others = keys.iter().map(|(name, key)| (name.as_str(), key));
            check_fresh(&public_key, others).map_err(|e| Error::issuance(format!("key `{}`", key.label), e))?;
            self.key_checked(&key, &public_key).await?;
            keys.insert(key.authority.clone(), public_key);
        }
        self.scene.keys.extend(keys);
        Ok(())
    }

    /// What the device says of the key, against the plan; on record.
    async fn key_checked(&self, key: &PlannedKey<'_>, public_key: &PublicKey) -> Result<(), Error> {
        let known = |e: &TranscriptEvent| matches!(e, TranscriptEvent::KeyChecked { label, .. } if label == key.label);
        if self.transcript().events().any(known) {
            return Ok(());
        }
        let device = self.device(key.place)?;
        let (identity, attributes, attestation) =
            (device.identity().await?, device.attributes(key.label).await?, device.attest(key.label).await?);
        let wrong = |e: CeremonyError| Error::issuance(format!("key `{}`", key.label), e);
        check_attributes(identity.kind, &attributes, key.exportable_under.is_some()).map_err(wrong)?;
        if let Some(attestation) = &attestation {
            check_attestation(attestation, public_key, &identity, &self.scene.plan.attestation_roots).map_err(wrong)?;
        }
        let (label, place) = (key.label.clone(), key.place);
        self.append(TranscriptEvent::KeyChecked { label, place, device: identity, attributes, attestation })
    }

    async fn find(&self, key: &PlannedKey<'_>) -> Result<Option<PublicKey>, Error> {
        match self.device(key.place)?.describe(key.label).await {
            Ok(info) if info.algorithm == key.algorithm => Ok(Some(info.public_key)),
            Ok(info) => {
                Err(Error::issuance(format!("key `{}`", key.label), format!("it is a {} key, not {}", info.algorithm, key.algorithm)))
            }
            Err(KeyStoreError::NotFound(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    async fn key(&self, key: &PlannedKey<'_>) -> Result<PublicKey, Error> {
        let transcript = self.transcript();
        let found = self.find(key).await?;
        if let Some(made) = transcript.key(key.label) {
            return match found {
                Some(found) if found == *made => Ok(found),
                Some(_) => Err(Error::issuance(format!("key `{}`", key.label), "the key store holds another key than the transcript says")),
                None => Err(KeyStoreError::NotFound(key.label.clone()).into()),
            };
        }
        let public_key = match found {
            // Announced, and there: a run was cut off between the two.
            Some(found) => {
                self.append(TranscriptEvent::Exception {
                    what: format!("the run that made the key `{}` was cut off before it was on record", key.label),
                    disposition: "the key is used: its label was free when it was announced".to_owned(),
                })?;
                found
            }
            None => {
                let (label, place, algorithm) = (key.label.clone(), key.place, key.algorithm);
                if !transcript.key_intended(key.label) {
                    self.append(TranscriptEvent::KeyIntended { label: label.clone(), place, algorithm })?;
                }
                let exportable_under = key.exportable_under.map(str::to_owned);
                self.device(place)?.generate(GenerateKey { exportable_under, ..GenerateKey::new(label, algorithm) }).await?.public_key
            }
        };
        let algorithm = check_key(&public_key).map_err(|e| Error::issuance(format!("key `{}`", key.label), e))?;
        if algorithm != key.algorithm {
            return Err(Error::issuance(format!("key `{}`", key.label), format!("it is a {algorithm} key, not {}", key.algorithm)));
        }
        let (label, place) = (key.label.clone(), key.place);
        self.append(TranscriptEvent::KeyMade { label, place, algorithm, public_key: public_key.clone() })?;
        Ok(public_key)
    }
}
