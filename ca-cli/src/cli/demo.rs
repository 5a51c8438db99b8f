//! `ca demo` and `ca rehearsal …`: CAs to try things on.

use std::path::PathBuf;

use ca_core::pki::KeyAlgorithm;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// The folder of everything that it makes
    #[arg(long, default_value = "var")]
    pub(crate) dir: PathBuf,
    /// The port of the ACME server [default: 14000, or the one of the first start]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) acme_port: Option<u16>,
    /// The port of OCSP, CRLs and issuer certificates; certificates name it, so it stays [default: 14002, or the one of
    /// the first start]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) status_port: Option<u16>,
    /// The kind of the root's and the issuing authority's keys; ml-dsa-65 and ml-dsa-87 make a post-quantum hierarchy
    /// (docs/post-quantum.md) [default: p256, or that of the first start]
    #[arg(long, value_name = "KIND")]
    pub(crate) algorithm: Option<KeyAlgorithm>,
    /// What is logged
    #[arg(long, value_enum, default_value_t = DemoLog::Warn)]
    pub(crate) log: DemoLog,
}

/// How much the demonstration logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DemoLog {
    /// What someone should look at.
    Warn,
    /// What happens.
    Info,
    /// Everything.
    Debug,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RehearsalCommand {
    /// Have the throwaway officers approve an edited policy
    ///
    /// Copy DIR/bundle/policy.toml, edit the copy and raise its version. The instance must be stopped: the policy is
    /// stored at once, and the worker takes it at its next start.
    Approve {
        /// The edited policy
        policy: PathBuf,
        /// The rehearsal's folder [default: `rehearsal` beside the configuration]
        #[arg(long)]
        dir: Option<PathBuf>,
    },
}
