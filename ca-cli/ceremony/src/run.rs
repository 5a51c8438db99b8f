//! One run of a ceremony: as far as the signatures allow, then it says what is missing.
//!
//! Every run goes through the same steps. A step that the transcript has is found done; so a run that was cut off
//! at any moment, or that waited for signatures, is resumed by running again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ca_core::ceremony::{CeremonyError, Duty, Operation, Plan, PolicyBundle, Statement, Transcript, TranscriptEvent, signer};
use ca_core::model::{Actor, AuthorityName};
use ca_core::pki::{Certificate, PublicKey, pem_encode, sha256};
use ca_core::policy::Policy;
use ca_core::ports::{Clock, GenerateKey, KeyDevice, KeyStoreError, Rng};
use ca_core::profile::check_key;

use crate::design::{Act, Drawn, PlannedKey, operation, planned_keys, statement};
use crate::files::{Folder, PLAN, POLICY, POLICY_BUNDLE, ROSTER, TRANSCRIPT, read, write_new};
use crate::journal::{Journal, Observer, peek_transcript};
use crate::{Error, Machine, VerifiedBundle, issue, notes, verify};

/// What a run works with. Key stores are options of the run, not part of the plan.
pub struct RunOptions {
    /// The plan file.
    pub plan: PathBuf,
    /// The bundle's folder; made where it is missing.
    pub bundle: PathBuf,
    /// Where the root's key is made and used; offline afterwards.
    pub root_keys: Arc<dyn KeyDevice>,
    /// Where the issuing authorities' keys are made; the worker opens it.
    pub online_keys: Arc<dyn KeyDevice>,
    /// The machine and the tool.
    pub machine: Arc<dyn Machine>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for serial numbers and nonces.
    pub rng: Arc<dyn Rng>,
    /// For tests: called around each line of the transcript.
    pub observer: Option<Observer>,
}

/// A file that too few officers have signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Needed {
    /// The file to be signed.
    pub file: PathBuf,
    /// What the signature's file is called, with `OFFICER` in place of the name.
    pub signature: PathBuf,
    /// The SSHSIG namespace.
    pub namespace: &'static str,
    /// How many people must sign.
    pub threshold: u32,
    /// Who has.
    pub signed: Vec<String>,
}

/// How far a run came.
#[derive(Debug)]
pub enum RunOutcome {
    /// The ceremony is over and its bundle verifies.
    Complete(Box<VerifiedBundle>),
    /// These files wait for signatures; then run again.
    NeedsSignatures(Vec<Needed>),
    /// People owe this, the first of it first; then run again.
    NeedsPeople(Vec<Duty>),
}

/// Runs a ceremony as far as it goes.
///
/// # Errors
/// When the plan, a signature or a file is refused, a key store or the transcript fails, or a key exists that this
/// ceremony did not make. What was done until then is on record, and the next run goes on from there.
pub async fn run(options: RunOptions) -> Result<RunOutcome, Error> {
    let (bundle, clock, observer) = (options.bundle.clone(), Arc::clone(&options.clock), options.observer.clone());
    let outcome = go(options).await;
    if let Err(error) = &outcome {
        notes::record_abort(&bundle, clock.as_ref(), observer, error);
    }
    outcome
}

