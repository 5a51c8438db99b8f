//! Rehearsals: the same run with throwaway officers, so that a CA can be tried out by one person in one go.
//!
//! Subjects are marked, approvals are in another namespace, and the trust anchor is its own; nothing of it counts in
//! production. The officers' and the operator's keys are plain OpenSSH files (0600): whoever has the folder is all of
//! them, which is what makes it a rehearsal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ca_core::ceremony::{
    CeremonyError, CeremonyKind, Custodian, Duty, Fact, Officer, Operation, Person, Plan, PolicyBundle, Role, Statement,
};
use ca_core::evidence::sshsig;
use ca_core::model::{AuthorityName, GrantId, KeyLabel};
use ca_core::pki::{KeyAlgorithm, sha256};
use ca_core::policy::{ChallengeZone, NamePattern, OperatorPolicy, OwnCertificate, Permission, Policy, ProfilePolicy};
use ca_core::ports::{Clock, KeyDevice, Rng};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{LineEnding, PrivateKey};
use zeroize::Zeroizing;

use crate::files::{Folder, PLAN, POLICY_BUNDLE, TRANSCRIPT, TRANSCRIPT_SUBJECT, read, write_new};
use crate::notes::{dispose_exception, note};
use crate::room::record_subject;
use crate::run::random_hex;
use crate::{Error, Machine, RunOptions, RunOutcome, VerifiedBundle, run, verify};

const OFFICERS: [&str; 3] = ["ana", "bela", "cora"];
/// Two of three sign, as in a small production roster.
const SIGNING: [&str; 2] = ["ana", "bela"];
/// Who else is there.
const PERSONS: [(&str, Role); 2] = [("dora", Role::Administrator), ("wim", Role::Witness)];
/// What is in custody, of the first officer.
const HOLDS: &str = "the root key store";
/// The operator of a rehearsal, as the policy names it.
const OPERATOR: &str = "operator";

/// What a rehearsal makes.
pub struct RehearsalOptions {
    /// The folder: `officers/`, `operator`, `plan.toml` and `bundle/` below it.
    pub dir: PathBuf,
    /// Where the root's key is made.
    pub root_keys: Arc<dyn KeyDevice>,
    /// Where the issuing authority's key is made.
    pub online_keys: Arc<dyn KeyDevice>,
    /// The machine and the tool, which are recorded.
    pub machine: Arc<dyn Machine>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The organization in the subjects.
    pub organization: String,
    /// The issuing authority; the root is called `{authority}-root`.
    pub authority: AuthorityName,
    /// The kind of both keys.
    pub algorithm: KeyAlgorithm,
    /// Where status is served.
    pub status_base_url: String,
    /// What the certificate constrains the issuing authority to.
    pub permitted: Vec<NamePattern>,
    /// What the policy lets be granted.
    pub names: Vec<NamePattern>,
    /// The certificates of devices' makers, PEM, that attestations must lead to; none where no device attests.
    pub attestation_roots: Vec<String>,
    /// Profiles on offer.
    pub profiles: BTreeMap<String, ProfilePolicy>,
    /// Zones in which names are proven by challenges.
    pub challenge_zones: Vec<ChallengeZone>,
    /// The grant that enrolment is open to.
    pub open_enrolment: Option<GrantId>,
    /// The CA's own certificates, with their keys' digests.
    pub own: Vec<OwnCertificate>,
    /// The most certificates an hour.
    pub max_per_hour: u32,
    /// How long a CRL is valid, in seconds.
    pub crl_validity: u64,
    /// How often one is made, in seconds.
    pub crl_interval: u64,
}

/// A rehearsed authority.
#[derive(Debug)]
pub struct Rehearsal {
    /// The bundle's folder.
    pub bundle: PathBuf,
    /// The bundle, verified.
    pub verified: VerifiedBundle,
    /// The operator's private key, an OpenSSH file.
    pub operator_key: PathBuf,
    /// The operator's name in the policy.
    pub operator: String,
}

