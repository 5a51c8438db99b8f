//! subjectAltName and issuerAltName (RFC 5280 §4.2.1.6, §4.2.1.7, RFC 9549, RFC 9598).

use crate::lint::certificate::CertificateView;
use crate::lint::element::{is_object_identifier, quoted};
use crate::lint::finding::Severity::{Error, Notice, Warning};
use crate::lint::general_name::{GeneralName, host_of_uri, is_host};
use crate::lint::known;
use crate::lint::names;
use crate::lint::rule::{Hits, Object, Rule};
use crate::lint::values::general_names;
use crate::pki::oid;
use crate::pki::walk::{OCTET_STRING, OID, ParseError, SEQUENCE, UTF8_STRING, Walker};

const FIELD: &str = "tbsCertificate.extensions.subjectAltName";

/// Runs `check` on every name of both extensions.
fn each(view: &CertificateView<'_>, hits: &mut Hits<'_>, check: impl Fn(&GeneralName<'_>) -> Option<String>) {
    for (id, name) in [(oid::SUBJECT_ALT_NAME, "subjectAltName"), (known::ISSUER_ALT_NAME, "issuerAltName")] {
        for (index, general) in view.value(id, general_names).unwrap_or_default().iter().enumerate() {
            if let Some(detail) = check(general) {
                hits.hit(format!("tbsCertificate.extensions.{name}[{index}]"), detail);
            }
        }
    }
}

pub(in crate::lint) static RULES: &[Rule] = &[
    Rule::syntax(
        "subject-alternative-name-syntax",
        "RFC 5280 §4.2.1.6",
        "subjectAltName is a list of at least one GeneralName",
        Object::Certificate,
        oid::SUBJECT_ALT_NAME,
        |value| general_names(value).map(|_| ()),
    ),
    Rule::syntax(
        "issuer-alternative-name-syntax",
        "RFC 5280 §4.2.1.7",
        "issuerAltName is a list of at least one GeneralName",
        Object::Certificate,
        known::ISSUER_ALT_NAME,
        |value| general_names(value).map(|_| ()),
    ),
    Rule::critical(
        "issuer-alternative-name-critical",
        "RFC 5280 §4.2.1.7",
        Warning,
        "issuerAltName is not critical",
        Object::Certificate,
        (known::ISSUER_ALT_NAME, false),
    ),
    Rule::certificate(
        "subject-alternative-name-critical",
        "RFC 5280 §4.2.1.6",
        Warning,
        "beside a subject, subjectAltName is not critical",
        |view, hits| {
            let critical = view.extension(oid::SUBJECT_ALT_NAME).is_some_and(|e| e.critical);
            hits.require(view.subject.content.is_empty() || !critical, || FIELD.to_owned(), || "it is critical".to_owned());
        },
    ),
    Rule::certificate("alternative-name-repeated", "RFC 5280 §4.2.1.6", Warning, "each name stands once", |view, hits| {
        let mut names = view.value(oid::SUBJECT_ALT_NAME, general_names).unwrap_or_default();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            hits.hit(FIELD, format!("{} stands twice", pair[0].shown()));
        }
    }),
    Rule::certificate(
        "dns-name",
        "RFC 5280 §4.2.1.6; RFC 1123 §2.1",
        Error,
        "a dNSName is labels of letters, digits and hyphens, without a dot at the end, or such labels below `*.`",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Dns(text) => {
                    let host = text.strip_prefix(b"*.").unwrap_or(text);
                    let is_address = std::str::from_utf8(text).is_ok_and(|t| t.parse::<std::net::Ipv4Addr>().is_ok());
                    (!is_host(host) || is_address).then(|| format!("it is {}", quoted(text)))
                }
                _ => None,
            });
        },
    ),
    Rule::certificate("dns-name-wildcard", "RFC 9525 §6.3", Warning, "a wildcard stands over two labels at least", |view, hits| {
        each(view, hits, |name| match name {
            GeneralName::Dns([b'*', b'.', rest @ ..]) if !rest.contains(&b'.') => Some(format!("it is {}", quoted(rest))),
            _ => None,
        });
    }),
    Rule::certificate(
        "dns-name-a-label",
        "RFC 5891 §4.2.3.1; RFC 9549 §3",
        Error,
        "a label with hyphens in the third and fourth place is an A-label",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Dns(text) => text
                    .split(|b| *b == b'.')
                    .find(|label| label.get(2..4) == Some(b"--") && !label[..2].eq_ignore_ascii_case(b"xn"))
                    .map(|label| format!("the label {}", quoted(label))),
                _ => None,
            });
        },
    ),
    Rule::certificate("ip-address-length", "RFC 5280 §4.2.1.6", Error, "an iPAddress has 4 or 16 octets", |view, hits| {
        each(view, hits, |name| match name {
            GeneralName::Ip(octets) if !matches!(octets.len(), 4 | 16) => Some(format!("it has {}", octets.len())),
            _ => None,
        });
    }),
    Rule::certificate(
        "uri-absolute",
        "RFC 5280 §4.2.1.6; RFC 3986 §4.3",
        Error,
        "a URI is absolute: a scheme, a part of its own, in the characters of URIs",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Uri(text) if !is_absolute(text) => Some(format!("it is {}", quoted(text))),
                _ => None,
            });
        },
    ),
    Rule::certificate(
        "uri-host",
        "RFC 5280 §4.2.1.6",
        Error,
        "a URI with an authority has a host, which is a domain name or an address",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Uri(text) if !has_good_host(text) => Some(format!("it is {}", quoted(text))),
                _ => None,
            });
        },
    ),
    Rule::certificate(
        "email-address",
        "RFC 5280 §4.2.1.6; RFC 5321 §4.1.2; RFC 9598 §4",
        Error,
        "an rfc822Name is a mailbox in ASCII: local part, @, domain name",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Email(text) if !is_mailbox(text) => Some(format!("it is {}", quoted(text))),
                _ => None,
            });
        },
    ),
    Rule::certificate(
        "smtp-utf8-mailbox",
        "RFC 9598 §3",
        Error,
        "a SmtpUTF8Mailbox is a UTF8String whose local part is not ASCII and whose domain is",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Other(id, value) if *id == known::SMTP_UTF8_MAILBOX.as_bytes() && !is_utf8_mailbox(value) => {
                    Some("it is another value".to_owned())
                }
                _ => None,
            });
        },
    ),
    Rule::certificate(
        "permanent-identifier",
        "RFC 4043 §2",
        Error,
        "a PermanentIdentifier is a SEQUENCE of a UTF8String that is not empty and an assigner's OBJECT IDENTIFIER, each perhaps left out",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Other(id, value) if *id == oid::PERMANENT_IDENTIFIER.as_bytes() && !is_permanent_identifier(value) => {
                    Some("it is another value".to_owned())
                }
                _ => None,
            });
        },
    ),
    Rule::certificate(
        "permanent-identifier-value",
        "RFC 4043 §2",
        Notice,
        "a PermanentIdentifier has its identifierValue: without one it stands in the subject's serialNumber",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Other(id, value) if *id == oid::PERMANENT_IDENTIFIER.as_bytes() => {
                    let fields = Walker::single(value, SEQUENCE, "PermanentIdentifier").ok()?;
                    (fields.walk().peek() != Some(UTF8_STRING)).then(|| "it has none".to_owned())
                }
                _ => None,
            });
        },
    ),
    Rule::certificate(
        "hardware-module-name",
        "RFC 4108 §5",
        Error,
        "a HardwareModuleName is a SEQUENCE of the type's OBJECT IDENTIFIER and the serial number's OCTET STRING",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Other(id, value) if *id == oid::HARDWARE_MODULE_NAME.as_bytes() && !is_hardware_module_name(value) => {
                    Some("it is another value".to_owned())
                }
                _ => None,
            });
        },
    ),
    Rule::certificate("directory-name", "RFC 5280 §4.2.1.6", Error, "a directoryName is a name that is not empty", |view, hits| {
        each(view, hits, |name| match name {
            GeneralName::Directory(der) => {
                let read = Walker::single(der, SEQUENCE, "directoryName").and_then(|name| names::read(&name));
                (!read.is_ok_and(|attributes| !attributes.is_empty())).then(|| "it is none, or empty".to_owned())
            }
            _ => None,
        });
    }),
    Rule::certificate(
        "alternative-name-unusual",
        "RFC 5280 §4.2.1.6",
        Notice,
        "a name is of a form that clients know: neither x400Address nor ediPartyName nor registeredID",
        |view, hits| {
            each(view, hits, |name| match name {
                GeneralName::Unusual(..) | GeneralName::RegisteredId(_) => Some(format!("it is a {}", name.form())),
                _ => None,
            });
        },
    ),
];

