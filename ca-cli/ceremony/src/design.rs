//! From the plan to what is signed: the acts of a ceremony, and the exact request behind each.
//!
//! `run` prepares from these, `show` and `verify` build the same again and compare.

use std::time::Duration;

use ca_core::ceremony::{Acts, CaName, CrossPlan, IssuingPlan, KeyPlace, Operation, Plan, Statement, Transcript};
use ca_core::issuance::KeyTest;
use ca_core::model::{AttemptId, AuthorityName, CrlIntent, CrlRecord, Intent, IntentContent, KeyLabel, StatusUrls};
use ca_core::pki::crl::CrlHeader;
use ca_core::pki::{Certificate, KeyAlgorithm, PublicKey, SerialNumber, Sha256Digest, SignatureAlgorithm, Timestamp, assemble_signed};
use ca_core::profile::{CaSubject, CrossRequest, IntermediateRequest, Issuer, RootRequest};

use crate::Error;

/// Times in what is signed lie this far back: verifiers allow no skew.
const SKEW: Duration = Duration::from_secs(60);

/// What is signed, done or approved, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// The root signs its own certificate.
    Root,
    /// The root signs the certificate of the plan's issuing authority of this index.
    Issuing(usize),
    /// The root signs the cross-certificate of this index.
    Cross(usize),
    /// The CA certificate of this index is revoked.
    Revoke(usize),
    /// The root signs its CRL.
    RootCrl,
    /// The key of this index is copied into the backup device.
    Backup(usize),
    /// The wrapped key of this index is brought in.
    Restore(usize),
    /// The key of this index is destroyed.
    Destroy(usize),
    /// The officers saw what the device holds afterwards.
    Attest,
    /// What opens the plan's device of this index is dealt.
    Credentials(usize),
    /// The officers put the policy in force.
    Policy,
}

/// What an act comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    /// A signature, of which there is an intent before.
    Signature,
    /// Enough officers approved it, and that is all.
    Word,
    /// A device does something without a signature.
    Deed,
}

impl Act {
    /// Every act of a plan, in order.
    pub(crate) fn all(plan: &Plan) -> Vec<Self> {
        let issuing = (0..plan.issuing.len()).map(Self::Issuing);
        let policy = plan.has_policy().then_some(Self::Policy);
        match &plan.acts {
            Acts::First => [Self::Root].into_iter().chain(issuing).chain([Self::RootCrl, Self::Policy]).collect(),
            Acts::Intermediate { .. } => issuing.chain(policy).collect(),
            Acts::CrossSign { subject, .. } => (0..subject.len()).map(Self::Cross).collect(),
            Acts::RootCrl { .. } => vec![Self::RootCrl],
            Acts::RevokeCa { certificate, .. } => (0..certificate.len()).map(Self::Revoke).chain([Self::RootCrl]).collect(),
            Acts::Backup { key, .. } => (0..key.len()).map(Self::Backup).collect(),
            Acts::Restore { key, .. } => (0..key.len()).map(Self::Restore).collect(),
            Acts::Destroy { key, .. } => (0..key.len()).map(Self::Destroy).chain([Self::Attest]).collect(),
            Acts::Policy { .. } | Acts::Officers { .. } => policy.into_iter().collect(),
            Acts::Credentials { .. } => (0..plan.acts.places().len()).map(Self::Credentials).collect(),
        }
    }

    /// Its place among the plan's acts, from 1.
    fn number(self, plan: &Plan) -> usize {
        Self::all(plan).iter().position(|act| *act == self).map_or(0, |i| i + 1)
    }

    /// The name of its statement. No name is another's beginning.
    pub(crate) fn name(self, plan: &Plan) -> String {
        let what = match (self, &plan.acts) {
            (Self::Root, _) => "root",
            (Self::Issuing(i), _) => plan.issuing[i].authority.as_str(),
            (Self::Cross(i), Acts::CrossSign { subject, .. }) => subject[i].authority.as_str(),
            (Self::Revoke(i), Acts::RevokeCa { certificate, .. }) => certificate[i].authority.as_str(),
            (Self::Backup(i), Acts::Backup { key, .. }) | (Self::Destroy(i), Acts::Destroy { key, .. }) => key[i].key.as_str(),
            (Self::Restore(i), Acts::Restore { key, .. }) => key[i].key.as_str(),
            (Self::RootCrl, _) => "root-crl",
            (Self::Policy, _) => "policy",
            (Self::Credentials(i), acts) => return format!("{}-{}-credentials", self.number(plan), acts.places()[i].name()),
            _ => "inventory",
        };
        format!("{}-{what}", self.number(plan))
    }

    /// The id of its attempt: the same for each run of the same plan, so that a run finds what another began.
    pub(crate) fn attempt(self, plan: &Plan) -> AttemptId {
        let prefix: String = plan.sha256.to_string().chars().take(32).collect();
        format!("{prefix}.{}", self.number(plan)).parse().expect("hexadecimal, a dot and a number are an id")
    }

