//! `ca agent status`: what the agent holds and what it will do next.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ca_core::pki::Timestamp;
use ca_core::ports::Clock;
use serde::Serialize;

use super::error::AgentError;
use super::plan::{self, Action};
use super::runner::{facts, identifiers};
use super::state::{Directory, Knowledge, Live, Settings};

#[derive(Serialize)]
struct Report {
    directory: String,
    names: Vec<String>,
    profile: Option<String>,
    certificate: Option<CertificateReport>,
    next: NextReport,
    renew_at: Option<String>,
    window: Option<WindowReport>,
    failures: u32,
    last_error: Option<String>,
    reload_owed: bool,
    reload_error: Option<String>,
}

#[derive(Serialize)]
struct CertificateReport {
    serial: String,
    not_before: String,
    not_after: String,
    expired: bool,
    path: PathBuf,
}

#[derive(Serialize)]
struct NextReport {
    action: Action,
    at: String,
    in_seconds: u64,
    reason: &'static str,
}

#[derive(Serialize)]
struct WindowReport {
    start: String,
    end: String,
}

/// Prints the report. Exit code 1 when there is no certificate in force.
pub(super) fn print(path: &Path, json: bool, clock: &dyn Clock) -> Result<ExitCode, AgentError> {
    let directory = Directory::view(path);
    let settings = directory.settings()?.ok_or_else(|| {
        AgentError::Configuration(format!("`{}` is no agent's directory (hint: `ca agent enrol` makes one)", path.display()))
    })?;
    let (live, knowledge) = (directory.live()?, directory.knowledge()?);
    let report = report(&settings, live.as_ref(), &knowledge, directory.live_path(), clock.now())?;
    if json {
        let text = serde_json::to_string_pretty(&report).map_err(|e| AgentError::Local(e.to_string()))?;
        println!("{text}");
    } else {
        print_text(&report);
    }
    Ok(if report.certificate.is_some_and(|c| !c.expired) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn report(settings: &Settings, live: Option<&Live>, knowledge: &Knowledge, path: PathBuf, now: Timestamp) -> Result<Report, AgentError> {
    let facts = facts(live, knowledge, settings, &identifiers(settings)?);
    let step = plan::next(&facts);
    let at = step.at.max(now);
    Ok(Report {
        directory: settings.directory.clone(),
        names: settings.names.clone(),
        profile: settings.profile.clone(),
        certificate: live.map(|live| CertificateReport {
            serial: live.certificate.serial().to_string(),
            not_before: live.certificate.not_before().to_rfc3339(),
            not_after: live.certificate.not_after().to_rfc3339(),
            expired: live.certificate.not_after() <= now,
            path,
        }),
        next: NextReport { action: step.action, at: at.to_rfc3339(), in_seconds: at.since(now).as_secs(), reason: step.reason },
        renew_at: facts.held.as_ref().map(|held| plan::renewal(held, facts.renew_at).0.to_rfc3339()),
        window: knowledge.window.map(|w| WindowReport { start: w.start.to_rfc3339(), end: w.end.to_rfc3339() }),
        failures: knowledge.failures,
        last_error: knowledge.last_error.clone(),
        reload_owed: knowledge.reload_at.is_some(),
        reload_error: knowledge.reload_error.clone(),
    })
}

fn print_text(report: &Report) {
    println!("names        {}", report.names.join(", "));
    println!("CA           {}", report.directory);
    match &report.certificate {
        Some(c) => {
            let state = if c.expired { ", EXPIRED" } else { "" };
            println!("certificate  {} from {} to {}{state}\n             in {}", c.serial, c.not_before, c.not_after, c.path.display());
        }
        None => println!("certificate  none"),
    }
    if let Some(at) = &report.renew_at {
        println!("renewal      {at}");
    }
    let next = &report.next;
    println!("next         {} at {} (in {} s): {}", name(next.action), next.at, next.in_seconds, next.reason);
    if let Some(error) = &report.last_error {
        println!("last error   {error} ({} failures in a row)", report.failures);
    }
    if let Some(error) = &report.reload_error {
        println!("reload       {error}");
    }
}

const fn name(action: Action) -> &'static str {
    match action {
        Action::Enrol => "enrol",
        Action::Renew => "renew",
        Action::CheckWindow => "ask for the renewal window",
        Action::Reload => "reload the service",
    }
}

#[cfg(test)]
mod tests {
    use ca_core::pki::Certificate;

    use super::*;

    #[test]
    fn says_what_comes_next_and_when() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec!["a.demo.test".to_owned()]).unwrap();
        (parameters.not_before, parameters.not_after) = (rcgen::date_time_ymd(2026, 1, 1), rcgen::date_time_ymd(2026, 1, 31));
        let certificate = Certificate::from_der(parameters.self_signed(&key).unwrap().der()).unwrap();
        let settings = Settings {
            directory: "https://ca/dir".into(),
            ca_bundle: "/b".into(),
            names: vec!["a.demo.test".into()],
            profile: None,
            reload_cmd: None,
            reload_shell: false,
            reuse_key: false,
            key_algorithm: None,
            renew_at: plan::TWO_THIRDS,
        };
        let check = |now: &str, live: bool, knowledge: Knowledge, expected: &str| {
            let live = live.then(|| Live { version: 1, certificate: certificate.clone() });
            let now = Timestamp::parse_rfc3339(now).unwrap();
            let report = report(&settings, live.as_ref(), &knowledge, "/d/live".into(), now).unwrap();
            assert_eq!(serde_json::to_value(&report.next).unwrap().to_string(), expected);
        };
        check(
            "2026-01-20T23:59:00Z",
            true,
            Knowledge::default(),
            r#"{"action":"renew","at":"2026-01-21T00:00:00Z","in_seconds":60,"reason":"its share of its life"}"#,
        );
        check(
            "2026-01-25T00:00:00Z",
            true,
            Knowledge { retry_at: Some(Timestamp::parse_rfc3339("2026-01-25T00:00:09Z").unwrap()), ..Knowledge::default() },
            r#"{"action":"renew","at":"2026-01-25T00:00:09Z","in_seconds":9,"reason":"the last attempt failed"}"#,
        );
        check(
            "2026-01-25T00:00:00Z",
            false,
            Knowledge::default(),
            r#"{"action":"enrol","at":"2026-01-25T00:00:00Z","in_seconds":0,"reason":"there is no certificate yet"}"#,
        );
    }
}
