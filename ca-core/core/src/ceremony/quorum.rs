//! Counting people, not signatures (requirement 9; CVE-2020-6174 and CVE-2020-15093 counted one key's many).

use super::{CeremonyError, CeremonyKind, Roster};
use crate::evidence::sshsig::{self, SshSigError};

/// The most signatures over one document: every key of the largest roster.
pub const MOST_SIGNATURES: usize = 512;

/// One officer's verified signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approval {
    /// Whose.
    pub officer: String,
    /// Of which key, `SHA256:…`.
    pub fingerprint: String,
}

/// Verifies one signature over `message` and tells which officer made it.
///
/// # Errors
/// When it does not verify in the roster's namespace, or is by nobody on the roster.
pub fn signer(roster: &Roster, what: &'static str, message: &[u8], armored: &str) -> Result<Approval, CeremonyError> {
    let officers = roster.officers.iter().map(|o| (o.name.as_str(), o.keys.as_slice()));
    signer_among(officers, roster.kind, what, message, armored)
}

/// As [`signer`], among any people, each a name with keys.
///
/// # Errors
/// As [`signer`].
pub fn signer_among<'a>(
    people: impl IntoIterator<Item = (&'a str, &'a [String])>,
    kind: CeremonyKind,
    what: &'static str,
    message: &[u8],
    armored: &str,
) -> Result<Approval, CeremonyError> {
    let wrong = |source: SshSigError| CeremonyError::Signature { what, source };
    let claimed = sshsig::claimed_signer(armored).map_err(wrong)?.0;
    for (name, keys) in people {
        for key in keys {
            if sshsig::fingerprint(key).map_err(wrong)?.0 == claimed {
                let fingerprint = sshsig::verify(key, kind.namespace(), message, armored).map_err(wrong)?.0;
                return Ok(Approval { officer: name.to_owned(), fingerprint });
            }
        }
    }
    Err(CeremonyError::NotAnOfficer { what, fingerprint: claimed })
}

/// Verifies every signature and returns the names of the distinct people behind them, sorted; at least the
/// roster's threshold of them.
///
/// # Errors
/// When one signature is wrong, by nobody on the roster, or too few people signed.
pub fn quorum(roster: &Roster, what: &'static str, message: &[u8], signatures: &[String]) -> Result<Vec<String>, CeremonyError> {
    at_least(roster.threshold, roster, what, message, signatures)
}

/// As [`quorum`], with another number of people than the roster's threshold: for what one officer alone may do.
pub(super) fn at_least(
    needed: u32,
    roster: &Roster,
    what: &'static str,
    message: &[u8],
    signatures: &[String],
) -> Result<Vec<String>, CeremonyError> {
    if signatures.len() > MOST_SIGNATURES {
        return Err(CeremonyError::refused(what, format!("{} signatures; the most is {MOST_SIGNATURES}", signatures.len())));
    }
    let mut names = std::collections::BTreeSet::new();
    for armored in signatures {
        names.insert(signer(roster, what, message, armored)?.officer);
    }
    let names: Vec<String> = names.into_iter().collect();
    // Nobody is never enough, whatever a document says.
    if names.len() < usize::try_from(needed.max(1)).unwrap_or(usize::MAX) {
        return Err(CeremonyError::Quorum { what, needed, signed: names });
    }
    Ok(names)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::Officer;
    use super::*;
    use ssh_key::PrivateKey;
    use ssh_key::private::Ed25519Keypair;

    pub(crate) fn private(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    pub(crate) fn public(seed: u8) -> String {
        private(seed).public_key().to_openssh().unwrap()
    }

    /// ana holds two keys, bela and cora one each; two of three.
    pub(crate) fn roster() -> Roster {
        let officer = |name: &str, seeds: &[u8]| Officer { name: name.to_owned(), keys: seeds.iter().map(|s| public(*s)).collect() };
        let officers = vec![officer("ana", &[1, 2]), officer("bela", &[3]), officer("cora", &[4])];
        Roster { kind: CeremonyKind::Production, threshold: 2, officers }
    }

    pub(crate) fn signed(seeds: &[u8], namespace: &str, message: &[u8]) -> Vec<String> {
        seeds.iter().map(|s| sshsig::sign(&private(*s), namespace, message).unwrap()).collect()
    }

    #[track_caller]
    fn check(seeds: &[u8], expected: Result<&[&str], &str>) {
        let found = quorum(&roster(), "plan", b"bytes", &signed(seeds, "ceremony@countersign", b"bytes")).map_err(|e| e.to_string());
        match (found, expected) {
            (Ok(names), Ok(expected)) => assert_eq!(names, expected),
            (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
            (found, _) => panic!("{seeds:?}: {found:?}"),
        }
    }

    #[test]
    fn people_are_counted() {
        check(&[1, 3], Ok(&["ana", "bela"]));
        check(&[4, 3, 3], Ok(&["bela", "cora"]));
        check(&[1, 2], Err("1 of 2 officers signed the plan (so far: ana)"));
        check(&[1, 1, 1], Err("1 of 2 officers"));
        check(&[], Err("0 of 2 officers"));
        check(&[1, 3, 9], Err("a key of none of the officers"));
    }

    #[test]
    fn other_bytes_and_other_namespaces_do_not_count() {
        for (namespace, message) in [("rehearsal@countersign", b"bytes"), ("ceremony@countersign", b"Bytes")] {
            assert!(quorum(&roster(), "plan", b"bytes", &signed(&[1, 3], namespace, message)).is_err(), "{namespace}");
        }
    }

    #[test]
    fn rosters_that_are_no_dual_control_are_refused() {
        let check = |change: &dyn Fn(&mut Roster), part: &str| {
            let mut roster = roster();
            change(&mut roster);
            let text = Roster::parse(&roster.to_toml()).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        };
        assert_eq!(Roster::parse(&roster().to_toml()).unwrap(), roster());
        check(&|r| r.threshold = 0, "can't be met");
        check(&|r| r.threshold = 4, "can't be met");
        check(&|r| r.threshold = 1, "not dual control");
        check(&|r| r.officers[1].name = "ana".to_owned(), "stands twice");
        check(&|r| r.officers[1].name = "../x".to_owned(), "not an officer's name");
        check(&|r| r.officers[1].keys = vec![public(1)], "a key belongs to one person");
        check(&|r| r.officers[1].keys.clear(), "needs 1 to");
        check(&|r| r.officers[1].keys = vec!["ssh-rsa AAAA".to_owned()], "the public key is refused");
        assert!(Roster::parse(&format!("extra = 1\n{}", roster().to_toml())).is_err());
    }
}
