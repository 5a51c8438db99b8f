//! The binary `acme-server`: the ACME front end as a process and a user of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use acme_server::{ServerSettings, process};
use ca_service::config::Settings as _;
use ca_service::exit::report;
use clap::{Parser, Subcommand};

/// Many small pieces for each request, from many threads: the system's takes more CPU for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The ACME front end of Countersign, without any authority key
///
/// It reaches the store over the worker's socket, as a user of its own. `ca serve` runs the same code together with
/// everything else.
#[derive(Debug, Parser)]
#[command(name = "acme-server", version, after_help = ca_service::exit::CODES)]
struct Cli {
    /// The configuration
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/countersign/acme.toml")]
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
    /// Make the TLS key where it is missing, and print the digest that the policy must pin
    Keys,
    /// Read the configuration without starting anything
    Check,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.supervised {
        ca_service::signal::stop_with_parent();
    }
    let done = match ServerSettings::load(&cli.config) {
        Err(error) => Err(error),
        Ok(settings) => match cli.command.unwrap_or(Command::Run) {
            Command::Run => process::run(&settings).await,
            Command::Keys => process::keys(&settings).map(|text| print!("{text}")),
            Command::Check => Ok(()),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}
