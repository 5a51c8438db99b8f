//! Verifies a bundle offline, with nothing but the bundle and, from elsewhere, the roster that is trusted.
//!
//! Everything is derived again: from the plan and the keys the bytes to be signed, from those the statements, from
//! the statements the people. The transcript only says in which order.

mod acts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ca_core::ceremony::{
    Acts, Hierarchy, IssuedCa, Plan, PolicyBundle, Role, Roster, Transcript, TranscriptEvent, check_attestation, check_attributes,
    check_device_logs, device_log_imports,
};
use ca_core::issuance::KeyTest;
use ca_core::log::{DeviceLogImport, has_own_leaf};
use ca_core::model::{Authority, AuthorityKind, AuthorityName, CrlRecord, CrlScope, Intent, KeyLabel};
use ca_core::pki::crl::Crl;
use ca_core::pki::{Certificate, Sha256Digest, Timestamp, sha256, verify_signature};
use ca_core::policy::Policy;
use ca_core::profile::{Finding, check_fresh, check_key};
use ca_keystore::shares::ShareSet;

use crate::approval::{plan_signers, signers};
use crate::design::{Act, Drawn, Effect, planned_keys};
use crate::evidence::{self, VerifiedException};
use crate::files::{Folder, HIERARCHY, PLAN, POLICY, POLICY_BUNDLE, ROSTER, TRANSCRIPT};
use crate::inputs::{scene, wanted};
use crate::journal::read_transcript;
use crate::results::{hierarchy_after, policy_text, released_file};
use crate::run::OwnPolicy;
use crate::scene::{Keys, Scene, is_of};
use crate::{Error, custody_check};

/// What a verified bundle gives: everything that an import needs.
#[derive(Clone, Debug)]
pub struct VerifiedBundle {
    /// What the ceremony was called.
    pub title: String,
    /// What it did.
    pub acts: Acts,
    /// The plan's digest.
    pub plan_sha256: Sha256Digest,
    /// The officers, and production or rehearsal.
    pub roster: Roster,
    /// The root, then the issuing authorities that this ceremony certified, then other CAs that it cross-signed, whose
    /// keys are elsewhere; the first issuing one of a first ceremony is the default. `imported_at` is the ceremony's end: whoever imports sets the time.
    pub authorities: Vec<Authority>,
    /// Cross-certificates, DER, by the CA that they are of.
    pub cross_certificates: Vec<(AuthorityName, Vec<u8>)>,
    /// The root's CRL, where this ceremony made one.
    pub crls: Vec<CrlRecord>,
    /// The policy with its approval, where this ceremony put one in force.
    pub policy_bundle: Option<PolicyBundle>,
    /// The policy in it, verified.
    pub policy: Option<Policy>,
    /// What stands below the root after the ceremony; none before the first one.
    pub hierarchy: Option<Hierarchy>,
    /// What opens devices and was dealt: the public descriptions of the sets.
    pub dealt: Vec<ShareSet>,
    /// SHA-256 of each request that was taken, by its authority.
    pub requests: BTreeMap<AuthorityName, Sha256Digest>,
    /// The devices' own logs, for the audit trail of a CA whose device it was.
    pub device_logs: Vec<DeviceLogImport>,
    /// What was not in the script, each with what people decided about it.
    pub exceptions: Vec<VerifiedException>,
    /// Who signed the closed transcript, and as what.
    pub cosigners: Vec<(String, Role)>,
    /// The transcript's last hash.
    pub transcript_head: Sha256Digest,
    /// When the ceremony ended.
    pub closed_at: Timestamp,
}

impl VerifiedBundle {
    /// Whether the closed transcript is signed by the roster's threshold of officers and by a witness: then what was
    /// only written down (bags, media, dispositions) stands under their names.
    pub fn cosigned_by_enough(&self) -> bool {
        let count = |role| self.cosigners.iter().filter(|(_, r)| *r == role).count();
        count(Role::Officer) >= usize::try_from(self.roster.threshold).unwrap_or(usize::MAX) && count(Role::Witness) > 0
    }
}

