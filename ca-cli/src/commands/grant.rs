//! `ca grant …`

use ca_core::evidence::grant::{row_fault, signer};
use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{
    AuthorityName, BulkChoice, CertificateFilter, Grant, GrantId, GrantLimits, GrantRecord, GrantStatus, RevocationReason,
};
use ca_core::pki::sha256;
use ca_core::policy::{Policy, ProfilePolicy, SubjectParts};
use ca_core::ports::Clock as _;
use serde_json::{Value, json};

use super::clients::{self, BUNDLE_FILE, SECRET_FILE};
use super::{authority_or_default, confirm, grant_life, grant_limits, grant_signers, roots, submit};
use crate::cli::{GrantCommand, GrantCreate, GrantExtend, GrantIdentity, GrantLimitArgs, GrantNames, GrantUpdate, Signing};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, code_of, failure};
use crate::render::{many, plain, print, print_json, table};
use crate::system::{SystemClock, SystemRng};

pub(crate) async fn grant(config: &Config, command: GrantCommand) -> anyhow::Result<()> {
    match command {
        GrantCommand::Create(args) => create(config, args).await,
        GrantCommand::List { limit, output } => {
            let ControlAnswer::Grants { grants } = ask(&config.control.socket, &ControlRequest::Grants { after: None, limit }).await?
            else {
                return Err(unexpected());
            };
            let policy = policy(config).await?;
            if output.json {
                return print_json(&grants.iter().map(|record| to_json(record, &policy)).collect::<Vec<_>>());
            }
            let edited: String = grants.iter().filter_map(row_fault).map(|fault| told_edited(&fault)).collect();
            print(&format!("{}{edited}", to_table(&grants, &policy)))
        }
        GrantCommand::Show { id, output } => grant_life::show(config, &id, output).await,
        GrantCommand::Extend(GrantExtend { id, valid_until, enrol_by, signing, output }) => {
            let args = GrantUpdate {
                id,
                names: GrantNames::default(),
                identity: GrantIdentity::default(),
                limits: GrantLimitArgs::default(),
                profiles: Vec::new(),
                max_accounts: None,
                valid_until: Some(valid_until),
                enrol_by,
                signing,
                output,
            };
            grant_life::update(config, args).await
        }
        GrantCommand::Update(args) => grant_life::update(config, args).await,
        GrantCommand::Rotate(args) => grant_life::rotate(config, args).await,
        GrantCommand::Sign(args) => grant_signers::sign(config, args).await,
        GrantCommand::Suspend { id, signing, output } => grant_life::suspend(config, id, true, &signing, output).await,
        GrantCommand::Resume { id, signing, output } => grant_life::suspend(config, id, false, &signing, output).await,
        GrantCommand::Revoke { id, yes, revoke_certificates, signing, output } => {
            let held = if revoke_certificates { "accounts and certificates" } else { "accounts" };
            confirm(&format!("Grant {id} and all its {held} will be revoked"), yes)?;
            // First what takes away most: a failure in between leaves no account that could order anew.
            let OperatorReply::GrantRevoked { accounts } = submit(config, &signing, Operation::GrantRevoke { id: id.clone() }).await?
            else {
                return Err(unexpected());
            };
            if revoke_certificates {
                let revoked = revoke_held(config, &id, &signing).await.map_err(|e| {
                    let code = code_of(&e);
                    failure(code, format!("grant {id} is revoked, with {}, but not what they hold: {e:#}", many(accounts, "account")))
                })?;
                if output.json {
                    return print_json(&json!({ "id": id, "status": "revoked", "accounts": accounts, "certificates": revoked }));
                }
                return print(&format!(
                    "Revoked grant {id}, and with it {} and {}.\n",
                    many(accounts, "account"),
                    many(revoked, "certificate")
                ));
            }
            if output.json {
                return print_json(&json!({ "id": id, "status": "revoked", "accounts": accounts }));
            }
            print(&format!("Revoked grant {id}, and {} with it. Certificates that they hold stay valid.\n", many(accounts, "account")))
        }
    }
}

