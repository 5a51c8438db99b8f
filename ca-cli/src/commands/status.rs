//! `ca status`

use ca_core::pki::{KeyAlgorithm, Timestamp};
use serde_json::{Value, json};

use crate::cli::Output;
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest, StatusReport};
use crate::render::{many, plain, print, print_json, relative, span, table};

pub(crate) async fn status(config: &Config, output: Output) -> anyhow::Result<()> {
    let ControlAnswer::Status(report) = ask(&config.control.socket, &ControlRequest::Status).await? else { return Err(unexpected()) };
    if output.json { print_json(&to_json(&report)) } else { print(&to_text(&report)) }
}

fn to_json(report: &StatusReport) -> Value {
    let time = |t: Option<Timestamp>| t.map(|t| t.to_rfc3339());
    json!({
        "version": report.version, "started_at": report.started_at.to_rfc3339(), "now": report.now.to_rfc3339(),
        "ready": report.responder_not_ready.is_empty() && report.keystore_error.is_none() && report.anchor_trouble.is_none(),
        "anchor_trouble": report.anchor_trouble, "stopped": report.stopped,
        "responder_not_ready": report.responder_not_ready, "keystore_error": report.keystore_error,
        "policy": { "version": report.policy_version, "officers": report.policy_officers, "rehearsal": report.rehearsal },
        "store_socket": { "refused_peers": report.refused_store_peers, "refused_commands": report.refused_store_commands },
        "backlog": { "waiting": report.backlog, "oldest": time(report.backlog_oldest) },
        "authorities": report.authorities.iter().map(|a| json!({
            "name": a.name, "default": a.is_default, "root": a.root, "key_algorithm": a.algorithm,
            "post_quantum": a.algorithm.is_some_and(KeyAlgorithm::is_post_quantum), "not_after": time(a.not_after), "ended": has_ended(a.not_after, report.now),
            "crl_number": a.crl_number,
            "crl_next_update": time(a.crl_next_update), "ledger": a.ledger,
        })).collect::<Vec<_>>(),
        "own": report.own.iter().map(|o| json!({
            "authority": o.authority, "name": o.name, "serial": o.serial, "not_after": time(o.not_after),
        })).collect::<Vec<_>>(),
        "ending_grants": report.ending_grants.iter().map(|g| json!({
            "id": g.id, "service": g.service, "valid_until": g.valid_until.to_rfc3339(), "ended": g.valid_until <= report.now,
        })).collect::<Vec<_>>(),
        "jobs": report.jobs.iter().map(|j| json!({
            "id": j.id, "due": j.due.to_rfc3339(), "failures": j.failures, "last_error": j.last_error, "last_done": time(j.last_done),
        })).collect::<Vec<_>>(),
    })
}

fn has_ended(not_after: Option<Timestamp>, now: Timestamp) -> bool {
    not_after.is_some_and(|end| end <= now)
}

fn to_text(report: &StatusReport) -> String {
    let now = report.now;
    let when = |t: Option<Timestamp>| t.map_or_else(|| "none".to_owned(), |t| relative(t, now));
    let end = |t: Option<Timestamp>| if has_ended(t, now) { format!("ENDED {}", when(t)) } else { when(t) };
    let mut troubles: Vec<&String> =
        report.responder_not_ready.iter().chain(&report.keystore_error).chain(&report.anchor_trouble).collect();
    troubles.dedup();
    let mut out = format!(
        "ca {}, up {}: {}\npolicy version {}, approved by {}{}\n",
        report.version,
        span(now.since(report.started_at)),
        if troubles.is_empty() { "ready" } else { "NOT READY" },
        report.policy_version,
        report.policy_officers.join(", "),
        if report.rehearsal { " (a rehearsal: nothing of it counts in production)" } else { "" },
    );
    troubles.iter().for_each(|t| out.push_str(&format!("  {t}\n")));
    if report.refused_store_peers + report.refused_store_commands > 0 {
        out.push_str(&format!(
            "ALARM: the store's socket refused {} and {} (hint: `ca audit tail`, action store.refuse; the log tells the users)\n",
            many(report.refused_store_peers, "connection"),
            many(report.refused_store_commands, "command")
        ));
    }
    if report.stopped {
        out.push_str("ISSUANCE IS STOPPED: orders wait until officers let it go on; revocations, CRLs and OCSP go on\n");
    }
    out.push_str(&match report.backlog {
        0 => "no request waits\n".to_owned(),
        n => format!("{} in the queue, the oldest since {}\n", many(n, "request"), when(report.backlog_oldest)),
    });
    let rows: Vec<[String; 6]> = report
        .authorities
        .iter()
        .map(|a| {
            let kind = match (a.root, a.is_default) {
                (true, _) => "root",
                (false, true) => "issuing, default",
                (false, false) => "issuing",
            };
            let key = a.algorithm.map_or_else(|| "unknown".to_owned(), KeyAlgorithm::described);
            [a.name.to_string(), kind.to_owned(), key, end(a.not_after), when(a.crl_next_update), a.ledger.to_string()]
        })
        .collect();
    out.push_str(&format!("\n{}", table(["AUTHORITY", "KIND", "KEY", "ENDS", "CRL NEXT UPDATE", "REVOCATIONS"], &rows)));
    let rows: Vec<[String; 4]> = report
        .own
        .iter()
        .map(|o| {
            [o.name.clone(), o.authority.to_string(), end(o.not_after), o.serial.map_or_else(|| "none yet".to_owned(), |s| s.to_string())]
        })
        .collect();
    out.push_str(&format!("\n{}", table(["OWN CERTIFICATE", "AUTHORITY", "ENDS", "SERIAL"], &rows)));
    if !report.ending_grants.is_empty() {
        let rows: Vec<[String; 3]> = report
            .ending_grants
            .iter()
            .map(|g| {
                let end = relative(g.valid_until, now);
                [g.id.to_string(), plain(&g.service), if g.valid_until <= now { format!("ENDED {end}") } else { end }]
            })
            .collect();
        let hint = "Their services get no certificates after that: ca grant extend ID --valid-until 365d\n";
        out.push_str(&format!("\n{}{hint}", table(["GRANT", "SERVICE", "ENDS"], &rows)));
    }
    let rows: Vec<[String; 4]> = report
        .jobs
        .iter()
        .map(|j| {
            let trouble = j
                .last_error
                .clone()
                .filter(|_| j.failures > 0)
                .map_or_else(String::new, |e| format!("failed {}: {e}", many(j.failures, "time")));
            [j.id.to_string(), relative(j.due, now), when(j.last_done), trouble]
        })
        .collect();
    out.push_str(&format!("\n{}", table(["JOB", "DUE", "LAST DONE", "TROUBLE"], &rows)));
    out
}
