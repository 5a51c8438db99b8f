//! `ca cert …`

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::{OperatorReply, ProposalRequest};
use ca_core::model::{AuthorityName, CertificateFilter, CertificateRecord, CertificateState};
use ca_core::pki::{Certificate, SerialNumber, Timestamp, pem_encode, x5t_s256};
use ca_core::ports::Clock as _;
use serde_json::{Value, json};

use super::bulk::revoke_bulk;
use super::proposal::propose;
use super::replace::replace;
use super::{confirm, submit};
use crate::cli::CertCommand;
use crate::commands::values::Reason;
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::render::{many, plain, print, print_json, relative, table};
use crate::system::SystemClock;

/// How many are asked for at once.
const PAGE: u32 = 1000;

pub(crate) async fn cert(config: &Config, command: CertCommand) -> anyhow::Result<()> {
    match command {
        CertCommand::List { authority, name, grant, profile, expires_before, revoked, unrevoked, marked, limit, output } => {
            let filter = CertificateFilter {
                authority,
                name,
                grant,
                profile,
                expires_before: expires_before.and_then(|t| t.from(SystemClock.now())),
                revoked: if revoked {
                    Some(true)
                } else if unrevoked {
                    Some(false)
                } else {
                    None
                },
                marked: marked.then_some(true),
                ..CertificateFilter::default()
            };
            let found = list(config, filter, limit).await?;
            if output.json {
                return print_json(&found.iter().map(to_json).collect::<Vec<_>>());
            }
            print(&to_table(&found, SystemClock.now()))
        }
        CertCommand::Show { serial, authority, pem, output } => {
            let record = one(config, authority, serial).await?;
            let text = if record.der.is_empty() { String::new() } else { pem_encode("CERTIFICATE", &record.der) };
            if pem {
                if text.is_empty() {
                    return Err(failure(Exit::Failed, format!("certificate {serial} was never released, so there is nothing to show")));
                }
                return print(&text);
            }
            if output.json {
                let mut value = to_json(&record);
                value["pem"] = if text.is_empty() { Value::Null } else { Value::String(text) };
                return print_json(&value);
            }
            print(&format!("{}{text}", details(&record, SystemClock.now())))
        }
        CertCommand::Revoke { serial, authority, reason, invalidity_date, yes, signing, output } => {
            let record = one(config, authority, serial).await?;
            let names: Vec<String> = record.identifiers.iter().map(|i| i.value()).collect();
            let others = if matches!(reason, Reason::KeyCompromise) { with_its_key(config, &record).await? } else { String::new() };
            confirm(&format!("Certificate {serial} of {} ({}) will be revoked{others}", record.authority, names.join(", ")), yes)?;
            let operation = Operation::CertificateRevoke {
                authority: record.authority.clone(),
                serial,
                reason: reason.into(),
                invalidity_date: invalidity_date.and_then(|t| t.from(SystemClock.now())),
            };
            let OperatorReply::CertificateRevoked { number, .. } = submit(config, &signing, operation).await? else {
                return Err(unexpected());
            };
            let already = number.is_none();
            if output.json {
                return print_json(&json!({ "authority": record.authority, "serial": serial, "revoked": true, "already": already }));
            }
            print(&if already {
                format!("Certificate {serial} was revoked before; nothing changed.\n")
            } else {
                format!("Revoked certificate {serial}{others}. OCSP says so within a second; the new CRL is on its way.\n")
            })
        }
        CertCommand::Hold { serial, authority, signing, output } => {
            let record = one(config, authority, serial).await?;
            let operation = Operation::CertificateHold { authority: record.authority.clone(), serial };
            let OperatorReply::CertificateRevoked { number, .. } = submit(config, &signing, operation).await? else {
                return Err(unexpected());
            };
            let already = number.is_none();
            if output.json {
                return print_json(&json!({ "authority": record.authority, "serial": serial, "held": !already }));
            }
            print(&if already {
                format!("Certificate {serial} was revoked or on hold before; nothing changed.\n")
            } else {
                format!("Certificate {serial} is on hold. Officers take it off: ca cert unhold {serial}\n")
            })
        }
        CertCommand::Unhold(args) => {
            let record = one(config, args.authority, args.serial).await?;
            propose(config, ProposalRequest::Unhold { authority: record.authority, serial: args.serial }, args.proposing).await
        }
        CertCommand::RevokeBulk(args) => revoke_bulk(config, args).await,
        CertCommand::Replace(args) => replace(config, args).await,
        CertCommand::RevokeCa(args) => {
            let request = ProposalRequest::RevokeAuthority {
                authority: args.authority,
                reason: args.reason.into(),
                invalidity_date: args.invalidity_date.and_then(|t| t.from(SystemClock.now())),
            };
            propose(config, request, args.proposing).await
        }
    }
}

