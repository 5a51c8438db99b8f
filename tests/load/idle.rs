//! Very many connections that say nothing: the server stays ready, and it is said what each costs.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{Demo, block_on, wait_for};
use crate::process::{now, open_files, resident_megabytes};
use crate::wire::Wire;

/// Files that processes have open beside connections.
const OTHERS: u64 = 300;
/// How many connections are opened at the same time.
const AT_ONCE: usize = 64;

fn connections(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// Opens them against the demonstration, whose own limit is raised for it; gives it back as it was.
pub(crate) fn idle(mut demo: Demo, wanted: u64) -> Demo {
    demo.stop();
    let file = demo.var().join("ca.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    assert!(!text.contains("[limits]"), "the demonstration has no limits of its own");
    // Longer than opening takes.
    std::fs::write(&file, format!("{text}\n[limits]\nconnections = 20000\nconnections_per_network = 20000\nrequest_seconds = 60\n"))
        .expect("the folder is writable");
    demo.launch(&[]);
    let pid = demo.process_id();
    let (server, client) = (open_files(pid), open_files(std::process::id()));
    let many = wanted.min(server.min(client).saturating_sub(OTHERS));
    let (before, files) = (resident_megabytes(pid), connections(pid));
    block_on(async {
        let wire = Wire::to(&demo);
        let begun = now();
        let (slots, mut opening) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        for i in 0..many {
            let (wire, slots) = (wire.clone(), Arc::clone(&slots));
            opening.spawn(async move {
                let _slot = slots.acquire().await.expect("never closed");
                let mut stream = wire.connect().await.expect("a connection");
                // Every other one begins a request and stops.
                if i % 2 == 0 {
                    stream.write_all(b"GET /acme/direct").await.expect("a beginning");
                }
                stream
            });
        }
        let open = opening.join_all().await;
        println!(
            "idle TLS connections: {} open after {:.1} s (asked for {wanted}; a process here may open {server} files)",
            open.len(),
            begun.elapsed().as_secs_f64()
        );
        let mut slowest = Duration::ZERO;
        for _ in 0..50 {
            let asked = now();
            let reply = wire.try_ask("GET", "/acme/directory", "", "").await.expect("the server is ready");
            assert_eq!(reply.status, 200);
            slowest = slowest.max(asked.elapsed());
        }
        let held = connections(pid).saturating_sub(files);
        println!("meanwhile the slowest of 50 new connections with a request: {:.0} ms", slowest.as_secs_f64() * 1000.0);
        println!(
            "memory: {before:.1} MB before, {:.1} MB with {held} connections: {:.1} KB each",
            resident_megabytes(pid),
            (resident_megabytes(pid) - before) * 1024.0 / held.max(1) as f64
        );
        drop(open);
    });
    wait_for("the connections to be gone", || connections(pid) <= files + 20);
    println!("memory once they are gone: {:.1} MB", resident_megabytes(pid));
    demo.stop();
    std::fs::write(&file, text).expect("the folder is writable");
    demo.launch(&[]);
    demo
}
