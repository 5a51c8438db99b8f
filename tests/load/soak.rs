//! Very many orders, one after the other on one instance: does its memory stay flat, and what does a certificate take on
//! disk?

use std::path::Path;
use std::time::Duration;

use crate::clients::{CLIENTS, Clients, Limits, Names, block_on};
use crate::harness::Demo;
use crate::process::{cpu_seconds, now, resident_megabytes};

/// After how many orders it is told where things stand. What the server keeps of settled orders is full by then, so that
/// a comparison with the first step shows what grows without end; a soak of a few thousand shows the filling as well.
const STEP: u64 = 10_000;
/// The longest that it goes on.
const LONGEST: Duration = Duration::from_secs(20 * 60);

/// The size of the database with its log.
fn database_megabytes(folder: &Path) -> f64 {
    let octets = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |m| m.len());
    (octets("ca.db") + octets("ca.db-wal")) as f64 / 1_048_576.0
}

pub(crate) fn soak(orders: u64) {
    let demo = Demo::start();
    let pid = demo.process_id();
    // A short soak tells as often as a long one.
    let step = STEP.min(orders.div_ceil(10));
    let minutes = LONGEST.as_secs() / 60;
    println!("soak: {orders} orders by {CLIENTS} clients, for at most {minutes} minutes; every {step} orders:");
    let (memory, database) = (resident_megabytes(pid), database_megabytes(&demo.var()));
    println!("at the start: memory {memory:.1} MB, database {database:.1} MB");
    block_on(async {
        let clients = Clients::enrol(demo.fact("CA_BUNDLE"), async |builder| demo.account_by(builder).await).await;
        let names = Names::Granted(demo.fact("DEMO_NAME").to_owned());
        let begun = now();
        let (mut issued, mut first, mut last) = (0, None, memory);
        while issued < orders
            && let Some(span) = LONGEST.checked_sub(begun.elapsed())
        {
            let cpu = cpu_seconds(pid);
            let load = clients.order(&names, Limits { orders: step.min(orders - issued), ..Limits::span(span) }).await;
            issued += load.issued();
            last = resident_megabytes(pid);
            // Of a whole step, not of one that time cut off.
            first = first.or((load.issued() == step).then_some(last));
            println!(
                "{issued} orders: {:.0} a second, {:.2} ms of the server's CPU each, memory {last:.1} MB, database {:.1} MB",
                load.rate(),
                (cpu_seconds(pid) - cpu) * 1000.0 / load.issued() as f64,
                database_megabytes(&demo.var())
            );
        }
        if issued < orders {
            println!("the {minutes} minutes were over after {issued} of {orders} orders");
        }
        let grown = (database_megabytes(&demo.var()) - database) * 1024.0;
        println!("database for each certificate: {:.1} KB", grown / issued as f64);
        match first {
            Some(first) => println!("memory at the end: {:.2} times that after the first {step} orders (aim: 1, flat)", last / first),
            None => println!("memory at the end: nothing to compare it with, since not even {step} orders were done"),
        }
    });
}
