//! From the plan to what is signed: the acts of a ceremony, and the exact request behind each.
//!
//! `run` prepares from these, `show` and `verify` build the same again and compare.

use std::time::Duration;

use ca_core::ceremony::{CaName, IssuingPlan, Operation, Plan, Statement, Transcript};
use ca_core::model::{AttemptId, AuthorityName, CrlIntent, Intent, IntentContent, KeyLabel, StatusUrls};
use ca_core::pki::crl::CrlHeader;
use ca_core::pki::{Certificate, PublicKey, SerialNumber, Sha256Digest, SignatureAlgorithm, Timestamp, assemble_signed};
use ca_core::profile::{CaSubject, IntermediateRequest, Issuer, RootRequest};

use crate::Error;

/// Times in what is signed lie this far back: verifiers allow no skew.
const SKEW: Duration = Duration::from_secs(60);

/// What is signed or approved, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// The root signs its own certificate.
    Root,
    /// The root signs the certificate of the plan's issuing authority of this index.
    Issuing(usize),
    /// The root signs its first CRL.
    RootCrl,
    /// The officers put the policy in force.
    Policy,
}

impl Act {
    /// Every act of a plan, in order.
    pub(crate) fn all(plan: &Plan) -> Vec<Self> {
        let issuing = (0..plan.issuing.len()).map(Self::Issuing);
        [Self::Root].into_iter().chain(issuing).chain([Self::RootCrl, Self::Policy]).collect()
    }

    /// The name of its statement. No name is another's beginning.
    pub(crate) fn name(self, plan: &Plan) -> String {
        match self {
            Self::Root => "1-root".to_owned(),
            Self::Issuing(i) => format!("{}-{}", i + 2, plan.issuing[i].authority),
            Self::RootCrl => format!("{}-root-crl", plan.issuing.len() + 2),
            Self::Policy => format!("{}-policy", plan.issuing.len() + 3),
        }
    }

    /// The id of its attempt: the same for each run of the same plan, so that a run finds what another began.
    pub(crate) fn attempt(self, plan: &Plan) -> AttemptId {
        let number = match self {
            Self::Root => 1,
            Self::Issuing(i) => i + 2,
            Self::RootCrl => plan.issuing.len() + 2,
            Self::Policy => plan.issuing.len() + 3,
        };
        let prefix: String = plan.sha256.to_string().chars().take(32).collect();
        format!("{prefix}.{number}").parse().expect("hexadecimal, a dot and a number are an id")
    }

    /// Its intent in the transcript.
    pub(crate) fn intent<'a>(self, plan: &Plan, transcript: &'a Transcript) -> Option<&'a Intent> {
        let attempt = self.attempt(plan);
        transcript.intents().find(|i| i.attempt == attempt)
    }
}

/// What was drawn or read from the clock for one act; with the plan and the keys it determines the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Drawn {
    pub(crate) serial: Option<SerialNumber>,
    pub(crate) number: u64,
    pub(crate) from: Timestamp,
}

impl Drawn {
    /// For an act that is prepared at `now`.
    pub(crate) fn fresh(now: Timestamp, rng: &dyn ca_core::ports::Rng) -> Self {
        // Growing with the time, a restored copy can't make the number go back.
        let number = u64::try_from(now.unix()).unwrap_or(0).saturating_mul(65_536);
        Self { serial: Some(SerialNumber::random(rng)), number, from: now.minus(SKEW) }
    }

    /// As an intent recorded it.
    pub(crate) fn recorded(intent: &Intent) -> Self {
        match &intent.content {
            IntentContent::Certificate(c) => Self { serial: Some(c.serial), number: 0, from: c.not_before },
            IntentContent::Crl(CrlIntent { number, this_update, .. }) => Self { serial: None, number: *number, from: *this_update },
        }
    }

    fn serial(&self) -> Result<SerialNumber, Error> {
        self.serial.ok_or_else(|| Error::issuance("transcript", "the intent of a certificate has no serial number"))
    }
}

fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 86_400)
}

fn subject(name: &CaName) -> CaSubject {
    CaSubject { country: name.country.clone(), organization: name.organization.clone(), common_name: name.common_name.clone() }
}

/// The root's certificate.
pub(crate) fn root_request(plan: &Plan, key: &PublicKey, drawn: &Drawn) -> Result<RootRequest, Error> {
    Ok(RootRequest {
        subject: subject(&plan.root.subject),
        serial: drawn.serial()?,
        not_before: drawn.from,
        not_after: drawn.from.plus(days(plan.root.lifetime_days)),
        public_key: key.clone(),
        algorithm: plan.root.algorithm.signature_algorithm(),
    })
}

