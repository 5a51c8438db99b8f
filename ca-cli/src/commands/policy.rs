//! `ca policy …`

use std::path::Path;

use ca_core::lifecycle::ProposalRequest;
use ca_core::policy::{Policy, policy_changes};
use serde_json::json;

use super::grant_signers;
use super::proposal::{policy_difference, propose};
use crate::cli::PolicyCommand;
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest, PolicyReport};
use crate::exit::{Exit, configuration, failure};
use crate::render::{print, print_json};

pub(crate) async fn policy(config: &Config, command: PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Show { output } => {
            let report = in_force(config).await?;
            if output.json {
                return print_json(&json!({
                    "version": report.version, "sha256": report.sha256, "officers": report.officers, "policy": report.bundle.policy,
                    "statement": report.bundle.statement, "signatures": report.bundle.signatures,
                }));
            }
            // A comment, so that the output is a policy to begin from.
            print(&format!("# In force. SHA-256 {}, approved by {}.\n{}", report.sha256, report.officers.join(", "), report.bundle.policy))
        }
        PolicyCommand::Diff { policy, output } => {
            let before = in_force(config).await?;
            let texts = (before.bundle.policy, read(&policy)?);
            let (before, after) = (parse(&texts.0)?, parse(&texts.1)?);
            let orphans = grant_signers::orphans(config, &before, &after).await?;
            if output.json {
                let changes = policy_changes(&before, &after);
                let changes: Vec<_> = changes.iter().map(|c| json!({ "place": c.place, "value": c.value, "added": c.added })).collect();
                return print_json(
                    &json!({ "from": before.version, "to": after.version, "changes": changes, "grants_without_signer": orphans.to_json() }),
                );
            }
            let newer = if after.version > before.version {
                String::new()
            } else {
                format!("Version {} is in force: raise the version before you propose it.\n", before.version)
            };
            print(&format!("{}{newer}{}", policy_difference(&texts.0, &texts.1)?, orphans.told()))
        }
        PolicyCommand::Import { file } => super::import::import_policy(config, &file).await,
        PolicyCommand::Propose { policy, proposing } => {
            let text = read(&policy)?;
            let after = parse(&text)?;
            let before = parse(&in_force(config).await?.bundle.policy)?;
            eprint!("{}", grant_signers::orphans(config, &before, &after).await?.told());
            propose(config, ProposalRequest::PutPolicy { policy: text }, proposing).await
        }
    }
}

/// The policy in force.
pub(super) async fn in_force(config: &Config) -> anyhow::Result<PolicyReport> {
    match ask(&config.control.socket, &ControlRequest::Policy).await? {
        ControlAnswer::Policy(report) => Ok(*report),
        _ => Err(unexpected()),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    use std::io::Read as _;
    let wrong = |e: std::io::Error| configuration(format!("cannot read the policy {}: {e}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path).map_err(wrong)?.take(Policy::MAX_BYTES as u64 + 1).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}

fn parse(text: &str) -> anyhow::Result<Policy> {
    Policy::parse(text).map_err(|e| failure(Exit::Failed, e.to_string()))
}
