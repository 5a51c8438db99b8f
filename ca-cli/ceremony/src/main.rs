//! The binary `ca-ceremony`: `ca ceremony` for a machine that has nothing else.

use std::process::ExitCode;

use ca_ceremony::{CeremonyCommand, execute};
#[cfg(feature = "yubihsm")]
use ca_ceremony::{YubiHsmCommand, yubihsm_command};
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
    /// Provision a YubiHSM 2, end its ceremony, read its log.
    #[cfg(feature = "yubihsm")]
    #[command(subcommand)]
    Yubihsm(YubiHsmCommand),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ExitCode::from(match Arguments::parse().command {
        Command::Ceremony(command) => execute(command).await,
        Command::Credential(command) => credential_command(command),
        #[cfg(feature = "yubihsm")]
        Command::Yubihsm(command) => yubihsm_command(command).await,
    })
}
