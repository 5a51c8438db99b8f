//! Verifies a bundle offline, with nothing but the bundle and, from elsewhere, the roster that is trusted.
//!
//! Everything is derived again: from the plan and the keys the bytes to be signed, from those the statements, from
//! the statements the people. The transcript only says in which order.

use std::collections::BTreeSet;
use std::path::Path;

use ca_core::ceremony::{KeyPlace, Plan, PolicyBundle, Role, Roster, Statement, Transcript, TranscriptEvent};
use ca_core::log::intent_leaf;
use ca_core::model::{Authority, AuthorityKind, CrlRecord, CrlScope, Intent, IntentContent};
use ca_core::pki::crl::{Crl, build_crl_tbs};
use ca_core::pki::{Certificate, Sha256Digest, Timestamp, sha256};
use ca_core::policy::Policy;
use ca_core::profile::{Finding, Issuer, build_intermediate, build_root, check_key, lint_crl, lint_intermediate, lint_root};

use crate::Error;
use crate::design::{Act, Drawn, crl_header, issuing_request, operation, planned_keys, root_request};
use crate::evidence::{self, VerifiedException};
use crate::files::{Folder, PLAN, POLICY, POLICY_BUNDLE, ROSTER, TRANSCRIPT};
use crate::journal::read_transcript;
use crate::run::{Keys, completed_certificate, policy_text, released_file, signers};

/// What a verified bundle gives: everything that an import needs.
#[derive(Clone, Debug)]
pub struct VerifiedBundle {
    /// What the ceremony was called.
    pub title: String,
    /// The plan's digest.
    pub plan_sha256: Sha256Digest,
    /// The officers, and production or rehearsal.
    pub roster: Roster,
    /// The root, then the issuing authorities; the first issuing one is the default. `imported_at` is the
    /// ceremony's end: whoever imports sets the time.
    pub authorities: Vec<Authority>,
    /// The root's first CRL.
    pub crls: Vec<CrlRecord>,
    /// The policy with its approval.
    pub policy_bundle: PolicyBundle,
    /// The policy in it, verified.
    pub policy: Policy,
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
    let bundle = Bundle { folder, transcript, plan };
    bundle.people(&plan_bytes)?;
    let keys = bundle.keys()?;
    let (policy, policy_bundle) = bundle.policy(&keys)?;
    bundle.statements(&policy, &policy_bundle)?;
    let exceptions = evidence::check(&bundle.folder, &bundle.plan, &bundle.transcript)?;
    let certificates = bundle.certificates(&keys)?;
    let crl = bundle.crl(&certificates[0])?;

    let Bundle { folder, transcript, plan } = bundle;
    let text = folder.text(TRANSCRIPT)?;
    let cosigners = evidence::cosigners(&folder, &plan, text.as_bytes())?;
    Ok(VerifiedBundle {
        title: plan.title.clone(),
        plan_sha256: plan.sha256,
        authorities: authorities(&plan, &certificates, closed_at),
        crls: vec![crl],
        policy_bundle,
        policy,
        exceptions,
        cosigners,
        transcript_head: transcript.head(),
        closed_at,
        roster: plan.roster,
    })
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
    plan: Plan,
}

impl Bundle {
    fn wrong<T>(&self, reason: impl Into<String>) -> Result<T, Error> {
        Err(Error::bundle(&self.folder.path(TRANSCRIPT), reason))
    }

    fn quorum(&self, path: &Path, subject: &str, what: &'static str, message: &[u8]) -> Result<Vec<String>, Error> {
        let signed = signers(&self.folder, &self.plan, subject, what, message)?;
        let needed = self.plan.roster.threshold;
        if signed.len() < usize::try_from(needed).unwrap_or(usize::MAX) {
            return Err(Error::file(path)(ca_core::ceremony::CeremonyError::Quorum { what, needed, signed }));
        }
        Ok(signed)
    }

