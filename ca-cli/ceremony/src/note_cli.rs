//! The commands by which people write down what they see: `note`, `exception`, `words`, `device`.

use std::path::{Path, PathBuf};

use ca_core::ceremony::{CeremonyError, Fact, KeyPlace, Plan, grouped, inventory_digest, inventory_lines, spoken};
use ca_core::pki::{Sha256Digest, Timestamp, sha256};
use ca_core::ports::KeyDevice;
use clap::{Args, Subcommand, ValueEnum};

use crate::files::{Folder, PLAN, TRANSCRIPT, read};
use crate::journal::peek_transcript;
use crate::{Error, Noted, SystemClock, add_exception, dispose_exception, note};

/// Arguments of `note`.
#[derive(Args, Debug)]
pub struct NoteArgs {
    /// The bundle's folder.
    bundle: PathBuf,
    #[command(subcommand)]
    what: NoteWhat,
    /// Writes it down again, for this reason: an exception.
    #[arg(long, value_name = "REASON", global = true)]
    again: Option<String>,
}

#[derive(Subcommand, Debug)]
enum NoteWhat {
    /// A person of the plan is in the room.
    Attendance {
        /// Who.
        name: String,
        /// The time on that person's own clock, in UTC: 2026-01-31T12:00:00Z.
        #[arg(long, value_name = "TIME", value_parser = |t: &str| Timestamp::parse_rfc3339(t).map_err(|e| e.to_string()))]
        own_clock: Option<Timestamp>,
    },
    /// A custodian has received what the plan says.
    Custody {
        /// Who.
        name: String,
        /// The number of the tamper bag.
        #[arg(long, value_name = "NUMBER")]
        bag: String,
    },
    /// The number of a tamper bag.
    Bag {
        /// Which of the plan's bags.
        what: String,
        /// The number printed on it.
        number: String,
    },
    /// The digest of a medium.
    Media {
        /// Which of the plan's media.
        what: String,
        /// Its content, to take the digest of.
        #[arg(long, value_name = "FILE", required_unless_present = "sha256", conflicts_with = "sha256")]
        file: Option<PathBuf>,
        /// Its digest, taken elsewhere.
        #[arg(long, value_name = "HEX")]
        sha256: Option<Sha256Digest>,
    },
}

/// The commands of `exception`.
#[derive(Subcommand, Debug)]
pub enum ExceptionCommand {
    /// Puts on record something that is not in the script: an override, something retyped, an interruption.
    Add {
        /// The bundle's folder.
        bundle: PathBuf,
        /// What happened, on one line.
        what: String,
    },
    /// Puts on record what people decided about an exception; without that the ceremony can't be closed.
    Dispose {
        /// The bundle's folder.
        bundle: PathBuf,
        /// The exception's line in the transcript.
        line: u64,
        /// What was decided, on one line.
        decision: String,
        /// Who decided: an officer and a witness at least.
        #[arg(long, value_name = "NAME,NAME", value_delimiter = ',', required = true)]
        by: Vec<String>,
    },
    /// Lists the exceptions.
    List {
        /// The bundle's folder.
        bundle: PathBuf,
    },
}

/// A key place, as an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Place {
    /// The root's keys.
    Root,
    /// The issuing authorities' keys.
    Online,
    /// Backups.
    Backup,
}

impl From<Place> for KeyPlace {
    fn from(place: Place) -> Self {
        match place {
            Place::Root => Self::Root,
            Place::Online => Self::Online,
            Place::Backup => Self::Backup,
        }
    }
}

pub(crate) fn note_command(args: NoteArgs) -> Result<String, Error> {
    let folder = Folder(args.bundle.clone());
    let plan = Plan::parse(&folder.text(PLAN)?).map_err(Error::file(&folder.path(PLAN)))?;
    let people = &plan.frame.people;
    let unknown = |name: &str| CeremonyError::Refused { what: "record", reason: format!("`{name}` is none of the people of this plan") };
    let mut compare = None;
    let fact = match args.what {
        NoteWhat::Attendance { name, own_clock } => {
            let role = people.role(&plan.roster, &name).ok_or_else(|| unknown(&name))?;
            Fact::Attendance { name, role, own_clock }
        }
        NoteWhat::Custody { name, bag } => {
            let custodian = people
                .custodians
                .iter()
                .find(|c| c.name == name)
                .ok_or_else(|| CeremonyError::Refused { what: "record", reason: format!("`{name}` keeps nothing in this plan") })?;
            Fact::Custody { name, holds: custodian.holds.clone(), bag }
        }
        NoteWhat::Bag { what, number } => Fact::Bag { what, id: number },
        NoteWhat::Media { what, file, sha256: given } => {
            let digest = match given {
                Some(digest) => digest,
                None => digest_of(&file.unwrap_or_default())?,
            };
            compare = Some(digest);
            Fact::Media { what, sha256: digest }
        }
    };
    let Noted { name, file, signature, namespace } = note(&args.bundle, fact, args.again.as_deref(), &SystemClock)?;
    let mut out = format!("On record: {name}, in {}", file.display());
    if let Some(digest) = compare {
        out.push_str(&format!("\n{}", words_text(&digest)));
    }
    if let Some((signature, who)) = signature {
        out.push_str(&format!(
            "\n{who} reads it and signs it:\n  ssh-keygen -Y sign -n {namespace} -f KEY \\\n    < {} \\\n    > {}",
            file.display(),
            signature.display()
        ));
    }
    Ok(out)
}

