//! The commands, for the binary `ca-keyholder` and for `ca`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use ca_core::model::{CredentialName, HolderName};
use ca_keystore::keyholder::{CredentialStatus, DEFAULT_SOCKET, Keyholder, Unlock};
use ca_keystore::shares::{Credential, Purpose, Share, ShareFile, ShareSet, recombine};
use ca_keystore::{Unsealer, file_key_text, reseal_folder};
use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use crate::credential::{Made, Recipients, create, read_set, reshare, rotate, verify};
use crate::keyholder::{KeyholderConfig, Server};
use crate::{Error, Passphrases, SystemClock, SystemRng};

/// Arguments of `ca keyholder`.
#[derive(Args, Debug)]
pub struct KeyholderArgs {
    /// Its configuration
    #[arg(long = "keyholder-config", value_name = "FILE", default_value = "/etc/countersign/keyholder.toml")]
    config: PathBuf,
}

/// Arguments of `ca unseal`.
#[derive(Args, Debug)]
pub struct UnsealArgs {
    /// Your share's file or descriptor (/dev/fd/3)
    #[arg(required_unless_present = "status")]
    share: Option<PathBuf>,
    /// Your passphrase is in this file or descriptor; without it, it is asked for at the terminal
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Only show which credentials are unsealed, and whose shares are there
    #[arg(long, conflicts_with = "share")]
    status: bool,
    /// With --status, print JSON
    #[arg(long, requires = "status")]
    json: bool,
    /// The keyholder's socket [default: the one that the configuration's key store names, else the usual place]
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

/// Arguments of `ca seal`.
#[derive(Args, Debug)]
pub struct SealArgs {
    /// Which credential [default: all of them]
    credential: Option<CredentialName>,
    /// The keyholder's socket [default: as for `ca unseal`]
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

/// `ca credential`.
#[derive(Subcommand, Debug)]
pub enum CredentialCommand {
    /// Make a random credential and deal it to holders, each share sealed under its holder's passphrase
    ///
    /// Example: ca credential create --for pkcs11-pin:token --holders ana,bela,cora --threshold 2 --out shares
    Create {
        /// What it opens, and its name: pkcs11-pin:NAME, yubihsm-key:NAME or software-key:NAME
        #[arg(long = "for", value_name = "PURPOSE:NAME", value_parser = parse_target)]
        target: Target,
        /// Who gets the shares.
        #[command(flatten)]
        to: ToHolders,
        /// Writes the credential once into this pipe or descriptor (/dev/fd/3), for the program that sets it; a file on
        /// a disk is refused
        #[arg(long, value_name = "PIPE")]
        hand_to: Option<PathBuf>,
    },
    /// Verify shares against their set; as many as the threshold are recombined once as well
    Verify {
        /// The set's description, NAME.set.json
        set: PathBuf,
        /// Shares; without any the description is shown
        shares: Vec<PathBuf>,
        /// Where passphrases come from.
        #[command(flatten)]
        passphrases: PassphraseArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Deal a credential again, to other holders or with another threshold
    ///
    /// The secret stays the same, so the old shares still open it until they are destroyed. With --rotate a fresh random
    /// one takes its place, and what it opens is changed to it: --reseal seals the keys of a folder anew; --hand-to gives
    /// the old one, then the new one, to a program that changes a device.
    Reshare {
        /// The set's description, NAME.set.json
        set: PathBuf,
        /// As many of its shares as the threshold asks for
        #[arg(required = true)]
        shares: Vec<PathBuf>,
        /// The passphrases of those shares, a file for each holder in this folder [default: asked for at the terminal]
        #[arg(long, value_name = "DIR")]
        old_passphrase_dir: Option<PathBuf>,
        /// Who gets the shares.
        #[command(flatten)]
        to: ToHolders,
        /// A fresh secret instead of the same
        #[arg(long)]
        rotate: bool,
        /// With --rotate: writes the old and the new credential into this pipe or descriptor
        #[arg(long, value_name = "PIPE", requires = "rotate", conflicts_with = "reseal")]
        hand_to: Option<PathBuf>,
        /// With --rotate, for a software key: seals every key in this folder under the new one. All of them change at
        /// once; with an error before that, the old one still opens all
        #[arg(long, value_name = "DIR", requires = "rotate")]
        reseal: Option<PathBuf>,
    },
    /// Seal a whole credential into a file for a host that starts unattended: root there then has it
    HostSeal {
        /// The set's description, NAME.set.json
        set: PathBuf,
        /// As many of its shares as the threshold asks for
        #[arg(required = true)]
        shares: Vec<PathBuf>,
        /// Where passphrases come from.
        #[command(flatten)]
        passphrases: PassphraseArgs,
        /// The sealed credential; never overwritten
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The file key that opens it; made where it is missing
        #[arg(long, value_name = "FILE")]
        key_file: PathBuf,
    },
}

/// Where the passphrases of existing shares come from.
#[derive(Args, Debug)]
pub struct PassphraseArgs {
    /// A folder with a file for each holder, by the holder's name [default: asked for at the terminal]
    #[arg(long, value_name = "DIR")]
    passphrase_dir: Option<PathBuf>,
}

/// Who gets shares.
#[derive(Args, Debug)]
pub struct ToHolders {
    /// The holders' names, by comma
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
    holders: Vec<HolderName>,
    /// How many of them open it, at least 2
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u8).range(2..=16))]
    threshold: u8,
    /// The folder for the files; nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A folder with a file for each holder, by the holder's name [default: each holder types a new passphrase]
    #[arg(long, value_name = "DIR")]
    passphrase_dir: Option<PathBuf>,
}

