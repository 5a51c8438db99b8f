//! Keys that may be certified (BR 6.1.1.3 and 6.1.6): rules over a key's numbers, each a small unit of bounded time.
//!
//! What a key's numbers cannot tell is beside them: [`check_fresh`] compares keys with each other, [`BlockedKeys`] knows
//! published private keys, and [`crate::lifecycle`] asks the record for keys that are blocked or otherwise in use.

mod blocked;
mod close_primes;
mod fresh;
mod ml_dsa;
mod points;
mod powers;
mod residues;
mod roca;
mod rsa;

pub use blocked::{BlockedKeys, BlockedKeysError};
pub use fresh::{check_fresh, is_same_key};

use crate::pki::spki::{KeyMaterial, key_material};
use crate::pki::{KeyAlgorithm, KeyError, PublicKey};
use residues::Residues;

/// A key's numbers, with what several rules want to know of them.
struct Numbers<'a> {
    material: KeyMaterial<'a>,
    /// Of an RSA modulus.
    residues: Option<Residues>,
}

/// What a rule says of a key; none: it is about another kind of key.
type Verdict = Option<Result<(), &'static str>>;

/// A rule that every key of some kind keeps.
pub struct KeyRule {
    /// Its name in reports.
    pub name: &'static str,
    /// Where it comes from.
    pub clause: &'static str,
    judge: fn(&Numbers<'_>) -> Verdict,
}

/// The rules, in the order in which a key is judged. That its kind and size are on offer comes before all of them.
pub static KEY_RULES: [KeyRule; 10] = [
    KeyRule { name: "ec-point-on-curve", clause: "BR 6.1.6; SP 800-56A §5.6.2.3.3", judge: points::on_curve },
    KeyRule { name: "ed25519-point", clause: "RFC 8032 §5.1.3", judge: points::ed25519_valid },
    KeyRule { name: "ed25519-small-order", clause: "RFC 8032 §5.1.7; RFC 7748 §6.1", judge: points::ed25519_order },
    KeyRule { name: "ml-dsa-t1", clause: "FIPS 204 §7.2", judge: ml_dsa::t1_not_zero },
    KeyRule { name: "rsa-exponent", clause: "BR 6.1.6; SP 800-56B §6.4.1", judge: rsa::exponent },
    KeyRule { name: "rsa-odd-modulus", clause: "BR 6.1.6", judge: rsa::odd },
    KeyRule { name: "rsa-small-factor", clause: "BR 6.1.6; SP 800-89 §5.3.3", judge: rsa::small_factor },
    KeyRule { name: "rsa-power", clause: "BR 6.1.6", judge: powers::perfect_power },
    KeyRule { name: "rsa-roca", clause: "BR 6.1.1.3; CVE-2017-15361", judge: roca::fingerprint },
    KeyRule { name: "rsa-close-primes", clause: "BR 6.1.1.3", judge: close_primes::fermat },
];

/// What the rules say of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyReport {
    /// Its kind.
    pub algorithm: KeyAlgorithm,
    /// Name, clause and verdict of each rule that is about such keys.
    pub verdicts: Vec<(&'static str, &'static str, Result<(), &'static str>)>,
}

/// Judges a key by every rule.
///
/// # Errors
/// When the key is malformed or of a kind or size that is not handled.
pub fn judge_key(key: &PublicKey) -> Result<KeyReport, KeyError> {
    let numbers = numbers(key)?;
    let verdicts = KEY_RULES.iter().filter_map(|rule| Some((rule.name, rule.clause, (rule.judge)(&numbers)?))).collect();
    Ok(KeyReport { algorithm: numbers.material.algorithm(), verdicts })
}

/// Judges a key by every rule, up to the first that it breaks.
///
/// # Errors
/// When the key is malformed, of a kind or size that is not handled, or weak.
pub fn check_key(key: &PublicKey) -> Result<KeyAlgorithm, KeyError> {
    let numbers = numbers(key)?;
    match KEY_RULES.iter().find_map(|rule| (rule.judge)(&numbers)?.err()) {
        Some(why) => Err(KeyError::Weak(why)),
        None => Ok(numbers.material.algorithm()),
    }
}

fn numbers(key: &PublicKey) -> Result<Numbers<'_>, KeyError> {
    let material = key_material(key)?;
    let residues = match material {
        KeyMaterial::Rsa(modulus, _, _) => Some(Residues::of(modulus)),
        _ => None,
    };
    Ok(Numbers { material, residues })
}
