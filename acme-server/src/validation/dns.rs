//! dns-01 (RFC 8555 §8.4).

use ca_core::model::{LeasedValidation, ProblemType};
use ca_core::validation::{dns_name, dns_value};

use super::{Failed, Trace, Validators, problem};

pub(super) async fn validate(validators: &Validators, job: &LeasedValidation, expected: &str, trace: &mut Trace) -> Result<(), Failed> {
    let name = dns_name(&job.identifier)
        .ok_or_else(|| problem(ProblemType::RejectedIdentifier, "an address cannot be proven by dns-01 (RFC 8738 §7)"))?;
    let value = dns_value(expected);
    // Several values stand there while several challenges are open: one of them counts.
    let texts = validators.resolver.texts(&name).await?;
    let Some(matching) = texts.iter().find(|text| text.as_slice() == value.as_bytes()) else {
        let detail = format!("none of the {} TXT records of `{name}` is that of this challenge and this account", texts.len());
        return Err(problem(ProblemType::IncorrectResponse, detail).into());
    };
    trace.answered(matching);
    Ok(())
}