    /// The plan was signed before anything happened.
    fn people(&self, plan: &str) -> Result<(), Error> {
        self.quorum(&self.folder.path(PLAN), "plan", "plan", plan.as_bytes())?;
        match self.transcript.events().next() {
            Some(TranscriptEvent::Opened { plan_sha256, kind, .. }) if *plan_sha256 == self.plan.sha256 && *kind == self.plan.kind() => {}
            _ => return self.wrong("it does not begin by opening this plan"),
        }
        let openings = self.transcript.events().filter(|e| matches!(e, TranscriptEvent::Opened { .. })).count();
        if openings == 1 { Ok(()) } else { self.wrong("it opens a ceremony twice") }
    }

    /// Exactly the planned keys were made, each announced before.
    fn keys(&self) -> Result<Keys, Error> {
        let planned = planned_keys(&self.plan);
        let mut announced = BTreeSet::new();
        let mut keys = Keys::new();
        for event in self.transcript.events() {
            let (label, place, algorithm) = match event {
                TranscriptEvent::KeyIntended { label, place, algorithm } => (label, place, algorithm),
                TranscriptEvent::KeyMade { label, place, algorithm, .. } => (label, place, algorithm),
                _ => continue,
            };
            let plan = planned.iter().find(|k| k.label == label && k.place == *place && k.algorithm == *algorithm);
            let Some(plan) = plan else { return self.wrong(format!("the key `{label}` is not in the plan")) };
            match event {
                TranscriptEvent::KeyMade { public_key, .. } => {
                    let algorithm = check_key(public_key).map_err(|e| Error::issuance(format!("key `{label}`"), e))?;
                    let fresh = announced.contains(label) && algorithm == plan.algorithm && !keys.values().any(|k| k == public_key);
                    if !fresh || keys.insert(plan.authority.clone(), public_key.clone()).is_some() {
                        return self.wrong(format!("the key `{label}` was made twice, unannounced, or is of another kind"));
                    }
                }
                _ if !announced.insert(label.clone()) => return self.wrong(format!("the key `{label}` is announced twice")),
                _ => {}
            }
        }
        if keys.len() == planned.len() { Ok(keys) } else { self.wrong("a key of the plan was not made") }
    }

    fn policy(&self, keys: &Keys) -> Result<(Policy, PolicyBundle), Error> {
        let text = self.folder.text(POLICY)?;
        if text != policy_text(&self.plan, keys)? {
            return Err(Error::bundle(&self.folder.path(POLICY), "it is not the plan's policy for these keys"));
        }
        let path = self.folder.path(POLICY_BUNDLE);
        let bundle = PolicyBundle::from_json(&self.folder.text(POLICY_BUNDLE)?).map_err(Error::file(&path))?;
        let name = Act::Policy.name(&self.plan);
        if bundle.policy != text || self.transcript.statement(&name) != Some(bundle.statement.as_str()) {
            return Err(Error::bundle(&path, "its policy or its statement is not this ceremony's"));
        }
        let (policy, _) = bundle.verify(&self.plan.roster).map_err(Error::file(&path))?;
        Ok((policy, bundle))
    }

    /// Each act has one statement that says exactly what was done, signed by enough people, begun in its time.
    fn statements(&self, policy: &Policy, bundle: &PolicyBundle) -> Result<(), Error> {
        let acts = Act::all(&self.plan);
        let policy_sha256 = sha256(bundle.policy.as_bytes());
        let mut nonces = BTreeSet::new();
        for act in &acts {
            let name = act.name(&self.plan);
            let path = self.folder.statement(&name);
            let text = self.folder.text(&format!("statements/{name}.json"))?;
            if self.transcript.statement(&name) != Some(text.as_str()) {
                return Err(Error::bundle(&path, "the transcript has another statement of this name"));
            }
            let statement = Statement::parse(text.as_bytes()).map_err(Error::file(&path))?;
            let expected = operation(*act, &self.plan, &self.transcript, policy, policy_sha256)?;
            let same = statement.operation == expected
                && statement.authority == self.plan.root.authority
                && statement.plan_sha256 == self.plan.sha256
                && statement.policy_sha256 == policy_sha256
                && statement.policy_version == policy.version;
            if !same || !nonces.insert(statement.nonce.clone()) {
                return Err(Error::bundle(&path, "it allows something else than what was done"));
            }
            self.quorum(&path, &name, "statement", text.as_bytes())?;
            self.order(*act, &name, &statement).map_err(|reason| Error::bundle(&path, reason))?;
        }
        let prepared = self.transcript.statements().count();
        let (intents, completions) = self.transcript.events().fold((0, 0), |(i, c), e| match e {
            TranscriptEvent::Intent { .. } => (i + 1, c),
            TranscriptEvent::Completed { .. } => (i, c + 1),
            _ => (i, c),
        });
        // One approval, one act, one result; and no result beside those.
        if prepared != acts.len() || intents != acts.len() - 1 || completions != acts.len() - 1 {
            return self.wrong("it has statements, intents or results beside those of the plan");
        }
        Ok(())
    }

