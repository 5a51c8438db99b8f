//! What an act is to give, worked out from what is known: the plan, the hierarchy that it continues, the keys and
//! requests, and what was drawn.
//!
//! `run` prepares from a [`Blueprint`], `show` and `verify` build its bytes again and compare.

use std::collections::BTreeMap;

use ca_core::ceremony::{
    Acts, CeremonyError, CredentialPlan, Hierarchy, KeyPlace, KeyRequest, Operation, Plan, Transcript, TranscriptEvent, inventory_digest,
    revoked_entries,
};
use ca_core::issuance::KeyTest;
use ca_core::model::{AuthorityName, Intent, IntentContent, KeyLabel, RevokedEntry};
use ca_core::pki::crl::{CrlHeader, build_crl_tbs};
use ca_core::pki::{Certificate, PublicKey, Sha256Digest, hex, sha256};
use ca_core::policy::Policy;
use ca_core::ports::DeviceIdentity;
use ca_core::profile::{
    CrossRequest, IntermediateRequest, Issuer, RootRequest, build_cross, build_intermediate, build_root, lint_crl, lint_cross,
    lint_intermediate, lint_root,
};

use crate::Error;
use crate::design::{Act, Drawn, crl_header, cross_request, issuing_request, provisional_issuer, root_request, subject};
use crate::room::recorded_device;
use crate::verify::list;

/// Public keys by authority.
pub(crate) type Keys = BTreeMap<AuthorityName, PublicKey>;

/// What is known of a ceremony besides its transcript.
pub(crate) struct Scene {
    pub(crate) plan: Plan,
    /// What it continues; none: it is the first.
    pub(crate) base: Option<Hierarchy>,
    /// The keys that were made or came as requests, and the root's.
    pub(crate) keys: Keys,
    /// The requests that were taken in.
    pub(crate) requests: BTreeMap<AuthorityName, KeyRequest>,
    /// What officers revoked on the running CA, where the plan puts it on the root's CRL.
    pub(crate) revoked: Option<Vec<u8>>,
}

/// The exact request behind an act that ends in a signature.
pub(crate) enum Blueprint {
    Root(RootRequest),
    Intermediate(IntermediateRequest, Issuer),
    Cross(CrossRequest, Issuer),
    Crl(CrlHeader, Vec<RevokedEntry>, Issuer),
    Test(KeyTest),
}

impl Blueprint {
    /// The to-be-signed bytes.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Root(request) => build_root(request).map_err(|e| e.to_string()),
            Self::Intermediate(request, issuer) => build_intermediate(request, issuer).map_err(|e| e.to_string()),
            Self::Cross(request, issuer) => build_cross(request, issuer).map_err(|e| e.to_string()),
            Self::Crl(header, entries, _) => build_crl_tbs(header, entries.iter().cloned()).map_err(|e| e.to_string()),
            Self::Test(test) => Ok(test.to_bytes()),
        }
    }

    /// What the lint says of to-be-signed bytes.
    pub(crate) fn lint(&self, tbs: &[u8]) -> Result<(), String> {
        match self {
            Self::Root(request) => lint_root(tbs, request),
            Self::Intermediate(request, issuer) => lint_intermediate(tbs, request, issuer),
            Self::Cross(request, issuer) => lint_cross(tbs, request, issuer),
            Self::Crl(header, _, _) => lint_crl(tbs, header),
            Self::Test(test) => return if KeyTest::parse(tbs)? == *test { Ok(()) } else { Err("it is another key's test".to_owned()) },
        }
        .map_err(|findings| list(&findings))
    }
}

impl Scene {
    fn wrong(&self, act: Act, e: impl std::fmt::Display) -> Error {
        Error::issuance(act.name(&self.plan), e)
    }

    fn key(&self, act: Act, authority: &AuthorityName) -> Result<&PublicKey, Error> {
        self.keys.get(authority).ok_or_else(|| self.wrong(act, "its key is not on record"))
    }

    /// The root as an issuer. In the first ceremony from its recorded bytes: signed or not, name and key are the same.
    pub(crate) fn root(&self, transcript: &Transcript) -> Result<Issuer, Error> {
        if let Some(base) = &self.base {
            return Issuer::new(base.root().clone()).map_err(|e| Error::issuance("root certificate", e));
        }
        match Act::Root.intent(&self.plan, transcript).map(|i| &i.content) {
            Some(IntentContent::Certificate(c)) => provisional_issuer(&c.tbs, self.plan.root.signature_algorithm()),
            _ => Err(self.wrong(Act::Root, "no intent is on record")),
        }
    }

