//! `ca grant show`, and what happens to a grant between its creation and its end.

use ca_core::evidence::grant::{as_told, row_fault, signer};
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::{EabKey, OperatorReply};
use ca_core::model::{CertificateFilter, Grant, GrantId, GrantRecord};
use ca_core::pki::{Timestamp, sha256};
use ca_core::ports::Clock as _;
use serde_json::json;

use super::cert;
use super::grant::{policy, to_json, to_table, told_edited};
use super::{grant_limits, grant_signers, grant_terms, submit};
use crate::cli::{GrantRotate, GrantUpdate, Output, Signing};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::render::{many, print, print_json};
use crate::system::SystemClock;

/// How many of a grant's certificates are shown.
const SHOWN: u32 = 1000;

/// The grant with this id.
pub(super) async fn find(config: &Config, id: &GrantId) -> anyhow::Result<GrantRecord> {
    let ControlAnswer::Grants { mut grants } = ask(&config.control.socket, &ControlRequest::Grant { id: id.clone() }).await? else {
        return Err(unexpected());
    };
    grants.pop().ok_or_else(|| failure(Exit::Failed, format!("there is no grant `{id}` (hint: ca grant list)")))
}

/// `ca grant show`
pub(super) async fn show(config: &Config, id: &GrantId, output: Output) -> anyhow::Result<()> {
    let record = find(config, id).await?;
    let filter = CertificateFilter { grant: Some(id.clone()), ..CertificateFilter::default() };
    let certificates = cert::list(config, filter, SHOWN).await?;
    let now = SystemClock.now();
    let used = grant_limits::used(config, id, record.grant.limits.max_certificates, now).await?;
    let policy = policy(config).await?;
    if output.json {
        let mut value = to_json(&record, &policy);
        value["used"] = used.to_json();
        value["certificates"] = certificates.iter().map(cert::to_json).collect();
        return print_json(&value);
    }
    let edited = row_fault(&record).map_or_else(String::new, |fault| told_edited(&fault));
    let when = |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), |t| t.to_rfc3339());
    let limits: String = grant_limits::told(&record.grant.limits).iter().map(|(name, value)| format!("{name:<20}  {value}\n")).collect();
    print(&format!(
        "{}{edited}\nsigned by             {}\nbinds accounts until  {}\nissues until          {}\nsecret's version      {}\n{limits}issued                {}\n\n{}",
        to_table(std::slice::from_ref(&record), &policy),
        grant_signers::told_in_full(&signer(&record.evidence, &policy)),
        when(record.grant.enrol_by),
        when(record.grant.valid_until),
        record.grant.version,
        used.told(),
        cert::to_table(&certificates, now),
    ))
}

/// Signs the grant as `change` leaves it, beginning from what its last statement says: that is what the signature replaces,
/// and the row's own copy may be anyone's. What changes is shown before. Tells the new grant, and its secret where that was
/// rotated.
async fn change(
    config: &Config,
    id: &GrantId,
    signing: &Signing,
    change: impl FnOnce(&mut Grant) -> anyhow::Result<()>,
) -> anyhow::Result<(Grant, Option<EabKey>)> {
    let record = find(config, id).await?;
    if let Some(fault) = row_fault(&record) {
        let hint = format!(
            "(hint: find out who changed it; `ca grant sign {id}` shows what was signed and puts it back, `ca anchor verify` looks at every grant)"
        );
        return Err(failure(Exit::Refused, format!("{fault}; nothing was signed {hint}")));
    }
    let (signed, _) = as_told(&record.evidence).map_err(|e| failure(Exit::Refused, e.to_string()))?;
    let mut grant = signed.clone();
    change(&mut grant)?;
    if grant == signed {
        return Err(failure(Exit::Usage, "the grant is like that already: nothing to change"));
    }
    eprint!("{}", grant_terms::difference(&signed, &grant));
    let replaces = sha256(record.evidence.statement.as_bytes());
    let operation = Operation::GrantUpdate { grant: grant.clone(), replaces };
    let OperatorReply::GrantUpdated { hmac_key } = submit(config, signing, operation).await? else { return Err(unexpected()) };
    Ok((grant, hmac_key))
}

/// `ca grant extend` and `ca grant update`
pub(super) async fn update(config: &Config, args: GrantUpdate) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let (grant, _) = change(config, &args.id, &args.signing, |grant| {
        let names = args.names.all();
        if !names.is_empty() {
            grant.names = names;
        }
        grant_limits::identify(grant, args.identity)?;
        grant_limits::apply(&mut grant.limits, args.limits)?;
        if !args.profiles.is_empty() {
            grant.profiles = args.profiles;
        }
        if let Some(most) = args.max_accounts {
            grant.max_accounts = most.0;
        }
        if let Some(end) = args.enrol_by {
            grant.enrol_by = end.from(now);
        }
        if let Some(end) = args.valid_until {
            grant.valid_until = end.from(now);
        }
        Ok(())
    })
    .await?;
    if args.output.json {
        return print_json(&json!({ "id": grant.id, "grant": grant }));
    }
    print(&format!("Changed grant {}. Its accounts go on as they are; clients need nothing new.\n", grant.id))
}

/// `ca grant rotate`
pub(super) async fn rotate(config: &Config, args: GrantRotate) -> anyhow::Result<()> {
    let enrol_by = args.enrol_by.from(SystemClock.now());
    let bound = find(config, &args.id).await?.accounts;
    let (grant, hmac_key) = change(config, &args.id, &args.signing, |grant| {
        grant.version = grant.version.saturating_add(1);
        grant.enrol_by = enrol_by;
        if let Some(most) = args.max_accounts {
            grant.max_accounts = most.0;
        }
        Ok(())
    })
    .await?;
    let hmac_key = hmac_key.ok_or_else(unexpected)?;
    if args.output.json {
        return print_json(
            &json!({ "kid": grant.id, "hmac_key": hmac_key.reveal(), "version": grant.version, "accounts": bound, "grant": grant }),
        );
    }
    let room = match grant.max_accounts {
        None => "It binds any number of accounts.".to_owned(),
        Some(most) if bound >= most => format!(
            "It binds none yet: the grant has bound {bound} of {} (hint: ca grant update {} --max-accounts {})",
            many(most, "account"),
            grant.id,
            bound.saturating_add(1)
        ),
        Some(most) => format!("It binds {} more.", many(most - bound, "account")),
    };
    print(&format!(
        "Grant {id} has a new secret, version {version}; the earlier one binds no more accounts. Those that it bound go on.\n\n  \
         EAB kid    {id}\n  EAB HMAC   {key}\n\n\
         The HMAC key is shown once. {room}\n",
        id = grant.id,
        version = grant.version,
        key = hmac_key.reveal()
    ))
}

/// `ca grant suspend` and `ca grant resume`
pub(super) async fn suspend(config: &Config, id: GrantId, suspended: bool, signing: &Signing, output: Output) -> anyhow::Result<()> {
    let operation = if suspended { Operation::GrantSuspend { id: id.clone() } } else { Operation::GrantResume { id: id.clone() } };
    match submit(config, signing, operation).await? {
        OperatorReply::GrantSuspended | OperatorReply::GrantResumed => {}
        _ => return Err(unexpected()),
    }
    let status = if suspended { "suspended" } else { "active" };
    if output.json {
        return print_json(&json!({ "id": id, "status": status }));
    }
    print(&match suspended {
        true => format!("Grant {id} is suspended: it binds no accounts, issues and renews nothing. Let it go on: ca grant resume {id}\n"),
        false => format!("Grant {id} goes on.\n"),
    })
}
