//! A policy of one authority, `demo`, as tests hold it.

use ca_core::pki::Sha256Digest;
use ca_core::policy::Policy;

/// The policy that lets `demo`, with this key, issue for these names, at most twenty certificates an hour; with these further
/// lines and tables of the authority.
pub fn demo(key_sha256: Sha256Digest, names: &[&str], parts: &str) -> Policy {
    let text = format!(
        r#"
        version = 1
        [[authority]]
        name = "demo"
        key_sha256 = "{key_sha256}"
        names = {names:?}
        max_per_hour = 20
        crl_validity = 86400
        crl_interval = 3600
        {parts}
        "#
    );
    Policy::parse(&text).unwrap()
}
