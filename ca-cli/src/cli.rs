//! The commands and their help: also the source of the completions and the manual pages.

use std::path::PathBuf;

use ca_core::model::{AuthorityName, GrantId};
use ca_core::pki::SerialNumber;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::values::{Count, Reason, When, parse_pattern};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold());

/// Countersign: a private certificate authority and lifecycle manager for mutual TLS
///
/// Officers make the authority in a ceremony (`ca ceremony`), `ca import` brings its bundle in, `ca serve` runs it.
/// Services enrol with any ACME client and a grant (`ca grant create`), or with `ca agent`. Commands that change
/// something are statements signed by an operator's SSH key; the running worker verifies and applies them.
///
/// To try it all on this machine: `ca demo`.
#[derive(Debug, Parser)]
#[command(name = "ca", version, propagate_version = true, styles = STYLES, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// The configuration [default: $CA_CONFIG, else /etc/countersign/ca.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 wrong configuration; 4 refused by policy; 5 temporary, try again.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole CA on this machine: worker, ACME server, OCSP responder, control socket
    ///
    /// Starts only under a policy that a quorum of the trusted roster's officers signed. The ACME server's own
    /// certificate and the responder's are issued by this CA before the listeners open, and renewed while serving.
    /// SIGINT and SIGTERM stop it cleanly.
    Serve,
    /// Run the worker without the listeners
    ///
    /// It leases signing requests and jobs, and applies operators' statements. SQLite has one owner, so until the
    /// front ends run as processes of their own this is for maintenance: renewals and CRLs go on, enrolment does not.
    Worker,
    /// Keep a service's certificate fresh: enrol, renew, install, reload
    Agent(crate::agent::AgentArgs),
    /// Bring a ceremony's bundle in: authorities, the root's CRL and the policy
    ///
    /// The bundle is verified offline first, against the roster that the configuration trusts (trust.roster). Importing
    /// the same bundle again changes nothing. The instance must be stopped: one process owns the database.
    Import {
        /// The bundle's folder
        bundle: PathBuf,
        /// A bundle before it, oldest first: where the officers changed since, the trusted roster is that of the first
        #[arg(long, value_name = "DIR")]
        previous: Vec<PathBuf>,
    },
    /// Key ceremonies under dual control, offline
    #[command(subcommand)]
    Ceremony(ca_ceremony::CeremonyCommand),
    /// What only a rehearsed CA can do
    #[command(subcommand)]
    Rehearsal(RehearsalCommand),
    /// The keys of the CA's own services
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Enrolment grants: what a service may get certificates for
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Certificates on record
    #[command(subcommand)]
    Cert(CertCommand),
    /// Certificate revocation lists
    #[command(subcommand)]
    Crl(CrlCommand),
    /// How the running instance is: authorities, own certificates, CRLs, jobs, backlog
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The audit trail
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Run a demonstration CA on loopback, made on first use by a rehearsed ceremony
    ///
    /// Everything lives in one folder: keys, database, configuration, a throwaway operator key, and demo.env with the
    /// facts for scripts. A second start goes on with the same state and the same grant. Ctrl-C stops it.
    Demo(DemoArgs),
    /// Print a completion script for a shell
    ///
    /// For bash: ca completions bash > ~/.local/share/bash-completion/completions/ca
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// The folder, made where it is missing
        dir: PathBuf,
    },
}