pub(super) async fn list(config: &Config, filter: CertificateFilter, limit: u32) -> anyhow::Result<Vec<CertificateRecord>> {
    let mut found: Vec<CertificateRecord> = Vec::new();
    while (found.len() as u64) < u64::from(limit) {
        let rest = limit - u32::try_from(found.len()).unwrap_or(limit);
        let page = PAGE.min(rest);
        let request = ControlRequest::Certificates { filter: filter.clone(), after: found.last().map(|c| c.serial), limit: page };
        let ControlAnswer::Certificates { certificates } = ask(&config.control.socket, &request).await? else { return Err(unexpected()) };
        let last = certificates.len() < page as usize;
        found.extend(certificates);
        if last {
            break;
        }
    }
    Ok(found)
}

pub(super) async fn one(config: &Config, authority: Option<AuthorityName>, serial: SerialNumber) -> anyhow::Result<CertificateRecord> {
    let ControlAnswer::Certificates { mut certificates } =
        ask(&config.control.socket, &ControlRequest::Certificate { authority, serial }).await?
    else {
        return Err(unexpected());
    };
    match (certificates.pop(), certificates.is_empty()) {
        (Some(record), true) => Ok(record),
        (Some(_), false) => {
            Err(failure(Exit::Usage, format!("several authorities issued a certificate {serial} (hint: name one with --authority)")))
        }
        (None, _) => Err(failure(
            Exit::Failed,
            format!(
                "no certificate with serial number {serial} was ever issued here (hint: `ca cert list`; openssl x509 -noout -serial -in FILE)"
            ),
        )),
    }
}

/// What goes along with a certificate whose key is compromised.
async fn with_its_key(config: &Config, record: &CertificateRecord) -> anyhow::Result<String> {
    let filter = CertificateFilter { spki_sha256: Some(record.spki_sha256), revoked: Some(false), ..CertificateFilter::default() };
    let now = SystemClock.now();
    let same = list(config, filter, PAGE).await?;
    let others =
        same.iter().filter(|other| other.not_after > now && (&other.authority, other.serial) != (&record.authority, record.serial));
    Ok(match others.count() {
        0 => String::new(),
        count => format!(", and with it {} with the same key", many(count as u64, "other certificate")),
    })
}

/// The names of every form; of one that was never released, those on record.
fn names(record: &CertificateRecord) -> Vec<String> {
    match Certificate::from_der(&record.der) {
        Ok(certificate) => certificate.alt_names().iter().map(ToString::to_string).collect(),
        Err(_) => record.identifiers.iter().map(|i| i.value()).collect(),
    }
}

/// As tokens that are bound to the certificate carry it (RFC 8705 §3.1); none of one that was never released.
fn thumbprint(record: &CertificateRecord) -> Option<String> {
    (!record.der.is_empty()).then(|| x5t_s256(&record.der))
}

const fn state(record: &CertificateRecord) -> &'static str {
    match record.state {
        CertificateState::Intent => "intent",
        CertificateState::Released => "released",
        CertificateState::Abandoned => "abandoned",
    }
}

