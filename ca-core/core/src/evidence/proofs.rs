//! Why each identifier of an order may be certified: one proof for each, keyed by the identifier (lesson 5).

use std::collections::BTreeMap;
use std::time::Duration;

use super::chain::Refusal;
use crate::model::{AccountId, Grant, ProblemType, ValidationRecord};
use crate::pki::{Identifier, Timestamp};
use crate::policy::{AuthorityPolicy, Basis, ChallengeZone, basis_for};

/// The longest that a validation counts, whatever the front end says.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// The longest that a check of CAA counts (CA/Browser Forum BR 3.2.2.8: 8 hours).
pub const CAA_LONGEST: Duration = Duration::from_secs(8 * 3600);

/// How far the clock of a front end, which may be another machine's, is believed to be ahead of the worker's. Times have whole
/// seconds, so that one second more may lie between two clocks that agree.
const AHEAD: Duration = Duration::from_secs(60);

/// Why one identifier may be certified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The grant covers it, as an operator signed.
    Granted,
    /// The front end says that it was validated, where the policy lets that be enough.
    Challenged(Box<ValidationRecord>),
}

/// Proofs of exactly the identifiers of an order.
pub type Proofs = BTreeMap<Identifier, Proof>;

/// Finds a proof for each identifier: the grant, or a validation of this account in a zone of the policy. What a device
/// attested is judged by [`super::attested`].
///
/// # Errors
/// When one has none, or lies outside the authority's policy.
pub fn prove(
    identifiers: &[Identifier],
    account: &AccountId,
    grant: &Grant,
    rules: &AuthorityPolicy,
    validations: &[ValidationRecord],
    now: Timestamp,
) -> Result<Proofs, Refusal> {
    let mut proofs = Proofs::new();
    for identifier in identifiers {
        let proof = match basis_for(grant, &rules.challenge_zones, identifier) {
            Basis::Granted => Proof::Granted,
            Basis::Challenged(zone) => Proof::Challenged(Box::new(validated(identifier, account, zone, validations, now)?.clone())),
            Basis::Nothing => {
                return Err(rejected(identifier, "is outside this account's enrolment grant and the policy's challenge zones"));
            }
        };
        rules.judge(identifier).map_err(|refusal| rejected(identifier, &refusal.to_string()))?;
        proofs.insert(identifier.clone(), proof);
    }
    Ok(proofs)
}

/// The validation on which an identifier rests that is challenged.
fn validated<'a>(
    identifier: &Identifier,
    account: &AccountId,
    zone: &ChallengeZone,
    validations: &'a [ValidationRecord],
    now: Timestamp,
) -> Result<&'a ValidationRecord, Refusal> {
    let methods = zone.methods_for(identifier);
    let counts = |record: &&ValidationRecord| {
        // The wildcard of a name is another identifier than the name.
        record.identifier == *identifier
            && record.account == *account
            && record.problem.is_none()
            && methods.contains(&record.method)
            && record.at <= now.plus(AHEAD)
            && now < record.valid_until
            && now.since(record.at) < LONGEST
            && (zone.caa.is_empty() || (record.caa.is_some() && now.since(record.at) < CAA_LONGEST))
    };
    validations.iter().find(counts).ok_or_else(|| {
        Refusal::new(
            ProblemType::Unauthorized,
            format!("`{identifier}` has no validation that counts under the policy (hint: order again)"),
        )
    })
}

