//! What devices attested, judged anew by the worker from the evidence: the client's own answer to the challenge, signed by its
//! account's key. The front end's word counts for nothing here but the challenge's token.

use super::chain::{AuthorizedAccount, Refusal, by_account, path_of};
use super::proofs::{Proof, Proofs};
use super::verified::VerifiedSignatures;
use crate::model::{AuthorizationId, ChallengeMethod, Fault, ProblemType, ValidationRecord};
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
    // By any key that the account has had: the challenge may have been answered before the last keyChange. The proof is that of
    // the key that signed the answer, as the store keeps it with the challenge: no other is tried.
    let (answer, signer) = by_account(&evidence.jws, &account.keys, &account.account, verified)?;
    if path_of(&answer.protected.url) != Some(&answer_path(&record.authorization)) {
        return Err(unproven(identifier, "the attestation was sent for another challenge"));
    }
    let object = read_answer(&answer)?;
    let proof = key_authorization(&evidence.token, &signer.thumbprint());
    let claim = Claim { identifier, key_authorization: &proof, token: evidence.token.as_str(), roots: &zone.attestation, crls, now };
    claim.judge(&object).map_err(|error| Refusal { fault: error.fault(Fault::Evidence), ..unproven(identifier, &error.to_string()) })
}

fn answer_path(authorization: &AuthorizationId) -> String {
    format!("/acme/chall/{authorization}/{}", ChallengeMethod::DeviceAttest01)
}

fn unproven(identifier: &Identifier, why: &str) -> Refusal {
    Refusal::new(ProblemType::Unauthorized, format!("`{identifier}` has no attestation that counts: {why}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ca_testkit::acme::{self, ClientKey};
    use ca_testkit::attestation::{Maker, managed_device, step};
    use ca_testkit::specimens::Key;

    use super::*;
    use crate::anchor::GrantPlace;
    use crate::evidence::jwk::Jwk;
    use crate::model::{AccountId, AttestationEvidence, ChallengeToken};
    use crate::pki::sha256;
    use crate::policy::AttestationRoots;
    use crate::validation::attestation::verified;

    #[test]
    fn a12_an_attestation_by_an_accounts_first_key_is_verified_once() {
        let (keys, maker): (Vec<ClientKey>, _) = ((0..20).map(|_| ClientKey::default()).collect(), Maker::new("Maker"));
        let account = AuthorizedAccount {
            account: AccountId::from_evidence("account"),
            grant: serde_json::from_value(serde_json::json!({
                "id": "grant-1", "version": 1, "service": "x", "authority": "demo", "profiles": ["client"],
                "names": ["permanent-identifier:SN-*"], "enrol_by": null, "valid_until": null, "max_accounts": null,
            }))
            .unwrap(),
            place: GrantPlace { version: 1, statement: sha256(b"statement"), replaces: None, issued_at: Timestamp::from_unix(0) },
            secret: 1,
            keys: keys.iter().map(|key| Jwk::from_value(&key.jwk()).unwrap()).collect(),
        };
        let token = ChallengeToken::try_from("A".repeat(43)).unwrap();
        let identifier = Identifier::parse("permanent-identifier", "SN-1").unwrap();
        let zone = ChallengeZone {
            names: vec!["permanent-identifier:*".parse().unwrap()],
            methods: vec![ChallengeMethod::DeviceAttest01],
            caa: Vec::new(),
            attestation: AttestationRoots { step: maker.root_pem().try_into().unwrap(), ..AttestationRoots::default() },
        };
        let mut crls = AttestationCrls::default();
        crls.add(&maker.crl(false, &[], ("20000101000000Z", Some("20491231235959Z")), &[])).unwrap();
        let now = Timestamp::from_unix(1_800_000_000);
        let device = Key::generate("p256".parse().unwrap());
        let judged = |by: usize, proof_of: usize| {
            let proof = key_authorization(&token, &account.keys[proof_of].thumbprint());
            let object = step(&maker, &device, managed_device("SN-1"), &proof);
            let named = account.account.as_str().parse().unwrap();
            let jws = acme::attestation(&keys[by], &named, &"authorization".parse().unwrap(), &object);
            let record = ValidationRecord {
                account: account.account.clone(),
                authorization: "authorization".parse().unwrap(),
                identifier: identifier.clone(),
                method: ChallengeMethod::DeviceAttest01,
                attempt: 1,
                at: now,
                addresses: Vec::new(),
                answer_sha256: None,
                caa: None,
                attestation: Some(AttestationEvidence { jws, token: token.clone(), key_sha256: sha256(b"said") }),
                problem: None,
                fault: None,
                valid_until: now.plus(Duration::from_secs(60)),
            };
            judge(&identifier, &record, &zone, &account, now, &crls, &VerifiedSignatures::default())
        };
        let before = verified();
        let attested = judged(0, 0).unwrap();
        assert_eq!(attested.spki_der(), device.public().spki_der());
        assert_eq!(verified(), (before.0 + 1, before.1 + 1), "one chain, one CRL");
        judged(7, 7).unwrap();
        judged(19, 19).unwrap();
        assert_eq!(verified(), (before.0 + 3, before.1 + 1), "a CRL's signature is remembered");
        // The key that signed the answer is the challenge's, and no other.
        let refused = judged(3, 4).unwrap_err();
        assert!(refused.problem.detail.contains("signature does not hold"), "{refused:?}");
        assert_eq!(refused.fault, Fault::Evidence);
    }
}
