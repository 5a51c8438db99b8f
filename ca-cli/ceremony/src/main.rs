//! The binary `ca-ceremony`: `ca ceremony` for a machine that has nothing else.

use std::process::ExitCode;

use ca_ceremony::{CeremonyCommand, execute};
use ca_custody::{CredentialCommand, credential_command};
use clap::{Parser, Subcommand};

/// Key ceremonies under dual control, offline.
#[derive(Parser)]
#[command(name = "ca-ceremony", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Ceremony(CeremonyCommand),
    /// Make, verify and deal again credentials as shares.
    #[command(subcommand)]
    Credential(CredentialCommand),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ExitCode::from(match Arguments::parse().command {
        Command::Ceremony(command) => execute(command).await,
        Command::Credential(command) => credential_command(command),
    })
}
