//! `ca anchor …`: the worker's memory outside the database. What changes it needs the instance stopped and the
//! officers' signatures; showing and verifying work at any time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use ca_core::anchor::{AnchorOperation, AnchorState, ApprovedAnchor, LogHead};
use ca_core::ceremony::{Roster, RosterChain};
use ca_core::evidence::grant::row_fault;
use ca_core::evidence::sshsig;
use ca_core::lifecycle::walk;
use ca_core::model::{Actor, AuditEntry, AuditRow, GrantRecord, Outcome};
use ca_core::pki::{Sha256Digest, sha256};
use ca_core::ports::{Anchor as _, AuditStore, CertificateStore as _, Clock as _, StoreError, StoreResult, each_grant};
use ca_store_sqlite::SqliteStore;
use serde_json::{Value, json};

use super::grant_signers::every_grant;
use super::import::imported;
use crate::anchor::{FileAnchor, crl_steps, failed, read, root, round_failed, statement};
use crate::cli::{AnchorCommand, Output};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, code_of, configuration, failure, store as store_failure};
use crate::render::{many, print, print_json, relative, table};
use crate::serve::compose::{read_bounded, read_roster};
use crate::serve::{TrustedPolicy, trusted_policy};
use crate::system::{SystemClock, SystemRng};

/// The most signatures that one command takes.
const MAX_SIGNATURES: usize = 512;

/// `ca anchor …`
pub(crate) async fn anchor(config: &Config, command: AnchorCommand) -> anyhow::Result<()> {
    let path =
        &config.anchor.as_ref().map(|section| section.file.clone()).ok_or_else(|| {
            configuration("the configuration has no anchor (hint: name its file under [anchor]; a production CA needs one)")
        })?;
    match command {
        AnchorCommand::Statement { out, restore } => {
            with_store(config, async |store| write_statement(config, path, store, &out, restore).await).await
        }
        AnchorCommand::Init { statement, signatures } => {
            with_store(config, async |store| init(config, path, store, &statement, &signatures).await).await
        }
        AnchorCommand::AcceptRestore { statement, signatures, yes } => {
            super::confirm("What the newer database had and the restored one lacks is given up", yes)?;
            with_store(config, async |store| accept_restore(config, path, store, &statement, &signatures).await).await
        }
        AnchorCommand::Show { output } => show(path, output),
        AnchorCommand::Verify { output } => verify(config, path, output).await,
    }
}

/// Opens the database, which needs the instance stopped, and closes it again.
async fn with_store(config: &Config, work: impl AsyncFnOnce(&SqliteStore) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let store = SqliteStore::open(&config.store.path, Arc::new(SystemRng)).await.map_err(store_failure)?;
    let result = work(&store).await;
    store.close().await;
    result
}

async fn write_statement(config: &Config, path: &Path, store: &SqliteStore, out: &Path, restore: bool) -> anyhow::Result<()> {
    let roster = read_roster(config)?;
    let TrustedPolicy { verified, .. } = trusted_policy(config, &roster, store).await?;
    let now = SystemClock.now();
    let known = if restore {
        let state = read(path)?.state;
        let whole = walk(store, LogHead::START, None, |_| {}).await.map_err(round_failed)?;
        if state.rows_behind(whole) == 0 && has(store, state.log()).await? && state.after(&[], now).is_ok() {
            return Err(failure(
                Exit::Refused,
                "there is nothing to accept: this database has everything that the anchor remembers (hint: start it: ca serve)",
            ));
        }
        Some(state)
    } else {
        None
    };
    let signing = match &known {
        Some(state) => standing(&verified.chain, state)?,
        None => verified.chain.standing(),
    };
    let statement = statement(store, &roster, &verified, known.as_ref(), &SystemRng, now).await?;
    ca_ceremony::write_new(out, &statement.to_bytes(), 0o644).map_err(|e| failure(Exit::from_code(e.exit_code()), e.to_string()))?;
    let shown = out.display();
    let command = if restore { "accept-restore" } else { "init" };
    let mut text = String::new();
    if let Some(state) = &known {
        text.push_str(&format!(
            "The database ends at row {} of the audit trail; the anchor remembers row {}. Missing: {}.\n",
            statement.log.number,
            state.log().number,
            many(state.rows_behind(statement.log), "row")
        ));
        if verified.version < state.policy().0 {
            text.push_str(&format!(
                "The database has policy version {}, the anchor {}: nothing is signed until a policy newer than that is in force.\n",
                verified.version,
                state.policy().0
            ));
        }
    }
    print(&format!(
        "{text}Wrote {shown}. At least {} of {} sign it by {}, each with:\n\n    ssh-keygen -Y sign -n {} -f KEY {shown}\n\nThen: ca anchor {command} {shown} --signature SIGNATURE …\n",
        signing.threshold,
        signing.officers.iter().map(|o| o.name.as_str()).collect::<Vec<_>>().join(", "),
        statement.expires_at,
        roster.kind.namespace(),
    ))
}

