//! The binary `ca-ceremony`: `ca ceremony` for a machine that has nothing else.

use std::process::ExitCode;

use ca_ceremony::{CeremonyCommand, execute};
use clap::Parser;

/// Key ceremonies under dual control, offline.
#[derive(Parser)]
#[command(name = "ca-ceremony", version)]
struct Arguments {
    #[command(subcommand)]
    command: CeremonyCommand,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ExitCode::from(execute(Arguments::parse().command).await)
}