/// A scheme (RFC 3986 §3.1) and something after it, in visible ASCII without what URIs have to escape.
pub(in crate::lint) fn is_absolute(uri: &[u8]) -> bool {
    let Some(colon) = uri.iter().position(|b| *b == b':') else { return false };
    let (scheme, rest) = (&uri[..colon], &uri[colon + 1..]);
    scheme.first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
        && !rest.is_empty()
        && rest.iter().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(b))
}

fn has_good_host(uri: &[u8]) -> bool {
    let Some(colon) = uri.iter().position(|b| *b == b':') else { return true };
    let Some(rest) = uri[colon + 1..].strip_prefix(b"//") else { return true };
    let authority = rest.split(|b| matches!(b, b'/' | b'?' | b'#')).next().unwrap_or_default();
    let host_port = authority.rsplit(|b| *b == b'@').next().unwrap_or_default();
    if let Some(literal) = host_port.strip_prefix(b"[") {
        let end = literal.iter().position(|b| *b == b']').unwrap_or(0);
        return std::str::from_utf8(&literal[..end]).is_ok_and(|t| t.parse::<std::net::Ipv6Addr>().is_ok());
    }
    let is_address = || {
        let host = host_port.split(|b| *b == b':').next().unwrap_or_default();
        std::str::from_utf8(host).is_ok_and(|h| h.parse::<std::net::Ipv4Addr>().is_ok())
    };
    // ldap:///… asks the reader's own server (RFC 4516 §2).
    let is_default = authority.is_empty() && uri[..colon].eq_ignore_ascii_case(b"ldap");
    is_default || host_of_uri(uri).is_some_and(is_host) || is_address()
}

