//! Makes a request for a CA certificate, where the key is: the other half of an `intermediate` or `cross-sign` ceremony.
//!
//! It has a transcript of its own, so that a run that was cut off goes on, and the key's one signature is on record
//! before it is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ca_core::ceremony::{Acts, CertificateBytes, KeyPlace, KeyRequest, Plan, RequestStatement, TranscriptEvent, check_attributes};
use ca_core::issuance::{self, Attempt};
use ca_core::model::{Actor, AttemptId, AuthorityName, KeyLabel, Origin};
use ca_core::pki::{Certificate, KeyAlgorithm, PublicKey, pem_decode_all, sha256};
use ca_core::ports::{Clock, GenerateKey, KeyDevice, KeyStoreError, Rng};
use ca_core::profile::check_key;

use crate::Error;
use crate::design::subject;
use crate::files::{parent, read, request_name, write_new};
use crate::journal::{Journal, Observer};
use crate::request_log;

/// What a request is made with.
pub struct RequestOptions {
    /// The plan of the ceremony that is asked.
    pub plan: PathBuf,
    /// Whose certificate is asked for.
    pub authority: AuthorityName,
    /// Where its key is, or will be.
    pub keys: Arc<dyn KeyDevice>,
    /// The CA's own certificate (PEM), where the plan cross-signs it.
    pub certificate: Option<PathBuf>,
    /// For how long a ceremony may take the request.
    pub life: Duration,
    /// The folder for the request and its record; made where it is missing.
    pub folder: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// For tests: called around each line of the transcript.
    pub observer: Option<Observer>,
}

/// What the plan says of the authority.
struct Asked {
    key: KeyLabel,
    /// Of a key that is to be made.
    new: Option<(KeyAlgorithm, Option<String>)>,
    subject_der: Vec<u8>,
    certificate: Option<CertificateBytes>,
}

pub(crate) const TRANSCRIPT: &str = "request-transcript.jsonl";
/// The name of the one statement, and of the act that it is about.
pub(crate) const STATEMENT: &str = "request";

/// Makes the request, or finds it made.
///
/// # Errors
/// When the plan does not certify the authority, its key exists already and was not made for this request, or the key
/// store or the disk fails.
pub async fn make_request(options: RequestOptions) -> Result<(PathBuf, KeyRequest), Error> {
    let bytes = read(&options.plan)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Error::bundle(&options.plan, "it is not UTF-8 text"))?;
    let plan = Plan::parse(text).map_err(Error::file(&options.plan))?;
    let asked = asked(&plan, &options)?;
    std::fs::create_dir_all(&options.folder).map_err(Error::io("create", &options.folder))?;
    crate::files::sync_folder(&parent(&options.folder))?;
    let journal = Journal::open(&options.folder.join(TRANSCRIPT), options.observer.clone())?;
    request_log::enter(&journal, &options).await?;
    let public_key = key(&asked, &journal, &options).await?;
    let statement = statement(&plan, &asked, &public_key, &journal, &options).await?;
    let id = attempt_of(&statement)?;
    let planned = request_log::planned(&id, &asked.key);
    // What was logged before the signature is no trace of it.
    request_log::take_and_check(&journal, &options, &planned).await?;
    let attempt = Attempt {
        id,
        authority: options.authority.clone(),
        key: asked.key.clone(),
        origin: Origin::Ceremony,
        actor: Actor::System { component: "ca ceremony request".to_owned() },
        at: statement.made_at,
    };
    let transcript = journal.transcript();
    let der = if let Some(done) = transcript.completion(&attempt.id) {
        done.signed.0.clone()
    } else {
        let wrong = |e: issuance::IssuanceError| Error::issuance("request", e);
        let actor = attempt.actor.clone();
        let prepared = issuance::prepare_request(&asked.subject_der, &public_key, &statement.challenge(), attempt).map_err(wrong)?;
        let recorded = issuance::record(&journal, prepared).await.map_err(wrong)?;
        begin(&journal, options.clock.as_ref())?;
        let signed = issuance::sign(options.keys.as_ref(), recorded).await.map_err(wrong)?;
        issuance::release(&journal, signed, actor, options.clock.now()).await.map_err(wrong)?.1
    };
    request_log::take_and_check(&journal, &options, &planned).await?;
    let request = KeyRequest::new(statement, der)?;
    let path = options.folder.join(request_name(&options.authority));
    write_new(&path, &request.to_bytes(), 0o644)?;
    Ok((path, request))
}

/// One attempt for each statement: another plan or another time is another request.
pub(crate) fn attempt_of(statement: &RequestStatement) -> Result<AttemptId, Error> {
    let id: String = statement.challenge().chars().take(32).collect();
    format!("{id}.request").parse().map_err(|e| Error::issuance("request", e))
}

/// The key signs from here on; once more is an exception, as in a ceremony.
fn begin(journal: &Journal, clock: &dyn Clock) -> Result<(), Error> {
    if journal.transcript().began(STATEMENT) > 0 {
        let what = "the request's signature was cut off before it was on record".to_owned();
        let disposition = "the same bytes are signed again; nothing of the time before was released".to_owned();
        journal.append(clock.now(), TranscriptEvent::Exception { what, disposition })?;
    }
    journal.append(clock.now(), TranscriptEvent::Began { name: STATEMENT.to_owned() })
}

