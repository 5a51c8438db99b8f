//! The plan of a first ceremony, as tests hold it: a root `bank-root`, an issuing authority `bank`, two of the officers.

use std::fmt::Write as _;

/// What differs between them.
pub struct FirstPlan<'a> {
    /// `production` or `rehearsal`.
    pub kind: &'a str,
    /// Where OCSP and CRLs are.
    pub status_base_url: &'a str,
    /// The tool's SHA-256.
    pub tool: String,
    /// The one bag, and the one medium, of the evidence.
    pub evidence: [&'a str; 2],
    /// The lines of `[environment]`.
    pub environment: &'a str,
    /// The tables of the devices.
    pub devices: String,
    /// The public keys of `dora`, the administrator, and of `wim`, the witness.
    pub others: [String; 2],
    /// The officers with their public keys.
    pub officers: Vec<(&'a str, Vec<String>)>,
    /// What the issuing authority's certificate permits.
    pub permitted: &'a [&'a str],
    /// The policy for `bank`: what is within a CRL's day, and the tables after that.
    pub policy: String,
}

/// A policy that lets `bank` issue client certificates of an hour.
pub const CLIENTS: &str = r#"max_per_hour = 10
crl_validity = 86400
crl_interval = 3600
profile.client = { shape = "client", lifetime = 3600 }
"#;

impl FirstPlan<'_> {
    /// Its text.
    pub fn text(&self) -> String {
        let officers = self.officers.iter().fold(String::new(), |mut text, (name, keys)| {
            let _ = write!(text, "[[roster.officer]]\nname = \"{name}\"\nkeys = {keys:?}\n");
            text
        });
        format!(
            r#"format = "countersign/plan/2"
kind = "{kind}"
title = "First ceremony"
status_base_url = "{status}"
approval_days = 30
tool = {{ sha256 = "{tool}" }}
cps = {{ url = "https://cps.bank.test/", version = "1.0" }}
evidence = {{ bags = ["{bag}"], media = ["{medium}"] }}

[environment]
{environment}

{devices}
[[person]]
name = "dora"
role = "administrator"
keys = ["{dora}"]

[[person]]
name = "wim"
role = "witness"
keys = ["{wim}"]

[[custodian]]
name = "ana"
holds = "the root key store"

[roster]
threshold = 2
{officers}
[root]
authority = "bank-root"
key = "bank-root-2026"
algorithm = "p384"
subject = {{ organization = "Bank", common_name = "{mark}Bank Root" }}
lifetime_days = 3650
crl_lifetime_days = 365
next_ceremony_days = 330

[[issuing]]
authority = "bank"
key = "bank-2026"
algorithm = "p256"
subject = {{ country = "DE", organization = "Bank", common_name = "{mark}Bank Issuing" }}
lifetime_days = 1825
permitted = {permitted:?}

[policy]
version = 1
[[policy.authority]]
name = "bank"
names = ["dns:*.bank.test"]
{policy}"#,
            kind = self.kind,
            status = self.status_base_url,
            tool = self.tool,
            bag = self.evidence[0],
            medium = self.evidence[1],
            environment = self.environment,
            devices = self.devices,
            dora = self.others[0],
            wim = self.others[1],
            mark = if self.kind == "rehearsal" { "REHEARSAL " } else { "" },
            permitted = self.permitted,
            policy = self.policy,
        )
    }
}
