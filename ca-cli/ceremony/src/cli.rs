//! The commands, for the binary `ca-ceremony` and for `ca ceremony`.

use std::path::PathBuf;
use std::sync::Arc;

use ca_core::ceremony::Roster;
use ca_core::ports::KeyDevice;
use ca_keystore::SoftwareKeyStore;
use clap::{Args, Subcommand};

use crate::files::read;
use crate::show::show;
use crate::{
    Error, PLAN_TEMPLATE, RunOptions, RunOutcome, SecretSource, SystemClock, SystemRng, VerifiedBundle, open_key_store, run, unsealer,
    verify,
};

/// Exit code: officers must sign before it goes on.
const AGAIN: u8 = 5;

/// Key ceremonies.
#[derive(Subcommand, Debug)]
pub enum CeremonyCommand {
    /// Goes as far as the officers' signatures allow, then says what is missing (exit code 5); run it again after
    /// signing.
    Run(RunArgs),
    /// Shows what the officers are about to approve: every statement decoded, and built again from the plan.
    Show(ShowArgs),
    /// Verifies a bundle offline.
    Verify(VerifyArgs),
    /// Prints a plan to start from.
    Template,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The plan file.
    plan: PathBuf,
    /// The bundle's folder, made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The folder of the root's sealed key, kept offline afterwards.
    #[arg(long, value_name = "DIR", required_unless_present = "root_keystore")]
    root_keys: Option<PathBuf>,
    /// The root's key store on a device: a TOML file with what the configuration has under [keystore].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["root_keys", "root_passphrase_file", "root_key_file"])]
    root_keystore: Option<PathBuf>,
    /// The folder of the issuing authorities' sealed keys, which the worker will open.
    #[arg(long, value_name = "DIR", required_unless_present = "online_keystore")]
    online_keys: Option<PathBuf>,
    /// The issuing authorities' key store on a device, named in a file as for the root's.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["online_keys", "online_passphrase_file", "online_key_file"])]
    online_keystore: Option<PathBuf>,
    /// The passphrase of the root's key store is in this file or descriptor (/dev/fd/3); without it and a key file it
    /// is asked for at the terminal.
    #[arg(long, value_name = "FILE", conflicts_with = "root_key_file")]
    root_passphrase_file: Option<PathBuf>,
    /// A file key opens the root's key store; made where it is missing. Whoever has the file has the key.
    #[arg(long, value_name = "FILE")]
    root_key_file: Option<PathBuf>,
    /// The passphrase of the online key store is in this file or descriptor.
    #[arg(long, value_name = "FILE", conflicts_with = "online_key_file")]
    online_passphrase_file: Option<PathBuf>,
    /// A file key opens the online key store; made where it is missing.
    #[arg(long, value_name = "FILE")]
    online_key_file: Option<PathBuf>,
}

/// Arguments of `show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// The bundle's folder.
    bundle: PathBuf,
    /// Only this statement, by its file name without `.json`.
    statement: Option<String>,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The bundle's folder.
    bundle: PathBuf,
    /// The roster that you trust, had from elsewhere. Without it the bundle only agrees with itself.
    #[arg(long, value_name = "FILE")]
    roster: Option<PathBuf>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a command, prints its report, and gives the process's exit code.
pub async fn execute(command: CeremonyCommand) -> u8 {
    let done = match command {
        CeremonyCommand::Run(args) => run_command(args).await,
        CeremonyCommand::Show(args) => show(&args.bundle, args.statement.as_deref()).map(|text| print(&text, 0)),
        CeremonyCommand::Verify(args) => verify_command(&args),
        CeremonyCommand::Template => Ok(print(PLAN_TEMPLATE, 0)),
    };
    done.unwrap_or_else(|e| {
        eprintln!("error: {e}");
        e.exit_code()
    })
}

pub(crate) fn print(text: &str, code: u8) -> u8 {
    use std::io::Write as _;
    // A reader that went away is no failure of the ceremony.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    code
}

