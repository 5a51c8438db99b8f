//! http-01 against real servers on loopback, honest and hostile.

use std::net::IpAddr;
use std::time::Duration;

use ca_core::model::ChallengeMethod::Http01;
use ca_core::pki::sha256;
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, RecordType};

use crate::challenges::{Open, Site, zone};
use crate::net::{Page, Says, Web};

struct Scene {
    site: Site,
    web: Web,
}

impl Scene {
    async fn new() -> Self {
        let web = Web::start().await;
        let port = web.port;
        let site = Site::new(zone(&[Http01], &[]), |v| v.http_port = port).await;
        site.dns.address("x.dmz.test", &[[127, 0, 0, 1]]);
        Self { site, web }
    }

    fn serve(&self, open: &Open, page: Page) {
        self.web.page(&format!("/.well-known/acme-challenge/{}", open.token), page);
    }
}

#[tokio::test]
async fn a12_http_01_proves_a_name_and_leaves_its_evidence() {
    let scene = Scene::new().await;
    let account = scene.site.world.account().await;
    let open = account.open("x.dmz.test", Http01).await;
    scene.serve(&open, Page::ok(&format!("{}\r\n \t\n", open.proof)));
    let record = account.succeeds(&open).await;
    assert_eq!((record.method, record.attempt, record.identifier.value().as_str()), (Http01, 1, "x.dmz.test"));
    assert_eq!(record.addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(record.answer_sha256, Some(sha256(format!("{}\r\n \t\n", open.proof).as_bytes())));
    let heads = scene.web.heads();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].to_lowercase().contains(&format!("host: x.dmz.test:{}\r\n", scene.web.port)), "{}", heads[0]);
    // RFC 8555 §7.1.4, §8: of a valid one the challenge that was validated, and when.
    let read = account.post(&open.authorization, "").await.json();
    assert_eq!(read["challenges"].as_array().unwrap().len(), 1);
    assert_eq!((&read["challenges"][0]["status"], &read["challenges"][0]["validated"]), (&"valid".into(), &"2026-11-24T00:00:00Z".into()));
    assert_eq!(read["expires"], "2026-11-25T00:00:00Z");
}

#[tokio::test]
async fn lesson_08_another_accounts_proof_is_none() {
    let scene = Scene::new().await;
    let (account, other) = (scene.site.world.account().await, scene.site.world.account().await);
    let open = account.open("x.dmz.test", Http01).await;
    scene.serve(&open, Page::ok(&format!("{}.{}", open.token, other.thumbprint())));
    account.fails(&open, "incorrectResponse", "not the key authorization").await;
}

#[tokio::test]
async fn a12_a_body_is_bounded_and_never_echoed() {
    let scene = Scene::new().await;
    let account = scene.site.world.account().await;
    let check = async |page: Page, kind: &str, says: &str| {
        let open = account.open("x.dmz.test", Http01).await;
        scene.serve(&open, page);
        account.fails(&open, kind, says).await;
    };
    check(Page::ok("a secret that lies at this URL"), "incorrectResponse", "not the key authorization").await;
    check(Page::ok(&"secret".repeat(100_000)), "incorrectResponse", "more than 1024 octets").await;
    let endless = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{}", "6\r\nsecret\r\n".repeat(10_000));
    check(Page::Raw(endless.into_bytes()), "incorrectResponse", "more than 1024 octets").await;
    check(Page::Raw(b"SSH-2.0-secret\r\n".to_vec()), "connection", "whole HTTP answer").await;
    check(Page::Raw(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "secret".repeat(10_000)).into_bytes()), "connection", "whole HTTP answer")
        .await;
    check(Page::Raw(b"HTTP/1.1 500 secret\r\n\r\nsecret".to_vec()), "incorrectResponse", "the status 500").await;
    check(Page::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 87\r\n\r\nsecret".to_vec()), "connection", "whole HTTP answer").await;
    // 404, and an empty answer.
    let open = account.open("x.dmz.test", Http01).await;
    account.fails(&open, "incorrectResponse", "the status 404").await;
    check(Page::Raw(Vec::new()), "connection", "whole HTTP answer").await;
}

#[tokio::test]
async fn lesson_09_redirects_are_followed_within_bounds() {
    let scene = Scene::new().await;
    let account = scene.site.world.account().await;
    let port = scene.web.port;
    // A relative one, then one to another name.
    let open = account.open("x.dmz.test", Http01).await;
    scene.site.dns.address("elsewhere.test", &[[127, 0, 0, 1]]);
    scene.serve(&open, Page::redirect("/first"));
    scene.web.page("/first", Page::redirect(&format!("http://elsewhere.test:{port}/second?q")));
    scene.web.page("/second?q", Page::ok(&open.proof));
    let record = account.succeeds(&open).await;
    assert_eq!(record.addresses.len(), 3, "each hop is on record");

    scene.site.dns.address("inside.test", &[[127, 0, 0, 66]]);
    scene.site.dns.address("metadata.test", &[[169, 254, 169, 254]]);
    let other = Web::start().await;
    let check = async |location: String, kind: &str, says: &str| {
        let open = account.open("y.dmz.test", Http01).await;
        scene.serve(&open, Page::redirect(&location));
        account.fails(&open, kind, says).await;
    };
    scene.site.dns.address("y.dmz.test", &[[127, 0, 0, 1]]);
    check(format!("http://elsewhere.test:{}/x", other.port), "unauthorized", "only the ports 80 and 443").await;
    assert_eq!(other.heads(), Vec::<String>::new(), "nobody came");
    check(format!("http://127.0.0.1:{port}/x"), "unauthorized", "an address instead of a name").await;
    check(format!("http://inside.test:{port}/x"), "unauthorized", "127.0.0.66 is a loopback").await;
    check("https://metadata.test/latest".to_owned(), "unauthorized", "169.254.169.254 is a metadata service's").await;
    check("ftp://elsewhere.test/".to_owned(), "unauthorized", "neither http nor https").await;
    scene.web.page("/loop", Page::redirect("/loop"));
    check("/loop".to_owned(), "connection", "more than 10 redirects").await;
    check("http://nowhere.test/".to_owned(), "dns", "nowhere.test").await;
}