/// Rehearses a ceremony from beginning to end, through the same [`run`] as a production one. Called again with the
/// same folder it finishes what was cut off, or finds it done.
///
/// # Errors
/// As [`run`].
pub async fn rehearse(options: RehearsalOptions) -> Result<Rehearsal, Error> {
    let dir = &options.dir;
    private_folder(dir)?;
    private_folder(&dir.join("officers"))?;
    for person in OFFICERS.into_iter().chain(PERSONS.map(|(name, _)| name)) {
        make_key(&dir.join("officers").join(person), options.rng.as_ref(), person)?;
    }
    let operator_key = dir.join(OPERATOR);
    make_key(&operator_key, options.rng.as_ref(), OPERATOR)?;

    let plan = dir.join(PLAN);
    if !plan.exists() {
        write_new(&plan, plan_text(&options)?.as_bytes(), 0o644)?;
    }
    let bundle = dir.join("bundle");
    let verified = rehearse_with(dir, || RunOptions {
        plan: plan.clone(),
        bundle: bundle.clone(),
        root_keys: Some(Arc::clone(&options.root_keys)),
        online_keys: Some(Arc::clone(&options.online_keys)),
        backup_keys: None,
        wrapped: None,
        previous: None,
        requests: Vec::new(),
        custody: None,
        machine: Arc::clone(&options.machine),
        clock: Arc::clone(&options.clock),
        rng: Arc::clone(&options.rng),
        observer: None,
    });
    Ok(Rehearsal { verified: verified.await?, bundle, operator_key, operator: OPERATOR.to_owned() })
}

/// Runs a ceremony to its end with the throwaway people of the rehearsal in `dir`: the first one, or one that continues
/// it. `options` gives the same each time.
///
/// # Errors
/// As [`run`].
pub async fn rehearse_with(dir: &Path, options: impl Fn() -> RunOptions) -> Result<VerifiedBundle, Error> {
    // Plan, attendance and its signatures, statements in two stages, records and theirs, dispositions, the end.
    for _ in 0..14 {
        let options = options();
        let (bundle, clock) = (options.bundle.clone(), Arc::clone(&options.clock));
        match run(options).await? {
            RunOutcome::Complete(_) => {
                let folder = Folder(bundle.clone());
                for person in SIGNING.into_iter().chain([PERSONS[1].0]) {
                    sign_as(dir, person, &folder.path(TRANSCRIPT), &folder, TRANSCRIPT_SUBJECT)?;
                }
                return verify(&bundle, None);
            }
            RunOutcome::NeedsSignatures(needed) => {
                for needed in needed {
                    sign_file(dir, &needed.file, &needed.signature)?;
                }
            }
            RunOutcome::NeedsPeople(duties) => {
                for duty in duties {
                    fulfil(dir, &bundle, duty, clock.as_ref())?;
                }
            }
        }
    }
    Err(Error::issuance("rehearsal", "it did not come to its end after every file was signed"))
}

