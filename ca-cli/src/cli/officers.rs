//! The commands of officers, and those that propose to them.

use std::path::PathBuf;

use ca_core::model::{AuthorityName, ProposalId};
use ca_core::pki::SerialNumber;
use clap::{Args, Subcommand};

use super::{Choosing, Output, Signing};
use crate::commands::values::{CaReason, Reason, When};

/// For how long a proposal can be signed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Proposing {
    /// Until when it can be signed, at most 14 days: +3d, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", default_value = "+3d")]
    pub(crate) until: When,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ApproveCommand {
    /// List proposals, newest first: what waits for signatures, and what became of the others
    List {
        /// Only those that wait
        #[arg(long)]
        pending: bool,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Show what a proposal would do, decoded: read this before you sign
    ///
    /// A policy is shown as its differences from the one in force, a roster by who comes and goes, a bulk revocation by
    /// the count and the digest of its list.
    Show {
        /// The proposal
        id: ProposalId,
        /// Only the statement: the exact bytes that officers sign
        #[arg(long, conflicts_with_all = ["subject", "json"])]
        statement: bool,
        /// Only what the statement's digest is over: the policy, the roster, the list of serial numbers
        #[arg(long, conflicts_with = "json")]
        subject: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Sign a proposal, or write its statement and say how to sign it elsewhere
    ///
    /// Without --key the statement goes to ID.statement in the folder, and the exact ssh-keygen command is printed; take
    /// the file to the machine with your key. With --key it is signed here: a key file, or the public half (.pub) of a
    /// key that the SSH agent or a security token holds. A FIDO2 key must be touched and ask for its PIN.
    ///
    /// Example: ca approve sign 3f2a90c1d4e5b677 --key ~/.ssh/officer --submit
    Sign {
        /// The proposal
        id: ProposalId,
        /// The officer's OpenSSH key
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Hand the signature in as well
        #[arg(long, requires = "key")]
        submit: bool,
        /// Where the files go
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Hand officers' signatures in; with the last one that is needed the act is done at once
    ///
    /// Nobody needs to be trusted with this: the worker verifies each signature itself. Several may be handed in one by
    /// one, from different machines.
    Submit {
        /// The proposal
        id: ProposalId,
        /// Signatures, as ssh-keygen wrote them
        #[arg(required = true, num_args = 1..=64)]
        signatures: Vec<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// End a proposal that waits; its signatures come to nothing
    Withdraw {
        /// The proposal
        id: ProposalId,
        /// Don't ask for confirmation
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Show the policy in force, as the officers approved it
    Show {
        #[command(flatten)]
        output: Output,
    },
    /// Show what an edited policy would change, by meaning
    Diff {
        /// The edited policy, TOML
        policy: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Bring back a policy that officers approved, from a copy of `ca policy show --json`
    ///
    /// For a database that was restored from an older copy. The signatures are verified; the instance must be stopped.
    Import {
        /// The copy
        file: PathBuf,
    },
    /// Propose a policy to the officers; it is in force, without a restart, once enough of them signed
    ///
    /// Begin with `ca policy show > policy.toml`, edit, raise its version, and look at `ca policy diff policy.toml`.
    Propose {
        /// The policy, TOML
        policy: PathBuf,
        #[command(flatten)]
        proposing: Proposing,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OfficerCommand {
    /// List the officers and how many of them must sign
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Bring back changes of the roster, from a copy of `ca officer list --json`
    ///
    /// For a database that was restored from an older copy. The signatures are verified; the instance must be stopped.
    Import {
        /// The copy
        file: PathBuf,
    },
    /// Propose a new officer
    ///
    /// Example: ca officer enrol dora --key dora.pub
    Enrol {
        /// The name: lowercase letters, digits and `-`
        name: String,
        /// The public key, OpenSSH; repeat for several of the same person
        #[arg(long = "key", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        #[command(flatten)]
        proposing: Proposing,
    },
    /// Propose that an officer leaves; approvals of theirs that are pending are void then
    Remove {
        /// The name
        name: String,
        #[command(flatten)]
        proposing: Proposing,
    },
    /// Propose other keys for an officer, in place of all that they have
    ReplaceKey {
        /// The name
        name: String,
        /// The public key, OpenSSH; repeat for several
        #[arg(long = "key", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        #[command(flatten)]
        proposing: Proposing,
    },
    /// Propose another number of officers who must sign
    Threshold {
        /// How many: at least 2
        threshold: u32,
        #[command(flatten)]
        proposing: Proposing,
    },
}

/// `ca cert unhold`
#[derive(Debug, Args)]
pub(crate) struct Unhold {
    /// The serial number in hexadecimal, as openssl prints it
    pub(crate) serial: SerialNumber,
    /// The authority [default: whichever has the serial]
    #[arg(long)]
    pub(crate) authority: Option<AuthorityName>,
    #[command(flatten)]
    pub(crate) proposing: Proposing,
}

/// `ca cert revoke-ca`
#[derive(Debug, Args)]
pub(crate) struct RevokeCa {
    /// The authority whose certificate it is
    pub(crate) authority: AuthorityName,
    /// Why
    #[arg(long, value_enum)]
    pub(crate) reason: CaReason,
    /// Since when its key is suspected: 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) invalidity_date: Option<When>,
    #[command(flatten)]
    pub(crate) proposing: Proposing,
}

/// `ca cert revoke-bulk`
#[derive(Debug, Args)]
pub(crate) struct RevokeBulk {
    #[command(flatten)]
    pub(crate) choosing: Choosing,
    /// Marked for replacement, by `ca cert replace`
    #[arg(long, conflicts_with = "list")]
    pub(crate) marked: bool,
    /// Marked, and replaced since: to revoke these stops no service
    #[arg(long, conflicts_with = "list")]
    pub(crate) replaced: bool,
    /// Why
    #[arg(long, value_enum)]
    pub(crate) reason: Reason,
    /// Propose it to the officers even if one operator may do it
    #[arg(long)]
    pub(crate) propose: bool,
    /// Don't ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) proposing: Proposing,
}

/// `ca stop`
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Why, for the audit trail
    #[arg(long)]
    pub(crate) reason: String,
    /// Propose it, to be signed by one officer, where no operator with the permission `stop` is at hand
    #[arg(long)]
    pub(crate) officer: bool,
    /// Don't ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) proposing: Proposing,
}
