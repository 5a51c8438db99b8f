//! `make bench`: the hot paths under load, each beside its peer or limit in the same run, as ratios.
//!
//! Needs `wrk` and `nginx` for comparisons, and `step-ca` with `step`, or `pebble`, for another CA beside this one; what
//! is missing is said and left out, never guessed. `arguments` has the modes.

#![expect(clippy::unwrap_used, reason = "a measurement that meets an error has failed")]

mod arguments;
mod client;
mod clients;
#[path = "../end_to_end/harness.rs"]
#[allow(dead_code, reason = "the tests use more of the harness than the benchmark does")]
mod harness;
mod idle;
mod keys;
mod ocsp;
mod orders;
mod peer;
mod process;
mod responder;
mod separate;
#[path = "../separate/site.rs"]
#[allow(dead_code, reason = "the tests use more of it than the benchmark does")]
mod site;
mod soak;
#[path = "../end_to_end/wire.rs"]
#[allow(dead_code, reason = "the tests use more of it than the benchmark does")]
mod wire;
#[path = "../end_to_end/zone.rs"]
#[allow(dead_code, reason = "the tests use more of it than the benchmark does")]
mod zone;

use arguments::{Mode, Scale};
use harness::Demo;
use process::{now, resident_megabytes};

fn main() {
    match Mode::of_process() {
        Mode::Bench(scale) => bench(&scale),
        Mode::Soak { orders } => soak::soak(orders),
    }
}

fn bench(scale: &Scale) {
    let begun = now();
    let demo = Demo::start();
    let first_start = begun.elapsed();
    println!("cores: {}", std::thread::available_parallelism().map_or(0, usize::from));
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_ca")).map_or(f64::NAN, |m| m.len() as f64 / 1_048_576.0);
    println!("binary: {binary:.1} MB (aim: below 30)");
    println!("first start, ceremony included: {:.2} s", first_start.as_secs_f64());
    let demo = restart(demo);
    let together = orders::granted(&demo, scale.span);
    orders::half_load(&demo, together.rate, scale.span);
    let mut demo = orders::without_anchor(demo, scale.span);
    let zone = orders::zone(&mut demo);
    orders::challenged(&demo, &zone, scale.span);
    peer::beside(&demo, &zone, 2 * scale.span);
    ocsp::answers(&demo, scale.asking);
    println!("memory after the load: {:.1} MB", resident_megabytes(demo.process_id()));
    keys::checks(&demo, scale.checks);
    let mut demo = idle::idle(demo, scale.idle);
    demo.stop();
    separate::processes(&together, scale.span);
}

fn restart(mut demo: Demo) -> Demo {
    demo.stop();
    let begun = now();
    demo.launch(&[]);
    println!("start to ready: {:.2} s (aim: below 1; measured in steps of 0.05)", begun.elapsed().as_secs_f64());
    println!("idle memory: {:.1} MB (aim: below 40)", resident_megabytes(demo.process_id()));
    demo
}