/// Has the throwaway officers of the rehearsal in `dir` approve an edited policy. Its version must be greater than
/// that of the last one approved here; its authorities and their keys must be the rehearsal's. The bundle is also kept
/// in `dir/policies/`.
///
/// # Errors
/// When `dir` is no rehearsal, or the policy is refused.
pub fn approve_policy_rehearsal(dir: &Path, policy_text: &str, clock: &dyn Clock, rng: &dyn Rng) -> Result<PolicyBundle, Error> {
    let folder = Folder(dir.join("bundle"));
    let plan = Plan::parse(&folder.text(PLAN)?).map_err(Error::file(&folder.path(PLAN)))?;
    if plan.kind() != CeremonyKind::Rehearsal {
        return Err(Error::bundle(&folder.path(PLAN), "it is not a rehearsal's plan: production policies are signed by their officers"));
    }
    let policies = dir.join("policies");
    private_folder(&policies)?;
    let policy = Policy::parse(policy_text).map_err(CeremonyError::from)?;
    let last = latest_policy(&folder, &policies, &plan)?;
    let refused = |reason: String| Error::Ceremony(CeremonyError::Refused { what: "policy", reason });
    if policy.version <= last.version {
        return Err(refused(format!(
            "its version is {}, and version {} is approved already (hint: raise `version`)",
            policy.version, last.version
        )));
    }
    for authority in &policy.authorities {
        if last.authority(&authority.name).map(|a| a.key_sha256) != Some(authority.key_sha256) {
            return Err(refused(format!("the authority `{}` or its key_sha256 is not this rehearsal's", authority.name)));
        }
    }
    let policy_sha256 = sha256(policy_text.as_bytes());
    let issued_at = clock.now();
    let statement = Statement {
        format: Statement::FORMAT.to_owned(),
        operation: Operation::ApprovePolicy { version: policy.version, policy_sha256 },
        authority: plan.root.authority.clone(),
        plan_sha256: plan.sha256,
        policy_version: policy.version,
        policy_sha256,
        nonce: random_hex(rng),
        issued_at,
        expires_at: issued_at.plus(Duration::from_secs(u64::from(plan.approval_days) * 86_400)),
    };
    let statement = String::from_utf8(statement.to_bytes()).expect("JSON is UTF-8");
    let signatures = sign_rehearsal(dir, statement.as_bytes())?;
    let bundle = PolicyBundle { policy: policy_text.to_owned(), statement, signatures };
    bundle.verify(&plan.roster)?;
    write_new(&policies.join(format!("{:020}.json", policy.version)), bundle.to_json().as_bytes(), 0o644)?;
    Ok(bundle)
}

/// The approved policy with the highest version.
fn latest_policy(folder: &Folder, policies: &Path, plan: &Plan) -> Result<Policy, Error> {
    let mut paths = vec![folder.path(POLICY_BUNDLE)];
    for entry in std::fs::read_dir(policies).map_err(Error::io("list", policies))? {
        let path = entry.map_err(Error::io("list", policies))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            paths.push(path);
        }
    }
    let mut latest: Option<Policy> = None;
    for path in paths {
        let text = String::from_utf8(read(&path)?).map_err(|_| Error::bundle(&path, "it is not UTF-8 text"))?;
        let (policy, _) = PolicyBundle::from_json(&text).and_then(|b| b.verify(&plan.roster)).map_err(Error::file(&path))?;
        if latest.as_ref().is_none_or(|l| policy.version > l.version) {
            latest = Some(policy);
        }
    }
    latest.ok_or_else(|| Error::bundle(&folder.path(POLICY_BUNDLE), "there is no policy"))
}

/// Does what people owe, as the throwaway people.
fn fulfil(dir: &Path, bundle: &Path, duty: Duty, clock: &dyn Clock) -> Result<(), Error> {
    let folder = Folder(bundle.to_owned());
    let fact = match duty {
        Duty::Attend { role, missing, of } => {
            for name in of.into_iter().take(missing) {
                note(bundle, Fact::Attendance { name, role, own_clock: Some(clock.now()) }, None, clock)?;
            }
            return Ok(());
        }
        Duty::Sign { record, who } => return sign_as(dir, &who, &folder.record(&record), &folder, &record_subject(&record)),
        Duty::Dispose { line, .. } => {
            let by = [OFFICERS[0], PERSONS[1].0].map(str::to_owned);
            return dispose_exception(bundle, line, "a rehearsal: its driver goes on", &by, clock);
        }
        Duty::ConfirmClock { .. } => {
            let own_clock = Some(clock.now());
            for (name, role) in PERSONS {
                note(bundle, Fact::Attendance { name: name.to_owned(), role, own_clock }, Some("the clock was not compared"), clock)?;
            }
            return Ok(());
        }
        Duty::Acknowledge { name, holds } => Fact::Custody { name, holds, bag: "REHEARSAL".to_owned() },
        Duty::Bag { what } => Fact::Bag { what, id: "REHEARSAL".to_owned() },
        Duty::Media { what } => Fact::Media { what, sha256: sha256(b"rehearsal") },
    };
    note(bundle, fact, None, clock).map(drop)
}

