//! One run of a ceremony: as far as the signatures allow, then it says what is missing.
//!
//! Every run goes through the same steps. A step that the transcript has is found done; so a run that was cut off
//! at any moment, or that waited for signatures, is resumed by running again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ca_core::ceremony::{CeremonyError, Duty, KeyPlace, Plan, Statement, Transcript, TranscriptEvent};
use ca_core::model::Actor;
use ca_core::pki::{Timestamp, hex, sha256};
use ca_core::policy::Policy;
use ca_core::ports::{Clock, KeyDevice, Rng};

use crate::approval::{Quorum, approvals, needed, plan_approvals};
use crate::custody::Opened;
use crate::design::{Act, Drawn, Effect, statement};
use crate::files::{Folder, HIERARCHY, PLAN, POLICY, POLICY_BUNDLE, ROSTER, TRANSCRIPT, read, write_new};
use crate::journal::{Journal, Observer, peek_transcript};
use crate::results::{hierarchy_after, policy_bundle, policy_text, released_file};
use crate::scene::{self, Scene};
use crate::{Custody, Error, Machine, VerifiedBundle, inputs, issue, notes, verify};

/// What a run works with. Key stores are options of the run, not part of the plan.
pub struct RunOptions {
    /// The plan file.
    pub plan: PathBuf,
    /// The bundle's folder; made where it is missing.
    pub bundle: PathBuf,
    /// Where the root's key is made and used; offline afterwards.
    pub root_keys: Option<Arc<dyn KeyDevice>>,
    /// Where the issuing authorities' keys are made; the worker opens it.
    pub online_keys: Option<Arc<dyn KeyDevice>>,
    /// Where backups go.
    pub backup_keys: Option<Arc<dyn KeyDevice>>,
    /// The folder of wrapped keys; they are in no bundle.
    pub wrapped: Option<PathBuf>,
    /// The bundle of the ceremony that this one continues.
    pub previous: Option<PathBuf>,
    /// Requests for certificates, brought from where their keys are.
    pub requests: Vec<PathBuf>,
    /// Shares and what they open, of a ceremony that deals credentials.
    pub custody: Option<Custody>,
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
/// When the plan, or a signature over it, is refused, or what it continues is not the previous bundle.
pub(crate) fn signed_plan(path: &Path, bundle: &Path, previous: Option<&Path>) -> Result<Result<(Plan, Vec<String>), Needed>, Error> {
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
    inputs::take_hierarchy(&folder, &plan, previous)?;
    inputs::take_revoked(&folder, &plan, path)?;

    Ok(match plan_approvals(&folder, &plan, &plan_bytes)? {
        Quorum::Reached(names) => Ok((plan, names)),
        Quorum::Short(signed) => Err(needed(&folder, &plan, folder.path(PLAN), "plan", signed)),
    })
}

async fn go(options: RunOptions) -> Result<RunOutcome, Error> {
    // Without the officers' word on the plan nothing is made, not even a transcript.
    let (plan, plan_signers) = match signed_plan(&options.plan, &options.bundle, options.previous.as_deref())? {
        Ok(signed) => signed,
        Err(needed) => return Ok(RunOutcome::NeedsSignatures(vec![needed])),
    };
    let folder = Folder(options.bundle.clone());
    if peek_transcript(&folder.path(TRANSCRIPT))?.is_closed() {
        return Ok(RunOutcome::Complete(Box::new(verify(&folder.0, None)?)));
    }
    let journal = Journal::open(&folder.path(TRANSCRIPT), options.observer.clone())?;
    open(&journal, &folder, &plan, options.clock.now(), plan_signers)?;
    let scene = inputs::base_scene(&folder, plan)?;
    let mut run = Run { scene, folder, journal, options, opened: BTreeMap::new() };
    run.unlock()?;
    let owed = run.enter().await?;
    if !owed.is_empty() {
        return Ok(RunOutcome::NeedsPeople(owed));
    }
    run.requests()?;
    run.devices().await?;
    run.keys().await?;
    run.drain().await?;
    let policy = run.policy()?;
    let acts = Act::all(&run.scene.plan);
    for stage in 0..=acts.iter().map(|a| a.stage()).max().unwrap_or(0) {
        let acts: Vec<Act> = acts.iter().copied().filter(|a| a.stage() == stage).collect();
        run.prepare(&acts).await?;
        run.statements(&acts, policy.as_ref())?;
        let missing = run.missing(&acts)?;
        if !missing.is_empty() {
            return Ok(RunOutcome::NeedsSignatures(missing));
        }
        // What was logged before the act is no trace of the act.
        run.drain().await?;
        for act in acts {
            run.perform(act, policy.as_ref()).await?;
            run.drain().await?;
        }
    }
    run.hierarchy()?;
    // An exception in it is people's to decide before the end.
    run.drain().await?;
    let owed = run.leave()?;
    if !owed.is_empty() {
        return Ok(RunOutcome::NeedsPeople(owed));
    }
    run.close()?;
    let Run { folder, journal, .. } = run;
    drop(journal);
    Ok(RunOutcome::Complete(Box::new(verify(&folder.0, None)?)))
}

/// The ceremony is opened once, for exactly this plan.
fn open(journal: &Journal, folder: &Folder, plan: &Plan, now: Timestamp, officers: Vec<String>) -> Result<(), Error> {
    write_new(&folder.path(ROSTER), plan.roster.to_toml().as_bytes(), 0o644)?;
    match journal.transcript().events().next() {
        Some(TranscriptEvent::Opened { plan_sha256, .. }) if *plan_sha256 == plan.sha256 => Ok(()),
        Some(_) => Err(Error::bundle(&folder.path(TRANSCRIPT), "it belongs to another plan")),
        None => journal.append(
            now,
            TranscriptEvent::Opened {
                plan_sha256: plan.sha256,
                kind: plan.kind(),
                software: concat!("ca-ceremony ", env!("CARGO_PKG_VERSION")).to_owned(),
                officers,
            },
        ),
    }
}

/// A policy of the ceremony's own: its text, and its meaning.
pub(crate) type OwnPolicy = (String, Policy);

pub(crate) struct Run {
    pub(crate) scene: Scene,
    pub(crate) folder: Folder,
    pub(crate) journal: Journal,
    pub(crate) options: RunOptions,
    /// With what the devices were opened whose credentials the ceremony changes.
    pub(crate) opened: BTreeMap<KeyPlace, Opened>,
}

impl Run {
    pub(crate) fn append(&self, event: TranscriptEvent) -> Result<(), Error> {
        self.journal.append(self.options.clock.now(), event)
    }

