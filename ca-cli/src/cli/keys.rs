//! `ca key …`: keys of certificates; `ca keys …`: those of the CA's own services.

use std::path::PathBuf;

use ca_core::pki::{KeyAlgorithm, Sha256Digest};
use clap::Subcommand;

use super::{Output, Signing};

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Judge a key by the rules that issuance judges it by
    ///
    /// Each rule is listed with its clause and whether the key keeps it. Exit code 1 when it breaks one. Whether the
    /// running CA knows the key (blocked, an account's, an authority's) is not asked.
    Check {
        /// A public key, a certificate or a request (CSR), in PEM
        file: PathBuf,
        /// A text of SHA-256 digests of SubjectPublicKeyInfos to look in; repeat for several
        #[arg(long, value_name = "FILE")]
        blocked: Vec<PathBuf>,
        /// The blocklist of the badkeys project to look in
        #[arg(long, value_name = "FILE")]
        badkeys: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// Block a key for good: it is never certified again; this can't be undone
    ///
    /// Certificates that have it are not revoked by this. A key whose certificate is revoked for keyCompromise is blocked
    /// by that, and its other certificates are revoked too.
    #[command(group(clap::ArgGroup::new("key").required(true).args(["file", "spki_sha256"])))]
    Block {
        /// The public key, a certificate or a request with it, in PEM
        file: Option<PathBuf>,
        /// Or the SHA-256 of its SubjectPublicKeyInfo, in hexadecimal
        #[arg(long, value_name = "HEX")]
        spki_sha256: Option<Sha256Digest>,
        /// Why, for the record
        #[arg(long)]
        reason: String,
        /// Don't ask for confirmation
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        output: Output,
    },
    /// List blocked keys: those of statements, then those of certificates revoked for keyCompromise
    Blocked {
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
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
        /// The kind of new OCSP keys: any but ML-DSA is read by every client [default: p256]
        #[arg(long, value_name = "KIND")]
        ocsp_algorithm: Option<KeyAlgorithm>,
        #[command(flatten)]
        output: Output,
    },
}
