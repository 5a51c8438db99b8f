//! `ca account …`

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{AccountId, AccountRecord, AccountStatus, CertificateFilter};
use ca_core::ports::Clock as _;
use serde_json::{Value, json};

use super::{cert, submit};
use crate::cli::{AccountCommand, Output};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::render::{plain, print, print_json, table};
use crate::system::SystemClock;

/// How many of an account's certificates are shown.
const SHOWN: u32 = 1000;

pub(crate) async fn account(config: &Config, command: AccountCommand) -> anyhow::Result<()> {
    match command {
        AccountCommand::List { paused, limit, output } => {
            let accounts = accounts(config, &ControlRequest::Accounts { paused, limit }).await?;
            if output.json { print_json(&accounts.iter().map(to_json).collect::<Vec<_>>()) } else { print(&to_table(&accounts)) }
        }
        AccountCommand::Show { id, output } => show(config, &id, output).await,
        AccountCommand::Resume { id, signing, output } => {
            let operation = Operation::AccountResume { id: id.clone() };
            let OperatorReply::AccountResumed { paused } = submit(config, &signing, operation).await? else { return Err(unexpected()) };
            if output.json {
                return print_json(&json!({ "id": id, "was_paused": paused }));
            }
            print(&if paused {
                format!("Account {id} goes on; its failures are forgotten.\n")
            } else {
                format!("Account {id} was not paused; its failures are forgotten.\n")
            })
        }
    }
}

async fn accounts(config: &Config, request: &ControlRequest) -> anyhow::Result<Vec<AccountRecord>> {
    match ask(&config.control.socket, request).await? {
        ControlAnswer::Accounts { accounts } => Ok(accounts),
        _ => Err(unexpected()),
    }
}

async fn show(config: &Config, id: &AccountId, output: Output) -> anyhow::Result<()> {
    let found = accounts(config, &ControlRequest::Account { id: id.clone() }).await?;
    let record = found.first().ok_or_else(|| failure(Exit::Failed, format!("there is no account `{id}` (hint: ca account list)")))?;
    let filter = CertificateFilter { account: Some(id.clone()), ..CertificateFilter::default() };
    let certificates = cert::list(config, filter, SHOWN).await?;
    if output.json {
        let mut value = to_json(record);
        value["certificates"] = certificates.iter().map(cert::to_json).collect();
        return print_json(&value);
    }
    let paused = record.paused.map_or_else(|| "no".to_owned(), |since| format!("since {since} (let it go on: ca account resume {id})"));
    let contact = record.account.contact.iter().map(|contact| plain(contact)).collect::<Vec<_>>().join(", ");
    print(&format!(
        "{}\npaused   {paused}\ncontact  {contact}\n\n{}",
        to_table(std::slice::from_ref(record)),
        cert::to_table(&certificates, SystemClock.now()),
    ))
}

const fn status(record: &AccountRecord) -> &'static str {
    match record.account.status {
        AccountStatus::Pending => "pending",
        AccountStatus::Valid if record.paused.is_some() => "paused",
        AccountStatus::Valid => "valid",
        AccountStatus::Deactivated => "deactivated",
        AccountStatus::Revoked => "revoked",
    }
}

fn to_json(record: &AccountRecord) -> Value {
    let account = &record.account;
    json!({
        "id": account.id, "status": account.status, "grant": account.grant, "thumbprint": account.thumbprint,
        "contact": account.contact, "created_at": account.created_at.to_rfc3339(), "failures": record.failures,
        "paused_since": record.paused.map(|since| since.to_rfc3339()),
    })
}

fn to_table(accounts: &[AccountRecord]) -> String {
    let rows: Vec<[String; 5]> = accounts
        .iter()
        .map(|record| {
            let account = &record.account;
            let (id, grant) = (account.id.to_string(), account.grant.to_string());
            [id, status(record).to_owned(), record.failures.to_string(), grant, account.created_at.to_string()]
        })
        .collect();
    table(["ACCOUNT", "STATUS", "FAILURES", "GRANT", "SINCE"], &rows)
}