/// Reads a statement and its signatures, and has them judged.
fn approved(operation: AnchorOperation, statement: &Path, signatures: &[PathBuf], roster: &Roster) -> anyhow::Result<ApprovedAnchor> {
    if signatures.len() > MAX_SIGNATURES {
        return Err(failure(Exit::Usage, format!("{}; the most is {MAX_SIGNATURES}", many(signatures.len(), "signature"))));
    }
    let text = |path: &Path, most: usize| {
        read_bounded(path, most).map_err(|e| failure(Exit::Usage, format!("cannot read {}: {e}", path.display())))
    };
    let bytes = text(statement, ca_core::anchor::AnchorStatement::MAX_BYTES)?;
    let armored = signatures.iter().map(|path| text(path, sshsig::MAX_ARMORED)).collect::<anyhow::Result<Vec<_>>>()?;
    ApprovedAnchor::verify(operation, bytes.as_bytes(), &armored, roster, SystemClock.now())
        .map_err(|e| failure(Exit::Refused, format!("{}: {e}", statement.display())))
}

/// The database that the statement was drawn from: its root, and its chain through the statement's row.
async fn is_its_database(store: &SqliteStore, approved: &ApprovedAnchor) -> anyhow::Result<()> {
    let statement = approved.statement();
    let mut met = statement.log == LogHead::START;
    walk(store, LogHead::START, None, |row| met |= row.number == statement.log.number && row.hash == statement.log.head)
        .await
        .map_err(round_failed)?;
    let root = root(store).await?;
    if met && root == statement.authority {
        return Ok(());
    }
    Err(failure(
        Exit::Refused,
        format!(
            "the statement is about another database: it names `{}` and row {} of its audit trail (hint: have `ca anchor statement` write a new one)",
            statement.authority, statement.log.number
        ),
    ))
}

async fn init(config: &Config, path: &Path, store: &SqliteStore, statement: &Path, signatures: &[PathBuf]) -> anyhow::Result<()> {
    let roster = read_roster(config)?;
    let TrustedPolicy { verified, .. } = trusted_policy(config, &roster, store).await?;
    let approved = approved(AnchorOperation::Init, statement, signatures, verified.chain.standing())?;
    create(config, path, store, &roster, &approved).await?;
    print(&format!("Made the anchor {}, approved by {}. Start it: ca serve\n", path.display(), approved.officers().join(", ")))
}

/// Makes the anchor that the officers approved, for exactly this database.
pub(crate) async fn create(
    config: &Config,
    path: &Path,
    store: &SqliteStore,
    roster: &Roster,
    approved: &ApprovedAnchor,
) -> anyhow::Result<()> {
    let TrustedPolicy { verified, .. } = trusted_policy(config, roster, store).await?;
    is_its_database(store, approved).await?;
    let signed = approved.statement();
    if (signed.policy_version, signed.policy_sha256) != (verified.version, verified.sha256) {
        return Err(failure(
            Exit::Refused,
            format!("the statement names policy version {}, and the database has version {}", signed.policy_version, verified.version),
        ));
    }
    let now = SystemClock.now();
    let crls = crl_steps(store).await.map_err(store_failure)?;
    FileAnchor::create(path, approved, &crls, now).await?;
    note(store, "anchor.init", path, approved, Outcome::Done, Value::Null).await
}

async fn accept_restore(config: &Config, path: &Path, store: &SqliteStore, statement: &Path, signatures: &[PathBuf]) -> anyhow::Result<()> {
    let roster = read_roster(config)?;
    let anchor = FileAnchor::open(path).await?;
    let TrustedPolicy { verified, .. } = trusted_policy(config, &roster, store).await?;
    let standing = standing(&verified.chain, &anchor.state())?;
    let approved = approved(AnchorOperation::AcceptRestore, statement, signatures, standing)?;
    is_its_database(store, &approved).await?;
    let missing = anchor.state().rows_behind(approved.statement().log);
    let detail = json!({ "given_up": anchor.state().log(), "rows_missing": missing });
    note(store, "anchor.accept-restore", path, &approved, Outcome::Begun, detail.clone()).await?;
    anchor.accept_restore(&approved, SystemClock.now()).map_err(failed)?;
    note(store, "anchor.accept-restore", path, &approved, Outcome::Done, detail).await?;
    print(&format!(
        "The anchor goes on from row {} of the audit trail, approved by {}. Given up: {}. Policy, roster, CRL numbers, spent approvals and a stop stay as they were. Start it: ca serve\n",
        approved.statement().log.number,
        approved.officers().join(", "),
        many(missing, "row")
    ))
}

