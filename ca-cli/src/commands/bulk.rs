//! `ca cert revoke-bulk`, `ca stop` and `ca resume`: what one operator may do up to a point, and officers above it.

use std::path::Path;

use ca_core::ceremony::MAX_BULK;
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::{OperatorReply, ProposalRequest};
use ca_core::model::{BulkChoice, CertificateFilter};
use ca_core::pki::SerialNumber;
use ca_core::ports::Clock as _;
use serde_json::json;

use super::proposal::propose;
use super::{authority_or_default, confirm, submit};
use crate::cli::{Choosing, Proposing, RevokeBulk, Stop};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, configuration, failure};
use crate::render::{many, print, print_json};
use crate::system::SystemClock;

/// `ca cert revoke-bulk`
pub(super) async fn revoke_bulk(config: &Config, args: RevokeBulk) -> anyhow::Result<()> {
    let mut choice = choice(config, args.choosing).await?;
    choice.filter.marked = (args.marked || args.replaced).then_some(true);
    choice.replaced = args.replaced;
    let ControlAnswer::Chosen { serials, operator_bulk } =
        ask(&config.control.socket, &ControlRequest::Choose { choice: choice.clone(), or_none: false }).await?
    else {
        return Err(unexpected());
    };
    let (authority, described) = (choice.authority.clone(), choice.describe());
    if args.propose || serials.len() > operator_bulk as usize {
        if !args.proposing.output.json && !args.propose {
            print(&format!(
                "That means {}, and one operator may revoke {operator_bulk} at once: the officers decide.\n",
                many(serials.len(), "certificate")
            ))?;
        }
        return propose(config, ProposalRequest::RevokeBulk { choice: Box::new(choice), reason: args.reason.into() }, args.proposing).await;
    }
    confirm(&format!("{} of {authority} ({described}) will be revoked", many(serials.len(), "certificate")), args.yes)?;
    let operation = Operation::CertificateRevokeBulk { authority: authority.clone(), serials, reason: args.reason.into() };
    let OperatorReply::BulkRevoked { revoked } = submit(config, &args.signing, operation).await? else { return Err(unexpected()) };
    if args.proposing.output.json {
        return print_json(&json!({ "authority": authority, "revoked": revoked }));
    }
    print(&format!("Revoked {}. OCSP says so within a second; the new CRL is on its way.\n", many(revoked, "certificate")))
}

/// What is meant, as the worker is asked for it.
pub(super) async fn choice(config: &Config, choosing: Choosing) -> anyhow::Result<BulkChoice> {
    let list = choosing.list.clone();
    let mut filter = filter(choosing);
    let authority = authority_or_default(config, filter.authority.take()).await?;
    let serials = list.as_deref().map(read_list).transpose()?.unwrap_or_default();
    Ok(BulkChoice { authority, serials, filter, replaced: false })
}

/// What is chosen other than by a list.
pub(super) fn filter(choosing: Choosing) -> CertificateFilter {
    let now = SystemClock.now();
    CertificateFilter {
        authority: choosing.authority,
        grant: choosing.grant,
        account: choosing.account,
        spki_sha256: choosing.spki,
        profile: choosing.profile,
        issued_from: choosing.issued_from.and_then(|t| t.from(now)),
        issued_before: choosing.issued_before.and_then(|t| t.from(now)),
        ..CertificateFilter::default()
    }
}

fn read_list(path: &Path) -> anyhow::Result<Vec<SerialNumber>> {
    use std::io::Read as _;
    let wrong = |e: std::io::Error| configuration(format!("cannot read the list {}: {e}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path).map_err(wrong)?.take(MAX_BULK as u64 * 64).read_to_string(&mut text).map_err(wrong)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let serials: Vec<SerialNumber> = lines
        .map(|(i, line)| line.trim().parse().map_err(|e| failure(Exit::Failed, format!("{}, line {}: {e}", path.display(), i + 1))))
        .collect::<anyhow::Result<_>>()?;
    if serials.is_empty() || serials.len() > MAX_BULK {
        return Err(failure(
            Exit::Failed,
            format!("{} has {}; 1 to {MAX_BULK} go at once", path.display(), many(serials.len(), "serial number")),
        ));
    }
    Ok(serials)
}

/// `ca stop`
pub(crate) async fn stop(config: &Config, args: Stop) -> anyhow::Result<()> {
    if args.officer {
        return propose(config, ProposalRequest::Stop { reason: args.reason }, args.proposing).await;
    }
    confirm("Issuance will stop; only the officers together let it go on", args.yes)?;
    let OperatorReply::Stopped = submit(config, &args.signing, Operation::IssuanceStop { reason: args.reason }).await? else {
        return Err(unexpected());
    };
    if args.proposing.output.json {
        return print_json(&json!({ "stopped": true }));
    }
    print("Issuance is stopped. Orders wait; revocations, CRLs and OCSP go on. Officers let it go on: ca resume\n")
}

/// `ca resume`
pub(crate) async fn resume(config: &Config, proposing: Proposing) -> anyhow::Result<()> {
    propose(config, ProposalRequest::Resume, proposing).await
}