/// What a credential is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    purpose: Purpose,
    name: CredentialName,
}

fn parse_target(text: &str) -> Result<Target, String> {
    let (purpose, name) = text.split_once(':').ok_or("write it as PURPOSE:NAME, for example pkcs11-pin:token")?;
    Ok(Target { purpose: purpose.parse()?, name: name.parse().map_err(|e: ca_core::model::IdError| e.to_string())? })
}

impl From<Option<PathBuf>> for Passphrases {
    fn from(folder: Option<PathBuf>) -> Self {
        folder.map_or(Self::Terminal, Self::Folder)
    }
}

fn finish(done: Result<String, Error>) -> u8 {
    match done {
        Ok(text) => {
            // A reader that went away is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            0
        }
        Err(error) => {
            eprintln!("error: {error}");
            error.exit_code()
        }
    }
}

/// Runs the keyholder until a signal ends it; gives the exit code.
pub fn keyholder_command(args: &KeyholderArgs) -> u8 {
    let serve = || {
        let config = KeyholderConfig::load(&args.config)?;
        Server::start(&config, Box::new(SystemClock))?.run()
    };
    finish(serve().map(|()| String::new()))
}

fn keyholder(given: Option<&PathBuf>, configured: Option<&Path>) -> Keyholder {
    Keyholder::at(given.map(PathBuf::as_path).or(configured).unwrap_or(Path::new(DEFAULT_SOCKET)))
}

/// Gives a share, or shows how the credentials are; `configured` is the socket that a configuration names.
pub fn unseal_command(args: &UnsealArgs, configured: Option<&Path>) -> u8 {
    finish(unseal(args, configured))
}

fn unseal(args: &UnsealArgs, configured: Option<&Path>) -> Result<String, Error> {
    let keyholder = keyholder(args.socket.as_ref(), configured);
    let Some(path) = &args.share else {
        let credentials = keyholder.status()?;
        return Ok(if args.json {
            serde_json::to_string_pretty(&credentials).map_err(|e| Error::Usage(e.to_string()))? + "\n"
        } else {
            credentials.iter().map(describe).collect()
        });
    };
    let file = ShareFile::read(path)?;
    let (name, holder) = (file.credential().clone(), file.holder().clone());
    let passphrases = args.passphrase_file.clone().map_or(Passphrases::Terminal, Passphrases::File);
    let share = file.open(&passphrases.existing(&holder)?)?;
    Ok(match keyholder.give(share)? {
        0 => format!("`{name}` is unsealed: the share of {holder} was the last one needed.\n"),
        missing => format!("The share of {holder} is good. `{name}` needs {missing} more.\n"),
    })
}