/// The roster that the anchor remembers, whose officers sign about it. An older database may lack the change.
fn standing<'a>(chain: &'a RosterChain, state: &AnchorState) -> anyhow::Result<&'a Roster> {
    let (number, digest) = state.roster();
    chain.at(number).filter(|roster| roster.digest() == digest).ok_or_else(|| {
        failure(
            Exit::Refused,
            format!(
                "the database has the officers' roster number {}, and the anchor remembers number {number} ({digest}) (hint: bring the changes back first, from a copy of `ca officer list --json`: ca officer import FILE)",
                chain.number()
            ),
        )
    })
}

async fn note(
    store: &SqliteStore,
    action: &str,
    path: &Path,
    approved: &ApprovedAnchor,
    outcome: Outcome,
    detail: Value,
) -> anyhow::Result<()> {
    let entry = AuditEntry {
        at: SystemClock.now(),
        actor: Actor::Officers { names: approved.officers().to_vec() },
        action: action.to_owned(),
        authority: Some(approved.statement().authority.clone()),
        object: path.display().to_string(),
        outcome,
        correlation: approved.statement().nonce.clone(),
        detail,
    };
    store.append_audit(&entry).await.map(|_| ()).map_err(store_failure)
}

fn show(path: &Path, output: Output) -> anyhow::Result<()> {
    let reading = read(path)?;
    if output.json { print_json(&to_json(&reading.state)) } else { print(&to_text(&reading.state)) }
}

fn to_json(state: &AnchorState) -> Value {
    let ((roster_number, roster), (policy_version, policy)) = (state.roster(), state.policy());
    json!({
        "genesis_roster": state.genesis_roster(), "roster_number": roster_number, "roster": roster,
        "policy_version": policy_version, "policy_sha256": policy, "stopped": state.is_stopped(),
        "grants": state.grants(), "log": state.log(), "latest": state.latest().to_rfc3339(), "spent_approvals": state.spent(),
        "crls": state.crl_numbers().map(|(a, scope, number)| json!({ "authority": a, "scope": scope, "number": number })).collect::<Vec<_>>(),
        "issued_within_the_hour": state.issued().map(|(a, count)| json!({ "authority": a, "certificates": count })).collect::<Vec<_>>(),
    })
}

fn to_text(state: &AnchorState) -> String {
    let ((roster_number, roster), (policy_version, policy)) = (state.roster(), state.policy());
    let mut rows = vec![
        ["first roster".to_owned(), state.genesis_roster().to_string()],
        ["standing roster".to_owned(), format!("number {roster_number}, {roster}")],
        ["policy".to_owned(), format!("version {policy_version}, {policy}")],
        ["issuance".to_owned(), if state.is_stopped() { "STOPPED" } else { "not stopped" }.to_owned()],
        ["audit trail".to_owned(), format!("row {}, {}", state.log().number, state.log().head)],
        ["latest time".to_owned(), format!("{} ({})", state.latest(), relative(state.latest(), SystemClock.now()))],
        ["spent approvals".to_owned(), state.spent().to_string()],
        ["grants".to_owned(), format!("the newest statement of {}", state.grants())],
    ];
    rows.extend(
        state.crl_numbers().map(|(authority, scope, number)| [format!("CRL of {authority}, scope {scope}"), format!("number {number}")]),
    );
    rows.extend(state.issued().map(|(authority, count)| [format!("issued by {authority}"), format!("{count} within the hour")]));
    table(["WHAT", "THE ANCHOR REMEMBERS"], &rows)
}

/// The audit trail of a running instance, read only.
struct Asked<'a>(&'a Path);

#[async_trait]
impl AuditStore for Asked<'_> {
    async fn append_audit(&self, _: &AuditEntry) -> StoreResult<u64> {
        Err(StoreError::Conflict("the control socket takes no audit entries".to_owned()))
    }

    async fn audit_after(&self, number: u64, limit: u32) -> StoreResult<Vec<AuditRow>> {
        let unavailable = |e: anyhow::Error| StoreError::Unavailable(format!("{e:#}"));
        match ask(self.0, &ControlRequest::Audit { after: Some(number), limit }).await.map_err(unavailable)? {
            ControlAnswer::Audit { rows } => Ok(rows),
            _ => Err(unavailable(unexpected())),
        }
    }
}

