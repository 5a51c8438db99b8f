//! Which CA this is: the root above an authority whose key the policy names.

use std::collections::BTreeSet;

use crate::model::{Authority, AuthorityName};
use crate::pki::{Certificate, Sha256Digest, sha256};
use crate::policy::Policy;

/// The CA's identity, as statements name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaIdentity {
    /// The root's name here.
    pub name: AuthorityName,
    /// SHA-256 of the root's certificate: that of the default authority, or else of the policy's first one.
    pub sha256: Sha256Digest,
    /// Every root above an authority of the policy; after a change of the root the old one still counts for what was
    /// approved under it, as long as the policy names an authority below it.
    pub roots: BTreeSet<Sha256Digest>,
}

/// The longest chain from an authority to its root.
const LONGEST_CHAIN: usize = 8;

impl CaIdentity {
    /// From the authorities' rows, of which only what the signed policy proves is believed: the policy names an
    /// authority's key, and the root's signature is on that authority's certificate. None: the policy names no
    /// authority whose chain is here.
    pub fn of(authorities: &[Authority], policy: &Policy) -> Option<Self> {
        let found = roots(authorities, policy);
        let first = found.first()?;
        let digest = |root: &&Authority| sha256(&root.certificate);
        Some(Self { name: first.name.clone(), sha256: digest(first), roots: found.iter().map(digest).collect() })
    }
}

/// The roots above the authorities of the policy, each once; the first is that of the first authority in the rows' order.
///
/// A row alone is no root: the policy names the key below it, and every signature from there up to the root was verified.
/// What this does not show is that a root is the one from the ceremony: any key can sign a certificate over a public key.
/// The digests of imported certificates are in the audit trail.
pub fn roots<'a>(authorities: &'a [Authority], policy: &Policy) -> Vec<&'a Authority> {
    let mut found: Vec<&Authority> = Vec::new();
    for root in authorities.iter().filter_map(|authority| root_of(authority, authorities, policy)) {
        if !found.iter().any(|known| known.certificate == root.certificate) {
            found.push(root);
        }
    }
    found
}

fn root_of<'a>(authority: &'a Authority, authorities: &'a [Authority], policy: &Policy) -> Option<&'a Authority> {
    let named = policy.authority(&authority.name)?;
    let (mut at, mut certificate) = (authority, Certificate::from_der(&authority.certificate).ok()?);
    if named.key_sha256 != certificate.public_key().spki_sha256() {
        return None;
    }
    for _ in 0..LONGEST_CHAIN {
        let Some(issuer) = &at.issuer else {
            certificate.is_signed_by(&certificate).ok()?;
            return Some(at);
        };
        let above = authorities.iter().find(|a| a.name == *issuer)?;
        let issuer = Certificate::from_der(&above.certificate).ok()?;
        certificate.is_signed_by(&issuer).ok()?;
        (at, certificate) = (above, issuer);
    }
    None
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::model::AuthorityKind;
    use crate::pki::Timestamp;

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn row(name: &str, issuer: Option<&str>, certificate: Vec<u8>) -> Authority {
        Authority {
            name: name.parse().unwrap(),
            kind: if issuer.is_none() { AuthorityKind::Root } else { AuthorityKind::Issuing },
            certificate,
            issuer: issuer.map(|name| name.parse().unwrap()),
            key: None,
            is_default: false,
            imported_at: Timestamp::from_unix(0),
        }
    }

    #[test]
    fn a_row_is_a_root_only_above_an_authority_of_the_policy() {
        let [root_key, issuing_key, mallory_key] = [(); 3].map(|()| KeyPair::generate().unwrap());
        let own = |name: &str, key: &KeyPair| params(name).self_signed(key).unwrap().der().to_vec();
        let below = |name: &str, key: &KeyPair, issuer: &str, issuer_key: &KeyPair| {
            params(name).signed_by(key, &Issuer::from_params(&params(issuer), issuer_key)).unwrap().der().to_vec()
        };
        let root = row("root", None, own("Root", &root_key));
        let bank = row("bank", Some("root"), below("Bank", &issuing_key, "Root", &root_key));
        let key = Certificate::from_der(&bank.certificate).unwrap().public_key().spki_sha256();
        let policy = |names: &[&str]| {
            let mut text = "version = 1\n".to_owned();
            for (i, name) in names.iter().enumerate() {
                let key = if i == 0 { key } else { sha256(name.as_bytes()) };
                text += &format!(
                    "[[authority]]\nname = \"{name}\"\nkey_sha256 = \"{key}\"\nnames = []\nmax_per_hour = 1\ncrl_validity = 20\ncrl_interval = 10\n"
                );
            }
            Policy::parse(&text).unwrap()
        };
        let check = |rows: &[&Authority], policy: &Policy, expected: &[&str]| {
            let rows: Vec<Authority> = rows.iter().copied().cloned().collect();
            let found: Vec<_> = roots(&rows, policy).iter().map(|a| a.name.to_string()).collect();
            assert_eq!(found, expected);
            assert_eq!(CaIdentity::of(&rows, policy).map(|ca| ca.roots.len()), (!expected.is_empty()).then_some(expected.len()));
        };
        let mallory = row("mallory", None, own("Mallory Root", &mallory_key));
        check(&[&mallory, &root, &bank], &policy(&["bank"]), &["root"]);
        // Not with a name that the policy has either: it names the key.
        check(&[&mallory, &root, &bank], &policy(&["bank", "mallory"]), &["root"]);
        // Nor as the issuer of one that another root signed.
        let moved = row("bank", Some("mallory"), bank.certificate.clone());
        check(&[&mallory, &root, &moved], &policy(&["bank"]), &[]);
        // Each once, whatever its distance.
        let lower = row("lower", Some("bank"), below("Lower", &issuing_key, "Bank", &issuing_key));
        check(&[&lower, &bank, &root], &policy(&["lower"]), &["root"]);
        let circle = row("bank", Some("lower"), below("Bank", &issuing_key, "Lower", &issuing_key));
        check(&[&lower, &circle, &root], &policy(&["lower"]), &[]);
    }
}