/// What a person wants to know first.
fn verdict(record: &CertificateRecord, now: Timestamp) -> String {
    match (record.state, record.revoked) {
        (CertificateState::Released, Some((_, reason))) if record.follows.is_some() => format!("revoked ({}, same key)", reason.name()),
        (CertificateState::Released, Some((_, reason))) => format!("revoked ({})", reason.name()),
        (CertificateState::Released, None) if record.not_after <= now => "expired".to_owned(),
        (CertificateState::Released, None) if record.marked.is_some() => "to be replaced".to_owned(),
        (CertificateState::Released, None) => "valid".to_owned(),
        (CertificateState::Intent | CertificateState::Abandoned, _) => state(record).to_owned(),
    }
}

pub(super) fn to_json(record: &CertificateRecord) -> Value {
    let marked = record.marked.as_ref().map(|mark| json!({ "at": mark.at.to_rfc3339(), "explanation": mark.explanation }));
    let revoked = record.revoked.map(|(at, reason)| json!({ "at": at.to_rfc3339(), "reason": reason.name() }));
    json!({
        "authority": record.authority, "serial": record.serial, "state": state(record), "profile": record.profile,
        "subject": record.subject, "identifiers": record.identifiers, "names": names(record), "x5t#S256": thumbprint(record),
        "spki_sha256": record.spki_sha256,
        "not_before": record.not_before.to_rfc3339(), "not_after": record.not_after.to_rfc3339(), "partition": record.partition,
        "account": record.account, "grant": record.grant, "order": record.order, "revoked": revoked,
        "follows": record.follows,
        "replaced_by": record.replaced_by, "marked": marked, "created_at": record.created_at.to_rfc3339(),
    })
}

pub(super) fn to_table(records: &[CertificateRecord], now: Timestamp) -> String {
    let rows: Vec<[String; 7]> = records
        .iter()
        .map(|record| {
            let names = names(record);
            [
                record.serial.to_string(),
                record.authority.to_string(),
                record.profile.clone(),
                verdict(record, now),
                relative(record.not_after, now),
                if names.is_empty() { record.subject.clone() } else { names.join(",") },
                thumbprint(record).unwrap_or_default(),
            ]
        })
        .collect();
    table(["SERIAL", "AUTHORITY", "PROFILE", "STATUS", "ENDS", "NAMES", "X5T#S256"], &rows)
}

fn details(record: &CertificateRecord, now: Timestamp) -> String {
    let names = names(record);
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    let mut lines = vec![
        ("serial", record.serial.to_string()),
        ("authority", record.authority.to_string()),
        ("profile", record.profile.clone()),
        ("status", verdict(record, now)),
        ("names", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
        ("subject", if record.subject.is_empty() { "empty".to_owned() } else { plain(&record.subject) }),
        ("valid", format!("{} to {} ({})", record.not_before, record.not_after, relative(record.not_after, now))),
        ("x5t#S256", or_none(thumbprint(record))),
        ("key SHA-256", record.spki_sha256.to_string()),
        ("account", or_none(record.account.as_ref().map(ToString::to_string))),
        ("grant", or_none(record.grant.as_ref().map(ToString::to_string))),
        ("order", or_none(record.order.as_ref().map(ToString::to_string))),
        ("on record", record.created_at.to_string()),
    ];
    if let Some((at, reason)) = record.revoked {
        lines.push(("revoked", format!("{at}, {}", reason.name())));
    }
    if let Some(cause) = &record.follows {
        let text = format!("certificate {} of {}, which has the same key, was revoked for its compromise", cause.serial, cause.authority);
        lines.push(("because", text));
    }
    if let Some(mark) = &record.marked {
        let why = mark.explanation.as_ref().map_or_else(String::new, |url| format!(", {url}"));
        lines.push(("marked", format!("{}, for replacement{why}", mark.at)));
    }
    if let Some(order) = &record.replaced_by {
        lines.push(("replaced by", format!("order {order}")));
    }
    lines.iter().map(|(name, value)| format!("{name:<12} {value}\n")).collect()
}
