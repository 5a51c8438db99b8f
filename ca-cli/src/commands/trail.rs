//! The whole audit trail: exported, and reconciled with the device's log and with itself.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;

use ca_core::log::{ChainError, FollowedReport, FollowedRevocations, Reconciler, Reconciliation};
use ca_core::model::AuditRow;
use serde::Serialize;

use crate::cli::Output;
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, configuration, failure};
use crate::render::{many, plain, print, print_json, table};

/// How many rows are asked for at once.
const PAGE: u32 = 1000;
/// The longest line of an export: an intent's leaf has the to-be-signed bytes, and an old one of a CRL megabytes of them.
const MAX_LINE: u64 = 256 * 1024 * 1024;

/// Gives every row of the running instance, oldest first.
async fn each_row(config: &Config, mut take: impl FnMut(AuditRow) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let request = ControlRequest::Audit { after: Some(after), limit: PAGE };
        let ControlAnswer::Audit { rows } = ask(&config.control.socket, &request).await? else {
            return Err(unexpected());
        };
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.number;
        rows.into_iter().try_for_each(&mut take)?;
    }
}

pub(super) async fn export(config: &Config, path: &Path) -> anyhow::Result<()> {
    let wrong = |e: std::io::Error| {
        let hint = if e.kind() == std::io::ErrorKind::AlreadyExists { " (hint: nothing was overwritten; name a new file)" } else { "" };
        configuration(format!("cannot write {}: {e}{hint}", path.display()))
    };
    let mut out = BufWriter::new(File::create_new(path).map_err(wrong)?);
    let mut rows = 0u64;
    each_row(config, |row| {
        rows += 1;
        serde_json::to_writer(&mut out, &row)?;
        out.write_all(b"\n").map_err(wrong)
    })
    .await?;
    out.into_inner().map_err(|e| wrong(e.into_error()))?.sync_all().map_err(wrong)?;
    print(&format!("{} in {}. Check them anywhere: ca audit reconcile {}\n", many(rows, "row"), path.display(), path.display()))
}

fn broken(error: &ChainError) -> anyhow::Error {
    failure(
        Exit::Failed,
        format!("{error} (hint: rows before it are as they were written; compare with an export or a backup from before)"),
    )
}

/// What the whole trail shows.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    trail: Reconciliation,
    /// Revocations that nobody asked for.
    followed: FollowedReport,
}

/// Gives every row of an export, oldest first.
fn each_line(path: &Path, mut take: impl FnMut(AuditRow) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let wrong = |e: &dyn std::fmt::Display| configuration(format!("{}: {e} (hint: `ca audit export` writes such a file)", path.display()));
    let mut lines = BufReader::new(File::open(path).map_err(|e| wrong(&e))?);
    let (mut line, mut number) = (Vec::new(), 0u64);
    loop {
        line.clear();
        number += 1;
        lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(|e| wrong(&e))?;
        if line.is_empty() {
            return Ok(());
        }
        take(serde_json::from_slice(&line).map_err(|e| wrong(&format!("line {number}: {e}")))?)?;
    }
}

/// Reads an export.
pub(super) fn reconcile_file(path: &Path, output: Output) -> anyhow::Result<()> {
    let (mut reconciler, mut followed) = (Reconciler::default(), FollowedRevocations::default());
    each_line(path, |row| {
        followed.prepare(&row);
        reconciler.take(&row).map_err(|e| broken(&e))
    })?;
    each_line(path, |row| {
        followed.take(&row);
        Ok(())
    })?;
    report(&Report { trail: reconciler.finish(), followed: followed.finish() }, output)
}

/// Asks the running instance.
pub(super) async fn reconcile(config: &Config, output: Output) -> anyhow::Result<()> {
    let (mut reconciler, mut followed) = (Reconciler::default(), FollowedRevocations::default());
    each_row(config, |row| {
        followed.prepare(&row);
        reconciler.take(&row).map_err(|e| broken(&e))
    })
    .await?;
    each_row(config, |row| {
        followed.take(&row);
        Ok(())
    })
    .await?;
    report(&Report { trail: reconciler.finish(), followed: followed.finish() }, output)
}