/// An issuing authority's certificate.
pub(crate) fn issuing_request(plan: &Plan, issuing: &IssuingPlan, key: &PublicKey, drawn: &Drawn) -> Result<IntermediateRequest, Error> {
    Ok(IntermediateRequest {
        subject: subject(&issuing.subject),
        serial: drawn.serial()?,
        not_before: drawn.from,
        not_after: drawn.from.plus(days(issuing.lifetime_days)),
        public_key: key.clone(),
        urls: StatusUrls::below(&plan.status_base_url, &plan.root.authority, 0),
        permitted: issuing.permitted.clone(),
    })
}

/// The root's first CRL: complete, so without an issuing distribution point.
pub(crate) fn crl_header(plan: &Plan, root: &Certificate, drawn: &Drawn) -> CrlHeader {
    CrlHeader {
        issuer_der: root.subject_der().to_vec(),
        issuer_key_id: root.key_identifier().unwrap_or_default().to_vec(),
        algorithm: plan.root.algorithm.signature_algorithm(),
        number: drawn.number,
        this_update: drawn.from,
        next_update: drawn.from.plus(days(plan.root.crl_lifetime_days)),
        partition_url: None,
    }
}

/// The root as an issuer before it is signed: its to-be-signed bytes behind a filler that verifies under no key.
/// Its name and key are final, and nothing else of it goes into what it issues.
pub(crate) fn provisional_issuer(tbs: &[u8], algorithm: SignatureAlgorithm) -> Result<Issuer, Error> {
    Issuer::new(provisional(tbs, algorithm)?).map_err(|e| Error::issuance("root certificate", e))
}

/// To-be-signed bytes as a certificate that can be read and trusted by nobody.
pub(crate) fn provisional(tbs: &[u8], algorithm: SignatureAlgorithm) -> Result<Certificate, Error> {
    Certificate::from_der(&assemble_signed(tbs, algorithm, &[0; 64])).map_err(|e| Error::issuance("to-be-signed certificate", e))
}

/// A key of the plan.
pub(crate) struct PlannedKey<'a> {
    pub(crate) authority: &'a AuthorityName,
    pub(crate) label: &'a KeyLabel,
    pub(crate) algorithm: ca_core::pki::KeyAlgorithm,
    pub(crate) place: ca_core::ceremony::KeyPlace,
}

/// Every key of the plan, the root's first.
pub(crate) fn planned_keys(plan: &Plan) -> Vec<PlannedKey<'_>> {
    use ca_core::ceremony::KeyPlace;
    let root = &plan.root;
    let root = PlannedKey { authority: &root.authority, label: &root.key, algorithm: root.algorithm, place: KeyPlace::Root };
    let issuing = plan.issuing.iter();
    let issuing = issuing.map(|i| PlannedKey { authority: &i.authority, label: &i.key, algorithm: i.algorithm, place: KeyPlace::Online });
    [root].into_iter().chain(issuing).collect()
}

/// The operation that an act's statement must name.
pub(crate) fn operation(
    act: Act,
    plan: &Plan,
    transcript: &Transcript,
    policy: &ca_core::policy::Policy,
    policy_sha256: Sha256Digest,
) -> Result<Operation, Error> {
    let intent = || act.intent(plan, transcript).ok_or_else(|| Error::issuance(act.name(plan), "no intent is on record"));
    let certificate = |profile: &str, subject_authority: &AuthorityName| {
        let intent = intent()?;
        let serial = Drawn::recorded(intent).serial()?;
        let tbs_sha256 = intent.tbs_sha256;
        Ok(Operation::SignCertificate { profile: profile.to_owned(), subject_authority: subject_authority.clone(), serial, tbs_sha256 })
    };
    match act {
        Act::Root => certificate("root", &plan.root.authority),
        Act::Issuing(i) => certificate("intermediate", &plan.issuing[i].authority),
        Act::RootCrl => {
            let intent = intent()?;
            Ok(Operation::SignCrl { number: Drawn::recorded(intent).number, tbs_sha256: intent.tbs_sha256 })
        }
        Act::Policy => Ok(Operation::ApprovePolicy { version: policy.version, policy_sha256 }),
    }
}

/// The statement that an act needs, but for its nonce and times.
pub(crate) fn statement(
    plan: &Plan,
    operation: Operation,
    policy_version: u64,
    policy_sha256: Sha256Digest,
    drawn: (String, Timestamp),
) -> Statement {
    let (nonce, issued_at) = drawn;
    Statement {
        format: Statement::FORMAT.to_owned(),
        operation,
        authority: plan.root.authority.clone(),
        plan_sha256: plan.sha256,
        policy_version,
        policy_sha256,
        nonce,
        issued_at,
        expires_at: issued_at.plus(days(plan.approval_days)),
    }
}
