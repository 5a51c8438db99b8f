//! CAA (RFC 8659): asked after a proof, where the policy wants it. Without an answer nothing is allowed.

use ca_core::model::{LeasedValidation, ProblemType};
use ca_core::pki::{DnsName, Identifier};
use ca_core::validation::{CaaRequest, climb, evaluate_caa};

use super::{Failed, Validators, problem};

/// Tells which of the CA's names the records allow, or that there are none.
pub(super) async fn check(
    validators: &Validators,
    job: &LeasedValidation,
    identities: &[DnsName],
    account_url: &str,
) -> Result<String, Failed> {
    let Identifier::Dns(name) = &job.identifier else {
        // RFC 8738 §7: there is no CAA for addresses; nor for devices.
        return Ok("it is no domain name: it has no CAA records".to_owned());
    };
    for place in climb(name) {
        let records = validators.resolver.caa(place).await?;
        if records.is_empty() {
            continue;
        }
        let request = CaaRequest { name, identities, method: job.method, account: account_url };
        return match evaluate_caa(&records, &request) {
            Ok(Some(identity)) => Ok(format!("`{}` at `{place}`", identity.as_str())),
            Ok(None) => Ok(format!("nothing at `{place}` restricts it")),
            Err(error) => Err(problem(ProblemType::Caa, format!("`{place}`: {error}")).into()),
        };
    }
    Ok("there are no records".to_owned())
}