    /// Intent, statement, approval, beginning and result follow in this order.
    fn order(&self, act: Act, name: &str, statement: &Statement) -> Result<(), String> {
        let attempt = act.attempt(&self.plan);
        let mut stage = if act == Act::Policy { 1 } else { 0 };
        for line in self.transcript.lines() {
            stage = match (&line.entry, stage) {
                (TranscriptEvent::Intent { intent }, 0) if intent.attempt == attempt => 1,
                (TranscriptEvent::Prepared { name: n, .. }, 1) if n == name => 2,
                (TranscriptEvent::Approved { name: n, .. }, 2 | 3) if n == name => {
                    statement.check_time(line.at).map_err(|e| e.to_string())?;
                    3
                }
                (TranscriptEvent::Began { name: n }, 3 | 4) if n == name => 4,
                (TranscriptEvent::Completed { completion }, 4) if completion.attempt == attempt => 5,
                (TranscriptEvent::PolicyApproved { name: n }, 4) if n == name && act == Act::Policy => 5,
                (TranscriptEvent::Intent { intent }, _) if intent.attempt == attempt => return Err("its intent is out of order".to_owned()),
                (TranscriptEvent::Completed { completion }, _) if completion.attempt == attempt => {
                    return Err("its result was on record before its approval".to_owned());
                }
                (
                    TranscriptEvent::Prepared { name: n, .. }
                    | TranscriptEvent::Approved { name: n, .. }
                    | TranscriptEvent::Began { name: n },
                    _,
                ) if n == name => {
                    return Err("the steps of its act are out of order".to_owned());
                }
                (_, stage) => stage,
            };
        }
        if stage == 5 { Ok(()) } else { Err("its act did not come to its end".to_owned()) }
    }

    fn intent(&self, act: Act) -> Result<&Intent, Error> {
        let name = act.name(&self.plan);
        let Some(intent) = act.intent(&self.plan, &self.transcript) else { return self.wrong(format!("no intent for `{name}`")) };
        let tbs = match &intent.content {
            IntentContent::Certificate(c) => &c.tbs,
            IntentContent::Crl(c) => &c.tbs,
        };
        if intent.leaf != intent_leaf(intent) || intent.tbs_sha256 != sha256(tbs) || intent.authority != self.plan.root.authority {
            return self.wrong(format!("the intent for `{name}` does not agree with itself"));
        }
        Ok(intent)
    }

    /// The released file of an act holds exactly the transcript's result, over exactly the intent's bytes.
    fn released(&self, act: Act, tbs: &[u8], signed_tbs: &[u8], der: &[u8]) -> Result<(), Error> {
        let (name, bytes) = released_file(act, &self.plan, der);
        if crate::files::read(&self.folder.path(&name))? != bytes {
            return Err(Error::bundle(&self.folder.path(&name), "it is not the transcript's result"));
        }
        if tbs == signed_tbs { Ok(()) } else { Err(Error::bundle(&self.folder.path(&name), "other bytes were signed than were approved")) }
    }