    /// Its intent in the transcript.
    pub(crate) fn intent<'a>(self, plan: &Plan, transcript: &'a Transcript) -> Option<&'a Intent> {
        let attempt = self.attempt(plan);
        transcript.intents().find(|i| i.attempt == attempt)
    }

    /// What it comes to.
    pub(crate) const fn effect(self) -> Effect {
        match self {
            Self::Root | Self::Issuing(_) | Self::Cross(_) | Self::RootCrl | Self::Backup(_) | Self::Restore(_) => Effect::Signature,
            Self::Revoke(_) | Self::Attest | Self::Policy => Effect::Word,
            Self::Destroy(_) | Self::Credentials(_) => Effect::Deed,
        }
    }

    /// Whether its end is that it is done: it gives no signature, and no event of its own says more.
    pub(crate) fn ends_done(self) -> bool {
        matches!(self, Self::Credentials(_)) || (self.effect() == Effect::Word && self != Self::Policy)
    }

    /// Acts of a later stage are prepared once those before are done.
    pub(crate) const fn stage(self) -> u8 {
        if matches!(self, Self::Attest) { 1 } else { 0 }
    }
}

/// What was drawn or read from the clock for one act; with the plan and the keys it determines the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Drawn {
    pub(crate) serial: Option<SerialNumber>,
    pub(crate) number: u64,
    pub(crate) from: Timestamp,
    pub(crate) nonce: [u8; 16],
}

impl Drawn {
    /// For an act that is prepared at `now`.
    pub(crate) fn fresh(now: Timestamp, rng: &dyn ca_core::ports::Rng) -> Self {
        // Growing with the time, a restored copy can't make the number go back.
        let number = CrlRecord::first_number(now);
        let mut nonce = [0; 16];
        rng.fill(&mut nonce);
        Self { serial: Some(SerialNumber::random(rng)), number, from: now.minus(SKEW), nonce }
    }

    /// As an intent recorded it.
    pub(crate) fn recorded(intent: &Intent) -> Self {
        let bare = Self { serial: None, number: 0, from: intent.at.minus(SKEW), nonce: [0; 16] };
        match &intent.content {
            IntentContent::Certificate(c) => Self { serial: Some(c.serial), from: c.not_before, ..bare },
            IntentContent::Crl(CrlIntent { number, this_update, .. }) => Self { number: *number, from: *this_update, ..bare },
            IntentContent::KeyTest(test) => {
                let nonce = KeyTest::parse(&test.tbs).ok().and_then(|t| from_hex(&t.nonce));
                Self { nonce: nonce.unwrap_or_default(), ..bare }
            }
            IntentContent::Request(_) => bare,
        }
    }

    /// How far back of the intent the times lie; bounded (requirement 30).
    pub(crate) fn is_dated_as(&self, intent: &Intent) -> bool {
        self.from == intent.at.minus(SKEW)
    }

    pub(crate) fn serial(&self) -> Result<SerialNumber, Error> {
        self.serial.ok_or_else(|| Error::issuance("transcript", "the intent of a certificate has no serial number"))
    }
}

pub(crate) fn days(count: u32) -> Duration {
    Duration::from_secs(u64::from(count) * 86_400)
}

pub(crate) fn subject(name: &CaName) -> CaSubject {
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
        algorithm: plan.root.signature_algorithm(),
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

/// A cross-certificate.
pub(crate) fn cross_request(plan: &Plan, cross: &CrossPlan, subject: &Certificate, drawn: &Drawn) -> Result<CrossRequest, Error> {
    Ok(CrossRequest {
        subject: subject.clone(),
        serial: drawn.serial()?,
        not_before: drawn.from,
        not_after: drawn.from.plus(days(cross.lifetime_days)),
        urls: StatusUrls::below(&plan.status_base_url, &plan.root.authority, 0),
        permitted: cross.permitted.clone(),
        path_len: cross.path_len,
    })
}

/// The root's CRL: complete, so without an issuing distribution point.
pub(crate) fn crl_header(plan: &Plan, root: &Certificate, drawn: &Drawn) -> CrlHeader {
    CrlHeader {
        issuer_der: root.subject_der().to_vec(),
        issuer_key_id: root.key_identifier().unwrap_or_default().to_vec(),
        algorithm: plan.root.signature_algorithm(),
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

/// A key to be made.
pub(crate) struct PlannedKey<'a> {
    pub(crate) authority: &'a AuthorityName,
    pub(crate) label: &'a KeyLabel,
    pub(crate) algorithm: KeyAlgorithm,
    pub(crate) place: KeyPlace,
    pub(crate) exportable_under: Option<&'a str>,
}

/// Every key that the ceremony makes, the root's first. A later ceremony makes none: its authorities' keys were made
/// where they are used.
pub(crate) fn planned_keys(plan: &Plan) -> Vec<PlannedKey<'_>> {
    if plan.acts != Acts::First {
        return Vec::new();
    }
    let root = &plan.root;
    let root = PlannedKey {
        authority: &root.authority,
        label: &root.key,
        algorithm: root.algorithm,
        place: KeyPlace::Root,
        exportable_under: root.wrapping_key.as_deref(),
    };
    let issuing = plan.issuing.iter().map(|i| PlannedKey {
        authority: &i.authority,
        label: &i.key,
        algorithm: i.algorithm,
        place: KeyPlace::Online,
        exportable_under: i.wrapping_key.as_deref(),
    });
    [root].into_iter().chain(issuing).collect()
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

/// The statement that an act needs, but for its nonce and times.
pub(crate) fn statement(
    plan: &Plan,
    operation: Operation,
    (policy_version, policy_sha256): (u64, Sha256Digest),
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
