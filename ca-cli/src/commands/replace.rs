//! `ca cert replace`: marks that have clients renew before a revocation, and how far that has come.

use std::collections::HashMap;
use std::time::Duration;

use ca_core::evidence::statement::Operation;
use ca_core::lifecycle::OperatorReply;
use ca_core::model::{BulkChoice, GrantId, ReplacementCount, ReplacementReport, ServiceReplacements};
use ca_core::pki::Timestamp;
use ca_core::ports::Clock as _;
use serde_json::{Value, json};

use super::bulk::{choice, filter};
use super::grant_signers::every_grant;
use super::{cert, submit};
use crate::cli::Replace;
use crate::config::Config;
use crate::control::client::{ask, unexpected};
use crate::control::protocol::{ControlAnswer, ControlRequest};
use crate::exit::{Exit, failure};
use crate::render::{many, print, print_json, relative, table};
use crate::system::SystemClock;

/// The most serial numbers in one statement.
const MAX_LISTED: usize = 1000;

/// How many of those to go are shown to people; `--json` has as many as the report.
const SHOWN: usize = 20;

/// The services' own certificates.
const OWN: &str = "(this CA's own)";

pub(super) async fn replace(config: &Config, args: Replace) -> anyhow::Result<()> {
    if args.status {
        return status(config, args).await;
    }
    let (undo, dry_run, explanation) = (args.undo, args.dry_run, args.explain.clone());
    let (signing, output) = (args.signing.clone(), args.output);
    let choice = meant(config, args).await?;
    let (authority, described) = (choice.authority.clone(), choice.describe());
    if dry_run {
        let ControlAnswer::Chosen { serials, .. } = ask(&config.control.socket, &ControlRequest::Choose { choice, or_none: false }).await?
        else {
            return Err(unexpected());
        };
        if output.json {
            return print_json(&json!({ "authority": authority, "choice": described, "meant": serials.len() }));
        }
        return print(&format!("{} of {authority} would be marked for replacement ({described}).\n", many(serials.len(), "certificate")));
    }
    if undo {
        let operation = Operation::CertificateReplaceUndo { choice };
        let OperatorReply::ReplacementUnmarked { unmarked } = submit(config, &signing, operation).await? else { return Err(unexpected()) };
        if output.json {
            return print_json(&json!({ "authority": authority, "choice": described, "unmarked": unmarked }));
        }
        return print(&format!("Took the mark for replacement from {} of {authority}.\n", many(unmarked, "certificate")));
    }
    let operation = Operation::CertificateReplace { choice, explanation };
    let OperatorReply::ReplacementMarked { meant, marked } = submit(config, &signing, operation).await? else {
        return Err(unexpected());
    };
    if output.json {
        return print_json(&json!({ "authority": authority, "choice": described, "meant": meant, "marked": marked }));
    }
    print(&format!(
        "Marked {} of {authority} for replacement, {} of them before. Clients that follow ARI renew when they next ask. Nothing stops \
         working.\nWatch it: ca cert replace --status\n",
        many(meant, "certificate"),
        meant.saturating_sub(marked)
    ))
}

/// What is to be marked, or no longer.
async fn meant(config: &Config, args: Replace) -> anyhow::Result<BulkChoice> {
    let all = args.choosing.authority.is_some();
    let issuer = match (&args.choosing.authority, args.serials.first()) {
        (None, Some(serial)) => Some(cert::one(config, None, *serial).await?.authority),
        _ => None,
    };
    let mut choosing = args.choosing;
    choosing.authority = choosing.authority.or(issuer);
    let mut choice = choice(config, choosing).await?;
    choice.serials.extend(args.serials);
    if choice.serials.len() > MAX_LISTED {
        let hint = "hint: choose by grant, profile or time, or split the list";
        let detail =
            format!("the list has {}; one statement has at most {MAX_LISTED} ({hint})", many(choice.serials.len(), "serial number"));
        return Err(failure(Exit::Usage, detail));
    }
    if !choice.is_narrow() && !all {
        let hint = "hint: serial numbers, --list, --grant, --account, --profile, a time; --authority alone means all of its certificates";
        return Err(failure(Exit::Usage, format!("no certificates are named ({hint})")));
    }
    if choice.serials.is_empty() && !args.undo && choice.filter.issued_before.is_none() {
        // What is signed says where it ends: those that come later are not meant. This second's are.
        choice.filter.issued_before = Some(SystemClock.now().plus(Duration::from_secs(1)));
    }
    Ok(choice)
}

