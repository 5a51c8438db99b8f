//! `ca grant …`

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{Grant, GrantId, GrantRecord, GrantStatus};
use ca_core::policy::SubjectParts;
use ca_core::ports::Clock as _;
use serde_json::{Value, json};

use super::{authority_or_default, confirm, submit};
use crate::cli::{GrantCommand, GrantCreate};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::render::{plain, print, print_json, table};
use crate::system::{SystemClock, SystemRng};

pub(crate) async fn grant(config: &Config, command: GrantCommand) -> anyhow::Result<()> {
    match command {
        GrantCommand::Create(args) => create(config, args).await,
        GrantCommand::List { limit, output } => {
            let ControlAnswer::Grants { grants } = ask(&config.control.socket, &ControlRequest::Grants { limit }).await? else {
                return Err(unexpected());
            };
            if output.json { print_json(&grants.iter().map(to_json).collect::<Vec<_>>()) } else { print(&to_table(&grants)) }
        }
        GrantCommand::Revoke { id, yes, signing, output } => {
            confirm(&format!("Grant {id} and all accounts bound to it will be revoked"), yes)?;
            let OperatorReply::GrantRevoked { accounts } = submit(config, &signing, Operation::GrantRevoke { id: id.clone() }).await?
            else {
                return Err(unexpected());
            };
            if output.json {
                return print_json(&json!({ "id": id, "status": "revoked", "accounts": accounts }));
            }
            print(&format!("Revoked grant {id}, and {accounts} accounts with it. Certificates that they hold stay valid.\n"))
        }
    }
}

async fn create(config: &Config, args: GrantCreate) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let grant = Grant {
        id: GrantId::random(&SystemRng),
        version: 1,
        service: args.service,
        authority: authority_or_default(config, args.authority).await?,
        profiles: args.profiles,
        names: args.names,
        enrol_by: args.enrol_by.from(now),
        valid_until: args.valid_until.from(now),
        max_accounts: args.max_accounts.0,
        uri: args.uri,
        emails: args.emails,
        subject: SubjectParts::new(args.subject).map_err(|e| failure(Exit::Usage, format!("--subject: {e}")))?,
    };
    let OperatorReply::GrantCreated { kid, hmac_key } =
        submit(config, &args.signing, Operation::GrantCreate { grant: grant.clone() }).await?
    else {
        return Err(unexpected());
    };
    let directory = format!("{}/acme/directory", config.acme.url.trim_end_matches('/'));
    if args.output.json {
        return print_json(&json!({ "kid": kid, "hmac_key": hmac_key.reveal(), "directory": directory, "grant": grant }));
    }
    let names: Vec<String> = grant.names.iter().map(ToString::to_string).collect();
    let identity: String = identity(&grant).iter().map(|(name, value)| format!("  {name:<9}  {value}\n")).collect();
    let until = grant.enrol_by.map_or_else(|| "at any time".to_owned(), |t| format!("until {t}"));
    print(&format!(
        "Grant for {}: {} from {}, names {}\n\
         {identity}\n  directory  {directory}\n  EAB kid    {kid}\n  EAB HMAC   {}\n\n\
         The HMAC key is shown once. Hand it over on a safe way; it binds accounts {until}.\n",
        grant.service,
        grant.profiles.join(", "),
        grant.authority,
        names.join(", "),
        hmac_key.reveal(),
    ))
}

/// What its certificates say beside their names.
fn identity(grant: &Grant) -> Vec<(String, String)> {
    let uri = grant.uri.iter().map(|uri| ("URI".to_owned(), uri.as_str().to_owned()));
    let emails = grant.emails.iter().map(|mailbox| ("mailbox".to_owned(), mailbox.as_str().to_owned()));
    let subject = grant
        .subject
        .iter()
        .flat_map(|(attribute, values)| values.iter().map(move |value| ("subject".to_owned(), format!("{attribute}={value}"))));
    uri.chain(emails).chain(subject).map(|(name, value)| (name, plain(&value))).collect()
}

fn to_json(record: &GrantRecord) -> Value {
    let grant = &record.grant;
    json!({
        "id": grant.id, "service": grant.service, "authority": grant.authority, "profiles": grant.profiles, "names": grant.names,
        "version": grant.version, "status": record.status, "accounts": record.accounts, "max_accounts": grant.max_accounts,
        "enrol_by": grant.enrol_by.map(|t| t.to_rfc3339()), "valid_until": grant.valid_until.map(|t| t.to_rfc3339()),
        "uri": grant.uri, "emails": grant.emails, "subject": grant.subject, "created_at": record.created_at.to_rfc3339(),
    })
}

fn to_table(grants: &[GrantRecord]) -> String {
    let rows: Vec<[String; 7]> = grants
        .iter()
        .map(|record| {
            let grant = &record.grant;
            let names: Vec<String> = grant.names.iter().map(ToString::to_string).collect();
            let most = grant.max_accounts.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
            [
                grant.id.to_string(),
                match record.status {
                    GrantStatus::Active => "active".to_owned(),
                    GrantStatus::Revoked => "revoked".to_owned(),
                },
                grant.service.clone(),
                grant.authority.to_string(),
                format!("{}/{most}", record.accounts),
                grant.profiles.join(","),
                names.join(","),
            ]
        })
        .collect();
    table(["GRANT", "STATUS", "SERVICE", "AUTHORITY", "ACCOUNTS", "PROFILES", "NAMES"], &rows)
}
