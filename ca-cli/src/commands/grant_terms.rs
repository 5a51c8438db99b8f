//! A grant's terms, line by line, for who is about to sign them.

use std::collections::BTreeMap;

use ca_core::model::Grant;
use ca_core::pki::Timestamp;

use super::grant_limits;
use crate::render::plain;

/// Each term with what it says. Two grants with the same lines differ in nothing that is signed but their id.
fn terms(grant: &Grant) -> BTreeMap<&'static str, String> {
    // A field that is added must be shown here.
    let Grant { id: _, version, service, authority, profiles, names, enrol_by, valid_until, max_accounts, uri, emails, subject, limits } =
        grant;
    let when = |time: &Option<Timestamp>| time.map_or_else(|| "never".to_owned(), |t| t.to_rfc3339());
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let emails: Vec<&str> = emails.iter().map(|mailbox| mailbox.as_str()).collect();
    let subject: Vec<String> =
        subject.iter().flat_map(|(attribute, values)| values.iter().map(move |value| format!("{attribute}={value}"))).collect();
    let mut terms = BTreeMap::from([
        ("secret's version", version.to_string()),
        ("service", service.clone()),
        ("authority", authority.to_string()),
        ("profiles", profiles.join(", ")),
        ("names", names.join(", ")),
        ("binds until", when(enrol_by)),
        ("issues until", when(valid_until)),
        ("accounts", max_accounts.map_or_else(|| "unlimited".to_owned(), |n| n.to_string())),
        ("uri", uri.as_ref().map_or_else(String::new, |uri| uri.as_str().to_owned())),
        ("mailboxes", emails.join(", ")),
        ("subject", subject.join(", ")),
    ]);
    terms.extend(grant_limits::told(limits));
    terms.retain(|_, value| !value.is_empty());
    terms
}

/// The whole grant.
pub(super) fn whole(grant: &Grant) -> String {
    let lines: String = terms(grant).iter().map(|(name, value)| format!("  {name:<16}  {}\n", plain(value))).collect();
    format!("grant {}\n{lines}", grant.id)
}

/// What changes from one to the other: what was, what shall be.
pub(super) fn difference(before: &Grant, after: &Grant) -> String {
    let (was, shall) = (terms(before), terms(after));
    let line = |sign: char, name: &str, value: &str| format!("{sign} {name:<16}  {}\n", plain(value));
    let gone = was.iter().filter(|(name, value)| shall.get(*name) != Some(value)).map(|(name, value)| (*name, 0, line('-', name, value)));
    let new = shall.iter().filter(|(name, value)| was.get(*name) != Some(value)).map(|(name, value)| (*name, 1, line('+', name, value)));
    let mut lines: Vec<_> = gone.chain(new).collect();
    lines.sort();
    format!("grant {}\n{}", after.id, lines.into_iter().map(|(_, _, line)| line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_signs_sees_what_changes_and_nothing_else() {
        let before: Grant = serde_json::from_value(serde_json::json!({
            "id": "g", "version": 1, "service": "pay", "authority": "demo", "profiles": ["client"], "names": ["dns:a.test"],
            "enrol_by": null, "valid_until": null, "max_accounts": 1, "limits": { "max_certificates": "2/day" },
        }))
        .unwrap();
        let mut after = before.clone();
        after.names.push("dns:*.test".parse().unwrap());
        after.max_accounts = None;
        after.limits.max_certificates = None;
        assert_eq!(
            difference(&before, &after),
            "grant g\n- accounts          1\n+ accounts          unlimited\n- at most           2/day certificates\n\
             - names             dns:a.test\n+ names             dns:a.test, dns:*.test\n"
        );
        assert_eq!(difference(&before, &before), "grant g\n");
        let whole = whole(&before);
        assert!(whole.contains("  names             dns:a.test\n") && whole.contains("  issues until      never\n"), "{whole}");
    }
}