fn describe(status: &CredentialStatus) -> String {
    let state = if status.unsealed { "unsealed" } else { "sealed" };
    let mut out = format!(
        "{} ({}, {}): {state}",
        status.name,
        status.purpose,
        if status.unlock == Unlock::Attended { "attended" } else { "host-sealed" }
    );
    if status.threshold > 0 {
        out.push_str(&format!(", {} of {} shares", status.given.len(), status.threshold));
    }
    out.push('\n');
    for given in &status.given {
        out.push_str(&format!("  {} gave a share at {} (user {})\n", given.holder, given.at.to_rfc3339(), given.uid));
    }
    let others: Vec<&str> =
        status.holders.iter().filter(|h| !status.given.iter().any(|g| g.holder == **h)).map(HolderName::as_str).collect();
    if !status.unsealed && !others.is_empty() {
        out.push_str(&format!("  may help: {}\n", others.join(", ")));
    }
    out
}

/// Has the keyholder forget; `configured` is the socket that a configuration names.
pub fn seal_command(args: &SealArgs, configured: Option<&Path>) -> u8 {
    let sealed = keyholder(args.socket.as_ref(), configured).seal(args.credential.clone());
    finish(sealed.map_err(Error::from).map(|names| {
        if names.is_empty() {
            return "Nothing was unsealed.\n".to_owned();
        }
        let list: String = names.iter().map(|n| format!("`{n}` is sealed.\n")).collect();
        list + "No new session gets it. A worker that has it already keeps it until it stops: to end signing now, stop the worker too.\n"
    }))
}

/// Runs a command on credentials; gives the exit code.
pub fn credential_command(command: CredentialCommand) -> u8 {
    finish(credential(command))
}

fn credential(command: CredentialCommand) -> Result<String, Error> {
    match command {
        CredentialCommand::Create { target, to, hand_to } => {
            let mut pipe = hand_to.map(Pipe::open).transpose()?;
            let made = with_recipients(&to, |recipients| {
                create(target.name.clone(), target.purpose, recipients, &mut |credential| match &mut pipe {
                    Some(pipe) => pipe.hand(credential),
                    None => Ok(()),
                })
            })?;
            Ok(report(&made))
        }
        CredentialCommand::Verify { set, shares, passphrases, json } => {
            let set = read_set(&set)?;
            let shares = open_shares(&set, &shares, &passphrases.passphrase_dir.into())?;
            let verified = verify(&set, &shares)?;
            if json {
                let report = json!({
                    "set": set.id(), "credential": set.credential(), "purpose": set.purpose(), "threshold": set.threshold(),
                    "holders": set.holders(), "dealt_at": set.dealt_at().to_rfc3339(), "good": verified.good,
                    "recombined": verified.recombined,
                });
                return Ok(format!("{report:#}\n"));
            }
            let mut out = shown(&set);
            verified.good.iter().for_each(|holder| out.push_str(&format!("  the share of {holder} is good\n")));
            if verified.recombined {
                out.push_str("  together they give the credential that was dealt\n");
            }
            Ok(out)
        }
        CredentialCommand::Reshare { set, shares, old_passphrase_dir, to, rotate: fresh, hand_to, reseal } => {
            let set = read_set(&set)?;
            let old = open_shares(&set, &shares, &old_passphrase_dir.into())?;
            let mut pipe = hand_to.map(Pipe::open).transpose()?;
            let made = with_recipients(&to, |recipients| match (fresh, &mut pipe, &reseal) {
                (false, ..) => reshare(&set, &old, recipients),
                (true, Some(pipe), _) => rotate(&set, &old, recipients, &mut |old, new| pipe.hand(old).and_then(|()| pipe.hand(new))),
                (true, None, Some(folder)) => rotate(&set, &old, recipients, &mut |old, new| seal_anew(folder, old, new)),
                (true, None, None) => Err(Error::Usage(
                    "--rotate needs --reseal or --hand-to: what the credential opens must be changed to the new one".to_owned(),
                )),
            })?;
            let hint = if fresh {
                "The old shares open nothing any more, once what they opened has the new credential.\n"
            } else {
                "The old shares still open it: destroy them, with a witness. If one may be in wrong hands, use --rotate.\n"
            };
            Ok(report(&made) + hint)
        }
        CredentialCommand::HostSeal { set, shares, passphrases, out, key_file } => {
            let set = read_set(&set)?;
            let shares = open_shares(&set, &shares, &passphrases.passphrase_dir.into())?;
            let credential = recombine(&set, &shares)?.credential(set.credential(), set.purpose());
            let key =
                if key_file.exists() { Unsealer::file_key_from(&key_file)? } else { Unsealer::create_file_key(&key_file, &SystemRng)? };
            credential.seal(&out, &key, &SystemRng)?;
            Ok(format!(
                "Sealed into {}. Whoever is root where it and {} are has `{}`.\n",
                out.display(),
                key_file.display(),
                set.credential()
            ))
        }
    }
}

