//! The names that a CSR may ask for: those of its order and of its account's grant. One reading for the front end and the
//! worker. Whatever it asks for, only its key reaches a certificate.

use crate::model::Grant;
use crate::pki::{AltName, Csr, Identifier};

/// How many names a message tells.
const TOLD: usize = 10;

/// Checks a CSR's names against its order's identifiers, which are sorted, each once.
///
/// - dns names and addresses are those of the order, all of them (RFC 8555 §7.4), in the subject alternative name or the CN;
/// - a device's name is one of the order's, and may be left out (draft-ietf-acme-device-attest §3.2, §4.2);
/// - a URI or a mailbox is exactly the grant's, and may be left out: orders can't ask for one;
/// - the CN, if any, is one of the order's identifiers (ACME requirement A17).
///
/// # Errors
/// Says what does not fit.
pub fn check_names(csr: &Csr, ordered: &[Identifier], grant: &Grant) -> Result<(), String> {
    for name in csr.alt_names() {
        let given = match name {
            AltName::Uri(uri) => grant.uri.as_ref() == Some(uri),
            AltName::Email(mailbox) => grant.emails.contains(mailbox),
            AltName::Dns(_) | AltName::Ip(_) | AltName::PermanentIdentifier(_) | AltName::HardwareModule(_) => continue,
        };
        if !given {
            let what = if matches!(name, AltName::Uri(_)) { "URI" } else { "mailbox" };
            return Err(format!(
                "the CSR asks for the {what} `{name}`, which the enrolment grant does not give (hint: leave it out, or ask the CA's operators)"
            ));
        }
    }
    let mut asked = csr.identifiers().to_vec();
    if let Some(text) = csr.common_name() {
        let named = Identifier::from_text(text).ok();
        let found = ordered.iter().find(|identifier| named.as_ref() == Some(identifier) || identifier.value() == text);
        asked.push(found.ok_or("the CSR's common name is not one of the order's identifiers")?.clone());
    }
    asked.extend(ordered.iter().filter(|identifier| identifier.is_device()).cloned());
    asked.sort_unstable();
    asked.dedup();
    if asked == ordered {
        return Ok(());
    }
    let list = |names: &[Identifier]| names.iter().take(TOLD).map(Identifier::value).collect::<Vec<_>>().join(", ");
    Err(format!("the CSR is for [{}], the order for [{}]", list(&asked), list(ordered)))
}
