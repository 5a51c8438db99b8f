//! `ca audit …` and `ca anchor …`: the audit trail, and what the worker remembers of it elsewhere.

use std::path::PathBuf;

use clap::Subcommand;

use super::Output;

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
    /// Check the trail: its hash chain, the signatures in the hardware module's own log, revocations that follow from another
    ///
    /// Every signature that the device logged must belong to an attempt on record, and every signature on record must
    /// be in the device's log. Every revocation that nobody asked for must follow from an earlier one for keyCompromise of a
    /// certificate with the same key. Exit code 1 when something does not fit.
    Reconcile {
        /// An exported trail; without it the running instance is asked
        file: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AnchorCommand {
    /// Write the statement that officers sign before an anchor begins, or goes on after a restore
    ///
    /// It names the CA, its first roster, the policy in force and where the audit trail stands. The instance must be
    /// stopped. Each officer signs the file as it is; the command prints how.
    Statement {
        /// The file to write; it must not exist
        out: PathBuf,
        /// About an older database that has to be accepted, because the newest one is lost
        #[arg(long)]
        restore: bool,
    },
    /// Make a new worker's anchor, approved by the officers; one that exists is never replaced
    ///
    /// Example: ca anchor init anchor.json --signature ana.sig --signature bela.sig
    Init {
        /// The statement, as `ca anchor statement` wrote it
        statement: PathBuf,
        /// A signature over it; repeat for each officer
        #[arg(long = "signature", value_name = "FILE", required = true)]
        signatures: Vec<PathBuf>,
    },
    /// Go on with an older database, approved by the officers, because the newest one is lost; this can't be undone
    ///
    /// Only the place in the audit trail moves, and the latest time seen to that of the statement. Policy, roster, CRL
    /// numbers, spent approvals and a stop never go back. Read "After a restore" in docs/officer.md first: what was
    /// issued and revoked since the copy is not in it.
    AcceptRestore {
        /// The statement, as `ca anchor statement --restore` wrote it
        statement: PathBuf,
        /// A signature over it; repeat for each officer
        #[arg(long = "signature", value_name = "FILE", required = true)]
        signatures: Vec<PathBuf>,
        /// Don't ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Show what the anchor remembers
    Show {
        #[command(flatten)]
        output: Output,
    },
    /// Walk the whole audit trail, which must pass through the place that the anchor remembers, and look at every grant
    Verify {
        #[command(flatten)]
        output: Output,
    },
}