/// The plan's copy in the bundle, and who of enough officers signed it; or what is missing. No device is needed, so
/// none is opened before this says so (requirement 11).
///
/// # Errors
/// When the plan, or a signature over it, is refused.
pub(crate) fn signed_plan(path: &Path, bundle: &Path) -> Result<Result<(Plan, Vec<String>), Needed>, Error> {
    let plan_bytes = read(path)?;
    let text = std::str::from_utf8(&plan_bytes).map_err(|_| Error::bundle(path, "it is not UTF-8 text"))?;
    let plan = Plan::parse(text).map_err(Error::file(path))?;
    let folder = Folder(bundle.to_owned());
    folder.create()?;
    let copy = folder.path(PLAN);
    if copy.exists() && read(&copy)? != plan_bytes {
        return Err(Error::bundle(
            path,
            format!(
                "it differs from {}, which this bundle began with (hint: a changed plan is another ceremony, in a new folder)",
                copy.display()
            ),
        ));
    }
    write_new(&copy, &plan_bytes, 0o644)?;

    Ok(match approvals(&folder, &plan, "plan", "plan", &plan_bytes)? {
        Quorum::Reached(names) => Ok((plan, names)),
        Quorum::Short(signed) => Err(needed(&folder, &plan, folder.path(PLAN), "plan", signed)),
    })
}

async fn go(options: RunOptions) -> Result<RunOutcome, Error> {
    // Without the officers' word on the plan nothing is made, not even a transcript.
    let (plan, plan_signers) = match signed_plan(&options.plan, &options.bundle)? {
        Ok(signed) => signed,
        Err(needed) => return Ok(RunOutcome::NeedsSignatures(vec![needed])),
    };
    let folder = Folder(options.bundle.clone());
    if peek_transcript(&folder.path(TRANSCRIPT))?.is_closed() {
        return Ok(RunOutcome::Complete(Box::new(verify(&folder.0, None)?)));
    }
    let journal = Journal::open(&folder.path(TRANSCRIPT), options.observer.clone())?;
    let run = Run { plan, folder, journal, options };
    run.open(plan_signers)?;
    let owed = run.enter().await?;
    if !owed.is_empty() {
        return Ok(RunOutcome::NeedsPeople(owed));
    }
    let keys = run.keys().await?;
    let (policy_text, policy) = run.policy(&keys)?;
    run.prepare(&keys).await?;
    run.statements(&policy_text, &policy)?;
    let missing = run.missing()?;
    if !missing.is_empty() {
        return Ok(RunOutcome::NeedsSignatures(missing));
    }
    run.sign(&keys).await?;
    run.approve_policy(&policy_text)?;
    let owed = run.leave()?;
    if !owed.is_empty() {
        return Ok(RunOutcome::NeedsPeople(owed));
    }
    run.close()?;
    let Run { folder, journal, .. } = run;
    drop(journal);
    Ok(RunOutcome::Complete(Box::new(verify(&folder.0, None)?)))
}

/// Public keys by authority.
pub(crate) type Keys = BTreeMap<AuthorityName, PublicKey>;

enum Quorum {
    Reached(Vec<String>),
    Short(Vec<String>),
}

/// Verifies every signature over `subject` and tells who signed. A signature that does not count is an error that
/// names its file: it is there by mistake or by attack, and somebody should look.
fn approvals(folder: &Folder, plan: &Plan, subject: &str, what: &'static str, message: &[u8]) -> Result<Quorum, Error> {
    let names = signers(folder, plan, subject, what, message)?;
    let enough = names.len() >= usize::try_from(plan.roster.threshold).unwrap_or(usize::MAX);
    Ok(if enough { Quorum::Reached(names) } else { Quorum::Short(names) })
}

/// The distinct people whose signatures over `subject` verify.
pub(crate) fn signers(folder: &Folder, plan: &Plan, subject: &str, what: &'static str, message: &[u8]) -> Result<Vec<String>, Error> {
    let mut names = std::collections::BTreeSet::new();
    for (path, armored) in folder.signatures(subject)? {
        names.insert(signer(&plan.roster, what, message, &armored).map_err(Error::file(&path))?.officer);
    }
    Ok(names.into_iter().collect())
}

fn needed(folder: &Folder, plan: &Plan, file: PathBuf, subject: &str, signed: Vec<String>) -> Needed {
    let signature = folder.path("sigs").join(format!("{subject}.OFFICER.sig"));
    Needed { file, signature, namespace: plan.kind().namespace(), threshold: plan.roster.threshold, signed }
}

