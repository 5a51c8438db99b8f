//! SIGKILL at named points of the issuance path and at random moments; then a start; then the invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{Demo, PATIENCE, block_on, succeeds, wait_for};

/// What subscribers were given: serial number to the file of its chain.
type Received = Mutex<BTreeMap<String, std::path::PathBuf>>;

/// Orders without pause from several clients until told to stop; failures are expected while the server dies.
async fn load(demo: &Demo, received: &Received, running: &AtomicBool, clients: usize) {
    let work = (0..clients).map(|_| async {
        let mut account = None;
        while running.load(Ordering::Relaxed) {
            if account.is_none() {
                account = demo.try_account().await.ok();
            }
            let Some(current) = &account else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // A server that dies ends this at once; a slow one may take its time.
            match tokio::time::timeout(PATIENCE, demo.issue(current, demo.fact("DEMO_NAME"))).await {
                Ok(Ok(issued)) => {
                    received.lock().expect("no panic under the lock").insert(issued.serial, issued.path);
                }
                Ok(Err(_)) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    let mut tasks: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
    for task in work {
        tasks.push(Box::pin(task));
    }
    std::future::poll_fn(|context| {
        tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
        if tasks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// What must hold after any crash and a start.
#[track_caller]
fn check_invariants(demo: &Demo, received: &Received) {
    // The reconciler closes every intent that never completed.
    wait_for("every open intent to be closed", || demo.certificates().iter().all(|c| c["state"] != "intent"));
    let records = demo.certificates();
    let mut serials = BTreeSet::new();
    let mut orders = BTreeSet::new();
    for record in &records {
        let serial = record["serial"].as_str().expect("a serial").to_owned();
        assert!(serials.insert(serial.clone()), "serial {serial} stands twice");
        if record["state"] == "released"
            && let Some(order) = record["order"].as_str()
        {
            assert!(orders.insert(order.to_owned()), "order {order} has two released certificates");
        }
    }
    let released: BTreeMap<_, _> =
        records.iter().filter(|r| r["state"] == "released").filter_map(|r| Some((r["serial"].as_str()?.to_owned(), r))).collect();
    let received = received.lock().expect("no panic under the lock");
    for serial in received.keys() {
        assert!(released.contains_key(serial), "a subscriber holds {serial}, which is not on record as released");
    }
    // A sample against OCSP: what was received is good, what was given up is revoked and on the CRL.
    for path in received.values().rev().take(5) {
        assert_eq!(demo.ocsp(path), "good");
    }
    let abandoned: Vec<_> = records.iter().filter(|r| r["state"] == "abandoned").filter_map(|r| r["serial"].as_str()).collect();
    for serial in abandoned.iter().take(5) {
        assert_eq!(demo.ocsp_serial(serial), "revoked", "{serial} was abandoned");
    }
    if !abandoned.is_empty() {
        wait_for("the CRL to list what was abandoned", || {
            let listed = demo.crl_serials();
            abandoned.iter().all(|serial| listed.iter().any(|l| l == serial))
        });
    }
}

/// Whether a child process still runs: one that ended and was not awaited yet is a zombie (proc(5)).
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|after| !after.trim_start().starts_with('Z') && !after.trim().is_empty())
}

/// The named points of the issuance path; the build has the feature `test-halt`.
const POINTS: [&str; 5] = ["after-lease", "after-intent", "after-sign", "before-release", "after-release"];

#[test]
fn death_at_each_named_point_loses_nothing_and_issues_nothing_twice() {
    let mut demo = Demo::start();
    for point in POINTS {
        let received = Received::default();
        demo.kill();
        // Its own certificates are there already: the third attempt from now is an order's. What the life before left of
        // orders is taken up at once, and may be that.
        demo.launch_to_end(&[("COUNTERSIGN_TEST_HALT", &format!("{point}:3"))]);
        let running = AtomicBool::new(true);
        let pid = demo.process_id();
        block_on(async {
            tokio::join!(load(&demo, &received, &running, 3), async {
                // The process halts by itself; the load goes on until it has.
                let halted = tokio::time::timeout(PATIENCE, async {
                    while is_alive(pid) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                });
                let _ = halted.await;
                running.store(false, Ordering::Relaxed);
            });
        });
        assert!(!demo.is_running(), "the process was to halt at {point}, and runs on:\n{}", demo.log());
        demo.wait_for_end();
        demo.launch(&[]);
        check_invariants(&demo, &received);
        block_on(async {
            let account = demo.account().await;
            demo.issue(&account, demo.fact("DEMO_NAME")).await.expect("issuance goes on after the crash");
        });
    }
}

#[test]
fn twenty_random_deaths_under_load() {
    let mut demo = Demo::start();
    let received = Received::default();
    // Moments spread over the load's life; printed, so that a failure can be told apart.
    let mut seed = u64::from(std::process::id()) | 1;
    println!("seed {seed}");
    for _ in 0..20 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pause = Duration::from_millis((seed >> 33) % 400);
        let running = AtomicBool::new(true);
        let pid = demo.process_id();
        let held = || received.lock().expect("no panic under the lock").len();
        let before = held();
        block_on(async {
            tokio::join!(load(&demo, &received, &running, 4), async {
                // However slow the machine, the process dies while it issues.
                let warm = tokio::time::timeout(PATIENCE, async {
                    while held() < before + 2 {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                });
                let warm = warm.await;
                tokio::time::sleep(pause).await;
                running.store(false, Ordering::Relaxed);
                assert!(succeeds(Command::new("kill").args(["-KILL", &pid.to_string()])));
                warm.expect("two certificates are received under load");
            });
        });
        demo.wait_for_end();
        demo.launch(&[]);
        check_invariants(&demo, &received);
    }
    let held = received.lock().expect("no panic under the lock").len();
    println!("{held} certificates were received over 20 deaths");
}