async fn run_command(args: RunArgs) -> Result<u8, Error> {
    let open =
        |folder: &Option<PathBuf>, passphrase: Option<PathBuf>, file: Option<PathBuf>, what: &str| -> Result<Arc<dyn KeyDevice>, Error> {
            let folder = folder.as_ref().expect("clap wants the folder where no key store file is named");
            let source = match (passphrase, file) {
                (Some(path), _) => SecretSource::PassphraseFile(path),
                (None, Some(path)) => SecretSource::KeyFile(path),
                (None, None) => SecretSource::Terminal,
            };
            let new = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
            Ok(Arc::new(SoftwareKeyStore::open(folder, unsealer(&source, what, new, &SystemRng)?)?))
        };
    let outcome = run(RunOptions {
        root_keys: match (&args.root_keystore, &args.root_keys) {
            (Some(file), _) => open_key_store(file, "root key store")?,
            (None, folder) => open(folder, args.root_passphrase_file, args.root_key_file, "root key store")?,
        },
        online_keys: match (&args.online_keystore, &args.online_keys) {
            (Some(file), _) => open_key_store(file, "online key store")?,
            (None, folder) => open(folder, args.online_passphrase_file, args.online_key_file, "online key store")?,
        },
        plan: args.plan,
        bundle: args.out.clone(),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        observer: None,
    });
    match outcome.await? {
        RunOutcome::Complete(verified) => {
            let hint = format!("\nThe root's key store belongs offline now. Check anywhere: ca ceremony verify {}", args.out.display());
            Ok(print(&format!("{}{hint}", report(&verified, false)), 0))
        }
        RunOutcome::NeedsSignatures(needed) => {
            let list: Vec<String> = needed.iter().map(ToString::to_string).collect();
            let bundle = args.out.display();
            let text = format!(
                "Signatures are missing. Look first: ca ceremony show {bundle}\n\n{}\n\nThen run this again; it goes on from here.",
                list.join("\n\n")
            );
            Ok(print(&text, AGAIN))
        }
    }
}

fn verify_command(args: &VerifyArgs) -> Result<u8, Error> {
    let roster = match &args.roster {
        Some(path) => {
            let text = String::from_utf8(read(path)?).map_err(|_| Error::bundle(path, "it is not UTF-8 text"))?;
            Some(Roster::parse(&text).map_err(Error::file(path))?)
        }
        None => None,
    };
    let verified = verify(&args.bundle, roster.as_ref())?;
    if args.json {
        let names: Vec<&str> = verified.authorities.iter().map(|a| a.name.as_str()).collect();
        let json = serde_json::json!({
            "verified": true,
            "kind": verified.roster.kind,
            "title": verified.title,
            "plan_sha256": verified.plan_sha256,
            "roster_sha256": verified.roster.digest(),
            "roster_trusted": roster.is_some(),
            "transcript_head": verified.transcript_head,
            "closed_at": verified.closed_at.to_rfc3339(),
            "authorities": names,
            "policy_version": verified.policy.version,
            "exceptions": verified.exceptions.iter().map(|(what, done)| serde_json::json!({"what": what, "disposition": done})).collect::<Vec<_>>(),
            "cosigned": verified.cosigned,
        });
        return Ok(print(&json.to_string(), 0));
    }
    Ok(print(&report(&verified, roster.is_some()), 0))
}

fn report(verified: &VerifiedBundle, roster_trusted: bool) -> String {
    let names: Vec<&str> = verified.authorities.iter().map(|a| a.name.as_str()).collect();
    let officers: Vec<&str> = verified.roster.officers.iter().map(|o| o.name.as_str()).collect();
    let mut lines = vec![
        format!("Verified: {} ceremony `{}`, closed {}", verified.roster.kind, verified.title, verified.closed_at),
        format!("  authorities  {}", names.join(", ")),
        format!("  officers     {} of {}", verified.roster.threshold, officers.join(", ")),
        format!("  roster       SHA-256 {}{}", verified.roster.digest(), if roster_trusted { ", as trusted" } else { "" }),
        format!("  plan         SHA-256 {}", verified.plan_sha256),
        format!("  transcript   {}", verified.transcript_head),
        format!("  policy       version {}", verified.policy.version),
    ];
    if !verified.cosigned.is_empty() {
        lines.push(format!("  co-signed by {}", verified.cosigned.join(", ")));
    }
    lines.extend(verified.exceptions.iter().map(|(what, done)| format!("  exception    {what}: {done}")));
    if !roster_trusted {
        lines.push("  The officers are those that the bundle names; compare them with a roster you trust: --roster FILE".to_owned());
    }
    lines.join("\n")
}