pub(crate) struct Run {
    pub(crate) plan: Plan,
    pub(crate) folder: Folder,
    pub(crate) journal: Journal,
    pub(crate) options: RunOptions,
}

impl Run {
    pub(crate) fn append(&self, event: TranscriptEvent) -> Result<(), Error> {
        self.journal.append(self.options.clock.now(), event)
    }

    pub(crate) fn transcript(&self) -> Transcript {
        self.journal.transcript()
    }

    /// The ceremony is opened once, for exactly this plan.
    fn open(&self, officers: Vec<String>) -> Result<(), Error> {
        write_new(&self.folder.path(ROSTER), self.plan.roster.to_toml().as_bytes(), 0o644)?;
        match self.transcript().events().next() {
            Some(TranscriptEvent::Opened { plan_sha256, .. }) if *plan_sha256 == self.plan.sha256 => Ok(()),
            Some(_) => Err(Error::bundle(&self.folder.path(TRANSCRIPT), "it belongs to another plan")),
            None => self.append(TranscriptEvent::Opened {
                plan_sha256: self.plan.sha256,
                kind: self.plan.kind(),
                software: concat!("ca-ceremony ", env!("CARGO_PKG_VERSION")).to_owned(),
                officers,
            }),
        }
    }

    fn store(&self, key: &PlannedKey<'_>) -> &Arc<dyn KeyDevice> {
        match key.place {
            ca_core::ceremony::KeyPlace::Root => &self.options.root_keys,
            ca_core::ceremony::KeyPlace::Online => &self.options.online_keys,
        }
    }

    /// Every key of the plan: made now, or found as it was made.
    async fn keys(&self) -> Result<Keys, Error> {
        let mut keys = Keys::new();
        // All labels are looked at before the first key is made.
        for key in planned_keys(&self.plan) {
            if !self.transcript().key_intended(key.label) && self.find(&key).await?.is_some() {
                return Err(Error::ForeignKey(key.label.clone()));
            }
        }
        for key in planned_keys(&self.plan) {
            let public_key = self.key(&key).await?;
            if keys.values().any(|other| *other == public_key) {
                return Err(Error::issuance(format!("key `{}`", key.label), "it equals another key of this ceremony"));
            }
            keys.insert(key.authority.clone(), public_key);
        }
        Ok(keys)
    }