/// Verifies the bundle in `folder`. With `roster`, its officers must be those: without one the bundle only agrees
/// with itself, and whoever made it could have made the officers too.
///
/// # Errors
/// With the file that is wrong, and how.
pub fn verify(folder: &Path, roster: Option<&Roster>) -> Result<VerifiedBundle, Error> {
    let folder = Folder(folder.to_owned());
    let transcript_path = folder.path(TRANSCRIPT);
    let transcript = read_transcript(&transcript_path)?;
    let closed_at = manifest(&folder, &transcript)?;

    let plan_bytes = folder.text(PLAN)?;
    let plan = Plan::parse(&plan_bytes).map_err(Error::file(&folder.path(PLAN)))?;
    if folder.text(ROSTER)? != plan.roster.to_toml() {
        return Err(Error::bundle(&folder.path(ROSTER), "it is not the plan's roster"));
    }
    if roster.is_some_and(|trusted| trusted.digest() != plan.roster.digest()) {
        return Err(Error::bundle(&folder.path(ROSTER), "its officers are not those of the trusted roster"));
    }
    let scene = scene(&folder, plan, &transcript)?;
    let mut bundle = Bundle { folder, transcript, scene };
    bundle.people(&plan_bytes)?;
    bundle.keys()?;
    let policy = bundle.policy()?;
    let own = policy.as_ref().map(|(own, _)| own);
    bundle.statements(own)?;
    bundle.deeds()?;
    let dealt = custody_check::check(&bundle.folder, &bundle.scene.plan, &bundle.transcript)?;
    let device_logs = bundle.device_logs()?;
    let exceptions = evidence::check(&bundle.folder, &bundle.scene.plan, &bundle.transcript)?;
    for act in bundle.acts().into_iter().filter(|a| a.effect() == Effect::Signature) {
        bundle.result(act)?;
    }
    let hierarchy = hierarchy_after(&bundle.scene, &bundle.transcript)?;
    let path = bundle.folder.path(HIERARCHY);
    let left = match &hierarchy {
        Some(hierarchy) => crate::files::read(&path)? == hierarchy.to_bytes(),
        None => !path.exists(),
    };
    if !left {
        return Err(Error::bundle(&path, "it is not what the ceremony left"));
    }

    let Bundle { folder, transcript, scene } = bundle;
    let taken = transcript.events().filter_map(|e| match e {
        TranscriptEvent::RequestTaken { authority, sha256 } => Some((authority.clone(), *sha256)),
        _ => None,
    });
    let requests = taken.collect();
    let plan = scene.plan;
    let text = folder.text(TRANSCRIPT)?;
    let cosigners = evidence::cosigners(&folder, &plan, text.as_bytes())?;
    let before = scene.base.as_ref().map_or(0, |b| b.issued().count());
    let made: Vec<_> = hierarchy.iter().flat_map(Hierarchy::issued).skip(before).collect();
    let cross = made.iter().filter(|(ca, _)| ca.profile == "cross");
    let (policy, policy_bundle) = policy.map_or((None, None), |((_, policy), bundle)| (Some(policy), Some(bundle)));
    Ok(VerifiedBundle {
        title: plan.title.clone(),
        plan_sha256: plan.sha256,
        authorities: hierarchy.as_ref().map_or_else(Vec::new, |h| authorities(&plan, h, closed_at)),
        cross_certificates: cross.map(|(ca, certificate)| (ca.authority.clone(), certificate.der().to_vec())).collect(),
        crls: hierarchy.iter().filter(|_| plan.acts.makes_crl()).map(|h| crl_record(&plan, h.crl())).collect(),
        policy_bundle,
        policy,
        requests,
        device_logs,
        exceptions,
        cosigners,
        transcript_head: transcript.head(),
        closed_at,
        roster: plan.roster,
        acts: plan.acts,
        hierarchy,
        dealt,
    })
}

/// Verifies a bundle and those before it, `previous`, oldest first: each continues the one before. The trusted roster is
/// that of the first; where a later plan has another, enough officers of the one before signed it.
///
/// # Errors
/// As [`verify`], and when one does not continue the one before.
pub fn verify_chain(previous: &[PathBuf], folder: &Path, roster: Option<&Roster>) -> Result<VerifiedBundle, Error> {
    let mut last: Option<VerifiedBundle> = None;
    for path in previous.iter().map(PathBuf::as_path).chain([folder]) {
        let verified = verify(path, roster.filter(|_| last.is_none()))?;
        if let Some(before) = &last {
            let continues = verified.acts.continues();
            let left = before.hierarchy.as_ref().map(Hierarchy::digest);
            if continues.is_none_or(|c| c.transcript != before.transcript_head || Some(c.hierarchy) != left) {
                return Err(Error::bundle(path, format!("it does not continue the ceremony `{}`", before.title)));
            }
        }
        last = Some(verified);
    }
    last.ok_or_else(|| Error::bundle(folder, "there is no bundle"))
}

