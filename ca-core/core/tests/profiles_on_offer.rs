//! Profiles as officers configure them: what a policy may say, and with which line it is refused.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use ca_core::model::{Grant, GrantLimits};
use ca_core::pki::{AltName, Identifier, KeyAlgorithm};
use ca_core::policy::{Policy, SubjectParts, check_grant, leaf_content};
use ca_core::profile::{Attribute, LeafContent, LeafShape};

/// An authority with these names; profiles follow from line 10 on.
fn document(names: &str, profiles: &str) -> String {
    format!(
        "version = 1\n\n[[authority]]\nname = \"bank\"\nkey_sha256 = \"{}\"\nnames = [{names}]\nmax_per_hour = 1\ncrl_validity = 20\ncrl_interval = 10\n{profiles}",
        "00".repeat(32)
    )
}

const NAMES: &str = r#""dns:*.bank.test", "ip:10.0.0.0/8", "uri:spiffe://bank.test/ns/*", "uri:https://bank.test/*", "email:*@bank.test""#;

const PSD2: &str = r#"psd2 = { roles = ["PSP_PI", "PSP_AI"], nca_name = "Financial Conduct Authority", nca_id = "GB-FCA" }"#;

fn policy(profiles: &str) -> Policy {
    Policy::parse(&document(NAMES, profiles)).unwrap()
}

/// A profile `x`: its header stands in line 10, its shape in 11, its lifetime in 12, what follows from 13 on.
#[track_caller]
fn refused(shape: &str, lines: &str, line: usize, reason: &str) {
    let text = document(NAMES, &format!("[authority.profile.x]\nshape = \"{shape}\"\nlifetime = 3600\n{lines}\n"));
    let error = Policy::parse(&text).unwrap_err().to_string();
    assert!(error.contains(&format!("line {line}")) && error.contains(reason), "{error}");
}

#[test]
fn a_bad_profile_is_refused_with_its_line_and_the_reason() {
    refused("x509", "", 11, "unknown certificate shape");
    refused("ocsp", "", 11, "under `own`");
    refused("intermediate", "", 11, "unknown certificate shape");
    refused("client", "unknown = 1", 13, "unknown field");
    refused("client", "min_lifetime = 5", 13, "10 seconds to 398 days");
    refused("client", "min_lifetime = 3601", 13, "more than lifetime");
    refused("client", "max_lifetime = 3599", 13, "less than lifetime");
    refused("client", "\nmax_lifetime = 99999999", 14, "10 seconds to 398 days");
    refused("kubernetes", "subject_cn = true", 13, "for the shapes `client` and `server`");
    refused("client", "keys = [\"p256\", \"p256\"]", 13, "twice");
    refused("client", "keys = [\"p521\"]", 13, "unknown variant");
    refused("brcac", "keys = [\n\"rsa2048\",\n\"p256\"]", 15, "can't do what the shape");
    refused("client", "names = [\"dns:*.other.test\"]", 13, "not inside the names of authority `bank`");
    refused("client", "names = [\n\"dns:a.bank.test\",\n\"uri:spiffe://bank.test/ns/a\"]", 15, "have no such names");
    refused("server", "names = [\"email:*@bank.test\"]", 13, "have no such names");
    refused("brcac", "names = [\"ip:10.0.0.1\"]", 13, "have no such names");
    refused("client", "names = [\"*.bank.test\"]", 13, "is not a pattern");
    refused("client", "policies = [\"x\"]", 13, "not a dotted object identifier");
    refused("client", "policies = [\"2.5.29.32.0\"]", 13, "anyPolicy");
    refused("client", "policies = [\"1.2.3\", \"1.2.3\"]", 13, "twice");
    refused("client", "uri = \"spiffe://bank.test/ns/{service}\"", 13, "for the shape `spiffe`");
    refused("spiffe", "uri = \"spiffe://bank.test/{service}\"", 13, "not inside the names of authority");
    refused("spiffe", "uri = \"spiffe://bank.test/ns/{service}\"\nnames = [\"dns:a.bank.test\"]", 13, "the profile's own names");
    refused("spiffe", "uri = \"spiffe://bank.test/ns/service\"", 13, "not a template");
    refused("spiffe", "names = [\"dns:a.bank.test\"]", 10, "has a template");
    refused("client", "subject = { O = \"Bank\" }", 13, "has no O that a policy fixes");
    refused("kubernetes", "subject = { CN = \"admin\" }", 13, "has no CN that a policy fixes");
    refused("spiffe", "uri = \"spiffe://bank.test/ns/{service}\"\nsubject = { C = [\"GB\", \"DE\"] }", 14, "at most 1 C");
    refused("spiffe", "subject = { C = \"gb\" }", 13, "two capital letters");
    refused("spiffe", "subject = { X = \"y\" }", 13, "unknown subject attribute");
    refused("obwac", "", 10, "has PSD2 roles");
    refused("client", PSD2, 13, "for the shapes `obwac` and `obseal`");
    refused("obwac", &PSD2.replace("GB-FCA", "FCA"), 13, "as in GB-FCA");
    refused("obwac", &PSD2.replace("PSP_PI", "PSP_XX"), 13, "unknown variant");
    refused("obwac", &PSD2.replace("\"PSP_PI\", \"PSP_AI\"", ""), 13, "at least one role");
    refused("obwac", &format!("{PSD2}\nsubject = {{ organizationIdentifier = \"PSDDE-BAFIN-1\" }}"), 14, "another authority");
    refused("brcac", "subject = { serialNumber = \"11222333000182\" }", 13, "check digits");
    refused("client", "system_names = [\"system:nodes\"]", 13, "for the shape `kubernetes`");
    refused("kubernetes", "system_names = [\"system:masters\"]", 13, "never system:masters");
    refused("kubernetes", "system_names = [\"system:*\"]", 13, "never system:masters");
}