/// RFC 5321 §4.1.2: a dot-string or a quoted string, then a domain.
fn is_mailbox(text: &[u8]) -> bool {
    let Some(at) = text.iter().rposition(|b| *b == b'@') else { return false };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    let atom = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(b);
    let is_dotted = || local.split(|b| *b == b'.').all(|part| !part.is_empty() && part.iter().all(atom));
    let is_quoted = || matches!(local, [b'"', inner @ .., b'"'] if inner.iter().all(|b| (0x20..0x7f).contains(b)));
    local.len() <= 64 && (is_dotted() || is_quoted()) && is_host(domain)
}

fn is_permanent_identifier(value: &[u8]) -> bool {
    let read = || {
        let mut fields = Walker::single(value, SEQUENCE, "PermanentIdentifier")?.walk();
        let text = fields.optional(UTF8_STRING)?;
        let assigner = fields.optional(OID)?;
        fields.finish("PermanentIdentifier")?;
        let is_text = text.is_none_or(|text| !text.content.is_empty() && std::str::from_utf8(text.content).is_ok());
        Ok::<_, ParseError>(is_text && assigner.is_none_or(|id| is_object_identifier(id.content)))
    };
    read().unwrap_or(false)
}

fn is_hardware_module_name(value: &[u8]) -> bool {
    let read = || {
        let mut fields = Walker::single(value, SEQUENCE, "HardwareModuleName")?.walk();
        let kind = fields.expect(OID, "hwType")?;
        fields.expect(OCTET_STRING, "hwSerialNum")?;
        fields.finish("HardwareModuleName")?;
        Ok::<_, ParseError>(is_object_identifier(kind.content))
    };
    read().unwrap_or(false)
}

fn is_utf8_mailbox(value: &[u8]) -> bool {
    let Ok(element) = Walker::single(value, UTF8_STRING, "SmtpUTF8Mailbox") else { return false };
    let Some((local, domain)) = std::str::from_utf8(element.content).ok().and_then(|t| t.rsplit_once('@')) else { return false };
    // RFC 9598 §3: domains in A-labels, no BOM; a local part in ASCII is an rfc822Name's.
    !local.is_ascii() && !local.starts_with('\u{feff}') && is_host(domain.as_bytes())
}