fn asked(plan: &Plan, options: &RequestOptions) -> Result<Asked, Error> {
    let not_asked = || {
        let (name, kind) = (&options.authority, plan.acts.name());
        Error::bundle(&options.plan, format!("this plan ({kind}) certifies no `{name}` by request"))
    };
    match &plan.acts {
        Acts::Intermediate { .. } => {
            let issuing = plan.issuing.iter().find(|i| i.authority == options.authority).ok_or_else(not_asked)?;
            let subject_der = subject(&issuing.subject).to_der().map_err(|e| Error::issuance("request", e))?;
            let new = Some((issuing.algorithm, issuing.wrapping_key.clone()));
            Ok(Asked { key: issuing.key.clone(), new, subject_der, certificate: None })
        }
        Acts::CrossSign { subject, .. } => {
            let cross = subject.iter().find(|s| s.authority == options.authority).ok_or_else(not_asked)?;
            let path = options.certificate.as_ref();
            let path = path.ok_or_else(|| {
                Error::Missing("a cross-certificate needs the CA's own certificate (hint: --certificate FILE)".to_owned())
            })?;
            let text = String::from_utf8(read(path)?).map_err(|_| Error::bundle(path, "it is not UTF-8 text"))?;
            let der = pem_decode_all(&text, "CERTIFICATE").map_err(|e| Error::bundle(path, e.to_string()))?.swap_remove(0);
            if sha256(&der) != cross.certificate_sha256 {
                return Err(Error::bundle(path, "it is not the certificate that the plan pins"));
            }
            let certificate = Certificate::from_der(&der).map_err(|e| Error::bundle(path, e.to_string()))?;
            let subject_der = certificate.subject_der().to_vec();
            Ok(Asked { key: cross.key.clone(), new: None, subject_der, certificate: Some(CertificateBytes(der)) })
        }
        _ => Err(not_asked()),
    }
}

/// The key: made now, or found as it was made; of a CA that exists, found.
async fn key(asked: &Asked, journal: &Journal, options: &RequestOptions) -> Result<PublicKey, Error> {
    let transcript = journal.transcript();
    let found = match options.keys.describe(&asked.key).await {
        Ok(info) => Some(info.public_key),
        Err(KeyStoreError::NotFound(_)) => None,
        Err(e) => return Err(e.into()),
    };
    let Some((algorithm, exportable_under)) = &asked.new else {
        return found.ok_or_else(|| KeyStoreError::NotFound(asked.key.clone()).into());
    };
    let (label, place, algorithm) = (asked.key.clone(), KeyPlace::Online, *algorithm);
    if let Some(made) = transcript.key(&label) {
        return match found {
            Some(found) if found == *made => Ok(found),
            _ => Err(Error::issuance(format!("key `{label}`"), "the key store does not hold the key that was made for this request")),
        };
    }
    let public_key = match (found, transcript.key_intended(&label)) {
        (Some(_), false) => return Err(Error::ForeignKey(label)),
        (Some(found), true) => found,
        (None, intended) => {
            if !intended {
                journal.append(options.clock.now(), TranscriptEvent::KeyIntended { label: label.clone(), place, algorithm })?;
            }
            let request = GenerateKey { exportable_under: exportable_under.clone(), ..GenerateKey::new(label.clone(), algorithm) };
            options.keys.generate(request).await?.public_key
        }
    };
    let found = check_key(&public_key).map_err(|e| Error::issuance(format!("key `{label}`"), e))?;
    if found != algorithm {
        return Err(Error::issuance(format!("key `{label}`"), format!("it is a {found} key, not {algorithm}")));
    }
    journal.append(options.clock.now(), TranscriptEvent::KeyMade { label, place, algorithm, public_key: public_key.clone() })?;
    Ok(public_key)
}

/// The statement: written now, or found as it was written while it has its time.
async fn statement(
    plan: &Plan,
    asked: &Asked,
    public_key: &PublicKey,
    journal: &Journal,
    options: &RequestOptions,
) -> Result<RequestStatement, Error> {
    let now = options.clock.now();
    if let Some(text) = journal.transcript().statement(STATEMENT) {
        let statement: RequestStatement = serde_json::from_str(text).map_err(|e| Error::issuance("request", e))?;
        if statement.plan_sha256 != plan.sha256 || statement.authority != options.authority {
            return Err(Error::bundle(&options.folder, "it holds a request for another plan (hint: a new folder for each request)"));
        }
        if now >= statement.expires_at {
            return Err(Error::bundle(&options.folder, "its request is over (hint: a new plan with a new nonce and key, in a new folder)"));
        }
        return Ok(statement);
    }
    let (device, attributes, attestation) =
        (options.keys.identity().await?, options.keys.attributes(&asked.key).await?, options.keys.attest(&asked.key).await?);
    if let Some((_, exportable_under)) = &asked.new {
        check_attributes(device.kind, &attributes, exportable_under.is_some())?;
    }
    let statement = RequestStatement {
        format: RequestStatement::FORMAT.to_owned(),
        plan_sha256: plan.sha256,
        nonce: plan.acts.nonce().unwrap_or_default().to_owned(),
        root: plan.root.authority.clone(),
        authority: options.authority.clone(),
        key: asked.key.clone(),
        public_key: public_key.clone(),
        device,
        attributes,
        attestation,
        certificate: asked.certificate.clone(),
        made_at: now,
        expires_at: now.plus(options.life.min(RequestStatement::MAX_LIFE)),
    };
    let text = String::from_utf8(statement.to_bytes()).expect("JSON is UTF-8");
    journal.append(now, TranscriptEvent::Prepared { name: STATEMENT.to_owned(), statement: text })?;
    Ok(statement)
}