/// The transcript's last line names every file with its digest; nothing is missing, changed or added.
fn manifest(folder: &Folder, transcript: &Transcript) -> Result<Timestamp, Error> {
    let last = transcript.lines().last().map(|l| (&l.entry, l.at));
    let Some((TranscriptEvent::Closed { files }, at)) = last else {
        return Err(Error::bundle(&folder.path(TRANSCRIPT), "the ceremony is not closed (hint: run it to its end first)"));
    };
    let found = folder.digests()?;
    for (name, digest) in files {
        match found.get(name) {
            Some(other) if other == digest => {}
            Some(_) => return Err(Error::bundle(&folder.path(name), "it was changed after the ceremony was closed")),
            None => return Err(Error::bundle(&folder.path(name), "it is missing")),
        }
    }
    match found.keys().find(|name| !files.contains_key(*name)) {
        Some(extra) => Err(Error::bundle(&folder.path(extra), "it was added after the ceremony was closed")),
        None => Ok(at),
    }
}

struct Bundle {
    folder: Folder,
    transcript: Transcript,
    scene: Scene,
}

impl Bundle {
    fn wrong<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::bundle(&self.folder.path(TRANSCRIPT), reason))
    }

    fn acts(&self) -> Vec<Act> {
        Act::all(&self.scene.plan)
    }

    fn quorum(&self, path: &Path, subject: &str, what: &'static str, message: &[u8]) -> Result<Vec<String>, Error> {
        let signed = signers(&self.folder, &self.scene.plan, subject, what, message)?;
        let needed = self.scene.plan.roster.threshold;
        if signed.len() < usize::try_from(needed).unwrap_or(usize::MAX) {
            return Err(Error::file(path)(ca_core::ceremony::CeremonyError::Quorum { what, needed, signed }));
        }
        Ok(signed)
    }

    /// The plan was signed before anything happened.
    fn people(&self, plan: &str) -> Result<(), Error> {
        plan_signers(&self.folder, &self.scene.plan, plan.as_bytes())?;
        let (sha256, kind) = (self.scene.plan.sha256, self.scene.plan.kind());
        match self.transcript.events().next() {
            Some(TranscriptEvent::Opened { plan_sha256, kind: k, .. }) if *plan_sha256 == sha256 && *k == kind => {}
            _ => return self.wrong("it does not begin by opening this plan"),
        }
        let openings = self.transcript.events().filter(|e| matches!(e, TranscriptEvent::Opened { .. })).count();
        if openings != 1 {
            return self.wrong("it opens a ceremony twice");
        }
        let taken = self.transcript.events().filter(|e| matches!(e, TranscriptEvent::RequestTaken { .. })).count();
        if taken == wanted(&self.scene.plan).len() { Ok(()) } else { self.wrong("it took in other requests than the plan wants") }
    }

    /// Exactly the planned keys were made, each announced before, and each is in its device what the plan says.
    fn keys(&mut self) -> Result<(), Error> {
        let planned = planned_keys(&self.scene.plan);
        let (mut announced, mut checked) = (BTreeSet::new(), BTreeSet::new());
        let mut keys = Keys::new();
        for event in self.transcript.events() {
            let (label, place) = match event {
                TranscriptEvent::KeyIntended { label, place, .. }
                | TranscriptEvent::KeyMade { label, place, .. }
                | TranscriptEvent::KeyChecked { label, place, .. } => (label, place),
                _ => continue,
            };
            let Some(plan) = planned.iter().find(|k| k.label == label && k.place == *place) else {
                return self.wrong(format!("the key `{label}` is not in the plan"));
            };
            match event {
                TranscriptEvent::KeyMade { public_key, algorithm, .. } => {
                    let judged = check_key(public_key).map_err(|e| Error::issuance(format!("key `{label}`"), e))?;
                    let others = keys.iter().map(|(name, key)| (name.as_str(), key));
                    check_fresh(public_key, others).map_err(|e| Error::issuance(format!("key `{label}`"), e))?;
                    let fresh = announced.contains(label) && judged == plan.algorithm && *algorithm == plan.algorithm;
                    if !fresh || keys.insert(plan.authority.clone(), public_key.clone()).is_some() {
                        return self.wrong(format!("the key `{label}` was made twice, unannounced, or is of another kind"));
                    }
                }
                TranscriptEvent::KeyChecked { device, attributes, attestation, .. } => {
                    let wrong = |e| Error::issuance(format!("key `{label}`"), e);
                    check_attributes(device.kind, attributes, plan.exportable_under.is_some()).map_err(wrong)?;
                    let Some(key) = keys.get(plan.authority) else {
                        return self.wrong(format!("the key `{label}` was checked before it was made"));
                    };
                    if let Some(attestation) = attestation {
                        check_attestation(attestation, key, device, &self.scene.plan.attestation_roots).map_err(wrong)?;
                    }
                    checked.insert(label.clone());
                }
                TranscriptEvent::KeyIntended { algorithm, .. } if *algorithm != plan.algorithm || !announced.insert(label.clone()) => {
                    return self.wrong(format!("the key `{label}` is announced twice, or as another kind"));
                }
                _ => {}
            }
        }
        if keys.len() != planned.len() || checked.len() != planned.len() {
            return self.wrong("a key of the plan was not made, or its device was not asked about it");
        }
        self.scene.keys.extend(keys);
        Ok(())
    }

    fn policy(&self) -> Result<Option<(OwnPolicy, PolicyBundle)>, Error> {
        let plan = &self.scene.plan;
        if !plan.has_policy() {
            return Ok(None);
        }
        let text = self.folder.text(POLICY)?;
        if text != policy_text(plan, &self.scene.keys)? {
            return Err(Error::bundle(&self.folder.path(POLICY), "it is not the plan's policy for these keys"));
        }
        let path = self.folder.path(POLICY_BUNDLE);
        let bundle = PolicyBundle::from_json(&self.folder.text(POLICY_BUNDLE)?).map_err(Error::file(&path))?;
        let name = Act::Policy.name(plan);
        if bundle.policy != text || self.transcript.statement(&name) != Some(bundle.statement.as_str()) {
            return Err(Error::bundle(&path, "its policy or its statement is not this ceremony's"));
        }
        let (policy, _) = bundle.verify(&plan.roster).map_err(Error::file(&path))?;
        Ok(Some(((text, policy), bundle)))
    }

    /// The devices' own logs are whole, and hold one signature for each that is on record.
    fn device_logs(&self) -> Result<Vec<DeviceLogImport>, Error> {
        let (planned, target) = (crate::device_log::planned(&self.scene.plan, &self.transcript), self.scene.target());
        check_device_logs(self.transcript.lines(), target, &planned).or_else(|what| self.wrong(what))?;
        Ok(device_log_imports(&self.transcript, target, &planned))
    }

    fn intent(&self, act: Act) -> Result<&Intent, Error> {
        let name = act.name(&self.scene.plan);
        let Some(intent) = act.intent(&self.scene.plan, &self.transcript) else { return self.wrong(format!("no intent for `{name}`")) };
        let tbs = intent.content.tbs();
        if !has_own_leaf(intent)
            || intent.tbs_sha256 != sha256(tbs)
            || intent.authority != self.scene.plan.root.authority
            || !is_of(act, intent)
        {
            return self.wrong(format!("the intent for `{name}` does not agree with itself"));
        }
        Ok(intent)
    }

    /// What an act signed: the released file holds exactly the transcript's result, over exactly the intent's bytes,
    /// which are exactly what the plan and the keys give; the second library verifies it, and the lint passes again.
    fn result(&self, act: Act) -> Result<(), Error> {
        let plan = &self.scene.plan;
        let intent = self.intent(act)?;
        let Some(completion) = self.transcript.completion(&intent.attempt) else {
            return self.wrong(format!("`{}` was not signed", act.name(plan)));
        };
        let signed = &completion.signed.0;
        let (name, bytes) = released_file(act, plan, signed);
        let path = self.folder.path(&name);
        let refused = |e: &dyn std::fmt::Display| Error::bundle(&path, e.to_string());
        if crate::files::read(&path)? != bytes {
            return Err(refused(&"it is not the transcript's result"));
        }
        let drawn = Drawn::recorded(intent);
        let blueprint = self.scene.blueprint(act, &self.transcript, &drawn)?;
        if !drawn.is_dated_as(intent) || blueprint.bytes().map_err(|e| refused(&e))? != intent.content.tbs() {
            return Err(refused(&"it is not what the plan and the keys give"));
        }
        blueprint.lint(intent.content.tbs()).map_err(|e| refused(&e))?;
        let other = || refused(&"other bytes were signed than were approved");
        match act {
            Act::RootCrl => {
                let crl = Crl::from_der(signed).map_err(|e| refused(&e))?;
                if crl.tbs_der() != intent.content.tbs() {
                    return Err(other());
                }
                crl.is_signed_by(&self.root()?).map_err(|e| refused(&e))
            }
            Act::Backup(_) | Act::Restore(_) => {
                let (test, signature) = KeyTest::parse_signed(signed).map_err(|e| refused(&e))?;
                if test.to_bytes() != intent.content.tbs() {
                    return Err(other());
                }
                verify_signature(&test.public_key, intent.algorithm, intent.content.tbs(), &signature).map_err(|e| refused(&e))
            }
            _ => {
                let certificate = Certificate::from_der(signed).map_err(|e| refused(&e))?;
                if certificate.tbs_der() != intent.content.tbs() {
                    return Err(other());
                }
                certificate.is_signed_by(&self.root()?).map_err(|e| refused(&e))
            }
        }
    }

    /// The root's certificate: of the ceremony itself, or of the hierarchy that it continues.
    fn root(&self) -> Result<Certificate, Error> {
        if let Some(base) = &self.scene.base {
            return Ok(base.root().clone());
        }
        match self.transcript.completion(&Act::Root.attempt(&self.scene.plan)) {
            Some(completion) => Certificate::from_der(&completion.signed.0).map_err(|e| Error::issuance("root certificate", e)),
            None => self.wrong("the root was not signed"),
        }
    }
}

