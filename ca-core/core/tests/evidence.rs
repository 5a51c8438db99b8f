//! Each element of a request's evidence, swapped for another: every one is refused (lessons 1, 2, 25, 28, 29).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ca_core::evidence::chain::{AuthorizedIssuance, Refusal, Verifier};
use ca_core::evidence::jws::ParsedJws;
use ca_core::evidence::new_order::NewOrderRequest;
use ca_core::evidence::statement::Operation;
use ca_core::model::{AccountId, Evidence, Grant, GrantId, GrantLimits, OrderId, ProblemType, SignedStatement};
use ca_core::pki::Timestamp;
use ca_core::policy::{Permission, Policy, SubjectParts};
use ca_core::ports::EabSecrets;
use ca_testkit::acme::{self, ClientKey};
use ca_testkit::operator::Operator;
use serde_json::json;
use zeroize::Zeroizing;

struct Secrets;

impl EabSecrets for Secrets {
    fn eab_secret(&self, grant: &GrantId, version: u32) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(format!("secret of {grant} {version}").into_bytes())
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + seconds)
}

fn policy() -> Policy {
    let mut policy = Policy::parse(
        &r#"
        version = 1
        [[authority]]
        name = "demo"
        key_sha256 = "KEY"
        names = ["dns:*.demo.test"]
        max_per_hour = 10
        crl_validity = 1000
        crl_interval = 300
        [authority.profile.client]
        shape = "client"
        lifetime = 600
        [authority.profile.short]
        shape = "client"
        lifetime = 60
        "#
        .replace("KEY", &"0".repeat(64)),
    )
    .unwrap();
    let may = [Permission::Grant, Permission::Revoke];
    policy.operators = vec![Operator::new("grantor", 1).policy(&may), Operator::new("revoker", 2).policy(&may[1..])];
    policy
}

fn grant() -> Grant {
    Grant {
        id: "grant-1".parse().unwrap(),
        version: 1,
        service: "payments".to_owned(),
        authority: "demo".parse().unwrap(),
        profiles: vec!["client".to_owned(), "gone".to_owned()],
        // Wider than the policy, as after the officers narrowed it.
        names: vec!["dns:*.demo.test".parse().unwrap(), "dns:*.other.test".parse().unwrap()],
        enrol_by: Some(at(500)),
        valid_until: Some(at(1000)),
        max_accounts: None,
        uri: None,
        emails: Vec::new(),
        subject: SubjectParts::default(),
        limits: GrantLimits::default(),
    }
}

fn granted(by: u8, grant: Grant) -> SignedStatement {
    Operator::new("any", by).sign(Operation::GrantCreate { grant }, "1", at(0))
}

/// What a client did, each part to be swapped.
struct Story {
    account_key: ClientKey,
    leaf_key: ClientKey,
    account: AccountId,
    order: OrderId,
    evidence: Evidence,
}

impl Story {
    fn new() -> Self {
        Self::with(&["a.demo.test", "b.demo.test"], "/acme/new-order", json!({}))
    }

    fn with(names: &[&str], path: &str, more: serde_json::Value) -> Self {
        let (account_key, leaf_key) = (ClientKey::default(), ClientKey::default());
        let new_account = acme::new_account(&account_key, "grant-1", &Secrets.eab_secret(&grant().id, 1));
        let account = AccountId::from_evidence(&new_account);
        let mut payload = acme::order_payload(names);
        payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let new_order = acme::by_account(&account_key, &account, path, &payload);
        let order = OrderId::from_evidence(&new_order, at(0));
        let finalize = acme::finalize(&account_key, &account, &order, &leaf_key.csr(names, None));
        let evidence = Evidence {
            grant: Some(granted(1, grant())),
            new_account,
            key_changes: vec![],
            new_order: Some(new_order),
            finalize: Some(finalize),
            finalized_after: Some(0),
            validations: Vec::new(),
        };
        Self { account_key, leaf_key, account, order, evidence }
    }

