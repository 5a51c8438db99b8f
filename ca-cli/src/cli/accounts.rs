//! `ca account …`: ACME accounts.

use ca_core::model::AccountId;
use clap::Subcommand;

use super::{Output, Signing};

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// List ACME accounts, newest first
    List {
        /// Only those that are paused, because they only failed
        #[arg(long)]
        paused: bool,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Show an account and the certificates that it has
    Show {
        /// The account's id: the end of its URL
        id: AccountId,
        #[command(flatten)]
        output: Output,
    },
    /// Let a paused account go on, once what it failed at is set right
    Resume {
        /// The account's id: the end of its URL
        id: AccountId,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        output: Output,
    },
}
