//! A grant's own limits against the officers' policy (ACME requirement A18).

use super::AuthorityPolicy;
use crate::model::{Grant, GrantLimits};
use crate::pki::KeyAlgorithm;

/// Judges the limits of a grant whose profiles are on offer: each narrows what the policy allows, and leaves each profile
/// something to issue.
///
/// # Errors
/// Says which limit, and what the policy has.
pub(super) fn check_limits(rules: &AuthorityPolicy, grant: &Grant) -> Result<(), String> {
    let GrantLimits { from, max_certificates, keys, max_lifetime } = &grant.limits;
    if from.len() > GrantLimits::MAX_NETWORKS {
        return Err(format!("a grant has at most {} source networks", GrantLimits::MAX_NETWORKS));
    }
    if let Some(cap) = max_certificates {
        let most = cap.at_most(rules.max_per_hour);
        if u64::from(cap.certificates()) > most {
            return Err(format!(
                "{cap} certificates are more than authority `{}` may issue: the policy allows it {} an hour (hint: at most {most} in that time)",
                rules.name, rules.max_per_hour
            ));
        }
    }
    if keys.len() > KeyAlgorithm::ALL.len() || keys.iter().enumerate().any(|(i, k)| keys[..i].contains(k)) {
        return Err("a grant names each kind of key once".to_owned());
    }
    let profiles = || grant.profiles.iter().filter_map(|name| Some((name, rules.profiles.get(name)?)));
    for key in keys {
        if !profiles().any(|(_, profile)| profile.takes_key(*key)) {
            return Err(format!(
                "none of the grant's profiles certifies keys of the kind {key} (hint: leave it out, or have officers name it)"
            ));
        }
    }
    for (name, profile) in profiles() {
        if !keys.is_empty() && !keys.iter().any(|key| profile.takes_key(*key)) {
            return Err(format!("profile `{name}`: of the grant's kinds of keys it certifies none"));
        }
        let (shortest, _, _) = profile.lifetimes();
        if max_lifetime.is_some_and(|most| most < shortest.as_secs().max(1)) {
            return Err(format!("profile `{name}`: its certificates live {} seconds or longer", shortest.as_secs().max(1)));
        }
    }
    let longest = profiles().map(|(_, profile)| profile.lifetimes().2.as_secs()).max();
    match (max_lifetime, longest) {
        (Some(asked), Some(longest)) if *asked > longest => Err(format!(
            "a lifetime of {asked} seconds is outside the policy: the grant's profiles allow at most {longest} (hint: leave it out for that)"
        )),
        _ => Ok(()),
    }
}
