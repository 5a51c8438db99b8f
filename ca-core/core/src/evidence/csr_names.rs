//! The names that a CSR may ask for: those of its order and of its account's grant. One reading for the front end and the
//! worker. Whatever it asks for, only its key reaches a certificate.

use crate::model::Grant;
use crate::pki::{AltName, Csr, Identifier};
use crate::profile::LeafContent;

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
    Err(format!("the CSR's names are not the order's: the CSR is for [{}], the order for [{}]", list(&asked), list(ordered)))
}

/// Checks that a CSR asks for no more than its certificate will carry: a URI or a mailbox that the grant gives stands in
/// certificates of some profiles only.
///
/// # Errors
/// Names what is too much.
pub fn check_content(csr: &Csr, content: &LeafContent) -> Result<(), String> {
    let names = content.names();
    match csr.alt_names().iter().find(|name| name.identifier().is_none() && !names.contains(name)) {
        Some(name) => Err(format!("the CSR asks for `{name}`, which certificates of this profile do not carry (hint: leave it out)")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn grant() -> Grant {
        let value = serde_json::json!({
            "id": "grant-1", "version": 1, "service": "x", "authority": "demo", "profiles": ["client"], "names": [], "enrol_by": null,
            "valid_until": null, "max_accounts": null, "uri": "spiffe://demo.test/pay", "emails": ["ops@demo.test"],
        });
        serde_json::from_value(value).unwrap()
    }

    fn csr(names: &[&str], cn: Option<&str>) -> Csr {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name {
                uri if uri.contains("://") => SanType::URI((*uri).try_into().unwrap()),
                mailbox if mailbox.contains('@') => SanType::Rfc822Name((*mailbox).try_into().unwrap()),
                dns => SanType::DnsName((*dns).try_into().unwrap()),
            })
            .collect();
        if let Some(text) = cn {
            params.distinguished_name.push(DnType::CommonName, text);
        }
        Csr::from_der(params.serialize_request(&KeyPair::generate().unwrap()).unwrap().der()).unwrap()
    }

    #[track_caller]
    fn check(names: &[&str], cn: Option<&str>, ordered: &[&str], expected: Result<(), &str>) {
        let identifier = |text: &&str| match text.split_once(':') {
            Some((kind, value)) => Identifier::parse(kind, value).unwrap(),
            None => Identifier::from_text(text).unwrap(),
        };
        let ordered: Vec<_> = ordered.iter().map(identifier).collect();
        match (check_names(&csr(names, cn), &ordered, &grant()), expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
            (got, expected) => panic!("{names:?} {cn:?}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a09_a_csr_names_what_its_order_does() {
        check(&["a.test", "b.test"], None, &["a.test", "b.test"], Ok(()));
        check(&["b.test"], Some("A.test"), &["a.test", "b.test"], Ok(()));
        check(&["a.test"], None, &["a.test", "b.test"], Err("the CSR is for [a.test], the order for [a.test, b.test]"));
        check(&["a.test", "b.test"], None, &["a.test"], Err("the CSR is for"));
        check(&["a.test"], Some("c.test"), &["a.test"], Err("common name is not one"));
        check(&[], None, &["a.test"], Err("the CSR is for []"));
    }

    #[test]
    fn lesson_29_a_uri_or_a_mailbox_is_exactly_the_grants() {
        check(&["a.test", "spiffe://demo.test/pay", "ops@demo.test"], None, &["a.test"], Ok(()));
        check(
            &["a.test", "spiffe://demo.test/other"],
            None,
            &["a.test"],
            Err("the URI `spiffe://demo.test/other`, which the enrolment grant"),
        );
        check(&["a.test", "Ops@demo.test"], None, &["a.test"], Err("the mailbox `Ops@demo.test`"));
        check(&["spiffe://demo.test/pay"], None, &["a.test"], Err("the CSR is for []"));
    }

    #[test]
    fn a12_a_devices_name_may_be_left_out() {
        let device = "permanent-identifier:SN-1";
        check(&[], None, &[device], Ok(()));
        check(&["a.test"], Some("SN-1"), &["a.test", device], Ok(()));
        check(&[], Some("SN-2"), &[device], Err("common name is not one"));
        check(&[], None, &["a.test", device], Err("the CSR is for [SN-1]"));
    }
}
