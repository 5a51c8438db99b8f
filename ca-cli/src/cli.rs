//! The commands and their help: also the source of the completions and the manual pages.

mod accounts;
mod certificates;
mod demo;
mod grants;
mod keys;
mod lint;
mod officers;
mod trail;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand};

pub(crate) use accounts::AccountCommand;
pub(crate) use certificates::{CertCommand, Choosing, CrlCommand, Replace};
pub(crate) use demo::{DemoArgs, DemoLog, RehearsalCommand};
pub(crate) use grants::{
    GrantCommand, GrantCreate, GrantExtend, GrantIdentity, GrantLimitArgs, GrantNames, GrantRotate, GrantSign, GrantUpdate,
};
pub(crate) use keys::{KeyCommand, KeysCommand};
pub(crate) use lint::LintArgs;
pub(crate) use officers::{ApproveCommand, OfficerCommand, PolicyCommand, Proposing, RevokeBulk, RevokeCa, Stop, Unhold};
pub(crate) use trail::{AnchorCommand, AuditCommand};

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
#[command(name = "ca", version, propagate_version = true, styles = STYLES, max_term_width = 100, after_help = crate::exit::CODES)]
pub(crate) struct Cli {
    /// The configuration [default: $CA_CONFIG, else /etc/countersign/ca.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the whole CA on this machine: worker, ACME server, OCSP responder, control socket
    ///
    /// Starts only under a policy that a quorum of the trusted roster's officers signed. The ACME server's own
    /// certificate and the responder's are issued by this CA before the listeners open, and renewed while serving.
    /// SIGINT and SIGTERM stop it cleanly.
    ///
    /// With --worker-user, as root: the worker, the ACME server and the responder are three processes under three users,
    /// which this one starts, keeps and stops. [serve] in the configuration says the other two users.
    Serve {
        /// Run the worker as this user, by name or number, and the others as the configuration says (serve.worker says it
        /// there)
        #[arg(long, value_name = "USER")]
        worker_user: Option<String>,
    },
    /// Run the worker without the listeners
    ///
    /// It leases signing requests and jobs, and applies operators' statements. SQLite has one owner, so until the
    /// front ends run as processes of their own this is for maintenance: renewals and CRLs go on, enrolment does not.
    Worker {
        /// Stop when standard input ends, as `ca serve` has it that started this
        #[arg(long, hide = true)]
        supervised: bool,
    },
    /// Keep a service's certificate fresh: enrol, renew, install, reload
    Agent(crate::agent::AgentArgs),
    /// Bring a ceremony's bundle in: authorities, the root's CRL and the policy
    ///
    /// The bundle is verified offline first, against the roster that the configuration trusts (trust.roster). Importing
    /// the same bundle again changes nothing. What the ceremony took out of the logs of its devices comes into the audit
    /// trail, so that the account of a device that this CA uses too has no gap. The instance must be stopped: one process owns the database.
    Import {
        /// The bundle's folder
        bundle: PathBuf,
        /// A bundle before it, oldest first: where the officers changed since, the trusted roster is that of the first
        #[arg(long, value_name = "DIR")]
        previous: Vec<PathBuf>,
        /// The folder of a request that this ceremony took and that was made on this CA's own device: what the device
        /// logged meanwhile comes in too
        #[arg(long, value_name = "DIR")]
        request: Vec<PathBuf>,
        /// The bundle is another root's, whose officers this roster.toml names: of it come in the cross-certificates of this
        /// CA's authorities, for alternate chains, and nothing else
        #[arg(long, value_name = "ROSTER", conflicts_with = "request")]
        cross_signed_by: Option<PathBuf>,
    },
    /// Key ceremonies under dual control, offline
    #[command(subcommand)]
    Ceremony(ca_ceremony::CeremonyCommand),
    /// Credentials as shares of several people: make, verify, deal again
    ///
    /// PINs and keys of key stores are random and in nobody's hands: of the holders, as many as the threshold open them
    /// together (`ca unseal`).
    #[command(subcommand)]
    Credential(ca_custody::CredentialCommand),
    /// A YubiHSM 2: provision it, end its ceremony, read its log
    #[cfg(feature = "yubihsm")]
    #[command(subcommand)]
    Yubihsm(ca_ceremony::YubiHsmCommand),
    /// Run the keyholder: the process that has unsealed credentials in memory
    ///
    /// The binary `ca-keyholder` is the same and links nothing else; a production host runs that one.
    Keyholder(ca_custody::KeyholderArgs),
    /// Give your share to the keyholder, or see how many are there
    ///
    /// Each holder does this alone, with the own share and passphrase. The share is opened in your own process, and goes
    /// to the keyholder over a socket that does not leave this machine.
    Unseal(ca_custody::UnsealArgs),
    /// Have the keyholder forget a credential at once; one person is enough
    Seal(ca_custody::SealArgs),
    /// What only a rehearsed CA can do
    #[command(subcommand)]
    Rehearsal(RehearsalCommand),
    /// The keys of the CA's own services
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Keys of certificates: judge them, block them for good
    #[command(subcommand)]
    Key(KeyCommand),
    /// Enrolment grants: what a service may get certificates for
    #[command(subcommand)]
    Grant(GrantCommand),
    /// ACME accounts: who has one, and those that are paused
    #[command(subcommand)]
    Account(AccountCommand),
    /// Certificates on record
    #[command(subcommand)]
    Cert(CertCommand),
    /// Certificate revocation lists
    #[command(subcommand)]
    Crl(CrlCommand),
    /// Judge certificates, CRLs and OCSP responses in files, whoever made them
    ///
    /// By the same rules that stop this CA from signing: DER, RFC 5280 with its updates, RFC 6960, the algorithms' own
    /// standards; docs/lints.md has them all. Not judged: whether something is valid today, revoked or trusted. Needs no
    /// configuration and no running instance.
    ///
    /// Example: openssl s_client -connect host:443 -showcerts </dev/null | ca lint -
    ///
    /// Exit code 1 where a finding is an error, 3 where a file can't be read.
    Lint(LintArgs),
    /// Officers' approvals: what is proposed, sign it, hand signatures in
    #[command(subcommand)]
    Approve(ApproveCommand),
    /// The policy in force, and changes of it
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The officers, and changes of who they are
    #[command(subcommand)]
    Officer(OfficerCommand),
    /// Stop issuance at once; revocations, CRLs and OCSP go on
    ///
    /// One operator whom the policy permits it, or one officer (--officer). Letting it go on needs the officers' quorum.
    Stop(Stop),
    /// Propose that issuance goes on after a stop
    Resume(Proposing),
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
    /// The worker's memory outside the database, which finds out an older copy of it
    #[command(subcommand)]
    Anchor(AnchorCommand),
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
pub(crate) enum ConfigCommand {
    /// Read and check the configuration and the files that it names, without starting anything
    Check {
        #[command(flatten)]
        output: Output,
    },
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