    /// What `act` is to sign, with what was drawn for it. For a key's test, `device` is the one that signs.
    pub(crate) fn blueprint(&self, act: Act, transcript: &Transcript, drawn: &Drawn) -> Result<Blueprint, Error> {
        let plan = &self.plan;
        match (act, &plan.acts) {
            (Act::Root, _) => Ok(Blueprint::Root(root_request(plan, self.key(act, &plan.root.authority)?, drawn)?)),
            (Act::Issuing(i), _) => {
                let issuing = &plan.issuing[i];
                let request = issuing_request(plan, issuing, self.key(act, &issuing.authority)?, drawn)?;
                Ok(Blueprint::Intermediate(request, self.root(transcript)?))
            }
            (Act::Cross(i), Acts::CrossSign { subject, .. }) => {
                let cross = &subject[i];
                let other = self.cross_subject(act, &cross.authority)?;
                Ok(Blueprint::Cross(cross_request(plan, cross, &other, drawn)?, self.root(transcript)?))
            }
            (Act::RootCrl, acts) => {
                let issuer = self.root(transcript)?;
                let revoked = match acts {
                    Acts::RevokeCa { certificate, .. } => certificate.as_slice(),
                    _ => &[],
                };
                let revoked = revoked.iter().map(|c| RevokedEntry {
                    serial: c.serial,
                    revoked_at: drawn.from,
                    reason: c.reason,
                    invalidity_date: c.invalidity_date,
                });
                let mut header = crl_header(plan, issuer.certificate(), drawn);
                let entries = match &self.base {
                    Some(base) => {
                        header.number = header.number.max(base.crl().number() + 1);
                        let listed = self.revoked.as_ref().map(|list| revoked_entries(list, base, drawn.from)).transpose()?;
                        base.entries_with(revoked.chain(listed.into_iter().flatten()).collect())?
                    }
                    None => Vec::new(),
                };
                Ok(Blueprint::Crl(header, entries, issuer))
            }
            (Act::Backup(i), Acts::Backup { key, .. }) => self.key_test(act, (&key[i].key, key[i].public_key_sha256), transcript, drawn),
            (Act::Restore(i), Acts::Restore { key, .. }) => self.key_test(act, (&key[i].key, key[i].public_key_sha256), transcript, drawn),
            _ => Err(self.wrong(act, "no key signs it")),
        }
    }

    /// The certificate of a CA that is to be cross-signed, as its request carries it: it is signed by the key that made
    /// the request, or by whoever is above it.
    fn cross_subject(&self, act: Act, authority: &AuthorityName) -> Result<Certificate, Error> {
        let request = self.requests.get(authority).ok_or_else(|| self.wrong(act, "its request was not taken in"))?;
        let der = &request.statement().certificate.as_ref().ok_or_else(|| self.wrong(act, "its request carries no certificate"))?.0;
        let certificate = Certificate::from_der(der).map_err(|e| self.wrong(act, e))?;
        if certificate.public_key() != request.public_key() {
            return Err(self.wrong(act, "its certificate has another key than its request"));
        }
        Ok(certificate)
    }

    fn key_test(
        &self,
        act: Act,
        (label, pinned): (&KeyLabel, Sha256Digest),
        transcript: &Transcript,
        drawn: &Drawn,
    ) -> Result<Blueprint, Error> {
        let public_key = self.hierarchy_key(pinned).ok_or_else(|| {
            self.wrong(
                act,
                "the hierarchy knows no such key (hint: public_key_sha256 is that of a CA certificate below this root, or the root's)",
            )
        })?;
        let device = device(transcript, self.target()).ok_or_else(|| self.wrong(act, "its device is not on record"))?;
        let nonce = hex(&drawn.nonce);
        Ok(Blueprint::Test(KeyTest {
            plan_sha256: self.plan.sha256,
            key: label.clone(),
            public_key: public_key.clone(),
            device: device.serial.clone(),
            nonce,
        }))
    }