/// How a report is printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who signs a statement.
#[derive(Clone, Debug, Args)]
pub(crate) struct Signing {
    /// The operator's OpenSSH key [default: operator.key of the configuration]
    ///
    /// An encrypted key asks for its passphrase at the terminal; with a public key (.pub) the SSH agent or the
    /// security token signs.
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_key: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GrantCommand {
    /// Create a grant and show its secret, once
    ///
    /// Example: ca grant create --service payments --name payments.bank.test --profile client
    Create(GrantCreate),
    /// List grants
    List {
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Revoke a grant and, with it, its accounts; certificates that they hold stay valid
    Revoke {
        /// The grant's id, which is its EAB key identifier
        id: GrantId,
        /// Don't ask for confirmation
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GrantCreate {
    /// The service that it stands for
    #[arg(long)]
    pub(crate) service: String,
    /// A name or address that it covers; repeat for several
    ///
    /// A plain name or address, or a pattern: dns:*.demo.test (the star is exactly one label),
    /// dns-wildcard:demo.test (certificates for *.demo.test itself), ip:10.0.0.0/8.
    #[arg(long = "name", value_name = "NAME", required = true, value_parser = parse_pattern)]
    pub(crate) names: Vec<ca_core::policy::NamePattern>,
    /// A profile that it may ask for; repeat for several
    #[arg(long = "profile", value_name = "PROFILE", default_values_t = ["client".to_owned()])]
    pub(crate) profiles: Vec<String>,
    /// The authority [default: the instance's default one]
    #[arg(long)]
    pub(crate) authority: Option<AuthorityName>,
    /// How many accounts its secret may bind: a number or `unlimited`
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub(crate) max_accounts: Count,
    /// Until when its secret may bind them: +7d, +12h, 2026-01-31T12:00:00Z, or `never` for no end
    #[arg(long, value_name = "TIME", default_value = "+7d")]
    pub(crate) enrol_by: When,
    /// Until when it may issue; an end is an outage of the service if nobody watches it
    #[arg(long, value_name = "TIME", default_value = "never")]
    pub(crate) valid_until: When,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// List certificates, newest first
    List {
        /// Of this authority
        #[arg(long)]
        authority: Option<AuthorityName>,
        /// With exactly this name among their identifiers
        #[arg(long)]
        name: Option<String>,
        /// Of this grant
        #[arg(long)]
        grant: Option<GrantId>,
        /// Of this profile
        #[arg(long)]
        profile: Option<String>,
        /// That end before this time: +7d, or 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME")]
        expires_before: Option<When>,
        /// Revoked ones only
        #[arg(long, conflicts_with = "unrevoked")]
        revoked: bool,
        /// Unrevoked ones only
        #[arg(long)]
        unrevoked: bool,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Show one certificate, with its PEM
    Show {
        /// The serial number in hexadecimal, as openssl prints it
        serial: SerialNumber,
        /// The authority [default: whichever has the serial]
        #[arg(long)]
        authority: Option<AuthorityName>,
        /// Only the PEM
        #[arg(long, conflicts_with = "json")]
        pem: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Revoke a certificate; this can't be undone
    ///
    /// OCSP says so within a second, the next CRL lists it at once.
    Revoke {
        /// The serial number in hexadecimal, as openssl prints it
        serial: SerialNumber,
        /// The authority [default: whichever has the serial]
        #[arg(long)]
        authority: Option<AuthorityName>,
        /// Why
        #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
        reason: Reason,
        /// Since when the key is suspected, with keyCompromise: 2026-01-31T12:00:00Z
        #[arg(long, value_name = "TIME")]
        invalidity_date: Option<When>,
        /// Don't ask for confirmation
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CrlCommand {
    /// Show the current CRLs
    Show {
        /// Only this authority's [default: all]
        #[arg(long)]
        authority: Option<AuthorityName>,
        /// The CRLs themselves in PEM, root's and issuers' in one file, as terminators want them
        #[arg(long, conflicts_with = "json")]
        pem: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Have a new CRL made and published now
    Publish {
        /// The authority [default: the instance's default one]
        #[arg(long)]
        authority: Option<AuthorityName>,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make what is missing of the service keys, and print the digests that a ceremony's plan pins
    ///
    /// The worker's master key, the ACME server's TLS key and each authority's OCSP key, where the configuration says.
    /// Keys that exist are left alone. Authority keys are not made here: those come from a ceremony.
    Init {
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read and check the configuration and the files that it names, without starting anything
    Check {
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the newest entries
    Tail {
        /// How many
        #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        lines: u32,
        /// Go on as entries are written, until Ctrl-C
        #[arg(short, long)]
        follow: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Write the whole trail into a file, for an auditor
    ///
    /// One JSON object a line: number, leaf (base64) and hash. Whoever has the file checks it with `ca audit
    /// reconcile FILE` or by hand: each hash is SHA-256 over the hash before (32 zero octets at first) and the leaf.
    Export {
        /// The file; one that exists is refused
        file: PathBuf,
    },
    /// Compare the signatures in the hardware module's own log with what is on record
    ///
    /// Every signature that the device logged must belong to an attempt on record, and every signature on record must
    /// be in the device's log. Checks the trail's hash chain on the way. Exit code 1 when something does not fit.
    Reconcile {
        /// An exported trail; without it the running instance is asked
        file: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_option_is_explained() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "`{path}` has no help");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "`{path}`: `{}` has no help", argument.get_id());
            }
            command.get_subcommands().for_each(|sub| check(sub, &path));
        }
        check(&Cli::command(), "");
    }
}