async fn status(config: &Config, args: Replace) -> anyhow::Result<()> {
    let (now, filter) = (SystemClock.now(), filter(args.choosing));
    let ControlAnswer::Replacements { report } = ask(&config.control.socket, &ControlRequest::Replacements { filter }).await? else {
        return Err(unexpected());
    };
    let grants = every_grant(&config.control.socket).await?;
    let services: HashMap<GrantId, String> = grants.into_iter().map(|g| (g.grant.id, g.grant.service)).collect();
    if args.output.json { print_json(&to_json(&report, &services)) } else { print(&to_text(&report, &services, now)) }
}

fn service_of<'a>(group: &ServiceReplacements, services: &'a HashMap<GrantId, String>) -> Option<&'a str> {
    group.grant.as_ref().and_then(|grant| services.get(grant)).map(String::as_str)
}

/// What is told, with the numbers beside it.
fn with_count(mut told: Value, c: &ReplacementCount) -> Value {
    let numbers = [
        ("marked", c.marked),
        ("replaced", c.replaced),
        ("replaced_by_order", c.by_order),
        ("replaced_by_other_profile", c.other_profile),
        ("fetching", c.fetching),
        ("to_go", c.to_go),
        ("elsewhere", c.elsewhere),
        ("ended", c.ended),
        ("revoked", c.revoked),
    ];
    for (name, number) in numbers {
        told[name] = number.into();
    }
    told
}

fn to_json(report: &ReplacementReport, services: &HashMap<GrantId, String>) -> Value {
    let group = |s: &ServiceReplacements| {
        let told = json!({
            "service": service_of(s, services), "grant": s.grant, "authority": s.authority,
            "next_end": s.next_end.map(Timestamp::to_rfc3339),
        });
        with_count(told, &s.count)
    };
    let told = json!({
        "first_marked": report.first_marked.map(Timestamp::to_rfc3339), "fetched_by": report.fetched_by.map(Timestamp::to_rfc3339),
        "services": report.services.iter().map(group).collect::<Vec<_>>(),
        "certificates_to_go": report.to_go.iter().map(cert::to_json).collect::<Vec<_>>(),
    });
    with_count(told, &report.count)
}