async fn verify(config: &Config, path: &Path, output: Output) -> anyhow::Result<()> {
    let state = read(path)?.state;
    let roster = read_roster(config)?;
    if roster.digest() != state.genesis_roster() {
        return Err(failure(Exit::Refused, format!("the anchor began with another roster than {}", config.trust.roster.display())));
    }
    let socket = &config.control.socket;
    let mut imports = BTreeSet::new();
    let (end, grants, authorities) = match ask(socket, &ControlRequest::Audit { after: Some(0), limit: 1 }).await {
        Ok(_) => {
            let end = through(&Asked(socket), state.log(), &mut imports).await?;
            (end, faults(path, async || every_grant(socket).await).await?, super::authorities(socket).await?)
        }
        Err(error) if code_of(&error) == Exit::Temporary => {
            let store = SqliteStore::open(&config.store.path, Arc::new(SystemRng)).await.map_err(store_failure)?;
            let walked = through(&store, state.log(), &mut imports).await;
            let every = async || {
                let mut grants = Vec::new();
                each_grant(&store, |grant| grants.push(grant.clone())).await.map_err(store_failure)?;
                anyhow::Ok(grants)
            };
            let grants = faults(path, every).await;
            let authorities = store.authorities().await.map_err(store_failure);
            store.close().await;
            (walked?, grants?, authorities?)
        }
        Err(error) => return Err(error),
    };
    let strangers: Vec<String> = authorities
        .iter()
        .map(|authority| (authority, sha256(&authority.certificate)))
        .filter(|(_, digest)| !imports.contains(digest))
        .map(|(authority, digest)| {
            format!("no import on record brought the certificate of authority `{}`, SHA-256 {digest}", authority.name)
        })
        .collect();
    if !strangers.is_empty() {
        return Err(failure(
            Exit::Refused,
            format!(
                "{} (hint: the database was edited, or the import is from before certificates were recorded; stop the instance and `ca import` the ceremony's bundle again: where it is the right one, that records it)",
                strangers.join("; ")
            ),
        ));
    }
    if !grants.is_empty() {
        return Err(failure(
            Exit::Refused,
            format!(
                "{} (hint: the database is an older copy, or was edited; nothing is issued by what was put there: docs/officer.md, \"The anchor\")",
                grants.join("; ")
            ),
        ));
    }
    if output.json {
        return print_json(
            &json!({ "ok": true, "rows": end.number, "head": end.head, "anchor_row": state.log().number, "grants": state.grants() }),
        );
    }
    print(&format!(
        "The audit trail has {} rows, each follows from the one before, and it passes through row {} that the anchor remembers. Each of {} grants stands on its newest statement and says what that says, and an import on record brought the certificate of each authority.\n",
        end.number,
        state.log().number,
        state.grants()
    ))
}

/// What is wrong with grants. An instance that runs may change one meanwhile: what a second look does not find again is
/// nothing.
async fn faults(path: &Path, list: impl AsyncFn() -> anyhow::Result<Vec<GrantRecord>>) -> anyhow::Result<Vec<String>> {
    let look = async || {
        let listed = list().await?;
        let state = read(path)?.state;
        let fault = |record: &GrantRecord| state.grant_fault(record).or_else(|| row_fault(record));
        anyhow::Ok(listed.iter().filter_map(fault).collect::<Vec<_>>())
    };
    let first = look().await?;
    Ok(if first.is_empty() { first } else { look().await? })
}

/// Walks the whole chain, which must pass through `place`, and collects the certificates whose import is on record.
async fn through(store: &(impl AuditStore + ?Sized), place: LogHead, imports: &mut BTreeSet<Sha256Digest>) -> anyhow::Result<LogHead> {
    let mut met = place == LogHead::START;
    let seen = |row: &AuditRow| {
        met |= row.number == place.number && row.hash == place.head;
        imports.extend(imported(row));
    };
    let end = walk(store, LogHead::START, None, seen).await.map_err(round_failed)?;
    if met {
        return Ok(end);
    }
    Err(failure(
        Exit::Refused,
        format!(
            "the audit trail has {} rows and does not pass through row {} ({}) that the anchor remembers (hint: the database is an older copy, or was edited; see docs/officer.md, \"After a restore\")",
            end.number, place.number, place.head
        ),
    ))
}

async fn has(store: &SqliteStore, place: LogHead) -> anyhow::Result<bool> {
    if place == LogHead::START {
        return Ok(true);
    }
    let row = store.audit_after(place.number.saturating_sub(1), 1).await.map_err(store_failure)?.into_iter().next();
    Ok(row.is_some_and(|row| row.number == place.number && row.hash == place.head))
}
