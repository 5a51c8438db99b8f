//! `ca approve …`

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ca_core::lifecycle::ProposalView;
use ca_core::model::{ProposalId, ProposalState};
use ca_core::ports::Clock as _;
use serde_json::json;

use super::confirm;
use super::proposal::{details, is_intact, officers, one, state, title, to_json};
use crate::cli::{ApproveCommand, Output};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, configuration, failure};
use crate::render::{print, print_json, relative, table};
use crate::system::{SystemClock, SystemRng};

/// The most bytes of a signature's file.
const MAX_SIGNATURE: u64 = 16 * 1024;

pub(crate) async fn approve(config: &Config, command: ApproveCommand) -> anyhow::Result<()> {
    match command {
        ApproveCommand::List { pending, limit, output } => list(config, pending, limit, output).await,
        ApproveCommand::Show { id, statement, subject, output } => {
            let view = one(config, &id).await?;
            if statement {
                return print(&view.proposal.statement);
            }
            if subject {
                return print(&view.proposal.subject);
            }
            if output.json {
                let mut value = to_json(&view);
                value["statement"] = view.proposal.statement.clone().into();
                value["subject"] = view.proposal.subject.clone().into();
                return print_json(&value);
            }
            print(&details(config, &view).await?)
        }
        ApproveCommand::Sign { id, key, submit, dir, output } => sign(config, &id, key.as_deref(), submit, &dir, output).await,
        ApproveCommand::Submit { id, signatures, output } => {
            let signatures = signatures.iter().map(read_signature).collect::<anyhow::Result<_>>()?;
            hand_in(config, &id, signatures, output).await
        }
        ApproveCommand::Withdraw { id, yes, output } => {
            let view = one(config, &id).await?;
            confirm(&format!("Proposal {id} ({}) will be withdrawn", title(&view)), yes)?;
            match ask(&config.control.socket, &ControlRequest::Withdraw { id: id.clone() }).await? {
                ControlAnswer::Withdrawn if output.json => print_json(&json!({ "id": id, "state": ProposalState::Ended })),
                ControlAnswer::Withdrawn => print(&format!("Withdrew proposal {id}.\n")),
                _ => Err(unexpected()),
            }
        }
    }
}

async fn list(config: &Config, pending: bool, limit: u32, output: Output) -> anyhow::Result<()> {
    let ControlAnswer::Proposals { mut proposals } = ask(&config.control.socket, &ControlRequest::Proposals { limit }).await? else {
        return Err(unexpected());
    };
    if pending {
        proposals.retain(|view| view.proposal.state == ProposalState::Pending && view.void.is_none());
    }
    if output.json {
        return print_json(&proposals.iter().map(to_json).collect::<Vec<_>>());
    }
    let now = SystemClock.now();
    let rows: Vec<[String; 5]> = proposals
        .iter()
        .map(|view| {
            let ends = match view.proposal.state {
                ProposalState::Pending => relative(view.proposal.expires_at, now),
                ProposalState::Begun | ProposalState::Done | ProposalState::Ended => String::new(),
            };
            [view.proposal.id.to_string(), state(view), view.signed_by.join(","), ends, title(view)]
        })
        .collect();
    print(&table(["PROPOSAL", "STATE", "SIGNED BY", "ENDS", "ACT"], &rows))
}

async fn sign(config: &Config, id: &ProposalId, key: Option<&Path>, submit: bool, dir: &Path, output: Output) -> anyhow::Result<()> {
    let view = one(config, id).await?;
    if let Some(why) = &view.void {
        return Err(failure(Exit::Refused, why.clone()));
    }
    if view.proposal.state != ProposalState::Pending {
        return Err(failure(Exit::Refused, format!("proposal {id} is {}; there is nothing to sign", state(&view))));
    }
    if !is_intact(&view) {
        return Err(failure(
            Exit::Refused,
            format!("proposal {id} is not what was proposed: the database was changed (hint: `ca approve show {id}`; propose it again)"),
        ));
    }
    let namespace = officers(config).await?.roster.kind.namespace();
    let Some(key) = key else {
        let file = dir.join(format!("{id}.statement"));
        write(&file, view.proposal.statement.as_bytes())?;
        let shown = file.display();
        if output.json {
            return print_json(&json!({ "id": id, "statement": file, "namespace": namespace }));
        }
        return print(&format!(
            "{}\nThe statement is in {shown}. Sign it where your key is:\n\n  ssh-keygen -Y sign -n {namespace} -f KEY {shown}\n\nThen hand {shown}.sig in, here or on any machine that reaches the instance:\n\n  ca approve submit {id} {shown}.sig\n",
            details(config, &view).await?
        ));
    };
    if !output.json {
        print(&format!("{}\n", details(config, &view).await?))?;
    }
    let signature = crate::operator::sign_text(key, namespace, &view.proposal.statement, &SystemRng)?;
    if submit {
        return hand_in(config, id, vec![signature], output).await;
    }
    let name = key.file_stem().map_or_else(|| "key".to_owned(), |n| n.to_string_lossy().into_owned());
    let file = dir.join(format!("{id}.{name}.sig"));
    write(&file, signature.as_bytes())?;
    if output.json {
        return print_json(&json!({ "id": id, "signature": file }));
    }
    print(&format!("Signed into {0}. Hand it in: ca approve submit {id} {0}\n", file.display()))
}

async fn hand_in(config: &Config, id: &ProposalId, signatures: Vec<String>, output: Output) -> anyhow::Result<()> {
    let ControlAnswer::Proposals { mut proposals } =
        ask(&config.control.socket, &ControlRequest::Approve { id: id.clone(), signatures }).await?
    else {
        return Err(unexpected());
    };
    let view: ProposalView = proposals.pop().ok_or_else(unexpected)?;
    if output.json {
        return print_json(&to_json(&view));
    }
    let by = view.signed_by.join(", ");
    print(&match view.proposal.state {
        ProposalState::Pending => {
            let (signed, needed) = (view.signed_by.len(), view.needed as usize);
            match needed.saturating_sub(signed) {
                0 => format!("Signed by {by}: enough. Another act is under way; this one is done when that has ended.\n"),
                missing => format!("Signed by {by}: {signed} of {needed}. {missing} more must sign before anything happens.\n"),
            }
        }
        ProposalState::Begun => format!("Signed by {by}. It is under way: `ca approve show {id}` tells how far.\n"),
        ProposalState::Done => format!("Signed by {by}. Done: {}.\n", title(&view)),
        ProposalState::Ended => format!("Proposal {id} ended: {}\n", view.proposal.reason.clone().unwrap_or_default()),
    })
}

fn read_signature(path: &PathBuf) -> anyhow::Result<String> {
    let wrong = |e: std::io::Error| configuration(format!("cannot read the signature {}: {e}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path).map_err(wrong)?.take(MAX_SIGNATURE).read_to_string(&mut text).map_err(wrong)?;
    Ok(text)
}

/// Writes a file that is not there yet; the same content again is fine.
fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let wrong = |e: std::io::Error| configuration(format!("cannot write {}: {e} (hint: --dir names another folder)", path.display()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map_err(wrong)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(wrong)
}
