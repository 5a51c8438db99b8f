//! The commands, for the binary `ca-ceremony` and for `ca ceremony`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ca_core::ceremony::{Acts, Roster};
use ca_core::ports::KeyDevice;
use ca_keystore::SoftwareKeyStore;
use clap::{Args, Subcommand};

use crate::files::read;
use crate::show::show;
use crate::{
    Error, RequestOptions, RunOptions, RunOutcome, SecretSource, SystemClock, SystemRng, VerifiedBundle, assemble, make_request,
    open_key_store, plan_template, run, unsealer, verify_chain,
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
    /// Makes a request for a CA certificate, where its key is; it goes to the ceremony by a file.
    Request(RequestArgs),
    /// Puts a bundle's files together again from its plan, transcript, inputs and signatures: the same bytes.
    Assemble(AssembleArgs),
    /// Prints a plan to start from.
    Template(TemplateArgs),
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
    #[arg(long, value_name = "DIR")]
    root_keys: Option<PathBuf>,
    /// The root's key store on a device: a TOML file with what the configuration has under [keystore].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["root_keys", "root_passphrase_file", "root_key_file"])]
    root_keystore: Option<PathBuf>,
    /// The folder of the issuing authorities' sealed keys, which the worker will open.
    #[arg(long, value_name = "DIR")]
    online_keys: Option<PathBuf>,
    /// The issuing authorities' key store on a device, named in a file as for the root's.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["online_keys", "online_passphrase_file", "online_key_file"])]
    online_keystore: Option<PathBuf>,
    /// The folder of the key store that backups go to, kept elsewhere.
    #[arg(long, value_name = "DIR")]
    backup_keys: Option<PathBuf>,
    /// The key store that backups go to on a device, named in a file as for the root's.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["backup_keys", "backup_passphrase_file", "backup_key_file"])]
    backup_keystore: Option<PathBuf>,
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
    /// The passphrase of the backup's key store is in this file or descriptor.
    #[arg(long, value_name = "FILE", conflicts_with = "backup_key_file")]
    backup_passphrase_file: Option<PathBuf>,
    /// A file key opens the backup's key store; made where it is missing.
    #[arg(long, value_name = "FILE")]
    backup_key_file: Option<PathBuf>,
    /// A wrapping key of software key stores: the name that the plan has for it, and a file key, made where it is missing.
    #[arg(long, value_name = "NAME=FILE", value_parser = wrapping_key)]
    wrapping_key: Vec<(String, PathBuf)>,
    /// The folder of wrapped keys, of a backup or a restore.
    #[arg(long, value_name = "DIR")]
    wrapped: Option<PathBuf>,
    /// The bundle of the ceremony that this one continues.
    #[arg(long, value_name = "DIR")]
    previous: Option<PathBuf>,
    /// A request for a CA certificate, made by `ca ceremony request`.
    #[arg(long, value_name = "FILE")]
    request: Vec<PathBuf>,
}

fn wrapping_key(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("it is written as NAME=FILE".to_owned()),
    }
}

