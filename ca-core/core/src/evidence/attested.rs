//! What devices attested, judged anew by the worker from the evidence: the client's own answer to the challenge, signed by its
//! account's key. The front end's word counts for nothing here but the challenge's token.

use super::chain::{AuthorizedAccount, Refusal, by_account, path_of};
use super::proofs::{Proof, Proofs};
use super::verified::VerifiedSignatures;
use crate::model::{AuthorizationId, ChallengeMethod, ProblemType, ValidationRecord};
use crate::pki::{Identifier, PublicKey, Timestamp};
use crate::policy::{AuthorityPolicy, ChallengeZone};
use crate::validation::attestation::{AttestationCrls, Claim, read_answer};
use crate::validation::key_authorization;

/// Checks that `key`, the CSR's, is the one that was attested, for every identifier that rests on an attestation.
///
/// # Errors
/// When evidence is missing or does not hold at `now`, or another key was attested.
pub(super) fn check(
    proofs: &Proofs,
    rules: &AuthorityPolicy,
    account: &AuthorizedAccount,
    key: &PublicKey,
    now: Timestamp,
    crls: &AttestationCrls,
    verified: &VerifiedSignatures,
) -> Result<(), Refusal> {
    for (identifier, proof) in proofs {
        match proof {
            Proof::Granted => {}
            Proof::Challenged(record) if record.method != ChallengeMethod::DeviceAttest01 => {}
            Proof::Challenged(record) => {
                let zone = rules.challenge_zone(identifier);
                let zone = zone.ok_or_else(|| unproven(identifier, "the policy no longer challenges it"))?;
                let attested = judge(identifier, record, zone, account, now, crls, verified)?;
                if attested != *key {
                    let detail = format!("the CSR's key is not the one that was attested for `{identifier}`");
                    return Err(Refusal::new(ProblemType::BadCsr, detail));
                }
            }
        }
    }
    Ok(())
}

/// The key that was attested for an identifier.
fn judge(
    identifier: &Identifier,
    record: &ValidationRecord,
    zone: &ChallengeZone,
    account: &AuthorizedAccount,
    now: Timestamp,
    crls: &AttestationCrls,
    verified: &VerifiedSignatures,
) -> Result<PublicKey, Refusal> {
    let evidence = record.attestation.as_ref().ok_or_else(|| unproven(identifier, "its validation has no attestation"))?;
    // By any key that the account has had: the challenge may have been answered before the last keyChange.
    let answer = by_account(&evidence.jws, &account.keys, &account.account, verified)?;
    if path_of(&answer.protected.url) != Some(&answer_path(&record.authorization)) {
        return Err(unproven(identifier, "the attestation was sent for another challenge"));
    }
    let object = read_answer(&answer)?;
    let mut refused = unproven(identifier, "the account has no key");
    for jwk in account.keys.iter().rev() {
        let proof = key_authorization(&evidence.token, &jwk.thumbprint());
        let claim = Claim { identifier, key_authorization: &proof, token: evidence.token.as_str(), roots: &zone.attestation, crls, now };
        match claim.judge(&object) {
            Ok(key) => return Ok(key),
            Err(error) => refused = unproven(identifier, &error.to_string()),
        }
    }
    Err(refused)
}

fn answer_path(authorization: &AuthorizationId) -> String {
    format!("/acme/chall/{authorization}/{}", ChallengeMethod::DeviceAttest01)
}

fn unproven(identifier: &Identifier, why: &str) -> Refusal {
    Refusal::new(ProblemType::Unauthorized, format!("`{identifier}` has no attestation that counts: {why}"))
}