    fn finalize_with(mut self, csr: &[u8]) -> Self {
        self.evidence.finalize = Some(acme::finalize(&self.account_key, &self.account, &self.order, csr));
        self
    }

    fn swap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn judge(&self, now: i64) -> Result<AuthorizedIssuance, Refusal> {
        // A verifier that already remembers the true account: a memory must not let a forgery through.
        let verifier = Verifier::default();
        let honest = Evidence { grant: Some(granted(1, grant())), key_changes: vec![], ..self.evidence.clone() };
        let _ = verifier.verify_account(&honest, &policy(), &Secrets, at(1));
        let told = self.asked_profile().unwrap_or_else(|| "client".to_owned());
        let first = verifier.verify_finalize(&self.evidence, &told, &policy(), &Secrets, at(now));
        assert_eq!(first, verifier.verify_finalize(&self.evidence, &told, &policy(), &Secrets, at(now)), "and again from memory");
        first
    }

    /// The profile that its order asks for.
    fn asked_profile(&self) -> Option<String> {
        let jws = ParsedJws::parse(self.evidence.new_order.as_ref()?).ok()?;
        NewOrderRequest::parse(&jws).ok()?.profile
    }
}

#[track_caller]
fn refused(story: &Story, kind: ProblemType, cause: &str) {
    refused_at(story, 10, kind, cause);
}

#[track_caller]
fn refused_at(story: &Story, now: i64, kind: ProblemType, cause: &str) {
    let refusal = story.judge(now).unwrap_err();
    assert!(refusal.problem.kind == kind && refusal.cause.contains(cause), "{refusal:?}, not {kind:?} {cause}");
}

#[test]
fn true_evidence_says_what_may_be_issued() {
    let story = Story::new();
    let issuance = story.judge(10).unwrap();
    assert_eq!((issuance.account, issuance.order), (story.account.clone(), story.order.clone()));
    assert_eq!((issuance.authority.as_str(), issuance.profile.as_str(), issuance.grant.as_str()), ("demo", "client", "grant-1"));
    assert_eq!(issuance.identifiers.iter().map(|i| i.value()).collect::<Vec<_>>(), ["a.demo.test", "b.demo.test"]);
    // Account and order have been bound: enrol_by has done its work, valid_until has not.
    assert!(story.judge(999).is_ok());
    // lego puts a name into the CN; certbot asks in a directory of its own authority and profile.
    let csr = story.leaf_key.csr(&["b.demo.test"], Some("a.demo.test"));
    assert!(story.finalize_with(&csr).judge(10).is_ok());
    assert!(Story::with(&["a.demo.test"], "/a/demo/acme/p/client/new-order", json!({ "profile": "client" })).judge(10).is_ok());
}

#[test]
fn the_grant() {
    use ProblemType::Unauthorized;
    refused(&Story::new().swap(|s| s.evidence.grant = None), Unauthorized, "gone");
    refused(&Story::new().swap(|s| s.evidence.grant = Some(granted(3, grant()))), Unauthorized, "no operator key");
    refused(&Story::new().swap(|s| s.evidence.grant = Some(granted(2, grant()))), Unauthorized, "lacks `grant`");
    let revoked = Operator::new("grantor", 1).sign(Operation::GrantRevoke { id: grant().id }, "1", at(0));
    refused(&Story::new().swap(|s| s.evidence.grant = Some(revoked)), Unauthorized, "grant.revoke");
    let edited = |s: &mut Story| {
        let signed = s.evidence.grant.as_mut().unwrap();
        signed.statement = signed.statement.replace("other.test", "third.test");
    };
    refused(&Story::new().swap(edited), Unauthorized, "no operator key");
    let another = Grant { id: "grant-2".parse().unwrap(), ..grant() };
    refused(&Story::new().swap(|s| s.evidence.grant = Some(granted(1, another))), Unauthorized, "another enrolment grant");
    // A rotated secret: the account that the one before bound goes on; it binds no other.
    let rotated = Story::new().swap(|s| s.evidence.grant = Some(granted(1, Grant { version: 2, ..grant() })));
    assert!(rotated.judge(10).is_ok());
    let binding = Verifier::default().verify_account(&rotated.evidence, &policy(), &Secrets, at(1)).unwrap_err();
    assert!(binding.problem.kind == Unauthorized && binding.cause.contains("rotated"), "{binding:?}");
    refused_at(&Story::new(), 1000, Unauthorized, "expired");
    let elsewhere = Grant { authority: "live".parse().unwrap(), ..grant() };
    refused(&Story::new().swap(|s| s.evidence.grant = Some(granted(1, elsewhere))), Unauthorized, "does not name this authority");
}