fn seal_anew(folder: &Path, old: &Credential, new: &Credential) -> Result<(), String> {
    let [old, new] = [old, new].map(|c| c.unsealer().map_err(|e| e.to_string()));
    reseal_folder(folder, &old?, &new?, &SystemRng).map(drop).map_err(|e| e.to_string())
}

fn with_recipients(to: &ToHolders, make: impl FnOnce(&Recipients<'_>) -> Result<Made, Error>) -> Result<Made, Error> {
    let passphrases = Passphrases::from(to.passphrase_dir.clone());
    let holders = to.holders.iter().map(|h| Ok((h.clone(), passphrases.new_one(h)?))).collect::<Result<_, Error>>()?;
    make(&Recipients { threshold: to.threshold, holders, folder: &to.out, clock: &SystemClock, rng: &SystemRng })
}

fn open_shares(set: &ShareSet, paths: &[PathBuf], passphrases: &Passphrases) -> Result<Vec<Share>, Error> {
    if paths.len() > set.holders().len() {
        return Err(Error::Usage(format!("{} shares of a set that has {}", paths.len(), set.holders().len())));
    }
    paths
        .iter()
        .map(|path| {
            let file = ShareFile::read(path)?;
            let unsealer = passphrases.existing(file.holder())?;
            Ok(file.open(&unsealer)?)
        })
        .collect()
}

fn shown(set: &ShareSet) -> String {
    let holders: Vec<&str> = set.holders().iter().map(HolderName::as_str).collect();
    format!(
        "`{}` ({}): {} of {} open it, dealt {}\n  set {}\n",
        set.credential(),
        set.purpose(),
        set.threshold(),
        holders.join(", "),
        set.dealt_at().to_rfc3339(),
        set.id()
    )
}

fn report(made: &Made) -> String {
    let mut out = shown(&made.set);
    out.push_str(&format!("  description {} (public; the keyholder's configuration names it)\n", made.set_file.display()));
    for (holder, path) in &made.share_files {
        out.push_str(&format!("  share of {holder} {}\n", path.display()));
    }
    out + "Each share was read back and verified, and every neighbouring threshold of them recombined. Each holder takes the own file away; no copy stays here.\n"
}

/// A pipe or descriptor that a credential is written into.
struct Pipe(std::fs::File);

impl Pipe {
    fn open(path: PathBuf) -> Result<Self, Error> {
        let file = OpenOptions::new().write(true).open(&path).map_err(Error::io("open", &path))?;
        let metadata = file.metadata().map_err(Error::io("inspect", &path))?;
        if metadata.is_file() {
            return Err(Error::Usage(format!(
                "{} is a file on a disk: a credential is never written there (hint: a pipe, or /dev/fd/N)",
                path.display()
            )));
        }
        Ok(Self(file))
    }

    /// A PIN and its line's end; a software key as a file key has it; a YubiHSM's key as its 32 bytes.
    fn hand(&mut self, credential: &Credential) -> Result<(), String> {
        let bytes = credential.expose();
        let form: Zeroizing<Vec<u8>> = match credential.purpose() {
            Purpose::Pkcs11Pin => {
                let mut line = Zeroizing::new(Vec::with_capacity(bytes.len() + 1));
                line.extend_from_slice(bytes);
                line.push(b'\n');
                line
            }
            Purpose::SoftwareKey => {
                let key = Zeroizing::new(<[u8; 32]>::try_from(bytes).map_err(|_| "the key has not 32 bytes".to_owned())?);
                Zeroizing::new(file_key_text(&key).as_bytes().to_vec())
            }
            Purpose::YubihsmKey => Zeroizing::new(bytes.to_vec()),
        };
        self.0.write_all(&form).and_then(|()| self.0.flush()).map_err(|e| e.to_string())
    }
}
