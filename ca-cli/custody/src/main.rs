//! The binary `ca-keyholder`: the keyholder, and what its holders type, for a machine that has nothing else.

use std::process::ExitCode;

use ca_custody::{
    CredentialCommand, KeyholderArgs, SealArgs, UnsealArgs, credential_command, keyholder_command, seal_command, unseal_command,
};
use clap::{Parser, Subcommand};

/// Credentials as shares of several people, and the process that has them while a CA runs
#[derive(Parser)]
#[command(name = "ca-keyholder", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the keyholder
    Serve(KeyholderArgs),
    /// Give a share, or see how many are there
    Unseal(UnsealArgs),
    /// Have the keyholder forget at once
    Seal(SealArgs),
    /// Make, verify and deal again credentials as shares
    #[command(subcommand)]
    Credential(CredentialCommand),
}

fn main() -> ExitCode {
    ExitCode::from(match Arguments::parse().command {
        Command::Serve(args) => keyholder_command(&args),
        Command::Unseal(args) => unseal_command(&args, None),
        Command::Seal(args) => seal_command(&args, None),
        Command::Credential(command) => credential_command(command),
    })
}
