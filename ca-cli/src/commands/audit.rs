//! `ca audit …`

use std::time::Duration;

use ca_core::log::{Leaf, read_leaf};
use ca_core::model::{AuditRow, IntentContent, Outcome};
use serde_json::{Value, json};

use super::trail;
use crate::cli::{AuditCommand, Output};
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::render::{plain, print};

/// How often `--follow` looks.
const POLL: Duration = Duration::from_millis(500);

/// `config` is not read where a file is enough.
pub(crate) async fn audit(config: impl Fn() -> anyhow::Result<Config>, command: AuditCommand) -> anyhow::Result<()> {
    match command {
        AuditCommand::Tail { lines, follow, output } => tail(&config()?, lines, follow, output).await,
        AuditCommand::Export { file } => trail::export(&config()?, &file).await,
        AuditCommand::Reconcile { file: Some(file), output } => trail::reconcile_file(&file, output),
        AuditCommand::Reconcile { file: None, output } => trail::reconcile(&config()?, output).await,
    }
}

async fn tail(config: &Config, lines: u32, follow: bool, output: Output) -> anyhow::Result<()> {
    let (mut after, mut shown) = (None, 0);
    loop {
        let limit = if follow { lines } else { lines.saturating_sub(shown) };
        let ControlAnswer::Audit { rows } = ask(&config.control.socket, &ControlRequest::Audit { after, limit }).await? else {
            return Err(unexpected());
        };
        shown = shown.saturating_add(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        for row in &rows {
            print(&(if output.json { to_json(row).to_string() } else { to_line(row) } + "\n"))?;
        }
        after = rows.last().map(|r| r.number).or(after).or(Some(0));
        // Large rows come in several pages.
        if !rows.is_empty() && (follow || shown < lines) {
            continue;
        }
        if !follow {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

/// One JSON object a line.
fn to_json(row: &AuditRow) -> Value {
    let (kind, entry) = match read_leaf(&row.leaf) {
        Some(Leaf::Audit(entry)) => ("audit", json!(entry)),
        Some(Leaf::Intent(intent)) => ("intent", json!(intent)),
        None => ("unknown", Value::String(String::from_utf8_lossy(&row.leaf).into_owned())),
    };
    json!({ "number": row.number, "hash": row.hash, "kind": kind, "entry": entry })
}

fn to_line(row: &AuditRow) -> String {
    let text = match read_leaf(&row.leaf) {
        Some(Leaf::Audit(entry)) => {
            let outcome = match &entry.outcome {
                Outcome::Done => "done".to_owned(),
                Outcome::Begun => "begun".to_owned(),
                Outcome::Refused { reason } => format!("REFUSED: {reason}"),
                Outcome::Failed { reason } => format!("FAILED: {reason}"),
            };
            let authority = entry.authority.map(|a| format!(" at {a}")).unwrap_or_default();
            format!("{}  {:<22} {}{authority} by {}: {outcome}", entry.at, entry.action, entry.object, entry.actor)
        }
        Some(Leaf::Intent(intent)) => {
            let (action, object) = match &intent.content {
                IntentContent::Certificate(c) => ("certificate.intent", c.serial.to_string()),
                IntentContent::Crl(c) => ("crl.intent", format!("{}/{}", c.scope, c.number)),
                IntentContent::Request(a) => ("request.intent", a.spki_sha256.to_string()),
                IntentContent::KeyTest(a) => ("key-test.intent", a.spki_sha256.to_string()),
            };
            format!(
                "{}  {action:<22} {object} at {} by {}: to be signed, SHA-256 {}",
                intent.at, intent.authority, intent.actor, intent.tbs_sha256
            )
        }
        None => String::from_utf8_lossy(&row.leaf).chars().take(160).collect(),
    };
    plain(&format!("{:>6}  {text}", row.number))
}

#[cfg(test)]
mod tests {
    use ca_core::log::audit_leaf;
    use ca_core::model::{Actor, AuditEntry};
    use ca_core::pki::{Sha256Digest, Timestamp};

    use super::*;

    #[test]
    fn a_line_tells_all_and_steers_no_terminal() {
        let entry = AuditEntry {
            at: Timestamp::from_unix(0),
            actor: Actor::system("worker"),
            action: "grant.create".to_owned(),
            authority: Some("demo".parse().unwrap()),
            object: "x\u{1b}[2J".to_owned(),
            outcome: Outcome::Refused { reason: "no".to_owned() },
            correlation: "c".to_owned(),
            detail: Value::Null,
        };
        let row = AuditRow { number: 7, leaf: audit_leaf(&entry), hash: Sha256Digest([0; 32]) };
        let line = to_line(&row);
        assert!(line.contains("1970-01-01T00:00:00Z  grant.create") && line.contains(" at demo by system worker: REFUSED: no"), "{line}");
        assert!(!line.contains('\u{1b}'));
        assert_eq!(to_json(&row)["entry"]["action"], "grant.create");
        let other = AuditRow { number: 8, leaf: b"countersign/other/1\n\x1b{}".to_vec(), hash: Sha256Digest([0; 32]) };
        assert!(to_line(&other).contains("countersign/other/1") && !to_line(&other).contains('\u{1b}'));
        assert_eq!(to_json(&other)["kind"], "unknown");
    }
}
