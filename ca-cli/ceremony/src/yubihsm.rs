//! Commands for a YubiHSM 2: what comes before a ceremony and after it.

use std::path::{Path, PathBuf};

use ca_core::ports::KeyStoreError;
use ca_keystore::CredentialError;
use ca_keystore::yubihsm::{
    DevicePlan, DrainError, JournalError, LogJournal, LogStart, ProvisionError, Role, YubiHsmKeyStore, provision, retire_ceremony_key,
};
use clap::Subcommand;

use crate::Error;
use crate::files::{parent, read};

/// The most bytes of a device plan.
const MAX_BYTES: usize = 64 * 1024;

/// Provision a YubiHSM 2, end its ceremony, read its log.
#[derive(Subcommand, Debug)]
pub enum YubiHsmCommand {
    /// From the factory's state to one authentication key for each role; the default key goes last. After a failure run
    /// it again with the same plan.
    Provision {
        /// The device plan (TOML): which device, and where each key's value comes from.
        plan: PathBuf,
    },
    /// Ends a ceremony: deletes the ceremony key, once no key that stays may do more than its role.
    Retire {
        /// The device plan.
        plan: PathBuf,
    },
    /// Copies what is new in the device's log into the journal, and lets the device forget it.
    Log {
        /// The device plan; only the auditor's key is used.
        plan: PathBuf,
        /// The journal, begun where it is missing.
        #[arg(long, value_name = "FILE")]
        journal: PathBuf,
        /// The bundle of a ceremony on the device, whose entries come before the device's own; oldest first.
        #[arg(long, value_name = "DIR")]
        bundle: Vec<PathBuf>,
        /// The journal may begin in the middle of the device's log: what was before stays unknown.
        #[arg(long)]
        begin_anywhere: bool,
    },
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    File(#[from] Error),
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    KeyStore(#[from] KeyStoreError),
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error(transparent)]
    Drain(#[from] DrainError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl Failure {
    /// The process exit code: 4 refused, 5 try again, 1 everything else.
    const fn exit_code(&self) -> u8 {
        match self {
            Self::File(error) => error.exit_code(),
            Self::Provision(ProvisionError::NotFresh(_) | ProvisionError::Differs { .. } | ProvisionError::Plan(_))
            | Self::Drain(DrainError::Gap(_)) => 4,
            Self::Credential(CredentialError::Unavailable(_))
            | Self::KeyStore(KeyStoreError::Unavailable(_))
            | Self::Provision(ProvisionError::Device { source: KeyStoreError::Unavailable(_), .. })
            | Self::Drain(DrainError::Device(KeyStoreError::Unavailable(_))) => 5,
            Self::Credential(_) | Self::KeyStore(_) | Self::Provision(_) | Self::Drain(_) | Self::Journal(_) => 1,
        }
    }
}

/// Runs a command, prints its report, and gives the process's exit code.
pub async fn yubihsm_command(command: YubiHsmCommand) -> u8 {
    let done = match command {
        YubiHsmCommand::Provision { plan } => provision_command(&plan),
        YubiHsmCommand::Retire { plan } => retire_command(&plan),
        YubiHsmCommand::Log { plan, journal, bundle, begin_anywhere } => log_command(&plan, &journal, &bundle, begin_anywhere).await,
    };
    match done {
        Ok(text) => crate::cli::print(&text, 0),
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

pub(crate) fn device_plan(path: &Path) -> Result<DevicePlan, Error> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= MAX_BYTES);
    let text = text.ok_or_else(|| Error::bundle(path, format!("it is not UTF-8 text of at most {MAX_BYTES} bytes")))?;
    let mut plan: DevicePlan = toml::from_str(text).map_err(|e| Error::bundle(path, e.to_string()))?;
    plan.resolve(&parent(path));
    Ok(plan)
}

fn provision_command(path: &Path) -> Result<String, Failure> {
    let done = provision(&device_plan(path)?.with_values()?)?;
    let mut lines =
        vec![format!("The YubiHSM 2 with serial number {}, firmware {}, is provisioned. It holds:", done.serial, done.firmware)];
    lines.extend(done.objects.iter().map(|o| format!("  {:<18} {} {}", o.kind, o.id, o.label)));
    lines.push(format!("The maker's certificate for it has SHA-256 {}", ca_core::pki::sha256(&done.certificate)));
    lines.push("  (Yubico's certificate that it verifies under belongs in the ceremony's plan: attestation_roots)".to_owned());
    lines.push("The default authentication key is gone. Next: the ceremony; then `yubihsm retire` with this plan.".to_owned());
    Ok(lines.join("\n"))
}

fn retire_command(path: &Path) -> Result<String, Failure> {
    let plan = device_plan(path)?;
    retire_ceremony_key(&plan.options(), &plan.value(Role::Ceremony)?)?;
    Ok("The ceremony key is gone; no key that stays can make keys, export them, or change the device.".to_owned())
}

async fn log_command(path: &Path, journal: &Path, bundles: &[PathBuf], begin_anywhere: bool) -> Result<String, Failure> {
    let plan = device_plan(path)?;
    let store = YubiHsmKeyStore::open(plan.options(), vec![plan.login(Role::Auditor)?])?;
    let start = if begin_anywhere { LogStart::Anywhere } else { LogStart::AtReset };
    let mut kept = LogJournal::open(journal)?;
    let mut lines = Vec::new();
    for bundle in bundles {
        let logs = crate::verify(bundle, None)?.device_logs.into_iter().filter(|log| log.device.serial == plan.serial);
        let entries: Vec<_> = logs.flat_map(|log| log.entries).collect();
        lines.push(format!("{} new entries out of the bundle {}", kept.bridge(&entries, start)?, bundle.display()));
    }
    let drained = kept.drain(&store, start).await?;
    lines.push(format!("{} new entries in {}", drained.entries.len(), journal.display()));
    lines.extend(drained.entries.iter().map(|e| {
        let key = e.key.as_ref().map_or(String::new(), |key| format!(" {key}"));
        format!("  {:>5} {}{key}{}", e.number, e.command, if e.succeeded { "" } else { ": refused" })
    }));
    if drained.unlogged_boots + drained.unlogged_authentications > 0 {
        lines.push(format!(
            "The device had no room to log {} starts and {} logins (hint: record an exception, and drain more often)",
            drained.unlogged_boots, drained.unlogged_authentications
        ));
    }
    Ok(lines.join("\n"))
}