    /// The root's certificate, then those of the issuing authorities.
    fn certificates(&self, keys: &Keys) -> Result<Vec<Certificate>, Error> {
        let mut certificates: Vec<Certificate> = Vec::new();
        for act in Act::all(&self.plan) {
            let path = match act {
                Act::Root => format!("certs/{}.pem", self.plan.root.authority),
                Act::Issuing(i) => format!("certs/{}.pem", self.plan.issuing[i].authority),
                Act::RootCrl | Act::Policy => continue,
            };
            let path = self.folder.path(&path);
            let intent = self.intent(act)?;
            let IntentContent::Certificate(content) = &intent.content else { return self.wrong("a certificate's intent is a CRL's") };
            let Some(certificate) = completed_certificate(act, &self.plan, &self.transcript)? else {
                return self.wrong(format!("`{}` was not signed", act.name(&self.plan)));
            };
            self.released(act, &content.tbs, certificate.tbs_der(), certificate.der())?;
            let drawn = Drawn::recorded(intent);
            let refused = |e: &dyn std::fmt::Display| Error::bundle(&path, e.to_string());
            let (expected, linted) = match (act, certificates.first()) {
                (Act::Issuing(i), Some(root)) => {
                    let issuing = &self.plan.issuing[i];
                    let request = issuing_request(&self.plan, issuing, &keys[&issuing.authority], &drawn)?;
                    let issuer = Issuer::new(root.clone()).map_err(|e| refused(&e))?;
                    let expected = build_intermediate(&request, &issuer).map_err(|e| refused(&e))?;
                    (expected, lint_intermediate(certificate.tbs_der(), &request, &issuer))
                }
                _ => {
                    let request = root_request(&self.plan, &keys[&self.plan.root.authority], &drawn)?;
                    let expected = build_root(&request).map_err(|e| refused(&e))?;
                    (expected, lint_root(certificate.tbs_der(), &request))
                }
            };
            if expected != content.tbs {
                return Err(refused(&"it is not what the plan and the keys give"));
            }
            linted.map_err(|findings| refused(&list(&findings)))?;
            certificate.is_signed_by(certificates.first().unwrap_or(&certificate)).map_err(|e| refused(&e))?;
            certificates.push(certificate);
        }
        Ok(certificates)
    }

    fn crl(&self, root: &Certificate) -> Result<CrlRecord, Error> {
        let path = self.folder.path(&format!("crls/{}.crl", self.plan.root.authority));
        let refused = |e: &dyn std::fmt::Display| Error::bundle(&path, e.to_string());
        let intent = self.intent(Act::RootCrl)?;
        let IntentContent::Crl(content) = &intent.content else { return self.wrong("a CRL's intent is a certificate's") };
        let Some(completion) = self.transcript.completion(&intent.attempt) else { return self.wrong("the root's CRL was not signed") };
        let crl = Crl::from_der(&completion.signed.0).map_err(|e| refused(&e))?;
        self.released(Act::RootCrl, &content.tbs, crl.tbs_der(), crl.der())?;
        let header = crl_header(&self.plan, root, &Drawn::recorded(intent));
        if build_crl_tbs(&header, std::iter::empty()).map_err(|e| refused(&e))? != content.tbs {
            return Err(refused(&"it is not what the plan and the keys give"));
        }
        lint_crl(crl.tbs_der(), &header).map_err(|findings| refused(&list(&findings)))?;
        crl.is_signed_by(root).map_err(|e| refused(&e))?;
        Ok(CrlRecord {
            authority: self.plan.root.authority.clone(),
            scope: CrlScope::FULL,
            number: header.number,
            this_update: header.this_update,
            next_update: header.next_update,
            ledger_number: 0,
            der: crl.der().to_vec(),
        })
    }
}

fn authorities(plan: &Plan, certificates: &[Certificate], at: Timestamp) -> Vec<Authority> {
    let planned = planned_keys(plan);
    let made = planned.iter().zip(certificates).enumerate().map(|(i, (key, certificate))| {
        let online = key.place == KeyPlace::Online;
        Authority {
            name: key.authority.clone(),
            kind: if online { AuthorityKind::Issuing } else { AuthorityKind::Root },
            certificate: certificate.der().to_vec(),
            issuer: online.then(|| plan.root.authority.clone()),
            key: online.then(|| key.label.clone()),
            is_default: i == 1,
            imported_at: at,
        }
    });
    made.collect()
}

pub(crate) fn list(findings: &[Finding]) -> String {
    findings.iter().map(|f| format!("{} ({}): {}", f.rule, f.clause, f.detail)).collect::<Vec<_>>().join("; ")
}
