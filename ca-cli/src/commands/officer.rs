//! `ca officer …`

use std::path::PathBuf;

use ca_core::ceremony::{Officer, Roster};
use ca_core::evidence::sshsig;
use ca_core::lifecycle::ProposalRequest;
use serde_json::json;

use super::proposal::{officers, propose};
use crate::cli::{OfficerCommand, Proposing};
use crate::config::Config;
use crate::exit::{Exit, configuration, failure};
use crate::render::{print, print_json, table};

pub(crate) async fn officer(config: &Config, command: OfficerCommand) -> anyhow::Result<()> {
    match command {
        OfficerCommand::List { output } => {
            let report = officers(config).await?;
            let roster = &report.roster;
            let fingerprint = |key: &String| sshsig::fingerprint(key).map_or_else(|e| e.to_string(), |f| f.0);
            if output.json {
                let people: Vec<_> = roster
                    .officers
                    .iter()
                    .map(|o| json!({ "name": o.name, "keys": o.keys, "fingerprints": o.keys.iter().map(fingerprint).collect::<Vec<_>>() }))
                    .collect();
                return print_json(&json!({
                    "kind": roster.kind, "threshold": roster.threshold, "officers": people, "number": report.number,
                    "sha256": report.digest, "head": report.head, "genesis_sha256": report.genesis,
                    "changes": report.changes,
                }));
            }
            let rows: Vec<[String; 2]> =
                roster.officers.iter().flat_map(|o| o.keys.iter().map(|key| [o.name.clone(), fingerprint(key)])).collect();
            print(&format!(
                "{} of {} must sign ({} roster, after {} changes; SHA-256 {})\n\n{}",
                roster.threshold,
                roster.officers.len(),
                roster.kind,
                report.number,
                report.digest,
                table(["OFFICER", "KEY"], &rows)
            ))
        }
        OfficerCommand::Import { file } => super::import::import_roster(config, &file).await,
        OfficerCommand::Enrol { name, keys, proposing } => {
            let keys = keys.iter().map(read_key).collect::<anyhow::Result<_>>()?;
            change(config, proposing, |roster| {
                if roster.officers.iter().any(|o| o.name == name) {
                    return Err(format!("`{name}` is an officer already (hint: `ca officer replace-key`)"));
                }
                roster.officers.push(Officer { name, keys });
                Ok(())
            })
            .await
        }
        OfficerCommand::Remove { name, proposing } => {
            change(config, proposing, |roster| {
                let before = roster.officers.len();
                roster.officers.retain(|o| o.name != name);
                if roster.officers.len() == before { Err(stranger(&name)) } else { Ok(()) }
            })
            .await
        }
        OfficerCommand::ReplaceKey { name, keys, proposing } => {
            let keys = keys.iter().map(read_key).collect::<anyhow::Result<_>>()?;
            change(config, proposing, |roster| {
                let officer = roster.officers.iter_mut().find(|o| o.name == name).ok_or_else(|| stranger(&name))?;
                officer.keys = keys;
                Ok(())
            })
            .await
        }
        OfficerCommand::Threshold { threshold, proposing } => {
            change(config, proposing, |roster| {
                roster.threshold = threshold;
                Ok(())
            })
            .await
        }
    }
}

fn stranger(name: &str) -> String {
    format!("`{name}` is not an officer (hint: `ca officer list`)")
}

/// Proposes the standing roster with a change. It is checked here for a quick answer, and by the worker.
async fn change(config: &Config, proposing: Proposing, change: impl FnOnce(&mut Roster) -> Result<(), String>) -> anyhow::Result<()> {
    let mut roster = officers(config).await?.roster;
    change(&mut roster).map_err(|reason| failure(Exit::Failed, reason))?;
    roster.check().map_err(|e| failure(Exit::Failed, e.to_string()))?;
    propose(config, ProposalRequest::ChangeRoster { roster }, proposing).await
}

/// The public key in a file, without its comment: that is not part of the key.
fn read_key(path: &PathBuf) -> anyhow::Result<String> {
    use std::io::Read as _;
    let wrong = |e: std::io::Error| configuration(format!("cannot read the public key {}: {e}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path).map_err(wrong)?.take(sshsig::MAX_PUBLIC_KEY as u64).read_to_string(&mut text).map_err(wrong)?;
    let bare = text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    sshsig::fingerprint(&bare).map_err(|e| failure(Exit::Failed, format!("{}: {e}", path.display())))?;
    Ok(bare)
}