/// RFC 8555 §8.3: the certificate on the way is not verified; the server may be about to get its first.
#[tokio::test]
async fn a12_a_redirect_to_https_is_followed_without_a_chain() {
    let scene = Scene::new().await;
    let account = scene.site.world.account().await;
    let open = account.open("x.dmz.test", Http01).await;
    scene.serve(&open, Page::redirect(&format!("https://x.dmz.test:{}/secure", scene.web.port)));
    scene.web.page("/secure", Page::ok(&open.proof));
    account.succeeds(&open).await;
}

#[tokio::test]
async fn lesson_10_a_name_is_resolved_once_and_the_guard_judges_the_socket() {
    let scene = Scene::new().await;
    let account = scene.site.world.account().await;
    // The first answer is allowed, the next one is not: who resolves twice connects to the second.
    let address = |last: u8| vec![RData::A(A([127, 0, 0, last].into()))];
    scene.site.dns.says("r.dmz.test", RecordType::A, Says::Each(vec![address(1), address(66)]));
    let open = account.open("r.dmz.test", Http01).await;
    scene.serve(&open, Page::ok(&open.proof));
    account.succeeds(&open).await;
    assert_eq!(scene.site.dns.asked("r.dmz.test", RecordType::A), 1);
    // Now the other way round: the guard sees what the socket would connect to.
    let open = account.open("r.dmz.test", Http01).await;
    scene.serve(&open, Page::ok(&open.proof));
    account.fails(&open, "unauthorized", "127.0.0.66 is a loopback").await;
    // Of several addresses only those that are allowed are used.
    scene.site.dns.address("both.dmz.test", &[[127, 0, 0, 66], [127, 0, 0, 1]]);
    let open = account.open("both.dmz.test", Http01).await;
    scene.serve(&open, Page::ok(&open.proof));
    let record = account.succeeds(&open).await;
    assert_eq!(record.addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn lesson_35_an_address_as_identifier_passes_the_same_guard() {
    let scene = Scene::new().await;
    let account = scene.site.world.account().await;
    let open = account.open("127.0.0.66", Http01).await;
    account.fails(&open, "unauthorized", "127.0.0.66 is a loopback").await;
    let open = account.open("127.0.0.1", Http01).await;
    scene.serve(&open, Page::ok(&open.proof));
    account.succeeds(&open).await;
}

#[tokio::test]
async fn a12_who_does_not_answer_in_time_has_failed() {
    let web = Web::start().await;
    let port = web.port;
    let configure = |v: &mut acme_server::ValidationConfig| (v.http_port, v.attempt) = (port, Duration::from_secs(3));
    let site = Site::new(zone(&[Http01], &[]), configure).await;
    site.dns.address("x.dmz.test", &[[127, 0, 0, 1]]);
    let account = site.world.account().await;
    let open = account.open("x.dmz.test", Http01).await;
    web.page(&format!("/.well-known/acme-challenge/{}", open.token), Page::Silence);
    account.fails(&open, "connection", "validation took longer").await;
}

#[tokio::test]
async fn a12_who_is_not_there_has_failed() {
    let Scene { site, web } = Scene::new().await;
    let account = site.world.account().await;
    // Nobody listens, and nobody has that name.
    drop(web);
    let open = account.open("x.dmz.test", Http01).await;
    account.fails(&open, "connection", "127.0.0.1").await;
    let open = account.open("nobody.dmz.test", Http01).await;
    account.fails(&open, "dns", "nobody.dmz.test").await;
    site.dns.says("x.dmz.test", RecordType::A, Says::Fails);
    let open = account.open("x.dmz.test", Http01).await;
    account.fails(&open, "dns", "x.dmz.test").await;
}

#[tokio::test]
async fn a12_a_validation_is_tried_several_times() {
    let web = Web::start().await;
    let port = web.port;
    let configure = |v: &mut acme_server::ValidationConfig| (v.http_port, v.attempts, v.pause) = (port, 3, Duration::ZERO);
    let site = Site::new(zone(&[Http01], &[]), configure).await;
    site.dns.says("x.dmz.test", RecordType::A, Says::Each(vec![Vec::new(), vec![RData::A(A([127, 0, 0, 1].into()))]]));
    let account = site.world.account().await;
    let open = account.open("x.dmz.test", Http01).await;
    web.page(&format!("/.well-known/acme-challenge/{}", open.token), Page::ok(&open.proof));
    let record = account.succeeds(&open).await;
    assert!((2..=3).contains(&record.attempt), "{record:?}");
    let outcomes: Vec<_> = site.world.state().records.iter().map(|r| r.problem.is_none()).collect();
    assert_eq!((outcomes.first(), outcomes.last()), (Some(&false), Some(&true)), "what failed is on record too");
    // A refusal of this CA's own is not tried again.
    site.dns.address("z.dmz.test", &[[10, 0, 0, 1]]);
    let open = account.open("z.dmz.test", Http01).await;
    account.fails(&open, "unauthorized", "10.0.0.1 is a private-use").await;
    assert_eq!(site.world.state().records.last().unwrap().attempt, 1);
}