pub(crate) fn exception_command(command: ExceptionCommand) -> Result<String, Error> {
    match command {
        ExceptionCommand::Add { bundle, what } => {
            let line = add_exception(&bundle, &what, &SystemClock)?;
            Ok(format!(
                "On record as line {line}. An officer and a witness decide:\n  ca ceremony exception dispose {} {line} DECISION --by OFFICER,WITNESS",
                bundle.display()
            ))
        }
        ExceptionCommand::Dispose { bundle, line, decision, by } => {
            dispose_exception(&bundle, line, &decision, &by, &SystemClock)?;
            Ok(format!("The exception on line {line} is disposed of by {}.", by.join(", ")))
        }
        ExceptionCommand::List { bundle } => {
            let transcript = peek_transcript(&Folder(bundle).path(TRANSCRIPT))?;
            let lines: Vec<String> = transcript
                .exceptions()
                .map(|e| {
                    let disposed = e.disposed.map_or_else(|| "OPEN".to_owned(), |(text, by)| format!("{text} ({})", by.join(", ")));
                    let done = if e.done.is_empty() { String::new() } else { format!("\n  done      {}", e.done) };
                    format!("line {} at {}\n  what      {}{done}\n  decided   {disposed}", e.line, e.at, e.what)
                })
                .collect();
            Ok(if lines.is_empty() { "No exception.".to_owned() } else { lines.join("\n") })
        }
    }
}

/// SHA-256 of a file of any size.
fn digest_of(path: &Path) -> Result<Sha256Digest, Error> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(Error::io("read", path))? {
            0 => break,
            n => context.update(&buffer[..n]),
        }
    }
    let mut out = [0u8; 32];
    out.copy_from_slice(context.finish().as_ref());
    Ok(Sha256Digest(out))
}

/// `words FILE|HASH`: what is no digest in hexadecimal is a file.
pub(crate) fn words_command(what: &str) -> Result<String, Error> {
    let digest = match what.parse::<Sha256Digest>() {
        Ok(digest) => digest,
        Err(_) => digest_of(Path::new(what))?,
    };
    Ok(words_text(&digest))
}

fn words_text(digest: &Sha256Digest) -> String {
    let [first, second] = grouped(digest);
    let rows: Vec<String> = spoken(digest).into_iter().map(|row| format!("  {row}")).collect();
    format!("SHA-256 {digest}\n  {first}\n  {second}\n{}", rows.join("\n"))
}

/// The plan's table for a device, as it is now.
pub(crate) async fn device_command(place: Place, device: &dyn KeyDevice) -> Result<String, Error> {
    let (identity, inventory) = (device.identity().await?, device.inventory().await?);
    let deviations = device.deviations_from_reset().await?;
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let kind = toml::Value::try_from(identity.kind).map_err(|e| Error::issuance("device", e))?;
    let before = if deviations.is_empty() { "\"new\"".to_owned() } else { format!("\"sha256:{}\"", inventory_digest(&inventory)) };
    let mut out =
        format!("[device.{}]\n# {}\nkind = {kind}\nserial = {}\n", KeyPlace::from(place).name(), identity.model, quoted(&identity.serial));
    if let Some(firmware) = identity.firmware {
        out.push_str(&format!("lowest_firmware = \"{firmware}\"\n"));
    }
    out.push_str(&format!("before = {before}\n"));
    inventory_lines(&inventory).iter().for_each(|line| out.push_str(&format!("# it holds: {line}\n")));
    deviations.iter().for_each(|line| out.push_str(&format!("# unlike a new one: {line}\n")));
    Ok(out)
}

/// The digest of some bytes in words, for other reports.
pub(crate) fn words_of(bytes: &[u8]) -> String {
    words_text(&sha256(bytes))
}

/// Reads a plan file.
pub(crate) fn read_plan(path: &Path) -> Result<Plan, Error> {
    let text = String::from_utf8(read(path)?).map_err(|_| Error::bundle(path, "it is not UTF-8 text"))?;
    Plan::parse(&text).map_err(Error::file(path))
}