/// Arguments of `request`.
#[derive(Args, Debug)]
pub struct RequestArgs {
    /// The plan of the ceremony that is asked.
    plan: PathBuf,
    /// Whose certificate is asked for.
    #[arg(long, value_name = "NAME")]
    authority: String,
    /// The key store that holds the key, or will: a new authority's key is made now.
    #[arg(long, value_name = "DIR")]
    keys: PathBuf,
    /// The passphrase of the key store is in this file or descriptor.
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,
    /// A file key opens the key store.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A wrapping key of software key stores, where the plan lets the key leave for a backup.
    #[arg(long, value_name = "NAME=FILE", value_parser = wrapping_key)]
    wrapping_key: Vec<(String, PathBuf)>,
    /// The CA's own certificate (PEM), where the plan cross-signs it.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// For how many hours a ceremony may take the request, 1 to 720.
    #[arg(long, value_name = "HOURS", default_value_t = 72, value_parser = clap::value_parser!(u32).range(1..=720))]
    hours: u32,
    /// The folder for the request and its record, made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Arguments of `assemble`.
#[derive(Args, Debug)]
pub struct AssembleArgs {
    /// The bundle's folder; only its plan, transcript, inputs and signatures are read.
    bundle: PathBuf,
    /// The new folder.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Arguments of `template`.
#[derive(Args, Debug)]
pub struct TemplateArgs {
    /// What the ceremony does.
    #[arg(long, value_name = "KIND", default_value = "first", value_parser = clap::builder::PossibleValuesParser::new(Acts::KINDS))]
    kind: String,
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
    /// A bundle before this one; oldest first, each continues the one before.
    #[arg(long, value_name = "DIR")]
    previous: Vec<PathBuf>,
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
        CeremonyCommand::Request(args) => request_command(args).await,
        CeremonyCommand::Assemble(args) => {
            assemble(&args.bundle, &args.out).map(|()| print(&format!("Assembled {}", args.out.display()), 0))
        }
        CeremonyCommand::Template(args) => Ok(print(&plan_template(&args.kind), 0)),
    };
    done.unwrap_or_else(|e| {
        eprintln!("error: {e}");
        e.exit_code()
    })
}

fn print(text: &str, code: u8) -> u8 {
    use std::io::Write as _;
    // A reader that went away is no failure of the ceremony.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    code
}

/// Opens a software key store.
fn open(
    folder: &Path,
    (passphrase, file): (Option<PathBuf>, Option<PathBuf>),
    wrapping: &[(String, PathBuf)],
    what: &str,
) -> Result<Arc<dyn KeyDevice>, Error> {
    let source = match (passphrase, file) {
        (Some(path), _) => SecretSource::PassphraseFile(path),
        (None, Some(path)) => SecretSource::KeyFile(path),
        (None, None) => SecretSource::Terminal,
    };
    let new = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    let mut store = SoftwareKeyStore::open(folder, unsealer(&source, what, new, &SystemRng)?)?;
    for (name, path) in wrapping {
        let secret = unsealer(&SecretSource::KeyFile(path.clone()), "wrapping key", false, &SystemRng)?;
        store = store.with_wrapping_key(name, secret);
    }
    Ok(Arc::new(store))
}

async fn request_command(args: RequestArgs) -> Result<u8, Error> {
    let keys = open(&args.keys, (args.passphrase_file, args.key_file), &args.wrapping_key, "key store")?;
    let authority = args.authority.parse().map_err(|e| Error::Missing(format!("--authority: {e}")))?;
    let options = RequestOptions {
        plan: args.plan,
        authority,
        keys,
        certificate: args.certificate,
        life: Duration::from_secs(u64::from(args.hours) * 3600),
        folder: args.out,
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        observer: None,
    };
    let (path, request) = make_request(options).await?;
    let said = request.statement();
    let text = format!(
        "Request for `{}` under {}: {}\n  key      SHA-256 {}\n  file     SHA-256 {}\n  device   {} {}\n  until    {}\n\nBring the file to the ceremony: ca ceremony run … --request {}",
        said.authority,
        said.root,
        path.display(),
        request.public_key().spki_sha256(),
        ca_core::pki::sha256(&request.to_bytes()),
        said.device.model,
        said.device.serial,
        said.expires_at,
        path.display(),
    );
    Ok(print(&text, 0))
}

async fn run_command(args: RunArgs) -> Result<u8, Error> {
    let device = |file: &Option<PathBuf>, folder: &Option<PathBuf>, passphrase, key_file, what: &str| match (file, folder) {
        (Some(file), _) => open_key_store(file, what).map(Some),
        (None, folder) => folder.as_ref().map(|folder| open(folder, (passphrase, key_file), &args.wrapping_key, what)).transpose(),
    };
    let outcome = run(RunOptions {
        root_keys: device(&args.root_keystore, &args.root_keys, args.root_passphrase_file, args.root_key_file, "root key store")?,
        online_keys: device(
            &args.online_keystore,
            &args.online_keys,
            args.online_passphrase_file,
            args.online_key_file,
            "online key store",
        )?,
        backup_keys: device(
            &args.backup_keystore,
            &args.backup_keys,
            args.backup_passphrase_file,
            args.backup_key_file,
            "backup key store",
        )?,
        wrapped: args.wrapped,
        previous: args.previous,
        requests: args.request,
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
    let verified = verify_chain(&args.previous, &args.bundle, roster.as_ref())?;
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
            "ceremony": verified.acts.name(),
            "policy_version": verified.policy.as_ref().map(|p| p.version),
            "hierarchy_sha256": verified.hierarchy.digest(),
            "root_certificate_sha256": ca_core::pki::sha256(verified.hierarchy.root().der()),
            "crl_number": verified.hierarchy.crl().number(),
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
        format!(
            "Verified: {} ceremony `{}` ({}), closed {}",
            verified.roster.kind,
            verified.title,
            verified.acts.name(),
            verified.closed_at
        ),
        format!("  authorities  {}", names.join(", ")),
        format!("  officers     {} of {}", verified.roster.threshold, officers.join(", ")),
        format!("  roster       SHA-256 {}{}", verified.roster.digest(), if roster_trusted { ", as trusted" } else { "" }),
        format!("  plan         SHA-256 {}", verified.plan_sha256),
        format!("  transcript   {}", verified.transcript_head),
        format!("  hierarchy    SHA-256 {}", verified.hierarchy.digest()),
        format!("  root         SHA-256 {}", ca_core::pki::sha256(verified.hierarchy.root().der())),
    ];
    if let Some(policy) = &verified.policy {
        lines.push(format!("  policy       version {}", policy.version));
    }
    for (authority, der) in &verified.cross_certificates {
        lines.push(format!("  cross-signed {authority}, SHA-256 {}", ca_core::pki::sha256(der)));
    }
    for crl in &verified.crls {
        lines.push(format!("  root CRL     number {}, until {}", crl.number, crl.next_update));
    }
    if !verified.cosigned.is_empty() {
        lines.push(format!("  co-signed by {}", verified.cosigned.join(", ")));
    }
    lines.extend(verified.exceptions.iter().map(|(what, done)| format!("  exception    {what}: {done}")));
    if !roster_trusted {
        lines.push("  The officers are those that the bundle names; compare them with a roster you trust: --roster FILE".to_owned());
    }
    lines.join("\n")
}
