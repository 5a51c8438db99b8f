//! The commands around a ceremony's acts: requests for certificates, assembling a bundle again, plans to start from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ca_core::ceremony::Acts;
use clap::Args;

use crate::cli::open;
use crate::{Error, RequestOptions, SystemClock, SystemRng, assemble, make_request, open_key_store, plan_template};

/// `NAME=FILE`.
pub(crate) fn wrapping_key(text: &str) -> Result<(String, PathBuf), String> {
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
    #[arg(long, value_name = "DIR", required_unless_present = "keystore")]
    keys: Option<PathBuf>,
    /// The key store on a device: a TOML file with what the configuration has under [keystore]. Stop a worker that uses it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "passphrase_file", "key_file", "wrapping_key"])]
    keystore: Option<PathBuf>,
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

impl TemplateArgs {
    pub(crate) fn template(&self) -> String {
        plan_template(&self.kind)
    }
}

pub(crate) fn assemble_command(args: &AssembleArgs) -> Result<String, Error> {
    assemble(&args.bundle, &args.out).map(|()| format!("Assembled {}", args.out.display()))
}

pub(crate) async fn request_command(args: RequestArgs) -> Result<String, Error> {
    let authority = args.authority.parse().map_err(|e| Error::Missing(format!("--authority: {e}")))?;
    let keys = match &args.keystore {
        Some(file) => open_key_store(file, "key store")?,
        None => open(&args.keys.unwrap_or_default(), (args.passphrase_file, args.key_file), &args.wrapping_key, "key store")?,
    };
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
    Ok(format!(
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
    ))
}