fn authorities(plan: &Plan, hierarchy: &Hierarchy, at: Timestamp) -> Vec<Authority> {
    let root = Authority {
        name: plan.root.authority.clone(),
        kind: AuthorityKind::Root,
        certificate: hierarchy.root().der().to_vec(),
        issuer: None,
        key: None,
        is_default: false,
        imported_at: at,
    };
    let last = |name: &AuthorityName, profile: &str| {
        let of = |(ca, _): &(&IssuedCa, &Certificate)| ca.authority == *name && ca.profile == profile;
        hierarchy.issued().filter(of).last().map(|(_, certificate)| certificate.der().to_vec())
    };
    let below = |name: &AuthorityName, key: Option<&KeyLabel>, certificate: Vec<u8>, is_default: bool| Authority {
        name: name.clone(),
        kind: AuthorityKind::Issuing,
        certificate,
        issuer: Some(plan.root.authority.clone()),
        key: key.cloned(),
        is_default,
        imported_at: at,
    };
    let issuing = plan.issuing.iter().enumerate().filter_map(|(i, issuing)| {
        let certificate = last(&issuing.authority, "intermediate")?;
        Some(below(&issuing.authority, Some(&issuing.key), certificate, i == 0 && plan.acts == Acts::First))
    });
    let subjects = match &plan.acts {
        Acts::CrossSign { subject, .. } => subject.as_slice(),
        _ => &[],
    };
    let cross = subjects.iter().filter_map(|s| Some(below(&s.authority, None, last(&s.authority, "cross")?, false)));
    [root].into_iter().chain(issuing).chain(cross).collect()
}

fn crl_record(plan: &Plan, crl: &Crl) -> CrlRecord {
    CrlRecord {
        authority: plan.root.authority.clone(),
        scope: CrlScope::FULL,
        number: crl.number(),
        this_update: crl.this_update(),
        next_update: crl.next_update(),
        ledger_number: 0,
        der: crl.der().to_vec(),
    }
}

pub(crate) fn list(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("{} ({}): {}", f.rule, f.clause, f.detail)).collect::<Vec<_>>().join("; ")
}
