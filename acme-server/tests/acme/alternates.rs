//! Alternate chains (RFC 8555 §7.4.2).

use std::time::Duration;

use ca_core::pki::{Certificate, pem_decode_all};
use ca_core::ports::Clock as _;

use crate::client::Answer;
use crate::world::{BASE, World};

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// What an answer names as alternates, in order.
pub(crate) fn alternates(answer: &Answer) -> Vec<String> {
    let links = answer.headers.get_all("link").iter().map(|link| link.to_str().unwrap());
    links.filter_map(|link| Some(link.strip_suffix(">;rel=\"alternate\"")?.strip_prefix('<')?.to_owned())).collect()
}

/// The certificates of a chain, each signed by the next.
pub(crate) fn certificates(answer: &Answer) -> Vec<Certificate> {
    assert_eq!(answer.is(200).header("content-type"), "application/pem-certificate-chain");
    let all = pem_decode_all(&answer.body, "CERTIFICATE").unwrap();
    let all: Vec<_> = all.iter().map(|der| Certificate::from_der(der).unwrap()).collect();
    all.windows(2).for_each(|pair| pair[0].is_signed_by(&pair[1]).unwrap());
    all
}

#[tokio::test]
async fn a10_each_chain_links_to_all_the_others() {
    let world = World::new();
    let account = world.account().await;
    let before = account.certificate(&["a.demo.test"]).await;
    assert_eq!(alternates(&before), [""; 0], "there is one chain");
    let leaf = certificates(&before).remove(0);
    let default = format!("{BASE}/acme/cert/demo/{}", leaf.serial());
    let roots = [world.cross_certify(3, "demo-root", YEAR), world.cross_certify(8, "demo", YEAR)];
    account.post(&format!("{default}/3"), "").await.is_problem(404, "malformed");
    world.clock.advance(Duration::from_secs(5));

    let answer = account.post(&default, "").await;
    assert_eq!(answer.is(200).body, before.body, "the default chain stays as it is");
    assert_eq!(alternates(&answer), [format!("{default}/3"), format!("{default}/8")]);
    let [by_root, by_issuing] = [("3", "8"), ("8", "3")].map(|(this, other)| (format!("{default}/{this}"), format!("{default}/{other}")));
    let (answer, issuing) = (account.post(&by_root.0, "").await, world.state().authorities[0].certificate.clone());
    assert_eq!(alternates(&answer), [default.clone(), by_root.1]);
    let chain = certificates(&answer);
    assert_eq!((chain.len(), &chain[0], chain[1].der()), (3, &leaf, &*issuing), "leaf, issuing certificate, the root's cross-certificate");
    chain[2].is_signed_by(&roots[0]).unwrap();

    let answer = account.post(&by_issuing.0, "").await;
    assert_eq!(alternates(&answer), [default, by_issuing.1]);
    let chain = certificates(&answer);
    assert_eq!((chain.len(), &chain[0]), (2, &leaf), "leaf, the issuing authority's cross-certificate");
    chain[1].is_signed_by(&roots[1]).unwrap();
    assert!(!answer.body.contains("PRIVATE"));
}

#[tokio::test]
async fn a10_an_alternate_is_its_account_s_and_ends_with_its_cross_certificate() {
    let world = World::new();
    world.cross_certify(1, "demo-root", Duration::from_secs(600));
    world.cross_certify(2, "demo-root", YEAR);
    let (account, other) = (world.account().await, world.account().await);
    let serial = certificates(&account.certificate(&["a.demo.test"]).await)[0].serial();
    let url = format!("{BASE}/acme/cert/demo/{serial}");
    other.post(&format!("{url}/1"), "").await.is_problem(403, "unauthorized");
    account.post(&format!("{url}/1"), "{}").await.is_problem(400, "malformed");
    world.get(&format!("/acme/cert/demo/{serial}/1")).await.is_problem(405, "malformed");
    for unknown in ["0", "3", "-1", "x", "18446744073709551616", "1/2"] {
        account.post(&format!("{url}/{unknown}"), "").await.is_problem(404, "malformed");
    }
    account.post(&format!("{BASE}/acme/cert/demo/7777/1"), "").await.is_problem(404, "malformed");
    account.post(&format!("{BASE}/acme/cert/other/{serial}/1"), "").await.is_problem(404, "malformed");

    assert_eq!(alternates(&account.post(&url, "").await), [format!("{url}/1"), format!("{url}/2")]);
    world.clock.advance(Duration::from_secs(600));
    account.post(&format!("{url}/1"), "").await.is(200);
    world.clock.advance(Duration::from_secs(1));
    account.post(&format!("{url}/1"), "").await.is_problem(404, "malformed");
    assert_eq!(alternates(&account.post(&url, "").await), [format!("{url}/2")]);
    assert_eq!(alternates(&account.post(&format!("{url}/2"), "").await), [url]);
}

/// A root that begins next week certifies already: nobody could verify its chain yet.
#[tokio::test]
async fn a10_an_alternate_begins_with_its_cross_certificate() {
    let world = World::new();
    world.cross_certify_from(1, "demo-root", (2026, 11, 25), YEAR);
    let account = world.account().await;
    let downloaded = account.certificate(&["a.demo.test"]).await;
    let url = format!("{BASE}/acme/cert/demo/{}", certificates(&downloaded)[0].serial());
    assert_eq!(alternates(&downloaded), [""; 0]);
    account.post(&format!("{url}/1"), "").await.is_problem(404, "malformed");
    world.clock.advance(Duration::from_secs(86_400));
    assert_eq!(alternates(&account.post(&url, "").await), [format!("{url}/1")]);
    account.post(&format!("{url}/1"), "").await.is(200);
}

/// What was read at a time that has not come yet is read again, not kept until it has.
#[tokio::test]
async fn a10_a_clock_that_is_set_back_hides_no_chain() {
    let world = World::new();
    let account = world.account().await;
    let answer = account.certificate(&["a.demo.test"]).await;
    assert_eq!(alternates(&answer), [""; 0]);
    let default = format!("{BASE}/acme/cert/demo/{}", certificates(&answer)[0].serial());
    let now = world.clock.now();
    world.clock.set(now.minus(Duration::from_secs(3600)));
    world.cross_certify(3, "demo-root", YEAR);
    assert_eq!(alternates(&account.post(&default, "").await), [format!("{default}/3")]);
}