/// Revokes what the accounts of a revoked grant hold, as far as one operator may. Tells how many.
async fn revoke_held(config: &Config, id: &GrantId, signing: &Signing) -> anyhow::Result<u64> {
    let authority = grant_life::find(config, id).await?.grant.authority;
    let filter = CertificateFilter { grant: Some(id.clone()), ..CertificateFilter::default() };
    let choice = BulkChoice { authority: authority.clone(), serials: Vec::new(), filter, replaced: false };
    let ControlAnswer::Chosen { serials, operator_bulk } =
        ask(&config.control.socket, &ControlRequest::Choose { choice, or_none: true }).await?
    else {
        return Err(unexpected());
    };
    if serials.is_empty() {
        return Ok(0);
    }
    if serials.len() > operator_bulk as usize {
        let detail = format!(
            "it comes to {}, and one operator may revoke {operator_bulk} at once \
             (hint: ca cert revoke-bulk --grant {id} proposes it to the officers)",
            many(serials.len(), "certificate")
        );
        return Err(failure(Exit::Refused, detail));
    }
    let operation = Operation::CertificateRevokeBulk { authority, serials, reason: RevocationReason::PrivilegeWithdrawn };
    let OperatorReply::BulkRevoked { revoked } = submit(config, signing, operation).await? else { return Err(unexpected()) };
    Ok(revoked)
}

async fn create(config: &Config, args: GrantCreate) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let names = args.names.all();
    if names.is_empty() != args.open {
        return Err(failure(
            Exit::Usage,
            "a grant covers at least one name, and an open one none (hint: --dns, --ip or --name; or --open)",
        ));
    }
    let authority = authority_or_default(config, args.authority).await?;
    let mut grant = Grant {
        id: if args.open { open_enrolment(config, &authority).await? } else { GrantId::random(&SystemRng) },
        version: 1,
        service: args.service,
        authority,
        profiles: args.profiles,
        names,
        enrol_by: args.enrol_by.from(now),
        valid_until: args.valid_until.from(now),
        max_accounts: args.max_accounts.0,
        uri: None,
        emails: Vec::new(),
        subject: SubjectParts::default(),
        limits: GrantLimits::default(),
    };
    grant_limits::identify(&mut grant, args.identity)?;
    grant_limits::apply(&mut grant.limits, args.limits)?;
    // Before the grant is made: nothing may come between its secret, which is told once, and the operator.
    let roots = roots(&config.control.socket).await?;
    let bundle = clients::bundle(&roots);
    let in_policy = offered(config, &grant).await;
    let OperatorReply::GrantCreated { kid, hmac_key } =
        submit(config, &args.signing, Operation::GrantCreate { grant: grant.clone() }).await?
    else {
        return Err(unexpected());
    };
    let base = config.acme.url.trim_end_matches('/');
    let directory = format!("{base}/acme/directory");
    let profile_directory = clients::profile_directory(base, &grant.authority, grant.profiles.first().map_or("client", String::as_str));
    let certifies = |kind| grant.limits.judge_key(kind).is_ok() && in_policy.as_ref().is_none_or(|profile| profile.takes_key(kind));
    let commands = clients::commands(&grant, &profile_directory, &bundle, certifies);
    if args.output.json {
        let commands: serde_json::Map<String, Value> =
            commands.into_iter().map(|(client, text)| (client.to_owned(), text.into())).collect();
        return print_json(&json!({
            "kid": kid, "hmac_key": hmac_key.reveal(), "directory": directory, "profile_directory": profile_directory,
            "ca_bundle": bundle, "ca_bundle_sha256": roots.iter().map(|root| sha256(&root.certificate)).collect::<Vec<_>>(),
            "commands": commands, "grant": grant,
        }));
    }
    let names: Vec<String> = grant.names.iter().map(ToString::to_string).collect();
    let limits = grant_limits::told(&grant.limits).into_iter().map(|(name, value)| (name.to_owned(), value));
    let identity: String = identity(&grant).into_iter().chain(limits).map(|(name, value)| format!("  {name:<9}  {value}\n")).collect();
    let until = grant.enrol_by.map_or_else(|| "at any time".to_owned(), |t| format!("until {t}"));
    let roots: String = roots.iter().map(|root| format!("  {}  {}\n", root.name, sha256(&root.certificate))).collect();
    let commands: String = commands.iter().map(|(client, text)| format!("With {client}:\n{text}\n\n")).collect();
    print(&format!(
        "Grant for {}: {} from {}, names {}\n\
         {identity}\n  directory  {directory}\n  EAB kid    {kid}\n  EAB HMAC   {}\n\n\
         The HMAC key is shown once. Hand it over on a safe way; it binds accounts {until}.\n\n\
         Commands for stock clients, for the profile {}. They read the HMAC key from the file {SECRET_FILE} (mode 0600) and\n\
         the CA's root certificates from {BUNDLE_FILE}, both in the folder that they run in.\n\n{commands}\
         {BUNDLE_FILE}, SHA-256 of each certificate as its ceremony announced it:\n{roots}{bundle}",
        grant.service,
        grant.profiles.join(", "),
        grant.authority,
        names.join(", "),
        hmac_key.reveal(),
        grant.profiles.first().map_or("client", String::as_str),
    ))
}

