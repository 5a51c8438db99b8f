//! `ca agent`: beside a service. It makes the key, enrols, renews, installs atomically and reloads.
//!
//! It is an ACME client (RFC 8555) with external account binding, profiles and renewal information (RFC 9773), and
//! uses nothing that another client could not. It deliberately lacks challenges: names come from a grant.
//! When to do what is decided in `plan`, a pure function.

mod enrol;
mod error;
#[cfg(test)]
mod fake_ca;
mod hook;
mod http;
mod plan;
mod register;
mod runner;
mod state;
mod status;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use ca_core::pki::KeyAlgorithm;
use ca_service::logging::LogConfig;
use clap::{Args, Subcommand};

use crate::system::{SystemClock, SystemRng};
use error::AgentError;
use state::Settings;

const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Keep a service's certificate fresh: enrol, renew, install, reload
#[derive(Debug, Args)]
pub struct AgentArgs {
    #[command(subcommand)]
    command: AgentCommand,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Get a certificate now, unless there is one that fits and that the CA does not want renewed
    Enrol(Options),
    /// Enrol if needed, then go on renewing until stopped
    Run(Options),
    /// Tell what the agent holds and what it will do next, and when
    Status {
        /// The agent's directory
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

/// What to enrol for. Everything but the grant's secret is remembered in the directory, so that later `--dir` is
/// enough; options given again replace what was remembered.
#[derive(Debug, Args)]
struct Options {
    /// The agent's directory: account, state, and `live/` with key.pem, cert.pem, chain.pem and fullchain.pem
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The CA's ACME directory; one at another host or port is another CA, and needs a grant of its own
    #[arg(long, value_name = "URL")]
    directory: Option<String>,
    /// Roots that the CA's own server certificate is checked against, PEM [default: the system's bundle]
    #[arg(long, value_name = "PEM")]
    ca_bundle: Option<PathBuf>,
    /// The key id of the grant
    #[arg(long, value_name = "KID", requires = "eab_hmac_file")]
    eab_kid: Option<String>,
    /// A file (0600) or descriptor with the grant's secret, base64url
    #[arg(long, value_name = "FILE", requires = "eab_kid")]
    eab_hmac_file: Option<PathBuf>,
    /// A DNS name or IP address for the certificate; may be given several times
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// The certificate profile [default: the CA's choice]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// A command to run after each new certificate, without a shell; COUNTERSIGN_LIVE holds the live directory
    #[arg(long, value_name = "COMMAND")]
    reload_cmd: Option<String>,
    /// Give the reload command to /bin/sh
    #[arg(long)]
    reload_shell: bool,
    /// Renew at this part of the life where the CA suggests no window [default: two thirds]
    #[arg(long, value_name = "FRACTION", value_parser = parse_fraction)]
    renew_at: Option<u32>,
    /// Keep the private key on renewal instead of making a new one; not for ML-DSA
    #[arg(long)]
    reuse_key: bool,
    /// The kind of new private keys; ml-dsa-65 and ml-dsa-87 are for TLS stacks that know them [default: p256]
    #[arg(long, value_name = "KIND")]
    key_algorithm: Option<KeyAlgorithm>,
}

fn parse_fraction(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.1..=0.95).contains(&value) => Ok((value * f64::from(plan::WHOLE)) as u32),
        _ => Err("a number from 0.1 to 0.95".to_owned()),
    }
}

/// Runs `ca agent`. Exit codes: 0; 1 failed here; 3 configuration; 4 refused by the CA; 5 temporary, try again.
///
/// # Errors
/// None that a caller must handle: what went wrong is logged or printed, and told in the exit code.
pub async fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    // One that goes on tells what it does; one that ends says so itself.
    let filter = if matches!(args.command, AgentCommand::Run(_)) { "info" } else { "warn" };
    ca_service::logging::start(&LogConfig { filter: filter.to_owned(), ..LogConfig::default() })?;
    let result = match args.command {
        AgentCommand::Enrol(options) => match runner::Agent::open(&options, &SystemClock, &SystemRng) {
            Ok(mut agent) => agent.enrol().await,
            Err(error) => Err(error),
        },
        AgentCommand::Run(options) => match runner::Agent::open(&options, &SystemClock, &SystemRng) {
            Ok(mut agent) => agent.run(stopped()).await,
            Err(error) => Err(error),
        },
        AgentCommand::Status { dir, json } => status::print(&dir, json, &SystemClock),
    };
    Ok(match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    })
}