#[test]
fn a_shape_that_counts_where_its_issuer_is_trusted_stands_alone() {
    let minimal = |shape: LeafShape| {
        let more = match shape {
            LeafShape::Spiffe => "uri = \"spiffe://bank.test/ns/{service}\"",
            LeafShape::Obwac | LeafShape::Obseal => PSD2,
            _ => "",
        };
        format!("shape = \"{shape}\"\nlifetime = 3600\n{more}\n")
    };
    let shapes = LeafShape::ALL.into_iter().filter(|shape| *shape != LeafShape::Ocsp);
    for one in shapes.clone() {
        for other in shapes.clone() {
            let text = format!("[authority.profile.a]\n{}[authority.profile.b]\n{}", minimal(one), minimal(other));
            let together = one == other || !one.needs_own_authority() && !other.needs_own_authority();
            match Policy::parse(&document(NAMES, &text)) {
                Ok(_) => assert!(together, "{one} beside {other}"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(!together && error.contains("needs an authority of its own") && error.contains("line 1"), "{error}");
                }
            }
        }
    }
    // The CA's own certificates are no one else's.
    let own = "[[authority.own]]\nname = \"server\"\nshape = \"server\"\nnames = [{ type = \"dns\", value = \"ca.bank.test\" }]\nlifetime = 3600\n";
    let text = format!("[authority.profile.a]\n{}{own}key_sha256 = \"{}\"\n", minimal(LeafShape::Kubernetes), "11".repeat(32));
    Policy::parse(&document(NAMES, &text)).unwrap();
}

#[test]
fn what_an_older_policy_says_means_the_same() {
    let policy = policy("[authority.profile.client]\nshape = \"client\"\nlifetime = 3600\nsubject_cn = true\n");
    let profile = &policy.authorities[0].profiles["client"];
    assert_eq!(profile.shape, LeafShape::Client);
    let hour = Duration::from_secs(3600);
    assert_eq!(profile.lifetimes(), (Duration::ZERO, hour, hour));
    assert!(profile.subject_cn && !profile.no_rev_avail);
    for algorithm in
        [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa2048, KeyAlgorithm::Rsa3072, KeyAlgorithm::Rsa4096]
    {
        assert!(profile.takes_key(algorithm));
    }
    // Nothing that the document does not say is written.
    let text = serde_json::to_string(&policy).unwrap();
    for key in ["min_lifetime", "keys", "policies", "no_rev_avail", "system_names", "psd2"] {
        assert!(!text.contains(key), "{key}: {text}");
    }
    let narrow = self::policy("[authority.profile.client]\nshape = \"client\"\nlifetime = 3600\nkeys = [\"p256\"]\n");
    assert!(!narrow.authorities[0].profiles["client"].takes_key(KeyAlgorithm::Rsa2048));
}