/// `person` signs `file` into the bundle's `sigs/SUBJECT.PERSON.sig`.
fn sign_as(dir: &Path, person: &str, file: &Path, folder: &Folder, subject: &str) -> Result<(), Error> {
    let armored = signature(dir, person, &read(file)?)?;
    write_new(&folder.path("sigs").join(format!("{subject}.{person}.sig")), armored.as_bytes(), 0o644)
}

/// Has the throwaway officers of the rehearsal in `dir` sign `message`: as many as its roster asks for.
///
/// # Errors
/// When a key is missing or is none.
pub fn sign_rehearsal(dir: &Path, message: &[u8]) -> Result<Vec<String>, Error> {
    SIGNING.iter().map(|officer| signature(dir, officer, message)).collect()
}

fn sign_file(dir: &Path, file: &Path, pattern: &Path) -> Result<(), Error> {
    let message = read(file)?;
    let pattern = pattern.display().to_string();
    for officer in SIGNING {
        let armored = signature(dir, officer, &message)?;
        write_new(Path::new(&pattern.replace(".OFFICER.", &format!(".{officer}."))), armored.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn signature(dir: &Path, officer: &str, message: &[u8]) -> Result<String, Error> {
    let path = dir.join("officers").join(officer);
    let text = Zeroizing::new(read(&path)?);
    let key = PrivateKey::from_openssh(text.as_slice()).map_err(|e| Error::bundle(&path, format!("not an OpenSSH private key: {e}")))?;
    sshsig::sign(&key, CeremonyKind::Rehearsal.namespace(), message).map_err(|e| Error::bundle(&path, e.to_string()))
}

/// Makes a key pair, `path` and `path.pub`, where there is none yet.
fn make_key(path: &Path, rng: &dyn Rng, comment: &str) -> Result<(), Error> {
    let wrong = |e: ssh_key::Error| Error::bundle(path, e.to_string());
    if !path.exists() {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill(seed.as_mut_slice());
        let mut key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        key.set_comment(format!("rehearsal {comment}"));
        write_new(path, key.to_openssh(LineEnding::LF).map_err(wrong)?.as_bytes(), 0o600)?;
    }
    write_new(&public_path(path), format!("{}\n", public_key(path)?).as_bytes(), 0o644)
}

fn public_path(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

fn public_key(path: &Path) -> Result<String, Error> {
    let text = Zeroizing::new(read(path)?);
    let key = PrivateKey::from_openssh(text.as_slice()).map_err(|e| Error::bundle(path, format!("not an OpenSSH private key: {e}")))?;
    key.public_key().to_openssh().map_err(|e| Error::bundle(path, e.to_string()))
}

fn private_folder(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::io("create", path))
}

fn plan_text(options: &RehearsalOptions) -> Result<String, Error> {
    use toml::Value;
    let wrong = |e: toml::ser::Error| Error::issuance("rehearsal plan", e);
    let key_label = |name: &str| name.parse::<KeyLabel>().map_err(|e| Error::issuance("rehearsal plan", e));
    let authority = &options.authority;
    let root: AuthorityName = format!("{authority}-root").parse().map_err(|e| Error::issuance("rehearsal plan", e))?;
    let officers = OFFICERS.iter().map(|name| {
        let keys = vec![public_key(&options.dir.join("officers").join(name))?];
        Ok(Officer { name: (*name).to_owned(), keys })
    });
    let persons = PERSONS.iter().map(|(name, role)| {
        let keys = vec![public_key(&options.dir.join("officers").join(name))?];
        Ok(Person { name: (*name).to_owned(), role: *role, keys })
    });
    let operator = OperatorPolicy {
        name: OPERATOR.to_owned(),
        key: public_key(&options.dir.join(OPERATOR))?,
        may: vec![Permission::Grant, Permission::Revoke, Permission::Publish, Permission::Hold, Permission::Stop],
    };
    let table = |entries: Vec<(&str, Value)>| Value::Table(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect());
    let text = |t: &str| Value::String(t.to_owned());
    let value = |v: Result<Value, toml::ser::Error>| v.map_err(wrong);
    let number = |n: u64| i64::try_from(n).map(Value::Integer).map_err(|e| Error::issuance("rehearsal plan", e));
    let subject = |what: &str| {
        table(vec![
            ("organization", text(&options.organization)),
            ("common_name", Value::String(format!("{}{} {what}", Plan::MARK, options.organization))),
        ])
    };
    let algorithm = value(Value::try_from(options.algorithm))?;
    let mut policy_authority = table(vec![
        ("name", text(authority.as_str())),
        ("names", value(Value::try_from(&options.names))?),
        ("profile", value(Value::try_from(&options.profiles))?),
        ("own", value(Value::try_from(&options.own))?),
        ("max_per_hour", Value::Integer(options.max_per_hour.into())),
        ("crl_validity", number(options.crl_validity)?),
        ("crl_interval", number(options.crl_interval)?),
    ]);
    if let Value::Table(rules) = &mut policy_authority {
        // An empty list would be in the way of zones that are written as tables below what `ca policy show` prints.
        if !options.challenge_zones.is_empty() {
            rules.insert("challenge".to_owned(), value(Value::try_from(&options.challenge_zones))?);
        }
        if let Some(grant) = &options.open_enrolment {
            rules.insert("open_enrolment".to_owned(), text(grant.as_str()));
        }
    }
    let plan = table(vec![
        ("format", text(Plan::FORMAT)),
        ("kind", text("rehearsal")),
        ("title", Value::String(format!("Rehearsal of {authority}"))),
        ("status_base_url", text(options.status_base_url.trim_end_matches('/'))),
        ("approval_days", Value::Integer(30)),
        ("attestation_roots", Value::Array(options.attestation_roots.iter().map(|pem| text(pem)).collect())),
        // What is asked of the machine is recorded, not enforced: this is anybody's.
        ("environment", table(["offline", "no_swap", "no_core_dumps"].map(|what| (what, Value::Boolean(true))).to_vec())),
        ("cps", table(vec![("url", text("http://localhost/cps")), ("version", text("rehearsal"))])),
        ("evidence", table(vec![("bags", value(Value::try_from(["root"]))?), ("media", value(Value::try_from(["bundle"]))?)])),
        ("person", value(Value::try_from(persons.collect::<Result<Vec<Person>, Error>>()?))?),
        ("custodian", value(Value::try_from([Custodian { name: OFFICERS[0].to_owned(), holds: HOLDS.to_owned() }]))?),
        (
            "roster",
            table(vec![
                ("threshold", Value::Integer(2)),
                ("officer", value(Value::try_from(officers.collect::<Result<Vec<Officer>, Error>>()?))?),
            ]),
        ),
        (
            "root",
            table(vec![
                ("authority", text(root.as_str())),
                ("key", text(key_label(root.as_str())?.as_str())),
                ("algorithm", algorithm.clone()),
                ("subject", subject("Root")),
                ("lifetime_days", Value::Integer(3650)),
                ("crl_lifetime_days", Value::Integer(365)),
                ("next_ceremony_days", Value::Integer(330)),
            ]),
        ),
        (
            "issuing",
            Value::Array(vec![table(vec![
                ("authority", text(authority.as_str())),
                ("key", text(key_label(authority.as_str())?.as_str())),
                ("algorithm", algorithm),
                ("subject", subject("Issuing")),
                ("lifetime_days", Value::Integer(1825)),
                ("permitted", value(Value::try_from(&options.permitted))?),
            ])]),
        ),
        (
            "policy",
            table(vec![
                ("version", Value::Integer(1)),
                ("authority", Value::Array(vec![policy_authority])),
                ("operator", value(Value::try_from(vec![operator]))?),
            ]),
        ),
    ]);
    toml::to_string(&plan).map_err(wrong)
}