async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).ok();
    let terminated = async {
        match terminate.as_mut() {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

impl Options {
    /// What was remembered, with what is given now on top.
    fn over(&self, remembered: Option<Settings>) -> Result<Settings, AgentError> {
        let missing = |what: &str| {
            let dir = self.dir.display();
            AgentError::Configuration(format!("{what} is missing (hint: `{dir}` remembers none yet; give it once)"))
        };
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(AgentError::io("resolve", path));
        let old = remembered.as_ref();
        let directory = self.directory.clone().or_else(|| old.map(|o| o.directory.clone())).ok_or_else(|| missing("--directory"))?;
        if !directory.starts_with("https://") {
            return Err(AgentError::Configuration(format!("--directory `{directory}`: ACME is spoken over https only")));
        }
        if state::origin(&directory).is_none() {
            return Err(AgentError::Configuration(format!("--directory `{}` is no URL", directory.escape_debug())));
        }
        let names = if self.names.is_empty() { old.map(|o| o.names.clone()).unwrap_or_default() } else { self.names.clone() };
        if names.is_empty() {
            return Err(missing("--name"));
        }
        let ca_bundle = match &self.ca_bundle {
            Some(path) => absolute(path)?,
            None => old.map_or_else(|| PathBuf::from(SYSTEM_BUNDLE), |o| o.ca_bundle.clone()),
        };
        let reload_cmd = self.reload_cmd.clone().or_else(|| old.and_then(|o| o.reload_cmd.clone()));
        let reload_shell = if self.reload_cmd.is_some() { self.reload_shell } else { old.is_some_and(|o| o.reload_shell) };
        if let Some(line) = reload_cmd.as_deref().filter(|_| !reload_shell) {
            hook::split(line)?;
        }
        let reuse_key = self.reuse_key || old.is_some_and(|o| o.reuse_key);
        let key_algorithm = self.key_algorithm.or_else(|| old.and_then(|o| o.key_algorithm));
        if let Some(kind) = key_algorithm.filter(|kind| reuse_key && kind.is_post_quantum()) {
            return Err(AgentError::Configuration(format!(
                "--reuse-key with --key-algorithm {kind}: ML-DSA keys are made anew at each renewal (hint: another --dir, without --reuse-key)"
            )));
        }
        Ok(Settings {
            directory,
            ca_bundle,
            names,
            profile: self.profile.clone().or_else(|| old.and_then(|o| o.profile.clone())),
            reload_cmd,
            reload_shell,
            reuse_key,
            key_algorithm,
            renew_at: self.renew_at.unwrap_or_else(|| old.map_or(plan::TWO_THIRDS, |o| o.renew_at)),
        })
    }
}

#[cfg(test)]
mod option_tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Cli::parse_from(["agent", "--dir", "/d"].iter().chain(arguments)).options
    }

    #[test]
    fn options_given_again_replace_what_was_remembered() {
        let first = ["--directory", "https://ca/dir", "--ca-bundle", "/b.pem", "--name", "a", "--profile", "short", "--renew-at", "0.5"];
        let settings = options(&first).over(None).unwrap();
        assert_eq!((settings.renew_at, settings.names.len(), settings.profile.as_deref()), (500_000, 1, Some("short")));
        assert_eq!(options(&[]).over(Some(settings.clone())).unwrap(), settings);
        let changed = options(&["--name", "b", "--name", "::1", "--reload-cmd", "true"]).over(Some(settings.clone())).unwrap();
        assert_eq!(changed, Settings { names: vec!["b".into(), "::1".into()], reload_cmd: Some("true".into()), ..settings });
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let check = |arguments: &[&str], expected: &str| {
            let error = options(arguments).over(None).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(&["--name", "a"], "--directory is missing");
        check(&["--directory", "https://ca/dir"], "--name is missing");
        check(&["--directory", "http://ca/dir", "--name", "a"], "https only");
        check(&["--directory", "https://ca dir", "--name", "a"], "is no URL");
        check(&["--directory", "https://ca/dir", "--name", "a", "--reload-cmd", "a 'b"], "not closed");
        let reused = ["--directory", "https://ca/dir", "--name", "a", "--reuse-key", "--key-algorithm", "ml-dsa-65"];
        check(&reused, "made anew at each renewal");
        for bad in [
            &["--renew-at", "0.99"][..],
            &["--renew-at", "NaN"],
            &["--key-algorithm", "ml-dsa-44"],
            &["--eab-kid", "k"],
            &["--eab-hmac-file", "f"],
        ] {
            assert!(Cli::try_parse_from(["agent", "--dir", "/d"].iter().chain(bad)).is_err(), "{bad:?}");
        }
    }
}
