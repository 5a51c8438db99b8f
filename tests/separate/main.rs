//! The worker, the ACME server and the OCSP responder as three processes under three users, as on a production host.
//!
//! Needs root, to act as other users with `setpriv`; the users are numbers that nobody else has.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "the other tests use more of the harness")]
mod harness;
mod reach;
mod recovery;
mod replicas;
mod site;
mod supervised;
mod units;
#[path = "../end_to_end/wire.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod wire;

use harness::{block_on, expect_success, serial_of, wait_for};
use site::{Site, User};

#[test]
fn certbot_and_status_work_across_three_processes() {
    let site = Site::start();
    let name = site.fact("DEMO_NAME").to_owned();
    let (live, output) = harness::certbot(|fact| site.fact(fact), &site.path("certbot"), harness::free_port(), &name, &[]);
    expect_success("certbot", &output);
    let certificate = live.join("cert.pem");
    assert_eq!(site.ocsp(&certificate), "good");

    let serial = serial_of(&certificate);
    expect_success("ca cert revoke", &site.ca(&["cert", "revoke", &serial, "--reason", "keyCompromise", "--yes"]));
    let took = wait_for("OCSP to say revoked", || site.ocsp(&certificate) == "revoked");
    println!("OCSP in its own process said revoked after {took:?}");
    let took = wait_for("the CRL to list the serial", || site.crl_text().contains(&serial.to_uppercase()));
    println!("the CRL in its own process listed the serial after {took:?}");

    // Each process has exactly its own user.
    for (user, process) in [(User::Worker, "ca"), (User::Acme, "acme-server"), (User::Responder, "ocsp-responder")] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", site.pid(user))).unwrap();
        let line = |name: &str| status.lines().find(|l| l.starts_with(name)).unwrap().to_owned();
        assert!(process.starts_with(line("Name:").split_whitespace().nth(1).unwrap()), "{}", line("Name:"));
        assert_eq!(line("Uid:").split_whitespace().skip(1).collect::<Vec<_>>(), [user.uid().to_string().as_str(); 4]);
        assert!(line("NoNewPrivs:").ends_with('1'));
    }
    site.stop();
}

/// What the split costs, for who wants to see: `cargo test … -- --nocapture`. Speed is judged by the benchmark.
#[test]
fn many_clients_at_once_are_all_served() {
    let site = Site::start();
    let clients = 12;
    let each = 4;
    let issued = block_on(async {
        let order = async || {
            let account = site.account().await;
            for _ in 0..each {
                site.issue(&account).await.expect("an order");
            }
        };
        let mut tasks: Vec<_> = (0..clients).map(|_| Box::pin(order())).collect();
        std::future::poll_fn(|context| {
            tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
            if tasks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        clients * each
    });
    let released = site.certificates().iter().filter(|c| c["state"] == "released" && !c["order"].is_null()).count();
    assert_eq!(released, issued);
    site.stop();
}