#[test]
fn a14_open_enrolment_binds_accounts_to_a_grant_that_authorizes_no_name() {
    use ProblemType::{ExternalAccountRequired, Unauthorized};
    let mut open = policy();
    let zone = ca_core::policy::ChallengeZone {
        names: vec!["dns:*.demo.test".parse().unwrap()],
        methods: vec![ca_core::model::ChallengeMethod::Http01],
        caa: Vec::new(),
        attestation: ca_core::policy::AttestationRoots::default(),
    };
    open.authorities[0].challenge_zones = vec![zone];
    open.authorities[0].open_enrolment = Some(grant().id);
    let with = |grant: Grant| {
        Story::with(&["a.demo.test"], "/acme/new-order", json!({})).swap(|s| {
            let header = json!({ "jwk": s.account_key.jwk(), "nonce": "bm9uY2U", "url": format!("{}/acme/new-account", acme::BASE) });
            s.evidence.new_account = s.account_key.jws(header, &json!({}));
            s.evidence.grant = Some(granted(1, grant));
        })
    };
    let nameless = || Grant { names: Vec::new(), ..grant() };
    let verifier = Verifier::default();
    let verify = |story: &Story, policy: &Policy| verifier.verify_account(&story.evidence, policy, &Secrets, at(1));
    let story = with(nameless());
    assert_eq!(verify(&story, &open).unwrap().grant.id, grant().id);
    // It is the officers' to open, to exactly this grant, and only while it gives nothing by itself.
    let refused = |story: &Story, policy: &Policy| verify(story, policy).unwrap_err().problem.kind;
    assert_eq!(refused(&story, &policy()), ExternalAccountRequired);
    assert_eq!(refused(&with(grant()), &open), ExternalAccountRequired);
    assert_eq!(refused(&with(Grant { id: "grant-2".parse().unwrap(), ..nameless() }), &open), ExternalAccountRequired);
    let with_uri = Grant { uri: Some(ca_core::pki::UriName::parse("spiffe://bank.test/x").unwrap()), ..nameless() };
    assert_eq!(refused(&with(with_uri), &open), ExternalAccountRequired);
    // A name without a record of its validation is certified to nobody.
    let mut story = story;
    let account = AccountId::from_evidence(&story.evidence.new_account);
    let new_order = acme::by_account(&story.account_key, &account, "/acme/new-order", &acme::order_payload(&["a.demo.test"]));
    let csr = story.leaf_key.csr(&["a.demo.test"], None);
    story.evidence.finalize = Some(acme::finalize(&story.account_key, &account, &OrderId::from_evidence(&new_order, at(0)), &csr));
    story.evidence.new_order = Some(new_order);
    let refusal = verifier.verify_finalize(&story.evidence, "client", &open, &Secrets, at(1)).unwrap_err();
    assert_eq!(refusal.problem.kind, Unauthorized, "{refusal:?}");
}