fn report(result: &Report, output: Output) -> anyhow::Result<()> {
    if output.json {
        print_json(result)?
    } else {
        print(&to_text(result))?
    }
    if !result.trail.is_clean() {
        let count = many(result.trail.finding_count, "finding");
        let hint =
            "a signature behind the CA's back is a compromise of the key's credential: seal the key, then follow the officers' guide";
        return Err(failure(Exit::Failed, format!("{count} (hint: {hint})")));
    }
    if result.followed.finding_count > 0 {
        let count = many(result.followed.finding_count, "finding");
        let hint = "a revocation that follows from nothing was put on record by whoever can write the database, or by a fault";
        return Err(failure(Exit::Failed, format!("{count} (hint: {hint})")));
    }
    Ok(())
}

fn to_text(Report { trail: result, followed }: &Report) -> String {
    let mut out = format!("{}; the hash chain holds, its head is {}\n", many(result.rows, "row"), result.head);
    if result.devices.is_empty() {
        out.push_str("No device's log is in the trail: software keys and most PKCS#11 tokens keep none, so only the record speaks.\n");
    } else {
        for (serial, entries) in &result.devices {
            let _ = writeln!(out, "device {}: {entries} log entries", plain(serial));
        }
        let rows: Vec<[String; 6]> = result
            .keys
            .iter()
            .map(|(key, account)| {
                [
                    key.to_string(),
                    account.signatures.to_string(),
                    account.signed.to_string(),
                    account.surplus().saturating_sub(account.unexplained).to_string(),
                    account.ceremonies.to_string(),
                    account.unexplained.to_string(),
                ]
            })
            .collect();
        out.push('\n');
        out.push_str(&table(
            ["KEY", "SIGNED BY DEVICE", "ON RECORD", "OF OPEN OR ABANDONED ATTEMPTS", "IN CEREMONIES", "UNEXPLAINED"],
            &rows,
        ));
    }
    for share in &result.ceremonies {
        let count: u64 = share.signatures.values().sum();
        let _ = writeln!(
            out,
            "Of the device {}: {} of the ceremony whose transcript ends in {}: `ca-ceremony verify` its bundle",
            plain(&share.device),
            many(count, "signature"),
            share.transcript
        );
    }
    let FollowedReport { by_key, by_account, by_operators, .. } = followed;
    if by_key + by_account + by_operators > 0 {
        let _ = writeln!(
            out,
            "{} followed from another one's keyCompromise: {by_key} on the key's own word, {by_account} on an account's, {by_operators} on operators' or officers'",
            many(by_key + by_account + by_operators, "revocation")
        );
    }
    for finding in result.findings.iter().chain(&followed.findings) {
        let _ = writeln!(out, "FINDING: {}", plain(finding));
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ca_core::log::{CHAIN_START, audit_leaf, chain};
    use ca_core::model::{Actor, AuditEntry, Outcome};
    use ca_core::pki::Timestamp;

    use super::*;
    use crate::exit::code_of;

    fn rows(count: u64) -> Vec<AuditRow> {
        let mut before = CHAIN_START;
        let row = |number| {
            let entry = AuditEntry {
                at: Timestamp::from_unix(0),
                actor: Actor::system("test"),
                action: "grant.create".to_owned(),
                authority: None,
                object: "x".to_owned(),
                outcome: Outcome::Done,
                correlation: "c".to_owned(),
                detail: serde_json::Value::Null,
            };
            let leaf = audit_leaf(&entry);
            before = chain(&before, &leaf);
            AuditRow { number, leaf, hash: before }
        };
        (1..=count).map(row).collect()
    }

    #[track_caller]
    fn check(lines: &[String], expected: Result<(), &str>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
        match (reconcile_file(file.path(), Output { json: false }), expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn an_export_is_checked_without_the_instance() {
        let lines: Vec<String> = rows(3).iter().map(|r| serde_json::to_string(r).unwrap()).collect();
        check(&lines, Ok(()));
        check(&lines[1..], Err("rows are missing"));
        let mut changed = rows(3);
        changed[1].leaf.push(b' ');
        check(&changed.iter().map(|r| serde_json::to_string(r).unwrap()).collect::<Vec<_>>(), Err("row 2 does not fit"));
        check(&["rubbish".to_owned()], Err("line 1"));
        let missing = reconcile_file(Path::new("/nowhere"), Output { json: false }).unwrap_err();
        assert_eq!(code_of(&missing), Exit::Configuration);
    }
}