    /// The key of this digest among all of the hierarchy.
    pub(crate) fn hierarchy_key(&self, pinned: Sha256Digest) -> Option<&PublicKey> {
        let base = self.base.as_ref()?;
        let all = [base.root()].into_iter().chain(base.issued().map(|(_, c)| c));
        all.map(Certificate::public_key).find(|k| k.spki_sha256() == pinned)
    }

    /// The device that a key's test is signed in.
    pub(crate) fn target(&self) -> KeyPlace {
        match &self.plan.acts {
            Acts::Restore { place, .. } | Acts::Destroy { place, .. } => *place,
            Acts::Backup { .. } => KeyPlace::Backup,
            _ => KeyPlace::Root,
        }
    }

    /// The operation that an act's statement must name.
    pub(crate) fn operation(&self, act: Act, transcript: &Transcript, policy: Option<(&Policy, Sha256Digest)>) -> Result<Operation, Error> {
        let plan = &self.plan;
        let intent = || act.intent(plan, transcript).ok_or_else(|| self.wrong(act, "no intent is on record"));
        let certificate = |profile: &str, subject_authority: &AuthorityName| {
            let intent = intent()?;
            let serial = Drawn::recorded(intent).serial()?;
            let tbs_sha256 = intent.tbs_sha256;
            Ok(Operation::SignCertificate { profile: profile.to_owned(), subject_authority: subject_authority.clone(), serial, tbs_sha256 })
        };
        let serial_of =
            |place| device(transcript, place).map(|d| d.serial.clone()).ok_or_else(|| self.wrong(act, "its device is not on record"));
        match (act, &plan.acts) {
            (Act::Root, _) => certificate("root", &plan.root.authority),
            (Act::Issuing(i), _) => certificate("intermediate", &plan.issuing[i].authority),
            (Act::Cross(i), Acts::CrossSign { subject, .. }) => certificate("cross", &subject[i].authority),
            (Act::Revoke(i), Acts::RevokeCa { certificate, .. }) => {
                let revoke = &certificate[i];
                let issued = self
                    .base
                    .iter()
                    .flat_map(Hierarchy::issued)
                    .find(|(ca, c)| c.serial() == revoke.serial && ca.authority == revoke.authority);
                let (_, found) = issued.ok_or_else(|| self.wrong(act, "this root issued no such certificate"))?;
                Ok(Operation::RevokeCertificate {
                    subject_authority: revoke.authority.clone(),
                    serial: revoke.serial,
                    certificate_sha256: sha256(found.der()),
                    reason: revoke.reason,
                    invalidity_date: revoke.invalidity_date,
                })
            }
            (Act::RootCrl, _) => {
                let intent = intent()?;
                Ok(Operation::SignCrl { number: Drawn::recorded(intent).number, tbs_sha256: intent.tbs_sha256 })
            }
            (Act::Backup(i), Acts::Backup { place, wrapping_key, key, .. }) => Ok(Operation::BackUpKey {
                key: key[i].key.clone(),
                public_key_sha256: key[i].public_key_sha256,
                from_device: serial_of(*place)?,
                to_device: serial_of(KeyPlace::Backup)?,
                wrapping_key: wrapping_key.clone(),
                test_sha256: intent()?.tbs_sha256,
            }),
            (Act::Restore(i), Acts::Restore { place, key, .. }) => Ok(Operation::RestoreKey {
                key: key[i].key.clone(),
                public_key_sha256: key[i].public_key_sha256,
                wrapped_sha256: key[i].wrapped_sha256,
                to_device: serial_of(*place)?,
                test_sha256: intent()?.tbs_sha256,
            }),
            (Act::Destroy(i), Acts::Destroy { place, key, .. }) => Ok(Operation::DestroyKey {
                key: key[i].key.clone(),
                public_key_sha256: key[i].public_key_sha256,
                device: serial_of(*place)?,
                inventory_sha256: inventory(transcript, *place, 0).ok_or_else(|| self.wrong(act, "no inventory is on record"))?,
            }),
            (Act::Attest, Acts::Destroy { place, .. }) => Ok(Operation::AttestInventory {
                device: serial_of(*place)?,
                inventory_sha256: inventory(transcript, *place, 1).ok_or_else(|| self.wrong(act, "no inventory is on record"))?,
            }),
            (Act::Credentials(i), Acts::Credentials { credential, .. }) => {
                let place = plan.acts.places()[i];
                let device = recorded_device(transcript, place).ok_or_else(|| self.wrong(act, "its device is not on record"))?;
                Ok(Operation::ChangeCredentials { device: device.serial, credentials: CredentialPlan::of(credential, place) })
            }
            (Act::Policy, _) => {
                let (policy, policy_sha256) = policy.ok_or_else(|| self.wrong(act, "the plan has no policy"))?;
                Ok(Operation::ApprovePolicy { version: policy.version, policy_sha256 })
            }
            _ => Err(self.wrong(act, "the plan has no such act")),
        }
    }