    pub(crate) fn transcript(&self) -> Transcript {
        self.journal.transcript()
    }

    /// The device behind a place.
    pub(crate) fn device(&self, place: KeyPlace) -> Result<&dyn KeyDevice, Error> {
        let device = match place {
            KeyPlace::Root => &self.options.root_keys,
            KeyPlace::Online => &self.options.online_keys,
            KeyPlace::Backup => &self.options.backup_keys,
        };
        device.as_deref().ok_or_else(|| {
            let (kind, place) = (self.scene.plan.acts.name(), place.name());
            Error::Missing(format!("a ceremony of the kind {kind} works with the {place} key store (hint: --{place}-keys)"))
        })
    }

    fn policy(&self) -> Result<Option<OwnPolicy>, Error> {
        if !self.scene.plan.has_policy() {
            return Ok(None);
        }
        let text = policy_text(&self.scene.plan, &self.scene.keys)?;
        let policy = Policy::parse(&text).map_err(CeremonyError::from)?;
        write_new(&self.folder.path(POLICY), text.as_bytes(), 0o644)?;
        Ok(Some((text, policy)))
    }

    /// Lints everything that will be signed and puts it on record.
    async fn prepare(&self, acts: &[Act]) -> Result<(), Error> {
        for act in acts {
            match act {
                // After the last deed, once.
                Act::Attest if scene::inventory(&self.transcript(), self.scene.target(), 1).is_none() => {
                    self.list(self.scene.target()).await?;
                }
                Act::Backup(_) | Act::Restore(_) => self.is_free(*act).await?,
                _ => {}
            }
            if act.effect() == Effect::Signature && act.intent(&self.scene.plan, &self.transcript()).is_none() {
                let now = self.options.clock.now();
                let drawn = Drawn::fresh(now, self.options.rng.as_ref());
                issue::record(&self.issuing(now, self.actor()), *act, &drawn).await?;
            }
        }
        Ok(())
    }

