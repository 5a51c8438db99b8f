//! `ca grant …`: what services may get certificates for.

use ca_core::model::{AuthorityName, GrantId, VolumeCap};
use ca_core::pki::{EmailName, UriName};
use ca_core::policy::NamePattern;
use ca_core::profile::Attribute;
use clap::{Args, Subcommand};

use super::{Output, Signing};
use crate::commands::values::{
    AnyOr, Count, KeyKinds, Lifetime, OrNone, Source, When, or_none, parse_dns, parse_email, parse_end, parse_ip, parse_pattern,
    parse_subject_part, parse_uri,
};

#[derive(Debug, Subcommand)]
pub(crate) enum GrantCommand {
    /// Create a grant and show its secret, once
    ///
    /// Example: ca grant create --service payments --dns 'payments.*.bank.test' --profile client --max-certs 100/day
    /// --from 10.0.0.0/8 --enrol-by 7d
    ///
    /// Where the certificates name none of the order's identifiers (spiffe, kubernetes, obseal), --name says which ones
    /// authorize: the client orders with one of them, and the rest comes from the grant and the policy.
    Create(GrantCreate),
    /// List grants
    List {
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        #[command(flatten)]
        output: Output,
    },
    /// Show a grant and the certificates that it issued
    Show {
        /// The grant's id, which is its EAB key identifier
        id: GrantId,
        #[command(flatten)]
        output: Output,
    },
    /// Move the end of a grant; clients need nothing new
    Extend(GrantExtend),
    /// Change what a grant allows, inside the policy; clients need nothing new
    ///
    /// What is given replaces what was: all names, all profiles, all networks, all kinds of keys, all mailboxes, the whole
    /// subject. `any` takes a limit away, `none` a URI, the mailboxes or the subject.
    Update(GrantUpdate),
    /// Give a grant a new secret and show it, once; accounts that the earlier one bound go on
    Rotate(GrantRotate),
    /// Sign grants anew, as they are: where their signer leaves, or a row was edited; clients need nothing new
    ///
    /// Nothing is issued under a grant whose signer the policy no longer names. Example: ca grant sign --signed-by ana
    Sign(GrantSign),
    /// Suspend a grant: it binds no accounts, issues and renews nothing until it is resumed
    Suspend {
        /// The grant's id
        id: GrantId,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        output: Output,
    },
    /// Let a suspended grant go on
    Resume {
        /// The grant's id
        id: GrantId,
        #[command(flatten)]
        signing: Signing,
        #[command(flatten)]
        output: Output,
    },
    /// Revoke a grant and, with it, its accounts; certificates that they hold stay valid
    Revoke {
        /// The grant's id, which is its EAB key identifier
        id: GrantId,
        /// Revoke what its accounts hold as well (privilegeWithdrawn)
        #[arg(long)]
        revoke_certificates: bool,
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
pub(crate) struct GrantExtend {
    /// The grant's id
    pub(crate) id: GrantId,
    /// Until when it may issue: 90d, 2027-01-31T12:00:00Z, or `never` for no end
    #[arg(long, value_name = "TIME", value_parser = parse_end)]
    pub(crate) valid_until: When,
    /// Until when its secret may bind accounts
    #[arg(long, value_name = "TIME", value_parser = parse_end)]
    pub(crate) enrol_by: Option<When>,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct GrantRotate {
    /// The grant's id
    pub(crate) id: GrantId,
    /// Until when the new secret may bind accounts: 7d, 2026-01-31T12:00:00Z, or `never` for no end
    #[arg(long, value_name = "TIME", value_parser = parse_end, default_value = "+7d")]
    pub(crate) enrol_by: When,
    /// How many accounts it may bind, with those that earlier secrets bound: a number or `unlimited`
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_accounts: Option<Count>,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct GrantSign {
    /// The grants' ids
    #[arg(required_unless_present_any = ["signed_by", "without_signer"])]
    pub(crate) ids: Vec<GrantId>,
    /// Those that this operator signed last: a name in the policy, or a key's fingerprint, SHA256:…
    #[arg(long, value_name = "NAME", conflicts_with_all = ["ids", "without_signer"])]
    pub(crate) signed_by: Option<String>,
    /// Those whose signer the policy does not name, or does not let grant, any more
    #[arg(long, conflicts_with = "ids")]
    pub(crate) without_signer: bool,
    /// Don't ask for confirmation
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct GrantUpdate {
    /// The grant's id
    pub(crate) id: GrantId,
    #[command(flatten)]
    pub(crate) names: GrantNames,
    #[command(flatten)]
    pub(crate) identity: GrantIdentity,
    #[command(flatten)]
    pub(crate) limits: GrantLimitArgs,
    /// The profiles that it may ask for from now on, instead of those before; repeat for several
    #[arg(long = "profile", value_name = "PROFILE")]
    pub(crate) profiles: Vec<String>,
    /// How many accounts its secret may bind, with those that it bound: a number or `unlimited`
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_accounts: Option<Count>,
    /// Until when its secret may bind accounts
    #[arg(long, value_name = "TIME", value_parser = parse_end)]
    pub(crate) enrol_by: Option<When>,
    /// Until when it may issue
    #[arg(long, value_name = "TIME", value_parser = parse_end)]
    pub(crate) valid_until: Option<When>,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct GrantCreate {
    /// The service that it stands for
    #[arg(long)]
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) names: GrantNames,
    /// The grant that the policy's open_enrolment names: without names, for accounts without a binding
    #[arg(long, conflicts_with_all = ["names", "dns", "ip", "uri", "emails", "subject"])]
    pub(crate) open: bool,
    #[command(flatten)]
    pub(crate) identity: GrantIdentity,
    #[command(flatten)]
    pub(crate) limits: GrantLimitArgs,
    /// A profile that it may ask for; repeat for several
    #[arg(long = "profile", value_name = "PROFILE", default_values_t = ["client".to_owned()])]
    pub(crate) profiles: Vec<String>,
    /// The authority [default: the instance's default one]
    #[arg(long)]
    pub(crate) authority: Option<AuthorityName>,
    /// How many accounts its secret may bind: a number or `unlimited`
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub(crate) max_accounts: Count,
    /// Until when its secret may bind them: 7d, 12h, 2026-01-31T12:00:00Z, or `never` for no end
    #[arg(long, value_name = "TIME", value_parser = parse_end, default_value = "+7d")]
    pub(crate) enrol_by: When,
    /// Until when it may issue; an end is an outage of the service if nobody watches it
    #[arg(long, value_name = "TIME", value_parser = parse_end, default_value = "never")]
    pub(crate) valid_until: When,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// The names that a grant covers.
#[derive(Debug, Default, Args)]
pub(crate) struct GrantNames {
    /// A name or address that it covers; repeat for several
    ///
    /// A plain name or address, or a pattern: dns:*.demo.test (the star is exactly one label),
    /// dns-wildcard:demo.test (certificates for *.demo.test itself), ip:10.0.0.0/8.
    #[arg(long = "name", value_name = "NAME", value_parser = parse_pattern)]
    names: Vec<NamePattern>,
    /// A DNS name that it covers, a star for exactly one label; repeat for several
    #[arg(long = "dns", value_name = "NAME", value_parser = parse_dns)]
    dns: Vec<NamePattern>,
    /// An address or a block of addresses that it covers; repeat for several
    #[arg(long = "ip", value_name = "ADDRESS", value_parser = parse_ip)]
    ip: Vec<NamePattern>,
}

impl GrantNames {
    /// All of them, in the order of the options.
    pub(crate) fn all(self) -> Vec<NamePattern> {
        self.names.into_iter().chain(self.dns).chain(self.ip).collect()
    }
}

/// What certificates say beside the names of their orders.
#[derive(Debug, Default, Args)]
pub(crate) struct GrantIdentity {
    /// The URI in its certificates: a SPIFFE id, or a client's URI
    ///
    /// Where the policy has a template of SPIFFE ids, the service's name gives it; it can be left out. `none` takes it away.
    #[arg(long, value_name = "URI", value_parser = or_none(parse_uri))]
    pub(crate) uri: Option<OrNone<UriName>>,
    /// A mailbox in its certificates; repeat for several; `none` takes them away
    #[arg(long = "email", value_name = "MAILBOX", value_parser = or_none(parse_email))]
    pub(crate) emails: Vec<OrNone<EmailName>>,
    /// A part of its certificates' subject that the policy does not fix; repeat for several; `none` takes them away
    ///
    /// ATTRIBUTE is C, O, OU, CN, ST, L, serialNumber, businessCategory, jurisdictionCountry, organizationIdentifier or
    /// UID. For kubernetes: CN=USER and an O=GROUP for each group. For obwac and obseal: C, O, organizationIdentifier and
    /// CN. For brcac: businessCategory, serialNumber (the CNPJ), O, ST, L, organizationIdentifier, UID and CN. Other
    /// profiles take none.
    #[arg(long = "subject", value_name = "ATTRIBUTE=VALUE", value_parser = or_none(parse_subject_part))]
    pub(crate) subject: Vec<OrNone<(Attribute, String)>>,
}

/// What bounds a grant beside its names; each inside the policy.
#[derive(Debug, Default, Args)]
pub(crate) struct GrantLimitArgs {
    /// A network that its clients come from, 10.0.0.0/8, or `any`; repeat for several
    ///
    /// The ACME server sees to it: nothing that a client signs tells where it is.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) from: Vec<Source>,
    /// How many certificates it issues in any hour, day or week, renewals among them: 100/day, or `any`
    #[arg(long, value_name = "NUMBER/TIME")]
    pub(crate) max_certs: Option<AnyOr<VolumeCap>>,
    /// The kinds of keys that it has certified, as policies name them: p256,rsa2048+ (a plus: and longer ones of the kind), or `any`
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    pub(crate) key_types: Vec<KeyKinds>,
    /// The longest that its certificates live: 30d, 12h, or `any` for the profile's
    #[arg(long, value_name = "TIME")]
    pub(crate) max_lifetime: Option<AnyOr<Lifetime>>,
}
