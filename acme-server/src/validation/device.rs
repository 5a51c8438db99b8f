//! device-attest-01 (draft-ietf-acme-device-attest): the answer came with the challenge; nothing is asked.

use ca_core::evidence::jws::ParsedJws;
use ca_core::model::{AttestationEvidence, Fault, LeasedValidation, ProblemType};
use ca_core::pki::Timestamp;
use ca_core::policy::ChallengeZone;
use ca_core::validation::attestation::{Claim, read_answer};

use super::{Failed, Trace, Validators, problem};

pub(super) async fn validate(
    validators: &Validators,
    job: &LeasedValidation,
    expected: &str,
    zone: &ChallengeZone,
    now: Timestamp,
    trace: &mut Trace,
) -> Result<(), Failed> {
    let answer = job.answer.as_ref().ok_or_else(|| problem(ProblemType::BadAttestationStatement, "the challenge has no answer"))?;
    let object = read_answer(&ParsedJws::parse(answer)?)?;
    trace.answered(&object);
    let (token, crls) = (job.token.as_str(), validators.attestation_crls());
    let claim = Claim { identifier: &job.identifier, key_authorization: expected, token, roots: &zone.attestation, crls: &crls, now };
    let judged = claim.judge(&object);
    let key = judged.map_err(|error| Failed { fault: error.fault(Fault::Client), problem: error.into() })?;
    let key_sha256 = key.spki_sha256();
    trace.attestation = Some(AttestationEvidence { jws: answer.clone(), token: job.token.clone(), key_sha256 });
    Ok(())
}
