//! `ca lint`.

use std::path::PathBuf;

use ca_core::lint::Severity;
use clap::{Args, ValueEnum};

use super::Output;

#[derive(Clone, Debug, Args)]
pub(crate) struct LintArgs {
    /// Certificates, CRLs and OCSP responses, in DER or PEM; `-` is the standard input
    ///
    /// What each is shows in its content. A PEM file may hold several; blocks of other kinds, such as keys, are passed over
    /// and told.
    #[arg(required_unless_present = "rules", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Judge beside this issuer: its name, key, constraints and signature; several in PEM or several times: nearest first
    ///
    /// Without it, a certificate of the same files that carries the issuer's name stands beside an object.
    #[arg(long, value_name = "FILE")]
    pub(crate) issuer: Vec<PathBuf>,
    /// The CRL before, of the same issuer and scope: numbers must grow
    #[arg(long, value_name = "FILE")]
    pub(crate) previous_crl: Option<PathBuf>,
    /// Show findings of this weight and above
    #[arg(long, value_enum, default_value_t = Level::Notice)]
    pub(crate) severity: Level,
    /// List every rule with its clause instead
    #[arg(long, conflicts_with_all = ["files", "issuer", "previous_crl"])]
    pub(crate) rules: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// How much a finding weighs at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Level {
    /// Against a MUST.
    Error,
    /// Against a SHOULD, or known to trouble clients.
    Warning,
    /// Allowed and unusual, or not judged.
    Notice,
    /// Everything.
    Info,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::Error,
            Level::Warning => Self::Warning,
            Level::Notice => Self::Notice,
            Level::Info => Self::Info,
        }
    }
}
