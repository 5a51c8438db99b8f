//! The commands, for the binary `ca-ceremony` and for `ca ceremony`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ca_core::ceremony::{Acts, Hierarchy, KeyPlace, Plan, Role, Roster};
use ca_core::ports::KeyDevice;
use ca_keystore::SoftwareKeyStore;
use clap::{Args, Subcommand};

use crate::acts_cli::{AssembleArgs, RequestArgs, TemplateArgs, assemble_command, request_command, wrapping_key};
use crate::custody_cli::CustodyArgs;
use crate::document::Format;
use crate::files::{TRANSCRIPT, read};
use crate::note_cli::{
    ExceptionCommand, NoteArgs, Place, device_command, exception_command, note_command, read_plan, words_command, words_of,
};
use crate::pager::print_paged;
use crate::report::report;
use crate::run::{self, run};
use crate::script::script;
use crate::show::show;
use crate::{
    Error, Machine as _, RunOptions, RunOutcome, SecretSource, SystemClock, SystemMachine, SystemRng, VerifiedBundle, guide, machine,
    notes, open_key_store, unsealer, verify_chain,
};

/// Exit code: officers must sign before it goes on.
const AGAIN: u8 = 5;

/// Key ceremonies.
#[derive(Subcommand, Debug)]
pub enum CeremonyCommand {
    /// Goes as far as the officers' signatures allow, then says what is missing (exit code 5); run it again after
    /// signing.
    Run(Box<RunArgs>),
    /// Writes down what people say and see: attendance, custody, the numbers of tamper bags, the digests of media.
    Note(NoteArgs),
    /// What is not in the script, and what people decide about it.
    #[command(subcommand)]
    Exception(ExceptionCommand),
    /// Prints a digest, or that of a file, in hexadecimal and in words to be read aloud.
    Words {
        /// A file, or a SHA-256 digest in hexadecimal.
        what: String,
    },
    /// Prints a device as a plan pins it: kind, serial number, firmware, what it holds.
    Device(DeviceArgs),
    /// Prints the script of a plan, to be followed with a pen in hand.
    Script {
        /// The plan file.
        plan: PathBuf,
        /// The form.
        #[arg(long, value_enum, default_value_t = Format::Md)]
        format: Format,
    },
    /// Prints the filled transcript of a bundle.
    Report {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The form.
        #[arg(long, value_enum, default_value_t = Format::Md)]
        format: Format,
    },
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
    /// Shares of credentials.
    #[command(flatten)]
    custody: CustodyArgs,
}

/// Arguments of `device`.
#[derive(Args, Debug)]
pub struct DeviceArgs {
    /// What it is for.
    #[arg(value_enum)]
    place: Place,
    /// The folder of its sealed keys.
    #[arg(long, value_name = "DIR", required_unless_present = "keystore")]
    keys: Option<PathBuf>,
    /// A key store on a device: a TOML file with what the configuration has under [keystore].
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "passphrase_file", "key_file"])]
    keystore: Option<PathBuf>,
    /// Its passphrase is in this file or descriptor.
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    passphrase_file: Option<PathBuf>,
    /// A file key opens it; made where it is missing.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
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
    /// Refuses a bundle whose closed transcript is not signed by the threshold of officers and by a witness.
    #[arg(long)]
    require_cosigned: bool,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a command, prints its report, and gives the process's exit code.
