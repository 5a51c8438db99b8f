//! nameConstraints (RFC 5280 §4.2.1.10).

use crate::lint::certificate::CertificateView;
use crate::lint::finding::Severity::{Error, Warning};
use crate::lint::general_name::{GeneralName, is_host};
use crate::lint::names;
use crate::lint::rule::{Hits, Object, Rule};
use crate::lint::values::{Subtree, name_constraints};
use crate::pki::oid;
use crate::pki::walk::{SEQUENCE, Walker};

const FIELD: &str = "tbsCertificate.extensions.nameConstraints";

fn each(view: &CertificateView<'_>, hits: &mut Hits<'_>, check: impl Fn(&Subtree<'_>) -> Option<String>) {
    let [permitted, excluded] = view.value(oid::NAME_CONSTRAINTS, name_constraints).unwrap_or_default();
    for (list, subtrees) in [("permittedSubtrees", permitted), ("excludedSubtrees", excluded)] {
        for (index, subtree) in subtrees.iter().enumerate() {
            if let Some(detail) = check(subtree) {
                hits.hit(format!("{FIELD}.{list}[{index}]"), detail);
            }
        }
    }
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::syntax(
        "name-constraints-syntax",
        "RFC 5280 §4.2.1.10",
        "nameConstraints has permitted or excluded subtrees, no list of them empty",
        Object::Certificate,
        oid::NAME_CONSTRAINTS,
        |value| name_constraints(value).map(|_| ()),
    ),
    Rule::critical(
        "name-constraints-critical",
        "RFC 5280 §4.2.1.10",
        Error,
        "nameConstraints is critical",
        Object::Certificate,
        (oid::NAME_CONSTRAINTS, true),
    ),
    Rule::certificate("name-constraints-of-ca", "RFC 5280 §4.2.1.10", Error, "only a CA has nameConstraints", |view, hits| {
        let holds = view.is_ca() || view.extension(oid::NAME_CONSTRAINTS).is_none();
        hits.require(holds, || FIELD.to_owned(), || "cA is not true".to_owned());
    }),
    Rule::certificate(
        "name-constraints-range",
        "RFC 5280 §4.2.1.10",
        Error,
        "a subtree has neither minimum (0, the default) nor maximum",
        |view, hits| each(view, hits, |subtree| subtree.has_range.then(|| "one stands there".to_owned())),
    ),
    Rule::certificate(
        "name-constraints-address",
        "RFC 5280 §4.2.1.10; RFC 4632 §5.1",
        Error,
        "an iPAddress is an address and a mask of its length, whose ones come first",
        |view, hits| {
            each(view, hits, |subtree| match subtree.base {
                GeneralName::Ip(octets) if !is_block(octets) => Some(subtree.base.shown()),
                _ => None,
            });
        },
    ),
    Rule::certificate(
        "name-constraints-address-bits",
        "RFC 4632 §3.1",
        Warning,
        "an address has no bits set outside of its mask",
        |view, hits| {
            each(view, hits, |subtree| match subtree.base {
                GeneralName::Ip(octets) if is_block(octets) => {
                    let (network, mask) = octets.split_at(octets.len() / 2);
                    network.iter().zip(mask).any(|(n, m)| n & !m != 0).then(|| subtree.base.shown())
                }
                _ => None,
            });
        },
    ),
    Rule::certificate(
        "name-constraints-dns",
        "RFC 5280 §4.2.1.10; RFC 9549 §4",
        Error,
        "a dNSName is a domain name without a dot before or after it, or empty",
        |view, hits| {
            each(view, hits, |subtree| match subtree.base {
                GeneralName::Dns(base) if !base.is_empty() && !is_host(base) => Some(subtree.base.shown()),
                _ => None,
            });
        },
    ),
    Rule::certificate(
        "name-constraints-host",
        "RFC 5280 §4.2.1.10",
        Error,
        "an rfc822Name is a mailbox, a host or a domain after a dot; a URI a host or a domain after a dot; either may be empty",
        |view, hits| {
            each(view, hits, |subtree| {
                let host = match subtree.base {
                    GeneralName::Email([.., b'@']) => return Some(subtree.base.shown()),
                    GeneralName::Email(base) => base.rsplit(|b| *b == b'@').next().unwrap_or_default(),
                    GeneralName::Uri(base) => base,
                    _ => return None,
                };
                let host = host.strip_prefix(b".").unwrap_or(host);
                (!host.is_empty() && !is_host(host)).then(|| subtree.base.shown())
            });
        },
    ),
    Rule::certificate("name-constraints-directory", "RFC 5280 §4.2.1.10", Error, "a directoryName is a name", |view, hits| {
        each(view, hits, |subtree| match subtree.base {
            GeneralName::Directory(der) => {
                let read = Walker::single(der, SEQUENCE, "directoryName").and_then(|name| names::read(&name));
                read.err().map(|error| error.to_string())
            }
            _ => None,
        });
    }),
    Rule::certificate(
        "name-constraints-form",
        "RFC 5280 §4.2.1.10",
        Warning,
        "a subtree is of a form that clients judge: not otherName, x400Address, ediPartyName or registeredID",
        |view, hits| {
            each(view, hits, |subtree| match subtree.base {
                GeneralName::Unusual(..) | GeneralName::RegisteredId(_) => Some(format!("it is a {}", subtree.base.form())),
                _ => None,
            });
        },
    ),
];

/// An address and a contiguous mask.
fn is_block(octets: &[u8]) -> bool {
    let mask = octets.split_at(octets.len() / 2).1;
    let ones: u32 = mask.iter().map(|m| m.leading_ones()).take_while(|n| *n == 8).sum();
    let partial = mask.get(ones as usize / 8).map_or(0, |m| m.leading_ones());
    matches!(octets.len(), 8 | 32) && mask.iter().map(|m| m.count_ones()).sum::<u32>() == ones + partial
}