#[test]
fn the_account() {
    use ProblemType::{ExternalAccountRequired, Malformed, Unauthorized};
    let stranger = Story::new();
    refused(&Story::new().swap(|s| s.evidence.new_account.clone_from(&stranger.evidence.new_account)), Unauthorized, "another account");
    let forged = |s: &mut Story| s.evidence.new_account = acme::new_account(&s.account_key, "grant-1", b"a guess");
    refused(&Story::new().swap(forged), Unauthorized, "MAC");
    let unbound = |s: &mut Story| {
        let header = json!({ "jwk": s.account_key.jwk(), "nonce": "bm9uY2U", "url": format!("{}/acme/new-account", acme::BASE) });
        s.evidence.new_account = s.account_key.jws(header, &json!({}));
    };
    refused(&Story::new().swap(unbound), ExternalAccountRequired, "no external account binding");
    let other_url = |s: &mut Story| {
        let header = json!({ "jwk": s.account_key.jwk(), "nonce": "bm9uY2U", "url": format!("{}/acme/new-order", acme::BASE) });
        s.evidence.new_account = s.account_key.jws(header, &json!({}));
    };
    refused(&Story::new().swap(other_url), Malformed, "another URL");

    let late = Verifier::default().verify_account(&Story::new().evidence, &policy(), &Secrets, at(500)).unwrap_err();
    assert!(late.cause.contains("no longer binds"), "{late:?}");
}

#[test]
fn key_changes() {
    use ProblemType::{Malformed, Unauthorized};
    let changed = |s: &mut Story| {
        let new = ClientKey::default();
        s.evidence.key_changes = vec![acme::key_change(&s.account_key, &new, &s.account)];
        s.account_key = new;
    };
    // The order was made with the key before, and that is fine; so is a finalize by the one before, if it was taken in then.
    let story = Story::new().swap(changed);
    assert!(story.judge(10).is_ok(), "it waited while the key was changed");
    let after = |mut story: Story, changes: Option<u32>| {
        story.evidence.finalized_after = changes;
        story
    };
    let story = after(story, Some(1));
    refused(&story, Unauthorized, "did not sign");
    let story = after(story, None);
    refused(&story, Unauthorized, "did not sign");
    let story = after(story, Some(2));
    refused(&story, Unauthorized, "has not had yet");
    let csr = story.leaf_key.csr(&["a.demo.test", "b.demo.test"], None);
    let story = after(story.finalize_with(&csr), Some(1));
    assert!(story.judge(10).is_ok());
    let story = after(story, Some(0));
    refused(&story, Unauthorized, "did not sign");
    let story = after(story, None);
    assert!(story.judge(10).is_ok());
    refused(&story.swap(|s| s.evidence.key_changes.clear()), Unauthorized, "did not sign");
    let forged = |s: &mut Story| {
        let (thief, new) = (ClientKey::default(), ClientKey::default());
        s.evidence.key_changes = vec![acme::key_change(&thief, &new, &s.account)];
        s.account_key = new;
    };
    refused(&Story::new().swap(forged), Unauthorized, "did not sign");
    let of_another = |s: &mut Story| {
        let new = ClientKey::default();
        let inner = json!({ "account": format!("{}/acme/acct/x", acme::BASE), "oldKey": s.account_key.jwk() });
        let url = format!("{}/acme/key-change", acme::BASE);
        let inner = new.jws(json!({ "jwk": new.jwk(), "url": url }), &inner);
        s.evidence.key_changes =
            vec![acme::by_account(&s.account_key, &s.account, "/acme/key-change", &serde_json::from_str(&inner).unwrap())];
    };
    refused(&Story::new().swap(of_another), Malformed, "another URL, account or key");
}

