//! The binary ca: administration, serve, worker and agent.
//!
//! - `cli`: the commands and their help; `commands`: what they do;
//! - [`config`]: the site's TOML; `exit`: exit codes;
//! - [`serve`]: the parts in one process; `control`: the socket between commands and the instance;
//! - `anchor`: the worker's memory outside the database;
//! - [`agent`]: beside a service; `demo`: what `make run` shows;
//! - [`system`]: clock and randomness, from `ca_service`, which has what every process needs to run.

pub mod agent;
pub mod system;

mod anchor;
mod cli;
mod commands;
mod config;
mod control;
mod demo;
mod exit;
mod operator;
mod render;
mod serve;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command, ConfigCommand, RehearsalCommand};
use config::{Config, User};

/// Runs `ca` with the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(run(cli)).unwrap_or_else(|error| exit::report(&error))
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let path = config::find(cli.config.as_deref());
    let config = || Config::load(&path);
    // Holders need not be able to read the CA's configuration.
    let keyholder = || config().ok()?.keystore.keyholder().map(|(socket, _)| socket.to_owned());
    match cli.command {
        Command::Agent(args) => return agent::run(args).await,
        Command::Credential(command) => return Ok(ExitCode::from(ca_custody::credential_command(command))),
        Command::Keyholder(args) => return Ok(ExitCode::from(ca_custody::keyholder_command(&args))),
        Command::Unseal(args) => return Ok(ExitCode::from(ca_custody::unseal_command(&args, keyholder().as_deref()))),
        Command::Seal(args) => return Ok(ExitCode::from(ca_custody::seal_command(&args, keyholder().as_deref()))),
        #[cfg(feature = "yubihsm")]
        Command::Yubihsm(command) => return Ok(ExitCode::from(ca_ceremony::yubihsm_command(command).await)),
        Command::Ceremony(command) => return Ok(ExitCode::from(ca_ceremony::execute(command).await)),
        Command::Import { bundle, previous, cross_signed_by: Some(roster), .. } => {
            commands::import_cross(&config()?, &previous, &roster, &bundle).await?;
        }
        Command::Import { bundle, previous, request, cross_signed_by: None } => {
            commands::import(&config()?, &previous, &request, &bundle).await?
        }
        Command::Rehearsal(RehearsalCommand::Approve { policy, dir }) => {
            let dir = dir.unwrap_or_else(|| path.with_file_name("rehearsal"));
            commands::approve(&config()?, &policy, &dir).await?;
        }
        Command::Keys(command) => commands::keys(&config()?, command)?,
        Command::Key(command) => commands::key(config, command).await?,
        Command::Grant(command) => commands::grant(&config()?, command).await?,
        Command::Account(command) => commands::account(&config()?, command).await?,
        Command::Cert(command) => commands::cert(&config()?, command).await?,
        Command::Crl(command) => commands::crl(&config()?, command).await?,
        Command::Lint(args) => return commands::lint(&args),
        Command::Approve(command) => commands::approvals(&config()?, command).await?,
        Command::Policy(command) => commands::policy(&config()?, command).await?,
        Command::Officer(command) => commands::officer(&config()?, command).await?,
        Command::Stop(args) => commands::stop(&config()?, args).await?,
        Command::Resume(proposing) => commands::resume(&config()?, proposing).await?,
        Command::Status { output } => commands::status(&config()?, output).await?,
        Command::Config(ConfigCommand::Check { output }) => commands::check(&config()?, output).await?,
        Command::Audit(command) => commands::audit(config, command).await?,
        Command::Anchor(command) => commands::anchor(&config()?, command).await?,
        Command::Completions { shell } => commands::completions(shell)?,
        Command::Man { dir } => commands::man(&dir)?,
        Command::Serve { worker_user } => {
            let config = config()?;
            match worker_user.map(|user| User::given(&user)).or_else(|| config.serve.worker.clone()) {
                Some(worker) => serve::supervise(&config, &path, worker).await?,
                None => serve::serve(&config, serve::Role::All).await?,
            }
        }
        Command::Worker { supervised } => {
            if supervised {
                ca_service::signal::stop_with_parent();
            }
            serve::serve(&config()?, serve::Role::Worker).await?;
        }
        Command::Demo(args) => demo::demo(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}