    async fn find(&self, key: &PlannedKey<'_>) -> Result<Option<PublicKey>, Error> {
        match self.store(key).describe(key.label).await {
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
                self.store(key).generate(GenerateKey::new(label, algorithm)).await?.public_key
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

    fn policy(&self, keys: &Keys) -> Result<(String, Policy), Error> {
        let text = policy_text(&self.plan, keys)?;
        let policy = Policy::parse(&text).map_err(CeremonyError::from)?;
        write_new(&self.folder.path(POLICY), text.as_bytes(), 0o644)?;
        Ok((text, policy))
    }

    /// Lints everything that will be signed and puts it on record.
    async fn prepare(&self, keys: &Keys) -> Result<(), Error> {
        for act in Act::all(&self.plan) {
            if act != Act::Policy && act.intent(&self.plan, &self.transcript()).is_none() {
                let now = self.options.clock.now();
                let drawn = Drawn::fresh(now, self.options.rng.as_ref());
                issue::record(&self.issuing(keys, now, self.actor()), act, &drawn).await?;
            }
        }
        Ok(())
    }

    fn issuing<'a>(&'a self, keys: &'a Keys, at: ca_core::pki::Timestamp, actor: Actor) -> issue::Context<'a> {
        issue::Context {
            plan: &self.plan,
            keys,
            journal: &self.journal,
            key_store: self.options.root_keys.as_ref(),
            clock: self.options.clock.as_ref(),
            at,
            actor,
        }
    }

    /// Whoever opened the ceremony acts until the statements are signed.
    fn actor(&self) -> Actor {
        let transcript = self.transcript();
        let opened = transcript.events().find_map(|e| match e {
            TranscriptEvent::Opened { officers, .. } => Some(officers.clone()),
            _ => None,
        });
        Actor::Officers { names: opened.unwrap_or_default() }
    }

    /// Puts a statement for every act on record and writes it for the officers.
    fn statements(&self, policy_text: &str, policy: &Policy) -> Result<(), Error> {
        let policy_sha256 = sha256(policy_text.as_bytes());
        for act in Act::all(&self.plan) {
            let name = act.name(&self.plan);
            let transcript = self.transcript();
            let text = if let Some(text) = transcript.statement(&name) {
                text.to_owned()
            } else {
                let operation = operation(act, &self.plan, &transcript, policy, policy_sha256)?;
                let nonce = random_hex(self.options.rng.as_ref());
                let drawn = (nonce, self.options.clock.now());
                let bytes = statement(&self.plan, operation, policy.version, policy_sha256, drawn).to_bytes();
                let text = String::from_utf8(bytes).expect("JSON is UTF-8");
                self.append(TranscriptEvent::Prepared { name: name.clone(), statement: text.clone() })?;
                text
            };
            write_new(&self.folder.statement(&name), text.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// The statements that too few people signed.
    fn missing(&self) -> Result<Vec<Needed>, Error> {
        let mut missing = Vec::new();
        for (name, text) in self.transcript().statements() {
            if let Quorum::Short(signed) = approvals(&self.folder, &self.plan, name, "statement", text.as_bytes())? {
                missing.push(needed(&self.folder, &self.plan, self.folder.statement(name), name, signed));
            }
        }
        Ok(missing)
    }

    /// Spends an act's approval: verified again right here, in time, and on record before the act begins.
    fn begin(&self, act: Act, expected: impl FnOnce(&Statement) -> bool) -> Result<Actor, Error> {
        let name = act.name(&self.plan);
        let transcript = self.transcript();
        let path = self.folder.statement(&name);
        let text = transcript.statement(&name).ok_or_else(|| Error::bundle(&path, "the transcript has no such statement"))?;
        let parsed = Statement::parse(text.as_bytes()).map_err(Error::file(&path))?;
        if parsed.plan_sha256 != self.plan.sha256 || !expected(&parsed) {
            return Err(Error::bundle(&path, "it allows something else than what is about to be done"));
        }
        let names = match approvals(&self.folder, &self.plan, &name, "statement", text.as_bytes())? {
            Quorum::Reached(names) => names,
            Quorum::Short(signed) => {
                let needed = self.plan.roster.threshold;
                return Err(Error::file(&path)(CeremonyError::Quorum { what: "statement", needed, signed }));
            }
        };
        // Once begun the approval is spent; finishing what was cut off needs no new one, but an exception entry.
        if transcript.began(&name) == 0 {
            parsed.check_time(self.options.clock.now()).map_err(Error::file(&path))?;
            self.append(TranscriptEvent::Approved { name: name.clone(), officers: names.clone() })?;
        } else {
            self.append(TranscriptEvent::Exception {
                what: format!("the act of statement `{name}` was cut off before its result was on record"),
                disposition: "the same bytes go the same way again; nothing of the time before was released".to_owned(),
            })?;
        }
        self.append(TranscriptEvent::Began { name })?;
        Ok(Actor::Officers { names })
    }

    async fn sign(&self, keys: &Keys) -> Result<(), Error> {
        for act in Act::all(&self.plan).into_iter().filter(|a| *a != Act::Policy) {
            let attempt = act.attempt(&self.plan);
            if self.transcript().completion(&attempt).is_none() {
                let transcript = self.transcript();
                let intent = act.intent(&self.plan, &transcript).ok_or_else(|| Error::issuance(act.name(&self.plan), "no intent"))?;
                let tbs = intent.tbs_sha256;
                let actor = self.begin(act, |s| match &s.operation {
                    Operation::SignCertificate { tbs_sha256, .. } | Operation::SignCrl { tbs_sha256, .. } => *tbs_sha256 == tbs,
                    Operation::ApprovePolicy { .. } => false,
                })?;
                issue::sign(&self.issuing(keys, intent.at, actor), act, intent).await?;
            }
            let transcript = self.transcript();
            let signed = transcript.completion(&attempt).ok_or_else(|| Error::issuance(act.name(&self.plan), "it was not released"))?;
            let (path, bytes) = released_file(act, &self.plan, &signed.signed.0);
            write_new(&self.folder.path(&path), &bytes, 0o644)?;
        }
        Ok(())
    }

    fn approve_policy(&self, policy_text: &str) -> Result<(), Error> {
        let name = Act::Policy.name(&self.plan);
        let approved = |e: &TranscriptEvent| matches!(e, TranscriptEvent::PolicyApproved { .. });
        if !self.transcript().events().any(approved) {
            let digest = sha256(policy_text.as_bytes());
            self.begin(
                Act::Policy,
                |s| matches!(&s.operation, Operation::ApprovePolicy { policy_sha256, .. } if *policy_sha256 == digest),
            )?;
            self.append(TranscriptEvent::PolicyApproved { name: name.clone() })?;
        }
        let bundle = policy_bundle(&self.folder, &self.transcript(), &name, policy_text)?;
        bundle.verify(&self.plan.roster)?;
        let path = self.folder.path(POLICY_BUNDLE);
        if path.exists() {
            // A run before wrote it; a signature that came later changes nothing. `verify` judges it.
            return Ok(());
        }
        write_new(&path, bundle.to_json().as_bytes(), 0o644)
    }

    fn close(&self) -> Result<(), Error> {
        let files = self.folder.digests()?;
        self.append(TranscriptEvent::Closed { files })
    }
}

/// The policy of a plan whose keys exist.
pub(crate) fn policy_text(plan: &Plan, keys: &Keys) -> Result<String, Error> {
    let issuing = keys.iter().filter(|(authority, _)| **authority != plan.root.authority);
    Ok(plan.policy(&issuing.map(|(authority, key)| (authority.clone(), key.spki_sha256())).collect())?)
}

/// The file that an act's result is released to.
pub(crate) fn released_file(act: Act, plan: &Plan, der: &[u8]) -> (String, Vec<u8>) {
    let pem = |authority: &AuthorityName| (format!("certs/{authority}.pem"), pem_encode("CERTIFICATE", der).into_bytes());
    match act {
        Act::Root => pem(&plan.root.authority),
        Act::Issuing(i) => pem(&plan.issuing[i].authority),
        Act::RootCrl | Act::Policy => (format!("crls/{}.crl", plan.root.authority), der.to_vec()),
    }
}

/// The policy with its approval, from the bundle's files.
pub(crate) fn policy_bundle(folder: &Folder, transcript: &Transcript, name: &str, policy: &str) -> Result<PolicyBundle, Error> {
    let statement =
        transcript.statement(name).ok_or_else(|| Error::bundle(&folder.statement(name), "the transcript has no such statement"))?;
    let signatures = folder.signatures(name)?.into_iter().map(|(_, text)| text).collect();
    Ok(PolicyBundle { policy: policy.to_owned(), statement: statement.to_owned(), signatures })
}

/// 128 random bits in hexadecimal.
pub(crate) fn random_hex(rng: &dyn Rng) -> String {
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes);
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A certificate that the transcript has as completed.
pub(crate) fn completed_certificate(act: Act, plan: &Plan, transcript: &Transcript) -> Result<Option<Certificate>, Error> {
    let Some(completion) = transcript.completion(&act.attempt(plan)) else { return Ok(None) };
    Certificate::from_der(&completion.signed.0).map(Some).map_err(|e| Error::issuance(act.name(plan), e))
}
