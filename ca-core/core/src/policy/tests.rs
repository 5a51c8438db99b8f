//! Names under a policy, and policies whose names make no sense.

use super::*;
use crate::pki::{AltName, EmailName, UriName};

fn policy(names: &str, rules: &str) -> Result<Policy, PolicyError> {
    let digest = "00".repeat(32);
    Policy::parse(&format!(
        "version = 1\n[[authority]]\nname = \"bank\"\nkey_sha256 = \"{digest}\"\nnames = [{names}]\nmax_per_hour = 1\n\
         crl_validity = 86400\ncrl_interval = 3600\n[authority.name_rules]\n{rules}\n"
    ))
}

fn name(text: &str) -> AltName {
    match text {
        uri if uri.contains("://") => AltName::Uri(UriName::parse(uri).unwrap()),
        mailbox if mailbox.contains('@') => AltName::Email(EmailName::parse(mailbox).unwrap()),
        other => Identifier::from_text(other).unwrap().into(),
    }
}

#[track_caller]
fn check(names: &str, text: &str, expected: Result<(), &str>) {
    let policy = policy(names, "").unwrap();
    match (policy.authorities[0].judge(&name(text)).map_err(|e| e.to_string()), expected) {
        (Ok(()), Ok(())) => {}
        (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
        (got, expected) => panic!("{text} under {names}: {got:?}, not {expected:?}"),
    }
}

#[test]
fn lesson_29_every_form_of_name_passes_the_policy() {
    let dns = r#""dns:*.bank.test""#;
    check(dns, "a.bank.test", Ok(()));
    for other in ["*.bank.test", "10.0.0.1", "https://a.bank.test/", "spiffe://bank.test/a", "ops@bank.test", "::1"] {
        check(dns, other, Err("outside the authority's policy"));
    }
    let all = r#""dns-wildcard:bank.test", "ip:10.0.0.0/8", "uri:spiffe://bank.test/ns/*", "email:*@bank.test""#;
    for covered in ["*.bank.test", "10.0.0.1", "spiffe://bank.test/ns/pay", "ops@bank.test"] {
        check(all, covered, Ok(()));
    }
    for other in ["bank.test", "11.0.0.1", "spiffe://bank.test", "spiffe://bank.test/ns/pay/x", "ops@other.test"] {
        check(all, other, Err("outside the authority's policy"));
    }
}

#[test]
fn special_addresses_take_a_pattern_of_their_own() {
    let everything = r#""ip:0.0.0.0/0", "ip:::/0""#;
    check(everything, "8.8.8.8", Ok(()));
    check(everything, "2606:4700::1111", Ok(()));
    for (special, part) in [
        ("127.0.0.1", "a loopback (RFC 1122) address"),
        ("10.1.2.3", "inside `ip:10.0.0.0/8`"),
        ("0.0.0.0", "the unspecified address"),
        ("224.0.0.1", "a multicast"),
        ("192.0.2.1", "a documentation"),
        ("::ffff:10.0.0.1", "an IPv4-mapped"),
        ("fe80::1", "a link-local"),
    ] {
        check(everything, special, Err(part));
    }
    check(r#""ip:127.0.0.1""#, "127.0.0.1", Ok(()));
    check(r#""ip:0.0.0.0/0", "ip:10.1.0.0/16""#, "10.1.2.3", Ok(()));
    check(r#""ip:0.0.0.0/0", "ip:10.1.0.0/16""#, "10.2.2.3", Err("private-use"));
}

#[test]
fn rules_hold_over_what_a_pattern_covers() {
    check(r#""dns:*.bank.test""#, "xn--pple-43d.bank.test", Err("mixes scripts"));
    check(r#""email:*@bank.test""#, "a@bank.test", Ok(()));
    let own = policy(r#""dns-wildcard:corp""#, "internal_zones = [\"corp\"]").unwrap();
    own.authorities[0].judge(&name("*.corp")).unwrap();
    assert_eq!(own.authorities[0].name_rules.internal_zones.len(), 1);
    // What says nothing is not written either: documents of before read and write as they did.
    let plain = toml::to_string(&policy(r#""dns:a.bank.test""#, "").unwrap()).unwrap();
    assert!(!plain.contains("name_rules"), "{plain}");
    assert!(toml::to_string(&own).unwrap().contains("internal_zones = [\"corp\"]"));
}

#[test]
fn a_policy_whose_names_make_no_sense_is_refused() {
    let refused = |names: &str, rules: &str, part: &str| {
        let error = policy(names, rules).unwrap_err().to_string();
        assert!(
            error.contains("authority `bank`") && error.contains(part) || error.contains("does not parse") && error.contains(part),
            "{error}"
        );
    };
    refused(r#""dns-wildcard:corp""#, "", "`dns-wildcard:corp` is a wildcard directly above the public suffix `corp`");
    refused(r#""dns-wildcard:co.uk""#, "", "public suffix");
    refused(r#""dns:xn--pple-43d.test""#, "", "mixes scripts");
    refused(r#""uri:spiffe://bank.test""#, "", "not of a workload");
    refused(r#""email:a@xn--pple-43d.test""#, "", "mixes scripts");
    refused("", "internal_zones = [\"com\"]", "`com` is a public suffix");
    refused("", "internal_zones = [\"a b\"]", "label `a b`");
    refused("", "lookalike_labels = [\"bank\"]", "not an A-label");
    refused("", "lookalikes = []", "unknown field");
}

#[test]
fn an_operator_has_a_name_of_its_own() {
    let operator = |name: &str, key: &str| format!("[[operator]]\nname = \"{name}\"\nkey = \"{key}\"\nmay = [\"grant\"]\n");
    let parse = |second: &str| Policy::parse(&format!("version = 1\n{}{}", operator("ops", "one"), operator(second, "two")));
    parse("ops-2").unwrap();
    let error = parse("ops").unwrap_err().to_string();
    assert!(error.contains("line 7: operator `ops`: its name stands twice"), "{error}");
}