fn rejected(identifier: &Identifier, why: &str) -> Refusal {
    Refusal::new(ProblemType::RejectedIdentifier, format!("`{identifier}` {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ChallengeMethod, Problem};
    use crate::policy::Policy;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix(1_800_000_000 + seconds)
    }

    fn rules(caa: &str) -> AuthorityPolicy {
        let key = "00".repeat(32);
        let text = format!(
            r#"
            version = 1
            [[authority]]
            name = "demo"
            key_sha256 = "{key}"
            names = ["dns:*.demo.test", "dns-wildcard:demo.test"]
            max_per_hour = 1
            crl_validity = 20
            crl_interval = 10
            [[authority.challenge]]
            names = ["dns:*.demo.test", "dns-wildcard:demo.test"]
            methods = ["dns-01"]
            {caa}
            "#
        );
        Policy::parse(&text).unwrap().authorities.remove(0)
    }

    fn grant(names: &[&str]) -> Grant {
        let value = serde_json::json!({
            "id": "grant-1", "version": 1, "service": "x", "authority": "demo", "profiles": ["client"], "names": names,
            "enrol_by": null, "valid_until": null, "max_accounts": null,
        });
        serde_json::from_value(value).unwrap()
    }

    fn account() -> AccountId {
        AccountId::from_evidence("account")
    }

    fn name(text: &str) -> Identifier {
        Identifier::from_text(text).unwrap()
    }

    fn record(identifier: &str) -> ValidationRecord {
        ValidationRecord {
            account: account(),
            authorization: "a".parse().unwrap(),
            identifier: name(identifier),
            method: ChallengeMethod::Dns01,
            attempt: 1,
            at: at(0),
            addresses: Vec::new(),
            answer_sha256: None,
            caa: None,
            attestation: None,
            problem: None,
            fault: None,
            valid_until: at(1000),
        }
    }

    #[test]
    fn only_a_validation_of_this_account_in_a_zone_by_its_method_counts() {
        let check = |change: &dyn Fn(&mut ValidationRecord), now: i64, caa: &str, proven: bool| {
            let mut said = record("a.demo.test");
            change(&mut said);
            let proofs = prove(&[name("a.demo.test")], &account(), &grant(&[]), &rules(caa), &[said], at(now));
            assert_eq!(proofs.is_ok(), proven, "{proofs:?}");
        };
        let caa = r#"caa = ["ca.test"]"#;
        check(&|_| {}, 1, "", true);
        check(&|r| r.account = AccountId::from_evidence("another"), 1, "", false);
        check(&|r| r.identifier = name("b.demo.test"), 1, "", false);
        check(&|r| r.identifier = name("*.demo.test"), 1, "", false);
        check(&|r| r.method = ChallengeMethod::Http01, 1, "", false);
        check(&|r| r.problem = Some(Problem::new(ProblemType::Dns, "x")), 1, "", false);
        check(&|_| {}, 1000, "", false);
        // Another machine's clock is a little ahead; one that is far ahead tells nothing.
        check(&|_| {}, -60, "", true);
        check(&|_| {}, -61, "", false);
        check(&|r| r.caa = Some("ca.test".into()), -1, caa, true);
        // The front end may not make it last for ever.
        check(&|r| r.valid_until = at(100 * 86_400), 31 * 86_400, "", false);
        // CAA: checked, and lately.
        check(&|_| {}, 1, caa, false);
        check(&|r| r.caa = Some("ca.test".into()), 1, caa, true);
        check(&|r| (r.caa, r.valid_until) = (Some("ca.test".into()), at(86_400)), 8 * 3600, caa, false);
    }

    #[test]
    fn outside_grant_and_zones_nothing_counts() {
        let said = [record("a.bank.example"), record("a.demo.test")];
        let refused = |names: &[&str], granted: &[&str]| {
            let names: Vec<_> = names.iter().map(|n| name(n)).collect();
            prove(&names, &account(), &grant(granted), &rules(""), &said, at(1)).unwrap_err().problem.kind
        };
        assert_eq!(refused(&["a.bank.example"], &[]), ProblemType::RejectedIdentifier);
        assert_eq!(refused(&["a.demo.test", "a.bank.example"], &[]), ProblemType::RejectedIdentifier);
        assert_eq!(refused(&["a.bank.example"], &["dns:*.bank.example"]), ProblemType::RejectedIdentifier);
        assert_eq!(refused(&["b.demo.test"], &[]), ProblemType::Unauthorized);
    }

    #[test]
    fn a12_a_device_in_a_zone_needs_the_grant_and_an_attestation() {
        let mut rules = rules("");
        rules.names.push("permanent-identifier:*".parse().unwrap());
        let device = Identifier::parse("permanent-identifier", "SN-1").unwrap();
        let mut said = record("a.demo.test");
        (said.identifier, said.method) = (device.clone(), ChallengeMethod::DeviceAttest01);
        let kind = |rules: &AuthorityPolicy, granted: &[&str], said: &[ValidationRecord]| {
            let proofs = prove(std::slice::from_ref(&device), &account(), &grant(granted), rules, said, at(1));
            proofs.map(|proofs| matches!(proofs[&device], Proof::Challenged(_))).map_err(|refusal| refusal.problem.kind)
        };
        let said = [said];
        // Without a zone the grant is enough, and nothing else is.
        assert_eq!(kind(&rules, &["permanent-identifier:SN-*"], &[]), Ok(false));
        assert_eq!(kind(&rules, &[], &said), Err(ProblemType::RejectedIdentifier));
        let zone = &mut rules.challenge_zones[0];
        zone.names.push("permanent-identifier:*".parse().unwrap());
        zone.methods.push(ChallengeMethod::DeviceAttest01);
        zone.attestation.tpm = ca_testkit::attestation::Maker::new("x").root_pem().try_into().unwrap();
        assert_eq!(kind(&rules, &["permanent-identifier:SN-*"], &said), Ok(true));
        assert_eq!(kind(&rules, &["permanent-identifier:SN-*"], &[]), Err(ProblemType::Unauthorized));
        assert_eq!(kind(&rules, &["permanent-identifier:SN-2"], &said), Err(ProblemType::RejectedIdentifier));
        assert_eq!(kind(&rules, &[], &said), Err(ProblemType::RejectedIdentifier));
    }

    proptest! {
        /// Whatever is granted and said to be validated: what is proven are exactly the names of the order.
        #[test]
        fn lesson_05_proofs_are_keyed_by_identifier(
            ordered in proptest::collection::btree_set(0usize..6, 1..6),
            granted in proptest::collection::btree_set(0usize..6, 0..6),
            validated in proptest::collection::vec(0usize..6, 0..12),
        ) {
            let names = ["a.demo.test", "b.demo.test", "*.demo.test", "c.demo.test", "d.demo.test", "e.demo.test"];
            let identifiers: Vec<_> = ordered.iter().map(|i| name(names[*i])).collect();
            let pattern = |i: &usize| names[*i].strip_prefix("*.").map_or_else(|| format!("dns:{}", names[*i]), |b| format!("dns-wildcard:{b}"));
            let patterns: Vec<_> = granted.iter().map(pattern).collect();
            let grant = grant(&patterns.iter().map(String::as_str).collect::<Vec<_>>());
            let records: Vec<_> = validated.iter().map(|i| record(names[*i])).collect();
            let proofs = prove(&identifiers, &account(), &grant, &rules(""), &records, at(1));
            let all_known = ordered.iter().all(|i| granted.contains(i) || validated.contains(i));
            prop_assert_eq!(proofs.is_ok(), all_known);
            if let Ok(proofs) = proofs {
                let mut expected = identifiers.clone();
                expected.sort();
                prop_assert_eq!(proofs.keys().cloned().collect::<Vec<_>>(), expected);
                for (identifier, proof) in &proofs {
                    match proof {
                        Proof::Granted => prop_assert!(grant.names.iter().any(|p| p.covers(identifier))),
                        Proof::Challenged(record) => prop_assert_eq!(&record.identifier, identifier),
                    }
                }
            }
        }
    }
}