pub async fn execute(command: CeremonyCommand) -> u8 {
    let done = match command {
        CeremonyCommand::Run(args) => run_command(*args).await,
        CeremonyCommand::Note(args) => note_command(args).map(|text| print(&text, 0)),
        CeremonyCommand::Exception(command) => exception_command(command).map(|text| print(&text, 0)),
        CeremonyCommand::Words { what } => words_command(&what).map(|text| print(&text, 0)),
        CeremonyCommand::Device(args) => device(args).await.map(|text| print(&text, 0)),
        CeremonyCommand::Script { plan, format } => read_plan(&plan).map(|plan| print(&script(&plan).render(format), 0)),
        CeremonyCommand::Report { bundle, format } => report(&bundle).map(|document| print(&document.render(format), 0)),
        CeremonyCommand::Show(args) => show(&args.bundle, args.statement.as_deref()).map(|text| {
            print_paged(&text);
            0
        }),
        CeremonyCommand::Verify(args) => verify_command(&args),
        CeremonyCommand::Request(args) => request_command(args).await.map(|text| print(&text, 0)),
        CeremonyCommand::Assemble(args) => assemble_command(&args).map(|text| print(&text, 0)),
        CeremonyCommand::Template(args) => Ok(print(&args.template(), 0)),
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

/// Opens a key store of sealed files.
pub(crate) fn open(
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
    // A store that only has its serial number has no key yet.
    let is_key = |entry: std::fs::DirEntry| entry.file_name() != "serial";
    let new = std::fs::read_dir(folder).map_or(true, |entries| !entries.flatten().any(is_key));
    let mut store = SoftwareKeyStore::open(folder, unsealer(&source, what, new, &SystemRng)?)?;
    for (name, path) in wrapping {
        let secret = unsealer(&SecretSource::KeyFile(path.clone()), "wrapping key", false, &SystemRng)?;
        store = store.with_wrapping_key(name, secret);
    }
    Ok(Arc::new(store))
}

async fn device(args: DeviceArgs) -> Result<String, Error> {
    let device = match &args.keystore {
        Some(file) => open_key_store(file, "key store")?,
        None => open(&args.keys.unwrap_or_default(), (args.passphrase_file, args.key_file), &[], "key store")?,
    };
    device_command(args.place, device.as_ref()).await
}

async fn run_command(args: RunArgs) -> Result<u8, Error> {
    // Without the officers' word on the plan no key store is opened and no secret is asked for (requirement 11).
    let plan = match run::signed_plan(&args.plan, &args.out, args.previous.as_deref())? {
        Ok((plan, _)) => plan,
        Err(needed) => return Ok(print(&guide::signatures(&args.out, &[needed])?, AGAIN)),
    };
    let machine = SystemMachine::default();
    // The tool's own file is read before the process closes itself to others.
    machine.tool_sha256()?;
    machine::harden();
    let opened = |file: Option<&PathBuf>, folder: Option<&PathBuf>, secret, what: &str| {
        let opened = match (file, folder) {
            (Some(file), _) => open_key_store(file, what).map(Some),
            (None, folder) => folder.map(|folder| open(folder, secret, &args.wrapping_key, what)).transpose(),
        };
        opened.inspect_err(|error| notes::record_abort(&args.out, &SystemClock, None, error))
    };
    let keeps = [
        (KeyPlace::Root, &args.root_keystore, args.root_keys.is_some()),
        (KeyPlace::Online, &args.online_keystore, args.online_keys.is_some()),
        (KeyPlace::Backup, &args.backup_keystore, args.backup_keys.is_some()),
    ];
    let options = RunOptions {
        root_keys: None,
        online_keys: None,
        backup_keys: None,
        wrapped: None,
        previous: args.previous,
        requests: Vec::new(),
        custody: None,
        plan: args.plan,
        bundle: args.out.clone(),
        machine: Arc::new(machine),
        clock: Arc::new(SystemClock),
        rng: Arc::new(SystemRng),
        observer: None,
    };
    if let Acts::Credentials { .. } = plan.acts {
        // Its devices are opened by what is dealt or recombined.
        if let Some((place, ..)) = keeps.iter().find(|(.., folder)| *folder) {
            let name = place.name();
            return Err(Error::Missing(format!(
                "what opens a store is named in its file where it is to change (hint: --{name}-keystore FILE in place of --{name}-keys)"
            )));
        }
        let stores = keeps.map(|(place, file, _)| (place, file.clone()));
        let custody = args.custody.custody(stores).inspect_err(|error| notes::record_abort(&args.out, &SystemClock, None, error))?;
        return outcome(run(RunOptions { custody: Some(custody), ..options }).await?, &args.out, &plan);
    }
    let (root, online, backup) = (args.root_keys.as_ref(), args.online_keys.as_ref(), args.backup_keys.as_ref());
    let root_secret = (args.root_passphrase_file, args.root_key_file);
    let online_secret = (args.online_passphrase_file, args.online_key_file);
    let backup_secret = (args.backup_passphrase_file, args.backup_key_file);
    let done = run(RunOptions {
        root_keys: opened(args.root_keystore.as_ref(), root, root_secret, "root key store")?,
        online_keys: opened(args.online_keystore.as_ref(), online, online_secret, "online key store")?,
        backup_keys: opened(args.backup_keystore.as_ref(), backup, backup_secret, "backup key store")?,
        wrapped: args.wrapped,
        requests: args.request,
        ..options
    });
    outcome(done.await?, &args.out, &plan)
}

fn outcome(outcome: RunOutcome, bundle: &Path, plan: &Plan) -> Result<u8, Error> {
    match outcome {
        RunOutcome::Complete(verified) => {
            let page = guide::complete(bundle, &verified)?;
            Ok(print(
                &format!(
                    "{page}\n\nVerified: {} ceremony `{}`. All of it: ca ceremony verify {}",
                    verified.roster.kind,
                    verified.title,
                    bundle.display()
                ),
                0,
            ))
        }
        RunOutcome::NeedsSignatures(needed) => Ok(print(&guide::signatures(bundle, &needed)?, AGAIN)),
        RunOutcome::NeedsPeople(duties) => Ok(print(&guide::duties(bundle, plan.kind().namespace(), &duties)?, AGAIN)),
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
    if args.require_cosigned && !verified.cosigned_by_enough() {
        let reason = "its transcript is not signed by enough officers and a witness (hint: they sign it, or leave --require-cosigned out)";
        return Err(Error::bundle(&args.bundle, reason));
    }
    if args.json {
        let names: Vec<&str> = verified.authorities.iter().map(|a| a.name.as_str()).collect();
        let hierarchy = verified.hierarchy.as_ref();
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
            "hierarchy_sha256": hierarchy.map(Hierarchy::digest),
            "root_certificate_sha256": hierarchy.map(|h| ca_core::pki::sha256(h.root().der())),
            "crl_number": hierarchy.map(|h| h.crl().number()),
            "dealt": verified.dealt.iter().map(|set| serde_json::json!({
                "credential": set.credential(), "purpose": set.purpose(), "set": set.id(), "threshold": set.threshold(), "holders": set.holders(),
            })).collect::<Vec<_>>(),
            "exceptions": verified.exceptions.iter().map(|e| serde_json::json!({
                "line": e.line, "what": e.what, "done": e.done, "disposition": e.disposition, "by": e.by,
            })).collect::<Vec<_>>(),
            "cosigned": verified.cosigners.iter().map(|(name, role)| serde_json::json!({"name": name, "role": role})).collect::<Vec<_>>(),
            "cosigned_by_enough": verified.cosigned_by_enough(),
        });
        return Ok(print(&json.to_string(), 0));
    }
    Ok(print(&summary(&verified, roster.is_some(), &words_of(&read(&args.bundle.join(TRANSCRIPT))?)), 0))
}

fn summary(verified: &VerifiedBundle, roster_trusted: bool, words: &str) -> String {
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
        format!("  authorities  {}", if names.is_empty() { "none".to_owned() } else { names.join(", ") }),
        format!("  officers     {} of {}", verified.roster.threshold, officers.join(", ")),
        format!("  roster       SHA-256 {}{}", verified.roster.digest(), if roster_trusted { ", as trusted" } else { "" }),
        format!("  plan         SHA-256 {}", verified.plan_sha256),
        format!("  transcript   {}", verified.transcript_head),
    ];
    if let Some(hierarchy) = &verified.hierarchy {
        lines.push(format!("  hierarchy    SHA-256 {}", hierarchy.digest()));
        lines.push(format!("  root         SHA-256 {}", ca_core::pki::sha256(hierarchy.root().der())));
    }
    for set in &verified.dealt {
        let holders: Vec<&str> = set.holders().iter().map(|h| h.as_str()).collect();
        lines.push(format!(
            "  dealt        {} ({}): {} of {}, set {}",
            set.credential(),
            set.purpose(),
            set.threshold(),
            holders.join(", "),
            set.id()
        ));
    }
    if let Some(policy) = &verified.policy {
        lines.push(format!("  policy       version {}", policy.version));
    }
    for (authority, der) in &verified.cross_certificates {
        lines.push(format!("  cross-signed {authority}, SHA-256 {}", ca_core::pki::sha256(der)));
    }
    for crl in &verified.crls {
        lines.push(format!("  root CRL     number {}, until {}", crl.number, crl.next_update));
    }
    let count = |role: Role| {
        let names: Vec<&str> = verified.cosigners.iter().filter(|(_, r)| *r == role).map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { format!("{} ({})", names.len(), names.join(", ")) }
    };
    let enough = if verified.cosigned_by_enough() { "enough" } else { "NOT ENOUGH: the threshold of officers and a witness" };
    let (officers, witnesses) = (count(Role::Officer), count(Role::Witness));
    lines.push(format!("  co-signed by officers {officers}, witnesses {witnesses}: {enough}"));
    lines.extend(
        verified.exceptions.iter().map(|e| format!("  exception    line {}: {}: {} ({})", e.line, e.what, e.disposition, e.by.join(", "))),
    );
    lines.push(format!("transcript.jsonl, to be compared aloud: {words}"));
    if !roster_trusted {
        lines.push("  The officers are those that the bundle names; compare them with a roster you trust: --roster FILE".to_owned());
    }
    lines.join("\n")
}