fn to_text(report: &ReplacementReport, services: &HashMap<GrantId, String>, now: Timestamp) -> String {
    let c = &report.count;
    let Some(first) = report.first_marked else { return "No certificate is marked for replacement.\n".to_owned() };
    let mut out = format!(
        "marked    {} (the first {})\nreplaced  {} ({} by an order that says so, {} by a later certificate{})\n{}to go     {}{}\nended     {} \
         (revoked or expired, and nothing came in their place)\nrevoked   {}\n\n",
        c.marked,
        relative(first, now),
        c.replaced,
        c.by_order,
        c.replaced - c.by_order,
        if c.other_profile > 0 { format!(", {} of these under another profile", c.other_profile) } else { String::new() },
        report.fetched_by.map_or_else(String::new, |by| format!(
            "fetching  {} of these (orders that renew themselves; their hosts have the next certificate {})\n",
            c.fetching,
            relative(by, now)
        )),
        c.to_go,
        if c.elsewhere > 0 {
            format!(" (for the names of {}, another authority has a later certificate)", c.elsewhere)
        } else {
            String::new()
        },
        c.ended,
        c.revoked
    );
    let row = |s: &ServiceReplacements| {
        let (grant, c) = (s.grant.as_ref().map_or_else(String::new, ToString::to_string), &s.count);
        let name = if s.grant.is_none() { OWN } else { service_of(s, services).unwrap_or("?") };
        let end = s.next_end.map_or_else(String::new, |end| relative(end, now));
        let [marked, replaced, to_go, ended] = [c.marked, c.replaced, c.to_go, c.ended].map(|n| n.to_string());
        [name.to_owned(), marked, replaced, to_go, ended, end, s.authority.to_string(), grant]
    };
    let rows: Vec<_> = report.services.iter().map(row).collect();
    out.push_str(&table(["SERVICE", "MARKED", "REPLACED", "TO GO", "ENDED", "NEXT END", "AUTHORITY", "GRANT"], &rows));
    if let (true, Some(by)) = (report.to_go.is_empty(), report.fetched_by) {
        let when = relative(by, now);
        out.push_str(&format!(
            "\nNothing is to go, but hosts still fetch. Revoke what is marked {when}: ca cert revoke-bulk --marked --reason superseded\n"
        ));
        return out;
    }
    if report.to_go.is_empty() {
        out.push_str("\nNothing is to go. Revoke what is marked: ca cert revoke-bulk --marked --reason superseded\n");
        return out;
    }
    let shown = &report.to_go[..report.to_go.len().min(SHOWN)];
    out.push_str("\nTo go, those that end first first");
    if (shown.len() as u64) < c.to_go {
        out.push_str(&format!(" ({} of {}; --json lists up to {})", shown.len(), c.to_go, ReplacementReport::MAX_TO_GO));
    }
    out.push_str(":\n");
    out.push_str(&cert::to_table(shown, now));
    if c.replaced > 0 {
        out.push_str("\nThose that are replaced can be revoked already: ca cert revoke-bulk --replaced --reason superseded\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_first_who_lags() {
        let count = |marked, replaced, to_go| ReplacementCount { marked, replaced, to_go, ..ReplacementCount::default() };
        let group = |grant: Option<&str>, count| ServiceReplacements {
            authority: "demo".parse().unwrap(),
            grant: grant.map(|g| g.parse().unwrap()),
            count,
            next_end: (count.to_go > 0).then(|| Timestamp::from_unix(8200)),
        };
        let mut report = ReplacementReport {
            count: ReplacementCount { by_order: 1, other_profile: 1, elsewhere: 1, ..count(6, 4, 2) },
            first_marked: Some(Timestamp::from_unix(400)),
            fetched_by: None,
            services: vec![group(Some("g-1"), count(3, 1, 2)), group(Some("g-2"), count(1, 1, 0)), group(None, count(2, 2, 0))],
            to_go: Vec::new(),
        };
        let services = HashMap::from([("g-1".parse().unwrap(), "payments".to_owned())]);
        let text = to_text(&report, &services, Timestamp::from_unix(1000));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..3],
            [
                "marked    6 (the first 10 min ago)",
                "replaced  4 (1 by an order that says so, 3 by a later certificate, 1 of these under another profile)",
                "to go     2 (for the names of 1, another authority has a later certificate)"
            ]
        );
        assert_eq!(lines[7], "payments         3       1         2      0      in 2 h    demo       g-1");
        assert!(lines[8].starts_with("?  ") && lines[9].starts_with(OWN), "{text}");
        assert!(text.contains("revoke-bulk --marked"), "{text}");
        assert_eq!(to_json(&report, &services)["services"][0]["service"], "payments");
        report.count.fetching = 1;
        report.fetched_by = Some(Timestamp::from_unix(8200));
        let text = to_text(&report, &services, Timestamp::from_unix(1000));
        let fetching = "fetching  1 of these (orders that renew themselves; their hosts have the next certificate in 2 h)";
        assert!(text.lines().nth(2) == Some(fetching) && text.contains("Revoke what is marked in 2 h: ca cert"), "{text}");
        report.first_marked = None;
        assert_eq!(to_text(&report, &services, Timestamp::from_unix(1000)), "No certificate is marked for replacement.\n");
    }
}