/// Signed grants are kept as they were signed: what is new must not change their bytes.
#[test]
fn a_grant_of_names_has_the_bytes_that_it_always_had() {
    let text = r#"{"id":"grant-1","version":1,"service":"payments","authority":"bank","profiles":["client"],"names":["dns:a.bank.test"],"enrol_by":null,"valid_until":null,"max_accounts":null}"#;
    let grant: Grant = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&grant).unwrap(), text);
    assert!(serde_json::from_str::<Grant>(&text.replace("\"max_accounts\"", "\"also\":1,\"max_accounts\"")).is_err());
}

fn grant(profile: &str) -> Grant {
    Grant {
        id: "grant-1".parse().unwrap(),
        version: 1,
        service: "payments".to_owned(),
        authority: "bank".parse().unwrap(),
        profiles: vec![profile.to_owned()],
        names: vec!["dns:*.bank.test".parse().unwrap()],
        enrol_by: None,
        valid_until: None,
        max_accounts: None,
        uri: None,
        emails: Vec::new(),
        subject: SubjectParts::default(),
        limits: GrantLimits::default(),
    }
}

fn subject(parts: &[(Attribute, &str)]) -> SubjectParts {
    SubjectParts::new(parts.iter().map(|(attribute, text)| (*attribute, (*text).to_owned()))).unwrap()
}

fn order(names: &[&str]) -> Vec<Identifier> {
    names.iter().map(|name| Identifier::from_text(name).unwrap()).collect()
}

