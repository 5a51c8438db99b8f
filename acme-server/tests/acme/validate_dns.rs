//! dns-01 and CAA against a name server of the test.

use ca_core::model::ChallengeMethod;
use ca_core::model::ChallengeMethod::{Dns01, Http01};
use ca_core::validation::dns_value;
use hickory_resolver::proto::rr::rdata::{CAA, NULL};
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::challenges::{Site, zone};
use crate::net::{Page, Says, Web};

async fn site(caa: &[&str]) -> Site {
    Site::new(zone(&[Dns01], caa), |_| {}).await
}

#[tokio::test]
async fn a12_dns_01_finds_its_value_among_several() {
    let site = site(&[]).await;
    let account = site.world.account().await;
    let open = account.open("x.dmz.test", Dns01).await;
    let value = dns_value(&open.proof);
    site.dns.text("_acme-challenge.x.dmz.test", &["secret", &"a".repeat(43), &value]);
    let record = account.succeeds(&open).await;
    assert_eq!((record.addresses.len(), record.answer_sha256), (0, Some(ca_core::pki::sha256(value.as_bytes()))));
    // The wildcard of a name is proven at the name.
    let open = account.open("*.dmz.test", Dns01).await;
    site.dns.text("_acme-challenge.dmz.test", &[&dns_value(&open.proof)]);
    assert_eq!(account.succeeds(&open).await.identifier.value(), "*.dmz.test");
}

#[tokio::test]
async fn lesson_08_another_accounts_record_is_no_proof() {
    let site = site(&[]).await;
    let (account, other) = (site.world.account().await, site.world.account().await);
    let open = account.open("x.dmz.test", Dns01).await;
    site.dns.text("_acme-challenge.x.dmz.test", &[&dns_value(&format!("{}.{}", open.token, other.thumbprint())), "secret", &open.proof]);
    account.fails(&open, "incorrectResponse", "none of the 3 TXT records").await;
    let open = account.open("none.dmz.test", Dns01).await;
    account.fails(&open, "dns", "_acme-challenge.none.dmz.test").await;
    site.dns.says("_acme-challenge.x.dmz.test", RecordType::TXT, Says::Fails);
    let open = account.open("x.dmz.test", Dns01).await;
    account.fails(&open, "dns", "_acme-challenge.x.dmz.test").await;
}

#[tokio::test]
async fn a12_aliases_are_followed_within_bounds() {
    let site = site(&[]).await;
    let account = site.world.account().await;
    let open = account.open("x.dmz.test", Dns01).await;
    site.dns.alias("_acme-challenge.x.dmz.test", "one.acme.test");
    site.dns.alias("one.acme.test", "two.acme.test");
    site.dns.text("two.acme.test", &[&dns_value(&open.proof)]);
    account.succeeds(&open).await;

    let open = account.open("y.dmz.test", Dns01).await;
    site.dns.alias("_acme-challenge.y.dmz.test", "round.acme.test");
    site.dns.alias("round.acme.test", "_acme-challenge.y.dmz.test");
    account.fails(&open, "dns", "more than 8 aliases").await;
}

/// Orders by dns-01 with a right record; tells whether CAA let it through.
async fn judged(site: &Site, name: &str, kind: &str) {
    let account = site.world.account().await;
    let open = account.open(name, Dns01).await;
    site.dns.text(&format!("_acme-challenge.{}", name.trim_start_matches("*.")), &[&dns_value(&open.proof)]);
    if kind == "valid" {
        let record = account.succeeds(&open).await;
        assert!(record.caa.is_some(), "what was found is on record");
        assert_eq!(record.valid_until.since(record.at).as_secs(), 8 * 3600);
    } else {
        account.fails(&open, kind, "").await;
    }
}

#[tokio::test]
async fn a13_caa_is_asked_where_the_policy_asks_for_it() {
    let site = site(&["ca.bank.test"]).await;
    // Nowhere any record.
    judged(&site, "none.dmz.test", "valid").await;
    site.dns.caa("good.dmz.test", &[("issue", "ca.bank.test")]);
    judged(&site, "good.dmz.test", "valid").await;
    site.dns.caa("bad.dmz.test", &[("issue", "other.test")]);
    judged(&site, "bad.dmz.test", "caa").await;
    // The tree is climbed, through aliases too.
    site.dns.caa("dmz.test", &[("issue", "other.test"), ("issuewild", "ca.bank.test")]);
    judged(&site, "up.dmz.test", "caa").await;
    judged(&site, "good.dmz.test", "valid").await;
    judged(&site, "*.dmz.test", "valid").await;
    site.dns.alias("alias.dmz.test", "target.test");
    site.dns.caa("target.test", &[("issue", "ca.bank.test; validationmethods=dns-01")]);
    judged(&site, "alias.dmz.test", "valid").await;
    site.dns.caa("target.test", &[("issue", "ca.bank.test; validationmethods=http-01")]);
    judged(&site, "alias.dmz.test", "caa").await;
    site.dns.caa("account.dmz.test", &[("issue", "ca.bank.test; accounturi=https://ca.test:14000/acme/acct/1")]);
    judged(&site, "account.dmz.test", "caa").await;
}

/// Without an answer nothing is allowed: neither a server that fails nor aliases without end look like no records.
#[tokio::test]
async fn a13_without_an_answer_caa_forbids() {
    let site = site(&["ca.bank.test"]).await;
    site.dns.says("failing.dmz.test", RecordType::CAA, Says::Fails);
    judged(&site, "failing.dmz.test", "dns").await;
    site.dns.alias("round.dmz.test", "round.test");
    site.dns.alias("round.test", "round.dmz.test");
    judged(&site, "round.dmz.test", "dns").await;
    site.dns.says("dmz.test", RecordType::CAA, Says::Fails);
    judged(&site, "parent.dmz.test", "dns").await;
}

/// Nor does what is no answer to the question.
#[tokio::test]
async fn a13_what_is_no_answer_is_not_taken_for_no_records() {
    let site = site(&["ca.bank.test"]).await;
    site.dns.says("elsewhere.dmz.test", RecordType::CAA, Says::Refers);
    judged(&site, "elsewhere.dmz.test", "dns").await;
    site.dns.says("long.dmz.test", RecordType::CAA, Says::Truncated);
    judged(&site, "long.dmz.test", "dns").await;
    // A record whose tag has no characters, beside one that would do.
    let unread = RData::Unknown { code: RecordType::CAA, rdata: NULL::with(vec![0, 0, b'x']) };
    let mut good = CAA::new_issue(false, None, Vec::new());
    good.value = b"ca.bank.test".to_vec();
    site.dns.says("broken.dmz.test", RecordType::CAA, Says::Records(vec![RData::CAA(good.clone()), unread]));
    judged(&site, "broken.dmz.test", "dns").await;
    site.dns.says("whole.dmz.test", RecordType::CAA, Says::Records(vec![RData::CAA(good)]));
    judged(&site, "whole.dmz.test", "valid").await;
}

#[tokio::test]
async fn a13_caa_is_checked_for_every_method() {
    let web = Web::start().await;
    let port = web.port;
    let site = Site::new(zone(&ChallengeMethod::ALL, &["ca.bank.test"]), |v| v.http_port = port).await;
    site.dns.address("x.dmz.test", &[[127, 0, 0, 1]]);
    site.dns.caa("x.dmz.test", &[("issue", ";")]);
    let account = site.world.account().await;
    let open = account.open("x.dmz.test", Http01).await;
    web.page(&format!("/.well-known/acme-challenge/{}", open.token), Page::ok(&open.proof));
    account.fails(&open, "caa", "do not allow this CA").await;
}
