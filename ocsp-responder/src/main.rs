//! The binary `ocsp-responder`: the validation authority as a process and a user of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use ca_core::pki::KeyAlgorithm;
use ca_service::config::Settings as _;
use ca_service::exit::report;
use clap::{Parser, Subcommand};
use ocsp_responder::{ResponderSettings, process};

/// Many small pieces for each request, from many threads: the system's takes more CPU for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The OCSP responder of Countersign: OCSP, CRLs and issuer certificates over HTTP, without any authority key
///
/// It reads the store over the worker's socket, as a user of its own. `ca serve` runs the same code together with
/// everything else.
#[derive(Debug, Parser)]
#[command(name = "ocsp-responder", version, after_help = ca_service::exit::CODES)]
struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/countersign/ocsp.toml")]
    config: PathBuf,
    /// Stop when standard input ends, as `ca serve` has it that started this
    #[arg(long, hide = true)]
    supervised: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM (what it does without a command)
    Run,
    /// Make the delegated keys where they are missing, and print the digests that the policy must pin
    Keys {
        /// The kind of keys to make: any but ML-DSA is read by every client [default: p256]
        #[arg(long, value_name = "KIND")]
        algorithm: Option<KeyAlgorithm>,
    },
    /// Read the configuration without starting anything
    Check,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.supervised {
        ca_service::signal::stop_with_parent();
    }
    let done = match ResponderSettings::load(&cli.config) {
        Err(error) => Err(error),
        Ok(settings) => match cli.command.unwrap_or(Command::Run) {
            Command::Run => process::run(&settings).await,
            Command::Keys { algorithm } => process::keys(&settings, algorithm).map(|text| print!("{text}")),
            Command::Check => Ok(()),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}