pub(super) async fn policy(config: &Config) -> anyhow::Result<Policy> {
    let text = super::policy::in_force(config).await?.bundle.policy;
    Policy::parse(&text).map_err(|e| failure(Exit::Failed, format!("the policy in force: {e}")))
}

/// The profile that a grant's commands are for, as far as it can be told: the worker judges the grant.
async fn offered(config: &Config, grant: &Grant) -> Option<ProfilePolicy> {
    let policy = policy(config).await.ok()?;
    policy.authority(&grant.authority)?.profiles.get(grant.profiles.first()?).cloned()
}

/// The id of the grant that the policy opens enrolment to.
async fn open_enrolment(config: &Config, authority: &AuthorityName) -> anyhow::Result<GrantId> {
    let policy = policy(config).await?;
    policy.authority(authority).and_then(|rules| rules.open_enrolment.clone()).ok_or_else(|| {
        let detail = format!(
            "the policy does not open enrolment at {authority} (hint: officers can, with open_enrolment = \"ID\" and challenge zones)"
        );
        failure(Exit::Refused, detail)
    })
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

/// What a person must know of a grant whose row was edited.
pub(super) fn told_edited(fault: &str) -> String {
    format!("THE DATABASE WAS CHANGED: {}. Nothing is issued by the row.\n", plain(fault))
}

pub(super) fn to_json(record: &GrantRecord, policy: &Policy) -> Value {
    let signer = signer(&record.evidence, policy);
    let grant = &record.grant;
    json!({
        "id": grant.id, "service": grant.service, "authority": grant.authority, "profiles": grant.profiles, "names": grant.names,
        "version": grant.version, "status": record.status, "accounts": record.accounts, "max_accounts": grant.max_accounts,
        "enrol_by": grant.enrol_by.map(|t| t.to_rfc3339()), "valid_until": grant.valid_until.map(|t| t.to_rfc3339()),
        "uri": grant.uri, "emails": grant.emails, "subject": grant.subject, "limits": grant.limits, "created_at": record.created_at.to_rfc3339(),
        "signed_by": { "operator": signer.operator, "key": signer.fingerprint.map(|key| key.0), "counts": signer.counts },
        "edited": row_fault(record),
    })
}

pub(super) fn to_table(grants: &[GrantRecord], policy: &Policy) -> String {
    let rows: Vec<[String; 8]> = grants
        .iter()
        .map(|record| {
            let grant = &record.grant;
            let names: Vec<String> = grant.names.iter().map(ToString::to_string).collect();
            let most = grant.max_accounts.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
            [
                grant.id.to_string(),
                match record.status {
                    GrantStatus::Active => "active".to_owned(),
                    GrantStatus::Suspended => "suspended".to_owned(),
                    GrantStatus::Revoked => "revoked".to_owned(),
                },
                grant.service.clone(),
                grant.authority.to_string(),
                format!("{}/{most}", record.accounts),
                grant_signers::told(&signer(&record.evidence, policy)),
                grant.profiles.join(","),
                names.join(","),
            ]
        })
        .collect();
    table(["GRANT", "STATUS", "SERVICE", "AUTHORITY", "ACCOUNTS", "SIGNED BY", "PROFILES", "NAMES"], &rows)
}
