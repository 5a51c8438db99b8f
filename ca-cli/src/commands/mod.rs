//! One file for each group of commands. None of them writes to the database, except `import`, `rehearsal` and `anchor`,
//! which need the instance stopped.

mod account;
mod anchor;
mod approve;
mod audit;
mod bulk;
mod cert;
mod check;
mod clients;
mod crl;
mod generate;
mod grant;
mod grant_life;
mod grant_limits;
mod grant_signers;
mod grant_terms;
mod import;
mod key;
mod keys;
mod lint;
mod officer;
mod policy;
mod proposal;
mod replace;
mod status;
mod trail;
pub(crate) mod values;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{Authority, AuthorityName};

use crate::cli::Signing;
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::system::{SystemClock, SystemRng};

pub(crate) use account::account;
pub(crate) use anchor::{anchor, create as create_anchor};
pub(crate) use approve::approve as approvals;
pub(crate) use audit::audit;
pub(crate) use bulk::{resume, stop};
pub(crate) use cert::cert;
pub(crate) use check::check;
pub(crate) use crl::crl;
pub(crate) use generate::{completions, man};
pub(crate) use grant::grant;
pub(crate) use import::{approve, import, import_cross, import_verified};
pub(crate) use key::key;
pub(crate) use keys::keys;
pub(crate) use lint::lint;
pub(crate) use officer::officer;
pub(crate) use policy::policy;
pub(crate) use status::status;

/// Signs `operation` and has the instance apply it.
pub(crate) async fn submit(config: &Config, signing: &Signing, operation: Operation) -> anyhow::Result<OperatorReply> {
    let signed = crate::operator::sign(config, signing.operator_key.as_deref(), operation, &SystemClock, &SystemRng)?;
    match ask(&config.control.socket, &ControlRequest::Submit { signed }).await? {
        ControlAnswer::Applied { reply } => Ok(reply),
        _ => Err(unexpected()),
    }
}

/// The instance's authorities, the default one first.
async fn authorities(socket: &Path) -> anyhow::Result<Vec<Authority>> {
    match ask(socket, &ControlRequest::Authorities).await? {
        ControlAnswer::Authorities { authorities } => Ok(authorities),
        _ => Err(unexpected()),
    }
}

/// The roots above the authorities of the policy in force.
async fn roots(socket: &Path) -> anyhow::Result<Vec<Authority>> {
    match ask(socket, &ControlRequest::Roots).await? {
        ControlAnswer::Authorities { authorities } if !authorities.is_empty() => Ok(authorities),
        ControlAnswer::Authorities { .. } => Err(failure(
            Exit::Refused,
            "no root above an authority of the policy in force is here, so there is none to hand out (hint: `ca anchor verify` names what is wrong; import the ceremony's bundle)",
        )),
        _ => Err(unexpected()),
    }
}

/// The authority given, or else the instance's default one.
async fn authority_or_default(config: &Config, given: Option<AuthorityName>) -> anyhow::Result<AuthorityName> {
    if let Some(name) = given {
        return Ok(name);
    }
    let all = authorities(&config.control.socket).await?;
    all.into_iter()
        .find(|a| a.is_default)
        .map(|a| a.name)
        .ok_or_else(|| failure(Exit::Usage, "this instance has no default authority (hint: name one with --authority)"))
}

/// Asks before what can't be undone; without a terminal, `--yes` is needed.
fn confirm(what: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(failure(Exit::Usage, format!("{what}: this can't be undone, and there is no terminal to ask (hint: --yes)")));
    }
    eprint!("{what}. This can't be undone. Go on? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(failure(Exit::Failed, "nothing was changed")) }
}