    pub(crate) fn issuing(&self, at: Timestamp, actor: Actor) -> issue::Context<'_> {
        issue::Context { scene: &self.scene, journal: &self.journal, clock: self.options.clock.as_ref(), at, actor }
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
    fn statements(&self, acts: &[Act], policy: Option<&OwnPolicy>) -> Result<(), Error> {
        let own = policy.map(|(text, policy)| (policy, sha256(text.as_bytes())));
        for act in acts {
            let name = act.name(&self.scene.plan);
            let transcript = self.transcript();
            let text = if let Some(text) = transcript.statement(&name) {
                text.to_owned()
            } else {
                let operation = self.scene.operation(*act, &transcript, own)?;
                let nonce = random_hex(self.options.rng.as_ref());
                let drawn = (nonce, self.options.clock.now());
                let bytes = statement(&self.scene.plan, operation, self.scene.policy_named(own), drawn).to_bytes();
                let text = String::from_utf8(bytes).expect("JSON is UTF-8");
                self.append(TranscriptEvent::Prepared { name: name.clone(), statement: text.clone() })?;
                text
            };
            write_new(&self.folder.statement(&name), text.as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// The statements that too few people signed.
    fn missing(&self, acts: &[Act]) -> Result<Vec<Needed>, Error> {
        let mut missing = Vec::new();
        let (plan, transcript) = (&self.scene.plan, self.transcript());
        for act in acts {
            let name = act.name(plan);
            let text = transcript.statement(&name).unwrap_or_default();
            if let Quorum::Short(signed) = approvals(&self.folder, plan, &name, "statement", text.as_bytes())? {
                missing.push(needed(&self.folder, plan, self.folder.statement(&name), &name, signed));
            }
        }
        Ok(missing)
    }

    /// Spends an act's approval: verified again right here, in time, and on record before the act begins.
    pub(crate) fn begin(&self, act: Act, policy: Option<&OwnPolicy>) -> Result<Actor, Error> {
        let own = policy.map(|(text, policy)| (policy, sha256(text.as_bytes())));
        let plan = &self.scene.plan;
        let name = act.name(plan);
        let transcript = self.transcript();
        let path = self.folder.statement(&name);
        let text = transcript.statement(&name).ok_or_else(|| Error::bundle(&path, "the transcript has no such statement"))?;
        let parsed = Statement::parse(text.as_bytes()).map_err(Error::file(&path))?;
        if parsed.plan_sha256 != plan.sha256 || parsed.operation != self.scene.operation(act, &transcript, own)? {
            return Err(Error::bundle(&path, "it allows something else than what is about to be done"));
        }
        let names = match approvals(&self.folder, plan, &name, "statement", text.as_bytes())? {
            Quorum::Reached(names) => names,
            Quorum::Short(signed) => {
                let needed = plan.roster.threshold;
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

    /// Does an act, or finds it done.
    async fn perform(&mut self, act: Act, policy: Option<&OwnPolicy>) -> Result<(), Error> {
        match act.effect() {
            Effect::Signature => self.sign(act, policy).await,
            Effect::Word if act == Act::Policy => self.approve_policy(policy),
            Effect::Word => {
                let name = act.name(&self.scene.plan);
                if self.is_done(&name) {
                    return Ok(());
                }
                if act == Act::Attest {
                    self.still_holds().await?;
                }
                self.begin(act, policy)?;
                self.append(TranscriptEvent::Done { name })
            }
            Effect::Deed if matches!(act, Act::Credentials(_)) => self.deal(act, policy).await,
            Effect::Deed => self.destroy(act, policy).await,
        }
    }

    /// Whether an act without a signature took effect.
    pub(crate) fn is_done(&self, name: &str) -> bool {
        self.transcript().events().any(|e| matches!(e, TranscriptEvent::Done { name: n } if n == name))
    }

    async fn sign(&self, act: Act, policy: Option<&OwnPolicy>) -> Result<(), Error> {
        let plan = &self.scene.plan;
        let attempt = act.attempt(plan);
        if self.transcript().completion(&attempt).is_none() {
            let transcript = self.transcript();
            let intent = act.intent(plan, &transcript).ok_or_else(|| Error::issuance(act.name(plan), "no intent"))?;
            let actor = self.begin(act, policy)?;
            if matches!(act, Act::Backup(_) | Act::Restore(_)) {
                self.bring_in(act).await?;
            }
            issue::sign(&self.issuing(intent.at, actor), act, intent, self.device(self.scene.target())?).await?;
        }
        let transcript = self.transcript();
        let signed = transcript.completion(&attempt).ok_or_else(|| Error::issuance(act.name(plan), "it was not released"))?;
        let (path, bytes) = released_file(act, plan, &signed.signed.0);
        write_new(&self.folder.path(&path), &bytes, 0o644)
    }

    fn approve_policy(&self, policy: Option<&OwnPolicy>) -> Result<(), Error> {
        let plan = &self.scene.plan;
        let name = Act::Policy.name(plan);
        let approved = |e: &TranscriptEvent| matches!(e, TranscriptEvent::PolicyApproved { .. });
        if !self.transcript().events().any(approved) {
            self.begin(Act::Policy, policy)?;
            self.append(TranscriptEvent::PolicyApproved { name: name.clone() })?;
        }
        let text = policy.map_or("", |(text, _)| text.as_str());
        let bundle = policy_bundle(&self.folder, &self.transcript(), &name, text)?;
        bundle.verify(&plan.roster)?;
        let path = self.folder.path(POLICY_BUNDLE);
        if path.exists() {
            // A run before wrote it; a signature that came later changes nothing. `verify` judges it.
            return Ok(());
        }
        write_new(&path, bundle.to_json().as_bytes(), 0o644)
    }

    /// Writes what stands below the root now.
    fn hierarchy(&self) -> Result<(), Error> {
        let Some(hierarchy) = hierarchy_after(&self.scene, &self.transcript())? else { return Ok(()) };
        write_new(&self.folder.path(HIERARCHY), &hierarchy.to_bytes(), 0o644)
    }

    fn close(&self) -> Result<(), Error> {
        let files = self.folder.digests()?;
        self.append(TranscriptEvent::Closed { files })
    }
}

/// 128 random bits in hexadecimal.
pub(crate) fn random_hex(rng: &dyn Rng) -> String {
    let mut bytes = [0u8; 16];
    rng.fill(&mut bytes);
    hex(&bytes)
}
