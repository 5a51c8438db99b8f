//! `ca cert …` and `ca crl …`: what was issued, and what no longer counts.

use std::path::PathBuf;

use ca_core::model::{AccountId, AuthorityName, ExplanationUrl, GrantId};
use ca_core::pki::{SerialNumber, Sha256Digest};
use clap::{Args, Subcommand};

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
        /// Those marked for replacement only
        #[arg(long)]
        marked: bool,
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
    /// OCSP says so within a second, the next CRL lists it at once. With keyCompromise every other certificate that has its
    /// key is revoked too, and the key blocked for good.
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
    /// Mark certificates for replacement, before they are revoked; nothing stops working
    ///
    /// Clients that follow ARI (RFC 9773) renew at once: the next time that they ask, the window for renewal has passed. They
    /// ask every 6 hours or more often, if they keep to what they are told. A mass revocation that stops no service:
    ///
    ///   1. ca cert replace --profile client --issued-before 2026-01-31T12:00:00Z --explain https://ca.bank.test/incident
    ///
    ///   2. ca cert replace --status, until nothing is to go; it tells which services lag
    ///
    ///   3. ca cert revoke-bulk --marked --reason superseded (at any time before: --replaced)
    ///
    /// One operator who may revoke marks any number, for it does no harm and --undo takes it back. Cut off, the same command
    /// goes on. --authority alone means all of its certificates, the CA's own too, which the worker renews by itself.
    Replace(Replace),
    /// Propose to revoke a CA certificate: its authority issues no more, and it is listed for the issuer's next CRL ceremony
    RevokeCa(RevokeCa),
}

/// Which certificates of an authority are meant.
#[derive(Debug, Args)]
pub(crate) struct Choosing {
    /// The authority [default: the instance's default one]
    #[arg(long)]
    pub(crate) authority: Option<AuthorityName>,
    /// Exactly the serial numbers in this file, one a line
    #[arg(long, value_name = "FILE", conflicts_with_all = ["grant", "account", "spki", "profile", "issued_from", "issued_before"])]
    pub(crate) list: Option<PathBuf>,
    /// Of this grant
    #[arg(long)]
    pub(crate) grant: Option<GrantId>,
    /// Of this account
    #[arg(long)]
    pub(crate) account: Option<AccountId>,
    /// With this key: SHA-256 of its SubjectPublicKeyInfo, as `ca cert show` prints it
    #[arg(long, value_name = "SHA256")]
    pub(crate) spki: Option<Sha256Digest>,
    /// Of this profile
    #[arg(long)]
    pub(crate) profile: Option<String>,
    /// On record from this time on: 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) issued_from: Option<When>,
    /// On record before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) issued_before: Option<When>,
}

/// `ca cert replace`
#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// Serial numbers in hexadecimal, as openssl prints them
    #[arg(
        value_name = "SERIAL",
        num_args = 0..=1000,
        conflicts_with_all = ["list", "grant", "account", "spki", "profile", "issued_from", "issued_before"]
    )]
    pub(crate) serials: Vec<SerialNumber>,
    #[command(flatten)]
    pub(crate) choosing: Choosing,
    /// Where clients and people read why: an https URL (RFC 9773 explanationURL) [default: acme.explanation_url]
    #[arg(long, value_name = "URL")]
    pub(crate) explain: Option<ExplanationUrl>,
    /// Take the marks away instead
    #[arg(long, conflicts_with = "explain")]
    pub(crate) undo: bool,
    /// Tell how far it has come: marked, replaced since, still to go, and which services lag
    ///
    /// Replaced is what an order says that it replaces, or what has a later certificate of the same account, profile and
    /// names: most clients don't say it. Of an account that several machines share for the same names, one renewal counts
    /// for all of them.
    #[arg(long, conflicts_with_all = ["undo", "explain", "dry_run", "serials", "list"])]
    pub(crate) status: bool,
    /// Only tell how many certificates would be marked
    #[arg(long, conflicts_with = "undo")]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) output: Output,
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
