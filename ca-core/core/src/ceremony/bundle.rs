//! A policy with the officers' approval: what the worker stores and verifies before it trusts a policy.

use serde::{Deserialize, Serialize};

use super::{CeremonyError, Operation, Roster, Statement, quorum};
use crate::pki::sha256;
use crate::policy::Policy;

/// A policy document, the statement over it, and the signatures. Its JSON form is kept by the worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyBundle {
    /// The policy, TOML, verbatim.
    pub policy: String,
    /// The statement, verbatim.
    pub statement: String,
    /// Armoured SSHSIG signatures over the statement.
    pub signatures: Vec<String>,
}

impl PolicyBundle {
    /// The most bytes of its JSON form.
    pub const MAX_BYTES: usize = 1 << 22;

    /// Verifies it from bytes to meaning: the statement approves exactly this policy, and at least the roster's
    /// threshold of distinct people signed it. Returns the policy and their names.
    ///
    /// Whether the version grows is the caller's question: only the caller knows the version before.
    ///
    /// # Errors
    /// When any of that does not hold.
    pub fn verify(&self, roster: &Roster) -> Result<(Policy, Vec<String>), CeremonyError> {
        roster.check()?;
        let statement = Statement::parse(self.statement.as_bytes())?;
        let Operation::ApprovePolicy { version, policy_sha256 } = &statement.operation else {
            return Err(CeremonyError::refused("policy bundle", "its statement approves something else than a policy"));
        };
        if *policy_sha256 != sha256(self.policy.as_bytes()) || statement.policy_sha256 != *policy_sha256 {
            return Err(CeremonyError::refused("policy bundle", "the policy is not the one that the officers signed"));
        }
        let policy = Policy::parse(&self.policy)?;
        if policy.version != *version || statement.policy_version != *version {
            return Err(CeremonyError::refused("policy bundle", "the statement names another version than the policy's"));
        }
        let names = quorum(roster, "policy", self.statement.as_bytes(), &self.signatures)?;
        Ok((policy, names))
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// When it is too large or does not parse.
    pub fn from_json(text: &str) -> Result<Self, CeremonyError> {
        let syntax = |reason: String| CeremonyError::Syntax { what: "policy bundle", reason };
        if text.len() > Self::MAX_BYTES {
            return Err(syntax(format!("it has {} bytes; the most is {}", text.len(), Self::MAX_BYTES)));
        }
        serde_json::from_str(text).map_err(|e| syntax(e.to_string()))
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings have a JSON form")
    }
}

#[cfg(test)]
mod tests {
    use super::super::quorum::tests::{roster, signed};
    use super::*;
    use crate::pki::Timestamp;

    fn bundle(seeds: &[u8]) -> PolicyBundle {
        let policy = "version = 3\n".to_owned();
        let policy_sha256 = sha256(policy.as_bytes());
        let statement = Statement {
            format: Statement::FORMAT.to_owned(),
            operation: Operation::ApprovePolicy { version: 3, policy_sha256 },
            authority: "root".parse().unwrap(),
            plan_sha256: sha256(b"plan"),
            policy_version: 3,
            policy_sha256,
            nonce: "00".repeat(16),
            issued_at: Timestamp::from_unix(0),
            expires_at: Timestamp::from_unix(10),
        };
        let statement = String::from_utf8(statement.to_bytes()).unwrap();
        let signatures = signed(seeds, "ceremony@countersign", statement.as_bytes());
        PolicyBundle { policy, statement, signatures }
    }

    #[test]
    fn a_policy_counts_with_the_quorum_over_exactly_it() {
        let good = bundle(&[1, 4]);
        let (policy, names) = PolicyBundle::from_json(&good.to_json()).unwrap().verify(&roster()).unwrap();
        assert_eq!((policy.version, names), (3, vec!["ana".to_owned(), "cora".to_owned()]));

        assert!(bundle(&[1, 2]).verify(&roster()).unwrap_err().to_string().contains("1 of 2 officers"));
        let mut edited = good.clone();
        edited.policy.push('\n');
        assert!(edited.verify(&roster()).unwrap_err().to_string().contains("not the one that the officers signed"));
        let mut edited = good.clone();
        edited.statement = edited.statement.replace("\"version\": 3", "\"version\": 4");
        assert!(edited.verify(&roster()).is_err());
        let mut edited = good;
        edited.statement.push(' ');
        assert!(edited.verify(&roster()).unwrap_err().to_string().contains("canonical"));
    }

    #[test]
    fn a_statement_has_its_time() {
        let statement = Statement::parse(bundle(&[]).statement.as_bytes()).unwrap();
        assert!(statement.check_time(Timestamp::from_unix(9)).is_ok());
        assert!(statement.check_time(Timestamp::from_unix(10)).is_err());
        assert!(statement.check_time(Timestamp::from_unix(-301)).is_err());
    }
}
