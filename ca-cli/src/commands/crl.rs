//! `ca crl …`

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::CrlRecord;
use ca_core::pki::crl::Crl;
use ca_core::pki::pem_encode;
use ca_core::ports::Clock as _;
use serde_json::{Value, json};

use super::{authority_or_default, submit};
use crate::cli::{CrlCommand, Output};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::render::{print, print_json, relative, table};
use crate::system::SystemClock;

pub(crate) async fn crl(config: &Config, command: CrlCommand) -> anyhow::Result<()> {
    match command {
        CrlCommand::RevokedCas { output } => revoked_cas(config, output).await,
        CrlCommand::Show { authority, pem, output } => {
            let ControlAnswer::Crls { mut crls } = ask(&config.control.socket, &ControlRequest::Crls).await? else {
                return Err(unexpected());
            };
            if let Some(name) = &authority {
                crls.retain(|c| c.authority == *name);
            }
            if crls.is_empty() {
                return Err(failure(
                    Exit::Temporary,
                    "there is no CRL yet (hint: the worker makes each authority's first one at its start)",
                ));
            }
            if pem {
                return print(&crls.iter().map(|c| pem_encode("X509 CRL", &c.der)).collect::<String>());
            }
            if output.json {
                return print_json(&crls.iter().map(to_json).collect::<Vec<_>>());
            }
            let now = SystemClock.now();
            let rows: Vec<[String; 6]> = crls
                .iter()
                .map(|c| {
                    let entries = Crl::from_der(&c.der).map_or_else(|_| "damaged".to_owned(), |crl| crl.entries().len().to_string());
                    [
                        c.authority.to_string(),
                        c.scope.to_string(),
                        c.number.to_string(),
                        entries,
                        relative(c.this_update, now),
                        relative(c.next_update, now),
                    ]
                })
                .collect();
            print(&table(["AUTHORITY", "PARTITION", "NUMBER", "ENTRIES", "MADE", "NEXT UPDATE"], &rows))
        }
        CrlCommand::Publish { authority, signing, output } => {
            let authority = authority_or_default(config, authority).await?;
            let operation = Operation::CrlPublish { authority: authority.clone() };
            let OperatorReply::CrlPublished { number, .. } = submit(config, &signing, operation).await? else {
                return Err(unexpected());
            };
            if output.json {
                return print_json(&json!({ "authority": authority, "number": number }));
            }
            print(&match number {
                Some(number) => format!("Published CRL {number} of {authority}.\n"),
                None => {
                    format!("The CRL of {authority} is being made; `ca crl show` has it in a moment, or `ca status` says what is wrong.\n")
                }
            })
        }
    }
}

fn to_json(record: &CrlRecord) -> Value {
    let entries: Option<Vec<Value>> = Crl::from_der(&record.der).ok().map(|crl| {
        crl.entries()
            .iter()
            .map(|e| json!({ "serial": e.serial, "revoked_at": e.revoked_at.to_rfc3339(), "reason": e.reason.name() }))
            .collect()
    });
    json!({
        "authority": record.authority, "partition": record.scope, "number": record.number, "this_update": record.this_update.to_rfc3339(),
        "next_update": record.next_update.to_rfc3339(), "ledger_number": record.ledger_number, "entries": entries,
    })
}

async fn revoked_cas(config: &Config, output: Output) -> anyhow::Result<()> {
    let ControlAnswer::RevokedAuthorities { revoked } = ask(&config.control.socket, &ControlRequest::RevokedAuthorities).await? else {
        return Err(unexpected());
    };
    if output.json {
        return print_json(&revoked);
    }
    let rows: Vec<[String; 5]> = revoked
        .iter()
        .map(|r| {
            let issuer = r.issuer.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
            [r.authority.to_string(), issuer, r.serial.to_string(), r.reason.name().to_owned(), r.at.to_string()]
        })
        .collect();
    print(&table(["AUTHORITY", "ISSUER", "SERIAL", "REASON", "REVOKED"], &rows))
}