/// What a grant is refused for, and so an order of it.
#[track_caller]
fn refuses(policy: &Policy, grant: &Grant, reason: &str) {
    let error = check_grant(&policy.authorities[0], grant).unwrap_err();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn a14_a_template_gives_a_service_its_spiffe_id() {
    let policy = policy(
        "[authority.profile.svid]\nshape = \"spiffe\"\nlifetime = 3600\nuri = \"spiffe://bank.test/ns/{service}\"\nsubject = { O = \"Bank\", C = \"GB\" }\n",
    );
    let rules = &policy.authorities[0];
    let content = |grant: &Grant| leaf_content(rules, &rules.profiles["svid"], grant, &order(&["payments.bank.test"]));
    let LeafContent::Spiffe { id, subject: of } = content(&grant("svid")).unwrap() else { panic!("another shape") };
    assert_eq!(id.as_str(), "spiffe://bank.test/ns/payments");
    // The general first, whatever the document's order.
    assert_eq!(of.attributes(), [(Attribute::Country, "GB".to_owned()), (Attribute::Organization, "Bank".to_owned())]);
    check_grant(rules, &grant("svid")).unwrap();

    let same = Grant { uri: Some("spiffe://bank.test/ns/payments".to_owned().try_into().unwrap()), ..grant("svid") };
    check_grant(rules, &same).unwrap();
    let other = Grant { uri: Some("spiffe://bank.test/ns/treasury".to_owned().try_into().unwrap()), ..grant("svid") };
    refuses(&policy, &other, "which the policy's template gives this service");
    assert!(content(&other).is_err(), "the worker says the same");
    for service in ["pay ments", "a/b", "..", ""] {
        refuses(&policy, &Grant { service: service.to_owned(), ..grant("svid") }, "can't stand in");
    }
    refuses(&policy, &Grant { subject: subject(&[(Attribute::CommonName, "x")]), ..grant("svid") }, "takes a part of a subject");
    let mailbox = Grant { emails: vec!["ops@bank.test".to_owned().try_into().unwrap()], ..grant("svid") };
    refuses(&policy, &mailbox, "takes a mailbox");
}

#[test]
fn a14_without_a_template_the_grant_names_the_uri_inside_the_policy() {
    let policy = policy(
        "[authority.profile.svid]\nshape = \"spiffe\"\nlifetime = 3600\nnames = [\"uri:spiffe://bank.test/ns/a\", \"dns:*.bank.test\"]\n",
    );
    let rules = &policy.authorities[0];
    let with = |uri: &str| Grant { uri: Some(uri.to_owned().try_into().unwrap()), ..grant("svid") };
    check_grant(rules, &with("spiffe://bank.test/ns/a")).unwrap();
    refuses(&policy, &with("spiffe://bank.test/ns/b"), "outside the profile's names");
    refuses(&policy, &with("spiffe://other.test/ns/a"), "outside the authority's policy");
    refuses(&policy, &with("https://bank.test/a"), "not a SPIFFE id");
    refuses(&policy, &grant("svid"), "is missing");
    // The profile's own names hold for what authorizes, too.
    let error = leaf_content(rules, &rules.profiles["svid"], &with("spiffe://bank.test/ns/a"), &order(&["10.0.0.1"])).unwrap_err();
    assert_eq!(error.to_string(), "`10.0.0.1` is outside the profile's names");
}

#[test]
fn lesson_29_a_grant_s_uri_and_mailboxes_pass_the_policy() {
    let policy = policy(
        "[authority.profile.client]\nshape = \"client\"\nlifetime = 3600\nsubject_cn = true\n[authority.profile.server]\nshape = \"server\"\nlifetime = 3600\n",
    );
    let rules = &policy.authorities[0];
    let mut given = grant("client");
    given.uri = Some("https://bank.test/payments".to_owned().try_into().unwrap());
    given.emails = vec!["ops@bank.test".to_owned().try_into().unwrap()];
    check_grant(rules, &given).unwrap();
    let content = leaf_content(rules, &rules.profiles["client"], &given, &order(&["payments.bank.test", "10.0.0.1"])).unwrap();
    let LeafContent::Client { common_name, names } = content else { panic!("another shape") };
    assert_eq!(common_name.as_deref(), Some("payments.bank.test"));
    let names: Vec<_> = names.iter().map(AltName::to_string).collect();
    assert_eq!(names, ["payments.bank.test", "10.0.0.1", "https://bank.test/payments", "ops@bank.test"]);

    for uri in ["https://other.test/a", "https://bank.test/a/b", "spiffe://other.test/ns/a"] {
        refuses(&policy, &Grant { uri: Some(uri.to_owned().try_into().unwrap()), ..grant("client") }, "outside the authority's policy");
    }
    // The authority's names have it; but only the spiffe profile carries it.
    let svid = Grant { uri: Some("spiffe://bank.test/ns/a".to_owned().try_into().unwrap()), ..grant("client") };
    let error = leaf_content(rules, &rules.profiles["client"], &svid, &order(&["payments.bank.test"])).unwrap_err();
    assert!(error.to_string().contains("only the spiffe profile"), "{error}");
    refuses(&policy, &svid, "only the spiffe profile");
    let elsewhere = vec!["ops@other.test".to_owned().try_into().unwrap()];
    refuses(&policy, &Grant { emails: elsewhere, ..grant("client") }, "outside the authority's policy");
    let subject = subject(&[(Attribute::Organization, "system:masters")]);
    refuses(&policy, &Grant { subject, ..grant("client") }, "takes a part of a subject");
    refuses(&policy, &Grant { uri: given.uri, ..grant("server") }, "takes a URI");
}

#[test]
fn lesson_25_kubernetes_users_and_groups_come_from_the_signed_grant_inside_the_policy() {
    let policy =
        policy("[authority.profile.user]\nshape = \"kubernetes\"\nlifetime = 3600\nsystem_names = [\"system:node:*\", \"system:nodes\"]\n");
    let rules = &policy.authorities[0];
    let user = |parts: &[(Attribute, &str)]| Grant { subject: subject(parts), ..grant("user") };
    let (cn, o) = (Attribute::CommonName, Attribute::Organization);
    let node = user(&[(cn, "system:node:a"), (o, "system:nodes"), (o, "workers")]);
    check_grant(rules, &node).unwrap();
    let content = leaf_content(rules, &rules.profiles["user"], &node, &order(&["node.bank.test"])).unwrap();
    let expected =
        LeafContent::Kubernetes { user: "system:node:a".to_owned(), groups: vec!["system:nodes".to_owned(), "workers".to_owned()] };
    assert_eq!(content, expected, "nothing of the order's identifier");
    refuses(&policy, &user(&[(cn, "a"), (o, "system:masters")]), "one of Kubernetes' own names");
    refuses(&policy, &user(&[(cn, "system:admin")]), "one of Kubernetes' own names");
    refuses(&policy, &user(&[(cn, "SYSTEM:node:a")]), "one of Kubernetes' own names");
    refuses(&policy, &user(&[(o, "workers")]), "needs CN");
    refuses(&policy, &user(&[(cn, "a"), (cn, "b")]), "at most 1 CN");
    refuses(&policy, &user(&[(cn, "a"), (Attribute::OrganizationalUnit, "x")]), "takes no OU");

    // Off where the policy does not say so; groups that it fixes are everyone's.
    let plain = self::policy("[authority.profile.user]\nshape = \"kubernetes\"\nlifetime = 3600\nsubject = { O = [\"tenants\"] }\n");
    refuses(&plain, &user(&[(cn, "system:node:a")]), "one of Kubernetes' own names");
    refuses(&plain, &user(&[(cn, "a"), (o, "workers")]), "the policy fixes O to `tenants`");
    let rules = &plain.authorities[0];
    let content = leaf_content(rules, &rules.profiles["user"], &user(&[(cn, "a")]), &order(&["a.bank.test"])).unwrap();
    assert_eq!(content, LeafContent::Kubernetes { user: "a".to_owned(), groups: vec!["tenants".to_owned()] });
}

#[test]
fn open_banking_subjects_are_of_policy_and_grant_together() {
    let profile = |shape: &str| {
        format!("[authority.profile.ob]\nshape = \"{shape}\"\nlifetime = 3600\n{PSD2}\nsubject = {{ C = \"GB\", O = \"Bank plc\" }}\n")
    };
    let (oid, cn) = (Attribute::OrganizationIdentifier, Attribute::CommonName);
    let bank = |parts: &[(Attribute, &str)]| Grant { subject: subject(parts), ..grant("ob") };
    let good = bank(&[(oid, "PSDGB-FCA-123456"), (cn, "0015800001HQQrZAAX")]);
    for shape in ["obwac", "obseal"] {
        let policy = policy(&profile(shape));
        let rules = &policy.authorities[0];
        check_grant(rules, &good).unwrap();
        let content = leaf_content(rules, &rules.profiles["ob"], &good, &order(&["payments.bank.test"])).unwrap();
        assert_eq!(content.names().len(), usize::from(shape == "obwac"));
        let texts: Vec<_> = content.subject().unwrap().attributes().iter().map(|(a, text)| format!("{a}={text}")).collect();
        assert_eq!(texts, ["C=GB", "O=Bank plc", "organizationIdentifier=PSDGB-FCA-123456", "CN=0015800001HQQrZAAX"]);
        refuses(&policy, &bank(&[(cn, "x")]), "needs organizationIdentifier");
        refuses(&policy, &bank(&[(oid, "PSDDE-BAFIN-1"), (cn, "x")]), "another authority");
        refuses(&policy, &bank(&[(oid, "PSDGB-FCA-1"), (cn, "x"), (Attribute::Organization, "Other")]), "the policy fixes O");
        refuses(&policy, &bank(&[(oid, "PSDGB-FCA-1"), (cn, "x"), (Attribute::Locality, "London")]), "takes no L");
    }
}

#[test]
fn open_finance_subjects_are_the_grant_s_and_the_name_is_the_order_s() {
    let policy = policy("[authority.profile.ofb]\nshape = \"brcac\"\nlifetime = 3600\n");
    let rules = &policy.authorities[0];
    let company = |name: &str| Grant {
        subject: subject(&[
            (Attribute::BusinessCategory, "Private Organization"),
            (Attribute::SerialNumber, "11222333000181"),
            (Attribute::Organization, "Banco S.A."),
            (Attribute::State, "SP"),
            (Attribute::Locality, "São Paulo"),
            (Attribute::OrganizationIdentifier, "OFBBR-4b75db2e"),
            (Attribute::UserId, "d7384bd0"),
            (Attribute::CommonName, name),
        ]),
        ..grant("ofb")
    };
    let good = company("api.bank.test");
    check_grant(rules, &good).unwrap();
    let content = |names: &[&str]| leaf_content(rules, &rules.profiles["ofb"], &good, &order(names));
    assert_eq!(content(&["api.bank.test", "mtls.bank.test"]).unwrap().names().len(), 2);
    assert!(content(&["mtls.bank.test"]).unwrap_err().to_string().contains("not one of the certificate's dns names"));
    assert!(content(&["api.bank.test", "10.0.0.1"]).unwrap_err().to_string().contains("not a dns name of one host"));
    refuses(&policy, &company("api.other.test"), "not among the grant's names");
    refuses(&policy, &Grant { subject: SubjectParts::default(), ..grant("ofb") }, "needs CN");
    for algorithm in [KeyAlgorithm::P256, KeyAlgorithm::Ed25519] {
        assert!(!rules.profiles["ofb"].takes_key(algorithm));
    }
}
