//! `ca cert …` and `ca crl …`: what was issued, and what no longer counts.

use ca_core::model::{AuthorityName, GrantId};
use ca_core::pki::SerialNumber;
use clap::Subcommand;

use super::{Output, RevokeBulk, RevokeCa, Signing, Unhold};
use crate::commands::values::{Reason, When};

#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// List certificates, newest first
    List {
        /// Of this authority
        #[arg(long)]
        authority: Option<AuthorityName>,
        /// With exactly this name: a DNS name, an address, a URI or a mailbox
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
    /// Put a certificate on hold; only officers take it off again
    ///
    /// OCSP says revoked within a second, the next CRL lists it with certificateHold.
    Hold {
        /// The serial number in hexadecimal, as openssl prints it
        serial: SerialNumber,
        /// The authority [default: whichever has the serial]
        #[arg(long)]
        authority: Option<AuthorityName>,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        output: Output,
    },
    /// Propose to take a certificate off hold
    Unhold(Unhold),
    /// Revoke many certificates: up to the policy's count at once, above it by a proposal to the officers
    ///
    /// The choice is made now, and the exact list counts: certificates that come later are not on it.
    ///
    /// Example: ca cert revoke-bulk --grant 8c1f… --reason keyCompromise
    RevokeBulk(RevokeBulk),
    /// Propose to revoke a CA certificate: its authority issues no more, and it is listed for the issuer's next CRL ceremony
    RevokeCa(RevokeCa),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CrlCommand {
    /// List the CA certificates that officers revoked, for the next CRL ceremony of their issuer
    ///
    /// With --json each has the officers' statement and signatures: the evidence that the ceremony needs.
    RevokedCas {
        #[command(flatten)]
        output: Output,
    },
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