#[test]
fn the_order() {
    use ProblemType::{InvalidProfile, Malformed, RejectedIdentifier, Unauthorized};
    let another = Story::new();
    refused(&Story::new().swap(|s| s.evidence.new_order.clone_from(&another.evidence.new_order)), Unauthorized, "another account");
    // The same account's other order: its hash is not in the finalize URL.
    let swapped = |s: &mut Story| {
        let payload = acme::order_payload(&["a.demo.test", "b.demo.test", "c.demo.test"]);
        s.evidence.new_order = Some(acme::by_account(&s.account_key, &s.account, "/acme/new-order", &payload));
    };
    refused(&Story::new().swap(swapped), Unauthorized, "another order");
    let edited = |s: &mut Story| {
        let mut jws: serde_json::Value = serde_json::from_str(s.evidence.new_order.as_ref().unwrap()).unwrap();
        jws["payload"] = json!("e30");
        s.evidence.new_order = Some(jws.to_string());
    };
    refused(&Story::new().swap(edited), Unauthorized, "did not sign");
    refused(&Story::new().swap(|s| s.evidence.new_order = None), Malformed, "incomplete");

    let order = |names: &[&str], path: &str, more| Story::with(names, path, more);
    refused(&order(&["a.third.test"], "/acme/new-order", json!({})), RejectedIdentifier, "grant");
    refused(&order(&["a.other.test"], "/acme/new-order", json!({})), RejectedIdentifier, "policy");
    refused(&order(&["a.demo.test"], "/acme/new-account", json!({})), Malformed, "another URL");
    refused(&order(&["a.demo.test"], "/a/live/acme/p/client/new-order", json!({})), Unauthorized, "another authority");
    refused(&order(&["a.demo.test"], "/a/demo/acme/p/short/new-order", json!({})), InvalidProfile, "may order");
    refused(&order(&["a.demo.test"], "/acme/new-order", json!({ "profile": "short" })), InvalidProfile, "may order");
    refused(&order(&["a.demo.test"], "/acme/new-order", json!({ "profile": "gone" })), InvalidProfile, "does not offer");
    for more in [json!({}), json!({ "profile": "client" })] {
        let story = order(&["a.demo.test"], "/acme/new-order", more);
        let refusal = Verifier::default().verify_finalize(&story.evidence, "gone", &policy(), &Secrets, at(10)).unwrap_err();
        assert_eq!(refusal.problem.kind, InvalidProfile, "another profile than the client was told: {refusal:?}");
    }
    refused(&order(&["a.demo.test"], "/a/demo/acme/p/client/new-order", json!({ "profile": "gone" })), InvalidProfile, "directory");
}

#[test]
fn the_finalize() {
    use ProblemType::{BadCsr, Malformed, Unauthorized};
    let story = Story::new();
    let csr = |story: &Story, names: &[&str], cn| story.leaf_key.csr(names, cn);
    let extra = csr(&story, &["a.demo.test", "b.demo.test", "c.demo.test"], None);
    let story = story.finalize_with(&extra);
    refused(&story, BadCsr, "not the order's");
    let fewer = csr(&story, &["a.demo.test"], None);
    let story = story.finalize_with(&fewer);
    refused(&story, BadCsr, "not the order's");
    let with_address = csr(&story, &["a.demo.test", "b.demo.test", "10.0.0.1"], None);
    let story = story.finalize_with(&with_address);
    refused(&story, BadCsr, "not the order's");
    let other_cn = csr(&story, &["a.demo.test", "b.demo.test"], Some("c.demo.test"));
    let story = story.finalize_with(&other_cn);
    refused(&story, BadCsr, "common name");
    let own_key = story.account_key.csr(&["a.demo.test", "b.demo.test"], None);
    let story = story.finalize_with(&own_key);
    refused(&story, BadCsr, "account's own key");
    let story = story.finalize_with(b"not a CSR");
    refused(&story, BadCsr, "PKCS #10");

    let other_order = |s: &mut Story| {
        let order = OrderId::from_evidence("another", at(0));
        let csr = s.leaf_key.csr(&["a.demo.test", "b.demo.test"], None);
        s.evidence.finalize = Some(acme::finalize(&s.account_key, &s.account, &order, &csr));
    };
    refused(&Story::new().swap(other_order), Unauthorized, "another order");
    let thief = |s: &mut Story| {
        let csr = s.leaf_key.csr(&["a.demo.test", "b.demo.test"], None);
        s.evidence.finalize = Some(acme::finalize(&ClientKey::default(), &s.account, &s.order, &csr));
    };
    refused(&Story::new().swap(thief), Unauthorized, "did not sign");
    let another = Story::new();
    refused(&Story::new().swap(|s| s.evidence.finalize.clone_from(&another.evidence.finalize)), Unauthorized, "another account");
    refused(&Story::new().swap(|s| s.evidence.finalize = None), Malformed, "incomplete");
    refused(&Story::new().swap(|s| s.evidence.finalize = Some("{}".into())), Malformed, "JWS");
}