    /// The policy that statements name: the ceremony's own, or the one in force.
    pub(crate) fn policy_named(&self, own: Option<(&Policy, Sha256Digest)>) -> (u64, Sha256Digest) {
        match (own, self.plan.acts.continues()) {
            (Some((policy, digest)), _) => (policy.version, digest),
            (None, Some(continues)) => (continues.policy_version, continues.policy_sha256),
            // Before the first ceremony there is none; that one has its own: `Plan::parse` saw to it.
            (None, None) => (0, sha256(b"")),
        }
    }

    /// Judges the hierarchy against what the plan pins and says of the root, and new keys against every known one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refused = |reason: String| Err(Error::Ceremony(CeremonyError::Refused { what: "hierarchy", reason }));
        let Some(continues) = self.plan.acts.continues() else { return Ok(()) };
        let Some(base) = &self.base else { return refused("it is missing".to_owned()) };
        let root = &self.plan.root;
        if base.digest() != continues.hierarchy || sha256(base.root().der()) != continues.root_certificate {
            return refused("it is not the one that the plan pins (hint: the plan is for another bundle, or another root)".to_owned());
        }
        let name = subject(&root.subject).to_der().map_err(|e| Error::issuance("root", e))?;
        let key = ca_core::profile::check_key(base.root().public_key()).map_err(|e| Error::issuance("root", e))?;
        let named = *base.root_name() == root.authority && *base.root_key() == root.key && base.root().subject_der() == name;
        if !named || key != root.algorithm || base.root().signature_algorithm() != root.signature_algorithm() {
            return refused("its root is not the one that [root] describes (hint: copy [root] from the first plan)".to_owned());
        }
        Ok(())
    }

    /// Judges what a request brought against every known key and subject.
    pub(crate) fn check_request(&self, authority: &AuthorityName, key: &PublicKey) -> Result<(), Error> {
        let Some(base) = &self.base else { return Ok(()) };
        if let Some(issuing) = self.plan.issuing.iter().find(|i| i.authority == *authority) {
            let name = subject(&issuing.subject).to_der().map_err(|e| Error::issuance(authority.to_string(), e))?;
            base.check_new(&name, key)?;
        }
        let others = self.keys.iter().filter(|(name, _)| *name != authority).map(|(name, key)| (name.as_str(), key));
        ca_core::profile::check_fresh(key, others).map_err(|e| Error::issuance(authority.to_string(), e))
    }
}

/// The device behind a place, as the first entry about it says.
pub(crate) fn device(transcript: &Transcript, place: KeyPlace) -> Option<&DeviceIdentity> {
    transcript.events().find_map(|e| match e {
        TranscriptEvent::Inventory { place: p, device, .. } if *p == place => Some(device),
        _ => None,
    })
}

/// The digest of the inventory of a place of this number on record, from 0.
pub(crate) fn inventory(transcript: &Transcript, place: KeyPlace, number: usize) -> Option<Sha256Digest> {
    let found = transcript.events().filter_map(|e| match e {
        TranscriptEvent::Inventory { place: p, objects, .. } if *p == place => Some(inventory_digest(objects)),
        _ => None,
    });
    found.into_iter().nth(number)
}

/// Whether an intent's content is of the sort that the act has.
pub(crate) fn is_of(act: Act, intent: &Intent) -> bool {
    matches!(
        (act, &intent.content),
        (Act::Root | Act::Issuing(_) | Act::Cross(_), IntentContent::Certificate(_))
            | (Act::RootCrl, IntentContent::Crl(_))
            | (Act::Backup(_) | Act::Restore(_), IntentContent::KeyTest(_))
    )
}
